//! The vCPU's registers that an access depends on, and those it changes.

use aarch64::exception::{Taken, Vector, take};
use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Saved, pstate};
use softcpu::Cpu;

use crate::api::{HostError, Vcpu};

/// System registers that an access reads, or that it changes if it takes an exception.
const READ: [Saved; 11] = [
    Saved::SctlrEl1,
    Saved::TcrEl1,
    Saved::Ttbr0El1,
    Saved::Ttbr1El1,
    Saved::MairEl1,
    Saved::CpacrEl1,
    Saved::VbarEl1,
    Saved::SpEl0,
    Saved::SpEl1,
    Saved::EsrEl1,
    Saved::FarEl1,
];

/// Those that the fetch of an instruction reads.
const FETCH: [Saved; 5] = [
    Saved::SctlrEl1,
    Saved::TcrEl1,
    Saved::Ttbr0El1,
    Saved::Ttbr1El1,
    Saved::MairEl1,
];

/// `SCTLR_EL1.E0E` and `EE`: big-endian data.
const BIG_ENDIAN: u64 = 3 << 24;
/// `TCR_EL1.DS`: 52-bit addresses.
const DS: u64 = 1 << 59;
/// Bits of `TCR_EL1` from here on up change what page tables mean: HA, HD, HPDn, and later ones.
const TCR_EXTENSIONS: u32 = 39;
/// `TCR_EL1.TBIDn` concern instructions only.
const TBID: u64 = 3 << 51;
/// The V bit of loads and stores.
const SIMD: u32 = 1 << 26;
/// Fixed bits of the encoding group of loads and stores.
const LOADS_AND_STORES: (u32, u32) = (0x0a00_0000, 0x0800_0000);
/// Fault status codes below this come from page tables.
const FIRST_EXTERNAL: u64 = 0x10;

/// How well the software CPU can follow the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// It cannot.
    No,
    /// It can, but page tables may say what it does not know.
    Mostly,
    /// All that there is.
    Fully,
}

/// What was loaded from the vCPU.
#[derive(Debug)]
pub struct Borrowed {
    core: CoreRegs,
    simd: Option<SimdRegs>,
    stacks: [u64; 2],
    vbar: u64,
    sctlr: u64,
    /// How well it can be followed.
    pub follows: Follows,
}

/// Loads `cpu` with what the fetch of the instruction at `pc` depends on, and no more. How well it
/// can be followed.
pub fn load_place(
    vcpu: &dyn Vcpu,
    cpu: &mut Cpu,
    pc: u64,
    pstate: u64,
) -> Result<Follows, HostError> {
    cpu.set_core(&CoreRegs {
        pc,
        pstate,
        ..CoreRegs::default()
    });
    let mut values = [0; FETCH.len()];
    for (reg, value) in FETCH.into_iter().zip(&mut values) {
        *value = vcpu.sysreg(reg.sysreg())?;
        cpu.set_saved(reg, *value);
    }
    let [sctlr, tcr, _, _, _] = values;
    Ok(follows(pstate, sctlr, tcr))
}

impl Borrowed {
    /// Loads `cpu` with the registers of `vcpu`.
    pub fn load(vcpu: &dyn Vcpu, cpu: &mut Cpu) -> Result<Self, HostError> {
        let core = vcpu.core()?;
        cpu.set_core(&core);
        let mut values = [0; READ.len()];
        for (reg, value) in READ.into_iter().zip(&mut values) {
            *value = vcpu.sysreg(reg.sysreg())?;
            cpu.set_saved(reg, *value);
        }
        let [sctlr, tcr, _, _, _, _, vbar, sp_el0, sp_el1, _, _] = values;
        Ok(Self {
            core,
            simd: None,
            stacks: [sp_el0, sp_el1],
            vbar,
            sctlr,
            follows: follows(core.pstate, sctlr, tcr),
        })
    }

    /// Loads the vector registers too, if `insn` may access them.
    pub fn load_simd(
        &mut self,
        vcpu: &dyn Vcpu,
        cpu: &mut Cpu,
        insn: u32,
    ) -> Result<(), HostError> {
        let (mask, value) = LOADS_AND_STORES;
        if insn & mask == value && insn & SIMD != 0 {
            let simd = vcpu.simd()?;
            cpu.set_simd(&simd);
            self.simd = Some(simd);
        }
        Ok(())
    }

