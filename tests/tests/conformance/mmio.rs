//! Loads and stores to where no memory is: what the VMM is told, and what it answers.

use aarch64::{Gpa, Saved, Size};
use armlet_tests::bare::asm::{Asm, Extend, V, Writeback, X, XZR};
use armlet_tests::bare::{Cpu, DEV, DEVICE, guest, image, watched};
use hv_backend::api::{Exit, Resume};

const VALUE: u64 = 0x8877_6655_8483_8281;

fn read(offset: u64, size: Size) -> Exit {
    let gpa = Gpa(DEVICE.0 + offset);
    Exit::MmioRead { gpa, size }
}

fn write(offset: u64, size: Size, data: u64) -> Exit {
    let gpa = Gpa(DEVICE.0 + offset);
    Exit::MmioWrite { gpa, size, data }
}

/// Runs the guest's accesses: the exit each is expected to be, and its answer.
fn carry_out(cpu: &mut Cpu, accesses: &[(Exit, Resume)]) {
    let mut resume = Resume::Done;
    for (expected, answer) in accesses {
        assert_eq!(cpu.answer(resume), *expected);
        resume = *answer;
    }
    cpu.settle(resume);
}

#[test]
fn a_store_of_each_size_tells_its_address_and_value() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), VALUE);
            for (size, offset) in Size::ALL.into_iter().zip([3, 6, 12, 0x18]) {
                a.store(size, X(0), DEV, offset)
                    .store(size, XZR, DEV, offset);
            }
        });
        for (size, offset) in Size::ALL.into_iter().zip([3, 6, 12, 0x18]) {
            assert_eq!(cpu.go(), write(offset, size, VALUE & size.mask()));
            assert_eq!(cpu.go(), write(offset, size, 0), "XZR");
        }
    });
}

/// Loads in each of these forms, and returns what each left in its register.
fn loads(forms: &[(Size, Extend)]) -> Vec<u64> {
    let mut cpu = guest(|a| {
        for (size, extend) in forms {
            // What was there before must not show.
            a.mov(X(0), u64::MAX)
                .load_extended(*size, *extend, X(0), DEV, 8)
                .report(X(0));
        }
    });
    let load = |(size, _): &(Size, Extend)| {
        assert_eq!(cpu.go(), read(8, *size));
        // The answer may hold more than the guest asked for.
        let exit = cpu.answer(Resume::Data(VALUE));
        let Exit::MmioWrite { data, .. } = exit else {
            unreachable!("{exit:?} instead of a report");
        };
        data
    };
    forms.iter().map(load).collect()
}

#[test]
fn a_load_of_each_size_clears_the_bits_above() {
    watched(|| {
        let loaded = loads(&Size::ALL.map(|size| (size, Extend::Zero)));
        assert_eq!(loaded, [0x81, 0x8281, 0x8483_8281, VALUE]);
    });
}

#[test]
fn a_signed_load_of_each_size_copies_the_sign() {
    use Extend::{Sign32, Sign64};
    watched(|| {
        let loaded = loads(&[
            (Size::B, Sign32),
            (Size::B, Sign64),
            (Size::H, Sign32),
            (Size::H, Sign64),
            (Size::W, Sign64),
        ]);
        let extended = [
            0xffff_ff81,
            0xffff_ffff_ffff_ff81,
            0xffff_8281,
            0xffff_ffff_ffff_8281,
            0xffff_ffff_8483_8281,
        ];
        assert_eq!(loaded, extended);
    });
}

#[test]
fn a_signed_load_is_settled_as_it_is_run() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load_extended(Size::B, Extend::Sign64, X(0), DEV, 8);
            // ldrsb xzr, [x28, #8]
            a.load_extended(Size::B, Extend::Sign64, XZR, DEV, 8);
            // ldursh w1, [x28, #8]; ldrsw x2, [x28, x3]
            a.word(0x78c0_8381).mov(X(3), 8).word(0xb8a3_6b82);
            a.report(X(0));
        });
        assert_eq!(cpu.go(), read(8, Size::B));
        cpu.settle(Resume::Data(VALUE));
        assert_eq!((cpu.pc(), cpu.x(0)), (4, 0xffff_ffff_ffff_ff81));
        assert_eq!(cpu.go(), read(8, Size::B));
        assert_eq!(cpu.answer(Resume::Data(VALUE)), read(8, Size::H));
        assert_eq!(cpu.answer(Resume::Data(VALUE)), read(8, Size::W));
        cpu.settle(Resume::Data(VALUE));
        assert_eq!((cpu.x(1), cpu.x(2)), (0xffff_8281, 0xffff_ffff_8483_8281));
        assert_eq!(cpu.report(), 0xffff_ffff_ffff_ff81);
    });
}

#[test]
fn a_load_into_nothing_still_reaches_the_device() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::W, XZR, DEV, 4)
                .load(Size::D, XZR, DEV, 8)
                .report(XZR);
        });
        assert_eq!(cpu.go(), read(4, Size::W));
        assert_eq!(cpu.answer(Resume::Data(VALUE)), read(8, Size::D));
        assert_eq!(cpu.answer(Resume::Data(VALUE)), write(0x100, Size::D, 0));
    });
}

