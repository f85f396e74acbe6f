//! The architectural state of KVM's GIC, register by register. Pure: compiled and tested on every
//! host, against a store that behaves as KVM does.
//!
//! No vCPU runs meanwhile, and each has settled its last exit: KVM refuses its registers while one
//! is in `KVM_RUN`. A state is checked whole before the first register is written.
//!
//! The order of writing: `GICD_IIDR`, by which a user of KVM says that it knows this version;
//! `GICD_CTLR`, because KVM queues what becomes pending only while it forwards; of each bank what
//! decides whom an interrupt is for, then its wire, latch and active state, and the enable last, by
//! which KVM finds what is pending.
//!
//! What KVM cannot hold is refused by name:
//! - a 1-of-N route: it has no such routing;
//! - active interrupts of a vCPU's timers, once that vCPU has run: they belong to the kernel. A
//!   state goes into a VM that has not run yet;
//! - any state, where the host's CPU interface has other than five bits of priority: the guest
//!   might have seen more of them than the state can say.
//!
//! A state does not say which vCPU took an SPI that is active; KVM takes it for the one that the
//! SPI is routed to. And what devices do to the wire of an edge-triggered SPI is known to
//! [`Wires`] alone.
//!
//! Not used, because there are no LPIs: `GICR_CTLR`, `PROPBASER`, `PENDBASER`, the pending tables.

use aarch64::gic::gicd::{self, CTLR_ENABLE};
use aarch64::gic::{
    BANK, BANKS, BankReg, CTLR_CBPR, CTLR_EOIMODE, CTLR_PRIBITS, IROUTER_ANY, IROUTER_MASK, Icc,
    MIN_BPR0, MIN_BPR1, PRIORITY_MASK, from_icfgr, to_icfgr,
};
use aarch64::gic_state::{GicBank, GicState, GicVcpuState, IccState};
use aarch64::{Intid, VcpuId};

use super::gic_registers::{Bank, Register, Registers};
use super::wires::Wires;
use crate::api::HostError;

/// What `ICC_CTLR_EL1.PRIbits` holds for five bits of priority.
const PRIBITS: u64 = 4 << 8;

/// Makes a new GIC's SPIs level-sensitive, as they are at reset: of a wire that is raised while its
/// interrupt is edge-triggered KVM would forget the level.
///
/// # Errors
/// When KVM refuses.
pub fn begin(gic: &dyn Registers) -> Result<(), HostError> {
    for bank in (1..BANKS).map(Bank::Spis) {
        gic.set(bank.register(BankReg::Config, 0), 0)?;
        gic.set(bank.register(BankReg::Config, 1), 0)?;
    }
    Ok(())
}

/// The state of a GIC for `vcpus` vCPUs.
///
/// # Errors
/// When KVM refuses, or has what the state cannot say.
pub fn save(gic: &dyn Registers, vcpus: u16, wires: &Wires) -> Result<GicState, HostError> {
    let levels = wires.levels();
    let spis = (1..BANKS).zip(levels).map(|(number, level)| {
        let mut bank = save_bank(gic, Bank::Spis(number))?;
        bank.level |= level & bank.edge;
        Ok(bank)
    });
    let route = |spi| Ok(gic.get(Register::router(spi))? & IROUTER_MASK);
    let vcpu = |id| {
        Ok(GicVcpuState {
            private: save_bank(gic, Bank::Private(id))?,
            icc: save_icc(gic, id)?,
        })
    };
    Ok(GicState {
        ctlr: word(gic, Register::Dist(gicd::CTLR))? & CTLR_ENABLE,
        spis: spis.collect::<Result<_, HostError>>()?,
        routes: spis_of_machine()
            .map(route)
            .collect::<Result<_, HostError>>()?,
        vcpus: (0..vcpus)
            .map(VcpuId)
            .map(vcpu)
            .collect::<Result<_, HostError>>()?,
    })
}