    /// Gives `vcpu` what a completed instruction changed. No access changes flags.
    pub fn complete(&self, vcpu: &mut dyn Vcpu, cpu: &Cpu) -> Result<(), HostError> {
        let CoreRegs { x, pc, pstate: _ } = cpu.core();
        let pstate = completed(self.core.pstate);
        for (reg, old) in [Saved::SpEl0, Saved::SpEl1].into_iter().zip(self.stacks) {
            let new = cpu.saved(reg);
            if new != old {
                vcpu.set_sysreg(reg.sysreg(), new)?;
            }
        }
        if let Some(old) = &self.simd {
            let SimdRegs { v, .. } = cpu.simd();
            if v != old.v {
                vcpu.set_simd(&SimdRegs { v, ..*old })?;
            }
        }
        vcpu.set_core(&CoreRegs { x, pc, pstate })
    }

    /// Whether an exception that `cpu` took is one that the vCPU would take.
    pub fn may_believe_abort(&self, cpu: &Cpu) -> bool {
        match self.follows {
            Follows::Fully => true,
            Follows::Mostly => cpu.saved(Saved::EsrEl1) & 0x3f >= FIRST_EXTERNAL,
            Follows::No => false,
        }
    }

    /// Takes the exception that `cpu` took, from the state that the vCPU is in.
    pub fn take_exception(&self, vcpu: &mut dyn Vcpu, cpu: &Cpu) -> Result<(), HostError> {
        let Taken {
            pc,
            pstate,
            elr,
            spsr,
        } = take(
            Vector::Synchronous,
            self.core.pc,
            self.core.pstate,
            self.vbar,
            self.sctlr,
        );
        for (reg, value) in [
            (Saved::EsrEl1, cpu.saved(Saved::EsrEl1)),
            (Saved::FarEl1, cpu.saved(Saved::FarEl1)),
            (Saved::ElrEl1, elr),
            (Saved::SpsrEl1, spsr),
        ] {
            vcpu.set_sysreg(reg.sysreg(), value)?;
        }
        let x = self.core.x;
        vcpu.set_core(&CoreRegs { x, pc, pstate })
    }
}

/// PSTATE after an instruction that is no branch and changes no flags.
fn completed(pstate: u64) -> u64 {
    pstate & !(pstate::SS | pstate::BTYPE)
}

fn follows(pstate: u64, sctlr: u64, tcr: u64) -> Follows {
    let large_pages = tcr >> 14 & 3 == 1 || tcr >> 30 & 3 == 3;
    if pstate & pstate::AARCH32 != 0 || sctlr & BIG_ENDIAN != 0 || tcr & DS != 0 || large_pages {
        Follows::No
    } else if (tcr & !TBID) >> TCR_EXTENSIONS != 0 {
        Follows::Mostly
    } else {
        Follows::Fully
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aarch64::pstate::{AARCH32, BTYPE, DIT, EL1H, SS, SSBS, Z};

    #[test]
    fn what_the_software_cpu_lacks_is_noticed() {
        let linux_4k = 0x32_b550_3510;
        assert_eq!(follows(EL1H, 0, linux_4k), Follows::Fully);
        assert_eq!(follows(EL1H, 0, linux_4k | TBID), Follows::Fully);
        let hardware_dirty = linux_4k | 3 << 39;
        assert_eq!(follows(EL1H, 0, hardware_dirty), Follows::Mostly);
        assert_eq!(follows(EL1H, 0, linux_4k | DS), Follows::No);
        assert_eq!(follows(EL1H, 0, 1 << 14), Follows::No);
        assert_eq!(follows(EL1H, 0, 3 << 30), Follows::No);
        assert_eq!(follows(EL1H, 1 << 25, linux_4k), Follows::No);
        assert_eq!(follows(AARCH32, 0, linux_4k), Follows::No);
    }

    #[test]
    fn state_beyond_the_model_survives() {
        let old = EL1H | Z | SSBS | DIT | SS | BTYPE;
        assert_eq!(completed(old), EL1H | Z | SSBS | DIT);
    }
}
