//! `cargo xtask bench balloon`: how soon the memory that a guest frees is the host's again.
//!
//! The guest (Linux 6.12, 1 CPU, 1 GiB) fills a tmpfs and removes what is in it. Then, as
//! [`WAYS`] has it, it reports free pages by itself, or `armlet balloon` takes as much. The resident
//! size of armlet's process is read from `/proc` all the while by `xtask/files/balloon.sh`, which runs
//! here on soft and where [`kvm_host`] puts it on KVM. What is promised is [`SHARE`] of [`FREED_MIB`]
//! within [`SECONDS`].
//!
//! armlet is built as for tests: how its code is optimized is of no weight here. Omitted: QEMU beside
//! it, hinting (`--reclaim`), and macOS, whose resident sizes are other numbers.

mod report;

use crate::bench::Accelerator;
use crate::command::{self, Profile, build_armlet, workspace};
use crate::error::Error;
use crate::kvm_host;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is printed where the arguments are wrong.
pub const USAGE: &str = "usage: cargo xtask bench balloon [--on soft|kvm]";
const KERNEL: Kernel = Kernel::V6_12Cloud;
/// What the guest frees, or the balloon takes.
const FREED_MIB: u64 = 512;
/// How much of it has to come back, of one.
const SHARE: f64 = 0.9;
/// How long that may take.
const SECONDS: f64 = 10.0;
/// For a guest on one of the two, from its start to its end.
const LIMIT_EACH: Duration = Duration::from_secs(400);
/// The script's name where KVM is.
const SCRIPT: &str = "balloon.sh";
/// The initramfs's name there.
const INITRD: &str = "balloon.cpio";

/// Fills memory, and frees it when it is told to.
const USE: &str = r#"
    mkdir -p /fill && mount -t tmpfs -o size=95% fill /fill || return 1
    dd if=/dev/zero of=/fill/bytes bs=1M count=$(setting fill) 2> /dev/null || return 1
    echo ARMLET-FULL
    read -r line
    rm /fill/bytes
    echo ARMLET-FREE
    read -r line
"#;

/// A way that memory goes back.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// What the script knows it by.
    word: &'static str,
    /// What people know it by.
    name: &'static str,
    /// What the guest uses before it frees all that. A balloon takes whatever is free: only where
    /// nearly all memory was used does each page that it gives go back from the host's.
    fill_mib: u64,
}

const WAYS: [Way; 2] = [
    Way {
        word: "reporting",
        name: "free page reporting",
        fill_mib: FREED_MIB,
    },
    Way {
        word: "balloon",
        name: "balloon of 512 MiB",
        fill_mib: 832,
    },
];

/// Runs the benchmark. False when less comes back than is promised, or later.
pub fn run(arguments: &[&str]) -> Result<bool, Error> {
    let accelerators = parse(arguments).ok_or_else(|| Error::new(USAGE))?;
    let extras = Extras::new()
        .modules(&["virtio_pci", "virtio_balloon"])
        .action("use", USE);
    let initrd = Store::of_checkout().initramfs_for(KERNEL, "bench-balloon", &extras)?;
    let mut success = true;
    for accelerator in accelerators {
        let output = match accelerator {
            Accelerator::Soft => on_soft(&initrd)?,
            Accelerator::Kvm => on_kvm(initrd.clone())?,
        };
        let name = accelerator.name();
        let (text, met) = report::table(&output)?;
        println!("\n{name}, Linux 6.12, 1 CPU, 1 GiB; of {FREED_MIB} MiB that the guest freed");
        print!("{text}");
        success &= met;
    }
    Ok(success)
}

fn parse(arguments: &[&str]) -> Option<Vec<Accelerator>> {
    match arguments {
        [] => Some(Accelerator::BOTH.to_vec()),
        ["--on", name] => Some(vec![Accelerator::named(name)?]),
        _ => None,
    }
}

fn script() -> PathBuf {
    workspace().join("xtask/files").join(SCRIPT)
}

fn on_soft(initrd: &Path) -> Result<String, Error> {
    let armlet = build_armlet(Profile::Release)?;
    let kernel = Store::of_checkout().kernel(KERNEL)?;
    let mut output = String::new();
    for way in WAYS {
        output += &format!("{}\n", way.label());
        let mut command = Command::new("sh");
        command.arg(script()).arg(&armlet).arg("soft");
        command.arg(&kernel).arg(initrd);
        command.args([way.word, &way.fill_mib.to_string()]);
        let finished = command::watch(&mut command, LIMIT_EACH)?;
        if !finished.success {
            return Err(Error::new(format!("{}: no result", way.name)));
        }
        output += &format!("{}\n", finished.lines.join("\n"));
    }
    Ok(output)
}

fn on_kvm(initrd: PathBuf) -> Result<String, Error> {
    let request = kvm_host::Request {
        limit: LIMIT_EACH * (WAYS.len() as u32 + 1),
        command: vec!["sh".to_owned(), "-c".to_owned(), commands()],
        files: vec![(SCRIPT.to_owned(), script()), (INITRD.to_owned(), initrd)],
        ..kvm_host::Request::default()
    };
    kvm_host::capture(&request)
}

/// What runs on the host with KVM.
fn commands() -> String {
    let each = WAYS.map(|way| {
        let (label, word, fill) = (way.label(), way.word, way.fill_mib);
        format!("echo {label}\nsh {SCRIPT} armlet kvm Image {INITRD} {word} {fill}\n")
    });
    format!("set -e\n{}", each.concat())
}

impl Way {
    /// The line before its numbers.
    fn label(self) -> String {
        format!("BALLOON {}", self.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::meter::METER;
    use std::fs;

    #[test]
    fn one_accelerator_or_both() {
        assert_eq!(parse(&["--on", "kvm"]), Some(vec![Accelerator::Kvm]));
        assert_eq!(parse(&[]).map(|both| both.len()), Some(2));
        for wrong in [["--on", "hvf"], ["--rounds", "2"]] {
            assert_eq!(parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_script_counts_by_the_same_numbers() {
        let text = fs::read_to_string(script()).expect("it is there");
        let promised = (SECONDS * 100.0) as u64;
        assert!(text.contains(&format!("\nMIB={FREED_MIB}\n")));
        assert!(text.contains(&format!("\nPROMISED={promised}\n")));
        assert!(text.contains(&format!("echo \"{METER} before=")));
    }

    #[test]
    fn each_way_runs_behind_its_label() {
        let text = commands();
        for way in WAYS {
            let (_, rest) = text.split_once(&way.label()).expect("it is there");
            assert!(rest.contains(&format!("{} {}\n", way.word, way.fill_mib)));
        }
    }
}
