//! A second GIC to test the first against: one struct for each interrupt, everything found by
//! looking at all of them every time. It shares no code with the real one.

use std::collections::BTreeSet;

use aarch64::gic::Icc;
use aarch64::{Size, VcpuId};

#[derive(Clone, Debug, Default)]
struct Interrupt {
    enabled: bool,
    group1: bool,
    latched: bool,
    wire: bool,
    active: bool,
    edge: bool,
    priority: u8,
    router: u64,
}

#[derive(Clone, Debug)]
struct Cpu {
    private: Vec<Interrupt>,
    pmr: u64,
    bpr: [u64; 2],
    common_bpr: bool,
    split: bool,
    enabled: [bool; 2],
    /// Group priorities that are active, for each group.
    running: [BTreeSet<u8>; 2],
}

/// The second GIC.
#[derive(Clone, Debug)]
pub(super) struct Model {
    forwards: bool,
    spis: Vec<Interrupt>,
    cpus: Vec<Cpu>,
}

/// What a write asks of one interrupt.
#[derive(Clone, Copy)]
enum Ask {
    Group(bool),
    Enable(bool),
    Pend(bool),
    Activate(bool),
    Edge(bool),
    Priority(u8),
}

impl Interrupt {
    fn pending(&self) -> bool {
        if self.edge {
            self.latched
        } else {
            self.latched || self.wire
        }
    }

    fn drive(&mut self, high: bool) {
        if high && !self.wire && self.edge {
            self.latched = true;
        }
        self.wire = high;
    }

    fn apply(&mut self, ask: Ask, private: bool) {
        match ask {
            Ask::Group(one) => self.group1 = one,
            Ask::Enable(on) => self.enabled = on,
            Ask::Pend(on) => self.latched = on,
            Ask::Activate(on) => self.active = on,
            Ask::Edge(_) if private => (),
            Ask::Edge(on) => self.edge = on,
            Ask::Priority(value) => self.priority = value / 8 * 8,
        }
    }
}

/// What a write to a frame's per-interrupt registers asks, by INTID.
fn asks(offset: u64, size: Size, value: u64) -> Vec<(u64, Ask)> {
    let bit = |i: u64| value >> i & 1 == 1;
    let flags = |base: u64, ask: &dyn Fn(bool) -> Option<Ask>| {
        let first = (offset - base) / 4 * 32;
        (0..32)
            .filter_map(|i| Some((first + i, ask(bit(i))?)))
            .collect()
    };
    match (offset, size) {
        (0x400..0x800, Size::B) => vec![(offset - 0x400, Ask::Priority(value as u8))],
        _ if size != Size::W || !offset.is_multiple_of(4) => vec![],
        (0x080..0x100, _) => flags(0x080, &|on| Some(Ask::Group(on))),
        (0x100..0x180, _) => flags(0x100, &|on| on.then_some(Ask::Enable(true))),
        (0x180..0x200, _) => flags(0x180, &|on| on.then_some(Ask::Enable(false))),
        (0x200..0x280, _) => flags(0x200, &|on| on.then_some(Ask::Pend(true))),
        (0x280..0x300, _) => flags(0x280, &|on| on.then_some(Ask::Pend(false))),
        (0x300..0x380, _) => flags(0x300, &|on| on.then_some(Ask::Activate(true))),
        (0x380..0x400, _) => flags(0x380, &|on| on.then_some(Ask::Activate(false))),
        (0x400..0x800, _) => (0..4)
            .map(|i| (offset - 0x400 + i, Ask::Priority((value >> (8 * i)) as u8)))
            .collect(),
        (0xc00..0xd00, _) => {
            let first = (offset - 0xc00) / 4 * 16;
            (0..16)
                .map(|i| (first + i, Ask::Edge(bit(2 * i + 1))))
                .collect()
        }
        _ => vec![],
    }
}

/// What a frame's per-interrupt registers read. `None` if there are none here.
fn view<'a>(offset: u64, size: Size, get: impl Fn(u64) -> Option<&'a Interrupt>) -> Option<u64> {
    let flags = |base: u64, is: fn(&Interrupt) -> bool| {
        let first = (offset - base) / 4 * 32;
        let set = (0..32).filter(|i| get(first + i).is_some_and(is));
        Some(set.map(|i| 1 << i).sum())
    };
    let priority = |intid: u64| get(intid).map_or(0, |irq| u64::from(irq.priority));
    match (offset, size) {
        (0x400..0x800, Size::B) => Some(priority(offset - 0x400)),
        _ if size != Size::W || !offset.is_multiple_of(4) => None,
        (0x080..0x100, _) => flags(0x080, |irq| irq.group1),
        (0x100..0x180, _) => flags(0x100, |irq| irq.enabled),
        (0x180..0x200, _) => flags(0x180, |irq| irq.enabled),
        (0x200..0x280, _) => flags(0x200, Interrupt::pending),
        (0x280..0x300, _) => flags(0x280, Interrupt::pending),
        (0x300..0x380, _) => flags(0x300, |irq| irq.active),
        (0x380..0x400, _) => flags(0x380, |irq| irq.active),
        (0x400..0x800, _) => Some(
            (0..4)
                .map(|i| priority(offset - 0x400 + i) << (8 * i))
                .sum(),
        ),
        (0xc00..0xd00, _) => {
            let first = (offset - 0xc00) / 4 * 16;
            let edges = (0..16).filter(|i| get(first + i).is_some_and(|irq| irq.edge));
            Some(edges.map(|i| 2 << (2 * i)).sum())
        }
        _ => None,
    }
}

