//! A small guest that moves between every two accelerators there are, while both its CPUs compute,
//! take timer interrupts and call each other.
//!
//! The guest is bare metal: it is quick enough for the software CPU of an emulated host. It stores a
//! hash that says that no instruction was lost or done twice, counts its interrupts, and looks at
//! each of them whether the counter stepped back or leapt.

#![expect(clippy::panic, reason = "a failed check of a test is a panic")]

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use aarch64::cpu_model::CpuModel;
use aarch64::machine::{GICD, GICR_BASE, GICR_STRIDE, RAM_BASE, UART, VIRTUAL_TIMER_INTID};
use aarch64::psci::id;
use aarch64::{Saved, Size, SysReg};
use armlet_tests::bare::asm::{Asm, Cond, X, XZR};
use armlet_tests::bare::random_seed;
use armlet_tests::moving::{Guest, Place, Running, accelerators};
use armlet_tests::program::Scratch;
use armlet_tests::skip::{does_not_apply, skip};
use hv_backend::api::Hypervisor;
use hv_backend::select::{Accel, open};
use vmm::coordinator::Control;
use vmm::machine::StartError;

/// Steps of the hash on each CPU.
const STEPS: u64 = 120_000;
/// Timer interrupts in a second, as a power of two.
const RATE: u32 = 8;
/// The hash's factor (Knuth's MMIX).
const FACTOR: u64 = 6_364_136_223_846_793_005;
/// Words of memory that the hash goes through, for each CPU.
const WORDS: u64 = 512;
/// How often a guest moves.
const MOVES: usize = 6;

/// Where the vectors lie in the image.
const VECTORS: u64 = 0x1000;
/// Where the CPUs keep what is theirs, far from what is loaded.
const DATA: u64 = RAM_BASE.0 + (8 << 20);
/// Of each CPU's own memory.
const DATA_STRIDE: u64 = 0x1_0000;
/// Offsets of results in it, behind the words.
const HASH: u64 = 0x2000;
const TICKS: u64 = 0x2008;
const CALLS: u64 = 0x2010;
const WRONG: u64 = 0x2018;
const DONE: u64 = 0x2020;

const ICC_IAR1: SysReg = SysReg::new(3, 0, 12, 12, 0);
const ICC_EOIR1: SysReg = SysReg::new(3, 0, 12, 12, 1);
const ICC_SGI1R: SysReg = SysReg::new(3, 0, 12, 11, 5);
const ICC_PMR: SysReg = SysReg::new(3, 0, 4, 6, 0);
const ICC_IGRPEN1: SysReg = SysReg::new(3, 0, 12, 12, 7);
const CNTVCT: SysReg = SysReg::new(3, 3, 14, 0, 2);
const CNTFRQ: SysReg = SysReg::new(3, 3, 14, 0, 0);
const SGI: u64 = 1;

/// Of the handler alone: X16 and X17 as they come, and these.
const CALLS_TAKEN: X = X(18);
const WRONG_TIMES: X = X(19);
const TICKS_TAKEN: X = X(20);
const LAST_COUNT: X = X(21);
/// Kept by both: ticks between timer interrupts, which CPU it is, its memory, the UART.
const PERIOD: X = X(24);
const NUMBER: X = X(25);
const MINE: X = X(26);
const SERIAL: X = X(28);

/// `adr to, #offset` for an offset from the instruction.
fn adr(asm: &mut Asm, to: X, offset: u64) {
    let (low, high) = ((offset & 3) as u32, (offset >> 2 & 0x7_ffff) as u32);
    asm.word(0x1000_0000 | low << 29 | high << 5 | to.0);
}

/// The hash that each CPU computes.
fn hash() -> u64 {
    let mut memory = [0_u64; WORDS as usize];
    let mut hash = 0_u64;
    for step in (1..=STEPS).rev() {
        hash = hash.wrapping_mul(FACTOR).wrapping_add(step);
        let word = &mut memory[(step % WORDS) as usize];
        hash ^= *word;
        *word = hash;
    }
    hash
}

