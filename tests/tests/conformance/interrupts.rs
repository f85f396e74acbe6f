//! Interrupts of each kind, through whichever controller the accelerator goes with.

use std::thread;
use std::time::Duration;

use aarch64::gic::Icc;
use aarch64::{Intid, VcpuId};
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::bare::gic::{PRIORITY, Trigger};
use armlet_tests::bare::{Cpu, Machine, Program, image, watched};
use hv_backend::api::Exit;

const SPI: Intid = Intid::spi(10);
const SGI: Intid = Intid(5);
/// As reports say them.
const SPI_TAKEN: u64 = SPI.0 as u64;
const SGI_TAKEN: u64 = SGI.0 as u64;
/// What programs report between interrupts.
const READY: u64 = 0xaaaa;
const ON: u64 = 0xbbbb;

const FIRST: VcpuId = VcpuId(0);
const SECOND: VcpuId = VcpuId(1);

fn say(a: &mut Asm, word: u64) -> &mut Asm {
    a.mov(X(0), word).report(X(0))
}

/// A program that sets the controller up with the SPI, and handles interrupts.
fn with_spi(trigger: Trigger, then: impl FnOnce(&mut Asm)) -> Program {
    let program = Program::new(|a| {
        a.gic_on(FIRST).spi_on(SPI, trigger);
        then(a);
    });
    program.on(image::IRQ, |a| {
        a.take_irq_and_report();
    })
}

#[test]
fn a_level_spi_comes_as_long_as_it_is_high() {
    watched(|| {
        let mut cpu = Cpu::alone(&with_spi(Trigger::Level, |a| {
            say(a, READY).unmask_irq();
            let top = a.here();
            a.mov(X(1), 1000);
            let inner = a.here();
            a.sub_imm(X(1), X(1), 1).cbnz(X(1), inner);
            say(a, ON).b(top);
        }));
        let machine = cpu.machine.clone();
        assert_eq!(cpu.report(), READY);
        machine.set_spi(SPI, true);
        assert_eq!(cpu.report(), SPI_TAKEN);
        expect_soon(&mut cpu, SPI_TAKEN);
        // The report is the handler's: the interrupt has not ended yet.
        machine.set_spi(SPI, false);
        assert_eq!([cpu.report(), cpu.report()], [ON, ON]);
        machine.set_spi(SPI, true);
        expect_soon(&mut cpu, SPI_TAKEN);
    });
}

/// Waits for a report among others. A controller may take a moment to notice that a line is still
/// high.
fn expect_soon(cpu: &mut Cpu, wanted: u64) {
    let found = (0..100).any(|_| cpu.report() == wanted);
    assert!(found, "no report of {wanted:#x}");
}

#[test]
fn an_edge_spi_comes_once_for_each_edge() {
    watched(|| {
        let mut cpu = Cpu::alone(&with_spi(Trigger::Edge, |a| {
            say(a, READY).unmask_irq().nop().mask_irq();
            for _ in 0..3 {
                say(a, ON).unmask_irq().nop().mask_irq();
            }
            say(a, ON);
        }));
        let machine = cpu.machine.clone();
        assert_eq!(cpu.report(), READY);
        machine.set_spi(SPI, true);
        assert_eq!([cpu.report(), cpu.report()], [SPI_TAKEN, ON], "not twice");
        machine.set_spi(SPI, false);
        machine.set_spi(SPI, true);
        machine.set_spi(SPI, false);
        assert_eq!([cpu.report(), cpu.report()], [SPI_TAKEN, ON]);
        for _ in 0..2 {
            machine.pulse_spi(SPI);
            assert_eq!([cpu.report(), cpu.report()], [SPI_TAKEN, ON]);
        }
    });
}

