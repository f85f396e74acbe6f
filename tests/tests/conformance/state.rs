//! Registers come back as they were set, and the guest finds them so.

use aarch64::state::SimdRegs;
use aarch64::{Gpa, Saved, pstate};
use armlet_diff::rng::Rng;
use armlet_tests::bare::asm::{V, X};
use armlet_tests::bare::{Cpu, DATA, MEM, guest, random_seed, watched};
use hv_backend::api::Resume;

/// Bits of FPCR that every CPU has: AHP, DN, FZ, RMode.
const FPCR: u32 = 0x07c0_0000;
/// Bits of FPSR that every CPU has: QC, IDC, IXC, UFC, OFC, DZC, IOC.
const FPSR: u32 = 0x0800_009f;
/// Timers' registers say in this bit whether the time has come.
const ISTATUS: u64 = 4;

fn random_simd(rng: &mut Rng) -> SimdRegs {
    let mut regs = SimdRegs {
        fpcr: rng.word() & FPCR,
        fpsr: rng.word() & FPSR,
        ..SimdRegs::default()
    };
    for v in &mut regs.v {
        *v = u128::from(rng.bits()) << 64 | u128::from(rng.bits());
    }
    regs
}

#[test]
fn vector_registers_keep_random_values() {
    let seed = random_seed("vector registers");
    watched(move || {
        let mut rng = Rng::new(seed, 0);
        let mut cpu = guest(|a| {
            let top = a.here();
            for n in 0..32 {
                a.store_q(V(n), MEM, 16 * u64::from(n));
            }
            a.dsb().report(X(0)).b(top);
        });
        for round in 0..20 {
            let regs = random_simd(&mut rng);
            cpu.vcpu.set_simd(&regs).expect("registers can be set");
            assert_eq!(cpu.vcpu.simd().expect("registers"), regs, "round {round}");
            let _ = cpu.report();
            cpu.settle(Resume::Done);
            assert_eq!(cpu.vcpu.simd().expect("registers"), regs, "round {round}");
            for (n, v) in (0..).zip(regs.v) {
                let at = |offset| Gpa(DATA.0 + 16 * n + offset);
                let (low, high) = (cpu.machine.peek(at(0)), cpu.machine.peek(at(8)));
                assert_eq!(u128::from(high) << 64 | u128::from(low), v, "V{n}");
            }
        }
    });
}

#[test]
fn general_registers_and_flags_keep_random_values() {
    let seed = random_seed("general registers");
    watched(move || {
        let mut rng = Rng::new(seed, 0);
        let mut cpu = guest(|a| {
            let top = a.here();
            for n in 0..27 {
                a.store(aarch64::Size::D, X(n), MEM, 8 * u64::from(n));
            }
            a.dsb().report(X(0)).b(top);
        });
        for _ in 0..20 {
            let mut regs = cpu.vcpu.core().expect("registers");
            for x in &mut regs.x[..27] {
                *x = rng.bits();
            }
            regs.pstate = regs.pstate & !pstate::NZCV | rng.bits() & pstate::NZCV;
            cpu.vcpu.set_core(&regs).expect("registers can be set");
            assert_eq!(cpu.vcpu.core().expect("registers"), regs);
            let _ = cpu.report();
            cpu.settle(Resume::Done);
            let now = cpu.vcpu.core().expect("registers");
            assert_eq!((now.x, now.pstate), (regs.x, regs.pstate));
            for (n, x) in (0..).zip(&regs.x[..27]) {
                assert_eq!(cpu.machine.peek(Gpa(DATA.0 + 8 * n)), *x, "X{n}");
            }
        }
    });
}

/// Every saved register but what only time changes.
fn saved(cpu: &Cpu) -> Vec<(Saved, u64)> {
    let timers = [Saved::CntvCtlEl0, Saved::CntpCtlEl0];
    let status = |reg| if timers.contains(&reg) { ISTATUS } else { 0 };
    let value = |reg: &Saved| (*reg, cpu.sysreg(*reg) & !status(*reg));
    Saved::ALL.iter().map(value).collect()
}

#[test]
fn every_saved_register_can_be_written_back() {
    watched(|| {
        let mut cpu = guest(|a| {
            // Something in the exception registers, the timer and the stack pointers.
            a.svc(3)
                .mov(X(0), 0x1234_5678)
                .msr(Saved::CntvCvalEl0.sysreg(), X(0));
            a.mov(X(1), 2).msr(Saved::CntvCtlEl0.sysreg(), X(1));
            a.msr(Saved::SpEl0.sysreg(), X(0)).isb().report(X(0));
        });
        let _ = cpu.exception(Resume::Done);
        let _ = cpu.report();
        cpu.settle(Resume::Done);
        let before = saved(&cpu);
        for (reg, value) in &before {
            cpu.set_sysreg(*reg, *value);
        }
        assert_eq!(saved(&cpu), before);
    });
}
