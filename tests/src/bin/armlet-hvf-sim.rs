//! The `armlet` command on a simulated Mac: `ARMLET_HVF_SIM` names it (see `hvf_sim::profile`).
//! A run that broke a rule of the framework fails, whatever else it did.

use std::process::ExitCode;

use armlet_tests::simulated;

/// Exit status of a run that broke a rule.
const VIOLATIONS: u8 = 70;

fn main() -> ExitCode {
    match simulated::install() {
        Ok(true) => {}
        Ok(false) => {
            eprintln!("armlet-hvf-sim: ARMLET_HVF_SIM names no Mac, such as m1-13");
            return ExitCode::from(2);
        }
        Err(error) => {
            eprintln!("armlet-hvf-sim: ARMLET_HVF_SIM: {error}");
            return ExitCode::from(2);
        }
    }
    let status = armlet::main();
    match simulated::last_verdict() {
        Ok(()) => status,
        Err(complaints) => {
            eprintln!("armlet-hvf-sim: the Mac complains:\n{complaints}");
            ExitCode::from(VIOLATIONS)
        }
    }
}
