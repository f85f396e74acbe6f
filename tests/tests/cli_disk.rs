//! `armlet disk` as a process: what is left when it is ended.

use armlet_tests::or_skip;
use armlet_tests::program::{Scratch, armlet};
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes that take a while to compress.
const LEN: usize = 64 << 20;

/// The names in a directory, in order.
fn names(scratch: &Scratch) -> Vec<OsString> {
    let entries = std::fs::read_dir(scratch.path()).expect("it can be read");
    let names = entries.map(|entry| entry.expect("it can be read").file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_conversion_that_is_ended_leaves_nothing() {
    let program = or_skip!("ended conversion", armlet());
    let scratch = Scratch::new("disk-ended");
    // No two blocks are alike, and most bits are somewhat random.
    let bytes: Vec<u8> = (0..LEN as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as u8)
        .collect();
    let from = scratch.file("from.raw", &bytes);
    let to = scratch.path().join("to.qcow2").display().to_string();
    // What nobody can hear of leaves nothing only where files without names are.
    let signals: &[&str] = match std::env::consts::OS {
        "linux" => &["INT", "TERM", "KILL"],
        _ => &["INT", "TERM"],
    };
    for signal in signals {
        let mut child = Command::new(&program)
            .args(["disk", "convert", &from, &to, "-c", "--compression", "zlib"])
            .stdin(Stdio::null())
            .spawn()
            .expect("armlet starts");
        std::thread::sleep(Duration::from_millis(300));
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "kill -{signal} failed");
        let ended = child.wait().expect("a child can be waited for");
        assert_eq!(
            ended.code(),
            None,
            "not ended by {signal} but done: {ended:?}"
        );
        assert_eq!(names(&scratch), ["from.raw"], "after {signal}");
    }
}