impl Model {
    pub(super) fn new(vcpus: u16) -> Self {
        let reset = |sgi| Interrupt {
            group1: true,
            enabled: sgi,
            edge: sgi,
            ..Interrupt::default()
        };
        let cpu = Cpu {
            private: (0..32).map(|i| reset(i < 16)).collect(),
            pmr: 0,
            bpr: [2, 3],
            common_bpr: false,
            split: false,
            enabled: [false; 2],
            running: Default::default(),
        };
        Self {
            forwards: false,
            spis: (32..256).map(|_| reset(false)).collect(),
            cpus: vec![cpu; vcpus.into()],
        }
    }

    fn interrupt(&mut self, vcpu: usize, intid: u64) -> Option<&mut Interrupt> {
        match intid {
            0..32 => self.cpus[vcpu].private.get_mut(intid as usize),
            _ => self.spis.get_mut(intid as usize - 32),
        }
    }

    pub(super) fn set_spi(&mut self, intid: u32, high: bool) {
        if intid >= 32
            && let Some(irq) = self.interrupt(0, intid.into())
        {
            irq.drive(high);
        }
    }

    pub(super) fn pulse_spi(&mut self, intid: u32) {
        if intid >= 32
            && let Some(irq) = self.interrupt(0, intid.into())
            && irq.edge
        {
            irq.latched = true;
        }
    }

    pub(super) fn set_ppi(&mut self, vcpu: usize, intid: u32, high: bool) {
        if (16..32).contains(&intid) {
            self.cpus[vcpu].private[intid as usize].drive(high);
        }
    }

    /// Every vCPU's IRQ and FIQ.
    pub(super) fn outputs(&self) -> Vec<(bool, bool)> {
        let one = |vcpu| match self.signalled(vcpu) {
            Some((_, group)) => (group == 1, group == 0),
            None => (false, false),
        };
        (0..self.cpus.len()).map(one).collect()
    }

    fn affinity_of(vcpu: usize) -> u64 {
        (vcpu as u64 / 16) * 0x100 + vcpu as u64 % 16
    }

    fn is_for(&self, vcpu: usize, irq: &Interrupt) -> bool {
        if irq.router & 0x8000_0000 == 0 {
            return irq.router == Self::affinity_of(vcpu);
        }
        let group = usize::from(irq.group1);
        let mut takers: Vec<usize> = (0..self.cpus.len())
            .filter(|v| self.cpus[*v].enabled[group])
            .collect();
        takers.sort_unstable();
        takers.first() == Some(&vcpu)
    }

    /// The most urgent interrupt: INTID, group, priority.
    fn most_urgent(&self, vcpu: usize) -> Option<(u64, usize, u8)> {
        let cpu = &self.cpus[vcpu];
        let private = (0..).zip(&cpu.private);
        let spis = (32..)
            .zip(&self.spis)
            .filter(|(_, irq)| irq.pending() && self.is_for(vcpu, irq));
        let all = private.chain(spis).filter(|(_, irq)| {
            let group = usize::from(irq.group1);
            irq.pending() && irq.enabled && !irq.active && self.forwards && cpu.enabled[group]
        });
        all.min_by_key(|(intid, irq)| (irq.priority, *intid))
            .map(|(intid, irq)| (intid, usize::from(irq.group1), irq.priority))
    }

    fn running(&self, vcpu: usize) -> Option<u8> {
        self.cpus[vcpu].running.iter().flatten().min().copied()
    }

    fn group_priority(&self, vcpu: usize, group: usize, priority: u8) -> u8 {
        let cpu = &self.cpus[vcpu];
        let low_bits = if group == 0 || cpu.common_bpr {
            cpu.bpr[0] + 1
        } else {
            cpu.bpr[1]
        };
        (u64::from(priority) >> low_bits << low_bits) as u8
    }

