//! The GIC against the reference model, and against nonsense.

use aarch64::gic::Icc;
use aarch64::gic_state::GicState;
use aarch64::{Intid, Size, VcpuId};
use proptest::prelude::*;
use proptest::sample::select;

use super::model::Model;
use super::*;

/// Something that happens to a GIC. vCPU numbers are taken modulo the vCPUs there are.
#[derive(Clone, Debug)]
enum Event {
    Spi(u32, bool),
    Pulse(u32),
    Ppi(u16, u32, bool),
    DistRead(u64, Size),
    DistWrite(u64, Size, u64),
    RedistRead(u16, u64, Size),
    RedistWrite(u16, u64, Size, u64),
    IccRead(u16, Icc),
    IccWrite(u16, Icc, u64),
    /// Ends, and deactivates, what this vCPU acknowledged last and has not ended.
    End(u16),
    SaveAndRestore,
    CpuInterfaceReset(u16),
}

const SGI_FRAME: u64 = 0x1_0000;

fn intid() -> impl Strategy<Value = u32> {
    // Few of them, so that events meet; both ends of the SPIs, and what is no interrupt.
    prop_oneof![
        8 => select(vec![0_u32, 1, 15, 16, 27, 31, 32, 33, 34, 63, 64, 150, 254, 255, 256]),
        1 => 0_u32..300,
    ]
}

/// Sparse words: a few bits, all, none, or anything.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::collection::vec(0_u32..64, 1..4)
            .prop_map(|bits| bits.into_iter().fold(0, |word, bit| word | 1 << bit)),
        1 => Just(u64::MAX),
        1 => Just(0),
        2 => any::<u64>(),
    ]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![5 => Just(Size::W), 1 => Just(Size::B), 1 => Just(Size::H), 1 => Just(Size::D)]
}

/// An offset in a frame: of a register of some interrupt, or anywhere.
fn frame_offset() -> impl Strategy<Value = u64> {
    let flags = (
        select((1..8).map(|n| n * 0x80).collect::<Vec<u64>>()),
        intid(),
    )
        .prop_map(|(base, intid)| base + u64::from(intid / 32) * 4);
    let priority = intid().prop_map(|intid| 0x400 + u64::from(intid));
    let config = intid().prop_map(|intid| 0xc00 + u64::from(intid / 16) * 4);
    let router = (intid(), select(vec![0_u64, 0, 4]))
        .prop_map(|(intid, half)| 0x6000 + 8 * u64::from(intid) + half);
    prop_oneof![
        6 => flags,
        3 => priority.prop_map(|offset| offset & !3),
        2 => priority_byte(),
        2 => config,
        2 => router,
        2 => select(vec![0_u64, 0x4, 0x8, 0xc, 0x14, 0x40, 0xffe8]),
        1 => 0_u64..0x1_0000,
    ]
}

fn priority_byte() -> impl Strategy<Value = u64> {
    intid().prop_map(|intid| 0x400 + u64::from(intid))
}

fn router_write() -> impl Strategy<Value = Event> {
    let target = select(vec![
        0_u64,
        1,
        2,
        0x100,
        0x101,
        0x80,
        1 << 31,
        1 << 32,
        1 << 16,
    ]);
    (intid(), target).prop_map(|(intid, target)| {
        Event::DistWrite(0x6000 + 8 * u64::from(intid), Size::D, target)
    })
}

fn icc_value() -> impl Strategy<Value = u64> {
    let sgi = (0_u64..16, any::<u16>(), 0_u64..3, prop::bool::weighted(0.3)).prop_map(
        |(intid, list, cluster, others)| {
            intid << 24 | u64::from(list) | cluster << 16 | u64::from(others) << 40
        },
    );
    prop_oneof![3 => intid().prop_map(u64::from), 2 => sgi, 2 => 0_u64..256, 1 => value()]
}

