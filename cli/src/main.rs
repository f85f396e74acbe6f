//! The `armlet` command. What it does is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    armlet::main()
}
