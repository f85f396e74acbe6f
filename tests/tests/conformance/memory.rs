//! Guest memory: mapped, read-only, taken away and mapped again.

use std::sync::Arc;

use aarch64::machine::{FLASH0, RAM_BASE};
use aarch64::{Gpa, Size};
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::bare::{DATA, MEM, REPORT, guest, image, watched};
use hv_backend::api::{Exit, Resume};
use memory::{Prot, Region};

/// A multiple of every host's page size.
const BYTES: u64 = 0x1_0000;
/// Where there is no memory at first; the page table maps it as a device.
const FLASH: Gpa = FLASH0.base;
/// Above the machine's RAM, where the page table maps cacheable memory.
const HIGH: Gpa = Gpa(RAM_BASE.0 + 0x100_0000);

fn region(word: u64) -> Arc<Region> {
    let region = Arc::new(Region::new(BYTES).expect("memory"));
    region.write(0, &word.to_le_bytes()).expect("inside");
    region
}

fn first(region: &Region) -> u64 {
    region.load_u64(0).expect("inside")
}

/// Loads from X1 and reports, for ever.
fn load_and_report(a: &mut Asm, from: Gpa) {
    a.mov(X(1), from.0);
    let top = a.here();
    a.load(Size::D, X(0), X(1), 0).report(X(0)).b(top);
}

#[test]
fn host_and_guest_see_each_others_stores() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::D, X(0), MEM, 0)
                .add_imm(X(0), X(0), 1)
                .store(Size::D, X(0), MEM, 8);
            a.dsb().report(X(0));
        });
        let ram = cpu.machine.ram().clone();
        ram.write(image::DATA, &41_u64.to_le_bytes()).expect("RAM");
        assert_eq!(cpu.report(), 42);
        assert_eq!(cpu.machine.peek(Gpa(DATA.0 + 8)), 42);
    });
}

#[test]
fn memory_mapped_later_is_there_from_then_on() {
    watched(|| {
        let mut cpu = guest(|a| load_and_report(a, HIGH));
        let exit = Exit::MmioRead {
            gpa: HIGH,
            size: Size::D,
        };
        assert_eq!(cpu.go(), exit);
        cpu.settle(Resume::Data(1));
        let region = region(0x55);
        let mapped = cpu.machine.vm().map(HIGH, region.clone(), Prot::ReadWrite);
        mapped.expect("the place is free");
        assert_eq!(cpu.report(), 1);
        assert_eq!(cpu.report(), 0x55);
        region.write(0, &0x66_u64.to_le_bytes()).expect("inside");
        assert_eq!(cpu.report(), 0x66, "it is the same memory, not a copy");
    });
}

/// An access that was made before memory was mapped at its address, with and without a `settle`.
fn access_and_map(access: impl Fn(&mut Asm), answer: Resume) {
    for settles in [true, false] {
        let mut cpu = guest(|a| {
            a.mov(X(0), 0x77).mov(X(1), HIGH.0);
            access(a);
            a.report(X(0)).load(Size::D, X(0), X(1), 0).report(X(0));
        });
        let exit = cpu.go();
        assert!(
            matches!(
                exit,
                Exit::MmioRead { gpa: HIGH, .. } | Exit::MmioWrite { gpa: HIGH, .. }
            ),
            "{exit:?}"
        );
        let region = region(0x55);
        let mapped = cpu.machine.vm().map(HIGH, region.clone(), Prot::ReadWrite);
        mapped.expect("the place is free");
        let exit = if settles {
            cpu.settle(answer);
            assert_eq!(cpu.x(0), 0x77);
            cpu.go()
        } else {
            cpu.answer(answer)
        };
        let reported = |data| Exit::MmioWrite {
            gpa: REPORT,
            size: Size::D,
            data,
        };
        assert_eq!(exit, reported(0x77), "settles: {settles}");
        assert_eq!(first(&region), 0x55, "settles: {settles}");
        assert_eq!(cpu.answer(Resume::Done), reported(0x55));
    }
}

#[test]
fn an_access_that_was_made_is_answered_whatever_is_mapped_there_now() {
    watched(|| {
        let answer = Resume::Data(0x77);
        let load = |a: &mut Asm| {
            a.load(Size::D, X(0), X(1), 0);
        };
        let store = |a: &mut Asm| {
            a.store(Size::D, X(0), X(1), 0);
        };
        access_and_map(load, answer);
        access_and_map(store, Resume::Done);
    });
}