    fn signalled(&self, vcpu: usize) -> Option<(u64, usize)> {
        let (intid, group, priority) = self.most_urgent(vcpu)?;
        let preempts = self
            .running(vcpu)
            .is_none_or(|running| self.group_priority(vcpu, group, priority) < running);
        (u64::from(priority) < self.cpus[vcpu].pmr && preempts).then_some((intid, group))
    }

    fn acknowledge(&mut self, vcpu: usize, group: usize) -> u64 {
        match self.signalled(vcpu) {
            Some((intid, of)) if of == group => {
                let irq = self.interrupt(vcpu, intid).unwrap();
                irq.active = true;
                irq.latched = false;
                let priority = irq.priority;
                let running = self.group_priority(vcpu, group, priority);
                self.cpus[vcpu].running[group].insert(running);
                intid
            }
            _ => 1023,
        }
    }

    fn deactivate(&mut self, vcpu: usize, intid: u64) {
        if let Some(irq) = self.interrupt(vcpu, intid) {
            irq.active = false;
        }
    }

    fn end(&mut self, vcpu: usize, group: usize, intid: u64) {
        if intid < 256 {
            self.cpus[vcpu].running[group].pop_first();
            if !self.cpus[vcpu].split {
                self.deactivate(vcpu, intid);
            }
        }
    }

    fn send(&mut self, from: usize, value: u64, group1_too: bool) {
        let field = |low: u32, bits: u32| value >> low & ((1 << bits) - 1);
        for vcpu in 0..self.cpus.len() {
            let affinity = Self::affinity_of(vcpu);
            let listed = field(48, 8) == 0
                && field(32, 8) == 0
                && field(16, 8) == affinity / 0x100
                && field(affinity as u32 % 0x100, 1) == 1;
            let hit = if field(40, 1) == 1 {
                vcpu != from
            } else {
                listed
            };
            let irq = &mut self.cpus[vcpu].private[field(24, 4) as usize];
            if hit && (group1_too || !irq.group1) {
                irq.latched = true;
            }
        }
    }

    pub(super) fn icc_read(&mut self, vcpu: usize, reg: Icc) -> Option<u64> {
        let best = self.most_urgent(vcpu);
        let pending_of = |group| match best {
            Some((intid, of, _)) if of == group => intid,
            _ => 1023,
        };
        let running = self.running(vcpu);
        let cpu = &self.cpus[vcpu];
        let active = |group: usize| cpu.running[group].iter().map(|p| 1 << (p / 8)).sum();
        Some(match reg {
            Icc::Pmr => cpu.pmr,
            Icc::Iar0 => self.acknowledge(vcpu, 0),
            Icc::Iar1 => self.acknowledge(vcpu, 1),
            Icc::Hppir0 => pending_of(0),
            Icc::Hppir1 => pending_of(1),
            Icc::Bpr0 => cpu.bpr[0],
            Icc::Bpr1 if cpu.common_bpr => 7.min(cpu.bpr[0] + 1),
            Icc::Bpr1 => cpu.bpr[1],
            Icc::Ap0r0 => active(0),
            Icc::Ap1r0 => active(1),
            Icc::Rpr => running.unwrap_or(255).into(),
            Icc::Ctlr => 0x8400 + u64::from(cpu.common_bpr) + 2 * u64::from(cpu.split),
            Icc::Sre => 7,
            Icc::Igrpen0 => cpu.enabled[0].into(),
            Icc::Igrpen1 => cpu.enabled[1].into(),
            Icc::Eoir0 | Icc::Eoir1 | Icc::Dir | Icc::Sgi1r | Icc::Asgi1r | Icc::Sgi0r => {
                return None;
            }
        })
    }

    pub(super) fn icc_write(&mut self, vcpu: usize, reg: Icc, value: u64) -> Option<()> {
        let cpu = &mut self.cpus[vcpu];
        let levels = || {
            (0..32_u8)
                .filter(|i| value >> i & 1 == 1)
                .map(|i| i * 8)
                .collect()
        };
        match reg {
            Icc::Pmr => cpu.pmr = value % 256 / 8 * 8,
            Icc::Bpr0 => cpu.bpr[0] = 2.max(value % 8),
            Icc::Bpr1 if cpu.common_bpr => (),
            Icc::Bpr1 => cpu.bpr[1] = 3.max(value % 8),
            Icc::Ap0r0 => cpu.running[0] = levels(),
            Icc::Ap1r0 => cpu.running[1] = levels(),
            Icc::Ctlr => {
                cpu.common_bpr = value % 2 == 1;
                cpu.split = value / 2 % 2 == 1;
            }
            Icc::Sre => (),
            Icc::Igrpen0 => cpu.enabled[0] = value % 2 == 1,
            Icc::Igrpen1 => cpu.enabled[1] = value % 2 == 1,
            Icc::Eoir0 => self.end(vcpu, 0, value % (1 << 24)),
            Icc::Eoir1 => self.end(vcpu, 1, value % (1 << 24)),
            Icc::Dir if cpu.split => self.deactivate(vcpu, value % (1 << 24)),
            Icc::Dir => (),
            Icc::Sgi1r => self.send(vcpu, value, true),
            Icc::Asgi1r | Icc::Sgi0r => self.send(vcpu, value, false),
            Icc::Iar0 | Icc::Iar1 | Icc::Hppir0 | Icc::Hppir1 | Icc::Rpr => return None,
        }
        Some(())
    }

