//! The log of memory that vCPUs write.

use std::sync::Arc;

use aarch64::machine::RAM_BASE;
use aarch64::{Gpa, PAGE_SIZE, Size, VcpuId};
use armlet_tests::bare::asm::{Writeback, X};
use armlet_tests::bare::{Cpu, DATA, MEM, Machine, guest, image, watched};
use hv_backend::api::{DirtyLog, Exit, Resume};
use memory::{PageSet, Prot, Region};

/// The number of the page of `DATA`.
const FIRST: u64 = image::DATA / PAGE_SIZE;
/// Pages in the largest page of a host: that of a Mac has 16 KiB.
const LARGEST: u64 = 4;
/// Above the machine's RAM, where the page table maps cacheable memory.
const HIGH: Gpa = Gpa(RAM_BASE.0 + 0x100_0000);

/// The log of the VM, started.
fn log_of(machine: &Machine) -> &dyn DirtyLog {
    let log = machine.vm().dirty_log();
    let log = log.expect("every accelerator keeps one");
    log.start().expect("it starts");
    log
}

fn pages(set: &PageSet) -> Vec<u64> {
    set.iter().collect()
}

fn take(log: &dyn DirtyLog) -> Vec<u64> {
    pages(&log.take(RAM_BASE).expect("RAM begins there"))
}

/// The log has what was written, and nothing else but what shares one of the host's pages with it:
/// those may be as large as [`LARGEST`].
fn assert_logged(log: &[u64], written: &[u64]) {
    let near = |page: &u64| written.iter().any(|w| w / LARGEST == page / LARGEST);
    let complete = written.iter().all(|page| log.contains(page));
    assert!(complete && log.iter().all(near), "{log:?}, not {written:?}");
}

#[test]
fn pages_are_logged_that_the_guest_writes() {
    watched(|| {
        let page = PAGE_SIZE as u32;
        let mut cpu = guest(|a| {
            let (at, far) = (X(1), X(2));
            a.mov(at, DATA.0).mov(far, DATA.0 + 8 * PAGE_SIZE);
            let top = a.here();
            a.load(Size::D, X(0), at, 0)
                .store(Size::B, X(0), at, 0)
                .load(Size::D, X(0), far, 0)
                .add_imm(at, at, page / 2)
                .add_imm(at, at, page / 2)
                .report(at)
                .b(top);
        });
        let machine = Arc::clone(&cpu.machine);
        assert_eq!(cpu.report(), DATA.0 + PAGE_SIZE);
        let log = log_of(&machine);
        assert!(take(log).is_empty(), "what was before does not count");
        for n in 1..4 {
            assert_eq!(cpu.report(), DATA.0 + (n + 1) * PAGE_SIZE);
            // The one since the last time.
            assert_logged(&take(log), &[FIRST + n]);
        }
        for n in 4..7 {
            assert_eq!(cpu.report(), DATA.0 + (n + 1) * PAGE_SIZE);
        }
        assert_logged(&take(log), &[FIRST + 4, FIRST + 5, FIRST + 6]);
        log.stop().expect("it stops");
        assert_eq!(cpu.report(), DATA.0 + 8 * PAGE_SIZE);
        assert!(log.take(RAM_BASE).is_err(), "it is off");
        log.start().expect("it starts again");
        assert!(take(log).is_empty());
    });
}

#[test]
fn a_page_written_again_is_logged_again() {
    watched(|| {
        let mut cpu = guest(|a| {
            let top = a.here();
            a.store(Size::D, X(0), MEM, 8)
                .add_imm(X(0), X(0), 1)
                .report(X(0))
                .b(top);
        });
        let machine = Arc::clone(&cpu.machine);
        let log = log_of(&machine);
        for n in 1..20 {
            assert_eq!(cpu.report(), n);
            assert_logged(&take(log), &[FIRST]);
        }
    });
}

/// A store that is executed for the guest counts as one of it.
#[test]
fn half_a_pair_is_logged_too() {
    watched(|| {
        let end = RAM_BASE.0 + image::BYTES;
        let mut cpu = guest(|a| {
            a.mov(X(0), 5).mov(X(1), end - 8);
            a.store_pair(Size::D, X(0), X(0), X(1), 0);
        });
        let machine = Arc::clone(&cpu.machine);
        let log = log_of(&machine);
        let exit = cpu.go();
        assert!(matches!(exit, Exit::MmioWrite { gpa: Gpa(at), .. } if at == end));
        cpu.settle(Resume::Done);
        assert_logged(&take(log), &[image::BYTES / PAGE_SIZE - 1]);
    });
}

