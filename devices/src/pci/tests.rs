//! The bridge as a guest sees it: by configuration space, windows and interrupts.

use std::sync::{Arc, Mutex};

use aarch64::machine::{PCIE_ECAM, PCIE_MMIO, PCIE_PIO};
use aarch64::{Gpa, Intid, Size};
use proptest::prelude::*;

use super::*;
use crate::bus::Bus;
use crate::irq::testing::Recorder;
use crate::irq::{IrqLine, IrqSink};

const BAR0: u64 = 0x10;
const COMMAND: u64 = 0x04;
const MEMORY: u64 = 1 << 1;
const MASTER: u64 = 1 << 2;
const TABLE_BAR: usize = 4;
const VECTORS: u16 = 3;
/// Where the message control of MSI-X is: its capability is the first.
const MSIX_CONTROL: u64 = 0x42;
/// Where the second capability is, which leads to the BARs.
const WINDOW_CAP: u64 = 0x4c;

/// A function of a 32-bit BAR, a 64-bit one and vectors, whose BARs are memory of a few bytes.
struct Probe {
    memory: Mutex<[[u8; 16]; BARS]>,
    decoding: Mutex<Decoding>,
    resets: Mutex<u32>,
}

impl PciFunction for Probe {
    fn description(&self) -> Description {
        let bar = |size, width, prefetchable| {
            Some(Bar {
                size,
                width,
                prefetchable,
            })
        };
        let mut bars = [None; BARS];
        bars[0] = bar(0x1000, Width::Bits32, false);
        bars[2] = bar(0x10_0000, Width::Bits64, true);
        Description {
            identity: Identity {
                vendor: 0x1af4,
                device: 0x1044,
                revision: 1,
                class: 0xff_00_00,
                subsystem_vendor: 0x1af4,
                subsystem: 0x1100,
            },
            bars,
            capabilities: vec![Capability::bar_window(vec![20, 5])],
            interrupts: Some(Vectors {
                count: VECTORS,
                bar: TABLE_BAR,
            }),
        }
    }

    fn read_bar(&self, bar: usize, offset: u64, size: Size) -> u64 {
        let memory = self.memory.lock().unwrap();
        let byte = |n| memory[bar][((offset + n) % 16) as usize];
        u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(byte)) & size.mask()
    }

    fn write_bar(&self, bar: usize, offset: u64, size: Size, value: u64) {
        let mut memory = self.memory.lock().unwrap();
        for n in 0..size.bytes() {
            memory[bar][((offset + n) % 16) as usize] = value.to_le_bytes()[n as usize];
        }
    }

    fn set_decoding(&self, now: &Decoding) {
        *self.decoding.lock().unwrap() = *now;
    }

    fn reset(&self) {
        *self.resets.lock().unwrap() += 1;
    }
}

/// Remembers messages.
#[derive(Default)]
struct Messages(Mutex<Vec<(u64, u32)>>);

impl MsiSink for Messages {
    fn signal(&self, address: u64, data: u32) {
        self.0.lock().unwrap().push((address, data));
    }
}

/// A bridge with probes in some slots, on a bus.
struct Rig {
    bus: Bus,
    host: Arc<PciHost>,
    probes: Vec<Arc<Probe>>,
    interrupts: Vec<Arc<Interrupts>>,
    messages: Arc<Messages>,
    wires: Arc<Recorder>,
}

