//! `armlet disk` as a process: what is left when it is ended.

use armlet_tests::or_skip;
use armlet_tests::program::{Scratch, armlet};
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Bytes that take a while to compress.
const LEN: usize = 64 << 20;

/// So many bytes of which most bits are random (Marsaglia's xorshift).
fn hard_to_compress() -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 58) as u8
    };
    std::iter::repeat_with(next).take(LEN).collect()
}

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
    let from = scratch.file("from.raw", &hard_to_compress());
    let to = scratch.path().join("to.qcow2").display().to_string();
    // What nobody can hear of leaves nothing only where files without names are.
    let signals: &[&str] = match std::env::consts::OS {
        "linux" => &["INT", "TERM", "KILL"],
        _ => &["INT", "TERM"],
    };
    for signal in signals {
        // The longest wait after which it is not done yet: it is in the middle of its work then.
        let waits = (0..8).map(|halvings| Duration::from_millis(800) / (1 << halvings));
        let ended = waits.into_iter().any(|wait| {
            let mut child = Command::new(&program)
                .args(["disk", "convert", &from, &to, "-c", "--compression", "zlib"])
                .stdin(Stdio::null())
                .spawn()
                .expect("armlet starts");
            std::thread::sleep(wait);
            let sent = Command::new("kill")
                .args([&format!("-{signal}"), &child.id().to_string()])
                .status()
                .expect("kill runs");
            assert!(sent.success(), "kill -{signal} failed");
            let status = child.wait().expect("a child can be waited for");
            assert!(status.success() || status.code().is_none(), "{status}");
            if status.success() {
                std::fs::remove_file(&to).expect("what is done has its name");
            }
            !status.success()
        });
        assert!(ended, "always done before {signal}");
        assert_eq!(names(&scratch), ["from.raw"], "after {signal}");
    }
}