#[test]
fn the_priority_mask_and_the_pstate_mask_hold_interrupts_back() {
    watched(|| {
        let mut cpu = Cpu::alone(&with_spi(Trigger::Level, |a| {
            let pmr = Icc::Pmr.sysreg();
            say(a, READY).mov(X(1), PRIORITY).msr(pmr, X(1)).isb();
            a.unmask_irq().nop();
            say(a, ON).mask_irq().mov(X(1), 0xff).msr(pmr, X(1)).isb();
            say(a, ON).mrs(X(2), Icc::Hppir1.sysreg()).report(X(2));
            a.unmask_irq().nop();
        }));
        let machine = cpu.machine.clone();
        assert_eq!(cpu.report(), READY);
        machine.set_spi(SPI, true);
        assert_eq!([cpu.report(), cpu.report()], [ON, ON], "masked");
        assert_eq!(
            [cpu.report(), cpu.report()],
            [SPI_TAKEN, SPI_TAKEN],
            "pending, then taken"
        );
    });
}

#[test]
fn an_sgi_reaches_its_sender() {
    watched(|| {
        let program = Program::new(|a| {
            a.gic_on(FIRST).unmask_irq().send_sgi(SGI, 0).nop();
            say(a, ON);
        });
        let mut cpu = Cpu::alone(&program.on(image::IRQ, |a| {
            a.take_irq_and_report();
        }));
        let reports = [cpu.report(), cpu.report()];
        assert!(reports.contains(&SGI_TAKEN), "{reports:x?}");
    });
}

#[test]
fn sgis_go_back_and_forth_between_vcpus() {
    const ROUNDS: usize = 500;
    watched(|| {
        // Each answers the other's SGI with one of its own, whose request is in X21.
        let answer = |vcpu: VcpuId| u64::from(SGI.0) << 24 | 1 << (1 - vcpu.0);
        let wait = |a: &mut Asm| {
            a.unmask_irq();
            let top = a.here();
            a.wfi().b(top);
        };
        let program = Program::new(|a| {
            a.gic_on(FIRST).mov(X(21), answer(FIRST));
            wait(a);
        });
        let program = program.others(|a| {
            a.gic_on(SECOND)
                .mov(X(21), answer(SECOND))
                .send_sgi(SGI, FIRST.0);
            wait(a);
        });
        let program = program.on(image::IRQ, |a| {
            let intid = X(29);
            a.mrs(intid, Icc::Iar1.sysreg())
                .msr(Icc::Eoir1.sysreg(), intid);
            a.report(intid).msr(Icc::Sgi1r.sysreg(), X(21)).isb().eret();
        });
        let machine = Machine::new(2, &program);
        let other = thread::spawn({
            let machine = machine.clone();
            move || {
                let mut cpu = Cpu::bind(&machine, SECOND);
                let mut count = 0;
                while let Exit::MmioWrite { data, .. } = cpu.go() {
                    assert_eq!(data, SGI_TAKEN);
                    count += 1;
                }
                count
            }
        });
        let mut cpu = Cpu::bind(&machine, FIRST);
        for round in 0..ROUNDS {
            assert_eq!(cpu.report(), SGI_TAKEN, "round {round}");
        }
        machine.kick(SECOND);
        let count = other.join().expect("the other side runs");
        assert_eq!(count, ROUNDS - 1, "one for each but the last");
    });
}

#[test]
fn wfi_ends_for_an_interrupt_that_is_masked() {
    watched(|| {
        let mut cpu = Cpu::alone(&with_spi(Trigger::Level, |a| {
            say(a, READY).wfi();
            say(a, ON).unmask_irq().nop();
        }));
        let machine = cpu.machine.clone();
        assert_eq!(cpu.report(), READY);
        let device = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            machine.set_spi(SPI, true);
        });
        assert_eq!([cpu.report(), cpu.report()], [ON, SPI_TAKEN]);
        device.join().expect("it only raises a line");
    });
}

#[test]
fn a_kick_ends_a_wait_for_interrupts() {
    watched(|| {
        let mut cpu = Cpu::alone(&Program::new(|a| {
            let top = a.here();
            a.wfi().b(top);
        }));
        let machine = cpu.machine.clone();
        let kicker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            machine.kick(FIRST);
        });
        assert_eq!(cpu.go(), Exit::Kicked);
        kicker.join().expect("it only kicks");
    });
}
