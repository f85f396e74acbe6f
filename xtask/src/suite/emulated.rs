//! Tests on the real KVM of an emulated arm64 host, for machines that have none themselves.
//!
//! The test programs are those of `tests/tests`, built for arm64. One start of the emulated host runs
//! all [`PARTS`] of a mode; its output is cut where `xtask/files/kvm-tests.sh` marks it, and each
//! part becomes a line of the closing table. Which tests of a program are left out there, because an
//! emulated host takes minutes for them, is said as a skip.

use super::{Part, Step, Tally, cargo_test};
use crate::error::Error;
use crate::kvm_host::{self, Request, toolchain};
use guests::{Kernel, Store};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// The functions of the script.
const PRELUDE: &str = include_str!("../../files/kvm-tests.sh");
/// The name of the script there.
const SCRIPT: &str = "tests.sh";
/// What one start of the emulated host may take.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// What the closing table calls the hosts whose KVM cannot be used.
const TROUBLE: &str = "hosts without usable kvm";

/// How the emulated host's kernel runs its hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All of the kernel at EL2.
    Vhe,
    /// The kernel at EL1, its hypervisor alone at EL2.
    Nvhe,
}

impl Mode {
    const ALL: [Self; 2] = [Self::Vhe, Self::Nvhe];

    const fn name(self) -> &'static str {
        match self {
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
        }
    }

    /// Kicks and pauses of the storms, which take minutes there. The number that is promised runs
    /// in one of the modes.
    const fn storm(self) -> &'static str {
        match self {
            Self::Vhe => "export ARMLET_KICKS=100000 ARMLET_PAUSES=5000\n",
            Self::Nvhe => "export ARMLET_KICKS=20000 ARMLET_PAUSES=1000\n",
        }
    }
}

/// Kernels that the tests boot there.
const KERNELS: [Kernel; 2] = [Kernel::V6_12Cloud, Kernel::V6_1Cloud];

/// Settings of the environment that reach the tests there too.
const PASSED_ON: [&str; 4] = [
    "ARMLET_KICKS",
    "ARMLET_PAUSES",
    "ARMLET_RANDOM_GUESTS",
    "ARMLET_SEED",
];

/// One test program as it runs there.
struct TestProgram {
    /// What the closing table calls it.
    kind: &'static str,
    /// The file of `tests/tests`.
    test: &'static str,
    /// Settings of the environment, `NAME=VALUE`.
    environment: &'static [&'static str],
    /// Words of the command line: which tests.
    arguments: &'static [&'static str],
    /// What is left out.
    omitted: &'static [&'static str],
}

const PARTS: [TestProgram; 7] = [
    TestProgram {
        kind: "conformance",
        test: "conformance",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "boot",
        test: "guest_boot",
        environment: &[],
        arguments: &["cloud_boots", "--skip=with_8"],
        omitted: &[
            "boots with 8 CPUs",
            "boots of 6.1-generic",
            "ten boots in a row",
        ],
    },
    TestProgram {
        kind: "life",
        test: "guest_life",
        environment: &[],
        arguments: &["--skip=idle"],
        omitted: &["cost of an idle guest"],
    },
    TestProgram {
        kind: "random",
        test: "guest_random",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "cpu",
        test: "guest_cpu",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "moves",
        test: "moves",
        // A Mac whose guests count as fast as those of this host. The storm of pauses is a part of
        // the conformance tests.
        environment: &["ARMLET_HVF_SIM=m4-26-62mhz", "ARMLET_PAUSES=200"],
        arguments: &[],
        omitted: &[],
    },
    TestProgram {
        kind: "state",
        test: "guest_state",
        environment: &[],
        arguments: &[],
        omitted: &[],
    },
];

