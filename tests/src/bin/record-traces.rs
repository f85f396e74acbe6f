//! Records exit traces on the accelerator that `ARMLET_ACCEL` names, and prints them: each line after
//! the word `ARMLET-TRACE` and the trace's name. The argument is a Linux kernel.
//! `cargo xtask traces` runs it where arm64 KVM works, and keeps what it prints.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(linux) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: record-traces KERNEL");
        return ExitCode::from(2);
    };
    for (name, trace) in armlet_tests::trace::record_all(&linux) {
        for line in trace.to_string().lines() {
            println!("ARMLET-TRACE {name} {line}");
        }
    }
    ExitCode::SUCCESS
}
