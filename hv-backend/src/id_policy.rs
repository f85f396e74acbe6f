//! How a CPU model is enforced on a host's identification registers. Pure: an accelerator reads a
//! register of a new vCPU, asks [`portable`] or [`host`] what to write, writes it, reads it back and
//! asks [`settled`] whether the guest will see what it should.
//!
//! A field that a guest is promised can fail in three ways, each a [`Trouble`]: the processor has
//! less than the model, the host does not let the field be changed, or a change did not stick.

use std::fmt;

use aarch64::cpu_model::CpuModel;
use aarch64::id_contract::{Field, IdContract, Order};

use crate::api::HostError;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The processor has less than the model.
    Lacks,
    /// The host does not let it be changed.
    Fixed,
    /// It was written, and reads otherwise.
    Ignored,
}

/// A field that keeps a host from offering the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub kind: Kind,
    /// The register's name.
    pub register: &'static str,
    /// Which field.
    pub field: Field,
    /// The host's value.
    pub has: u64,
    /// The model's value.
    pub wanted: u64,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind: _,
            register,
            field,
            has,
            wanted,
        } = self;
        match field.name {
            "" => write!(
                f,
                "{register}[{}:{}]",
                field.low + field.width - 1,
                field.low
            )?,
            name => write!(f, "{register}.{name}")?,
        }
        write!(f, " ({has}, not {wanted})")
    }
}

/// What to do about one register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to write, if anything.
    pub write: Option<u64>,
    /// What stands in the way of the model.
    pub troubles: Vec<Trouble>,
}

/// Makes a register that reads `has` say what the model `portable` does. Bits of `writable` can be
/// changed.
#[must_use]
pub fn portable(row: &IdContract, has: u64, writable: u64) -> Plan {
    let wanted = row.portable();
    let mut value = has;
    let mut troubles = Vec::new();
    for field in row.fields {
        let (has, wanted_here) = (field.of(has), field.of(wanted));
        if has == wanted_here {
            continue;
        }
        let changes = (has ^ wanted_here) << field.low;
        let kind = if !field.includes(has, wanted_here) {
            Some(Kind::Lacks)
        } else if changes & !writable == 0 {
            value = (value & !field.mask()) | (wanted & field.mask());
            None
        } else {
            Some(Kind::Fixed)
        };
        if let Some(kind) = kind.filter(|_| field.order != Order::Free) {
            troubles.push(trouble(kind, row, *field, has, wanted_here));
        }
    }
    Plan {
        write: (value != has).then_some(value),
        troubles,
    }
}

/// What to write to a register that reads `has` so that the guest is not offered state which
/// nobody saves, as far as that can be changed.
#[must_use]
pub fn host(row: &IdContract, has: u64, writable: u64) -> Option<u64> {
    let value = has & !(row.unsaved & writable);
    (value != has).then_some(value)
}

/// What of the model `portable` a register lacks that now reads `has`.
#[must_use]
pub fn settled(row: &IdContract, has: u64) -> Vec<Trouble> {
    let wanted = row.portable();
    let promised = row.fields.iter().filter(|field| field.order != Order::Free);
    promised
        .filter(|field| field.of(has) != field.of(wanted))
        .map(|field| trouble(Kind::Ignored, row, *field, field.of(has), field.of(wanted)))
        .collect()
}

fn trouble(kind: Kind, row: &IdContract, field: Field, has: u64, wanted: u64) -> Trouble {
    Trouble {
        kind,
        register: row.name,
        field,
        has,
        wanted,
    }
}

