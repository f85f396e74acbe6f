//! `armlet-hvf-probe`: prints what this Mac's Hypervisor.framework does where its documentation is
//! silent, as one JSON object, to be sent in.

use std::io::Write;
use std::process::ExitCode;

use hvf_probe::Options;

const USAGE: &str = "\
Asks this Mac's Hypervisor.framework what its documentation leaves open, and prints a JSON report.
It makes small VMs of its own, touches nothing else, and takes a few seconds.

usage: armlet-hvf-probe [--kicks N] [--sleep SECONDS]
  --kicks N        how many kicks to send to a busy guest (default 100000)
  --sleep SECONDS  wait so long for you to put the Mac to sleep and wake it, and see what clocks do
";

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return print(USAGE),
        Err(wrong) => {
            eprint!("armlet-hvf-probe: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = match hv_backend::hvf::functions() {
        Ok(table) => hvf_probe::report(table, &options),
        Err(obstacle) => {
            eprintln!("armlet-hvf-probe: {obstacle}");
            return ExitCode::FAILURE;
        }
    };
    print(&format!("{report:#}\n"))
}

/// What is asked for; `None` for help.
fn options(mut words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut number = || -> Result<u32, String> {
            let text = words
                .next()
                .ok_or_else(|| format!("{word} lacks its number"))?;
            text.parse()
                .map_err(|_| format!("{word}: {text:?} is no number"))
        };
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--kicks" => options.kicks = number()?,
            "--sleep" => options.sleep_seconds = number()?.into(),
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(Some(options))
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("armlet-hvf-probe: cannot write the report: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        options(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_numbers() {
        let parsed = parse("--kicks 5 --sleep 60")
            .expect("well formed")
            .expect("no help");
        assert_eq!((parsed.kicks, parsed.sleep_seconds), (5, 60));
        assert_eq!(parse("").expect("well formed"), Some(Options::default()));
        assert_eq!(parse("--help").expect("well formed"), None);
        for wrong in ["--kicks", "--kicks x", "--sleep -1", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