/// Puts a GIC for `vcpus` vCPUs into `state`.
///
/// # Errors
/// When the state is impossible, or KVM cannot hold it; nothing has changed then, but for active
/// interrupts of a vCPU that has run. When KVM refuses.
pub fn restore(
    gic: &dyn Registers,
    state: &GicState,
    vcpus: u16,
    wires: &Wires,
) -> Result<(), HostError> {
    check(gic, state, vcpus)?;
    let GicState {
        ctlr,
        spis,
        routes,
        vcpus,
    } = state;
    let iidr = Register::Dist(gicd::IIDR);
    gic.set(iidr, gic.get(iidr)?)?;
    gic.set(Register::Dist(gicd::CTLR), (*ctlr).into())?;
    for (spi, route) in spis_of_machine().zip(routes) {
        gic.set(Register::router(spi), *route)?;
    }
    for (number, bank) in (1..).zip(spis) {
        restore_bank(gic, Bank::Spis(number), bank)?;
    }
    for (id, GicVcpuState { private, icc }) in (0..).map(VcpuId).zip(vcpus) {
        restore_bank(gic, Bank::Private(id), private)?;
        restore_icc(gic, id, icc)?;
    }
    wires.set(spis.iter().map(|bank| bank.level));
    (0..)
        .map(VcpuId)
        .zip(vcpus)
        .try_for_each(|(id, vcpu)| check_active(gic, id, &vcpu.private))
}

/// Gives a CPU interface its reset state.
///
/// # Errors
/// When KVM refuses.
pub fn reset_cpu_interface(gic: &dyn Registers, vcpu: VcpuId) -> Result<(), HostError> {
    restore_icc(gic, vcpu, &IccState::default())
}

fn spis_of_machine() -> impl Iterator<Item = Intid> {
    (BANK..BANK * BANKS as u32).map(Intid)
}

/// Whether KVM can hold `state`.
fn check(gic: &dyn Registers, state: &GicState, vcpus: u16) -> Result<(), HostError> {
    state
        .check_for(vcpus)
        .map_err(|error| HostError::BadState(error.to_string()))?;
    let any = |(_, route): &(Intid, &u64)| *route & IROUTER_ANY != 0;
    if let Some((Intid(spi), _)) = spis_of_machine().zip(&state.routes).find(any) {
        return Err(HostError::BadState(format!(
            "interrupt {spi} goes to any one of the vCPUs, and KVM has no such routing: the guest can \
             go on with the accelerator soft or hvf"
        )));
    }
    (0..vcpus)
        .map(VcpuId)
        .try_for_each(|vcpu| read_ctlr(gic, vcpu).map(drop))
}

/// That KVM took the active state of a vCPU's SGIs and PPIs.
fn check_active(gic: &dyn Registers, vcpu: VcpuId, bank: &GicBank) -> Result<(), HostError> {
    let at = Bank::Private(vcpu).register(BankReg::SetActive, 0);
    let lost = word(gic, at)? ^ bank.active;
    if lost == 0 {
        return Ok(());
    }
    let intid = lost.trailing_zeros();
    Err(HostError::BadState(format!(
        "KVM keeps whether interrupt {intid} of {vcpu} is active to itself once the vCPU has run"
    )))
}

fn word(gic: &dyn Registers, register: Register) -> Result<u32, HostError> {
    gic.get(register).map(|value| value as u32)
}

fn save_bank(gic: &dyn Registers, bank: Bank) -> Result<GicBank, HostError> {
    let read = |kind, at| word(gic, bank.register(kind, at));
    let mut priority = [0; BANK as usize];
    for (at, bytes) in (0..).zip(priority.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&read(BankReg::Priority, at)?.to_le_bytes());
    }
    let edge = |at| Ok::<_, HostError>(from_icfgr(read(BankReg::Config, at)?));
    Ok(GicBank {
        group: read(BankReg::Group, 0)?,
        enabled: read(BankReg::SetEnable, 0)?,
        latch: read(BankReg::SetPending, 0)?,
        level: word(gic, Register::Wires(bank))?,
        active: read(BankReg::SetActive, 0)?,
        edge: edge(0)? | edge(1)? << 16,
        priority,
    })
}