fn image() -> Vec<u8> {
    let mut asm = Asm::new();
    // CPU 0 enters at 0, CPU 1 at 4.
    let (first, second, common) = (asm.label(), asm.label(), asm.label());
    asm.b(first).b(second);
    asm.place(first).mov(NUMBER, 0).b(common);
    asm.place(second).mov(NUMBER, 1);
    asm.place(common);
    set_up(&mut asm);
    work(&mut asm);
    finish(&mut asm);
    while asm.len() < VECTORS + 0x280 {
        asm.nop();
    }
    handle(&mut asm);
    asm.bytes()
}

/// Memory, vectors, interrupts, timer; CPU 0 starts CPU 1.
fn set_up(asm: &mut Asm) {
    let here = asm.len();
    adr(asm, X(9), VECTORS - here);
    asm.msr(Saved::VbarEl1.sysreg(), X(9));
    asm.mov(SERIAL, UART.base.0).mov(MINE, DATA);
    asm.mov(X(9), GICR_BASE.0 + 0x1_0000);
    let (zero, enabled) = (asm.label(), asm.label());
    asm.cbz(NUMBER, zero);
    asm.mov(X(10), DATA_STRIDE).add(MINE, MINE, X(10));
    asm.mov(X(10), GICR_STRIDE).add(X(9), X(9), X(10));
    asm.place(zero);
    asm.mov(X(10), 1 << VIRTUAL_TIMER_INTID.0 | 1 << SGI);
    asm.store(Size::W, X(10), X(9), 0x100);
    asm.cbnz(NUMBER, enabled);
    // Affinity routing, group 1.
    asm.mov(X(9), GICD.base.0).mov(X(10), 0x12);
    asm.store(Size::W, X(10), X(9), 0);
    asm.place(enabled);
    asm.mov(X(10), 0xf0).msr(ICC_PMR, X(10));
    asm.mov(X(10), 1).msr(ICC_IGRPEN1, X(10)).isb();
    for counted in [CALLS_TAKEN, WRONG_TIMES, TICKS_TAKEN] {
        asm.mov(counted, 0);
    }
    asm.mrs(LAST_COUNT, CNTVCT);
    // lsr period, period, #RATE
    asm.mrs(PERIOD, CNTFRQ)
        .word(0xd340_fc00 | RATE << 16 | PERIOD.0 << 5 | PERIOD.0);
    asm.add(X(9), PERIOD, LAST_COUNT);
    asm.msr(Saved::CntvCvalEl0.sysreg(), X(9));
    asm.mov(X(9), 1).msr(Saved::CntvCtlEl0.sysreg(), X(9));
    let started = asm.label();
    asm.cbnz(NUMBER, started);
    asm.mov(X(0), u64::from(id::CPU_ON) | 0x4000_0000);
    asm.mov(X(1), 1);
    let here = asm.len();
    // Back to the second instruction.
    adr(asm, X(2), 4_u64.wrapping_sub(here));
    asm.mov(X(3), 0).hvc(0);
    asm.place(started);
    asm.unmask_irq();
}

/// The hash: X1 is it, X2 counts down, X3 is the factor.
fn work(asm: &mut Asm) {
    asm.mov(X(1), 0).mov(X(2), STEPS).mov(X(3), FACTOR);
    let again = asm.here();
    // madd x1, x1, x3, x2
    asm.word(0x9b03_0821);
    // and x4, x2, #511
    asm.word(0x9240_2044);
    asm.load_indexed(Size::D, X(5), MINE, X(4), true);
    asm.eor(X(1), X(1), X(5));
    asm.lsl(X(4), X(4), 3).add(X(4), X(4), MINE);
    asm.store(Size::D, X(1), X(4), 0);
    let busy = asm.label();
    // Every 256 steps: and x4, x2, #255
    asm.word(0x9240_1c44);
    asm.cbnz(X(4), busy);
    // A look at the UART on the way: an exit with data.
    asm.load(Size::W, X(5), SERIAL, 0x18);
    asm.wfi();
    asm.place(busy);
    asm.sub_imm(X(2), X(2), 1).cbnz(X(2), again);
}

