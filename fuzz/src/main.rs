//! Runs fuzz targets by hand: a campaign, or one input again.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use armlet_fuzz::campaign::{Campaign, Failure, run};
use armlet_fuzz::{TARGETS, Target, find};

const USAGE: &str = "usage: armlet-fuzz TARGET SECONDS [SEED]   a campaign
       armlet-fuzz TARGET FILE...          these inputs
       armlet-fuzz TARGET --seeds DIR      writes the seeds to files";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let target = arguments.first().and_then(|name| find(name));
    let (Some(target), Some(second)) = (target, arguments.get(1)) else {
        eprintln!("{USAGE}\n\ntargets:");
        TARGETS
            .iter()
            .for_each(|target| eprintln!("  {}", target.name));
        return ExitCode::from(2);
    };
    if second == "--seeds" {
        return write_seeds(target, arguments.get(2).map_or(".", String::as_str));
    }
    match second.parse() {
        Ok(seconds) => {
            let seed = arguments.get(2).and_then(|seed| seed.parse().ok());
            campaign(target, Duration::from_secs(seconds), seed.unwrap_or(1))
        }
        Err(_) => again(target, &arguments[1..]),
    }
}

fn campaign(target: &'static Target, time: Duration, seed: u64) -> ExitCode {
    match run(target, Campaign { seed, time }) {
        Ok(count) => {
            println!("{}: survived {count} inputs of seed {seed}", target.name);
            ExitCode::SUCCESS
        }
        Err(Failure(path)) => {
            println!("{}: fails on {}", target.name, path.display());
            ExitCode::FAILURE
        }
    }
}

fn again(target: &Target, paths: &[String]) -> ExitCode {
    for path in paths {
        match fs::read(path) {
            // A failure ends the process with the panic's message.
            Ok(data) => (target.run)(&data),
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::from(2);
            }
        }
        println!("{}: survived {path}", target.name);
    }
    ExitCode::SUCCESS
}

fn write_seeds(target: &Target, directory: &str) -> ExitCode {
    for (number, seed) in (0..).zip((target.seeds)()) {
        let path = Path::new(directory).join(format!("seed-{number}"));
        if let Err(error) = fs::write(&path, seed) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
