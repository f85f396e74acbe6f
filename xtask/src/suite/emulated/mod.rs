//! Tests on the real KVM of an emulated arm64 host, for machines that have none themselves.
//!
//! The test programs are those of `tests/tests`, built for arm64. Each of [`STARTS`] is one start of
//! the emulated host, which runs several programs; its output is cut where
//! `xtask/files/kvm-tests.sh` marks it, and each part becomes a line of the closing table. Which tests
//! of a program are left out there, because an emulated host takes minutes for them, is said as a
//! skip.

mod files;
mod parts;

use super::{Part, Step, Tally, cargo_test};
use crate::error::Error;
use crate::kvm_host::{self, Request, toolchain};
use files::Files;
use parts::{DEVICES, MACHINE, Mode, TestProgram, quote};
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The functions of the script.
const PRELUDE: &str = include_str!("../../../files/kvm-tests.sh");
/// The name of the script there.
const SCRIPT: &str = "tests.sh";
/// What one start of the emulated host may take.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// What the closing table calls the hosts whose KVM cannot be used.
const TROUBLE: &str = "hosts without usable kvm";

/// Settings of the environment that reach the tests there too.
const PASSED_ON: [&str; 6] = [
    "ARMLET_DEBIAN_BOOTS",
    "ARMLET_KICKS",
    "ARMLET_PAUSES",
    "ARMLET_POWER_CUTS",
    "ARMLET_RANDOM_GUESTS",
    "ARMLET_SEED",
];

/// One start of the emulated host.
#[derive(Clone, Copy)]
struct Start {
    /// What its script is called.
    name: &'static str,
    mode: Mode,
    /// The processor.
    cpu: &'static str,
    programs: &'static [TestProgram],
    /// What the programs need beside a kernel and an initramfs.
    files: fn(&Path) -> Result<Files, Error>,
}

/// Devices do not see how the kernel runs its hypervisor: one mode is enough for them. One processor
/// has much that KVM has to hide from guests, some of which it cannot hide; the other has little.
const STARTS: [Start; 3] = [
    Start {
        name: "vhe",
        mode: Mode::Vhe,
        cpu: kvm_host::CPU,
        programs: &MACHINE,
        files: files::of_machine,
    },
    Start {
        name: "nvhe",
        mode: Mode::Nvhe,
        cpu: "cortex-a76",
        programs: &MACHINE,
        files: files::of_machine,
    },
    Start {
        name: "devices",
        mode: Mode::Vhe,
        cpu: kvm_host::CPU,
        programs: &DEVICES,
        files: files::of_devices,
    },
];

/// One step for each start, and one for hosts whose KVM cannot be used.
pub fn steps() -> Vec<Step> {
    let trouble = Step::one(TROUBLE.to_owned(), "kvm", trouble);
    STARTS.into_iter().map(step).chain([trouble]).collect()
}

/// Whether there is an emulated host to be had here.
fn tools() -> Result<(), Error> {
    kvm_host::tools().and_then(|()| toolchain::tools())
}

/// Each such host is one test.
fn trouble() -> Result<Tally, Error> {
    if let Err(why) = tools() {
        return Ok(Tally::skip(TROUBLE, why.to_string()));
    }
    let good = kvm_host::check_trouble()?;
    let passed = good.iter().filter(|good| **good).count();
    Ok(Tally {
        passed,
        failed: good.len() - passed,
        skipped: Vec::new(),
    })
}

fn step(start: Start) -> Step {
    let named = |program: &TestProgram| program.title(start.mode);
    Step {
        names: start.programs.iter().map(named).collect(),
        on: "kvm",
        run: Box::new(move |wanted| start.run(wanted)),
    }
}

/// Whether the emulated host runs this test program on KVM.
pub fn runs(test: &str) -> bool {
    let mut programs = STARTS.iter().flat_map(|start| start.programs);
    programs.any(|program| program.test == test)
}

impl Start {
    /// Starts the emulated host, and runs the wanted parts in it.
    fn run(&self, wanted: &[String]) -> Result<Vec<Part>, Error> {
        let mode = self.mode;
        let is_wanted = |program: &&TestProgram| wanted.contains(&program.title(mode));
        let programs: Vec<&TestProgram> = self.programs.iter().filter(is_wanted).collect();
        if let Err(why) = tools() {
            let skip = |title: &String| Part {
                name: title.clone(),
                tally: Tally::skip(title, why.to_string()),
                seconds: None,
            };
            return Ok(wanted.iter().map(skip).collect());
        }
        let lines = self.output(&programs)?;
        let part = |program: &&TestProgram| {
            let mut part = cut(&lines, &program.title(mode));
            part.tally.skipped.extend(program.skips(mode));
            part
        };
        Ok(programs.iter().map(part).collect())
    }

