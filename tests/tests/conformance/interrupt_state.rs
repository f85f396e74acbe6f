//! The interrupt controller's state: saved, set and moved between accelerators, and reset.

use std::sync::Barrier;
use std::thread;

use aarch64::gic::gicd::CTLR_ENABLE;
use aarch64::gic::{BANKS, CTLR_CBPR, CTLR_EOIMODE, Icc, MIN_BPR0, MIN_BPR1, PRIORITY_MASK};
use aarch64::gic_state::{BankKind, GicBank, GicState, GicVcpuState, IccState};
use aarch64::machine::{SPIS, UART_INTID};
use aarch64::{Intid, VcpuId};
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::bare::{Cpu, Machine, Program, guest, random_seed, watched};
use armlet_tests::skip::does_not_apply;
use devices::gic::Gic;
use hv_backend::api::{Exit, HostError, Resume};

/// Why a test of the kernel's GIC does not run.
const MODELLED: &str = "the accelerator has no GIC; the model has tests of its own";

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn word(&mut self) -> u32 {
        self.next() as u32
    }

    fn between(&mut self, low: u8, high: u8) -> u8 {
        low + (self.next() % u64::from(high - low + 1)) as u8
    }

    fn bank(&mut self, kind: BankKind) -> GicBank {
        GicBank {
            group: self.word(),
            enabled: self.word(),
            latch: self.word(),
            level: self.word() & !kind.sgis(),
            active: self.word(),
            edge: self.word() & kind.configurable() | kind.sgis(),
            priority: std::array::from_fn(|_| self.next() as u8 & PRIORITY_MASK),
        }
    }

    fn icc(&mut self) -> IccState {
        IccState {
            pmr: self.next() as u8 & PRIORITY_MASK,
            bpr0: self.between(MIN_BPR0, 7),
            bpr1: self.between(MIN_BPR1, 7),
            ctlr: self.word() & (CTLR_CBPR | CTLR_EOIMODE),
            igrpen0: self.next() & 1 != 0,
            igrpen1: self.next() & 1 != 0,
            ap0r0: self.word(),
            ap1r0: self.word(),
        }
    }

    /// Any state that every accelerator can hold.
    fn state(&mut self, vcpus: u16) -> GicState {
        let vcpu = |random: &mut Self| GicVcpuState {
            private: random.bank(BankKind::Private),
            icc: random.icc(),
        };
        GicState {
            ctlr: self.word() & CTLR_ENABLE,
            spis: (1..BANKS).map(|_| self.bank(BankKind::Spi)).collect(),
            routes: (0..SPIS).map(|_| self.next() & 0xff_ffff).collect(),
            vcpus: (0..vcpus).map(|_| vcpu(self)).collect(),
        }
    }
}

/// Compares piece by piece, so that a difference can be read.
fn same(found: &GicState, wanted: &GicState) {
    assert_eq!(found.ctlr, wanted.ctlr);
    for (number, (found, wanted)) in (1..).zip(found.spis.iter().zip(&wanted.spis)) {
        assert_eq!(found, wanted, "bank {number}");
    }
    for (spi, (found, wanted)) in (32..).zip(found.routes.iter().zip(&wanted.routes)) {
        assert_eq!(found, wanted, "route of {spi}");
    }
    for (vcpu, (found, wanted)) in found.vcpus.iter().zip(&wanted.vcpus).enumerate() {
        assert_eq!(found, wanted, "vCPU {vcpu}");
    }
    assert!(found == wanted, "a number of banks, routes or vCPUs");
}

/// A state in which vCPU 0 takes group 1 of whatever priority but the lowest.
fn listening(vcpus: u16) -> GicState {
    let mut state = GicState::at_reset(vcpus);
    state.ctlr = CTLR_ENABLE;
    state.vcpus[0].icc.pmr = PRIORITY_MASK;
    state.vcpus[0].icc.igrpen1 = true;
    state
}

/// A program that does nothing.
fn idle() -> Program {
    Program::new(|a| {
        a.stay();
    })
}

/// Reports what it acknowledges, and ends it: for ever.
fn acknowledge_for_ever(a: &mut Asm) {
    let top = a.here();
    a.mrs(X(0), Icc::Iar1.sysreg())
        .report(X(0))
        .msr(Icc::Eoir1.sysreg(), X(0))
        .isb()
        .b(top);
}

#[test]
fn random_states_come_back_equal_and_fit_the_model() {
    watched(|| {
        let mut random = Random(random_seed("interrupt_state"));
        // No vCPU has run: what their timers hold can be set too.
        let machine = Machine::new(2, &idle());
        for _ in 0..12 {
            let state = random.state(2);
            machine.restore_gic(&state);
            let saved = machine.save_gic();
            same(&saved, &state);
            let model = Gic::try_from(&saved).expect("the model takes it");
            same(&model.save(), &state);
        }
    });
}

