//! The UART as a driver and as a terminal see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::spec::{Irqs, reg};
use super::*;
use crate::irq::testing::Recorder;
use crate::serial::NullSink;

/// Keeps what the guest sent.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl SerialSink for Log {
    fn put(&mut self, byte: u8) {
        self.0.lock().unwrap().push(byte);
    }
}

struct Bench {
    uart: Pl011,
    wire: Arc<Recorder>,
    log: Log,
}

impl Bench {
    fn new() -> Self {
        let (wire, line) = Recorder::wire();
        let log = Log::default();
        Self {
            uart: Pl011::new(line, Box::new(log.clone())),
            wire,
            log,
        }
    }

    fn get(&self, offset: u16) -> u32 {
        u32::try_from(self.uart.read(u64::from(offset), Size::W)).unwrap()
    }

    fn set(&self, offset: u16, value: u32) {
        self.uart
            .write(u64::from(offset), Size::W, u64::from(value));
    }

    /// As Linux opens the port: FIFOs on, receive interrupts unmasked.
    fn open(self) -> Self {
        self.set(reg::LCR_H, 0x70);
        self.set(reg::CR, 0x301);
        self.set(reg::IMSC, (Irqs::RX | Irqs::RX_TIMEOUT).bits());
        self
    }
}

const RX_EMPTY: u32 = 1 << 4;
const RX_FULL: u32 = 1 << 6;

#[test]
fn bytes_reach_the_output_in_order_whatever_the_access_size() {
    let b = Bench::new();
    for (byte, size) in [
        (b'o', Size::B),
        (b'k', Size::H),
        (b'\r', Size::W),
        (b'\n', Size::D),
    ] {
        b.uart.write(0, size, u64::from(byte));
    }
    assert_eq!(*b.log.0.lock().unwrap(), b"ok\r\n");
    assert_eq!(b.get(reg::FR) & 0xa8, 0x80, "not busy, empty, not full");
}

#[test]
fn reset_values_are_the_manuals() {
    let b = Bench::new();
    assert_eq!(b.get(reg::CR), 0x300);
    assert_eq!(b.get(reg::IFLS), 0x12);
    assert_eq!(b.get(reg::FR) & !0x7, 0x90);
    for offset in [
        reg::LCR_H,
        reg::IMSC,
        reg::RIS,
        reg::MIS,
        reg::IBRD,
        reg::DMACR,
    ] {
        assert_eq!(b.get(offset), 0);
    }
    assert_eq!(
        [b.get(0xfe0), b.get(0xfe4), b.get(0xfe8)],
        [0x11, 0x10, 0x34]
    );
}

#[test]
fn a_machine_that_stands_still_takes_no_input() {
    let b = Bench::new().open();
    b.uart.hold(true);
    let before = b.uart.save();
    assert_eq!((b.uart.room(), b.uart.receive(b"hi")), (0, 0));
    assert_eq!(b.uart.save(), before);
    let (tell, told) = std::sync::mpsc::channel();
    b.uart.on_room(Box::new(move || tell.send(()).unwrap()));
    b.uart.hold(false);
    assert!(told.try_recv().is_ok(), "who was refused is called");
    assert_eq!(b.uart.receive(b"hi"), 2);
}

#[test]
fn input_raises_the_line_until_it_is_read() {
    let b = Bench::new().open();
    assert_eq!(b.uart.receive(b"hi"), 2);
    assert_eq!(b.wire.take(), [true]);
    assert_eq!(
        b.get(reg::MIS),
        Irqs::RX_TIMEOUT.bits(),
        "below the trigger"
    );
    assert_eq!(b.get(reg::DR), u32::from(b'h'));
    assert_eq!(b.wire.take(), []);
    assert_eq!(b.get(reg::DR), u32::from(b'i'));
    assert_eq!(b.wire.take(), [false]);
    assert_eq!(b.get(reg::FR) & RX_EMPTY, RX_EMPTY);
}

#[test]
fn receive_interrupt_follows_the_trigger_level() {
    let b = Bench::new().open();
    b.uart.receive(&[0; 15]);
    assert_eq!(b.get(reg::RIS) & Irqs::RX.bits(), 0);
    b.uart.receive(&[0]);
    assert_eq!(b.get(reg::RIS) & Irqs::RX.bits(), Irqs::RX.bits());
    b.get(reg::DR);
    assert_eq!(b.get(reg::RIS) & Irqs::RX.bits(), 0);
}

