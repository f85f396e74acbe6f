//! Streams of bytes through a port, cut up at random on both sides, and what hostile drivers send.

use proptest::prelude::*;

use super::super::testing::{Buffer, Driver, MmioRegisters};
use super::tests::{DATA, Rig};
use super::*;

/// What happens between the two ends of a port.
#[derive(Clone, Debug)]
enum Step {
    /// The host sends so many bytes.
    HostSends(u16),
    /// The host takes so many more.
    HostTakes(u16),
    /// The guest has room for so many.
    GuestReads(u32),
    /// The guest sends so many, in two parts.
    GuestSends(u32, u32),
    /// The machine is paused, saved, and goes on from what was saved.
    Moves,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u16..6000).prop_map(Step::HostSends),
        (0_u16..6000).prop_map(Step::HostTakes),
        (0_u32..6000).prop_map(Step::GuestReads),
        (0_u32..6000, 0_u32..6000).prop_map(|(one, two)| Step::GuestSends(one, two)),
        Just(Step::Moves),
    ]
}

/// Byte `n` of any stream.
fn byte(n: usize) -> u8 {
    (n % 251) as u8
}

fn stream(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(byte).collect()
}

/// Where the guest's buffer of input is, and that of output; there is one of each at most.
const INPUT: u64 = DATA + 0x1000;
const OUTPUT: u64 = DATA + 0x4000;

struct Streams<'a> {
    rig: &'a Rig,
    driver: Driver<MmioRegisters<'a>>,
    host_sent: usize,
    guest_sent: usize,
    read: Vec<u8>,
    /// Buffers that the device has, of each.
    reads: usize,
    sends: usize,
}

impl Streams<'_> {
    fn take(&mut self, step: &Step) {
        match *step {
            Step::HostSends(count) => {
                let bytes = stream(self.host_sent, count.into());
                self.host_sent += bytes.len();
                self.rig.agent.change(|end| end.input.extend(bytes));
            }
            Step::HostTakes(count) => {
                self.rig.agent.change(|end| end.room += usize::from(count));
            }
            Step::GuestReads(len) if self.reads == 0 => {
                self.driver.send(4, &[Buffer::Write(INPUT, len)]);
                self.reads += 1;
            }
            Step::GuestSends(one, two) if self.sends == 0 => {
                let at = OUTPUT;
                let bytes = stream(self.guest_sent, (one + two) as usize);
                self.guest_sent += bytes.len();
                self.rig.write(at, &bytes);
                let parts = [
                    Buffer::Read(at, one),
                    Buffer::Read(at + u64::from(one), two),
                ];
                self.driver.send(5, &parts);
                self.sends += 1;
            }
            Step::Moves => {
                let core = self.rig.slot.core();
                core.hold();
                let saved = core.save();
                core.restore(&saved).unwrap();
                core.release();
            }
            Step::GuestReads(_) | Step::GuestSends(..) => {}
        }
        self.rig.settle();
        for (_, written) in self.driver.used(4) {
            self.reads -= 1;
            self.read.extend(self.rig.bytes(INPUT, written));
        }
        self.sends -= self.driver.used(5).len();
    }
}

proptest! {
    #[test]
    fn streams_arrive_whole_and_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let rig = Rig::new();
        rig.agent.change(|end| end.open = true);
        let mut streams = Streams {
            driver: rig.ready(),
            rig: &rig,
            host_sent: 0,
            guest_sent: 0,
            read: Vec::new(),
            reads: 0,
            sends: 0,
        };
        for step in &steps {
            streams.take(step);
            let (waiting, got) = rig.agent.change(|end| (end.input.len(), end.output.clone()));
            prop_assert_eq!(streams.read.len() + waiting, streams.host_sent);
            prop_assert_eq!(&streams.read, &stream(0, streams.read.len()));
            prop_assert_eq!(&got, &stream(0, got.len()));
            prop_assert!(got.len() <= streams.guest_sent);
        }
        // Nothing is lost on the way: with all the room there is, the rest arrives.
        rig.agent.change(|end| end.room = 1 << 20);
        rig.settle();
        prop_assert_eq!(rig.agent.change(|end| end.output.len()), streams.guest_sent);
    }

    #[test]
    fn any_messages_are_survived(messages in prop::collection::vec(any::<[u8; 8]>(), 1..40)) {
        let rig = Rig::new();
        let mut driver = rig.driver(feature::MULTIPORT);
        let mut waiting = 0;
        for mut bytes in messages {
            // Ports and events that there are, mostly.
            bytes[1..4].fill(0);
            bytes[0] %= 3;
            bytes[4] %= 9;
            bytes[5] = 0;
            bytes[7] = 0;
            rig.write(DATA, &bytes);
            driver.send(3, &[Buffer::Read(DATA, 8)]);
            // No more buffers than the ring has room for.
            let more = u64::from(waiting < 8);
            let told = rig.hear(&mut driver, more);
            waiting = waiting + more as usize - told.len();
            prop_assert!(told.iter().all(|(port, ..)| *port < 2));
            prop_assert_eq!(driver.used(3).len(), 1);
        }
    }
}