fn rig(slots: &[u8]) -> Rig {
    let messages = Arc::new(Messages::default());
    let wires = Arc::new(Recorder::default());
    let sink: Arc<dyn IrqSink> = wires.clone();
    let mut host = PciHost::new(|intid| IrqLine::new(sink.clone(), intid), messages.clone());
    let (mut probes, mut interrupts) = (Vec::new(), Vec::new());
    for &slot in slots {
        let slot = Slot::new(slot).unwrap();
        let probe = Arc::new(Probe {
            memory: Mutex::default(),
            decoding: Mutex::default(),
            resets: Mutex::default(),
        });
        interrupts.push(host.interrupts(slot, VECTORS));
        let all = interrupts.last().unwrap().clone();
        host.insert(slot, probe.clone(), all).unwrap();
        probes.push(probe);
    }
    let host = Arc::new(host);
    let mut bus = Bus::new();
    host.attach(&mut bus).unwrap();
    Rig {
        bus,
        host,
        probes,
        interrupts,
        messages,
        wires,
    }
}

impl Rig {
    fn config(device: u64, register: u64) -> Gpa {
        Gpa(PCIE_ECAM.base.0 + (device << 15) + register)
    }
    fn get(&self, device: u64, register: u64, size: Size) -> u64 {
        self.bus.read(Self::config(device, register), size).unwrap()
    }
    fn set(&self, device: u64, register: u64, size: Size, value: u64) {
        let at = Self::config(device, register);
        self.bus.write(at, size, value).unwrap();
    }
    fn load(&self, address: u64, size: Size) -> u64 {
        self.bus.read(Gpa(address), size).unwrap()
    }
    fn store(&self, address: u64, size: Size, value: u64) {
        self.bus.write(Gpa(address), size, value).unwrap();
    }
    /// Gives the BARs of a probe places one after the other, and enables them.
    fn place(&self, device: u64, base: u64) {
        self.set(device, BAR0, Size::W, base);
        self.set(device, BAR0 + 4 * TABLE_BAR as u64, Size::W, base + 0x1000);
        self.set(device, BAR0 + 8, Size::W, base + 0x10_0000);
        self.set(device, COMMAND, Size::H, MEMORY | MASTER);
    }
    fn decoding(&self, probe: usize) -> Decoding {
        *self.probes[probe].decoding.lock().unwrap()
    }
    fn sent(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.messages.0.lock().unwrap())
    }
}

const BASE: u64 = PCIE_MMIO.base.0;

#[test]
fn a_guest_finds_the_bridge_its_functions_and_nothing_else() {
    let rig = rig(&[1, 31]);
    assert_eq!(rig.get(0, 0, Size::W), 0x0008_1b36);
    assert_eq!(rig.get(0, 8, Size::W) >> 16, 0x0600);
    for device in [1, 31] {
        assert_eq!(rig.get(device, 0, Size::W), 0x1044_1af4);
        assert_eq!(rig.get(device, 0x2c, Size::W), 0x1100_1af4);
        assert_eq!(rig.get(device, 0x0e, Size::B), 0);
        // There is nothing past the first 256 bytes, and no other function.
        assert_eq!(rig.get(device, 0x100, Size::W), 0);
        assert_eq!(rig.get(device, 0x1000, Size::W), 0xffff_ffff);
    }
    assert_eq!(rig.get(2, 0, Size::W), 0xffff_ffff);
    // Bus 1, and the last word of all.
    assert_eq!(rig.get(32, 0, Size::W), 0xffff_ffff);
    assert_eq!(rig.get(511, 0x7ffc, Size::W), 0xffff_ffff);
    assert_eq!(rig.load(PCIE_PIO.base.0 + 0x60, Size::B), 0xff);
    // Accesses across words, of which configuration space has none.
    assert_eq!(rig.get(1, 3, Size::H), 0xffff);
    assert_eq!(rig.get(1, 0, Size::D), u64::MAX);
}

#[test]
fn a_slot_has_one_function() {
    let rig = rig(&[3]);
    let mut host = Arc::into_inner(rig.host);
    drop(rig.bus);
    let host = host.get_or_insert_with(|| PciHost::new(|_| IrqLine::unconnected(), rig.messages));
    let slot = Slot::new(3).unwrap();
    for expected in [Ok(()), Err(PciError::Taken(3))] {
        let interrupts = host.interrupts(slot, VECTORS);
        assert_eq!(
            host.insert(slot, rig.probes[0].clone(), interrupts),
            expected
        );
    }
    assert_eq!(Slot::new(0), None);
    assert_eq!(Slot::new(32), None);
}

