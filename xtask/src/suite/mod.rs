//! `cargo xtask test`: everything that can be tested on this machine, in one command.
//!
//! A [`Step`] is one line of the closing table, or several that come from one run. Steps run one
//! after the other, cheap ones first, and a failed step does not stop the others. What cannot run here
//! is a skip with its reason, never a silence; and a failure on the accelerators that
//! `ARMLET_REQUIRE` lists, unless it does not apply to them. `--only NAME` runs the steps whose name contains NAME.
//!
//! The end-to-end steps are the files of `tests/tests`, so a new file is a new step.

mod cargo_test;
mod emulated;
mod report;
mod steps;

use crate::error::Error;
use crate::host;
use report::{Report, Row};
use std::time::Instant;

/// What the reasons of such skips begin with that no machine could do without: the accelerator or the
/// operating system has nothing of what is tested. See `armlet_tests::skip`.
const NOT_APPLICABLE: &str = "n/a: ";

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

    /// The same where everything has to run: what was skipped has failed, but for what there is not to
    /// be had.
    fn without_skips(self) -> Self {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        let is_missing = |(_, reason): &(String, String)| !reason.starts_with(NOT_APPLICABLE);
        let (missing, skipped): (Vec<_>, Vec<_>) = skipped.into_iter().partition(is_missing);
        Self {
            passed,
            failed: failed + missing.len(),
            skipped,
        }
    }

    /// The same, but a failure if there is nothing in it: no test has the name that was asked for.
    fn of_something(self) -> Self {
        if self == Self::default() {
            Self::one(false)
        } else {
            self
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

/// One line of the closing table, before what it ran on is known.
#[derive(Debug, PartialEq)]
pub struct Part {
    /// Its name, as `--only` takes it.
    pub name: String,
    /// What it came to.
    pub tally: Tally,
    /// How long it took; as long as the step where nobody says otherwise.
    pub seconds: Option<f64>,
}

/// Runs the lines of these names.
type Work = Box<dyn Fn(&[String]) -> Result<Vec<Part>, Error>>;

/// What becomes one line of the closing table, or several.
pub struct Step {
    /// The lines' names, as `--only` takes them.
    pub names: Vec<String>,
    /// What it runs on.
    pub on: &'static str,
    /// Does those of `names` that are given.
    pub run: Work,
}

impl Step {
    /// A step of one line.
    fn one(
        name: String,
        on: &'static str,
        run: impl Fn() -> Result<Tally, Error> + 'static,
    ) -> Self {
        let names = vec![name.clone()];
        let part = move |tally| Part {
            name: name.clone(),
            tally,
            seconds: None,
        };
        let run = Box::new(move |_: &[String]| run().map(|tally| vec![part(tally)]));
        Self { names, on, run }
    }

    /// Runs what is wanted of it. An error is a failure of each line, or a skip if this machine cannot
    /// have what it takes.
    fn run(&self, wanted: &[String]) -> Vec<Part> {
        let failed = |error: Error| {
            println!("{}: {error}", wanted.join(", "));
            let part = |name: &String| Part {
                name: name.clone(),
                tally: if error.is_lack() {
                    Tally::skip(name, error.to_string())
                } else {
                    Tally::one(false)
                },
                seconds: None,
            };
            wanted.iter().map(part).collect()
        };
        (self.run)(wanted).unwrap_or_else(failed)
    }
}

/// Accelerators on which nothing may be skipped, with commas between them.
const REQUIRE: &str = "ARMLET_REQUIRE";

/// The accelerators of a list.
fn required(list: &str) -> Result<Vec<&'static str>, Error> {
    let known = |name: &str| {
        let found = steps::ACCELERATORS.into_iter().find(|known| *known == name);
        found.ok_or_else(|| {
            let known = steps::ACCELERATORS.join(", ");
            Error::new(format!(
                "{REQUIRE}: no accelerator {name}; there are: {known}"
            ))
        })
    };
    let names = list.split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(known).collect()
}

/// Runs the command.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let only = match arguments {
        [] => None,
        [flag, name] if flag == "--only" => Some(name.as_str()),
        _ => return Err(Error::new("usage: cargo xtask test [--only STEP]")),
    };
    let required = required(&std::env::var(REQUIRE).unwrap_or_default())?;
    let start = Instant::now();
    let mut report = Report::default();
    for tool in host::ensure(&host::TOOLS)? {
        println!(
            "missing: {} ({}): what needs it will be skipped",
            tool.program, tool.purpose
        );
    }
    for step in steps::all()? {
        let is_wanted = |name: &&String| only.is_none_or(|word| name.contains(word));
        let wanted: Vec<String> = step.names.iter().filter(is_wanted).cloned().collect();
        if wanted.is_empty() {
            continue;
        }
        println!("\n== {} ({})", wanted.join(", "), step.on);
        let begun = Instant::now();
        let parts = step.run(&wanted);
        let whole = begun.elapsed().as_secs_f64();
        for Part {
            name,
            tally,
            seconds,
        } in parts
        {
            for (name, reason) in &tally.skipped {
                println!("SKIP {name}: {reason}");
            }
            let tally = if required.contains(&step.on) {
                tally.without_skips()
            } else {
                tally
            };
            report.rows.push(Row {
                name,
                on: step.on,
                tally,
                seconds: seconds.unwrap_or(whole),
            });
        }
    }
    print!("\n{}", report.render(start.elapsed().as_secs_f64()));
    Ok(report.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_a_list_of_accelerators() {
        assert_eq!(required("").expect("nothing"), Vec::<&str>::new());
        assert_eq!(required("hvf, kvm").expect("known"), ["hvf", "kvm"]);
        assert!(required("xen").is_err());
    }

    #[test]
    fn what_cannot_be_had_is_a_skip_and_what_goes_wrong_a_failure() {
        let tally = |make: fn() -> Error| {
            let step = Step::one("kernels".to_owned(), "host", move || Err(make()));
            step.run(&step.names).remove(0).tally
        };
        let lack = tally(|| {
            let wanted = "linux-image".to_owned();
            guests::Error::NoPackage { wanted }.into()
        });
        assert_eq!((lack.failed, lack.skipped.len()), (0, 1));
        assert!(lack.skipped[0].1.contains("no package linux-image"));
        let lack = tally(|| Error::lack("npm is missing"));
        assert_eq!((lack.failed, lack.skipped.len()), (0, 1));
        let wrong = tally(|| Error::new("it ended with status 1"));
        assert_eq!(wrong, Tally::one(false));
    }

    #[test]
    fn a_skip_of_what_is_required_is_a_failure() {
        let tally = Tally::skip("boot on hvf", "no Mac").without_skips();
        assert_eq!(tally, Tally::one(false));
        assert_eq!(Tally::one(true).without_skips(), Tally::one(true));
        let doorbells = || Tally::skip("doorbells", "n/a: there are none");
        assert_eq!(doorbells().without_skips(), doorbells());
    }
}