    /// Builds the programs, runs them in the emulated host, and returns what they print.
    fn output(&self, programs: &[&TestProgram]) -> Result<Vec<String>, Error> {
        let directory = kvm_host::directory()?;
        let lines: Vec<String> = programs
            .iter()
            .map(|program| program.line(self.mode))
            .collect();
        let script = directory.join(format!("tests-{}.sh", self.name));
        fs::write(
            &script,
            [PRELUDE, self.mode.storm(), &settings(), &lines.concat()].concat(),
        )?;
        let mut files = (self.files)(&directory)?;
        let names: Vec<&str> = programs.iter().map(|program| program.test).collect();
        for (name, path) in names
            .iter()
            .zip(toolchain::build_tests(&directory, &names)?)
        {
            files.push((format!("tests/{name}"), path));
        }
        files.push((SCRIPT.to_owned(), script));
        let request = Request {
            limit: LIMIT,
            nvhe: self.mode == Mode::Nvhe,
            cpu: self.cpu.to_owned(),
            command: ["sh", SCRIPT].map(str::to_owned).to_vec(),
            files,
            ..Request::default()
        };
        let output = kvm_host::capture(&request)?;
        Ok(output.lines().map(str::to_owned).collect())
    }
}

/// The lines of the script that hand settings on. They come after its defaults.
fn settings() -> String {
    let set = PASSED_ON
        .iter()
        .filter_map(|name| Some((name, env::var(name).ok()?)));
    set.map(|(name, value)| format!("export {name}={}\n", quote(&value)))
        .collect()
}

/// What the output says of one part. A part without an end is a failure.
fn cut(output: &[String], title: &str) -> Part {
    let begin = format!("ARMLET-PART {title}");
    let inside = output
        .iter()
        .skip_while(|line| line.trim_end() != begin)
        .skip(1);
    let (mut lines, mut skips) = (Vec::new(), String::new());
    let (mut success, mut seconds) = (false, None);
    for line in inside {
        let line = line.trim_end();
        if let Some(end) = line.strip_prefix("ARMLET-PART-END ") {
            let mut numbers = end.split(' ');
            success = numbers.next() == Some("0");
            seconds = numbers.next().and_then(|number| number.parse().ok());
            break;
        }
        match line.strip_prefix("ARMLET-SKIP ") {
            Some(skip) => skips += &format!("{skip}\n"),
            None => lines.push(line.to_owned()),
        }
    }
    Part {
        name: title.to_owned(),
        tally: cargo_test::count(&lines, &skips, success).of_something(),
        seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_part_has_its_own_numbers() {
        let output = output(
            "ARMLET-PART a on kvm (vhe)\r\n\
             test result: ok. 5 passed; 0 failed; 0 ignored\r\n\
             ARMLET-SKIP debug\tno such thing\r\n\
             ARMLET-PART-END 0 17\r\n\
             ARMLET-PART b on kvm (vhe)\n\
             test result: FAILED. 1 passed; 2 failed; 0 ignored\n\
             ARMLET-PART-END 101 3\n",
        );
        let a = cut(&output, "a on kvm (vhe)");
        assert_eq!((a.tally.passed, a.tally.failed), (4, 0));
        assert_eq!(
            a.tally.skipped,
            [("debug".to_owned(), "no such thing".to_owned())]
        );
        assert_eq!(a.seconds, Some(17.0));
        let b = cut(&output, "b on kvm (vhe)");
        assert_eq!(
            (b.tally.passed, b.tally.failed, b.tally.skipped.len()),
            (1, 2, 0)
        );
    }

    #[test]
    fn a_part_that_did_not_end_or_never_began_has_failed() {
        let output = output("ARMLET-PART a\ntest x ... ok\n");
        assert_eq!(cut(&output, "a").tally.failed, 1);
        assert_eq!(cut(&output, "b").tally.failed, 1);
    }

    #[test]
    fn a_part_without_a_test_has_failed() {
        let output = output(
            "ARMLET-PART a\n\
             test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\n\
             ARMLET-PART-END 0 1\n",
        );
        assert_eq!(cut(&output, "a").tally.failed, 1);
    }
}
