//! What a guest trapped for, decoded from `ESR_EL2` (D17.2.37): for hypervisors that get the syndrome
//! and not the instruction.
//!
//! Decoded are the classes that a hypervisor of AArch64 guests meets; all others are
//! [`Trap::Other`]. Pure, and total: every 64-bit value has a meaning.

use crate::syndrome::Ec;
use crate::{Size, SysReg};

/// The register number that stands for zero when read and for nothing when written.
pub const ZERO_REGISTER: u8 = 31;

/// Why the guest trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// WFI or WFE, with or without a timeout.
    Wait(Wait),
    /// `HVC` with this immediate.
    Hvc(u16),
    /// `SMC` with this immediate.
    Smc(u16),
    /// `MRS`, `MSR` or a system instruction.
    SysReg(SysRegAccess),
    /// A load, store or cache maintenance.
    Data(DataAbort),
    /// The fetch of an instruction.
    Fetch(Abort),
    /// A breakpoint of the debug registers.
    Breakpoint,
    /// A software step is complete.
    Step,
    /// A watchpoint of the debug registers.
    Watchpoint,
    /// `BRK` with this immediate.
    Brk(u16),
    /// Anything else: the exception class.
    Other(u8),
}

/// What the guest waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `WFI`: an interrupt.
    Interrupt,
    /// `WFE`: an event.
    Event,
    /// `WFIT`: an interrupt or a value of the counter.
    InterruptUntil,
    /// `WFET`: an event or a value of the counter.
    EventUntil,
}

/// An access to a system register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysRegAccess {
    /// The register.
    pub reg: SysReg,
    /// The general register that takes or gives the value; may be [`ZERO_REGISTER`].
    pub register: u8,
    /// The guest reads.
    pub is_read: bool,
}

/// Why an access failed at the second translation stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// There is no translation.
    Translation,
    /// There is one, but it does not allow the access.
    Permission,
    /// Anything else: the fault status.
    Other(u8),
}

impl Abort {
    fn from_status(status: u64) -> Self {
        match status & 0x3f {
            0x04..=0x07 => Self::Translation,
            0x0c..=0x0f => Self::Permission,
            other => Self::Other(other as u8),
        }
    }
}

/// A data abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataAbort {
    /// Why.
    pub abort: Abort,
    /// It was a write. Cache maintenance counts as one.
    pub is_write: bool,
    /// It was cache maintenance, which moves no data.
    pub is_maintenance: bool,
    /// It was the walk of the guest's own page tables.
    pub is_walk: bool,
    /// What the instruction does, where the processor says so: loads and stores of one general
    /// register without writeback.
    pub access: Option<Access>,
}

/// A load or store of one general register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Bytes in memory.
    pub size: Size,
    /// The register; may be [`ZERO_REGISTER`].
    pub register: u8,
    /// A load extends the sign.
    pub sign_extends: bool,
    /// The register is X and not W.
    pub is_wide: bool,
}

impl Access {
    /// What a load leaves in the whole register, of the value `data` that was in memory.
    #[must_use]
    pub const fn loaded(self, data: u64) -> u64 {
        let unused = 64 - 8 * self.size.bytes() as u32;
        let value = data << unused;
        let value = if self.sign_extends {
            (value.cast_signed() >> unused).cast_unsigned()
        } else {
            value >> unused
        };
        if self.is_wide {
            value
        } else {
            value as u32 as u64
        }
    }

    /// What a store of a register with this value writes.
    #[must_use]
    pub const fn stored(self, value: u64) -> u64 {
        let unused = 64 - 8 * self.size.bytes() as u32;
        value << unused >> unused
    }
}

const fn bit(value: u64, n: u32) -> bool {
    value >> n & 1 != 0
}

impl Trap {
    /// Decodes a syndrome.
    #[must_use]
    pub fn decode(esr: u64) -> Self {
        let class = (esr >> 26 & 0x3f) as u8;
        let immediate = esr as u16;
        let is = |ec: Ec| class == ec as u8;
        if is(Ec::Wfx) {
            Self::Wait(match esr & 3 {
                0 => Wait::Interrupt,
                1 => Wait::Event,
                2 => Wait::InterruptUntil,
                _ => Wait::EventUntil,
            })
        } else if is(Ec::Hvc64) {
            Self::Hvc(immediate)
        } else if is(Ec::Smc64) {
            Self::Smc(immediate)
        } else if is(Ec::SysReg) {
            Self::SysReg(sysreg_access(esr))
        } else if is(Ec::DataAbortLower) {
            Self::Data(data_abort(esr))
        } else if is(Ec::InsnAbortLower) {
            Self::Fetch(Abort::from_status(esr))
        } else if is(Ec::BreakpointLower) {
            Self::Breakpoint
        } else if is(Ec::StepLower) {
            Self::Step
        } else if is(Ec::WatchpointLower) {
            Self::Watchpoint
        } else if is(Ec::Brk64) {
            Self::Brk(immediate)
        } else {
            Self::Other(class)
        }
    }
}

