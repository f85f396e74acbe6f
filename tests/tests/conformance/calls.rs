//! HVC and SMC, and the life of vCPUs that PSCI calls ask for.

use std::sync::mpsc::channel;
use std::thread;

use aarch64::psci::id;
use aarch64::{Saved, VcpuId, cpu_model};
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::bare::{Cpu, DEVICE, Machine, Program, guest, watched};
use hv_backend::api::{Conduit, Exit, Resume};

/// `CPU_ON` with arguments of 64 bits.
const CPU_ON: u64 = id::CPU_ON as u64 | 0x4000_0000;
const CPU_OFF: u64 = id::CPU_OFF as u64;
const VERSION: u64 = id::VERSION as u64;

fn call(conduit: Conduit) -> Exit {
    Exit::Call { conduit, imm: 0 }
}

/// A call of PSCI's `VERSION`, which leaves on every accelerator.
fn version(a: &mut Asm, conduit: Conduit) {
    a.mov(X(0), VERSION);
    match conduit {
        Conduit::Hvc => a.hvc(0),
        Conduit::Smc => a.smc(0),
    };
}

#[test]
fn both_conduits_leave_with_their_arguments_and_take_four_results() {
    watched(|| {
        let mut cpu = guest(|a| {
            for n in 1..18 {
                a.mov(X(n), 100 + u64::from(n));
            }
            version(a, Conduit::Hvc);
            a.report(X(3));
            version(a, Conduit::Smc);
            a.report(X(3));
        });
        for (conduit, x3) in [(Conduit::Hvc, 14), (Conduit::Smc, 24)] {
            assert_eq!(cpu.go(), call(conduit));
            let x = cpu.vcpu.core().expect("registers").x;
            assert_eq!(x[0], VERSION);
            assert_eq!(x[17], 117);
            let exit = cpu.answer(Resume::Call([x3 - 3, x3 - 2, x3 - 1, x3]));
            let Exit::MmioWrite { data, .. } = exit else {
                unreachable!("{exit:?} instead of a report");
            };
            assert_eq!(data, x3);
            let x = cpu.vcpu.core().expect("registers").x;
            assert_eq!(x[..5], [x3 - 3, x3 - 2, x3 - 1, x3, 104], "the others stay");
        }
    });
}

#[test]
fn settling_a_call_goes_one_instruction_on_and_no_further() {
    watched(|| {
        for conduit in [Conduit::Hvc, Conduit::Smc] {
            let mut cpu = guest(|a| {
                version(a, conduit);
                a.mov(X(0), 7);
            });
            let after = {
                let mut a = Asm::new();
                version(&mut a, conduit);
                a.len()
            };
            assert_eq!(cpu.go(), call(conduit));
            cpu.settle(Resume::Call([1, 2, 3, 4]));
            assert_eq!((cpu.pc(), cpu.x(0)), (after, 1), "{conduit}");
        }
    });
}

/// The first vCPU turns the second one on, twice; the second says who it is, and turns itself off.
fn two_lives() -> Program {
    let program = Program::new(|a| {
        for context in [0x11, 0x22] {
            a.mov(X(0), CPU_ON)
                .mov(X(1), 1)
                .mov(X(2), 0)
                .mov(X(3), context)
                .hvc(0);
            a.report(X(0));
        }
    });
    program.others(|a| {
        a.report(X(0)).mrs(X(1), cpu_model::MPIDR_EL1).report(X(1));
        // What this life leaves must not be seen in the next.
        a.mrs(X(2), Saved::TpidrEl1.sysreg())
            .report(X(2))
            .mov(X(2), 5);
        a.msr(Saved::TpidrEl1.sysreg(), X(2))
            .mov(X(0), CPU_OFF)
            .hvc(0);
    })
}

#[test]
fn a_vcpu_lives_dies_and_lives_again() {
    watched(|| {
        let machine = Machine::new(2, &two_lives());
        let (turn_on, requests) = channel::<u64>();
        let second = thread::spawn({
            let machine = machine.clone();
            move || {
                let mut lives = Vec::new();
                let mut cpu = Cpu::bind(&machine, VcpuId(1));
                for context in requests {
                    cpu.start();
                    let mut core = machine.program().core(VcpuId(1));
                    core.x[0] = context;
                    cpu.vcpu.set_core(&core).expect("registers can be set");
                    lives.push([cpu.report(), cpu.report(), cpu.report()]);
                    assert_eq!(cpu.go(), call(Conduit::Hvc));
                    assert_eq!(cpu.x(0), CPU_OFF);
                    cpu.settle(Resume::Call([0; 4]));
                }
                lives
            }
        });
        let mut cpu = Cpu::bind(&machine, VcpuId(0));
        for context in [0x11, 0x22] {
            assert_eq!(cpu.go(), call(Conduit::Hvc));
            let x = cpu.vcpu.core().expect("registers").x;
            assert_eq!(x[..2], [CPU_ON, VcpuId(1).affinity()]);
            turn_on.send(context).expect("the thread waits");
            let exit = cpu.answer(Resume::Call([0, x[1], x[2], x[3]]));
            assert!(matches!(exit, Exit::MmioWrite { data: 0, .. }), "{exit:?}");
        }
        drop(turn_on);
        let lives = second.join().expect("the second vCPU runs");
        let mpidr = 1 << 31 | VcpuId(1).affinity();
        assert_eq!(lives, [[0x11, mpidr, 0], [0x22, mpidr, 0]]);
    });
}

#[test]
fn a_vcpu_starts_over_when_its_state_is_rewritten() {
    watched(|| {
        let mut cpu = guest(|a| {
            let tpidr = Saved::TpidrEl0.sysreg();
            a.mrs(X(1), tpidr).report(X(1)).report(X(5));
            a.mov(X(5), 9).msr(tpidr, X(5)).svc(1);
        });
        for _ in 0..3 {
            assert_eq!([cpu.report(), cpu.report()], [0, 0]);
            // It stops in the middle of an exception's handler, with an unanswered access.
            let _ = cpu.exception(Resume::Done);
            assert_eq!((cpu.sysreg(Saved::TpidrEl0), cpu.x(28)), (9, DEVICE.0));
            cpu.settle(Resume::Done);
            cpu.start();
            assert_eq!((cpu.pc(), cpu.x(5), cpu.sysreg(Saved::EsrEl1)), (0, 0, 0));
        }
    });
}
