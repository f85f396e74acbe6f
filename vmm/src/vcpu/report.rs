//! The registers of a vCPU as lines for a person.

use std::fmt::Write;

use aarch64::Saved;
use hv_backend::api::Vcpu;

const SHOWN: [Saved; 12] = [
    Saved::SpEl0,
    Saved::SpEl1,
    Saved::EsrEl1,
    Saved::ElrEl1,
    Saved::FarEl1,
    Saved::SpsrEl1,
    Saved::VbarEl1,
    Saved::SctlrEl1,
    Saved::TcrEl1,
    Saved::Ttbr0El1,
    Saved::Ttbr1El1,
    Saved::MairEl1,
];

/// What a crash report shows. Registers that cannot be read are left out.
pub fn registers(vcpu: &dyn Vcpu) -> String {
    let mut named = Vec::new();
    if let Ok(core) = vcpu.core() {
        named.push(("PC".to_owned(), core.pc));
        named.push(("PSTATE".to_owned(), core.pstate));
        named.extend(
            core.x
                .iter()
                .enumerate()
                .map(|(n, x)| (format!("X{n}"), *x)),
        );
    }
    for reg in SHOWN {
        if let Ok(value) = vcpu.sysreg(reg.sysreg()) {
            named.push((reg.name().to_owned(), value));
        }
    }
    let mut lines = String::new();
    for row in named.chunks(4) {
        for (name, value) in row {
            // Writing to a String cannot fail.
            let _ = write!(lines, "  {name:>9} {value:016x}");
        }
        lines.push('\n');
    }
    lines
}
