//! The virtual counter and timer.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use aarch64::gic::Icc;
use aarch64::machine::VIRTUAL_TIMER_INTID;
use aarch64::state::CounterState;
use aarch64::{Saved, SysReg, VcpuId};
use armlet_tests::bare::asm::{Asm, Cond, X};
use armlet_tests::bare::{Cpu, Machine, Program, guest, image, watched};

const CNTVCT_EL0: SysReg = SysReg::new(3, 3, 14, 0, 2);
const CTL: SysReg = Saved::CntvCtlEl0.sysreg();
const CVAL: SysReg = Saved::CntvCvalEl0.sysreg();
/// The timer's interrupt, as reports say it.
const TAKEN: u64 = VIRTUAL_TIMER_INTID.0 as u64;
const ENABLE: u64 = 1;
const MASK: u64 = 2;
const STATUS: u64 = 4;

fn read_counter(a: &mut Asm, to: X) -> &mut Asm {
    a.isb().mrs(to, CNTVCT_EL0)
}

#[test]
fn the_counter_only_goes_forward_and_agrees_with_the_vmms() {
    watched(|| {
        let mut cpu = guest(|a| {
            let top = a.here();
            read_counter(a, X(0)).report(X(0)).b(top);
        });
        let machine = cpu.machine.clone();
        let mut last = machine.vm().counter().value;
        for _ in 0..100 {
            let seen = cpu.report();
            let now = machine.vm().counter().value;
            assert!(last <= seen && seen <= now, "{last} {seen} {now}");
            last = now;
        }
    });
}

#[test]
fn the_counter_goes_on_from_where_it_is_set() {
    watched(|| {
        let mut cpu = guest(|a| {
            let top = a.here();
            read_counter(a, X(0)).report(X(0)).b(top);
        });
        let machine = cpu.machine.clone();
        let frequency = machine.caps().counter_frequency;
        let _ = cpu.report();
        for value in [1 << 40, 5, 1 << 50] {
            let state = CounterState { value, frequency };
            machine
                .vm()
                .set_counter(&state)
                .expect("the frequency is right");
            let seen = cpu.report();
            assert!(
                (value..value + 60 * frequency).contains(&seen),
                "{value} {seen}"
            );
        }
        let state = CounterState {
            value: 0,
            frequency: frequency + 1,
        };
        assert!(machine.vm().set_counter(&state).is_err());
    });
}

#[test]
fn every_vcpu_reads_one_counter() {
    watched(|| {
        let program = Program::new(|a| {
            let top = a.here();
            read_counter(a, X(0)).report(X(0)).b(top);
        });
        let machine = Machine::new(2, &program);
        // Each on its thread: some hosts have one vCPU to a thread.
        let last = Mutex::new(0);
        thread::scope(|scope| {
            for id in [0, 1].map(VcpuId) {
                let (machine, last) = (&machine, &last);
                scope.spawn(move || {
                    let mut cpu = Cpu::bind(machine, id);
                    for _ in 0..100 {
                        let mut last = last.lock().expect("nobody failed");
                        let seen = cpu.report();
                        assert!(seen >= *last, "{last} {seen}");
                        *last = seen;
                    }
                });
            }
        });
    });
}

/// Sets the timer to `ticks` from now, and leaves the compare value in X1.
fn set_timer(a: &mut Asm, ticks: u64, control: u64) -> &mut Asm {
    read_counter(a, X(0)).mov(X(1), ticks).add(X(1), X(0), X(1));
    a.msr(CVAL, X(1)).mov(X(2), control).msr(CTL, X(2)).isb()
}

/// A handler that takes the interrupt, turns the timer off, and reports the counter and the INTID.
fn on_timer(a: &mut Asm) {
    let (counter, intid) = (X(3), X(29));
    a.mrs(intid, Icc::Iar1.sysreg())
        .mrs(counter, CNTVCT_EL0)
        .report(counter);
    a.mov(X(2), 0).msr(CTL, X(2)).isb().report(intid);
    a.msr(Icc::Eoir1.sysreg(), intid).isb().eret();
}

fn ticks(machine: &Machine, time: Duration) -> u64 {
    let ticks = u128::from(machine.caps().counter_frequency) * time.as_nanos() / 1_000_000_000;
    u64::try_from(ticks).expect("short")
}

const SHORT: Duration = Duration::from_millis(20);

fn timer_program(then: impl FnOnce(&mut Asm, u64)) -> Program {
    // A program is made before its machine; every machine of an accelerator is alike.
    let short = ticks(&Machine::new(1, &Program::new(|_| {})), SHORT);
    let program = Program::new(|a| {
        a.gic_on(VcpuId(0));
        then(a, short);
    });
    program.on(image::IRQ, on_timer)
}

#[test]
fn the_timer_interrupts_a_busy_guest_not_before_its_time() {
    watched(|| {
        let mut cpu = Cpu::alone(&timer_program(|a, short| {
            set_timer(a, short, ENABLE).report(X(1)).unmask_irq();
        }));
        let deadline = cpu.report();
        let at = cpu.report();
        assert!(at >= deadline, "{at} {deadline}");
        assert_eq!(cpu.report(), TAKEN);
    });
}

#[test]
fn the_timer_wakes_a_waiting_guest_not_before_its_time() {
    watched(|| {
        let mut cpu = Cpu::alone(&timer_program(|a, short| {
            set_timer(a, short, ENABLE).report(X(1)).unmask_irq();
            let top = a.here();
            a.wfi().b(top);
        }));
        let deadline = cpu.report();
        let start = Instant::now();
        let at = cpu.report();
        assert!(at >= deadline, "{at} {deadline}");
        assert!(start.elapsed() < Duration::from_secs(20), "it is not late");
        assert_eq!(cpu.report(), TAKEN);
    });
}

#[test]
fn a_masked_timer_shows_its_status_and_does_not_interrupt() {
    watched(|| {
        let mut cpu = Cpu::alone(&timer_program(|a, short| {
            set_timer(a, short, ENABLE | MASK).unmask_irq();
            let waiting = a.here();
            a.mrs(X(2), CTL).mov(X(3), ENABLE | MASK | STATUS);
            a.cmp(X(2), X(3))
                .b_cond(Cond::Ne, waiting)
                .nop()
                .report(X(2));
            // Unmasked, it interrupts at once.
            a.mov(X(2), ENABLE).msr(CTL, X(2)).isb().nop();
        }));
        assert_eq!(cpu.report(), ENABLE | MASK | STATUS);
        let _ = cpu.report();
        assert_eq!(cpu.report(), TAKEN);
    });
}

#[test]
fn a_timer_that_expires_while_the_vcpu_is_out_interrupts_afterwards() {
    watched(|| {
        let mut cpu = Cpu::alone(&timer_program(|a, short| {
            set_timer(a, short, ENABLE).report(X(1)).unmask_irq();
        }));
        let deadline = cpu.report();
        thread::sleep(2 * SHORT);
        let at = cpu.report();
        assert!(at >= deadline, "{at} {deadline}");
        assert_eq!(cpu.report(), TAKEN);
    });
}
