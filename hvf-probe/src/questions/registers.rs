//! Registers: what a new vCPU holds, which identification registers take a value, and which system
//! registers trap.

use aarch64::cpu_model::PORTABLE;
use aarch64::{Saved, SysReg};
use hv_backend::hvf::abi::reg;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::guest::{Back, hvc, with};
use crate::raw::{Answer, Raw, Vcpu, code};

/// A vCPU as it is made.
pub fn initial(raw: Raw, _: &Options) -> Value {
    let made = raw.create_vm(None).and_then(|()| {
        let vcpu = raw.create_vcpu()?;
        let mut all = Map::new();
        for (name, number) in [("x0", 0), ("pc", reg::PC), ("cpsr", reg::CPSR)] {
            all.insert(name.into(), shown(vcpu.reg(number)));
        }
        for register in Saved::ALL {
            let seen = vcpu.sysreg(register.sysreg().0);
            all.insert(format!("{register:?}"), shown(seen));
        }
        for known in PORTABLE {
            all.insert(known.name.into(), shown(vcpu.sysreg(known.reg.0)));
        }
        Ok(Value::Object(all))
    });
    let _ = raw.destroy_vm();
    made.unwrap_or_else(|refusal| json!({ "refused": code(refusal) }))
}

fn shown(answer: Answer<u64>) -> Value {
    answer.map_or_else(code, |value| json!(format!("{value:#x}")))
}

/// Which identification registers take another value, before and after the first entry, and what
/// the guest then reads.
pub fn identification(raw: Raw, _: &Options) -> Value {
    let mut all = Map::new();
    for known in PORTABLE {
        let seen = with(raw, &[mrs(known.reg), hvc(0)], |guest| {
            let default = guest.vcpu.sysreg(known.reg.0)?;
            let before = change(&mut guest.vcpu, known.reg, known.value);
            let back = guest.run()?;
            let read = guest.vcpu.reg(0)?;
            let after = change(&mut guest.vcpu, known.reg, default);
            Ok(json!({
                "default": format!("{default:#x}"),
                "set_to": format!("{:#x}", known.value),
                "reads_back": before,
                "guest": back.show(),
                "guest_reads": format!("{read:#x}"),
                "reads_back_set_to_default_after_entry": after,
            }))
        });
        all.insert(known.name.into(), seen);
    }
    let features = (0..14).map(|number| shown(raw.feature(number)));
    all.insert("feature registers by number".into(), features.collect());
    Value::Object(all)
}

fn change(vcpu: &mut Vcpu, register: SysReg, value: u64) -> Value {
    match vcpu.set_sysreg(register.0, value) {
        Ok(()) => shown(vcpu.sysreg(register.0)),
        Err(refusal) => code(refusal),
    }
}

/// Whether a vector survives its two ways through the framework.
pub fn simd(raw: Raw, _: &Options) -> Value {
    const VALUE: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
    /// `mov x0, v5.d[0]; mov x1, v5.d[1]; hvc #0`
    const READ: [u32; 3] = [0x4e08_3ca0, 0x4e18_3ca1, hvc(0)];
    with(raw, &READ, |guest| {
        guest.vcpu.set_simd(5, VALUE)?;
        let back = guest.run()?;
        let seen = u128::from(guest.vcpu.reg(1)?) << 64 | u128::from(guest.vcpu.reg(0)?);
        Ok(json!({
            "set": format!("{VALUE:#x}"),
            "guest": back.show(),
            "guest_reads": format!("{seen:#x}"),
            "reads_back": format!("{:#x}", guest.vcpu.simd(5)?),
        }))
    })
}

/// `mrs x0, register`
fn mrs(register: SysReg) -> u32 {
    // Of op0 the instruction holds the low bit only: it is 2 or 3.
    0xd530_0000 | u32::from(register.0 & 0x7fff) << 5
}

/// Registers outside of what we save whose reads may or may not trap: debug, identification, PMU,
/// GIC, timer, and some of Apple's own.
const OTHERS: &[(&str, SysReg)] = &[
    ("OSLSR_EL1", SysReg::new(2, 0, 1, 1, 4)),
    ("DBGPRCR_EL1", SysReg::new(2, 0, 1, 4, 4)),
    ("DBGCLAIMSET_EL1", SysReg::new(2, 0, 7, 8, 6)),
    ("MDCCSR_EL0", SysReg::new(2, 3, 0, 1, 0)),
    ("ID_PFR0_EL1", SysReg::new(3, 0, 0, 1, 0)),
    ("ID_AA64ZFR0_EL1", SysReg::new(3, 0, 0, 4, 4)),
    ("ID_AA64SMFR0_EL1", SysReg::new(3, 0, 0, 4, 5)),
    ("ID_AA64ISAR2_EL1", SysReg::new(3, 0, 0, 6, 2)),
    ("ID_AA64MMFR3_EL1", SysReg::new(3, 0, 0, 7, 3)),
    ("LORC_EL1", SysReg::new(3, 0, 10, 4, 3)),
    ("ICC_CTLR_EL1", SysReg::new(3, 0, 12, 12, 4)),
    ("ICC_SRE_EL1", SysReg::new(3, 0, 12, 12, 5)),
    ("ICC_PMR_EL1", SysReg::new(3, 0, 4, 6, 0)),
    ("PMCR_EL0", SysReg::new(3, 3, 9, 12, 0)),
    ("PMCCNTR_EL0", SysReg::new(3, 3, 9, 13, 0)),
    ("CNTPCT_EL0", SysReg::new(3, 3, 14, 0, 1)),
    ("CNTVCT_EL0", SysReg::new(3, 3, 14, 0, 2)),
    ("CNTFRQ_EL0", SysReg::new(3, 3, 14, 0, 0)),
    ("CTR_EL0", SysReg::new(3, 3, 0, 0, 1)),
    ("DCZID_EL0", SysReg::new(3, 3, 0, 0, 7)),
    ("S3_0_C15_C0_0", SysReg::new(3, 0, 15, 0, 0)),
    ("S3_1_C11_C0_0", SysReg::new(3, 1, 11, 0, 0)),
];

/// What a guest's read of each register comes to.
pub fn forwarded(raw: Raw, _: &Options) -> Value {
    let saved = Saved::ALL
        .iter()
        .map(|saved| (format!("{saved:?}"), saved.sysreg()));
    let others = OTHERS
        .iter()
        .map(|(name, register)| ((*name).to_owned(), *register));
    with(raw, &[hvc(0)], |guest| {
        let mut all = Map::new();
        for (name, register) in saved.chain(others) {
            guest.load(&[mrs(register), hvc(0)])?;
            let seen = match guest.run()? {
                Back::Called(_) => json!({ "value": shown(guest.vcpu.reg(0)) }),
                other @ (Back::Exception(_) | Back::Trapped(_) | Back::Other(_)) => other.show(),
            };
            all.insert(name, seen);
        }
        Ok(Value::Object(all))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_encoded_as_assemblers_do() {
        assert_eq!(mrs(SysReg::new(3, 3, 14, 0, 2)), 0xd53b_e040);
        assert_eq!(mrs(SysReg::new(3, 0, 1, 0, 0)), 0xd538_1000);
        assert_eq!(mrs(SysReg::new(2, 0, 0, 2, 2)), 0xd530_0240);
    }
}