/// Results into memory. CPU 1 turns itself off then; CPU 0 waits for it, prints and powers off.
fn finish(asm: &mut Asm) {
    asm.mask_irq();
    for (value, offset) in [
        (X(1), HASH),
        (TICKS_TAKEN, TICKS),
        (CALLS_TAKEN, CALLS),
        (WRONG_TIMES, WRONG),
    ] {
        asm.store(Size::D, value, MINE, offset);
    }
    asm.mov(X(9), 1).dsb().store(Size::D, X(9), MINE, DONE);
    let last = asm.label();
    asm.cbz(NUMBER, last);
    asm.mov(X(0), id::CPU_OFF.into()).hvc(0).stay();
    asm.place(last);
    asm.mov(X(9), DATA + DATA_STRIDE);
    let wait = asm.here();
    asm.load(Size::D, X(10), X(9), DONE).cbz(X(10), wait);
    for cpu in 0..2 {
        for offset in [HASH, TICKS, CALLS, WRONG] {
            asm.mov(X(9), DATA + cpu * DATA_STRIDE);
            asm.load(Size::D, X(0), X(9), offset);
            print(asm);
        }
    }
    asm.mov(X(0), id::SYSTEM_OFF.into()).hvc(0).stay();
}

/// Prints X0 as 16 hexadecimal digits and the end of a line.
fn print(asm: &mut Asm) {
    asm.mov(X(2), 16).mov(X(3), 10);
    let (digit, number) = (asm.here(), asm.label());
    // ror x0, x0, #60; and x1, x0, #15
    asm.word(0x93c0_f000).word(0x9240_0c01);
    asm.cmp(X(1), X(3)).b_cond(Cond::Lo, number);
    asm.add_imm(X(1), X(1), u32::from(b'a' - b'0' - 10));
    asm.place(number);
    asm.add_imm(X(1), X(1), u32::from(b'0'));
    asm.store(Size::B, X(1), SERIAL, 0);
    asm.sub_imm(X(2), X(2), 1).cbnz(X(2), digit);
    asm.mov(X(1), u64::from(b'\n'))
        .store(Size::B, X(1), SERIAL, 0);
}

/// The interrupt handler.
fn handle(asm: &mut Asm) {
    let (call, done, fine) = (asm.label(), asm.label(), asm.label());
    asm.mrs(X(16), ICC_IAR1);
    asm.mov(X(17), VIRTUAL_TIMER_INTID.0.into())
        .cmp(X(16), X(17));
    asm.b_cond(Cond::Ne, call);
    asm.mrs(X(17), CNTVCT).sub(X(22), X(17), LAST_COUNT);
    // lsr x22, x22, #36: more than 18 minutes, or less than nothing.
    asm.word(0xd364_fed6);
    asm.cbz(X(22), fine).add_imm(WRONG_TIMES, WRONG_TIMES, 1);
    asm.place(fine);
    asm.add(LAST_COUNT, X(17), XZR);
    asm.add_imm(TICKS_TAKEN, TICKS_TAKEN, 1);
    asm.add(X(22), PERIOD, X(17));
    asm.msr(Saved::CntvCvalEl0.sysreg(), X(22));
    // The other of CPUs 0 and 1, in the list of targets: bit 1 or bit 0.
    asm.mov(X(22), 2).sub(X(22), X(22), NUMBER);
    asm.mov(X(17), SGI << 24).add(X(22), X(22), X(17));
    asm.msr(ICC_SGI1R, X(22)).b(done);
    asm.place(call);
    asm.mov(X(17), SGI).cmp(X(16), X(17)).b_cond(Cond::Ne, done);
    asm.add_imm(CALLS_TAKEN, CALLS_TAKEN, 1);
    asm.place(done);
    asm.msr(ICC_EOIR1, X(16)).isb();
    asm.eret();
}

