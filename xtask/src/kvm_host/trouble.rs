//! `cargo xtask kvm-trouble`: hosts on which KVM cannot be used, and what armlet says there. Each
//! case is a function of `kvm-trouble.sh`, which checks it on an emulated host of its own.

use super::{Request, vehicle};
use crate::error::Error;
use guests::Kernel;
use std::io::stdout;

const SCRIPT: &str = include_str!("../../files/kvm-trouble.sh");

/// Runs every case. False if armlet said anything else than it should.
pub fn run(_arguments: &[String]) -> Result<bool, Error> {
    Ok(check()?.iter().all(|good| *good))
}

/// Runs every case, and says of each whether armlet said what it should.
pub fn check() -> Result<Vec<bool>, Error> {
    let directory = super::directory()?;
    let run = |(case, host)| {
        let status = vehicle::run(&command(case, host), &directory, &mut stdout())?;
        Ok(status == 0)
    };
    cases().into_iter().map(run).collect()
}

/// The functions of the script, and the hosts that they are about.
fn cases() -> [(&'static str, Request); 5] {
    let host = Request::default;
    [
        ("device", host()),
        (
            "portable",
            Request {
                cpu: "cortex-a76".to_owned(),
                ..host()
            },
        ),
        (
            "no_portable",
            Request {
                cpu: "cortex-a72".to_owned(),
                ..host()
            },
        ),
        ("old_gic", Request { gic: 2, ..host() }),
        (
            "old_kernel",
            Request {
                kernel: Kernel::V6_1Cloud,
                ..host()
            },
        ),
    ]
}

fn command(case: &str, host: Request) -> Request {
    let words = ["sh", "-c", SCRIPT, "kvm-trouble", case];
    Request {
        command: words.map(str::to_owned).to_vec(),
        ..host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_function_of_the_script() {
        for (case, _) in cases() {
            assert!(SCRIPT.contains(&format!("\ncase_{case}() {{\n")), "{case}");
        }
    }
}
