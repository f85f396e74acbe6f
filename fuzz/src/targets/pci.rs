//! The PCIe host bridge: configuration space, BARs put anywhere, interrupts, and saved states.

use std::sync::{Arc, Mutex, PoisonError};

use aarch64::machine::{PCIE_ECAM, PCIE_MMIO};
use aarch64::{Gpa, Intid, Size};
use devices::bus::Bus;
use devices::irq::{IrqLine, IrqSink};
use devices::pci::{
    BARS, Bar, Capability, Decoding, Description, Identity, Interrupts, MsiSink, PciFunction,
    PciHost, PciState, Slot, Vectors, Width,
};

use crate::bytes::Bytes;

/// Slots that have a function.
const SLOTS: [u8; 3] = [1, 2, 31];
/// Sizes of the BARs of each, by their numbers: of 32 bits, of 64 bits, and the table of vectors.
const SIZES: [(usize, u64); 3] = [(0, 0x4000), (2, 0x10_0000), (4, 0x1000)];

struct Outside;

impl IrqSink for Outside {
    fn set_level(&self, _: Intid, _: bool) {}
}

impl MsiSink for Outside {
    fn signal(&self, _: u64, _: u32) {}
}

#[derive(Default)]
struct Function(Mutex<Decoding>);

impl Function {
    fn decoding(&self) -> Decoding {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PciFunction for Function {
    fn description(&self) -> Description {
        let mut bars = [None; BARS];
        let bar = |size, width| Bar {
            size,
            width,
            prefetchable: false,
        };
        bars[0] = Some(bar(SIZES[0].1, Width::Bits32));
        bars[2] = Some(bar(SIZES[1].1, Width::Bits64));
        Description {
            identity: Identity {
                vendor: 1,
                device: 2,
                revision: 3,
                class: 4,
                subsystem_vendor: 5,
                subsystem: 6,
            },
            bars,
            capabilities: vec![
                Capability::vendor(vec![0; 14]),
                Capability::bar_window(vec![20, 5]),
            ],
            interrupts: Some(Vectors {
                count: 67,
                bar: SIZES[2].0,
            }),
        }
    }

    fn read_bar(&self, bar: usize, offset: u64, size: Size) -> u64 {
        check_inside(bar, offset, size);
        offset
    }

    fn write_bar(&self, bar: usize, offset: u64, size: Size, _: u64) {
        check_inside(bar, offset, size);
    }

    fn set_decoding(&self, now: &Decoding) {
        for (bar, place) in now.bars.iter().enumerate() {
            let Some(Gpa(place)) = place else { continue };
            let size = SIZES.iter().find(|(index, _)| *index == bar);
            let size = size.expect("only BARs that are there are anywhere").1;
            assert!(place.is_multiple_of(size));
            let last = Gpa(place + size - 1);
            assert!(PCIE_MMIO.contains(Gpa(*place)) && PCIE_MMIO.contains(last));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = *now;
    }

    fn reset(&self) {}
}

fn check_inside(bar: usize, offset: u64, size: Size) {
    let (_, bytes) = SIZES
        .iter()
        .find(|(index, _)| *index == bar)
        .expect("a BAR");
    assert!(offset + size.bytes() <= *bytes, "{bar} {offset:#x}");
}

struct Rig {
    bus: Bus,
    host: Arc<PciHost>,
    functions: Vec<Arc<Function>>,
    interrupts: Vec<Arc<Interrupts>>,
}

impl Rig {
    fn new() -> Self {
        let outside = Arc::new(Outside);
        let line = |intid| IrqLine::new(outside.clone(), intid);
        let mut host = PciHost::new(line, outside.clone());
        let (mut functions, mut interrupts) = (Vec::new(), Vec::new());
        for slot in SLOTS.into_iter().filter_map(Slot::new) {
            let function = Arc::new(Function::default());
            let all = host.interrupts(slot, 67);
            host.insert(slot, function.clone(), all.clone())
                .expect("each slot is taken once");
            functions.push(function);
            interrupts.push(all);
        }
        let host = Arc::new(host);
        let mut bus = Bus::new();
        host.attach(&mut bus).expect("the bus is empty");
        Self {
            bus,
            host,
            functions,
            interrupts,
        }
    }

    fn decodings(&self) -> Vec<Decoding> {
        self.functions.iter().map(|one| one.decoding()).collect()
    }
}

/// Whatever a guest does to the bridge, BARs are reached inside of their sizes only, none relies on
/// a place that another has, and what is saved can be restored.
pub fn pci(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut rig = Rig::new();
    while !bytes.is_empty() {
        operation(&mut rig, &mut bytes);
    }
    check_disjoint(&rig.decodings());
    let saved = rig.host.save();
    let other = Rig::new();
    other.host.restore(&saved).expect("what was saved restores");
    assert_eq!(other.host.save(), saved);
    assert_eq!(other.decodings(), rig.decodings());
}

fn operation(rig: &mut Rig, bytes: &mut Bytes<'_>) {
    let one = bytes.below(SLOTS.len() as u64) as usize;
    match bytes.below(16) {
        0 => rig.interrupts[one].signal(bytes.u16()),
        1 => rig.interrupts[one].set_pin(bytes.flag()),
        2 if bytes.below(8) == 0 => rig.host.reset(),
        3 => {
            let mut saved = rig.host.save();
            for _ in 0..bytes.below(3) {
                damage(&mut saved, bytes);
            }
            let before = rig.host.save();
            match rig.host.restore(&saved) {
                Ok(()) => assert_eq!(rig.host.save(), saved),
                Err(_) => assert_eq!(rig.host.save(), before),
            }
        }
        4..=6 => window(rig, bytes),
        _ => config(rig, u64::from(SLOTS[one]), bytes),
    }
}

fn access(rig: &Rig, at: u64, size: Size, bytes: &mut Bytes<'_>) {
    if bytes.below(4) == 0 {
        let value = rig.bus.read(Gpa(at), size).expect("all of it is answered");
        assert!(value <= size.mask());
    } else {
        let value = match bytes.below(4) {
            0 => PCIE_MMIO.base.0 + (bytes.value() & 0x3fff_f000),
            1 => u64::MAX,
            _ => bytes.value(),
        };
        rig.bus.write(Gpa(at), size, value).expect("all is taken");
    }
}

fn config(rig: &Rig, device: u64, bytes: &mut Bytes<'_>) {
    let size = bytes.size();
    let offset = match bytes.below(8) {
        // Memory space and all else.
        0 | 1 => device << 15 | 4,
        2 => bytes.below(PCIE_ECAM.size - 8),
        3 => device << 15 | bytes.below(0x1000 - 8),
        4 | 5 => device << 15 | (0x10 + 4 * bytes.below(6)),
        _ => device << 15 | bytes.below(0x70),
    };
    access(rig, PCIE_ECAM.base.0 + offset, size, bytes);
}

/// Mostly near where a BAR is.
fn window(rig: &Rig, bytes: &mut Bytes<'_>) {
    let size = bytes.size();
    let decodings = rig.decodings();
    let places: Vec<Gpa> = decodings
        .iter()
        .flat_map(|one| one.bars)
        .flatten()
        .collect();
    let last = PCIE_MMIO.size - size.bytes();
    let at = match places.is_empty() || bytes.below(8) == 0 {
        true => PCIE_MMIO.base.0 + bytes.below(last + 1),
        false => bytes.pick(&places).0 + bytes.below(0x1_0000),
    };
    let at = at.min(PCIE_MMIO.base.0 + last);
    access(rig, at, size, bytes);
}

fn check_disjoint(decodings: &[Decoding]) {
    let mut places: Vec<(u64, u64)> = Vec::new();
    for decoding in decodings {
        let bars = SIZES.iter().filter_map(|(bar, size)| {
            let Gpa(place) = decoding.bars[*bar]?;
            Some((place, place + size))
        });
        places.extend(bars);
    }
    places.sort_unstable();
    let apart = |pair: &[(u64, u64)]| pair[0].1 <= pair[1].0;
    assert!(places.windows(2).all(apart), "{places:x?}");
}

pub(super) fn damage(saved: &mut PciState, bytes: &mut Bytes<'_>) {
    let index = bytes.below(saved.functions.len() as u64 + 1) as usize;
    let Some(function) = saved.functions.get_mut(index) else {
        return saved.functions.truncate(2);
    };
    match bytes.below(6) {
        0 => function.device ^= bytes.u8(),
        1 => function.pin ^= true,
        2 => function.config.truncate(bytes.u8().into()),
        3 | 4 => {
            let at = usize::from(bytes.u8());
            if let Some(byte) = function.config.get_mut(at) {
                *byte ^= bytes.u8();
            }
        }
        _ => match &mut function.msix {
            None => function.msix = Some(Default::default()),
            Some(msix) => match bytes.below(3) {
                0 => msix.entries.truncate(bytes.u8().into()),
                1 => msix
                    .pending
                    .iter_mut()
                    .for_each(|word| *word ^= bytes.value()),
                _ => msix
                    .entries
                    .iter_mut()
                    .for_each(|entry| *entry = [(); 4].map(|()| bytes.u32())),
            },
        },
    }
}
