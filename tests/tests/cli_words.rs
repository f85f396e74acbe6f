//! What `armlet` says about itself and its host, and how it says it.

use armlet_tests::or_skip;
use armlet_tests::program::{armlet, run};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_doctor_names_every_accelerator_and_one_to_use() {
    let program = or_skip!("doctor", armlet());
    let outcome = run(&program, &["doctor"], LIMIT);
    assert_eq!(outcome.status, Some(0), "{outcome:?}");
    for beginning in [
        "host: ",
        "kvm: ",
        "hvf: ",
        "soft: works",
        "--accel auto uses ",
    ] {
        let found = outcome
            .stdout
            .lines()
            .any(|line| line.starts_with(beginning));
        assert!(found, "no line begins with {beginning:?}: {outcome:?}");
    }
    let unavailable = outcome
        .stdout
        .lines()
        .filter(|l| l.contains("not available"));
    for line in unavailable {
        assert!(line.contains("; use --accel soft"), "no way out: {line}");
    }
}

#[test]
fn what_cannot_be_said_is_a_failure() {
    let program = or_skip!("full output", armlet());
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        return armlet_tests::skip::skip("full output", "this system has no /dev/full");
    };
    for arguments in [["doctor"], ["--help"], ["--version"]] {
        let output = Command::new(&program)
            .args(arguments)
            .stdout(full.try_clone().expect("an open file"))
            .stderr(Stdio::piped())
            .output()
            .expect("armlet runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {said}");
        assert!(said.contains("standard output"), "{arguments:?}: {said}");
    }
}

/// What `armlet` complains about on a terminal that it may confuse.
fn complaint(arguments: &[&OsStr]) -> Option<String> {
    let program = armlet().ok()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(said.lines().count(), 1, "{said:?}");
    assert!(!said.trim_end().contains(char::is_control), "{said:?}");
    Some(said)
}

#[test]
fn names_reach_the_terminal_as_text() {
    let _ = or_skip!("control characters", armlet());
    for option in ["--kernel", "--serial", "--accel", "--cpus"] {
        let arguments = ["run", option, "\u{1b}[2J\nx\u{9b}\r"].map(OsStr::new);
        let rest = ["--kernel", "/no/such"].map(OsStr::new);
        let rest = if option == "--kernel" {
            &[][..]
        } else {
            &rest[..]
        };
        let said = complaint(&[&arguments[..], rest].concat()).unwrap_or_default();
        assert!(said.contains("\\u{1b}["), "{option}: {said:?}");
    }
}

#[test]
fn an_argument_that_is_no_text_is_named() {
    let _ = or_skip!("arguments that are no text", armlet());
    let odd = OsStr::from_bytes(b"lots\xff");
    let kernel = OsStr::from_bytes(b"/no/such\xfe");
    let text = ["run", "--kernel", "--memory"].map(OsStr::new);
    let said = complaint(&[text[0], text[1], kernel, text[2], odd]).unwrap_or_default();
    assert!(said.contains("lots") && said.contains("UTF-8"), "{said:?}");
    // A file's name need not be.
    let said = complaint(&[text[0], text[1], kernel]).unwrap_or_default();
    assert!(
        said.contains("/no/such") && !said.contains("UTF-8"),
        "{said:?}"
    );
}
