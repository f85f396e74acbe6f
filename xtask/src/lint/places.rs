//! `unsafe` and conditional compilation by platform stand only where they are allowed.

use super::{Finding, Source};
use crate::error::Error;

/// Where `unsafe` may stand, by the beginning of the path, and why.
const UNSAFE: [(&str, &str); 9] = [
    ("memory/src/", "guest memory is shared with the guest"),
    ("transfers/src/host/ring.rs", "io_uring of guest memory"),
    ("hv-backend/src/kvm/sys.rs", "system calls of KVM"),
    ("hv-backend/src/hvf/sys/", "calls of Hypervisor.framework"),
    ("hvf-probe/src/raw.rs", "calls that the framework refuses"),
    (
        "hvf-sim/src/",
        "functions of C, lent memory, a shared record",
    ),
    ("hvf-sim/tests/", "calls of functions of C"),
    (
        "tests/src/simulated.rs",
        "a simulated framework is registered",
    ),
    (
        "vmm/src/host/",
        "host services: terminal, signals, processor time",
    ),
];

/// Where platforms may be told apart, by the beginning of the path, and why.
const PLATFORMS: [(&str, &str); 6] = [
    ("hv-backend/src/lib.rs", "the switch between accelerators"),
    ("hvf-sim/src/lib.rs", "the one calling convention by hand"),
    ("memory/src/host/", "giving memory back to the host"),
    ("vmm/src/host/", "host services"),
    ("transfers/src/host/mod.rs", "io_uring, where it is"),
    ("images/src/host/", "holes in files, durability, direct I/O"),
];

/// Words of `cfg` that tell platforms apart. Byte order, pointer width and instruction
/// set extensions are not among them: code states what it needs of those.
const PLATFORM_WORDS: [&str; 5] = [
    "target_os",
    "target_arch",
    "target_family",
    "target_env",
    "target_vendor",
];

/// A file with `unsafe` says on top why.
const UNSAFETY_HEADER: &str = "// UNSAFETY: ";

pub fn check(sources: &[Source]) -> Result<Vec<Finding>, Error> {
    Ok(sources.iter().flat_map(findings).collect())
}

fn findings(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut has_unsafe = false;
    for (number, line) in (1..).zip(source.code.lines()) {
        let place = || format!("{}:{number}", source.path);
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.clone().any(|word| word == "unsafe") {
            has_unsafe = true;
            if !allowed(&UNSAFE, &source.path) {
                found.push(Finding {
                    place: place(),
                    message: "unsafe code has no place here".to_owned(),
                });
            }
        }
        let platform = words.find(|word| PLATFORM_WORDS.contains(word));
        if let Some(word) = platform.filter(|_| !allowed(&PLATFORMS, &source.path)) {
            let message = format!(
                "{word}: platforms are told apart only in {}",
                PLATFORMS.map(|(beginning, _)| beginning).join(", ")
            );
            found.push(Finding {
                place: place(),
                message,
            });
        }
    }
    if has_unsafe && !source.text.contains(UNSAFETY_HEADER) {
        let message = format!("a file with unsafe code says why in a line `{UNSAFETY_HEADER}...`");
        found.push(Finding {
            place: source.path.clone(),
            message,
        });
    }
    found
}

fn allowed(list: &[(&str, &str)], path: &str) -> bool {
    list.iter()
        .any(|(beginning, _)| path.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        findings(&source(path, text))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn unsafe_code_is_found_outside_its_places() {
        assert_eq!(
            messages("devices/src/x.rs", "// UNSAFETY: because\nunsafe { f() }").len(),
            1
        );
        assert!(messages("memory/src/x.rs", "// UNSAFETY: because\nunsafe { f() }").is_empty());
    }

    #[test]
    fn unsafe_code_needs_its_header() {
        assert_eq!(messages("memory/src/x.rs", "unsafe { f() }").len(), 1);
    }

    #[test]
    fn talking_of_unsafe_is_fine() {
        assert!(
            messages(
                "devices/src/x.rs",
                "// unsafe\nlet unsafe_code = \"unsafe\";"
            )
            .is_empty()
        );
    }

    #[test]
    fn platforms_are_told_apart_in_few_places() {
        let text = "#[cfg(target_os = \"macos\")]";
        assert_eq!(messages("vmm/src/run.rs", text).len(), 1);
        assert!(messages("hv-backend/src/lib.rs", text).is_empty());
    }
}