#[test]
fn a_load_may_overwrite_its_own_base_or_the_index() {
    watched(|| {
        let mut cpu = guest(|a| {
            let (base, index) = (X(1), X(2));
            a.mov(base, DEVICE.0)
                .load(Size::W, base, base, 4)
                .report(base);
            a.mov(index, 3)
                .load_indexed(Size::D, index, DEV, index, true)
                .report(index);
            a.mov(index, 5)
                .load_indexed(Size::B, X(3), DEV, index, false)
                .report(X(3));
        });
        for (at, size) in [(4, Size::W), (24, Size::D), (5, Size::B)] {
            assert_eq!(cpu.go(), read(at, size));
            let reported = write(0x100, Size::D, VALUE & size.mask());
            assert_eq!(cpu.answer(Resume::Data(VALUE)), reported);
        }
    });
}

#[test]
fn the_pc_stays_at_the_access_until_it_is_answered() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::W, X(0), DEV, 0).nop().report(X(0));
        });
        assert_eq!(cpu.go(), read(0, Size::W));
        assert_eq!(cpu.pc(), 0);
        cpu.settle(Resume::Data(7));
        assert_eq!((cpu.pc(), cpu.x(0)), (4, 7), "finished, and nothing more");
        assert_eq!(cpu.report(), 7);
        assert_eq!(cpu.pc(), 8);
        cpu.settle(Resume::Done);
        assert_eq!(cpu.pc(), 12);
    });
}

#[test]
fn a_refused_access_is_an_external_abort_of_the_guest() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 5)
                .load(Size::W, X(0), DEV, 8)
                .store(Size::D, X(0), DEV, 16)
                .report(X(0));
        });
        for (expected, at, write) in [(read(8, Size::W), 4, 0), (write(16, Size::D, 5), 8, 1 << 6)]
        {
            assert_eq!(cpu.go(), expected);
            assert_eq!(cpu.exception(Resume::ExternalAbort), image::SYNC);
            assert_eq!(cpu.sysreg(Saved::ElrEl1), cpu_address(at));
            let esr = cpu.sysreg(Saved::EsrEl1);
            assert_eq!(
                esr >> 26,
                0x25,
                "a data abort from the same level: {esr:#x}"
            );
            assert_eq!(esr & 0x3f, 0x10, "a synchronous external abort: {esr:#x}");
            // KVM leaves WnR at 0 whatever the access was.
            assert!([0, write].contains(&(esr & 1 << 6)), "{esr:#x}");
        }
        assert_eq!(cpu.report(), 5, "the register kept its value");
    });
}

fn cpu_address(offset: u64) -> u64 {
    aarch64::machine::RAM_BASE.0 + offset
}

#[test]
fn an_access_that_moves_its_base_register_is_carried_out() {
    watched(|| {
        let (value, base) = (X(0), X(1));
        let mut cpu = guest(|a| {
            a.mov(value, VALUE).mov(base, DEVICE.0);
            a.store_moving(Size::W, value, base, 4, Writeback::Post);
            a.store_moving(Size::D, value, base, 12, Writeback::Pre);
            a.load_moving(Size::H, value, base, -8, Writeback::Post);
        });
        let accesses = [
            (write(0, Size::W, VALUE & 0xffff_ffff), Resume::Done),
            (write(16, Size::D, VALUE), Resume::Done),
            (read(16, Size::H), Resume::Data(0x1234)),
        ];
        carry_out(&mut cpu, &accesses);
        assert_eq!((cpu.x(0), cpu.x(1)), (0x1234, DEVICE.0 + 8));
    });
}

#[test]
fn a_pair_is_two_accesses() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 0x11).mov(X(1), 0x22);
            a.store_pair(Size::D, X(0), X(1), DEV, 16);
            a.load_pair(Size::W, X(2), X(3), DEV, 8);
        });
        let accesses = [
            (write(16, Size::D, 0x11), Resume::Done),
            (write(24, Size::D, 0x22), Resume::Done),
            (read(8, Size::W), Resume::Data(3)),
            (read(12, Size::W), Resume::Data(4)),
        ];
        carry_out(&mut cpu, &accesses);
        assert_eq!((cpu.x(2), cpu.x(3), cpu.pc()), (3, 4, 16));
    });
}

#[test]
fn vector_registers_reach_devices_too() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load_simd(Size::D, V(0), DEV, 8)
                .store_simd(Size::W, V(0), DEV, 4);
            a.load_q(V(1), DEV, 16).store_q(V(1), DEV, 32);
        });
        let accesses = [
            (read(8, Size::D), Resume::Data(VALUE)),
            (write(4, Size::W, VALUE & 0xffff_ffff), Resume::Done),
            (read(16, Size::D), Resume::Data(1)),
            (read(24, Size::D), Resume::Data(2)),
            (write(32, Size::D, 1), Resume::Done),
            (write(40, Size::D, 2), Resume::Done),
        ];
        carry_out(&mut cpu, &accesses);
        let v = cpu.vcpu.simd().expect("registers can be read").v;
        assert_eq!(v[..2], [u128::from(VALUE), 2 << 64 | 1]);
    });
}

#[test]
fn accesses_work_with_the_mmu_off() {
    watched(|| {
        let program = armlet_tests::bare::Program::new(|a: &mut Asm| {
            a.load(Size::W, X(0), DEV, 4).report(X(0));
        });
        let mut cpu = Cpu::alone(&program.without_mmu());
        assert_eq!(cpu.go(), read(4, Size::W));
        assert_eq!(cpu.answer(Resume::Data(9)), write(0x100, Size::D, 9));
    });
}