fn nap(seed: &mut u64) {
    *seed = seed.wrapping_mul(FACTOR).wrapping_add(1);
    sleep(Duration::from_millis(*seed >> 58));
}

fn guest(scratch: &Scratch, counter_frequency: Option<u64>, devices: bool) -> Guest {
    let kernel = scratch.path().join("kernel");
    fs::write(&kernel, image()).expect("a temporary file can be written");
    Guest {
        kernel,
        initrd: None,
        cmdline: String::new(),
        cpus: 2,
        memory_mib: 16,
        counter_frequency,
        devices,
    }
}

/// Checks what the guest printed at its end.
fn check(way: &str, printed: &str) {
    let digits = |line| u64::from_str_radix(line, 16).unwrap_or_else(|_| panic!("{way}: {line}"));
    let results: Vec<u64> = printed.lines().map(digits).collect();
    assert_eq!(results.len(), 8, "{way}: {printed}");
    for (cpu, results) in results.chunks(4).enumerate() {
        let [computed, ticks, calls, wrong] = *results else {
            panic!("{way}: {results:?}")
        };
        eprintln!("{way}: CPU {cpu}: {ticks} ticks, {calls} calls");
        assert_eq!(computed, hash(), "{way}: CPU {cpu} computed something else");
        assert_eq!(wrong, 0, "{way}: CPU {cpu} saw its clock step");
        assert!(ticks > 0 && calls > 0, "{way}: CPU {cpu} had no interrupts");
    }
}

fn offers_portable(accel: &dyn Hypervisor) -> Result<(), String> {
    let offers = accel.offers_cpu(CpuModel::Portable);
    offers.map_err(|error| format!("{}: {error}", accel.name()))
}

/// The frequency that a guest has to start with on `a` if it is to move to `b`; or why it cannot move.
fn common_frequency(a: &dyn Hypervisor, b: &dyn Hypervisor) -> Result<u64, String> {
    let (here, there) = (a.caps().counter_frequency, b.caps().counter_frequency);
    if a.name() == b.name() {
        return match a.name() {
            "hvf" => Err("a process has one VM of Hypervisor.framework".to_owned()),
            _ => Ok(here),
        };
    }
    let given = |hz: &u64| a.caps().gives_frequency(*hz) && b.caps().gives_frequency(*hz);
    let found = [here, there].into_iter().find(given);
    found.ok_or_else(|| format!("their counters run at {here} and {there} Hz"))
}

fn move_between(seed: &mut u64, from: Accel, to: Accel, devices: bool) {
    let without = if devices { "" } else { ", without devices" };
    let way = format!("{from} -> {to} -> {from}{without}");
    let [a, b] = [from, to].map(|accel| open(accel).expect("it worked before"));
    if let Err(reason) = offers_portable(&*a).and_then(|()| offers_portable(&*b)) {
        return skip(&way, &reason);
    }
    let frequency = match common_frequency(&*a, &*b) {
        Ok(frequency) => frequency,
        Err(reason) => return does_not_apply(&way, &reason),
    };
    let scratch = Scratch::new("moves-image");
    let guest = guest(&scratch, Some(frequency), devices);
    let place = Place::new(&format!("moves-{from}-{to}"), guest);
    let mut machine = place.start(&*a);
    for n in 0..MOVES {
        nap(seed);
        machine = machine.move_to(&place, if n % 2 == 0 { &*b } else { &*a });
    }
    check(&way, &machine.finish());
}

#[test]
fn a_guest_moves_between_every_two_accelerators() {
    let mut seed = random_seed("moves");
    let here = accelerators();
    for (n, from) in here.iter().enumerate() {
        for (m, to) in here.iter().enumerate() {
            move_between(&mut seed, *from, *to, true);
            // It goes back, too: once for each two.
            if n <= m {
                move_between(&mut seed, *from, *to, false);
            }
        }
    }
}

