//! Events of the host's kernel in place of exits and calls, where the accelerator has them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use aarch64::machine::GICD;
use aarch64::{Gpa, Intid, Size};
use armlet_tests::bare::asm::X;
use armlet_tests::bare::{Cpu, DEV, DEVICE, guest, watched};
use armlet_tests::skip::does_not_apply;
use hv_backend::api::{Doorbell, Doorbells, Exit};

const BELL: Gpa = Gpa(DEVICE.0 + 0x40);
/// An SPI that nothing is connected to.
const SPI: Intid = Intid::spi(40);
/// `GICD_ISPENDRn` and `GICD_ICFGRn` from the base.
const PENDING: u64 = 0x200 + 4 * (SPI.0 as u64 / 32);
const CONFIGURATION: u64 = 0xc00 + 4 * (SPI.0 as u64 / 16);
const EDGE: u64 = 2 << (2 * (SPI.0 % 16));

/// Whether the accelerator has doorbells; the test is skipped if not.
fn are_there(test: &str, cpu: &Cpu) -> bool {
    let there = cpu.machine.vm().doorbells().is_some();
    if !there {
        does_not_apply(test, "the accelerator has no doorbells");
    }
    there
}

fn event(bells: &dyn Doorbells) -> File {
    File::from(bells.event().expect("an event"))
}

/// How often it was signalled since this was last asked.
fn signals(mut event: &File) -> u64 {
    let mut bytes = [0; 8];
    let read = event.read(&mut bytes);
    read.map_or(0, |_| u64::from_le_bytes(bytes))
}

#[test]
fn a_store_rings_instead_of_leaving() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 3).mov(X(1), 4);
            let top = a.here();
            for x in [X(0), X(1), X(0)] {
                a.store(Size::W, x, DEV, 0x40);
            }
            a.store(Size::H, X(0), DEV, 0x40).report(X(0)).b(top);
        });
        if !are_there("doorbells", &cpu) {
            return;
        }
        let store = |size, data| Exit::MmioWrite {
            gpa: BELL,
            size,
            data,
        };
        let bell = Doorbell {
            gpa: BELL,
            size: Some(Size::W),
            value: Some(3),
        };
        let machine = Arc::clone(&cpu.machine);
        let bells = machine.vm().doorbells().expect("seen above");
        let (event, other) = (event(bells), event(bells));
        bells.bind(&bell, event.as_fd()).expect("a bell");
        assert_eq!(cpu.go(), store(Size::W, 4), "another value");
        assert_eq!(signals(&event), 1);
        assert_eq!(cpu.go(), store(Size::H, 3), "another size");
        assert_eq!(signals(&event), 1);
        assert_eq!(cpu.report(), 3);
        bells.unbind(&bell, event.as_fd()).expect("it was there");
        assert!(bells.unbind(&bell, event.as_fd()).is_err(), "it is gone");
        assert_eq!(cpu.go(), store(Size::W, 3));
        let any = Doorbell {
            size: None,
            value: None,
            ..bell
        };
        bells.bind(&any, other.as_fd()).expect("a bell");
        assert_eq!(cpu.report(), 3);
        assert_eq!((signals(&event), signals(&other)), (0, 3));
    });
}

#[test]
fn an_event_raises_its_interrupt() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(1), GICD.base.0).mov(X(0), EDGE);
            a.store(Size::W, X(0), X(1), CONFIGURATION);
            let top = a.here();
            a.load(Size::W, X(0), X(1), PENDING).report(X(0)).b(top);
        });
        if !are_there("doorbells that interrupt", &cpu) {
            return;
        }
        let machine = Arc::clone(&cpu.machine);
        let bells = machine.vm().doorbells().expect("seen above");
        let mut event = event(bells);
        assert!(bells.bind_spi(Intid(27), event.as_fd()).is_err());
        bells.bind_spi(SPI, event.as_fd()).expect("an SPI");
        assert_eq!(cpu.report(), 0);
        let signal = 1_u64.to_le_bytes();
        event.write_all(&signal).expect("it is signalled");
        // The kernel raises it when it comes to that; the watchdog waits no longer than it should.
        while cpu.report() == 0 {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(cpu.report(), 1 << (SPI.0 % 32));
        bells.unbind_spi(SPI, event.as_fd()).expect("it was there");
    });
}
