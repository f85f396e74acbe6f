//! What a debugger of the guest can stop it at, and how it goes on.

use aarch64::machine::RAM_BASE;
use aarch64::{Gpa, Saved, Size};
use armlet_tests::bare::asm::{Extend, X};
use armlet_tests::bare::{Cpu, DATA, DEV, DEVICE, MEM, guest, image, watched};
use hv_backend::api::{DebugControl, DebugStop, Exit, Resume, WatchKind};

fn stop(stop: DebugStop) -> Exit {
    Exit::Debug(stop)
}

const STEP: Exit = Exit::Debug(DebugStop::Step);

fn debug(cpu: &mut Cpu, control: &DebugControl) {
    cpu.vcpu.set_debug(control).expect("a debugger's wishes");
}

fn steps() -> DebugControl {
    DebugControl {
        single_step: true,
        ..DebugControl::default()
    }
}

fn breakpoints(at: &[u64]) -> DebugControl {
    DebugControl {
        breakpoints: at.iter().map(|at| RAM_BASE.0 + at).collect(),
        ..DebugControl::default()
    }
}

fn watch(at: Gpa, bytes: u64, kind: WatchKind) -> DebugControl {
    DebugControl {
        watchpoints: vec![(at.0, bytes, kind)],
        ..DebugControl::default()
    }
}

#[test]
fn a_step_is_one_instruction() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 1).add_imm(X(0), X(0), 1);
            let skip = a.label();
            a.b(skip).nop().place(skip);
            a.store(Size::D, X(0), MEM, 0).add_imm(X(0), X(0), 1);
        });
        debug(&mut cpu, &steps());
        for (pc, x0) in [(4, 1), (8, 2), (16, 2), (20, 2), (24, 3)] {
            assert_eq!(cpu.go(), STEP);
            assert_eq!((cpu.pc(), cpu.x(0)), (pc, x0));
        }
        debug(&mut cpu, &DebugControl::default());
        cpu.machine.kick(aarch64::VcpuId(0));
        assert_eq!(cpu.go(), Exit::Kicked, "nothing stops it any more");
    });
}

#[test]
fn a_step_ends_after_all_accesses_of_its_instruction() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::W, X(0), DEV, 8);
            a.load_pair(Size::W, X(1), X(2), DEV, 8);
            a.nop();
        });
        debug(&mut cpu, &steps());
        let read = |at: u64| Exit::MmioRead {
            gpa: Gpa(DEVICE.0 + at),
            size: Size::W,
        };
        assert_eq!(cpu.go(), read(8));
        assert_eq!(cpu.answer(Resume::Data(1)), STEP);
        assert_eq!(cpu.pc(), 4);
        assert_eq!(cpu.go(), read(8));
        assert_eq!(cpu.answer(Resume::Data(2)), read(12));
        assert_eq!(cpu.answer(Resume::Data(3)), STEP);
        assert_eq!((cpu.pc(), cpu.x(1), cpu.x(2)), (8, 2, 3));
        assert_eq!(cpu.go(), STEP);
        assert_eq!(cpu.pc(), 12);
    });
}

#[test]
fn a_step_that_was_settled_is_told_next() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.load(Size::W, X(0), DEV, 8);
            a.load_extended(Size::B, Extend::Sign64, X(1), DEV, 8);
            a.store(Size::W, X(0), DEV, 8).nop();
        });
        debug(&mut cpu, &steps());
        for pc in [4, 8, 12] {
            let exit = cpu.go();
            let is_access = matches!(exit, Exit::MmioRead { .. } | Exit::MmioWrite { .. });
            assert!(is_access, "{exit:?}");
            let is_read = pc < 12;
            cpu.settle(if is_read {
                Resume::Data(0x80)
            } else {
                Resume::Done
            });
            assert_eq!(cpu.pc(), pc);
            assert_eq!(cpu.go(), STEP);
            assert_eq!(cpu.pc(), pc, "nothing more was run");
        }
        assert_eq!((cpu.x(0), cpu.x(1)), (0x80, 0xffff_ffff_ffff_ff80));
    });
}