#[test]
fn memory_mapped_while_it_is_on_is_logged_from_the_start() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), HIGH.0);
            let top = a.here();
            a.store_moving(Size::D, X(0), X(1), 8, Writeback::Post);
            a.report(X(1)).b(top);
        });
        let machine = Arc::clone(&cpu.machine);
        let log = log_of(&machine);
        let region = Arc::new(Region::new(16 * PAGE_SIZE).expect("memory"));
        let vm = machine.vm();
        assert!(log.take(HIGH).is_err(), "nothing is there");
        vm.map(HIGH, region, Prot::ReadWrite).expect("room");
        assert_eq!(cpu.report(), HIGH.0 + 8);
        assert_logged(&pages(&log.take(HIGH).expect("it is mapped")), &[0]);
        assert!(take(log).is_empty(), "RAM was not written");
    });
}

/// One instruction may write any number of pages: a loop that clears memory does.
#[test]
fn every_page_of_a_large_loop_is_logged() {
    const PAGES: u64 = 10_500;
    watched(|| {
        let each = LARGEST * PAGE_SIZE;
        let mut cpu = guest(|a| {
            a.mov(X(1), HIGH.0).mov(X(2), PAGES);
            let top = a.here();
            a.store(Size::D, X(2), X(1), 0);
            a.mov(X(3), each).add(X(1), X(1), X(3));
            a.sub_imm(X(2), X(2), 1).cbnz(X(2), top);
            a.report(X(1));
        });
        let machine = Arc::clone(&cpu.machine);
        let region = Arc::new(Region::new(PAGES * each).expect("memory"));
        machine
            .vm()
            .map(HIGH, region, Prot::ReadWrite)
            .expect("room");
        let log = log_of(&machine);
        assert_eq!(cpu.report(), HIGH.0 + PAGES * each);
        let logged = log.take(HIGH).expect("it is mapped");
        assert!((0..PAGES).all(|n| logged.contains(n * LARGEST)));
    });
}

/// No store is lost between two sets, however the taking falls: the guest counts in one page after
/// the other, and each count it reaches has to be in the copy that the log keeps up to date.
#[test]
fn a_copy_kept_by_the_log_is_never_behind() {
    watched(|| {
        const PAGES: u64 = 4;
        let machine = Machine::new(
            1,
            &armlet_tests::bare::Program::new(|a| {
                let (count, at) = (X(0), X(1));
                let again = a.here();
                a.add_imm(count, count, 1).mov(at, DATA.0);
                for _ in 0..PAGES {
                    a.store(Size::D, count, at, 0);
                    a.add_imm(at, at, 0x800).add_imm(at, at, 0x800);
                }
                a.b(again);
            }),
        );
        let log = log_of(&machine);
        let running = Arc::clone(&machine);
        let vcpu = std::thread::spawn(move || {
            let mut cpu = Cpu::bind(&running, VcpuId(0));
            assert_eq!(cpu.go(), Exit::Kicked);
        });
        while count(&machine, PAGES - 1) == 0 {
            std::thread::yield_now();
        }
        let mut copy = [0; PAGES as usize];
        for _ in 0..300 {
            let before: Vec<u64> = (0..PAGES).map(|n| count(&machine, n)).collect();
            for page in take(log) {
                if let Some(n) = page.checked_sub(FIRST).filter(|n| *n < PAGES) {
                    copy[n as usize] = count(&machine, n);
                }
            }
            for (copied, before) in copy.iter().zip(&before) {
                assert!(copied >= before, "{copied} was copied, {before} was there");
            }
        }
        machine.kick(VcpuId(0));
        vcpu.join().expect("the vCPU ends");
        assert!(copy.iter().all(|count| *count > 0), "it went on counting");
    });
}

fn count(machine: &Machine, page: u64) -> u64 {
    machine.peek(Gpa(DATA.0 + page * PAGE_SIZE))
}
