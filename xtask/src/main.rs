//! The project's commands: `cargo xtask COMMAND`.
//!
//! Each command is a module with a `run` function; [`COMMANDS`] lists them. A command returns
//! whether the process ends with status 0, or an [`Error`], which is printed.

mod bench;
mod command;
mod demo;
mod error;
mod fuzz;
mod host;
mod kvm_host;
mod lint;
mod macos;
mod suite;
mod traces;
mod workflows;

use error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// One command of the table below.
struct Entry {
    name: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<bool, Error>,
}

const COMMANDS: [Entry; 10] = [
    Entry {
        name: "demo",
        help: "set up everything and boot Linux to a shell (without a terminal: check it and power off)",
        run: demo::run,
    },
    Entry {
        name: "test",
        help: "install what the tests need and run everything that can run here; [--only STEP]",
        run: suite::run,
    },
    Entry {
        name: "lint",
        help: "check the rules of the source tree",
        run: lint::run,
    },
    Entry {
        name: "bench",
        help: "soft [--rounds N], kvm [--rounds N] [--installed]: compare armlet with QEMU: its TCG, or both on KVM; block [--on soft|kvm] ...: their disks; balloon [--on soft|kvm]: memory that goes back",
        run: bench::run,
    },
    Entry {
        name: "fuzz",
        help: "TARGET [OPTION...]: fuzz one target guided by coverage; the rest is for libFuzzer",
        run: fuzz::run,
    },
    Entry {
        name: "kvm-host",
        help: "[--seconds N] [--nvhe] [--host-cpu NAME] [--recent] -- COMMAND...: run it where arm64 KVM works, emulated if need be",
        run: kvm_host::run,
    },
    Entry {
        name: "macos",
        help: "[PACKAGE...]: build, sign and inspect the programs for Macs, on a Mac or on Linux",
        run: macos::run,
    },
    Entry {
        name: "kvm-trouble",
        help: "see what armlet says on emulated hosts whose KVM is missing or cannot be used",
        run: kvm_host::run_trouble,
    },
    Entry {
        name: "traces",
        help: "record exit traces of real KVM anew, into tests/traces",
        run: traces::run,
    },
    Entry {
        name: "guests",
        help: "fetch and build the guests, and print their paths",
        run: guests,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let entry = arguments
        .first()
        .and_then(|name| COMMANDS.iter().find(|entry| entry.name == name));
    let Some(entry) = entry else {
        eprintln!("usage: cargo xtask COMMAND");
        for Entry { name, help, run: _ } in COMMANDS {
            eprintln!("  {name:8} {help}");
        }
        return ExitCode::from(2);
    };
    match (entry.run)(&arguments[1..]) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {}: {error}", entry.name);
            ExitCode::FAILURE
        }
    }
}

/// `cargo xtask guests`: makes every guest, for work by hand.
fn guests(_arguments: &[String]) -> Result<bool, Error> {
    let store = guests::Store::of_checkout();
    let mut complete = true;
    let mut show = |name: &str, path: Result<PathBuf, guests::Error>| match path {
        Ok(path) => println!("{name:12} {}", path.display()),
        Err(error) => {
            complete = false;
            println!("{name:12} MISSING: {error}");
        }
    };
    for kernel in guests::Kernel::ALL {
        show(kernel.name(), store.kernel(kernel));
    }
    show("initramfs", store.initramfs());
    show("userland", store.userland());
    show("rootfs", store.rootfs());
    Ok(complete)
}
