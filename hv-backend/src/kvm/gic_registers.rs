//! How KVM names the registers of its GIC for user space (Linux,
//! Documentation/virt/kvm/devices/arm-vgic-v3.rst). Pure: compiled and tested on every host.
//!
//! A register is an attribute of the GIC's device: a group and a number. Registers of a vCPU carry
//! its affinity in the number's upper half. Where KVM answers user space otherwise than a guest:
//! - `ISPENDR` is the latch alone, without the wire, and a write sets and clears it;
//! - `ICPENDR` reads zero and ignores writes;
//! - the wires have registers of their own, `LINE_LEVEL`, which read zero for what is
//!   edge-triggered;
//! - `ISACTIVER` and `ICACTIVER` ignore the timers' PPIs once their vCPU has run.

use aarch64::gic::gicr::SGI_FRAME;
use aarch64::gic::{BANK, BankReg, Icc, gicd};
use aarch64::{Intid, VcpuId};

use crate::api::HostError;

const DIST_REGS: u32 = 1;
const REDIST_REGS: u32 = 5;
const CPU_SYSREGS: u32 = 6;
const LEVEL_INFO: u32 = 7;

/// One register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// 32 bits at this offset of the distributor's frame.
    Dist(u64),
    /// 32 bits at this offset of a redistributor's frames.
    Redist(VcpuId, u64),
    /// A system register of a CPU interface.
    Icc(VcpuId, Icc),
    /// The wires of a bank.
    Wires(Bank),
}

/// The 32 interrupts of one bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bank {
    /// SGIs and PPIs of this vCPU.
    Private(VcpuId),
    /// SPIs; banks count from 1.
    Spis(usize),
}

/// How many bits a register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32
    Word,
    /// 64
    Double,
}

/// Where the registers are: the device in the kernel, or what stands for it in tests.
pub trait Registers {
    /// The value of a register.
    ///
    /// # Errors
    /// When KVM refuses, as it does while a vCPU runs.
    fn get(&self, register: Register) -> Result<u64, HostError>;
    /// Sets a register.
    ///
    /// # Errors
    /// As for [`Registers::get`].
    fn set(&self, register: Register, value: u64) -> Result<(), HostError>;
}

impl Register {
    /// Group and number of the attribute, and how wide it is.
    #[must_use]
    pub fn attribute(self) -> (u32, u64, Width) {
        match self {
            Self::Dist(offset) => (DIST_REGS, offset, Width::Word),
            Self::Redist(vcpu, offset) => (REDIST_REGS, of(vcpu) | offset, Width::Word),
            Self::Icc(vcpu, reg) => {
                let number = of(vcpu) | u64::from(reg.sysreg().0);
                (CPU_SYSREGS, number, Width::Double)
            }
            Self::Wires(Bank::Private(vcpu)) => (LEVEL_INFO, of(vcpu), Width::Word),
            Self::Wires(Bank::Spis(number)) => {
                (LEVEL_INFO, number as u64 * u64::from(BANK), Width::Word)
            }
        }
    }

    /// The lower half of the routing register of an SPI. The upper half, Aff3, is always zero.
    #[must_use]
    pub fn router(spi: Intid) -> Self {
        Self::Dist(gicd::IROUTER + 8 * u64::from(spi.0))
    }
}

/// A vCPU in the number of an attribute.
fn of(vcpu: VcpuId) -> u64 {
    vcpu.affinity() << 32
}

impl Bank {
    /// The word `word` of this bank's registers of a kind.
    #[must_use]
    pub fn register(self, kind: BankReg, word: u64) -> Register {
        let (base, stride) = kind.place();
        match self {
            Self::Private(vcpu) => Register::Redist(vcpu, SGI_FRAME + base + 4 * word),
            Self::Spis(number) => Register::Dist(base + stride * number as u64 + 4 * word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as other programs write them, from the headers of Linux.
    #[test]
    fn attributes_are_those_of_linux() {
        let vcpu = VcpuId(18);
        for (register, group, number) in [
            (Register::Dist(gicd::CTLR), 1, 0),
            (Register::router(Intid(33)), 1, 0x6108),
            (Bank::Spis(2).register(BankReg::SetPending, 0), 1, 0x208),
            (Bank::Spis(2).register(BankReg::Priority, 3), 1, 0x44c),
            (Bank::Spis(3).register(BankReg::Config, 1), 1, 0xc1c),
            (Register::Redist(vcpu, 8), 5, 0x102_0000_0008),
            (
                Bank::Private(vcpu).register(BankReg::SetActive, 0),
                5,
                0x102_0001_0300,
            ),
            (Register::Icc(vcpu, Icc::Pmr), 6, 0x102_0000_c230),
            (Register::Icc(VcpuId(0), Icc::Ctlr), 6, 0xc664),
            (Register::Wires(Bank::Private(vcpu)), 7, 0x102_0000_0000),
            (Register::Wires(Bank::Spis(7)), 7, 224),
        ] {
            let (found, at, width) = register.attribute();
            assert_eq!((found, at), (group, number), "{register:?}");
            let wide = matches!(register, Register::Icc(..));
            assert_eq!(width == Width::Double, wide, "{register:?}");
        }
    }
}
