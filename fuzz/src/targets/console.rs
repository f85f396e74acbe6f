//! The virtio console: messages and buffers of any shape, with hosts that come, go and stand still.

use std::sync::Arc;

use aarch64::Gpa;
use devices::virtio::Next;
use devices::virtio::console::spec::feature;
use devices::virtio::console::testing::MemoryEnd;
use devices::virtio::console::{Console, PortEnd};
use devices::virtio::mmio::MmioTransport;
use devices::virtio::testing::{
    Buffer, Driver, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers, ram,
};

use crate::bytes::Bytes;

/// Guest memory: rings in the first pages, buffers behind them.
const PAGES: u64 = 48;
const BUFFERS: u64 = RAM_BASE + 0x2_0000;
const QUEUE: u16 = 16;
/// Of two ports.
const QUEUES: usize = 6;
/// More turns than there can be work for.
const TURNS: usize = 200;

/// Whatever is sent, the device comes to rest, keeps no bytes, and gives no buffer back twice.
pub fn virtio_console(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let ends = [MemoryEnd::open(64), MemoryEnd::default()];
    let [terminal, named] = ends.clone().map(|end| Box::new(end) as Box<dyn PortEnd>);
    let device = Arc::new(Console::new(Some(terminal), vec![("port".into(), named)]));
    let (ram, layout) = ram(PAGES);
    let (_, line) = Recorder::wire();
    let slot = MmioTransport::new(device.clone(), ram, line, &NoThreads);
    let slot = slot.expect("it takes nothing of the host");
    slot.core().release();
    let features = bytes.pick(&[feature::MULTIPORT, feature::MULTIPORT | feature::SIZE, 0]);
    let start = || Driver::start(MmioRegisters(&slot), &layout, features, &[QUEUE; QUEUES]);
    let mut driver = start();
    let mut open = [0_usize; QUEUES];
    while !bytes.is_empty() {
        match bytes.below(8) {
            0 => {
                let (is_open, room) = (bytes.flag(), bytes.u8().into());
                let input = bytes.take(9).to_vec();
                ends[usize::from(bytes.flag())].change(|end| {
                    (end.open, end.room) = (is_open, room);
                    end.input.extend(input);
                });
            }
            1 => device.resize(bytes.u16(), bytes.u16()),
            2 => {
                slot.core().hold();
                let saved = slot.core().save();
                slot.core().restore(&saved).expect("it is its own");
                slot.core().release();
            }
            _ => {
                let queue = bytes.below(QUEUES as u64) as u16;
                let message = bytes.take(8);
                let put = layout.write(Gpa(BUFFERS), message);
                put.expect("it is in memory");
                let list: Vec<Buffer> = (0..1 + bytes.below(2))
                    .map(|_| {
                        let (at, len) = (BUFFERS, bytes.pick(&[8, 0, 1, 7, 64, 5000]));
                        if queue.is_multiple_of(2) {
                            Buffer::Write(at, len)
                        } else {
                            Buffer::Read(at, len)
                        }
                    })
                    .collect();
                // No more than the ring has room for.
                if open[usize::from(queue)] < usize::from(QUEUE) / 2 {
                    driver.send(queue, &list);
                    open[usize::from(queue)] += 1;
                }
            }
        }
        let rests = |_: &usize| !matches!(slot.core().turn(0), Next::Again);
        assert!((0..TURNS).any(|n| rests(&n)), "it comes to rest");
        for (queue, open) in (0..).zip(&mut open) {
            let used = driver.used(queue).len();
            assert!(used <= *open, "queue {queue}: {used} of {open}");
            *open -= used;
        }
        if driver.registers.status() & 64 != 0 {
            driver = start();
            open = [0; QUEUES];
        }
    }
}
