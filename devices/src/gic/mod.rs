//! A GICv3 in user space: distributor, redistributors and CPU interfaces (Arm IHI 0069).
//!
//! It has one security state (`GICD_CTLR.DS` = 1), affinity routing always on, five bits of
//! priority, 16 SGIs and 16 PPIs for each vCPU, 224 SPIs, and a GICv2m frame for MSIs.
//!
//! [`Gic`] is the model alone: no threads, no locks, no knowledge of who runs the vCPUs. Every
//! operation returns with the outputs up to date; [`Gic::take_changed`] tells which moved.
//! [`SharedGic`] puts it behind a lock and reports the moves to a [`GicSink`].
//!
//! | file | what it holds |
//! |---|---|
//! | `bank` | 32 interrupts and their registers, the same for private interrupts and SPIs |
//! | `cpu` | one CPU interface: masking, preemption, running priority |
//! | `routes` | where SPIs go |
//! | `dist`, `redist`, `v2m` | the memory-mapped frames |
//! | `icc` | the system registers: acknowledge, end of interrupt, SGIs |
//! | `state` | saving and restoring |
//! | `shared`, `frames` | the lock, the way out, and the frames on the bus |
//!
//! Finding the most urgent interrupt is what every interrupt waits for. So the model keeps, for
//! each bank of SPIs, the word of those that are pending, enabled, not active and forwarded, and a
//! summary bit for each word that is not zero; a vCPU looks only at such words, masked with what is
//! routed to it, and the winner is cached until something about it changes.
//!
//! Where the architecture leaves a choice, and in two places where it does not, the GIC is what KVM
//! gives a guest, so that one saved state fits every accelerator (ADR 7):
//! - Interrupts start in group 1, SPIs routed to vCPU 0, SGIs enabled.
//! - PPIs are level-sensitive, and cannot be set to edge.
//! - `GICR_WAKER` reads zero and ignores writes, as in a redistributor without power management.
//! - `GICD_CTLR.EnableGrp1` forwards both groups; `EnableGrp0` reads zero and ignores writes.
//! - There is no Aff3.
//!
//! Other choices:
//! - A 1-of-N SPI goes to the lowest-numbered vCPU whose CPU interface takes its group. KVM has no
//!   such routing.
//! - `ICC_SGI1R_EL1` sends an SGI whatever its group; the other two only if it is in group 0.
//! - The CPU interface's enables of the groups decide which interrupt is the most urgent one.
//! - The end of an interrupt drops the group's most urgent active priority without comparing INTIDs.
//!
//! Left out: LPIs and the ITS, extended SPI and PPI ranges, message-based SPIs through the
//! distributor (`GICD_TYPER.MBIS` = 0), NMIs, two security states, memory-mapped CPU interfaces.

mod bank;
mod cpu;
mod dist;
mod frames;
mod groups;
mod icc;
mod redist;
mod routes;
mod set;
mod shared;
mod state;
mod v2m;

#[cfg(test)]
mod behaviour_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;

use aarch64::gic::{BANK, BANKS};
use aarch64::gic_state::BankKind;
use aarch64::machine::MAX_VCPUS;
use aarch64::{Intid, VcpuId};

use bank::Bank;
use cpu::{CpuInterface, Pending};
use groups::{Group, Groups};
use routes::{Routes, Target};

pub use aarch64::gic_state::InvalidGicState;
pub use cpu::Outputs;
pub use set::VcpuSet;
pub use shared::{GicSink, SharedGic};
pub use v2m::V2mFrame;

/// A GICv3 for a fixed number of vCPUs.
#[derive(Clone, Debug)]
pub struct Gic {
    /// Whether the distributor forwards interrupts (`GICD_CTLR`).
    forwards: bool,
    /// SPIs; element n is bank n + 1.
    spis: Vec<Bank>,
    routes: Routes,
    cpus: Vec<Cpu>,

    // What follows is derived from the above.
    /// For each bank of SPIs, those that can be signalled to whoever they are routed to.
    ready: [u32; BANKS],
    /// Banks whose word in `ready` is not zero.
    ready_banks: u32,
    takers: Takers,
    /// vCPUs whose most urgent interrupt or output may have changed in the current operation.
    touched: VcpuSet,
    /// vCPUs whose outputs moved since the caller last asked.
    changed: VcpuSet,
}

/// What belongs to one vCPU.
#[derive(Clone, Debug)]
struct Cpu {
    /// SGIs and PPIs.
    private: Bank,
    icc: CpuInterface,