#[test]
fn sizes_of_bars_are_read_back_as_a_kernel_does_it() {
    let rig = rig(&[1]);
    let size = |bar: u64| {
        let before = rig.get(1, BAR0 + 4 * bar, Size::W);
        rig.set(1, BAR0 + 4 * bar, Size::W, 0xffff_ffff);
        let mask = rig.get(1, BAR0 + 4 * bar, Size::W);
        rig.set(1, BAR0 + 4 * bar, Size::W, before);
        mask
    };
    let masks = [0, 1, 2, 3, 4, 5].map(size);
    assert_eq!(
        masks,
        [0xffff_f000, 0, 0xfff0_000c, 0xffff_ffff, 0xffff_f000, 0]
    );
    // No option ROM.
    rig.set(1, 0x30, Size::W, 0xffff_f800);
    assert_eq!(rig.get(1, 0x30, Size::W), 0);
}

#[test]
fn capabilities_are_a_list_that_ends() {
    let rig = rig(&[1]);
    assert_eq!(rig.get(1, 6, Size::H) & 0x10, 0x10);
    assert_eq!(rig.get(1, 0x34, Size::B), 0x40);
    assert_eq!(rig.get(1, 0x40, Size::H), WINDOW_CAP << 8 | 0x11);
    assert_eq!(rig.get(1, WINDOW_CAP, Size::H), 0x09);
    assert_eq!(rig.get(1, WINDOW_CAP + 2, Size::H), 0x0514);
    // The table has three vectors and begins BAR 4; the pending bits are its second half.
    assert_eq!(rig.get(1, MSIX_CONTROL, Size::H), 2);
    assert_eq!(rig.get(1, MSIX_CONTROL + 2, Size::W), 4);
    assert_eq!(rig.get(1, MSIX_CONTROL + 6, Size::W), 0x804);
    // The bridge has none.
    assert_eq!(rig.get(0, 6, Size::H) & 0x10, 0);
    assert_eq!(rig.get(0, 0x3d, Size::B), 0);
}

#[test]
fn bars_answer_where_they_are_now_and_only_while_memory_is_enabled() {
    let rig = rig(&[1, 2]);
    rig.place(1, BASE);
    rig.place(2, BASE + 0x100_0000);
    rig.store(BASE + 4, Size::W, 0x1234_5678);
    rig.store(BASE + 0x10_0008, Size::D, 7);
    assert_eq!(rig.probes[0].memory.lock().unwrap()[0][4], 0x78);
    assert_eq!(rig.probes[0].memory.lock().unwrap()[2][8], 7);
    assert_eq!(rig.load(BASE + 0x100_0004, Size::W), 0);
    let bars = rig.decoding(0).bars;
    assert_eq!(bars[0], Some(Gpa(BASE)));
    assert_eq!(bars[2], Some(Gpa(BASE + 0x10_0000)));

    rig.set(1, BAR0, Size::W, BASE + 0x5000);
    assert_eq!(rig.load(BASE + 4, Size::W), 0xffff_ffff);
    assert_eq!(rig.load(BASE + 0x5004, Size::W), 0x1234_5678);
    assert_eq!(rig.decoding(0).bars[0], Some(Gpa(BASE + 0x5000)));

    rig.set(1, COMMAND, Size::H, MASTER);
    assert_eq!(rig.load(BASE + 0x5004, Size::W), 0xffff_ffff);
    let off = Decoding {
        bars: [None; BARS],
        bus_master: true,
    };
    assert_eq!(rig.decoding(0), off);
}

