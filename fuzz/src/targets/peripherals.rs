//! The small devices: a guest's accesses, what comes from outside, and saved states.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aarch64::machine::UART_INTID;
use aarch64::{Intid, Size};
use devices::bus::MmioDevice;
use devices::clock::{Alarm, Clock};
use devices::irq::{IrqLine, IrqSink};
use devices::pl011::{Pl011, Pl011State};
use devices::pl031::{Pl031, Pl031State};
use devices::pl061::{Pl061, Pl061State};
use devices::serial::NullSink;

use crate::bytes::Bytes;

/// The outside of the devices: time, alarms and wires.
#[derive(Default)]
struct Outside {
    now: Mutex<Duration>,
}

impl Clock for Outside {
    fn wall(&self) -> Duration {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alarm for Outside {
    fn arm(&self, _: Option<Duration>) {}
}

impl IrqSink for Outside {
    fn set_level(&self, _: Intid, _: bool) {}
}

struct Devices {
    outside: Arc<Outside>,
    uart: Pl011,
    rtc: Pl031,
    gpio: Pl061,
}

/// Whatever happens to the devices, they go on, and what they save they take back.
pub fn peripherals(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let outside = Arc::new(Outside::default());
    let line = || IrqLine::new(outside.clone(), UART_INTID);
    let devices = Devices {
        uart: Pl011::new(line(), Box::new(NullSink)),
        rtc: Pl031::new(line(), outside.clone(), outside.clone()),
        gpio: Pl061::new(line(), outside.clone()),
        outside,
    };
    while !bytes.is_empty() {
        match bytes.below(8) {
            0..=4 => access(&devices, &mut bytes),
            5 | 6 => happening(&devices, &mut bytes),
            _ => restore(&devices, &mut bytes),
        }
    }
}

fn access(devices: &Devices, bytes: &mut Bytes<'_>) {
    let all: [&dyn MmioDevice; 3] = [&devices.uart, &devices.rtc, &devices.gpio];
    let device = bytes.pick(&all);
    let size = bytes.size();
    // An access lies inside the device; whether it is aligned is the guest's choice.
    let last = 0x1000 - size.bytes();
    let offset = match bytes.below(4) {
        0 => bytes.below(last + 1),
        1 => last,
        _ => bytes.below(0x20) * 4,
    };
    if bytes.flag() {
        let value = device.read(offset, size);
        assert!(
            size == Size::D || value <= u64::from(u32::MAX),
            "{value:#x}"
        );
    } else {
        device.write(offset, size, bytes.value() & size.mask());
    }
}

fn happening(devices: &Devices, bytes: &mut Bytes<'_>) {
    let Devices {
        outside,
        uart,
        rtc,
        gpio,
    } = devices;
    match bytes.below(8) {
        0 => {
            let to = Duration::from_secs(bytes.value());
            *outside.now.lock().unwrap_or_else(PoisonError::into_inner) = to;
        }
        1 => rtc.on_alarm(),
        2 => gpio.on_alarm(),
        3 => gpio.set_input(u32::from(bytes.u8()), bytes.flag()),
        4 => gpio.press(u32::from(bytes.u8())),
        5 => drop(uart.receive_break()),
        6 => {
            uart.reset();
            rtc.reset();
            gpio.reset();
        }
        _ => {
            let count = bytes.below(80) as usize;
            let (room, input) = (uart.room(), bytes.take(count));
            assert_eq!(uart.receive(input), room.min(input.len()));
        }
    }
}

fn restore(devices: &Devices, bytes: &mut Bytes<'_>) {
    let Devices {
        outside: _,
        uart,
        rtc,
        gpio,
    } = devices;
    match bytes.below(3) {
        0 => {
            let saved = uart_state(uart.save(), bytes);
            if uart.restore(&saved).is_ok() {
                assert_eq!(uart.save().rx_fifo, saved.rx_fifo);
            }
        }
        1 => rtc.restore(Pl031State {
            offset: bytes.u32(),
            load: bytes.u32(),
            matches: bytes.u32(),
            irq_mask: bytes.flag(),
            irq_raw: bytes.flag(),
            compared: bytes.u32(),
        }),
        _ => gpio.restore(Pl061State {
            input: bytes.u8(),
            output: bytes.u8(),
            direction: bytes.u8(),
            sense_level: bytes.u8(),
            both_edges: bytes.u8(),
            event_high: bytes.u8(),
            irq_enable: bytes.u8(),
            edges: bytes.u8(),
            mode: bytes.u8(),
        }),
    }
}

/// A saved UART with some damage.
pub(super) fn uart_state(mut state: Pl011State, bytes: &mut Bytes<'_>) -> Pl011State {
    let damage = bytes.value() as u32;
    let Pl011State {
        rx_fifo,
        rsr,
        ilpr,
        ibrd,
        fbrd,
        lcr_h,
        cr,
        ifls,
        imsc,
        ris,
        dmacr,
        polls,
        opening,
    } = &mut state;
    let words = [rsr, ilpr, ibrd, fbrd, lcr_h, cr, ifls, imsc, ris, dmacr];
    match bytes.below(14) {
        11 => rx_fifo.extend((0..bytes.below(40)).map(|_| bytes.u16())),
        12 => *polls = damage as u8,
        13 => *opening = !*opening,
        index => words
            .into_iter()
            .skip(index as usize)
            .take(1)
            .for_each(|word| *word ^= damage),
    }
    state
}
