//! Facts of the GICv3 (Arm IHI 0069): register offsets, field values and the encodings of the CPU
//! interface's system registers, for the machine's GIC: one security state, affinity routing always
//! on, and what a kernel's virtual GIC has.

use crate::machine::SPIS;
use crate::{Intid, Size, SysReg};

/// Interrupts of one bank, the unit in which the register blocks hold their bits.
pub const BANK: u32 = 32;
/// The first INTID that is no SPI. From here to 1019 there are none; 1020 to 1023 have special
/// meanings.
pub const END_OF_SPIS: u32 = Intid::spi(SPIS).0;
/// Banks of the distributor's registers: bank 0 is each vCPU's own SGIs and PPIs. SPIs fill the
/// others.
pub const BANKS: usize = (END_OF_SPIS / BANK) as usize;
/// SGIs, as bits of bank 0. The others there are PPIs.
pub const SGIS: u32 = 0xffff;
/// What an acknowledge reads when there is nothing to take.
pub const SPURIOUS: u32 = 1023;
/// Implemented bits of a priority: the upper five.
pub const PRIORITY_MASK: u8 = 0xf8;
/// The running priority of a CPU interface with nothing active.
pub const IDLE_PRIORITY: u8 = 0xff;
/// Smallest value of `ICC_BPR0_EL1` with five bits of priority.
pub const MIN_BPR0: u8 = 2;
/// Smallest value of `ICC_BPR1_EL1` with five bits of priority.
pub const MIN_BPR1: u8 = 3;
/// Bits of an `IROUTER` that hold something: the 1-of-N flag, Aff2 to Aff0.
pub const IROUTER_MASK: u64 = 0x80ff_ffff;
/// The flag in an `IROUTER` that lets any participating vCPU take the interrupt (1 of N).
pub const IROUTER_ANY: u64 = 1 << 31;

/// Offsets and values in the distributor's frame.
pub mod gicd {
    /// Control.
    pub const CTLR: u64 = 0x0;
    /// `CTLR`: interrupts are forwarded. It is `EnableGrp1`, and stands for both groups:
    /// `EnableGrp0` reads zero and ignores writes.
    pub const CTLR_ENABLE: u32 = 2;
    /// `CTLR`: affinity routing (bit 4) and a single security state (bit 6), both fixed at one.
    pub const CTLR_FIXED: u32 = 1 << 4 | 1 << 6;
    /// What the distributor has.
    pub const TYPER: u64 = 0x4;
    /// Value of `TYPER`: the number of banks less one, 10-bit INTIDs; no Aff3, security extension,
    /// LPIs, message-based SPIs or range selector.
    pub const TYPER_VALUE: u32 = (super::BANKS as u32 - 1) | 9 << 19;
    /// Implementer.
    pub const IIDR: u64 = 0x8;
    /// First of the routing registers, 8 bytes for each INTID; those below 32 are reserved.
    pub const IROUTER: u64 = 0x6000;
    /// End of the routing registers.
    pub const IROUTER_END: u64 = IROUTER + 8 * super::END_OF_SPIS as u64;
    /// Peripheral identification byte 0.
    pub const PIDR0_VALUE: u32 = 0x92;
}

/// Offsets and values in a redistributor's two frames.
pub mod gicr {
    /// Implementer.
    pub const IIDR: u64 = 0x4;
    /// What the redistributor has, and which vCPU it belongs to. 64 bits.
    pub const TYPER: u64 = 0x8;
    /// `TYPER`: this is the last redistributor of its region.
    pub const TYPER_LAST: u64 = 1 << 4;
    /// Start of the second frame, which holds the registers of SGIs and PPIs.
    pub const SGI_FRAME: u64 = 0x1_0000;
    /// Peripheral identification byte 0.
    pub const PIDR0_VALUE: u32 = 0x93;
}

/// Value of `GICD_IIDR` and `GICR_IIDR`: implementer Arm, no product number.
pub const IIDR_VALUE: u32 = 0x43b;
/// First of the identification registers at the end of a 64 KiB frame, `PIDR4`.
pub const ID_REGISTERS: u64 = 0xffd0;

