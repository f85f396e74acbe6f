//! Instructions that no processor decodes for its hypervisor, at addresses without memory; and calls
//! that the VMM refuses.

use aarch64::machine::RAM_BASE;
use aarch64::{Gpa, Saved, Size, psci};
use armlet_tests::bare::asm::{V, Writeback, X};
use armlet_tests::bare::{Cpu, DEVICE, guest, image, watched};
use hv_backend::api::{Conduit, Exit, Resume};

/// The end of RAM; what follows is mapped as cacheable memory by the page table, and is none.
const END: Gpa = Gpa(RAM_BASE.0 + image::BYTES);
/// Data abort from the same level.
const DATA_ABORT: u64 = 0x25;

fn read(gpa: u64, size: Size) -> Exit {
    Exit::MmioRead {
        gpa: Gpa(gpa),
        size,
    }
}

fn write(gpa: u64, size: Size, data: u64) -> Exit {
    Exit::MmioWrite {
        gpa: Gpa(gpa),
        size,
        data,
    }
}

/// Class and fault status of the last exception.
fn syndrome(cpu: &Cpu) -> (u64, u64) {
    let esr = cpu.sysreg(Saved::EsrEl1);
    (esr >> 26, esr & 0x3f)
}

#[test]
fn a_pair_may_lie_half_in_memory() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 0x11).mov(X(1), 0x22).mov(X(2), END.0 - 8);
            a.store_pair(Size::D, X(0), X(1), X(2), 0);
            a.load_pair(Size::D, X(3), X(4), X(2), 0).report(X(4));
        });
        assert_eq!(cpu.go(), write(END.0, Size::D, 0x22));
        assert_eq!(cpu.answer(Resume::Done), read(END.0, Size::D));
        assert_eq!(cpu.machine.peek(Gpa(END.0 - 8)), 0x11);
        let report = write(DEVICE.0 + 0x100, Size::D, 7);
        assert_eq!(cpu.answer(Resume::Data(7)), report);
        assert_eq!(cpu.x(3), 0x11);
    });
}

#[test]
fn a_refused_half_leaves_the_registers_alone() {
    watched(|| {
        let (a, b, base) = (X(0), X(1), X(2));
        let mut at = 0;
        let mut cpu = guest(|asm| {
            asm.mov(a, 1).mov(b, 2).mov(base, DEVICE.0);
            at = RAM_BASE.0 + asm.len();
            // ldp x0, x1, [x2], #16
            asm.word(0xa8c1_0440);
        });
        assert_eq!(cpu.go(), read(DEVICE.0, Size::D));
        assert_eq!(cpu.answer(Resume::Data(9)), read(DEVICE.0 + 8, Size::D));
        assert_eq!(cpu.exception(Resume::ExternalAbort), image::SYNC);
        assert_eq!(syndrome(&cpu), (DATA_ABORT, 0x10));
        assert_eq!(cpu.sysreg(Saved::FarEl1), DEVICE.0 + 8);
        assert_eq!(cpu.sysreg(Saved::ElrEl1), at);
        assert_eq!([cpu.x(0), cpu.x(1), cpu.x(2)], [1, 2, DEVICE.0]);
    });
}

#[test]
fn the_stack_pointer_moves_as_any_base_does() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 5).mov(X(1), DEVICE.0 + 0x40);
            // mov sp, x1
            a.add_imm(X(31), X(1), 0);
            a.store_moving(Size::D, X(0), X(31), -16, Writeback::Pre);
            // mov x2, sp
            a.add_imm(X(2), X(31), 0).report(X(2));
        });
        assert_eq!(cpu.go(), write(DEVICE.0 + 0x30, Size::D, 5));
        let report = write(DEVICE.0 + 0x100, Size::D, DEVICE.0 + 0x30);
        assert_eq!(cpu.answer(Resume::Done), report);
    });
}

#[test]
fn vectors_of_structures_are_taken_apart() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), DEVICE.0);
            // ld2 {v0.2s, v1.2s}, [x1], #16
            a.word(0x0cdf_8820).store_q(V(1), X(1), 0x30);
        });
        // In accesses of which size, a processor is free to say.
        let words = [2 << 32 | 1, 4 << 32 | 3];
        let mut exit = cpu.go();
        let mut bytes = 0;
        while let Exit::MmioRead { gpa, size } = exit {
            assert_eq!(gpa.0, DEVICE.0 + bytes);
            bytes += size.bytes();
            let offset = (gpa.0 - DEVICE.0) as usize;
            let value: u64 = words[offset / 8] >> (8 * (offset % 8));
            exit = cpu.answer(Resume::Data(value));
        }
        assert_eq!(bytes, 16);
        assert_eq!(exit, write(DEVICE.0 + 0x40, Size::D, 4 << 32 | 2));
        assert_eq!(cpu.answer(Resume::Done), write(DEVICE.0 + 0x48, Size::D, 0));
    });
}

#[test]
fn clearing_a_block_without_memory_is_stores() {
    watched(|| {
        let mut end = 0;
        let mut cpu = guest(|a| {
            a.mov(X(1), END.0 + 0x48);
            // dc zva, x1
            a.word(0xd50b_7421);
            end = a.len();
        });
        for n in 0..8 {
            assert_eq!(cpu.go(), write(END.0 + 0x40 + 8 * n, Size::D, 0));
        }
        cpu.settle(Resume::Done);
        assert_eq!(cpu.pc(), end);
    });
}

#[test]
fn atomics_on_a_device_are_aborts() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), END.0).mov(X(2), 1);
            a.fetch_add(X(0), X(2), X(1));
            // ldxr x0, [x1]
            a.word(0xc85f_7c20);
        });
        for what in ["ldadd", "ldxr"] {
            assert_eq!(cpu.exception(Resume::Done), image::SYNC, "{what}");
            assert_eq!(syndrome(&cpu), (DATA_ABORT, 0x35), "{what}");
            assert_eq!(cpu.sysreg(Saved::FarEl1), END.0, "{what}");
        }
    });
}

#[test]
fn a_call_that_is_refused_is_undefined() {
    watched(|| {
        let mut at = 0;
        let mut cpu = guest(|a| {
            a.mov(X(0), u64::from(psci::id::VERSION));
            at = RAM_BASE.0 + a.len();
            a.hvc(0).report(X(0));
        });
        let call = Exit::Call {
            conduit: Conduit::Hvc,
            imm: 0,
        };
        assert_eq!(cpu.go(), call);
        assert_eq!(cpu.exception(Resume::Undefined), image::SYNC);
        assert_eq!(cpu.sysreg(Saved::EsrEl1), 1 << 25, "unknown reason");
        assert_eq!(cpu.sysreg(Saved::ElrEl1), at);
        assert_eq!(cpu.report(), u64::from(psci::id::VERSION));
    });
}