fn restore_bank(gic: &dyn Registers, bank: Bank, state: &GicBank) -> Result<(), HostError> {
    let GicBank {
        group,
        enabled,
        latch,
        level,
        active,
        edge,
        priority,
    } = *state;
    let write = |kind, at, value: u32| gic.set(bank.register(kind, at), value.into());
    write(BankReg::Group, 0, group)?;
    write(BankReg::ClearEnable, 0, !enabled)?;
    for (at, bytes) in (0..).zip(priority.chunks_exact(4)) {
        let value = bytes.iter().rev();
        let value = value.fold(0, |word, byte| word << 8 | u32::from(*byte));
        write(BankReg::Priority, at, value)?;
    }
    write(BankReg::Config, 0, to_icfgr(edge))?;
    write(BankReg::Config, 1, to_icfgr(edge >> 16))?;
    // A wire that is high while its interrupt is edge-triggered would stay high for KVM: it does
    // not note that it falls.
    gic.set(Register::Wires(bank), (level & !edge).into())?;
    write(BankReg::SetPending, 0, latch)?;
    write(BankReg::ClearActive, 0, !active)?;
    write(BankReg::SetActive, 0, active)?;
    write(BankReg::SetEnable, 0, enabled)
}

/// `ICC_CTLR_EL1`, on a host whose CPU interface has as many priorities as the machine.
fn read_ctlr(gic: &dyn Registers, vcpu: VcpuId) -> Result<u64, HostError> {
    let ctlr = gic.get(Register::Icc(vcpu, Icc::Ctlr))?;
    if ctlr & CTLR_PRIBITS == PRIBITS {
        return Ok(ctlr);
    }
    let bits = ((ctlr & CTLR_PRIBITS) >> 8) + 1;
    Err(HostError::BadState(format!(
        "the host's interrupt controller has {bits} bits of priority, and the machine has 5, so its \
         state cannot be moved"
    )))
}

fn save_icc(gic: &dyn Registers, vcpu: VcpuId) -> Result<IccState, HostError> {
    let at = |reg| Register::Icc(vcpu, reg);
    let read = |reg| gic.get(at(reg));
    let low_byte = |value: u64| value.to_le_bytes()[0];
    let ctlr = read_ctlr(gic, vcpu)?;
    let common = ctlr & u64::from(CTLR_CBPR) != 0;
    if common {
        // It hides the binary point of group 1.
        gic.set(at(Icc::Ctlr), ctlr & !u64::from(CTLR_CBPR))?;
    }
    let bpr1 = read(Icc::Bpr1);
    if common {
        gic.set(at(Icc::Ctlr), ctlr)?;
    }
    // What is below the least, or has more bits, was never seen by a guest: KVM holds zeros and
    // whatever user space wrote until the vCPU first runs.
    Ok(IccState {
        pmr: low_byte(read(Icc::Pmr)?) & PRIORITY_MASK,
        bpr0: low_byte(read(Icc::Bpr0)?).clamp(MIN_BPR0, 7),
        bpr1: low_byte(bpr1?).clamp(MIN_BPR1, 7),
        ctlr: ctlr as u32 & (CTLR_CBPR | CTLR_EOIMODE),
        igrpen0: read(Icc::Igrpen0)? & 1 != 0,
        igrpen1: read(Icc::Igrpen1)? & 1 != 0,
        ap0r0: read(Icc::Ap0r0)? as u32,
        ap1r0: read(Icc::Ap1r0)? as u32,
    })
}

fn restore_icc(gic: &dyn Registers, vcpu: VcpuId, state: &IccState) -> Result<(), HostError> {
    let IccState {
        pmr,
        bpr0,
        bpr1,
        ctlr,
        igrpen0,
        igrpen1,
        ap0r0,
        ap1r0,
    } = *state;
    let write = |reg, value| gic.set(Register::Icc(vcpu, reg), value);
    // What the host has besides cannot be changed, and must be written as it is.
    let host = read_ctlr(gic, vcpu)? & !u64::from(CTLR_CBPR | CTLR_EOIMODE);
    write(Icc::Ctlr, host)?;
    write(Icc::Pmr, pmr.into())?;
    write(Icc::Bpr0, bpr0.into())?;
    write(Icc::Bpr1, bpr1.into())?;
    write(Icc::Ap0r0, ap0r0.into())?;
    write(Icc::Ap1r0, ap1r0.into())?;
    write(Icc::Igrpen0, igrpen0.into())?;
    write(Icc::Igrpen1, igrpen1.into())?;
    write(Icc::Ctlr, host | u64::from(ctlr))
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