/// The identification register at `offset` of a frame whose `PIDR0` is `pidr0`, if there is one.
/// `PIDR2` says GICv3; the rest is what Arm's implementations have.
#[must_use]
pub fn id_register(offset: u64, pidr0: u32) -> Option<u32> {
    // PIDR4 to PIDR7, PIDR0 to PIDR3, CIDR0 to CIDR3.
    let values = [0x44, 0, 0, 0, pidr0, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
    let index = usize::try_from(offset.checked_sub(ID_REGISTERS)? / 4).ok()?;
    if offset.is_multiple_of(4) {
        values.get(index).copied()
    } else {
        None
    }
}

/// Offsets in the GICv2m frame.
pub mod v2m {
    /// First INTID (bits 25:16) and number (bits 9:0) of the frame's interrupts.
    pub const MSI_TYPER: u64 = 0x8;
    /// Writing an INTID here raises that interrupt.
    pub const SETSPI: u64 = 0x40;
    /// Implementer.
    pub const IIDR: u64 = 0xfcc;
}

/// A kind of register that exists once for each bank of 32 interrupts, at the same offsets in the
/// distributor's frame (all banks) and in a redistributor's SGI frame (bank 0 only).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BankReg {
    /// `IGROUPR`: group 1 rather than group 0.
    Group,
    /// `ISENABLER`.
    SetEnable,
    /// `ICENABLER`.
    ClearEnable,
    /// `ISPENDR`.
    SetPending,
    /// `ICPENDR`.
    ClearPending,
    /// `ISACTIVER`.
    SetActive,
    /// `ICACTIVER`.
    ClearActive,
    /// `IPRIORITYR`: one byte for each interrupt.
    Priority,
    /// `ICFGR`: two bits for each interrupt, the upper one says edge-triggered.
    Config,
}

/// One bit for each of 16 interrupts as `ICFGR` has them: the upper bit of each pair.
#[must_use]
pub fn to_icfgr(edges: u32) -> u32 {
    (0..16).map(|i| (edges >> i & 1) << (2 * i + 1)).sum()
}

/// The upper bit of each pair of an `ICFGR`, one bit for each of its 16 interrupts.
#[must_use]
pub fn from_icfgr(word: u32) -> u32 {
    (0..16).map(|i| (word >> (2 * i + 1) & 1) << i).sum()
}

/// A bank register with the place of an access in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankAccess {
    /// The kind.
    pub reg: BankReg,
    /// Which bank of 32 interrupts, below [`BANKS`].
    pub bank: usize,
    /// Byte offset within that bank's part of the register array.
    pub byte: usize,
    /// Access size, one that the register takes at this offset.
    pub size: Size,
}

impl BankReg {
    /// Every kind with the offset of its array and the bytes that one bank takes in it.
    pub const ROWS: [(Self, u64, u64); 9] = [
        (Self::Group, 0x80, 4),
        (Self::SetEnable, 0x100, 4),
        (Self::ClearEnable, 0x180, 4),
        (Self::SetPending, 0x200, 4),
        (Self::ClearPending, 0x280, 4),
        (Self::SetActive, 0x300, 4),
        (Self::ClearActive, 0x380, 4),
        (Self::Priority, 0x400, 32),
        (Self::Config, 0xc00, 8),
    ];

    /// The offset of the array, and the bytes that one bank takes in it.
    #[must_use]
    pub const fn place(self) -> (u64, u64) {
        let (_, base, stride) = Self::ROWS[self as usize];
        (base, stride)
    }
}

impl BankAccess {
    /// The bank register that an access at `offset` of a frame reaches. `None` when there is none,
    /// or it does not take this size or alignment.
    #[must_use]
    pub fn decode(offset: u64, size: Size) -> Option<Self> {
        if !offset.is_multiple_of(size.bytes()) {
            return None;
        }
        let (reg, base, stride) = *BankReg::ROWS
            .iter()
            .find(|(_, base, stride)| offset.wrapping_sub(*base) < stride * BANKS as u64)?;
        let takes = match size {
            Size::B => reg == BankReg::Priority,
            Size::W => true,
            Size::H | Size::D => false,
        };
        let at = offset - base;
        takes.then_some(Self {
            reg,
            bank: (at / stride) as usize,
            byte: (at % stride) as usize,
            size,
        })
    }
}

/// Which way a system register may be accessed. The other way is undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IccAccess {
    /// Read only.
    Ro,
    /// Write only.
    Wo,
    /// Read and write.
    Rw,
}

