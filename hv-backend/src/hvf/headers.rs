//! Keeps `headers.c`, which a Mac's compiler checks against Apple's headers, equal to what we use.

use std::collections::HashMap;

use aarch64::SysReg;

use super::abi::{ExitRecord, cache, feature, interrupt, memory, reason, reg, status};

const HEADERS: &str = include_str!("headers.c");
const TABLE: &str = include_str!("sys/table.rs");

/// The arguments of every use of a macro at the beginning of a line.
fn uses(r#macro: &str) -> Vec<Vec<&'static str>> {
    let arguments = |line: &'static str| {
        let rest = line.strip_prefix(r#macro)?.strip_prefix('(')?;
        let rest = rest.strip_suffix(");").unwrap_or(rest);
        Some(rest.split(',').map(str::trim).collect())
    };
    HEADERS.lines().filter_map(arguments).collect()
}

fn number(text: &str) -> u64 {
    let hex = text.strip_prefix("0x");
    hex.map_or_else(|| text.parse(), |digits| u64::from_str_radix(digits, 16))
        .expect("a number")
}

fn numbers(r#macro: &str) -> HashMap<&'static str, u64> {
    let pairs = uses(r#macro).into_iter();
    pairs.map(|pair| (pair[0], number(pair[1]))).collect()
}

#[test]
fn mac_compilers_check_the_constants_that_we_use() {
    let checked = numbers("SAME");
    let ours: &[(&str, u64)] = &[
        ("HV_SUCCESS", status::SUCCESS as u64),
        ("HV_EXIT_REASON_CANCELED", reason::CANCELED.into()),
        ("HV_EXIT_REASON_EXCEPTION", reason::EXCEPTION.into()),
        (
            "HV_EXIT_REASON_VTIMER_ACTIVATED",
            reason::VTIMER_ACTIVATED.into(),
        ),
        ("HV_EXIT_REASON_UNKNOWN", reason::UNKNOWN.into()),
        ("HV_REG_X0", 0),
        ("HV_REG_X30", 30),
        ("HV_REG_PC", reg::PC.into()),
        ("HV_REG_FPCR", reg::FPCR.into()),
        ("HV_REG_FPSR", reg::FPSR.into()),
        ("HV_REG_CPSR", reg::CPSR.into()),
        ("HV_SIMD_FP_REG_Q0", 0),
        ("HV_SIMD_FP_REG_Q31", 31),
        ("HV_INTERRUPT_TYPE_IRQ", interrupt::IRQ.into()),
        ("HV_INTERRUPT_TYPE_FIQ", interrupt::FIQ.into()),
        ("HV_MEMORY_READ", memory::READ),
        ("HV_MEMORY_WRITE", memory::WRITE),
        ("HV_MEMORY_EXEC", memory::EXEC),
        ("HV_FEATURE_REG_ID_AA64DFR0_EL1", feature::DFR0.into()),
        ("HV_FEATURE_REG_ID_AA64DFR1_EL1", feature::DFR1.into()),
        ("HV_FEATURE_REG_ID_AA64ISAR0_EL1", feature::ISAR0.into()),
        ("HV_FEATURE_REG_ID_AA64ISAR1_EL1", feature::ISAR1.into()),
        ("HV_FEATURE_REG_ID_AA64MMFR0_EL1", feature::MMFR0.into()),
        ("HV_FEATURE_REG_ID_AA64MMFR1_EL1", feature::MMFR1.into()),
        ("HV_FEATURE_REG_ID_AA64MMFR2_EL1", feature::MMFR2.into()),
        ("HV_FEATURE_REG_ID_AA64PFR0_EL1", feature::PFR0.into()),
        ("HV_FEATURE_REG_ID_AA64PFR1_EL1", feature::PFR1.into()),
        ("HV_FEATURE_REG_CTR_EL0", feature::CTR.into()),
        ("HV_FEATURE_REG_CLIDR_EL1", feature::CLIDR.into()),
        ("HV_FEATURE_REG_DCZID_EL0", feature::DCZID.into()),
        ("HV_CACHE_TYPE_DATA", cache::DATA.into()),
        ("HV_CACHE_TYPE_INSTRUCTION", cache::INSTRUCTION.into()),
    ];
    for (name, value) in ours {
        assert_eq!(checked.get(name), Some(value), "{name}");
    }
    assert_eq!(checked.len(), ours.len());
}

#[test]
fn mac_compilers_check_every_status() {
    let checked = numbers("STATUS");
    let ours =
        (1..=0xff).filter_map(|code| Some((code, status::name(0xfae9_4000_u32 as i32 | code)?)));
    let ours: Vec<(i32, &str)> = ours.collect();
    for (code, name) in &ours {
        assert_eq!(
            checked.get(name).copied(),
            u64::try_from(*code).ok(),
            "{name}"
        );
    }
    assert_eq!(checked.len(), ours.len());
}

#[test]
fn mac_compilers_check_how_system_registers_are_numbered() {
    let checked = uses("SYSREG");
    let rows = checked
        .iter()
        .filter(|row| row.len() == 6 && row[0] != "name");
    let mut count = 0;
    for row in rows {
        let field = |n: usize| u8::try_from(number(row[n])).expect("small");
        let reg = SysReg::new(field(1), field(2), field(3), field(4), field(5));
        let identifies = row[1] == "3" && row[3] == "0";
        let ours = aarch64::Saved::from_sysreg(reg).is_some() || identifies;
        assert!(ours, "{} is no register that we use", row[0]);
        count += 1;
    }
    assert_eq!(count, 15);
}

#[test]
fn mac_compilers_check_the_type_of_every_function_that_must_be_there() {
    let checked: Vec<&str> = uses("TYPE").into_iter().map(|row| row[1]).collect();
    let fields = TABLE.split("    pub hv_").skip(1);
    let required = fields.filter_map(|field| {
        let (name, kind) = field.split_once(':')?;
        (!kind.trim_start().starts_with("Option")).then(|| format!("hv_{name}"))
    });
    let mut ours = 0;
    for name in required {
        assert!(checked.contains(&name.as_str()), "{name}");
        ours += 1;
    }
    assert_eq!(checked.len(), ours);
}

#[test]
fn mac_compilers_check_the_exit_record() {
    let size = numbers("BYTES")["hv_vcpu_exit_t"];
    assert_eq!(size, size_of::<ExitRecord>() as u64);
}