#[test]
fn nothing_is_lost_when_the_fifo_is_full_and_room_is_announced() {
    let b = Bench::new().open();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    b.uart.on_room(Box::new(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    let input: Vec<u8> = (0..100).collect();
    let mut sent = b.uart.receive(&input);
    assert_eq!((sent, b.uart.room()), (32, 0));
    assert_eq!(b.get(reg::FR) & RX_FULL, RX_FULL);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let mut got = Vec::new();
    while got.len() < input.len() {
        got.push(b.get(reg::DR).to_le_bytes()[0]);
        sent += b.uart.receive(&input[sent..]);
    }
    assert_eq!(got, input);
    assert!(calls.load(Ordering::Relaxed) > 0);
    assert_eq!(b.get(reg::RIS) & Irqs::OVERRUN.bits(), 0);
}

#[test]
fn input_waits_until_the_guest_listens() {
    let b = Bench::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    b.uart.on_room(Box::new(move || {
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(b.uart.receive(b"early"), 0);
    // A driver that opens the port reads it dry first.
    assert_eq!(b.get(reg::FR) & RX_EMPTY, RX_EMPTY);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let b = b.open();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(b.uart.receive(b"early"), 5);
}

#[test]
fn input_is_not_lost_to_a_guest_that_unmasks_before_it_empties_the_fifo() {
    const RECEIVE: u32 = Irqs::RECEIVE.bits();
    let b = Bench::new();
    for round in 0..2 {
        // pl011_hwinit() of Linux
        b.set(reg::ICR, RECEIVE);
        b.set(reg::IMSC, RECEIVE);
        assert_eq!(b.uart.receive(b"early"), 0, "round {round}");
        // pl011_allocate_irq()
        b.set(reg::IMSC, 0);
        // pl011_enable_interrupts()
        b.set(reg::ICR, RECEIVE);
        assert_eq!(b.get(reg::FR) & RX_EMPTY, RX_EMPTY);
        b.set(reg::IMSC, RECEIVE);
        assert_eq!(b.uart.receive(b"x"), 1);
        assert_eq!(b.get(reg::DR), u32::from(b'x'));
        // A handler may clear what it serves.
        b.set(reg::ICR, RECEIVE);
        assert_eq!(b.uart.room(), 1);
        // pl011_shutdown()
        b.set(reg::IMSC, 0);
        assert_eq!(b.uart.room(), 0);
    }
}

#[test]
fn a_guest_that_never_looks_at_the_flags_listens_once_it_sends() {
    let b = Bench::new();
    b.set(reg::ICR, 0x7ff);
    b.set(reg::IMSC, Irqs::RX.bits());
    b.set(reg::DR, u32::from(b'>'));
    assert_eq!(b.uart.receive(b"x"), 1);
}

#[test]
fn a_guest_that_polls_gets_input_and_one_that_prints_does_not() {
    let b = Bench::new();
    for _ in 0..100 {
        b.get(reg::FR);
        b.set(reg::DR, u32::from(b'.'));
        b.get(reg::FR);
    }
    assert_eq!(b.uart.room(), 0);
    for _ in 0..16 {
        b.get(reg::FR);
    }
    assert_eq!(b.uart.room(), 1, "FIFO off");
    assert_eq!(b.uart.receive(b"ab"), 1);
    assert_eq!(b.get(reg::DR), u32::from(b'a'));
    b.set(reg::DR, u32::from(b'a'));
    assert_eq!(b.uart.receive(b"b"), 1, "an echo does not end the polling");
}

#[test]
fn transmit_interrupt_comes_with_each_byte_and_goes_when_cleared() {
    let b = Bench::new();
    b.set(reg::IMSC, Irqs::TX.bits());
    assert_eq!(b.wire.take(), []);
    b.set(reg::DR, 0);
    assert_eq!(b.wire.take(), [true]);
    b.set(reg::ICR, Irqs::TX.bits());
    assert_eq!(b.wire.take(), [false]);
}

#[test]
fn breaks_are_marked_and_interrupt() {
    let b = Bench::new().open();
    assert!(b.uart.receive_break());
    assert_eq!(b.get(reg::RIS) & Irqs::BREAK.bits(), Irqs::BREAK.bits());
    assert_eq!(b.get(reg::DR), 0x400);
    assert_eq!(b.get(reg::RSR_ECR), 4);
    b.set(reg::RSR_ECR, 0);
    assert_eq!(b.get(reg::RSR_ECR), 0);
}

#[test]
fn loopback_feeds_the_receiver_and_can_overrun() {
    let b = Bench::new();
    b.set(reg::CR, 0x381);
    b.set(reg::DR, 0x41);
    b.set(reg::DR, 0x42);
    assert_eq!(b.get(reg::RIS) & Irqs::OVERRUN.bits(), Irqs::OVERRUN.bits());
    assert_eq!(b.get(reg::DR), 0x841, "with the overrun mark");
    assert!(b.log.0.lock().unwrap().is_empty());
}

#[test]
fn impossible_states_are_refused_by_register() {
    let b = Bench::new();
    let good = b.uart.save();
    let bad = |change: fn(&mut Pl011State)| {
        let mut state = good.clone();
        change(&mut state);
        b.uart.restore(&state).unwrap_err().to_string()
    };
    assert!(bad(|s| s.rx_fifo = vec![0; 33]).contains("receive FIFO"));
    assert!(bad(|s| s.rx_fifo = vec![0x1000]).contains("receive FIFO"));
    assert!(bad(|s| s.cr = 1 << 16).contains("UARTCR"));
    assert!(bad(|s| s.imsc = 1 << 11).contains("UARTIMSC"));
    assert_eq!(b.uart.save(), good);
}

proptest! {
    #[test]
    fn any_accesses_are_survived_and_the_state_round_trips(
        steps in prop::collection::vec(
            (0_u64..0x1010, 0_usize..4, any::<u64>(), 0_u8..4), 0..200),
    ) {
        let b = Bench::new();
        for (offset, size, value, what) in steps {
            let size = Size::ALL[size];
            match what {
                0 => prop_assert_eq!(b.uart.read(offset, size) & !size.mask(), 0),
                1 => b.uart.write(offset, size, value & size.mask()),
                2 => b.uart.write(offset & 0x7c, Size::W, value & 0xffff_ffff),
                _ => {
                    let room = b.uart.room();
                    prop_assert_eq!(b.uart.receive(&value.to_le_bytes()), room.min(8));
                }
            }
        }
        let saved = b.uart.save();
        let (wire, line) = Recorder::wire();
        let other = Pl011::new(line, Box::new(NullSink));
        other.restore(&saved).unwrap();
        prop_assert_eq!(other.save(), saved);
        let high = b.get(reg::MIS) != 0;
        prop_assert_eq!(wire.take(), [high]);
    }
}