macro_rules! icc_registers {
    ($( $id:ident $name:literal ($crn:literal, $crm:literal, $op2:literal) $access:ident )*) => {
        /// A system register of the CPU interface, as seen from EL1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Icc {
            $( #[doc = concat!("`", $name, "`")] $id, )*
        }

        impl Icc {
            /// Every register once.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];

            const ROWS: [(&'static str, SysReg, IccAccess); Self::ALL.len()] =
                [$(($name, SysReg::new(3, 0, $crn, $crm, $op2), IccAccess::$access)),*];

            /// The register of this encoding.
            #[must_use]
            pub const fn from_sysreg(reg: SysReg) -> Option<Self> {
                match reg.fields() {
                    $( (3, 0, $crn, $crm, $op2) => Some(Self::$id), )*
                    _ => None,
                }
            }
        }
    };
}

// Five bits of priority make one active-priority register per group; AP0R1 to AP0R3 and AP1R1 to
// AP1R3 do not exist then.
icc_registers! {
    Pmr     "ICC_PMR_EL1"     (4, 6, 0)   Rw
    Iar0    "ICC_IAR0_EL1"    (12, 8, 0)  Ro
    Eoir0   "ICC_EOIR0_EL1"   (12, 8, 1)  Wo
    Hppir0  "ICC_HPPIR0_EL1"  (12, 8, 2)  Ro
    Bpr0    "ICC_BPR0_EL1"    (12, 8, 3)  Rw
    Ap0r0   "ICC_AP0R0_EL1"   (12, 8, 4)  Rw
    Ap1r0   "ICC_AP1R0_EL1"   (12, 9, 0)  Rw
    Dir     "ICC_DIR_EL1"     (12, 11, 1) Wo
    Rpr     "ICC_RPR_EL1"     (12, 11, 3) Ro
    Sgi1r   "ICC_SGI1R_EL1"   (12, 11, 5) Wo
    Asgi1r  "ICC_ASGI1R_EL1"  (12, 11, 6) Wo
    Sgi0r   "ICC_SGI0R_EL1"   (12, 11, 7) Wo
    Iar1    "ICC_IAR1_EL1"    (12, 12, 0) Ro
    Eoir1   "ICC_EOIR1_EL1"   (12, 12, 1) Wo
    Hppir1  "ICC_HPPIR1_EL1"  (12, 12, 2) Ro
    Bpr1    "ICC_BPR1_EL1"    (12, 12, 3) Rw
    Ctlr    "ICC_CTLR_EL1"    (12, 12, 4) Rw
    Sre     "ICC_SRE_EL1"     (12, 12, 5) Rw
    Igrpen0 "ICC_IGRPEN0_EL1" (12, 12, 6) Rw
    Igrpen1 "ICC_IGRPEN1_EL1" (12, 12, 7) Rw
}

impl Icc {
    /// The architectural name, such as `ICC_PMR_EL1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ROWS[self as usize].0
    }

    /// The encoding.
    #[must_use]
    pub const fn sysreg(self) -> SysReg {
        Self::ROWS[self as usize].1
    }

    /// Which accesses are defined.
    #[must_use]
    pub const fn access(self) -> IccAccess {
        Self::ROWS[self as usize].2
    }
}

/// `ICC_CTLR_EL1`: one binary point for both groups.
pub const CTLR_CBPR: u32 = 1;
/// `ICC_CTLR_EL1`: the end of an interrupt drops its priority only; `ICC_DIR_EL1` deactivates it.
pub const CTLR_EOIMODE: u32 = 2;
/// `ICC_CTLR_EL1`: bits of priority, less one.
pub const CTLR_PRIBITS: u64 = 7 << 8;
/// `ICC_CTLR_EL1`: five bits of priority, 16-bit INTIDs, nonzero Aff3 accepted.
pub const CTLR_FIXED: u32 = 4 << 8 | 1 << 15;
/// `ICC_SRE_EL1`: system registers always on, bypass always off.
pub const SRE_VALUE: u64 = 7;

/// What a write to one of the three SGI registers asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgiRequest {
    /// The SGI, 0 to 15.
    pub intid: u32,
    /// Whom it is for.
    pub targets: SgiTargets,
}

/// The vCPUs an SGI is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiTargets {
    /// All but the sender.
    Others,
    /// Those of one cluster.
    List {
        /// Aff3 in bits 39:32, Aff2 and Aff1 in bits 23:8, as in `MPIDR_EL1`.
        cluster: u64,
        /// Bit n is set for Aff0 = n.
        aff0: u16,
    },
}

