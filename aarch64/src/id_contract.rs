//! Which identification registers belong to a CPU model, field by field.
//!
//! A guest looks at these registers once, when it starts, and relies on what they said for ever;
//! programs keep some of them too. So a guest may move between hosts only if its next host offers
//! what its last one showed. Each field says by its [`Order`] what "offers" means: more can be
//! hidden, less cannot be made up for.
//!
//! [`Order::Free`] are the fields that a guest at EL1 cannot use, or that it deals with however
//! they read: those of EL2 and of the second stage of translation, and how errors of the hardware
//! are recorded and reported (RAS: `ESB` is a hint, and the error records are empty). Linux still
//! wants `HCX` and RAS of a CPU that comes online to be as the first one's.
//!
//! Not here, and as the host has them:
//! - `MIDR_EL1`, `REVIDR_EL1`, `AIDR_EL1`: a guest has to know the processor under it to work
//!   around that processor's errors; it reads them again where a processor comes online;
//! - `MPIDR_EL1`: the machine's, the same everywhere;
//! - `CLIDR_EL1`, `CCSIDR_EL1`: sizes of caches, which guests only show to people;
//! - `S3_0_C0_C1..3`, the registers of AArch32: unknown where there is no AArch32.

use crate::SysReg;
use crate::cpu_model::{CTR_EL0, DCZID_EL0, id_register};

/// How values of a field compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Larger values include smaller ones.
    Unsigned,
    /// The same, for a field whose highest bit is a sign.
    Signed,
    /// No value includes another.
    Equal,
    /// No guest can tell, or mind.
    Free,
}

/// A field of an identification register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Architectural name; empty where the architecture had none when this was written.
    pub name: &'static str,
    /// The lowest bit.
    pub low: u8,
    /// How many bits.
    pub width: u8,
    /// How values compare.
    pub order: Order,
}

impl Field {
    /// The field's bits.
    #[must_use]
    pub const fn mask(self) -> u64 {
        (u64::MAX >> (64 - self.width)) << self.low
    }

    /// The field's value in a register.
    #[must_use]
    pub const fn of(self, register: u64) -> u64 {
        (register & self.mask()) >> self.low
    }

    /// Whether a host where the field reads `has` can offer a guest `wanted`.
    #[must_use]
    pub fn includes(self, has: u64, wanted: u64) -> bool {
        let signed = |value: u64| (value << (64 - self.width)).cast_signed();
        match self.order {
            Order::Unsigned => has >= wanted,
            Order::Signed => signed(has) >= signed(wanted),
            Order::Equal | Order::Free => true,
        }
    }
}

/// An identification register that belongs to a CPU model.
#[derive(Clone, Copy, Debug)]
pub struct IdContract {
    /// Architectural name.
    pub name: &'static str,
    /// Encoding.
    pub reg: SysReg,
    /// All of its fields.
    pub fields: &'static [Field],
    /// Bits of features whose state a vCPU's saved state has no room for: hidden in the model
    /// `host` too.
    pub unsaved: u64,
}

impl IdContract {
    /// What the model `portable` says.
    #[must_use]
    pub fn portable(&self) -> u64 {
        id_register(self.reg).unwrap_or(0)
    }
}

const fn field(name: &'static str, low: u8, width: u8, order: Order) -> Field {
    Field {
        name,
        low,
        width,
        order,
    }
}