#[test]
fn what_is_pending_in_a_state_is_delivered() {
    watched(|| {
        let mut cpu = guest(acknowledge_for_ever);
        let mut state = listening(1);
        // An edge that was not taken, and a wire that is high.
        let bank = &mut state.spis[0];
        (bank.enabled, bank.edge) = (1 << 8 | 1 << 9, 1 << 8);
        (bank.latch, bank.level) = (1 << 8, 1 << 9);
        bank.priority[9] = 0x40;
        state.vcpus[0].private.latch = 1 << 5;
        state.vcpus[0].private.priority[5] = 0x80;
        cpu.machine.restore_gic(&state);
        assert_eq!(cpu.report(), 40, "priority 0");
        assert_eq!(cpu.report(), 41);
        assert_eq!(cpu.report(), 41, "its wire is still high");
        cpu.machine.set_spi(Intid(41), false);
        assert_eq!(cpu.report(), 5);
        assert_eq!(cpu.report(), 1023);
    });
}

#[test]
fn an_interrupt_in_progress_moves_with_the_state() {
    watched(|| {
        let mut cpu = guest(acknowledge_for_ever);
        let mut state = listening(1);
        state.spis[0].enabled = 1 << 8;
        state.spis[0].edge = 1 << 8;
        state.spis[0].priority[8] = 0x60;
        cpu.machine.restore_gic(&state);
        cpu.machine.set_spi(Intid(40), true);
        assert_eq!(cpu.report(), 40);
        cpu.settle(Resume::Done);
        let saved = cpu.machine.save_gic();
        state.spis[0].active = 1 << 8;
        state.spis[0].level = 1 << 8;
        state.vcpus[0].icc.ap1r0 = 1 << (0x60 >> 3);
        same(&saved, &state);
        // Through the model, and back into the same GIC after it held something else.
        let moved = Gic::try_from(&saved).expect("the model takes it").save();
        cpu.machine.restore_gic(&listening(1));
        cpu.machine.restore_gic(&moved);
        assert_eq!(cpu.report(), 1023, "it ended what it had taken");
        cpu.settle(Resume::Done);
        (state.spis[0].active, state.vcpus[0].icc.ap1r0) = (0, 0);
        same(&cpu.machine.save_gic(), &state);
        cpu.machine.set_spi(Intid(40), true);
        assert_eq!(cpu.report(), 1023, "the wire was high already");
        cpu.machine.set_spi(Intid(40), false);
        cpu.machine.set_spi(Intid(40), true);
        assert_eq!(cpu.report(), 40);
    });
}

#[test]
fn a_new_machine_is_in_the_reset_state_and_comes_back_to_it() {
    watched(|| {
        let machine = Machine::new(2, &idle());
        let mut reset = GicState::at_reset(2);
        same(&machine.save_gic(), &reset);
        let Some(gic) = machine.vm().kernel_gic() else {
            return does_not_apply("reset of the kernel's GIC", MODELLED);
        };
        let mut random = Random(random_seed("reset"));
        machine.restore_gic(&random.state(2));
        machine.set_spi(UART_INTID, false);
        machine.set_spi(UART_INTID, true);
        gic.reset().expect("no vCPU runs");
        // The wires stay.
        let saved = machine.save_gic();
        for (bank, saved) in reset.spis.iter_mut().zip(&saved.spis) {
            bank.level = saved.level;
        }
        same(&saved, &reset);
        assert_eq!(saved.spis[0].level >> (UART_INTID.0 - 32) & 1, 1);
    });
}

#[test]
fn a_cpu_interface_is_reset_while_others_run() {
    watched(|| {
        let program = Program::new(|a| {
            a.mov(X(0), 1).report(X(0)).stay();
        });
        let machine = Machine::new(2, &program);
        if machine.models_gic() {
            return does_not_apply("reset of one CPU interface", MODELLED);
        }
        let mut state = listening(2);
        state.vcpus[1].icc = state.vcpus[0].icc;
        machine.restore_gic(&state);
        let gic = || machine.vm().kernel_gic().expect("it has one");
        let running = Barrier::new(2);
        thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let mut cpu = Cpu::bind(&machine, VcpuId(0));
                assert_eq!(cpu.report(), 1);
                running.wait();
                assert_eq!(cpu.go(), Exit::Kicked);
            });
            running.wait();
            while !matches!(gic().save(), Err(HostError::BadState(_))) {
                thread::yield_now();
            }
            for _ in 0..20 {
                gic().reset_cpu_interface(VcpuId(1)).expect("it is off");
            }
            machine.kick(VcpuId(0));
            runner.join().expect("the guest ran on");
        });
        state.vcpus[1].icc = IccState::default();
        same(&machine.save_gic(), &state);
    });
}