#[test]
fn a_pair_that_was_begun_is_finished_whatever_is_mapped_there_now() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), HIGH.0);
            a.load_pair(Size::D, X(2), X(3), X(1), 0).report(X(2));
        });
        let read = |offset| Exit::MmioRead {
            gpa: Gpa(HIGH.0 + offset),
            size: Size::D,
        };
        assert_eq!(cpu.go(), read(0));
        let region = region(0x55);
        region.write(8, &0x66_u64.to_le_bytes()).expect("inside");
        let mapped = cpu.machine.vm().map(HIGH, region, Prot::ReadWrite);
        mapped.expect("the place is free");
        let mut exit = cpu.answer(Resume::Data(1));
        let second = match exit == read(8) {
            true => 2,
            false => 0x66,
        };
        if second == 2 {
            exit = cpu.answer(Resume::Data(2));
        }
        let report = Exit::MmioWrite {
            gpa: REPORT,
            size: Size::D,
            data: 1,
        };
        assert_eq!((exit, cpu.x(3)), (report, second));
    });
}

#[test]
fn memory_taken_away_is_gone_and_can_be_replaced() {
    watched(|| {
        let mut cpu = guest(|a| load_and_report(a, HIGH));
        let (old, new) = (region(1), region(2));
        let machine = cpu.machine.clone();
        let vm = machine.vm();
        vm.map(HIGH, old.clone(), Prot::ReadWrite).expect("free");
        assert_eq!(cpu.report(), 1);
        let taken = vm.unmap(HIGH).expect("mapped");
        assert!(Arc::ptr_eq(&taken, &old));
        let exit = Exit::MmioRead {
            gpa: HIGH,
            size: Size::D,
        };
        assert_eq!(cpu.go(), exit);
        cpu.settle(Resume::Data(0));
        vm.map(HIGH, new, Prot::ReadWrite).expect("free again");
        assert_eq!(cpu.report(), 0);
        assert_eq!(cpu.report(), 2);
    });
}

#[test]
fn a_store_to_read_only_memory_leaves_it_alone_and_reaches_the_vmm() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), HIGH.0).mov(X(2), 0x77);
            a.load(Size::D, X(0), X(1), 0).report(X(0));
            a.store(Size::W, X(2), X(1), 4)
                .load(Size::D, X(0), X(1), 0)
                .report(X(0));
        });
        let region = region(0x1234);
        let mapped = cpu.machine.vm().map(HIGH, region.clone(), Prot::ReadOnly);
        mapped.expect("free");
        assert_eq!(cpu.report(), 0x1234);
        let exit = Exit::MmioWrite {
            gpa: Gpa(HIGH.0 + 4),
            size: Size::W,
            data: 0x77,
        };
        assert_eq!(cpu.go(), exit);
        assert_eq!(cpu.report(), 0x1234);
        assert_eq!(first(&region), 0x1234);
    });
}

#[test]
fn code_runs_from_read_only_memory() {
    watched(|| {
        // The page table maps flash as a device, which has no code: run with the MMU off.
        let mut flash = Asm::new();
        flash.mov(X(0), 0xf1a5).report(X(0));
        let region = Arc::new(Region::new(BYTES).expect("memory"));
        region.write(0, &flash.bytes()).expect("inside");
        let program = armlet_tests::bare::Program::new(|a| {
            a.mov(X(1), FLASH.0).br(X(1));
        });
        let mut cpu = armlet_tests::bare::Cpu::alone(&program.without_mmu());
        cpu.machine
            .vm()
            .map(FLASH, region, Prot::ReadOnly)
            .expect("free");
        assert_eq!(cpu.report(), 0xf1a5);
    });
}

#[test]
fn what_cannot_be_mapped_is_refused_and_changes_nothing() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.report(MEM);
        });
        let machine = cpu.machine.clone();
        let vm = machine.vm();
        for (gpa, why) in [
            (RAM_BASE, "there is RAM already"),
            (Gpa(RAM_BASE.0 + image::BYTES - BYTES), "its end is taken"),
            (Gpa(HIGH.0 + 0x800), "misaligned"),
            (Gpa(u64::MAX - BYTES + 1), "beyond the address space"),
        ] {
            assert!(vm.map(gpa, region(0), Prot::ReadWrite).is_err(), "{why}");
        }
        assert!(vm.unmap(HIGH).is_err(), "nothing is there");
        assert!(vm.unmap(DATA).is_err(), "a mapping goes as a whole");
        assert_eq!(cpu.report(), DATA.0);
    });
}
