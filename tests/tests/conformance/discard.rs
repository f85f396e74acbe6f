//! Memory that is given back to the host.

use std::fs;
use std::sync::Arc;

use aarch64::machine::{FLASH0, RAM_BASE};
use aarch64::{Gpa, PAGE_SIZE, Size, VcpuId};
use armlet_tests::bare::asm::X;
use armlet_tests::bare::{Cpu, DATA, MEM, Machine, Program, guest, image, watched};
use armlet_tests::skip::does_not_apply;
use hv_backend::api::{Exit, HostError};
use memory::{Prot, Region};

/// The largest page of a host: what has this size and begins at a multiple of it can be given back
/// everywhere.
const PAGE: u64 = 0x4000;
/// Above the machine's RAM, where the page table maps cacheable memory.
const HIGH: Gpa = Gpa(RAM_BASE.0 + 0x100_0000);

/// The page of so many in [`DATA`].
const fn page(n: u64) -> Gpa {
    Gpa(DATA.0 + n * PAGE)
}

#[test]
fn a_page_given_back_reads_as_zero_and_its_neighbours_stay() {
    watched(|| {
        let mut cpu = guest(|a| {
            for n in 0..3 {
                a.mov(X(1), page(n).0).mov(X(0), 0x1111 * (n + 1));
                a.store(Size::D, X(0), X(1), 8);
            }
            a.report(X(1));
            for n in 0..3 {
                a.mov(X(1), page(n).0).load(Size::D, X(0), X(1), 8);
                a.report(X(0));
            }
            a.mov(X(1), page(1).0).mov(X(0), 0x77);
            a.store(Size::D, X(0), X(1), 8).report(X(0));
        });
        let machine = Arc::clone(&cpu.machine);
        assert_eq!(cpu.report(), page(2).0);
        machine.vm().discard(page(1), PAGE).expect("RAM");
        assert_eq!([(); 3].map(|()| cpu.report()), [0x1111, 0, 0x3333]);
        assert_eq!(cpu.report(), 0x77);
        let seen = machine.peek(Gpa(page(1).0 + 8));
        assert_eq!(seen, 0x77, "the page is the same for all");
    });
}

#[test]
fn only_whole_pages_go() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.report(MEM).load(Size::D, X(0), MEM, 0).report(X(0));
        });
        let machine = Arc::clone(&cpu.machine);
        for n in 0..3 {
            let at = page(n).0 - RAM_BASE.0;
            for at in [at, at + PAGE - 8] {
                machine.ram().write(at, &[0xee; 8]).expect("RAM");
            }
        }
        assert_eq!(cpu.report(), DATA.0);
        let vm = machine.vm();
        vm.discard(Gpa(page(0).0 + 8), 2 * PAGE).expect("RAM");
        vm.discard(Gpa(page(2).0 + 8), 8).expect("less than a page");
        vm.discard(page(2), 0).expect("nothing at all");
        let kept = u64::from_le_bytes([0xee; 8]);
        let last = |n| machine.peek(Gpa(page(n).0 + PAGE - 8));
        assert_eq!(machine.peek(page(0)), kept);
        assert_eq!((machine.peek(page(1)), last(1)), (0, 0));
        assert_eq!((machine.peek(page(2)), last(2)), (kept, kept));
        assert_eq!(cpu.report(), kept, "the guest sees the same");
    });
}

#[test]
fn what_is_no_memory_of_the_guests_own_is_refused_and_nothing_goes() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::D, X(0), MEM, 0).report(X(0));
        });
        let machine = Arc::clone(&cpu.machine);
        let vm = machine.vm();
        machine.ram().write(image::DATA, &[0xee; 8]).expect("RAM");
        let rom = Arc::new(Region::new(PAGE).expect("memory"));
        rom.write(0, &[1]).expect("inside");
        vm.map(FLASH0.base, rom.clone(), Prot::ReadOnly)
            .expect("free");
        for (gpa, bytes) in [
            (HIGH, PAGE),
            (DATA, image::BYTES),
            (FLASH0.base, PAGE),
            (DATA, u64::MAX),
        ] {
            let refused = vm.discard(gpa, bytes);
            assert!(
                matches!(refused, Err(HostError::Discard { .. })),
                "{bytes:#x} at {gpa}: {refused:?}"
            );
        }
        assert_eq!(cpu.report(), u64::from_le_bytes([0xee; 8]));
        assert_eq!(rom.load_u64(0), Some(1));
    });
}

