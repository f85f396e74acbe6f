//! The GPIO as a driver and as a finger see it.

use proptest::prelude::*;

use super::spec::reg;
use super::*;
use crate::clock::testing::Still;
use crate::irq::testing::Recorder;

fn gpio() -> (Pl061, Arc<Still>, Arc<Recorder>) {
    let (wire, line) = Recorder::wire();
    let alarm = Still::at(0);
    (Pl061::new(line, alarm.clone()), alarm, wire)
}

fn get(gpio: &Pl061, offset: u16) -> u64 {
    gpio.read(u64::from(offset), Size::W)
}

fn set(gpio: &Pl061, offset: u16, value: u64) {
    gpio.write(u64::from(offset), Size::B, value);
}

#[test]
fn the_address_masks_the_data_and_inputs_cannot_be_written() {
    let (gpio, _, _) = gpio();
    set(&gpio, reg::DIR, 0x0f);
    set(&gpio, 0x3fc, 0xff);
    assert_eq!(get(&gpio, 0x3fc), 0x0f);
    set(&gpio, 0b0011 << 2, 0);
    assert_eq!(get(&gpio, 0x3fc), 0x0c);
    assert_eq!(get(&gpio, 0b0100 << 2), 0x04);
    gpio.set_input(7, true);
    gpio.set_input(8, true);
    assert_eq!(get(&gpio, 0x3fc), 0x8c);
    assert_eq!(
        [get(&gpio, 0xfe0), get(&gpio, 0xfe4), get(&gpio, 0xfe8)],
        [0x61, 0x10, 0x04]
    );
}

#[test]
fn the_power_key_gives_both_edges_and_is_down_in_between() {
    let (gpio, alarm, wire) = gpio();
    set(&gpio, reg::IBE, 8);
    set(&gpio, reg::IE, 8);
    gpio.press(3);
    assert_eq!(wire.take(), [true]);
    assert_eq!(alarm.armed(), Some(Duration::from_millis(100)));
    assert_eq!((get(&gpio, reg::MIS), get(&gpio, 8 << 2)), (8, 8));
    set(&gpio, reg::IC, 8);
    assert_eq!(wire.take(), [false]);
    gpio.on_alarm();
    assert_eq!(wire.take(), [true]);
    assert_eq!(get(&gpio, 8 << 2), 0);
}

#[test]
fn one_edge_interrupts_and_is_latched_until_cleared() {
    let (gpio, _, wire) = gpio();
    set(&gpio, reg::IE, 1);
    gpio.set_input(0, true);
    assert_eq!(wire.take(), [], "waits for the falling edge");
    gpio.set_input(0, false);
    gpio.set_input(0, true);
    assert_eq!(wire.take(), [true]);
    set(&gpio, reg::IC, 1);
    assert_eq!(wire.take(), [false]);
}

#[test]
fn levels_interrupt_for_as_long_as_they_last() {
    let (gpio, _, wire) = gpio();
    set(&gpio, reg::IS, 1);
    set(&gpio, reg::IEV, 1);
    set(&gpio, reg::IE, 1);
    gpio.set_input(0, true);
    set(&gpio, reg::IC, 1);
    assert_eq!(wire.take(), [true], "clearing does nothing");
    gpio.set_input(0, false);
    assert_eq!(wire.take(), [false]);
}

#[test]
fn masked_interrupts_are_raw_only() {
    let (gpio, _, wire) = gpio();
    set(&gpio, reg::IEV, 2);
    gpio.set_input(1, true);
    assert_eq!((get(&gpio, reg::RIS), get(&gpio, reg::MIS)), (2, 0));
    assert_eq!(wire.take(), []);
}

#[test]
fn a_key_held_while_saved_is_let_go() {
    let (gpio, _, _) = gpio();
    gpio.press(3);
    assert_eq!(gpio.save().input, 0);
    assert_eq!(get(&gpio, 8 << 2), 8, "here it is still down");
}

proptest! {
    #[test]
    fn any_accesses_are_survived_and_the_state_round_trips(
        steps in prop::collection::vec(
            (0_u64..0x1010, 0_usize..4, any::<u64>(), 0_u8..5), 0..100),
    ) {
        let (gpio, _, _) = gpio();
        for (offset, size, value, what) in steps {
            let size = Size::ALL[size];
            match what {
                0 => prop_assert_eq!(gpio.read(offset, size) & !size.mask(), 0),
                1 => gpio.write(offset, size, value & size.mask()),
                2 => gpio.write(0x400 + (offset & 0x3c), Size::W, value & 0xffff_ffff),
                3 => gpio.set_input(u32::from(value.to_le_bytes()[0]), value > 1 << 63),
                _ => gpio.press(u32::from(value.to_le_bytes()[0])),
            }
        }
        gpio.on_alarm();
        let saved = gpio.save();
        let (wire, line) = Recorder::wire();
        let other = Pl061::new(line, Still::at(0));
        other.restore(saved);
        prop_assert_eq!(other.save(), saved);
        prop_assert_eq!(wire.take(), [get(&gpio, reg::MIS) != 0]);
    }
}