fn sysreg_access(esr: u64) -> SysRegAccess {
    let field = |low: u32, bits: u32| (esr >> low & ((1 << bits) - 1)) as u8;
    SysRegAccess {
        reg: SysReg::new(
            field(20, 2),
            field(14, 3),
            field(10, 4),
            field(1, 4),
            field(17, 3),
        ),
        register: field(5, 5),
        is_read: bit(esr, 0),
    }
}

fn data_abort(esr: u64) -> DataAbort {
    let size = Size::ALL[(esr >> 22 & 3) as usize];
    let access = Access {
        size,
        register: (esr >> 16 & 0x1f) as u8,
        sign_extends: bit(esr, 21),
        is_wide: bit(esr, 15),
    };
    DataAbort {
        abort: Abort::from_status(esr),
        is_write: bit(esr, 6),
        is_maintenance: bit(esr, 8),
        is_walk: bit(esr, 7),
        access: bit(esr, 24).then_some(access),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syndrome::esr;

    #[test]
    fn waits_and_calls() {
        for (iss, wait) in [
            (0x1e0_0000, Wait::Interrupt),
            (0x1e0_0001, Wait::Event),
            (0x1e0_0002, Wait::InterruptUntil),
            (0x1e0_0003, Wait::EventUntil),
        ] {
            assert_eq!(Trap::decode(esr(Ec::Wfx, iss)), Trap::Wait(wait));
        }
        assert_eq!(Trap::decode(0x5a00_0007), Trap::Hvc(7));
        assert_eq!(Trap::decode(0x5e00_0000), Trap::Smc(0));
        assert_eq!(Trap::decode(0xf200_1234), Trap::Brk(0x1234));
    }

    #[test]
    fn system_registers() {
        // MRS X5, ICC_IAR1_EL1
        let iss = 3 << 20 | 12 << 10 | 5 << 5 | 12 << 1 | 1;
        let access = SysRegAccess {
            reg: SysReg::new(3, 0, 12, 12, 0),
            register: 5,
            is_read: true,
        };
        assert_eq!(Trap::decode(esr(Ec::SysReg, iss)), Trap::SysReg(access));
        // MSR S2_3_C0_C4_7, XZR: the fields keep apart.
        let iss = 2 << 20 | 7 << 17 | 3 << 14 | 31 << 5 | 4 << 1;
        let access = SysRegAccess {
            reg: SysReg::new(2, 3, 0, 4, 7),
            register: ZERO_REGISTER,
            is_read: false,
        };
        assert_eq!(Trap::decode(esr(Ec::SysReg, iss)), Trap::SysReg(access));
    }

    #[test]
    fn data_aborts() {
        // STRB WZR, [X1] to where nothing is.
        let iss = 1 << 24 | 31 << 16 | 1 << 6 | 0x07;
        let Trap::Data(abort) = Trap::decode(esr(Ec::DataAbortLower, iss)) else {
            panic!("a data abort");
        };
        let access = Access {
            size: Size::B,
            register: ZERO_REGISTER,
            sign_extends: false,
            is_wide: false,
        };
        let expected = DataAbort {
            abort: Abort::Translation,
            is_write: true,
            is_maintenance: false,
            is_walk: false,
            access: Some(access),
        };
        assert_eq!(abort, expected);
        let Trap::Data(abort) = Trap::decode(esr(Ec::DataAbortLower, 1 << 8 | 1 << 7 | 0x4f))
        else {
            panic!("a data abort");
        };
        assert_eq!((abort.abort, abort.access), (Abort::Permission, None));
        assert!(abort.is_maintenance && abort.is_walk && abort.is_write);
        let fetch = Trap::decode(esr(Ec::InsnAbortLower, 0x10));
        assert_eq!(fetch, Trap::Fetch(Abort::Other(0x10)));
    }

    #[test]
    fn loads_extend_as_the_instruction_says() {
        for (size, sign_extends, is_wide, data, loaded) in [
            (Size::B, false, false, 0x1ff, 0xff),
            (Size::B, true, false, 0x80, 0xffff_ff80),
            (Size::B, true, true, 0x80, 0xffff_ffff_ffff_ff80),
            (Size::H, true, true, 0x7fff, 0x7fff),
            (Size::W, true, true, 0x8000_0000, 0xffff_ffff_8000_0000),
            (Size::W, false, false, u64::MAX, 0xffff_ffff),
            (Size::D, false, true, u64::MAX, u64::MAX),
        ] {
            let access = Access {
                size,
                register: 0,
                sign_extends,
                is_wide,
            };
            assert_eq!(access.loaded(data), loaded, "{access:?}");
            assert_eq!(
                access.stored(u64::MAX).count_ones(),
                8 * size.bytes() as u32
            );
        }
    }

    #[test]
    fn unknown_classes_keep_their_number() {
        assert_eq!(Trap::decode(0x3f << 26), Trap::Other(0x3f));
        assert_eq!(Trap::decode(0), Trap::Other(0));
    }
}