/// Sixteen fields of four bits.
const fn nibbles(rows: [(&'static str, Order); 16]) -> [Field; 16] {
    let mut fields = [field("", 0, 4, U); 16];
    let mut n = 0;
    while n < 16 {
        let (name, order) = rows[n];
        fields[n] = field(name, n as u8 * 4, 4, order);
        n += 1;
    }
    fields
}

const U: Order = Order::Unsigned;
const S: Order = Order::Signed;
const E: Order = Order::Equal;
const F: Order = Order::Free;
/// A field without a name.
const NONE: (&str, Order) = ("", U);

const UNNAMED: [Field; 16] = nibbles([NONE; 16]);

#[rustfmt::skip]
const PFR0: [Field; 16] = nibbles([
    ("EL0", U), ("EL1", U), ("EL2", U), ("EL3", U), ("FP", S), ("AdvSIMD", S), ("GIC", U), ("RAS", F),
    ("SVE", U), ("SEL2", U), ("MPAM", U), ("AMU", U), ("DIT", U), ("RME", U), ("CSV2", U), ("CSV3", U),
]);
#[rustfmt::skip]
const PFR1: [Field; 16] = nibbles([
    ("BT", U), ("SSBS", U), ("MTE", U), ("RAS_frac", F), ("MPAM_frac", U), NONE, ("SME", U), ("RNDR_trap", F),
    ("CSV2_frac", U), ("NMI", U), ("MTE_frac", F), ("GCS", U), ("THE", U), ("MTEX", U), ("DF2", U), ("PFAR", U),
]);
#[rustfmt::skip]
const PFR2: [Field; 16] = nibbles([
    ("MTEPERM", U), ("MTESTOREONLY", U), ("MTEFAR", U), NONE, NONE, NONE, NONE, NONE,
    ("FPMR", U), NONE, NONE, NONE, NONE, NONE, NONE, NONE,
]);
#[rustfmt::skip]
const DFR0: [Field; 16] = nibbles([
    ("DebugVer", U), ("TraceVer", U), ("PMUVer", U), ("BRPs", E), ("PMSS", U), ("WRPs", E), ("SEBEP", U), ("CTX_CMPs", E),
    ("PMSVer", U), ("DoubleLock", F), ("TraceFilt", U), ("TraceBuffer", U), ("MTPMU", F), ("BRBE", U), ("ExtTrcBuff", U), ("HPMN0", F),
]);
#[rustfmt::skip]
const ISAR0: [Field; 16] = nibbles([
    NONE, ("AES", U), ("SHA1", U), ("SHA2", U), ("CRC32", U), ("Atomic", U), ("TME", U), ("RDM", U),
    ("SHA3", U), ("SM3", U), ("SM4", U), ("DP", U), ("FHM", U), ("TS", U), ("TLB", U), ("RNDR", U),
]);
#[rustfmt::skip]
const ISAR1: [Field; 16] = nibbles([
    ("DPB", U), ("APA", U), ("API", U), ("JSCVT", U), ("FCMA", U), ("LRCPC", U), ("GPA", U), ("GPI", U),
    ("FRINTTS", U), ("SB", U), ("SPECRES", U), ("BF16", U), ("DGH", U), ("I8MM", U), ("XS", U), ("LS64", U),
]);
#[rustfmt::skip]
const ISAR2: [Field; 16] = nibbles([
    ("WFxT", U), ("RPRES", U), ("GPA3", U), ("APA3", U), ("MOPS", U), ("BC", U), ("PAC_frac", F), ("CLRBHB", U),
    ("SYSREG_128", U), ("SYSINSTR_128", U), ("PRFMSLC", U), ("PCDPHINT", U), ("RPRFM", U), ("CSSC", U), ("LUT", U), ("ATS1A", U),
]);
#[rustfmt::skip]
const MMFR0: [Field; 16] = nibbles([
    ("PARange", U), ("ASIDBits", U), ("BigEnd", U), ("SNSMem", U), ("BigEndEL0", U), ("TGran16", U), ("TGran64", S), ("TGran4", S),
    ("TGran16_2", F), ("TGran64_2", F), ("TGran4_2", F), ("ExS", U), NONE, NONE, ("FGT", F), ("ECV", U),
]);
#[rustfmt::skip]
const MMFR1: [Field; 16] = nibbles([
    ("HAFDBS", U), ("VMIDBits", F), ("VH", F), ("HPDS", U), ("LO", U), ("PAN", U), ("SpecSEI", F), ("XNX", F),
    ("TWED", F), ("ETS", U), ("HCX", F), ("AFP", U), ("nTLBPA", U), ("TIDCP1", U), ("CMOW", U), ("ECBHB", U),
]);
#[rustfmt::skip]
const MMFR2: [Field; 16] = nibbles([
    ("CnP", U), ("UAO", U), ("LSM", U), ("IESB", U), ("VARange", U), ("CCIDX", U), ("NV", F), ("ST", U),
    ("AT", U), ("IDS", F), ("FWB", F), NONE, ("TTL", U), ("BBM", U), ("EVT", F), ("E0PD", U),
]);
#[rustfmt::skip]
const MMFR3: [Field; 16] = nibbles([
    ("TCRX", U), ("SCTLRX", U), ("S1PIE", U), ("S2PIE", F), ("S1POE", U), ("S2POE", F), ("AIE", U), ("MEC", U),
    ("D128", U), ("D128_2", F), ("SNERR", F), ("ANERR", F), NONE, ("SDERR", F), ("ADERR", F), ("Spec_FPACC", U),
]);
#[rustfmt::skip]
const MMFR4: [Field; 16] = nibbles([
    NONE, ("EIESB", F), ("ASID2", U), ("HACDBS", F), ("FGWTE", F), ("NV_frac", F), ("E2H0", F), NONE,
    NONE, ("E3DSE", F), NONE, NONE, NONE, NONE, NONE, NONE,
]);
/// Programs step through memory by these lines and leave out what `IDC` and `DIC` allow.
const CTR: [Field; 8] = [
    field("IminLine", 0, 4, E),
    field("L1Ip", 14, 2, E),
    field("DminLine", 16, 4, E),
    field("ERG", 20, 4, F),
    field("CWG", 24, 4, F),
    field("IDC", 28, 1, U),
    field("DIC", 29, 1, U),
    field("TminLine", 32, 6, F),
];
/// Programs clear memory by blocks of this size.
const DCZID: [Field; 2] = [field("BS", 0, 4, E), field("DZP", 4, 1, E)];

const fn row(
    name: &'static str,
    crm: u8,
    op2: u8,
    fields: &'static [Field],
    unsaved: u64,
) -> IdContract {
    IdContract {
        name,
        reg: SysReg::new(3, 0, 0, crm, op2),
        fields,
        unsaved,
    }
}

/// `TCR2_EL1`, `SCTLR2_EL1`, `PIR_EL1` and `PIRE0_EL1`, `POR_EL1` and `POR_EL0`.
const UNSAVED_MMFR3: u64 = 0xf_0fff;
/// `FPMR`.
const UNSAVED_PFR2: u64 = 0xf << 32;

/// Every register of the contract.
#[rustfmt::skip]
pub const ID_CONTRACT: &[IdContract] = &[
    row("ID_AA64PFR0_EL1", 4, 0, &PFR0, 0),
    row("ID_AA64PFR1_EL1", 4, 1, &PFR1, 0),
    row("ID_AA64PFR2_EL1", 4, 2, &PFR2, UNSAVED_PFR2),
    row("ID_AA64ZFR0_EL1", 4, 4, &UNNAMED, 0),
    row("ID_AA64SMFR0_EL1", 4, 5, &UNNAMED, 0),
    row("ID_AA64FPFR0_EL1", 4, 7, &UNNAMED, 0),
    row("ID_AA64DFR0_EL1", 5, 0, &DFR0, 0),
    row("ID_AA64DFR1_EL1", 5, 1, &UNNAMED, 0),
    row("ID_AA64ISAR0_EL1", 6, 0, &ISAR0, 0),
    row("ID_AA64ISAR1_EL1", 6, 1, &ISAR1, 0),
    row("ID_AA64ISAR2_EL1", 6, 2, &ISAR2, 0),
    row("ID_AA64ISAR3_EL1", 6, 3, &UNNAMED, 0),
    row("ID_AA64MMFR0_EL1", 7, 0, &MMFR0, 0),
    row("ID_AA64MMFR1_EL1", 7, 1, &MMFR1, 0),
    row("ID_AA64MMFR2_EL1", 7, 2, &MMFR2, 0),
    row("ID_AA64MMFR3_EL1", 7, 3, &MMFR3, UNSAVED_MMFR3),
    row("ID_AA64MMFR4_EL1", 7, 4, &MMFR4, 0),
    IdContract { name: "CTR_EL0", reg: CTR_EL0, fields: &CTR, unsaved: 0 },
    IdContract { name: "DCZID_EL0", reg: DCZID_EL0, fields: &DCZID, unsaved: 0 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_register_do_not_overlap_and_feature_registers_are_covered() {
        for row in ID_CONTRACT {
            let mut seen = 0;
            for field in row.fields {
                assert_eq!(seen & field.mask(), 0, "{} {}", row.name, field.name);
                seen |= field.mask();
            }
            if row.reg.fields().1 == 0 {
                assert_eq!(seen, u64::MAX, "{}", row.name);
            }
            let twins = ID_CONTRACT.iter().filter(|other| other.reg == row.reg);
            assert_eq!(twins.count(), 1, "{}", row.name);
        }
    }

    #[test]
    fn the_model_has_every_register_that_is_in_both_tables() {
        for known in crate::cpu_model::PORTABLE {
            if let Some(row) = ID_CONTRACT.iter().find(|row| row.reg == known.reg) {
                assert_eq!((row.name, row.portable()), (known.name, known.value));
            }
        }
    }

    #[test]
    fn fields_compare_by_their_order() {
        let fp = PFR0[4];
        assert_eq!(
            (fp.name, fp.mask(), fp.of(0x000a_0000)),
            ("FP", 0xf_0000, 0xa)
        );
        assert!(fp.includes(1, 0) && fp.includes(0, 0xf) && !fp.includes(0xf, 0));
        let atomic = ISAR0[5];
        assert!(atomic.includes(3, 2) && !atomic.includes(0, 2));
        assert!(DCZID[0].includes(4, 7), "only equality can tell");
    }
}