fn event() -> impl Strategy<Value = Event> {
    let vcpu = || 0_u16..20;
    let frame = || prop_oneof![1 => Just(0), 4 => Just(SGI_FRAME)];
    let icc = || select(Icc::ALL.to_vec());
    let iar = select(vec![Icc::Iar0, Icc::Iar1]);
    prop_oneof![
        6 => (intid(), any::<bool>()).prop_map(|(i, high)| Event::Spi(i, high)),
        2 => intid().prop_map(Event::Pulse),
        4 => (vcpu(), intid(), any::<bool>()).prop_map(|(v, i, high)| Event::Ppi(v, i, high)),
        2 => (frame_offset(), size()).prop_map(|(o, s)| Event::DistRead(o, s)),
        6 => (frame_offset(), size(), value()).prop_map(|(o, s, x)| Event::DistWrite(o, s, x)),
        3 => router_write(),
        3 => taking_part(),
        2 => (vcpu(), frame(), frame_offset(), size())
            .prop_map(|(v, f, o, s)| Event::RedistRead(v, f + o, s)),
        5 => (vcpu(), frame(), frame_offset(), size(), value())
            .prop_map(|(v, f, o, s, x)| Event::RedistWrite(v, f + o, s, x)),
        3 => (vcpu(), icc()).prop_map(|(v, r)| Event::IccRead(v, r)),
        6 => (vcpu(), icc(), icc_value()).prop_map(|(v, r, x)| Event::IccWrite(v, r, x)),
        8 => (vcpu(), iar).prop_map(|(v, r)| Event::IccRead(v, r)),
        8 => vcpu().prop_map(Event::End),
        1 => Just(Event::SaveAndRestore),
        1 => vcpu().prop_map(Event::CpuInterfaceReset),
    ]
}

/// A CPU interface starts or stops taking part.
fn taking_part() -> impl Strategy<Value = Event> {
    let igrpen = select(vec![Icc::Igrpen0, Icc::Igrpen1]);
    (0_u16..20, igrpen, 0_u64..2).prop_map(|(v, r, on)| Event::IccWrite(v, r, on))
}

/// Both GICs, and what the vCPUs have acknowledged.
struct Pair {
    gic: Gic,
    model: Model,
    taken: Vec<Vec<(Icc, u64)>>,
}

impl Pair {
    /// A pair at reset, or with everything let through as a running guest has it.
    fn new(vcpus: u16, running: bool) -> Self {
        let mut pair = Self {
            gic: Gic::new(vcpus),
            model: Model::new(vcpus),
            taken: vec![Vec::new(); vcpus.into()],
        };
        let mut setup = Vec::new();
        if running {
            setup.push(Event::DistWrite(0, Size::W, 3));
            let banks = (1..32).map(|n| Event::DistWrite(0x100 + 4 * n, Size::W, u64::MAX));
            setup.extend(banks);
            for v in 0..vcpus {
                setup.push(Event::RedistWrite(v, SGI_FRAME + 0x100, Size::W, u64::MAX));
                setup.push(Event::IccWrite(v, Icc::Pmr, 0xff));
                setup.push(Event::IccWrite(v, Icc::Igrpen0, 1));
                setup.push(Event::IccWrite(v, Icc::Igrpen1, 1));
            }
        }
        setup.into_iter().for_each(|event| pair.happen(&event));
        pair
    }

    fn vcpu(&self, number: u16) -> VcpuId {
        VcpuId(number % self.gic.vcpus())
    }

