//! Virtio disks: requests of any bytes and any shape.

use std::sync::Arc;

use aarch64::Gpa;
use devices::virtio::block::spec::feature as block;
use devices::virtio::block::testing::MemoryDisk;
use devices::virtio::block::{Block, BlockConfig};
use devices::virtio::mmio::MmioTransport;
use devices::virtio::spec::feature;
use devices::virtio::testing::{
    Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers, ram,
};
use memory::Layout;

use crate::bytes::Bytes;

/// Guest memory: rings in the first four pages, requests behind them.
const PAGES: u64 = 16;
const REQUESTS: u64 = RAM_BASE + 0x4000;
const SECTORS: usize = 16;
const QUEUE: u16 = 16;

/// Whatever a request is, it is answered with a status that there is, or the device stops until a
/// reset; a read-only disk keeps its bytes.
pub fn virtio_block(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let read_only = bytes.flag();
    let before: Vec<u8> = (0..SECTORS * 512).map(|n| (n / 512) as u8).collect();
    let disk = MemoryDisk::new(before.clone(), read_only);
    let config = BlockConfig::default();
    let device = Block::new(Box::new(disk.clone()), Arc::new(Manual::default()), config);
    let (ram, layout) = ram(PAGES);
    let (_, line) = Recorder::wire();
    let slot = MmioTransport::new(Arc::new(device), ram, line, &NoThreads);
    let slot = slot.expect("it takes nothing of the host");
    slot.core().release();
    let features = bytes.pick(&[0, block::FLUSH, block::CONFIG_WCE | feature::EVENT_IDX]);
    let start = || Driver::start(MmioRegisters(&slot), &layout, features, &[QUEUE]);
    let mut driver = start();
    while !bytes.is_empty() {
        if bytes.below(32) == 0 {
            let at = bytes.below(64);
            driver
                .registers
                .set_config(at, bytes.size(), bytes.u8().into());
            continue;
        }
        let status_at = ask(&mut driver, &layout, &mut bytes);
        let _ = slot.core().turn(0);
        let answered = !driver.used(0).is_empty();
        let stopped = driver.registers.status() & 64 != 0;
        assert!(answered != stopped, "{answered} {stopped}");
        if let (true, Some(at)) = (answered, status_at) {
            let mut status = [0];
            layout.read(Gpa(at), &mut status).expect("it is in memory");
            assert!(status[0] <= 2, "{status:?}");
        }
        if stopped {
            driver = start();
        }
    }
    if read_only {
        assert_eq!(disk.contents(), before);
    }
}

/// Makes a request available: its bytes lie one behind the other, in descriptors of any lengths,
/// first those that are read. Where its last byte is, if it is written.
fn ask(
    driver: &mut Driver<MmioRegisters<'_>>,
    layout: &Layout,
    bytes: &mut Bytes<'_>,
) -> Option<u64> {
    let mut header = [0; 16];
    let kind = match bytes.below(4) {
        0 => bytes.u32(),
        _ => bytes.pick(&[0, 1, 4, 8, 11, 13]),
    };
    let sector = match bytes.below(4) {
        0 => bytes.value(),
        _ => bytes.below(SECTORS as u64 + 2),
    };
    header[..4].copy_from_slice(&kind.to_le_bytes());
    header[8..].copy_from_slice(&sector.to_le_bytes());
    layout
        .write(Gpa(REQUESTS), &header)
        .expect("it is in memory");
    let payload = bytes.take(64);
    layout
        .write(Gpa(REQUESTS + 16), payload)
        .expect("it is in memory");
    let (mut at, mut list, mut last) = (REQUESTS, Vec::new(), None);
    let (readable, writable) = (1 + bytes.below(3), bytes.below(4));
    for n in 0..readable + writable {
        let len = bytes.pick(&[16, 1, 15, 32, 256, 512, 1024, 2048]);
        if n < readable {
            list.push(Buffer::Read(at, len));
        } else {
            list.push(Buffer::Write(at, len));
            last = Some(at + u64::from(len) - 1);
        }
        at += u64::from(len);
    }
    if let Some(at) = last {
        layout.write(Gpa(at), &[0xff]).expect("it is in memory");
    }
    driver.send(0, &list);
    last
}