#[test]
fn a_bar_over_another_or_over_the_edge_is_nothing_to_rely_on() {
    let rig = rig(&[1, 2]);
    rig.place(1, BASE);
    rig.place(2, BASE);
    rig.store(BASE, Size::W, 5);
    assert_eq!(rig.probes[0].memory.lock().unwrap()[0][0], 5);
    assert_eq!(rig.probes[1].memory.lock().unwrap()[0][0], 0);
    assert_eq!(rig.decoding(0).bars[0], Some(Gpa(BASE)));
    assert_eq!(rig.decoding(1).bars, [None; BARS]);
    // A 64-bit BAR that ends beyond the window, and one far above it.
    let end = BASE + PCIE_MMIO.size;
    rig.set(2, BAR0 + 8, Size::W, end - 0x1_0000);
    assert_eq!(rig.decoding(1).bars[2], None);
    rig.set(2, BAR0 + 12, Size::W, 0xffff_ffff);
    assert_eq!(rig.decoding(1).bars[2], None);
    assert_eq!(rig.load(end - 8, Size::D), u64::MAX);
}

#[test]
fn messages_come_when_they_may_and_replace_the_pin() {
    let rig = rig(&[1]);
    rig.place(1, BASE);
    let all = &rig.interrupts[0];
    all.set_pin(true);
    assert_eq!(rig.wires.take(), [true]);
    all.signal(0);
    rig.set(1, MSIX_CONTROL, Size::H, 1 << 15);
    assert!(all.messages());
    assert_eq!(rig.wires.take(), [false]);
    assert_eq!(rig.sent(), []);

    let table = BASE + 0x1000;
    all.signal(1);
    rig.store(table + 0x10, Size::D, 0x0802_0040);
    rig.store(table + 0x18, Size::W, 99);
    assert_eq!(rig.load(table + 0x800, Size::D), 2);
    rig.store(table + 0x1c, Size::W, 0);
    assert_eq!(rig.sent(), [(0x0802_0040, 99)]);
    rig.set(1, MSIX_CONTROL, Size::H, 3 << 14);
    all.signal(1);
    all.signal(1);
    assert_eq!(rig.sent(), []);
    rig.set(1, COMMAND, Size::H, MEMORY);
    rig.set(1, MSIX_CONTROL, Size::H, 1 << 15);
    assert_eq!(rig.sent(), []);
    rig.set(1, COMMAND, Size::H, MEMORY | MASTER);
    assert_eq!(rig.sent(), [(0x0802_0040, 99)]);

    rig.set(1, MSIX_CONTROL, Size::H, 0);
    assert_eq!(rig.wires.take(), [true]);
    rig.set(1, COMMAND, Size::H, MEMORY | MASTER | 1 << 10);
    assert_eq!(rig.wires.take(), [false]);
    assert_eq!(rig.get(1, 6, Size::H) & 8, 8);
}

#[test]
fn devices_share_wires_in_turn_and_a_wire_is_low_when_nobody_holds_it() {
    let wires = [1, 2, 3, 4, 5].map(|device| intx(device, 0));
    assert_eq!(wires, [4, 5, 6, 3, 4].map(Intid::spi));
    assert_eq!(intx(255, 255), intx(3, 3));
    let rig = rig(&[1, 5]);
    let [first, second] = [&rig.interrupts[0], &rig.interrupts[1]];
    first.set_pin(true);
    second.set_pin(true);
    first.set_pin(false);
    assert_eq!(rig.wires.take(), [true]);
    second.set_pin(false);
    assert_eq!(rig.wires.take(), [false]);
}