    /// Lets it happen to both; what they answer must agree.
    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Spi(intid, high) => {
                self.gic.set_spi(Intid(intid), high);
                self.model.set_spi(intid, high);
            }
            Event::Pulse(intid) => {
                self.gic.pulse_spi(Intid(intid));
                self.model.pulse_spi(intid);
            }
            Event::Ppi(vcpu, intid, high) => {
                let vcpu = self.vcpu(vcpu);
                self.gic.set_ppi(vcpu, Intid(intid), high);
                self.model.set_ppi(vcpu.index(), intid, high);
            }
            Event::DistRead(offset, size) => self.compare_dist(offset, size),
            Event::DistWrite(offset, size, value) => {
                self.gic.dist_write(offset, size, value & size.mask());
                self.model.dist_write(offset, size, value & size.mask());
            }
            Event::RedistRead(vcpu, offset, size) => self.compare_redist(vcpu, offset, size),
            Event::RedistWrite(vcpu, offset, size, value) => {
                let offset = u64::from(self.vcpu(vcpu).0) * 0x2_0000 + offset;
                self.gic.redist_write(offset, size, value & size.mask());
                self.model.redist_write(offset, size, value & size.mask());
            }
            Event::IccRead(vcpu, reg) => self.read_icc(self.vcpu(vcpu), reg),
            Event::IccWrite(vcpu, reg, value) => self.write_icc(self.vcpu(vcpu), reg, value),
            Event::End(vcpu) => self.end(self.vcpu(vcpu)),
            Event::SaveAndRestore => self.save_and_restore(),
            Event::CpuInterfaceReset(vcpu) => {
                self.gic.reset_cpu_interface(self.vcpu(vcpu));
                self.model.reset_cpu_interface(self.vcpu(vcpu));
            }
        }
    }

    fn read_icc(&mut self, vcpu: VcpuId, reg: Icc) {
        let got = self.gic.icc_read(vcpu, reg.sysreg());
        assert_eq!(
            got,
            self.model.icc_read(vcpu.index(), reg),
            "{vcpu} {reg:?}"
        );
        if let (Icc::Iar0 | Icc::Iar1, Some(intid @ 0..256)) = (reg, got) {
            let eoir = if reg == Icc::Iar0 {
                Icc::Eoir0
            } else {
                Icc::Eoir1
            };
            self.taken[vcpu.index()].push((eoir, intid));
        }
    }

    fn write_icc(&mut self, vcpu: VcpuId, reg: Icc, value: u64) {
        let got = self.gic.icc_write(vcpu, reg.sysreg(), value);
        assert_eq!(
            got,
            self.model.icc_write(vcpu.index(), reg, value),
            "{vcpu} {reg:?}"
        );
    }

    fn end(&mut self, vcpu: VcpuId) {
        if let Some((eoir, intid)) = self.taken[vcpu.index()].pop() {
            self.write_icc(vcpu, eoir, intid);
            self.write_icc(vcpu, Icc::Dir, intid);
        }
    }

    fn save_and_restore(&mut self) {
        let state = self.gic.save();
        let restored = Gic::try_from(&state).unwrap();
        assert_eq!(restored.save(), state);
        let unmoved = self.outputs();
        self.gic = restored;
        assert_eq!(self.outputs(), unmoved);
    }

    fn compare_dist(&self, offset: u64, size: Size) {
        let (got, want) = (
            self.gic.dist_read(offset, size),
            self.model.dist_read(offset, size),
        );
        assert_eq!(got, want, "distributor {offset:#x} {size:?}");
    }

    fn compare_redist(&self, vcpu: u16, offset: u64, size: Size) {
        let offset = u64::from(self.vcpu(vcpu).0) * 0x2_0000 + offset;
        let (got, want) = (
            self.gic.redist_read(offset, size),
            self.model.redist_read(offset, size),
        );
        assert_eq!(got, want, "redistributor {offset:#x} {size:?}");
    }

    fn outputs(&self) -> Vec<(bool, bool)> {
        let one = |vcpu| (self.gic.irq(VcpuId(vcpu)), self.gic.fiq(VcpuId(vcpu)));
        (0..self.gic.vcpus()).map(one).collect()
    }

    /// Compares all that can be read without a side effect.
    fn compare_everything(&mut self) {
        for offset in (0..0x1_0000).step_by(4) {
            self.compare_dist(offset, Size::W);
        }
        for vcpu in 0..self.gic.vcpus() {
            for offset in (0..0x100).chain(0x1_0000..0x1_0e00).step_by(4) {
                self.compare_redist(vcpu, offset, Size::W);
            }
            for reg in Icc::ALL {
                if !matches!(reg, Icc::Iar0 | Icc::Iar1) {
                    self.read_icc(VcpuId(vcpu), *reg);
                }
            }
        }
    }
}

/// Runs a sequence on both; after each event the outputs agree and every move was told.
fn run(vcpus: u16, running: bool, events: &[Event]) {
    let mut pair = Pair::new(vcpus, running);
    let mut seen = pair.outputs();
    pair.gic.take_changed();
    for (i, event) in events.iter().enumerate() {
        pair.happen(event);
        let now = pair.outputs();
        assert_eq!(
            now,
            pair.model.outputs(),
            "outputs after event {i}, {event:?}"
        );
        let told: Vec<VcpuId> = pair.gic.take_changed().collect();
        for vcpu in (0..vcpus).map(VcpuId) {
            let moved = now[vcpu.index()] != seen[vcpu.index()];
            assert!(
                !moved || told.contains(&vcpu),
                "{vcpu} moved untold in event {i}"
            );
        }
        seen = now;
    }
    pair.compare_everything();
}