impl SgiRequest {
    /// Decodes the register's value. The range selector does not exist here and is ignored.
    #[must_use]
    pub const fn decode(value: u64) -> Self {
        let targets = if value & 1 << 40 != 0 {
            SgiTargets::Others
        } else {
            let (aff3, aff2, aff1) = (value >> 48 & 0xff, value >> 32 & 0xff, value >> 16 & 0xff);
            SgiTargets::List {
                cluster: aff3 << 32 | aff2 << 16 | aff1 << 8,
                aff0: value as u16,
            }
        };
        Self {
            intid: (value >> 24 & 15) as u32,
            targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icc_encodings_are_distinct_and_round_trip() {
        for (i, reg) in Icc::ALL.iter().enumerate() {
            assert_eq!(*reg as usize, i);
            assert_eq!(Icc::from_sysreg(reg.sysreg()), Some(*reg));
        }
        let found = (0..=u16::MAX)
            .filter(|r| Icc::from_sysreg(SysReg(*r)).is_some())
            .count();
        assert_eq!(found, Icc::ALL.len());
    }

    #[test]
    fn icc_numbers_match_the_instructions_of_an_assembler() {
        // mrs x0, icc_iar1_el1; msr icc_pmr_el1, x0; msr icc_sgi1r_el1, x0; mrs x0, icc_rpr_el1;
        // msr icc_eoir1_el1, x0; msr icc_dir_el1, x0; mrs x0, icc_ctlr_el1; mrs x0, icc_ap1r0_el1
        for (insn, reg) in [
            (0xd538_cc00, Icc::Iar1),
            (0xd518_4600, Icc::Pmr),
            (0xd518_cba0, Icc::Sgi1r),
            (0xd538_cb60, Icc::Rpr),
            (0xd518_cc20, Icc::Eoir1),
            (0xd518_cb20, Icc::Dir),
            (0xd538_cc80, Icc::Ctlr),
            (0xd538_c900, Icc::Ap1r0),
        ] {
            assert_eq!(
                Icc::from_sysreg(SysReg::from_instruction(insn)),
                Some(reg),
                "{insn:#x}"
            );
        }
    }

    #[test]
    fn further_active_priority_registers_do_not_exist() {
        for op2 in 1..4 {
            assert_eq!(Icc::from_sysreg(SysReg::new(3, 0, 12, 8, 4 + op2)), None);
            assert_eq!(Icc::from_sysreg(SysReg::new(3, 0, 12, 9, op2)), None);
        }
    }

    #[test]
    fn bank_registers_have_the_places_of_their_rows() {
        for (reg, base, stride) in BankReg::ROWS {
            assert_eq!(reg.place(), (base, stride), "{reg:?}");
        }
    }

    #[test]
    fn icfgr_has_the_upper_bit_of_each_pair() {
        assert_eq!(to_icfgr(0xffff), 0xaaaa_aaaa);
        assert_eq!(to_icfgr(1 << 3 | 1 << 16), 2 << 6);
        for edges in [0, 1, 0x8001, 0x1234, 0xffff] {
            assert_eq!(from_icfgr(to_icfgr(edges)), edges);
            assert_eq!(from_icfgr(to_icfgr(edges) | 0x5555_5555), edges);
        }
    }

    #[test]
    fn bank_registers_decode_by_offset_and_size() {
        let at = |offset, size| BankAccess::decode(offset, size).map(|a| (a.reg, a.bank, a.byte));
        assert_eq!(at(0x80, Size::W), Some((BankReg::Group, 0, 0)));
        assert_eq!(at(0x11c, Size::W), Some((BankReg::SetEnable, 7, 0)));
        assert_eq!(at(0x120, Size::W), None, "beyond the last SPI");
        assert_eq!(at(0x184, Size::W), Some((BankReg::ClearEnable, 1, 0)));
        assert_eq!(at(0x425, Size::B), Some((BankReg::Priority, 1, 5)));
        assert_eq!(at(0x424, Size::W), Some((BankReg::Priority, 1, 4)));
        assert_eq!(at(0xc04, Size::W), Some((BankReg::Config, 0, 4)));
        assert_eq!(at(0xc3c, Size::W), Some((BankReg::Config, 7, 4)));
        assert_eq!(at(0x80, Size::B), None);
        assert_eq!(at(0x80, Size::D), None);
        assert_eq!(at(0x424, Size::H), None);
        assert_eq!(at(0x425, Size::W), None);
        assert_eq!(at(0x800, Size::W), None, "ITARGETSR");
        assert_eq!(at(0xd00, Size::W), None, "IGRPMODR");
        assert_eq!(at(!3, Size::W), None);
    }

    #[test]
    fn frames_identify_themselves_as_gicv3() {
        assert_eq!(id_register(0xffe8, 0x92), Some(0x3b));
        assert_eq!(id_register(0xffe0, 0x92), Some(0x92));
        assert_eq!(id_register(0xfffc, 0x92), Some(0xb1));
        assert_eq!(id_register(0xffea, 0x92), None);
        assert_eq!(id_register(0xffcc, 0x92), None);
        assert_eq!(id_register(0x1_0000, 0x92), None);
    }

    #[test]
    fn sgi_requests_decode() {
        let cluster = 1 << 32 | 2 << 16 | 3 << 8;
        assert_eq!(
            SgiRequest::decode(1 << 48 | 2 << 32 | 0xf << 44 | 7 << 24 | 3 << 16 | 0x8001),
            SgiRequest {
                intid: 7,
                targets: SgiTargets::List {
                    cluster,
                    aff0: 0x8001
                }
            }
        );
        assert_eq!(
            SgiRequest::decode(1 << 40 | 15 << 24 | 0xffff),
            SgiRequest {
                intid: 15,
                targets: SgiTargets::Others
            }
        );
    }
}