    // Derived.
    /// The most urgent interrupt.
    best: Option<Pending>,
    outputs: Outputs,
}

/// For each group, the vCPU that takes 1-of-N interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Takers {
    group0: Option<VcpuId>,
    group1: Option<VcpuId>,
}

impl Cpu {
    fn new() -> Self {
        Self {
            private: Bank::new(BankKind::Private),
            icc: CpuInterface::default(),
            best: None,
            outputs: Outputs::default(),
        }
    }
}

impl Gic {
    /// A GIC at reset for `vcpus` vCPUs, all wires low.
    ///
    /// # Panics
    /// When `vcpus` is 0 or more than [`MAX_VCPUS`].
    #[must_use]
    pub fn new(vcpus: u16) -> Self {
        assert!(
            (1..=MAX_VCPUS).contains(&vcpus),
            "a GIC serves 1 to {MAX_VCPUS} vCPUs"
        );
        Self {
            forwards: false,
            spis: (1..BANKS).map(|_| Bank::new(BankKind::Spi)).collect(),
            routes: Routes::new(vcpus),
            cpus: (0..vcpus).map(|_| Cpu::new()).collect(),
            ready: [0; BANKS],
            ready_banks: 0,
            takers: Takers::default(),
            touched: VcpuSet::default(),
            changed: VcpuSet::default(),
        }
    }

    /// Resets everything but the wires, whose levels belong to the devices.
    pub fn reset(&mut self) {
        self.forwards = false;
        self.spis.iter_mut().for_each(Bank::reset);
        self.routes = Routes::new(self.vcpus());
        for cpu in &mut self.cpus {
            cpu.private.reset();
            cpu.icc = CpuInterface::default();
        }
        self.derive();
    }

    /// Resets the CPU interface of a vCPU that is turned off or on. Its SGIs and PPIs stay.
    pub fn reset_cpu_interface(&mut self, vcpu: VcpuId) {
        self.cpus[vcpu.index()].icc = CpuInterface::default();
        self.elect_takers();
        self.touched.insert(vcpu);
        self.settle();
    }

    /// How many vCPUs it serves.
    #[must_use]
    pub fn vcpus(&self) -> u16 {
        self.cpus.len() as u16
    }

    /// Moves the wire of an SPI. Other INTIDs have no such wire; nothing happens.
    pub fn set_spi(&mut self, intid: Intid, high: bool) {
        self.with_spi(intid.0, |bank, bit| bank.set_level(bit, high));
    }

    /// Sends an edge to an SPI, as an MSI does. A level-sensitive SPI sees nothing of it.
    pub fn pulse_spi(&mut self, intid: Intid) {
        self.with_spi(intid.0, Bank::pulse);
    }

    /// Moves the wire of a vCPU's PPI. Other INTIDs have no such wire; nothing happens.
    pub fn set_ppi(&mut self, vcpu: VcpuId, intid: Intid, high: bool) {
        if intid.0 < BANK {
            self.cpus[vcpu.index()].private.set_level(intid.0, high);
            self.touched.insert(vcpu);
            self.settle();
        }
    }

    /// Level of a vCPU's IRQ input.
    #[must_use]
    pub fn irq(&self, vcpu: VcpuId) -> bool {
        self.outputs(vcpu).irq
    }

    /// Level of a vCPU's FIQ input.
    #[must_use]
    pub fn fiq(&self, vcpu: VcpuId) -> bool {
        self.outputs(vcpu).fiq
    }

    /// Levels of a vCPU's interrupt inputs.
    #[must_use]
    pub fn outputs(&self, vcpu: VcpuId) -> Outputs {
        self.cpus[vcpu.index()].outputs
    }

    /// Whether the distributor and redistributor hold an interrupt for a vCPU, even if its CPU
    /// interface would not signal it: what wakes a vCPU from a powered-down suspend.
    #[must_use]
    pub fn wakes(&self, vcpu: VcpuId) -> bool {
        self.most_urgent(vcpu, Groups::BOTH).is_some()
    }

    /// The vCPUs whose outputs moved since this was last called.
    pub fn take_changed(&mut self) -> VcpuSet {
        std::mem::take(&mut self.changed)
    }

    /// Changes an SPI, if `intid` is one, and settles.
    fn with_spi(&mut self, intid: u32, change: impl FnOnce(&mut Bank, u32)) {
        let number = (intid / BANK) as usize;
        if let Some(bank) = number
            .checked_sub(1)
            .and_then(|slot| self.spis.get_mut(slot))
        {
            change(bank, intid % BANK);
            self.refresh_bank(number);
            self.settle();
        }
    }

