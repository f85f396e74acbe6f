//! Machine files: what they say, what flags say over them, and what is wrong with them.

use armlet_tests::or_skip;
use armlet_tests::program::{Outcome, Scratch, armlet, run};
use armlet_tests::running::{Running, idle_kernel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

const EVERYTHING: &str = r#"
# A machine.
kernel = "kernel"
initrd = "initrd"
cmdline = "quiet x=\"y, z\""
cpus = 3
memory = "64M"
accel = "soft"
cpu = "portable"
serial = "file:log"
no-reboot = true
stop-timeout = 7
name = "everything"
control = "socket"
"#;

/// What `--print-config` says with these arguments.
fn printed(arguments: &[&str]) -> Option<String> {
    let program = armlet().ok()?;
    let arguments = [&["run", "--print-config"], arguments].concat();
    let Outcome {
        status,
        stdout,
        stderr,
        stopped: _,
    } = run(&program, &arguments, LIMIT);
    assert_eq!((status, stderr.as_str()), (Some(0), ""), "{arguments:?}");
    Some(stdout)
}

#[test]
fn what_is_printed_is_read_as_the_same() {
    let _ = or_skip!("print-config", armlet());
    let scratch = Scratch::new("machine-file");
    let file = scratch.file("machine.toml", EVERYTHING.as_bytes());
    let once = printed(&[&file]).unwrap_or_default();
    for line in [
        "cpus = 3",
        "no-reboot = true",
        "stop-timeout = 7",
        "name = \"everything\"",
    ] {
        assert!(once.lines().any(|found| found == line), "{line}: {once}");
    }
    let folder = scratch.path().display();
    assert!(
        once.contains(&format!("kernel = \"{folder}/kernel\"")),
        "{once}"
    );
    assert!(
        once.contains(&format!("serial = \"file:{folder}/log\"")),
        "{once}"
    );
    // Kept elsewhere, it still means the same.
    let elsewhere = Scratch::new("machine-file-elsewhere");
    let copy = elsewhere.file("copy.toml", once.as_bytes());
    assert_eq!(printed(&[&copy]).unwrap_or_default(), once);
}

#[test]
fn flags_go_before_the_file() {
    let _ = or_skip!("flags over a file", armlet());
    let scratch = Scratch::new("machine-file-flags");
    let file = scratch.file("machine.toml", EVERYTHING.as_bytes());
    let flags = ["--cpus", "5", "--no-reboot=false", "--serial", "none"];
    let text = printed(&[&flags[..], &[&file]].concat()).unwrap_or_default();
    for line in [
        "cpus = 5",
        "no-reboot = false",
        "serial = \"none\"",
        "memory = \"64 MiB\"",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    // Without a file the flags are everything.
    let text = printed(&["--kernel", "/k", "--cpus", "2"]).unwrap_or_default();
    assert!(text.starts_with("kernel = \"/k\"\n"), "{text}");
}

#[test]
fn a_machine_file_makes_a_machine() {
    let program = or_skip!("run a machine file", armlet());
    let scratch = Scratch::new("machine-file-run");
    let _ = scratch.file("image", &idle_kernel());
    let text = "cpus = 2\nstop-timeout = 1\nname = 'filed'\ncmdline = 'none'\n";
    let file = scratch.file("machine.toml", text.as_bytes());
    let mut running = Running::start(&program, &scratch, &[&file]);
    running.wait_for("filed");
    assert!(
        running
            .armlet(&["status", "filed"])
            .stdout
            .contains("CPUs: 2\n")
    );
    assert_eq!(running.armlet(&["stop", "filed"]).status, Some(3));
    assert_eq!(running.end().status, Some(3), "it does not listen");
}

#[test]
fn mistakes_are_told_in_a_line_with_their_place() {
    let program = or_skip!("bad machine files", armlet());
    let scratch = Scratch::new("machine-file-bad");
    for (text, said) in [
        (
            "kernel = 'k'\ncpu = 'max'\n",
            "machine.toml:2: cpu max: choose auto, portable or host",
        ),
        (
            "kernel = 'k'\n\ncpus = 'two'\n",
            "machine.toml:3: cpus two: a machine has 1 to 123",
        ),
        (
            "kernel = 5\n",
            "machine.toml:1: kernel: write a text, not a value of type integer",
        ),
        (
            "kernle = 'k'\n",
            "machine.toml:1: unknown setting 'kernle'; choose from kernel,",
        ),
        ("cpus = 1\ncpus = 2\n", "machine.toml:2: duplicate key"),
        (
            "[kernel]\npath = 'k'\n",
            "machine.toml:1: kernel: write a text",
        ),
        ("kernel = 'k\n", "machine.toml:1: "),
        (
            "cpus = 1\n",
            "no kernel is given; use --kernel PATH, or a machine file with one",
        ),
        ("name = \"\\u001b[2J\"\n", "name \\u{1b}[2J: a name is"),
    ] {
        let file = scratch.file("machine.toml", text.as_bytes());
        refused(&program, &file, said);
    }
    let other = scratch.file("Image", &idle_kernel());
    refused(&program, &other, "a kernel is given with --kernel");
    refused(
        &program,
        "/no/such.toml",
        "/no/such.toml: cannot read the machine file",
    );
    let _ = scratch.file("dir.toml.keep", b"");
    let directory = scratch.path().join("dir.toml");
    std::fs::create_dir(&directory).expect("a directory can be made");
    refused(
        &program,
        &directory.display().to_string(),
        "this is a directory; a machine file is a regular file",
    );
}

fn refused(program: &std::path::Path, file: &str, said: &str) {
    let outcome = run(program, &["run", file], LIMIT);
    assert_eq!(outcome.status, Some(2), "{said}: {outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{said}: {outcome:?}");
    assert!(outcome.stderr.contains(said), "{said}: {outcome:?}");
}