#[test]
fn a_breakpoint_stops_before_its_instruction_each_time() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 5);
            let top = a.here();
            a.add_imm(X(0), X(0), 1).b(top);
        });
        debug(&mut cpu, &breakpoints(&[4]));
        for count in 5..8 {
            assert_eq!(cpu.go(), stop(DebugStop::Breakpoint));
            assert_eq!((cpu.pc(), cpu.x(0)), (4, count));
        }
    });
}

#[test]
fn a_step_goes_over_a_breakpoint() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.nop().nop().nop();
        });
        let control = DebugControl {
            single_step: true,
            ..breakpoints(&[4])
        };
        debug(&mut cpu, &control);
        assert_eq!(cpu.go(), STEP);
        assert_eq!((cpu.go(), cpu.pc()), (stop(DebugStop::Breakpoint), 4));
        assert_eq!((cpu.go(), cpu.pc()), (STEP, 8));
    });
}

#[test]
fn a_watchpoint_stops_before_the_accesses_it_is_for() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 7);
            let top = a.here();
            a.load(Size::D, X(1), MEM, 16)
                .store(Size::W, X(0), MEM, 20)
                .b(top);
        });
        debug(&mut cpu, &watch(Gpa(DATA.0 + 20), 4, WatchKind::Write));
        let told = stop(DebugStop::Watchpoint(DATA.0 + 20));
        assert_eq!((cpu.go(), cpu.pc()), (told, 8));
        assert_eq!(cpu.machine.peek(Gpa(DATA.0 + 16)), 0, "not stored yet");
        assert_eq!((cpu.go(), cpu.pc()), (told, 8));
        assert_eq!(cpu.machine.peek(Gpa(DATA.0 + 16)), 7 << 32);
        debug(&mut cpu, &watch(Gpa(DATA.0 + 16), 8, WatchKind::Read));
        let told = stop(DebugStop::Watchpoint(DATA.0 + 16));
        assert_eq!((cpu.go(), cpu.pc()), (told, 4));
        debug(&mut cpu, &watch(Gpa(DATA.0 + 24), 64, WatchKind::Access));
        cpu.machine.kick(aarch64::VcpuId(0));
        assert_eq!(cpu.go(), Exit::Kicked, "beside it");
    });
}

#[test]
fn a_trapped_brk_is_the_debuggers_and_others_are_the_guests() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.brk(0xf00d).nop();
        });
        let control = DebugControl {
            trap_brk: true,
            ..DebugControl::default()
        };
        debug(&mut cpu, &control);
        assert_eq!((cpu.go(), cpu.pc()), (stop(DebugStop::Brk(0xf00d)), 0));
        debug(&mut cpu, &breakpoints(&[0x100]));
        assert_eq!(cpu.exception(Resume::Done), image::SYNC);
        assert_eq!(cpu.sysreg(Saved::EsrEl1), 0x3c << 26 | 1 << 25 | 0xf00d);
        assert_eq!(cpu.sysreg(Saved::ElrEl1), RAM_BASE.0);
    });
}

#[test]
fn a_step_of_the_guests_own_brk_ends_at_its_vector() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.brk(1);
        });
        debug(&mut cpu, &steps());
        assert_eq!(cpu.go(), STEP);
        assert_eq!(cpu.pc(), image::VECTORS + image::SYNC);
        assert_eq!(cpu.go(), STEP);
        assert_eq!(cpu.pc(), image::VECTORS + image::SYNC + 4);
    });
}

#[test]
fn more_breakpoints_than_the_host_has_are_refused_in_words() {
    watched(|| {
        let mut cpu = guest(|_| {});
        let many: Vec<u64> = (0x1000..0x1400).step_by(4).collect();
        if let Err(error) = cpu.vcpu.set_debug(&breakpoints(&many)) {
            let line = error.to_string();
            assert!(line.contains("breakpoints"), "{line}");
        }
        // Whatever came of that, the vCPU still does as it is told.
        debug(&mut cpu, &breakpoints(&[0]));
        assert_eq!(cpu.go(), stop(DebugStop::Breakpoint));
    });
}
