//! `armlet doctor`: which accelerators work here, and which CPU models they give.

use hv_backend::api::{Caps, CpuModel, HostError, Hypervisor};
use hv_backend::select::{Accel, open};

/// The report: what this host is, lines for each accelerator, and which one is used unless the
/// user says otherwise.
pub fn report() -> String {
    let mut lines = vec![host()];
    let mut best = None;
    for accel in Accel::BY_PREFERENCE {
        match open(accel) {
            Ok(hypervisor) => {
                lines.extend(offers(&*hypervisor));
                best = best.or(Some(accel));
            }
            Err(HostError::Unavailable { reason, .. }) => {
                lines.push(format!("{accel}: not available: {reason}"));
            }
            Err(error) => lines.push(format!("{accel}: {error}")),
        }
    }
    lines.push(match best {
        Some(accel) => format!("--accel auto uses {accel}"),
        None => "no accelerator works on this host".into(),
    });
    lines.join("\n")
}

fn host() -> String {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    // Only Linux has this file.
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => format!("host: {os} {} on {arch}", release.trim_end()),
        Err(_) => format!("host: {os} on {arch}"),
    }
}

/// What an accelerator that works has to offer.
fn offers(hypervisor: &dyn Hypervisor) -> [String; 3] {
    let name = hypervisor.name();
    let Caps {
        max_vcpus,
        address_bits,
        counter_frequency,
        any_frequency_up_to,
    } = *hypervisor.caps();
    let model = match hypervisor.offers_cpu(CpuModel::Portable) {
        Ok(()) => "enforces --cpu portable".into(),
        Err(HostError::CpuModel { reason, .. }) => {
            format!("no --cpu portable, only --cpu host: {reason}")
        }
        Err(error) => format!("cannot start a virtual machine: {error}"),
    };
    let other = match any_frequency_up_to {
        Some(_) => ", or as --counter-frequency says",
        None => "",
    };
    [
        format!("{name}: works, up to {max_vcpus} CPUs and {address_bits} address bits per guest"),
        format!("{name}: {model}"),
        format!("{name}: counter at {counter_frequency} Hz{other}"),
    ]
}

#[cfg(test)]
mod tests {
    use hv_backend::scripted::{Script, Scripted};

    use super::*;

    #[test]
    fn the_software_cpu_and_one_accelerator_to_use_are_always_there() {
        let report = report();
        assert!(report.starts_with("host: "), "{report}");
        assert!(
            report.contains("\nsoft: works, up to 123 CPUs and 40 "),
            "{report}"
        );
        assert!(
            report.contains("\nsoft: enforces --cpu portable\n"),
            "{report}"
        );
        let counter = "\nsoft: counter at 62500000 Hz, or as --counter-frequency says\n";
        assert!(report.contains(counter), "{report}");
        let last = report.lines().last().unwrap_or_default();
        assert!(last.starts_with("--accel auto uses "), "{report}");
    }

    #[test]
    fn a_host_without_the_portable_model_says_why() {
        let host = Scripted::new(vec![Script::new()], || 0);
        assert_eq!(offers(&host)[1], "scripted: enforces --cpu portable");
        let old = host.without_portable("this kernel is old");
        let [works, model, counter] = offers(&old);
        assert!(
            works.starts_with("scripted: works, up to 1 CPUs"),
            "{works}"
        );
        assert_eq!(
            model,
            "scripted: no --cpu portable, only --cpu host: this kernel is old"
        );
        assert_eq!(counter, "scripted: counter at 1000000000 Hz");
    }
}