/// Pauses and resumes a machine `count` times, at random moments.
fn pause_often(control: &Control, seed: &mut u64, count: usize) {
    for _ in 0..count {
        assert!(control.pause(), "the guest ended");
        control.resume();
        *seed = seed.wrapping_mul(FACTOR).wrapping_add(1);
        for _ in 0..*seed >> 52 {
            std::hint::spin_loop();
        }
    }
}

/// How often the machine is paused: `ARMLET_PAUSES`, or few enough for every day.
fn pauses() -> usize {
    let asked = std::env::var("ARMLET_PAUSES");
    asked.map_or(3000, |text| text.parse().expect("a number"))
}

/// The guest's work ends only when it gets on between pauses; time that stands still while paused is
/// no excuse for a timer that never rings.
#[test]
fn many_pauses_lose_nothing() {
    let mut seed = random_seed("pauses");
    for accel in accelerators() {
        let accel = open(accel).expect("it worked before");
        let scratch = Scratch::new("pauses-image");
        let place = Place::new("pauses", guest(&scratch, None, true));
        let mut left = pauses();
        while left > 0 {
            let machine = place.start(&*accel);
            let count = left.min(500);
            pause_often(machine.control(), &mut seed, count);
            left -= count;
            check(accel.name(), &machine.finish());
        }
    }
}

#[test]
fn damaged_states_are_refused_by_name() {
    let soft = open(Accel::Soft).expect("it works everywhere");
    let scratch = Scratch::new("damaged-image");
    let place = Place::new("damaged", guest(&scratch, None, true));
    let machine = place.start(&*soft);
    let saved = machine.save();
    let refusal = |change: &dyn Fn(&mut vmm::state::Saved)| {
        let mut damaged = saved.clone();
        change(&mut damaged);
        match place.restore(&*soft, damaged) {
            Ok(machine) => panic!("accepted: {:?}", machine.leave()),
            Err(StartError::Input(line)) => line,
            Err(StartError::Host(line)) => panic!("the host's fault: {line}"),
        }
    };
    for (line, name) in [
        (
            refusal(&|s| s.state.vcpus.truncate(1)),
            "1 vCPUs in its state",
        ),
        (refusal(&|s| s.state.contract.vcpus = 1), "1 CPUs"),
        (
            refusal(&|s| s.state.contract.memory[0].size <<= 1),
            "memory",
        ),
        (refusal(&|s| s.ram.clear()), "memory"),
        (refusal(&|s| s.state.contract.devices.clear()), "UART"),
        (refusal(&|s| s.state.counter.frequency += 1), "Hz"),
        (refusal(&|s| s.state.contract.counter_frequency = 0), "0 Hz"),
        (
            refusal(&|s| s.state.uart.rx_fifo = vec![0; 99]),
            "receive FIFO",
        ),
        (refusal(&|s| s.state.gic.vcpus[1].icc.pmr = 1), "ICC"),
        (refusal(&|s| s.state.gic.routes.clear()), "routes"),
    ] {
        assert!(
            line.contains(name) && !line.contains('\n'),
            "{line}: no {name}"
        );
    }
    let mut damaged = saved.clone();
    damaged.state.vcpus[0].registers.sys[Saved::SctlrEl1] |= 1 << 63;
    let refused = place.restore(&*soft, damaged).map(Running::refused);
    assert_eq!(
        refused.as_deref(),
        Ok("vcpu0 cannot hold the saved SCTLR_EL1")
    );
    let other = Place::new("other", guest(&scratch, Some(24_000_000), true));
    let refused = other.restore(&*soft, saved.clone()).map(Running::refused);
    let line = "its counter runs at 62500000 Hz, here at 24000000 Hz";
    assert!(
        matches!(&refused, Err(StartError::Input(said)) if said.contains(line)),
        "{refused:?}"
    );
    // What was saved is not spoilt by all that.
    let next = place.restore(&*soft, saved).expect("a good state");
    assert_eq!(machine.leave(), "");
    next.control().resume();
    check("after refusals", &next.finish());
}