/// One step for each mode, and one for hosts whose KVM cannot be used.
pub fn steps() -> Vec<Step> {
    let trouble = Step::one(TROUBLE.to_owned(), "kvm", trouble);
    Mode::ALL.into_iter().map(step).chain([trouble]).collect()
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

fn step(mode: Mode) -> Step {
    let named = |program: &TestProgram| program.title(mode);
    Step {
        names: PARTS.iter().map(named).collect(),
        on: "kvm",
        run: Box::new(move |wanted| run(mode, wanted)),
    }
}

impl TestProgram {
    fn title(&self, mode: Mode) -> String {
        format!("{} on kvm ({})", self.kind, mode.name())
    }

    /// The line of the script that runs it.
    fn line(&self, mode: Mode) -> String {
        let mut words = vec!["part".to_owned(), quote(&self.title(mode))];
        if !self.environment.is_empty() {
            words.push("env".to_owned());
            words.extend(self.environment.iter().map(|&setting| quote(setting)));
        }
        words.push(format!("tests/{}", self.test));
        words.extend(self.arguments.iter().map(|&word| quote(word)));
        words.push("--test-threads=1\n".to_owned());
        words.join(" ")
    }

    fn skips(&self, mode: Mode) -> impl Iterator<Item = (String, String)> {
        let why = "it takes too long in the emulated host";
        let title = self.title(mode);
        self.omitted
            .iter()
            .map(move |what| (format!("{title}: {what}"), why.to_owned()))
    }
}

/// Whether the emulated host runs this test program on KVM.
pub fn runs(test: &str) -> bool {
    PARTS.iter().any(|program| program.test == test)
}

/// Starts the emulated host, and runs the wanted parts in it.
fn run(mode: Mode, wanted: &[String]) -> Result<Vec<Part>, Error> {
    let is_wanted = |program: &&TestProgram| wanted.contains(&program.title(mode));
    let programs: Vec<&TestProgram> = PARTS.iter().filter(is_wanted).collect();
    if let Err(why) = tools() {
        let skip = |title: &String| Part {
            name: title.clone(),
            tally: Tally::skip(title, why.to_string()),
            seconds: None,
        };
        return Ok(wanted.iter().map(skip).collect());
    }
    let lines = start(mode, &programs)?;
    let part = |program: &&TestProgram| {
        let mut part = cut(&lines, &program.title(mode));
        part.tally.skipped.extend(program.skips(mode));
        part
    };
    Ok(programs.iter().map(part).collect())
}

/// Builds the programs, runs them in the emulated host, and returns what they print.
fn start(mode: Mode, programs: &[&TestProgram]) -> Result<Vec<String>, Error> {
    let directory = kvm_host::directory()?;
    let lines: Vec<String> = programs.iter().map(|program| program.line(mode)).collect();
    let script = directory.join(format!("tests-{}.sh", mode.name()));
    fs::write(
        &script,
        [PRELUDE, mode.storm(), &settings(), &lines.concat()].concat(),
    )?;
    let mut files = guest_files()?;
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
        nvhe: mode == Mode::Nvhe,
        command: ["sh", SCRIPT].map(str::to_owned).to_vec(),
        files,
        ..Request::default()
    };
    let output = kvm_host::capture(&request)?;
    Ok(output.lines().map(str::to_owned).collect())
}

/// What the tests' store of guests holds there.
fn guest_files() -> Result<Vec<(String, PathBuf)>, Error> {
    let store = Store::of_checkout();
    let place = |name: &str| format!("target/guests/{name}");
    let mut files = Vec::new();
    for kernel in KERNELS {
        let image = format!("kernels/{}/Image", kernel.name());
        files.push((place(&image), store.kernel(kernel)?));
    }
    files.push((place("initramfs.cpio.gz"), store.initramfs()?));
    files.push((place("busybox"), store.root().join("busybox")));
    Ok(files)
}

/// A word as the shell reads it back.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
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
        tally: cargo_test::count(&lines, &skips, success),
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
    fn a_line_of_the_script_names_the_part_and_its_program() {
        let line = PARTS[1].line(Mode::Nvhe);
        let expected = "part 'boot on kvm (nvhe)' tests/guest_boot 'cloud_boots' '--skip=with_8' \
                        --test-threads=1\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn settings_come_before_the_program() {
        let moves = PARTS.iter().find(|program| program.test == "moves");
        let line = moves.map(|program| program.line(Mode::Vhe));
        let expected = "part 'moves on kvm (vhe)' env 'ARMLET_HVF_SIM=m4-26-62mhz' \
                        'ARMLET_PAUSES=200' tests/moves --test-threads=1\n";
        assert_eq!(line.as_deref(), Some(expected));
    }
}
