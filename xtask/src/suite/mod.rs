//! `cargo xtask test`: everything that can be tested on this machine, in one command.
//!
//! A [`Step`] is one line of the closing table. Steps run one after the other, cheap ones first,
//! and a failed step does not stop the others. What cannot run here is a skip with its reason, never
//! a silence. `--only NAME` runs the steps whose name contains NAME.
//!
//! The end-to-end steps are the files of `tests/tests`, so a new file is a new step.

mod cargo_test;
mod report;
mod steps;

use crate::error::Error;
use crate::host;
use report::{Report, Row};
use std::time::Instant;

/// What one step came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// What was not run: its name and why.
    pub skipped: Vec<(String, String)>,
}

impl Tally {
    /// A step that is one test.
    fn one(success: bool) -> Self {
        Self {
            passed: usize::from(success),
            failed: usize::from(!success),
            skipped: Vec::new(),
        }
    }

    /// A step that could not run.
    fn skip(name: &str, reason: impl Into<String>) -> Self {
        Self {
            skipped: vec![(name.to_owned(), reason.into())],
            ..Self::default()
        }
    }
}

/// One line of the closing table.
pub struct Step {
    /// Its name, as `--only` takes it.
    pub name: String,
    /// What it runs on.
    pub on: &'static str,
    /// Does it.
    pub run: Box<dyn Fn() -> Result<Tally, Error>>,
}

/// Runs the command.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let only = match arguments {
        [] => None,
        [flag, name] if flag == "--only" => Some(name.as_str()),
        _ => return Err(Error::new("usage: cargo xtask test [--only STEP]")),
    };
    let start = Instant::now();
    let mut report = Report::default();
    for tool in host::ensure(&host::TOOLS)? {
        println!(
            "missing: {} ({}): what needs it will be skipped",
            tool.program, tool.purpose
        );
    }
    let steps = steps::all()?;
    for step in steps
        .iter()
        .filter(|step| only.is_none_or(|name| step.name.contains(name)))
    {
        println!("\n== {} ({})", step.name, step.on);
        let begun = Instant::now();
        let tally = (step.run)().unwrap_or_else(|error| {
            println!("{}: {error}", step.name);
            Tally::one(false)
        });
        for (name, reason) in &tally.skipped {
            println!("SKIP {name}: {reason}");
        }
        report.rows.push(Row {
            name: step.name.clone(),
            on: step.on,
            tally,
            seconds: begun.elapsed().as_secs_f64(),
        });
    }
    print!("\n{}", report.render(start.elapsed().as_secs_f64()));
    Ok(report.success())
}
