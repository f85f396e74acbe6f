//! The memory balloon: page numbers, hints, reports and statistics of any shape.

use std::io;
use std::ops::Range;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use aarch64::Gpa;
use aarch64::machine::Span;
use devices::virtio::Next;
use devices::virtio::balloon::spec::{PAGE, feature, hint};
use devices::virtio::balloon::{Balloon, BalloonConfig, Reclaim, Round};
use devices::virtio::mmio::MmioTransport;
use devices::virtio::testing::{
    Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers, ram,
};

use memory::Layout;

use crate::bytes::Bytes;

/// Guest memory: rings in the first pages, buffers behind them.
const PAGES: u64 = 64;
const BUFFERS: u64 = RAM_BASE + 0x2_0000;
const QUEUE: u16 = 16;
const QUEUES: usize = 5;
/// More turns than there can be work for.
const TURNS: usize = 200;

/// Looks at what is given back.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<bool>>);

impl Reclaim for Watch {
    fn reclaim(&self, gpa: Gpa, bytes: u64) -> io::Result<()> {
        let end = gpa.0.checked_add(bytes).expect("it ends");
        assert!(
            bytes > 0 && gpa.0 >= RAM_BASE && end <= RAM_BASE + PAGES * PAGE,
            "{bytes} bytes at {gpa} are not memory"
        );
        match *self.0.lock().expect("nobody panicked") {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => Ok(()),
        }
    }
}

/// A message in memory: page numbers or numbers of hints, in one buffer or two.
fn message(bytes: &mut Bytes<'_>, layout: &Layout) -> Vec<Buffer> {
    let near = (RAM_BASE / PAGE) as u32 + u32::from(bytes.u8());
    let numbers = [
        near,
        bytes.u32(),
        near + 1,
        hint::FIRST + bytes.below(3) as u32,
        hint::STOP,
    ];
    let sent = &numbers[bytes.below(5) as usize..];
    let message: Vec<u8> = sent
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let put = layout.write(Gpa(BUFFERS), &message);
    put.expect("it is in memory");
    let buffer = |n| {
        let len = bytes.pick(&[4, 0, 1, 10, 16, 5000, 0x1_0004]);
        match n == 0 && bytes.flag() {
            true => Buffer::Read(BUFFERS, len),
            false => Buffer::Write(BUFFERS, len),
        }
    };
    (0..1 + near % 2).map(buffer).collect()
}

/// What was hinted is memory, in runs that do not touch; an end is an end.
fn look_at_hints(device: &Balloon, round: Option<Round>, end: bool) {
    let Some(round) = round else {
        return;
    };
    let named = device.hints(round).unwrap_or_default();
    let whole = |run: &Range<u64>| run.start < run.end && run.end <= PAGES;
    assert!(named.iter().all(whole), "{named:?}");
    assert!(named.windows(2).all(|two| two[0].end < two[1].start));
    if end {
        device.end_hints(round);
        assert_eq!(device.hints(round), None);
    }
}

/// Whatever is sent, only memory goes back to the host, and the device comes to rest.
pub fn virtio_balloon(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let watch = Watch::default();
    let span = Span {
        base: Gpa(RAM_BASE),
        size: PAGES * PAGE,
    };
    let config = BalloonConfig {
        target: 0,
        deflate_on_oom: true,
        reporting: true,
    };
    let granule = PAGE << bytes.below(3);
    let clock = Arc::new(Manual::default());
    let device = Balloon::new((Box::new(watch.clone()), clock), span, granule, config);
    let device = Arc::new(device);
    let (ram, layout) = ram(PAGES);
    let (_, line) = Recorder::wire();
    let slot = MmioTransport::new(device.clone(), ram, line, &NoThreads);
    let slot = slot.expect("it takes nothing of the host");
    slot.core().release();
    let features = bytes.pick(&[feature::ALL, 0, feature::REPORTING, feature::FREE_PAGE_HINT]);
    let start = || Driver::start(MmioRegisters(&slot), &layout, features, &[QUEUE; QUEUES]);
    let mut driver = start();
    let mut open = [0_usize; QUEUES];
    let mut round = None;
    while !bytes.is_empty() {
        match bytes.below(9) {
            0 => {
                let size = bytes.value();
                let fits = size <= span.size;
                assert_eq!(device.set_target(size).is_ok(), fits);
            }
            1 => {
                let (told, _) = channel();
                let asked = device.ask_for_hints(told);
                // Whoever asks twice is refused, so there is one at a time.
                round = asked.ok().or(round);
            }
            2 => {
                slot.core().hold();
                let saved = slot.core().save();
                slot.core().restore(&saved).expect("it is its own");
                slot.core().release();
            }
            3 => drop(device.stats().is_some()),
            4 => look_at_hints(&device, round, bytes.flag()),
            5 => *watch.0.lock().expect("nobody panicked") = bytes.flag(),
            _ => {
                let queue = bytes.below(QUEUES as u64) as u16;
                let list = message(&mut bytes, &layout);
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