#[test]
fn bars_can_be_reached_through_configuration_space() {
    let rig = rig(&[1]);
    // Memory is disabled, and need not be enabled for it.
    let access = |bar: u64, offset: u64, length: u64| {
        rig.set(1, WINDOW_CAP + 4, Size::B, bar);
        rig.set(1, WINDOW_CAP + 8, Size::W, offset);
        rig.set(1, WINDOW_CAP + 12, Size::W, length);
    };
    let data = WINDOW_CAP + 16;
    access(2, 4, 4);
    rig.set(1, data, Size::W, 0xdead_beef);
    assert_eq!(rig.probes[0].memory.lock().unwrap()[2][4], 0xef);
    access(2, 6, 2);
    assert_eq!(rig.get(1, data, Size::H), 0xdead);
    // The table of vectors, too.
    access(TABLE_BAR as u64, 8, 4);
    rig.set(1, data, Size::W, 77);
    rig.set(1, data, Size::W, 78);
    assert_eq!(rig.get(1, data, Size::W), 78);
    // No such BAR, no such length, past the end, not aligned.
    for (bar, offset, length) in [(1, 0, 4), (9, 0, 4), (0, 0, 3), (0, 0x1000, 1), (0, 2, 4)] {
        access(bar, offset, length);
        rig.set(1, data, Size::W, 0x5555_5555);
        assert_eq!(rig.get(1, data, Size::W), 0x5555_5555);
    }
    assert_eq!(rig.probes[0].memory.lock().unwrap()[0], [0; 16]);
}

#[test]
fn reset_forgets_all_that_the_guest_has_set() {
    let rig = rig(&[1]);
    let fresh = rig.host.save();
    rig.place(1, BASE);
    rig.set(1, MSIX_CONTROL, Size::H, 3 << 14);
    rig.store(BASE + 0x1000, Size::D, 0x0802_0040);
    rig.interrupts[0].signal(2);
    rig.interrupts[0].set_pin(true);
    assert_ne!(rig.host.save(), fresh);
    rig.host.reset();
    assert_eq!(rig.host.save(), fresh);
    assert_eq!(rig.decoding(0), Decoding::default());
    assert_eq!(*rig.probes[0].resets.lock().unwrap(), 1);
    assert_eq!(rig.load(BASE, Size::W), 0xffff_ffff);
}

#[test]
fn a_saved_state_goes_on_where_it_was_and_tells_functions() {
    let rig_a = rig(&[1, 2]);
    rig_a.place(2, BASE);
    rig_a.interrupts[0].set_pin(true);
    rig_a.set(2, MSIX_CONTROL, Size::H, 3 << 14);
    rig_a.store(BASE + 0x1000, Size::D, 0x0802_0040);
    rig_a.store(BASE + 0x1008, Size::D, 81);
    rig_a.interrupts[1].signal(0);
    let saved = rig_a.host.save();

    let rig_b = rig(&[1, 2]);
    rig_b.host.restore(&saved).unwrap();
    assert_eq!(rig_b.host.save(), saved);
    assert_eq!(rig_b.decoding(1).bars[0], Some(Gpa(BASE)));
    assert!(rig_b.wires.take().contains(&true));
    rig_b.set(2, MSIX_CONTROL, Size::H, 1 << 15);
    assert_eq!(rig_b.sent(), [(0x0802_0040, 81)]);
}

#[test]
fn a_saved_state_of_other_functions_or_with_damage_is_refused() {
    let saved = rig(&[1, 2]).host.save();
    let refuse = |damage: &dyn Fn(&mut PciState)| {
        let mut saved = saved.clone();
        damage(&mut saved);
        let rig = rig(&[1, 2]);
        let fresh = rig.host.save();
        let refused = rig.host.restore(&saved).unwrap_err();
        assert_eq!(rig.host.save(), fresh);
        refused
    };
    use InvalidPciState::{Config, Devices, Msix};
    assert_eq!(refuse(&|s| s.functions.truncate(2)), Devices);
    assert_eq!(refuse(&|s| s.functions[2].device = 3), Devices);
    assert_eq!(refuse(&|s| s.functions[1].config[0] ^= 1), Config(1));
    assert_eq!(refuse(&|s| s.functions[1].config[0x10] ^= 1), Config(1));
    assert_eq!(refuse(&|s| s.functions[0].config.truncate(255)), Config(0));
    assert_eq!(refuse(&|s| s.functions[2].msix = None), Msix(2));
    assert_eq!(refuse(&|s| s.functions[0].pin = true), Msix(0));
    let bit = |s: &mut PciState| s.functions[1].msix.as_mut().unwrap().pending[0] = 8;
    assert_eq!(refuse(&bit), Msix(1));
}