    pub(super) fn dist_read(&self, offset: u64, size: Size) -> u64 {
        let spi = |intid: u64| self.spis.get((intid as usize).checked_sub(32)?);
        if let Some(value) = view(offset, size, spi) {
            return value;
        }
        match (offset, size) {
            (0x0, Size::W) => 0x50 + 2 * u64::from(self.forwards),
            (0x4, Size::W) => 0x0048_0007,
            (0x8, Size::W) => 0x43b,
            (0x6100..0x6800, _) => {
                let router = self.spis[(offset as usize - 0x6100) / 8].router;
                match (offset % 8, size) {
                    (0, Size::D) => router,
                    (0, Size::W) => router & 0xffff_ffff,
                    (4, Size::W) => router >> 32,
                    _ => 0,
                }
            }
            _ => identification(offset, size, 0x92),
        }
    }

    pub(super) fn dist_write(&mut self, offset: u64, size: Size, value: u64) {
        for (intid, ask) in asks(offset, size, value) {
            if intid >= 32
                && let Some(irq) = self.interrupt(0, intid)
            {
                irq.apply(ask, false);
            }
        }
        match (offset, size) {
            (0, Size::W) => self.forwards = value / 2 % 2 == 1,
            (0x6100..0x6800, _) => {
                let router = &mut self.spis[(offset as usize - 0x6100) / 8].router;
                let (low, high) = (*router % (1 << 32), *router >> 32 << 32);
                let new = match (offset % 8, size) {
                    (0, Size::D) => value,
                    (0, Size::W) => high + value % (1 << 32),
                    (4, Size::W) => low + (value << 32),
                    _ => *router,
                };
                *router = new & 0x80ff_ffff;
            }
            _ => (),
        }
    }

    pub(super) fn redist_read(&self, offset: u64, size: Size) -> u64 {
        let vcpu = (offset / 0x2_0000) as usize;
        let Some(cpu) = self.cpus.get(vcpu) else {
            return 0;
        };
        if offset / 0x1_0000 % 2 == 1 {
            let offset = offset % 0x1_0000;
            let one = view(offset, size, |intid| cpu.private.get(intid as usize));
            return one.unwrap_or_else(|| identification(offset, size, 0x93));
        }
        let last = u64::from(vcpu + 1 == self.cpus.len());
        let affinity = Self::affinity_of(vcpu);
        let low = 0x100 * vcpu as u64 + 0x10 * last;
        match (offset % 0x1_0000, size) {
            (0x4, Size::W) => 0x43b,
            (0x8, Size::W) => low,
            (0x8, Size::D) => affinity * (1 << 32) + low,
            (0xc, Size::W) => affinity,
            (offset, _) => identification(offset, size, 0x93),
        }
    }

    pub(super) fn redist_write(&mut self, offset: u64, size: Size, value: u64) {
        let vcpu = (offset / 0x2_0000) as usize;
        let Some(cpu) = self.cpus.get_mut(vcpu) else {
            return;
        };
        if offset / 0x1_0000 % 2 == 1 {
            for (intid, ask) in asks(offset % 0x1_0000, size, value) {
                if let Some(irq) = cpu.private.get_mut(intid as usize) {
                    irq.apply(ask, true);
                }
            }
        }
    }

    pub(super) fn reset_cpu_interface(&mut self, vcpu: VcpuId) {
        let fresh = Self::new(1).cpus.remove(0);
        let cpu = &mut self.cpus[vcpu.index()];
        let private = cpu.private.clone();
        *cpu = Cpu { private, ..fresh };
    }
}

fn identification(offset: u64, size: Size, part: u64) -> u64 {
    match (offset, size) {
        (0xffd0, Size::W) => 0x44,
        (0xffe0, Size::W) => part,
        (0xffe4, Size::W) => 0xb4,
        (0xffe8, Size::W) => 0x3b,
        (0xfff0, Size::W) => 0x0d,
        (0xfff4, Size::W) => 0xf0,
        (0xfff8, Size::W) => 0x05,
        (0xfffc, Size::W) => 0xb1,
        _ => 0,
    }
}