    /// Brings `ready` up to date for one bank of SPIs, and touches the vCPUs it matters to.
    fn refresh_bank(&mut self, bank: usize) {
        let now = self.forwarded(&self.spis[bank - 1]);
        let moved = now ^ self.ready[bank];
        if moved != 0 {
            self.ready[bank] = now;
            self.ready_banks &= !(1 << bank);
            self.ready_banks |= u32::from(now != 0) << bank;
            self.touch_targets(bank, moved);
        }
    }

    /// Interrupts of a bank that can be signalled to whoever they are for.
    fn forwarded(&self, bank: &Bank) -> u32 {
        if self.forwards { bank.ready() } else { 0 }
    }

    /// Touches the vCPUs that these SPIs of a bank are for.
    fn touch_targets(&mut self, bank: usize, spis: u32) {
        for bit in bits(spis) {
            match self.routes.target(bank as u32 * BANK + bit) {
                Target::Vcpu(vcpu) => self.touched.insert(vcpu),
                Target::Any => self.touch_takers(),
                Target::Nobody => (),
            }
        }
    }

    fn touch_takers(&mut self) {
        let Takers { group0, group1 } = self.takers;
        [group0, group1]
            .into_iter()
            .flatten()
            .for_each(|vcpu| self.touched.insert(vcpu));
    }

    /// Finds out who takes 1-of-N interrupts, after a CPU interface's groups changed.
    fn elect_takers(&mut self) {
        let elect = |group: Groups| {
            let takes = |cpu: &Cpu| {
                let enabled = cpu.icc.enabled();
                enabled.group0 && group.group0 || enabled.group1 && group.group1
            };
            let index = self.cpus.iter().position(takes)?;
            Some(VcpuId(index as u16))
        };
        let takers = Takers {
            group0: elect(Groups::ZERO),
            group1: elect(Groups::ONE),
        };
        if takers != self.takers {
            self.touch_takers();
            self.takers = takers;
            self.touch_takers();
        }
    }

    /// Computes all derived state anew.
    fn derive(&mut self) {
        for bank in 1..BANKS {
            self.refresh_bank(bank);
        }
        self.elect_takers();
        (0..self.vcpus()).for_each(|n| self.touched.insert(VcpuId(n)));
        self.settle();
    }

    /// Brings the touched vCPUs' most urgent interrupt and outputs up to date. Ends every
    /// operation.
    fn settle(&mut self) {
        while let Some(vcpu) = self.touched.next() {
            let best = self.most_urgent(vcpu, self.cpus[vcpu.index()].icc.enabled());
            let cpu = &mut self.cpus[vcpu.index()];
            cpu.best = best;
            let outputs = cpu.icc.outputs(best);
            if outputs != cpu.outputs {
                cpu.outputs = outputs;
                self.changed.insert(vcpu);
            }
        }
    }

    /// The most urgent interrupt of these groups for a vCPU; of equals, the lowest INTID.
    fn most_urgent(&self, vcpu: VcpuId, groups: Groups) -> Option<Pending> {
        let cpu = &self.cpus[vcpu.index()];
        let private = self.forwarded(&cpu.private) & groups.select(cpu.private.group());
        let mut best = first(None, &cpu.private, 0, private);
        let takes = Groups {
            group0: self.takers.group0 == Some(vcpu),
            group1: self.takers.group1 == Some(vcpu),
        };
        for number in bits(self.ready_banks) {
            let at = number as usize;
            let bank = &self.spis[at - 1];
            let shared = self.routes.to_any(at) & takes.select(bank.group());
            let mine = self.routes.to_vcpu(vcpu, at) | shared;
            let candidates = self.ready[at] & mine & groups.select(bank.group());
            best = first(best, bank, number, candidates);
        }
        best
    }
}

/// The most urgent of `best` and these candidates of a bank, whose INTIDs are higher.
fn first(best: Option<Pending>, bank: &Bank, number: u32, candidates: u32) -> Option<Pending> {
    bits(candidates).fold(best, |best, bit| {
        let priority = bank.priority(bit);
        if best.is_some_and(|best| best.priority <= priority) {
            return best;
        }
        let group = if bank.group() >> bit & 1 == 1 {
            Group::One
        } else {
            Group::Zero
        };
        Some(Pending {
            intid: number * BANK + bit,
            priority,
            group,
        })
    })
}

/// The set bits of a word, lowest first.
fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 32).then_some(bit)
    })
}
