//! `cargo xtask demo`: from a fresh machine to a Linux guest.
//!
//! With a terminal the guest gives a shell. Without one it checks itself and powers off, and the
//! command's status says whether everything was as it should be.

use crate::command::{Profile, build_armlet, watch};
use crate::error::Error;
use guests::{Kernel, Store};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The check takes seconds; a machine that needs longer than this is stuck.
const CHECK_LIMIT: Duration = Duration::from_secs(300);
const MEMORY: &str = "512M";

/// Runs the command.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    if let Some(argument) = arguments.first() {
        return Err(Error::new(format!(
            "demo takes no argument, not even {argument}"
        )));
    }
    println!("1/3 building armlet");
    let armlet = build_armlet(Profile::Release)?;
    println!("2/3 preparing the guest (Debian's arm64 kernel and busybox, kept in target/guests)");
    let store = Store::of_checkout();
    let (kernel, image) = first_kernel(&store)?;
    let initramfs = store.initramfs()?;
    let interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let action = if interactive { "shell" } else { "check" };
    let cpus = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 4));
    println!(
        "3/3 booting Linux {} on {cpus} CPUs with {MEMORY} of memory",
        kernel.name()
    );
    let mut command = Command::new(armlet);
    command
        .args(["run", "--memory", MEMORY, "--cpus", &cpus.to_string()])
        .args([
            "--cmdline",
            &format!("console=ttyAMA0 quiet armlet.do={action}"),
        ])
        .args([
            "--kernel".as_ref(),
            image.as_os_str(),
            "--initrd".as_ref(),
            initramfs.as_os_str(),
        ]);
    if interactive {
        println!("Ctrl-A x leaves, Ctrl-A h helps.");
        return Ok(command.status()?.success());
    }
    let finished = watch(&mut command, CHECK_LIMIT)?;
    let checked = finished
        .lines
        .iter()
        .any(|line| line.contains("ARMLET-DONE check"));
    if finished.success && checked {
        println!("demo: the guest booted, found itself in order and powered off");
    } else {
        println!(
            "demo: FAILED ({})",
            if checked {
                "exit status"
            } else {
                "the guest's check"
            }
        );
    }
    Ok(finished.success && checked)
}

/// The best kernel that this machine's archive has.
fn first_kernel(store: &Store) -> Result<(Kernel, PathBuf), Error> {
    let mut failure = Error::new("no kernel is known");
    for kernel in Kernel::ALL {
        match store.kernel(kernel) {
            Ok(image) => return Ok((kernel, image)),
            Err(error) => {
                eprintln!("{}: {error}", kernel.name());
                failure = error.into();
            }
        }
    }
    Err(failure)
}