/// The reason, in one line, why a host that calls itself `host` cannot offer the model `portable`;
/// none without troubles.
#[must_use]
pub fn refusal(host: &str, troubles: &[Trouble]) -> Option<HostError> {
    let mut reasons = Vec::new();
    for (kind, said) in [
        (Kind::Lacks, "this processor lacks".to_owned()),
        (Kind::Fixed, format!("{host} cannot hide")),
        (Kind::Ignored, format!("{host} took, but does not show")),
    ] {
        let fields = troubles.iter().filter(|trouble| trouble.kind == kind);
        let fields: Vec<String> = fields.map(Trouble::to_string).collect();
        if !fields.is_empty() {
            reasons.push(format!("{said} {}", fields.join(", ")));
        }
    }
    (!reasons.is_empty()).then(|| HostError::CpuModel {
        model: CpuModel::Portable,
        reason: reasons.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use aarch64::id_contract::ID_CONTRACT;
    use proptest::prelude::*;

    use super::*;

    fn row(name: &str) -> &'static IdContract {
        ID_CONTRACT.iter().find(|row| row.name == name).unwrap()
    }

    fn reason(troubles: &[Trouble]) -> String {
        match refusal("Linux 6.7", troubles) {
            Some(HostError::CpuModel { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_equals_the_model_is_left_alone() {
        for row in ID_CONTRACT {
            assert_eq!(portable(row, row.portable(), 0), Plan::default());
            assert!(settled(row, row.portable()).is_empty());
        }
    }

    #[test]
    fn what_a_host_has_more_is_hidden() {
        // A processor of Armv8.5, on Linux 6.12.
        let row = row("ID_AA64ISAR0_EL1");
        let plan = portable(row, 0x1221_1111_1021_2120, 0xffff_ffff_ffff_fff0);
        assert_eq!(plan.write, Some(row.portable()));
        assert!(plan.troubles.is_empty());
    }

    #[test]
    fn what_a_host_lacks_is_named() {
        // A Cortex-A72 has none of LSE, RDM and DotProd.
        let plan = portable(row("ID_AA64ISAR0_EL1"), 0x1_1120, u64::MAX);
        assert_eq!(
            reason(&plan.troubles),
            "this processor lacks ID_AA64ISAR0_EL1.Atomic (0, not 2), \
             ID_AA64ISAR0_EL1.RDM (0, not 1), ID_AA64ISAR0_EL1.DP (0, not 1)"
        );
    }

    #[test]
    fn what_a_kernel_cannot_hide_is_named() {
        let plan = portable(row("ID_AA64PFR1_EL1"), 0x21, 0xf);
        assert_eq!(plan.write, Some(0x20), "the rest is hidden all the same");
        assert_eq!(
            reason(&plan.troubles),
            "Linux 6.7 cannot hide ID_AA64PFR1_EL1.SSBS (2, not 0)"
        );
        let unnamed = portable(row("ID_AA64ISAR3_EL1"), 0x10, 0);
        assert!(reason(&unnamed.troubles).ends_with("ID_AA64ISAR3_EL1[7:4] (1, not 0)"));
    }

    #[test]
    fn cache_lines_have_to_be_equal_unless_they_can_be_written() {
        let row = row("CTR_EL0");
        let longer = row.portable() + 1;
        assert_eq!(portable(row, longer, 0xf).write, Some(row.portable()));
        assert_eq!(portable(row, longer, 0).troubles[0].kind, Kind::Fixed);
    }

    #[test]
    fn fields_of_no_consequence_are_hidden_where_that_is_possible_and_else_left() {
        // RAS: 2 here, 0 in the model.
        let row = row("ID_AA64PFR0_EL1");
        let has = row.portable() | 2 << 28;
        assert_eq!(portable(row, has, u64::MAX).write, Some(row.portable()));
        assert_eq!(portable(row, has, 0), Plan::default());
        assert!(settled(row, has).is_empty());
    }

    #[test]
    fn state_that_is_not_saved_is_hidden_from_the_model_host_too() {
        let row = row("ID_AA64MMFR3_EL1");
        assert_eq!(host(row, 0x1_0000_0101, 0xf_0f0f), Some(0x1_0000_0000));
        assert_eq!(host(row, 0x1_0000_0000, u64::MAX), None);
        assert_eq!(host(row, 0x101, 0), None);
    }

    #[test]
    fn a_write_that_did_not_stick_is_named() {
        let row = row("ID_AA64ISAR0_EL1");
        let troubles = settled(row, row.portable() | 1 << 60);
        assert_eq!(
            reason(&troubles),
            "Linux 6.7 took, but does not show ID_AA64ISAR0_EL1.RNDR (1, not 0)"
        );
        assert!(refusal("Linux 6.7", &[]).is_none());
    }

    proptest! {
        /// Whatever the host, a plan without troubles leads to the model, and only by bits that
        /// can be written.
        #[test]
        fn a_plan_without_troubles_leads_to_the_model(
            index in 0..ID_CONTRACT.len(),
            has: u64,
            writable: u64,
        ) {
            let row = &ID_CONTRACT[index];
            let Plan { write, troubles } = portable(row, has, writable);
            let now = write.unwrap_or(has);
            prop_assert_eq!((now ^ has) & !writable, 0);
            prop_assert_eq!(settled(row, now).len(), troubles.len());
        }
    }
}