/// One access of a hostile guest.
#[derive(Clone, Debug)]
struct Access {
    ecam: bool,
    offset: u64,
    size: Size,
    write: Option<u64>,
}

fn access() -> impl Strategy<Value = Access> {
    let value = prop_oneof![
        Just(u64::MAX),
        Just(0),
        Just(BASE),
        Just(BASE + PCIE_MMIO.size - 0x1000),
        any::<u64>(),
    ];
    let ecam = (0_u64..4, 0_u64..0x60).prop_map(|(device, at)| (device << 15) + at);
    let offset = prop_oneof![ecam, 0_u64..0x30_0000];
    let size = prop::sample::select(&Size::ALL[..]);
    let write = prop::option::weighted(0.8, value);
    (any::<bool>(), offset, size, write).prop_map(|(ecam, offset, size, write)| Access {
        ecam,
        offset,
        size,
        write,
    })
}

proptest! {
    #[test]
    fn whatever_a_guest_does_can_be_saved_restored_and_reset(
        accesses in prop::collection::vec(access(), 0..200),
    ) {
        let rig_a = rig(&[1, 2]);
        let fresh = rig_a.host.save();
        for Access { ecam, offset, size, write } in accesses {
            let base = if ecam { PCIE_ECAM.base.0 } else { BASE };
            match write {
                Some(value) => rig_a.store(base + offset, size, value),
                None => assert!(rig_a.load(base + offset, size) <= size.mask()),
            }
            rig_a.interrupts[0].signal(1);
            rig_a.interrupts[1].set_pin(offset % 2 == 0);
        }
        let saved = rig_a.host.save();
        let rig_b = rig(&[1, 2]);
        rig_b.host.restore(&saved).unwrap();
        prop_assert_eq!(&rig_b.host.save(), &saved);
        for probe in 0..2 {
            prop_assert_eq!(rig_a.decoding(probe), rig_b.decoding(probe));
        }
        rig_a.host.reset();
        prop_assert_eq!(rig_a.host.save(), fresh);
    }

    /// Which bits of the header a guest can change is said by the specification; the rest stays.
    #[test]
    fn writes_of_any_size_change_what_can_be_changed(
        writes in prop::collection::vec(
            (0_u64..0x40, prop::sample::select(&Size::ALL[..]), any::<u64>()), 1..40),
    ) {
        let rig = rig(&[1]);
        let masks = |at: u64| -> u8 { match at {
            0x04 => 0x46,
            0x05 => 0x05,
            0x0c | 0x3c => 0xff,
            // BAR 0 and the table: 4 KiB. BAR 2: 1 MiB, with an upper half.
            0x11 | 0x21 => 0xf0,
            0x12 | 0x13 | 0x22 | 0x23 => 0xff,
            0x1a => 0xf0,
            0x1b..=0x1f => 0xff,
            _ => 0,
        }};
        let read = |at| rig.get(1, at, Size::B) as u8;
        let mut model: Vec<u8> = (0..0x40).map(read).collect();
        for (at, size, value) in writes {
            rig.set(1, at, size, value);
            if at % 4 + size.bytes() <= 4 {
                for n in 0..size.bytes() {
                    let mask = masks(at + n);
                    let byte = &mut model[(at + n) as usize];
                    *byte = *byte & !mask | value.to_le_bytes()[n as usize] & mask;
                }
            }
            let now: Vec<u8> = (0..0x40).map(read).collect();
            prop_assert_eq!(&now, &model);
        }
    }
}
