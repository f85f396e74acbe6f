//! The differential test from the command line.

use std::process::ExitCode;

use armlet_diff::{Config, run};

const USAGE: &str = "\
usage: armlet-diff [--row NAME]... [--count N] [--sequences N] [--encodings N] [--cases N] [--seed N]
                   [--threads N] [--cpu MODEL] [--show N]

  --row NAME     only rows whose name contains NAME
  --count N      executions of each row
  --sequences N  random sequences (0 with --row)
  --encodings N  random encodings to be accepted or refused (0 with --row)
  --cases N      states for each program, at most 512
  --seed N       where random numbers start from
  --threads N    threads, each with an emulator
  --cpu MODEL    CPU model of the emulator
  --show N       mismatches to show in full (default 10)";

fn main() -> ExitCode {
    let Some((config, show)) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&config) {
        Ok(report) => {
            for mismatch in report.mismatches.iter().take(show) {
                println!("{}", mismatch.describe());
            }
            println!("{report}");
            ExitCode::from(u8::from(!report.mismatches.is_empty()))
        }
        Err(error) => {
            eprintln!("armlet-diff: {error}");
            ExitCode::from(4)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<(Config, usize)> {
    let mut config = Config::default();
    let mut show = 10;
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--row" => config.only.push(value),
            "--count" => config.per_row = value.parse().ok()?,
            "--sequences" => config.sequences = value.parse().ok()?,
            "--encodings" => config.encodings = value.parse().ok()?,
            "--cases" => config.cases = value.parse().ok().filter(|n| (1..=512).contains(n))?,
            "--seed" => config.seed = value.parse().ok()?,
            "--threads" => config.threads = value.parse().ok().filter(|n| *n > 0)?,
            "--cpu" => config.model = value,
            "--show" => show = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((config, show))
}