/// Bytes of memory that this process takes, as Linux counts them.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

#[test]
fn the_host_gets_the_memory() {
    const BYTES: u64 = 32 << 20;
    const STEP: u64 = PAGE_SIZE;
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), HIGH.0).mov(X(2), BYTES / STEP).mov(X(3), STEP);
            let top = a.here();
            a.store(Size::D, X(2), X(1), 0).add(X(1), X(1), X(3));
            a.sub_imm(X(2), X(2), 1).cbnz(X(2), top);
            a.report(X(1));
        });
        let machine = Arc::clone(&cpu.machine);
        let region = Arc::new(Region::new(BYTES).expect("memory"));
        let vm = machine.vm();
        vm.map(HIGH, region, Prot::ReadWrite).expect("free");
        assert_eq!(cpu.report(), HIGH.0 + BYTES);
        let before = resident();
        vm.discard(HIGH, BYTES).expect("RAM");
        let (Some(before), Some(after)) = (before, resident()) else {
            return does_not_apply("memory of this process", "/proc/self/status does not tell");
        };
        let given = before.saturating_sub(after);
        assert!(given > BYTES / 10 * 9, "{given:#x} of {BYTES:#x} came back");
    });
}

/// The guest stores and loads in a page that comes and goes: it reads what it stored or zero, never
/// leaves for it, and no store beside it is lost.
#[test]
fn vcpus_may_run_meanwhile() {
    watched(|| {
        let program = Program::new(|a| {
            let (count, other, seen, again) = (X(0), X(1), X(2), a.label());
            a.mov(other, page(1).0);
            a.place(again);
            a.add_imm(count, count, 1).store(Size::D, count, MEM, 0);
            a.store(Size::D, count, other, 0);
            a.load(Size::D, seen, other, 0).cbz(seen, again);
            a.sub(seen, seen, count).cbz(seen, again);
            a.report(seen);
        });
        let machine = Machine::new(1, &program);
        let running = Arc::clone(&machine);
        let vcpu = std::thread::spawn(move || {
            let mut cpu = Cpu::bind(&running, VcpuId(0));
            assert_eq!(cpu.go(), Exit::Kicked, "{:#x}", cpu.x(2));
            cpu.x(0)
        });
        let count = || machine.peek(page(0));
        for _ in 0..300 {
            let before = count();
            machine.vm().discard(page(1), PAGE).expect("RAM");
            while count() < before + 2 {
                std::thread::yield_now();
            }
        }
        machine.kick(VcpuId(0));
        let counted = vcpu.join().expect("the vCPU ends");
        assert!(counted - count() <= 1, "{counted}, {} in memory", count());
    });
}

#[test]
fn what_is_stored_afterwards_is_logged() {
    watched(|| {
        let mut cpu = guest(|a| {
            let top = a.here();
            a.add_imm(X(0), X(0), 1)
                .store(Size::D, X(0), MEM, 0)
                .report(X(0))
                .b(top);
        });
        let machine = Arc::clone(&cpu.machine);
        let log = machine.vm().dirty_log();
        let log = log.expect("every accelerator keeps one");
        log.start().expect("it starts");
        let take = || log.take(RAM_BASE).expect("RAM begins there");
        assert_eq!(cpu.report(), 1);
        for n in 2..6 {
            machine.vm().discard(DATA, PAGE).expect("RAM");
            assert_eq!(machine.peek(DATA), 0);
            let _before = take();
            assert_eq!(cpu.report(), n);
            assert!(take().contains(image::DATA / PAGE_SIZE), "{n}");
        }
    });
}
