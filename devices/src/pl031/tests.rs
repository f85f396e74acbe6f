//! The clock as a driver sees it.

use std::time::Duration;

use proptest::prelude::*;

use super::spec::reg;
use super::*;
use crate::clock::testing::Still;
use crate::irq::testing::Recorder;

const NOW: u64 = 1_700_000_000;

fn rtc() -> (Pl031, Arc<Still>, Arc<Recorder>) {
    let (wire, line) = Recorder::wire();
    let clock = Still::at(NOW);
    (Pl031::new(line, clock.clone(), clock.clone()), clock, wire)
}

fn get(rtc: &Pl031, offset: u16) -> u64 {
    rtc.read(u64::from(offset), Size::W)
}

fn set(rtc: &Pl031, offset: u16, value: u64) {
    rtc.write(u64::from(offset), Size::W, value);
}

#[test]
fn the_counter_is_the_date_and_runs_from_what_is_loaded() {
    let (rtc, clock, _) = rtc();
    assert_eq!(get(&rtc, reg::DR), NOW);
    assert_eq!(get(&rtc, reg::CR), 1);
    set(&rtc, reg::LR, 5);
    clock.set(Duration::from_secs(NOW + 10));
    assert_eq!((get(&rtc, reg::DR), get(&rtc, reg::LR)), (15, 5));
    assert_eq!(
        [get(&rtc, 0xfe0), get(&rtc, 0xfe4), get(&rtc, 0xfe8)],
        [0x31, 0x10, 0x04]
    );
}

#[test]
fn an_alarm_is_armed_to_the_moment_and_rings_once() {
    let (rtc, clock, wire) = rtc();
    clock.set(Duration::from_millis(NOW * 1000 + 250));
    set(&rtc, reg::MR, NOW + 3);
    assert_eq!(clock.armed(), None, "masked");
    set(&rtc, reg::IMSC, 1);
    assert_eq!(clock.armed(), Some(Duration::from_millis(2750)));
    rtc.on_alarm();
    assert_eq!(wire.take(), [], "too early");
    clock.set(Duration::from_secs(NOW + 3));
    rtc.on_alarm();
    assert_eq!(wire.take(), [true]);
    assert_eq!((get(&rtc, reg::RIS), get(&rtc, reg::MIS)), (1, 1));
    set(&rtc, reg::ICR, 1);
    assert_eq!(wire.take(), [false]);
    clock.set(Duration::from_secs(NOW + 4));
    rtc.on_alarm();
    assert_eq!(wire.take(), []);
}

#[test]
fn a_match_is_noticed_late_and_without_an_alarm() {
    let (rtc, clock, wire) = rtc();
    set(&rtc, reg::MR, NOW + 3);
    clock.set(Duration::from_secs(NOW + 100));
    assert_eq!(get(&rtc, reg::RIS), 1);
    assert_eq!(wire.take(), [], "masked");
    set(&rtc, reg::IMSC, 1);
    assert_eq!(wire.take(), [true]);
}

#[test]
fn a_match_with_the_present_second_rings_at_once() {
    let (rtc, _, wire) = rtc();
    set(&rtc, reg::IMSC, 1);
    set(&rtc, reg::MR, NOW);
    assert_eq!(wire.take(), [true]);
}

#[test]
fn a_clock_set_back_rings_nothing() {
    let (rtc, clock, wire) = rtc();
    set(&rtc, reg::IMSC, 1);
    set(&rtc, reg::MR, NOW - 50);
    clock.set(Duration::from_secs(NOW - 100));
    rtc.on_alarm();
    assert_eq!(wire.take(), []);
    assert_eq!(clock.armed(), Some(Duration::from_secs(50)));
}

#[test]
fn an_alarm_due_while_saved_rings_when_the_guest_goes_on() {
    let (old, _, _) = rtc();
    set(&old, reg::MR, NOW + 60);
    set(&old, reg::IMSC, 1);
    let (new, clock, wire) = rtc();
    clock.set(Duration::from_secs(NOW + 3600));
    new.restore(old.save());
    assert_eq!(new.save(), old.save(), "no time passes before");
    assert_eq!(wire.take(), [false]);
    new.on_alarm();
    assert_eq!(wire.take(), [true]);
    assert_eq!(get(&new, reg::DR), NOW + 3600);
}

proptest! {
    #[test]
    fn any_accesses_are_survived_and_the_state_round_trips(
        steps in prop::collection::vec(
            (0_u64..0x1010, 0_usize..4, any::<u64>(), 0_u8..4), 0..100),
    ) {
        let (rtc, clock, _) = rtc();
        for (offset, size, value, what) in steps {
            let size = Size::ALL[size];
            match what {
                0 => prop_assert_eq!(rtc.read(offset, size) & !size.mask(), 0),
                1 => rtc.write(offset, size, value & size.mask()),
                2 => rtc.write(offset & 0x1c, Size::W, value & 0xffff_ffff),
                _ => {
                    clock.set(Duration::from_millis(value));
                    rtc.on_alarm();
                }
            }
        }
        let saved = rtc.save();
        let (wire, line) = Recorder::wire();
        let other = Pl031::new(line, clock.clone(), clock.clone());
        rtc.on_alarm();
        other.restore(saved);
        prop_assert_eq!(other.save(), rtc.save());
        prop_assert_eq!(wire.take(), [get(&rtc, reg::MIS) != 0]);
    }
}