/// A state that is nearly one that a GIC saved.
fn state() -> impl Strategy<Value = GicState> {
    let words = prop::collection::vec((0_usize..7, 0_usize..6, value()), 0..3);
    let odd = (0_usize..12, value());
    (1_u16..5, words, odd).prop_map(|(vcpus, words, (what, value))| {
        let mut state = Gic::new(vcpus).save();
        for (bank, field, value) in words {
            let bank = &mut state.spis[bank];
            let field = match field {
                0 => &mut bank.group,
                1 => &mut bank.enabled,
                2 => &mut bank.latch,
                3 => &mut bank.level,
                4 => &mut bank.active,
                _ => &mut bank.edge,
            };
            *field = value as u32;
        }
        match what {
            0 => state.ctlr = value as u32,
            1 => state.spis.truncate(value as usize % 10),
            2 => state.routes.push(value),
            3 => state.routes[3] = value,
            4 => {
                let vcpu = state.vcpus[0].clone();
                state.vcpus.resize(value as usize % 200, vcpu);
            }
            5 => state.vcpus[0].icc.pmr = value as u8,
            6 => state.vcpus[0].icc.bpr0 = value as u8,
            7 => state.vcpus[0].icc.bpr1 = value as u8,
            8 => state.vcpus[0].icc.ctlr = value as u32,
            9 => state.vcpus[0].private.level = value as u32,
            10 => state.vcpus[0].private.edge = value as u32,
            _ => state.spis[6].priority[value as usize % 32] = value as u8,
        }
        state
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_running_guest_sees_what_the_model_says(
        vcpus in select(vec![1_u16, 3, 18]),
        events in prop::collection::vec(event(), 0..200),
    ) {
        run(vcpus, true, &events);
    }

    #[test]
    fn from_reset_too(events in prop::collection::vec(event(), 0..200)) {
        run(2, false, &events);
    }

    #[test]
    fn wild_accesses_leave_a_possible_state(
        accesses in prop::collection::vec(
            (0_u8..7, any::<u64>(), 0_u32..64, select(Size::ALL.to_vec()), any::<u64>()),
            0..400,
        ),
    ) {
        let mut gic = Gic::new(3);
        for (what, offset, narrow, size, value) in accesses {
            // All magnitudes, misaligned or not, inside and far outside the frames.
            let offset = offset >> narrow;
            let vcpu = VcpuId((value % 3) as u16);
            match what {
                0 => prop_assert_eq!(gic.dist_read(offset, size) & !size.mask(), 0),
                1 => gic.dist_write(offset, size, value),
                2 => prop_assert_eq!(gic.redist_read(offset, size) & !size.mask(), 0),
                3 => gic.redist_write(offset, size, value),
                4 => gic.v2m_write(offset, size, value),
                5 => prop_assert_eq!(gic.v2m_read(offset, size) & !size.mask(), 0),
                _ => {
                    let reg = aarch64::SysReg(offset as u16);
                    let known = Icc::from_sysreg(reg).is_some();
                    let read = gic.icc_read(vcpu, reg).is_some();
                    let written = gic.icc_write(vcpu, reg, value).is_some();
                    prop_assert_eq!(known, read || written);
                }
            }
        }
        let state = gic.save();
        let again = Gic::try_from(&state).map(|gic| gic.save());
        prop_assert_eq!(again, Ok(state));
    }

    #[test]
    fn a_state_is_refused_or_taken_whole(state in state()) {
        if let Ok(gic) = Gic::try_from(&state) {
            prop_assert_eq!(gic.save(), state);
        }
    }
}

#[test]
fn every_register_offset_and_size_reads_as_the_model_says() {
    let pair = Pair::new(2, true);
    for size in Size::ALL {
        for offset in 0..0x1_0000 {
            pair.compare_dist(offset, size);
            pair.compare_redist(1, offset, size);
            pair.compare_redist(1, SGI_FRAME + offset, size);
        }
    }
}

#[test]
fn the_reset_state_is_what_a_new_gic_saves() {
    assert_eq!(Gic::new(5).save(), GicState::at_reset(5));
}

#[test]
fn an_impossible_state_is_refused_by_name() {
    let mut state = GicState::at_reset(2);
    state.vcpus[1].icc.bpr0 = 0;
    let refused = Gic::try_from(&state).map(|_| ()).unwrap_err();
    assert_eq!(refused, InvalidGicState::Icc(VcpuId(1)));
}
