//! The generic timers.

use std::sync::atomic::Ordering;

use aarch64::{Saved, SysReg};
use softcpu::{Event, Reply};

use crate::machine::*;

const TVAL: SysReg = SysReg::new(3, 3, 14, 3, 0);
const CTL: SysReg = SysReg::new(3, 3, 14, 3, 1);

fn at(m: &Machine, ticks: u64) {
    m.clock.0.store(ticks, Ordering::SeqCst);
}

#[test]
fn an_output_that_changes_is_an_event() {
    let mut m = Machine::new();
    at(&m, 1000);
    m.set_x(0, 50);
    m.set_x(1, 1);
    assert_eq!(
        m.exec(&[msr(TVAL, 0), msr(CTL, 1), mrs(2, CTL), WFI]),
        Event::Wfi
    );
    assert_eq!(m.get(Saved::CntvCvalEl0), 1050);
    assert_eq!(m.x(2), 1);
    assert_eq!(m.cpu.timer_outputs(), [false, false]);
    at(&m, 1050);
    m.cpu.reply(Reply::Done);
    m.code(
        CODE + 16,
        &[mrs(2, CTL), mrs(3, TVAL), msr(CTL, 31), hvc(1)],
    );
    assert_eq!(m.run(), Event::Timer);
    assert_eq!(m.cpu.timer_outputs(), [true, false]);
    assert_eq!(
        m.run(),
        Event::Timer,
        "switching it off changes the output back"
    );
    assert_eq!((m.x(2), m.x(3)), (5, 0));
    assert_eq!(m.run(), Event::Hvc(1));
}

#[test]
fn a_running_guest_meets_its_deadline() {
    let mut m = Machine::new();
    m.set(Saved::CntpCvalEl0, 10);
    m.set(Saved::CntpCtlEl0, 1);
    m.code(CODE, &[0x1400_0000]); // b .
    let clock = m.clock.clone();
    let advance = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        clock.0.store(10, Ordering::SeqCst);
    });
    assert_eq!(m.run(), Event::Timer);
    assert_eq!(m.cpu.timer_outputs(), [false, true]);
    advance.join().unwrap();
}

#[test]
fn tval_is_a_signed_view_of_the_compare_value() {
    let mut m = Machine::new();
    at(&m, 100);
    m.set_x(0, 0xffff_fff0);
    m.exec(&[msr(TVAL, 0), mrs(1, TVAL), hvc(0)]);
    assert_eq!(m.get(Saved::CntvCvalEl0), 84);
    assert_eq!(m.x(1), 0xffff_fff0);
}

#[test]
fn kicks_and_limits_end_a_run() {
    let mut m = Machine::new();
    m.code(CODE, &[0x1400_0000]);
    m.cluster.seat(0).unwrap().kick();
    assert_eq!(m.run(), Event::Kicked);
    m.cpu.set_limit(Some(12_345));
    assert_eq!(m.run(), Event::QuantumEnd);
    assert!((12_345..12_500).contains(&m.cpu.retired()));
}
