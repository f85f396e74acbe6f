//! Stopping machines whose guest does not listen, and the control socket: names, stale sockets,
//! junk.

use armlet_tests::or_skip;
use armlet_tests::program::{self, Scratch, armlet};
use armlet_tests::running::Running;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// The socket of a machine of this name.
fn socket(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.path().join("armlet").join(format!("{name}.sock"))
}

#[test]
fn a_guest_that_does_not_listen_is_ended_by_the_signal_when_its_time_is_up() {
    let program = or_skip!("stop timeout", armlet());
    let scratch = Scratch::new("stop-timeout");
    let mut running = Running::start(&program, &scratch, &["--name", "a", "--stop-timeout", "2"]);
    running.wait_for("a");
    let start = Instant::now();
    running.signal("TERM");
    let ended = running.end();
    let took = start.elapsed();
    assert_eq!(
        (ended.signal, ended.status),
        (Some(SIGTERM), None),
        "{ended:?}"
    );
    assert!(took >= Duration::from_secs(2), "only {took:?}");
    assert!(ended.stderr.contains("2 s to shut down"), "{ended:?}");
    assert!(
        ended.stderr.contains("did not shut down in time"),
        "{ended:?}"
    );
    assert!(!socket(&scratch, "a").exists(), "the socket is left behind");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let program = or_skip!("second signal", armlet());
    for (first, second, by) in [("TERM", "TERM", SIGTERM), ("TERM", "INT", SIGINT)] {
        let scratch = Scratch::new("second-signal");
        let arguments = ["--name", "a", "--stop-timeout", "3600"];
        let mut running = Running::start(&program, &scratch, &arguments);
        running.wait_for("a");
        running.signal(first);
        while !running
            .armlet(&["status", "a"])
            .stdout
            .contains("running, shutting down")
        {
            assert!(running.is_running(), "one signal is no end");
        }
        running.signal(second);
        assert_eq!(running.end().signal, Some(by));
    }
}

#[test]
fn without_patience_the_first_signal_ends_it() {
    let program = or_skip!("no patience", armlet());
    let scratch = Scratch::new("no-patience");
    let mut running = Running::start(&program, &scratch, &["--name", "a", "--stop-timeout", "0"]);
    running.wait_for("a");
    running.signal("INT");
    assert_eq!(running.end().signal, Some(SIGINT));
}

#[test]
fn a_stop_that_takes_too_long_cuts_the_power_and_says_so() {
    let program = or_skip!("armlet stop", armlet());
    let scratch = Scratch::new("stop-slow");
    let mut running = Running::start(&program, &scratch, &["--name", "slow.vm"]);
    running.wait_for("slow.vm");
    let stopped = running.armlet(&["stop", "slow.vm", "--timeout", "1"]);
    let said = "the guest did not shut down within 1 s; its power was cut";
    assert_eq!(stopped.status, Some(3), "{stopped:?}");
    assert!(
        stopped.stderr.contains(&format!("slow.vm: {said}")),
        "{stopped:?}"
    );
    let ended = running.end();
    assert_eq!(ended.status, Some(3), "{ended:?}");
    assert!(ended.stderr.contains(said), "{ended:?}");
}

#[test]
fn a_forced_stop_cuts_the_power() {
    let program = or_skip!("armlet stop --force", armlet());
    let scratch = Scratch::new("stop-force");
    let path = scratch.path().join("control").display().to_string();
    let mut running = Running::start(&program, &scratch, &["--control", &path]);
    running.wait_for(&path);
    let stopped = running.armlet(&["stop", &path, "--force"]);
    assert_eq!((stopped.status, stopped.stderr.as_str()), (Some(0), ""));
    assert_eq!(running.end().status, Some(0));
    assert!(!PathBuf::from(path).exists(), "the socket is left behind");
}

#[test]
fn a_status_says_what_runs() {
    let program = or_skip!("armlet status", armlet());
    let scratch = Scratch::new("status");
    let mut running = Running::start(&program, &scratch, &["--name", "web", "--cpus", "2"]);
    running.wait_for("web");
    let status = running.armlet(&["status", "web"]);
    assert_eq!(status.status, Some(0), "{status:?}");
    for line in [
        "name: web",
        "state: running",
        "accelerator: soft, CPU model portable",
        "CPUs: 2",
        "memory: 16M",
    ] {
        assert!(
            status.stdout.lines().any(|found| found == line),
            "{status:?}"
        );
    }
    let mode = socket(&scratch, "web").metadata().expect("it is there");
    assert_eq!(
        mode.permissions().mode() & 0o777,
        0o600,
        "others must not use it"
    );
}

#[test]
fn a_machine_that_is_not_there_is_named() {
    let program = or_skip!("no machine", armlet());
    let scratch = Scratch::new("no-machine");
    let nowhere = scratch.path().join("none").display().to_string();
    for (arguments, said) in [
        (["stop", "ghost"], "ghost: no such machine runs here"),
        (["status", "ghost"], "ghost: no such machine runs here"),
        (["stop", &nowhere], "no such machine runs here"),
        (["stop", "-x"], "-x"),
        (["stop", "a b"], "a b: a name is 1 to 48 letters"),
    ] {
        let limit = Duration::from_secs(30);
        let outcome = program::run_in(&program, &arguments, scratch.path(), limit);
        assert_eq!(outcome.status, Some(2), "{arguments:?}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn a_name_is_one_machines_and_free_again_when_that_was_killed() {
    let program = or_skip!("names", armlet());
    let scratch = Scratch::new("names");
    let mut first = Running::start(&program, &scratch, &["--name", "one"]);
    first.wait_for("one");
    let second = Running::start(&program, &scratch, &["--name", "one"]).end();
    assert_eq!(second.status, Some(2), "{second:?}");
    assert!(
        second.stderr.contains("another machine runs there"),
        "{second:?}"
    );
    first.signal("KILL");
    assert_eq!(first.end().signal, Some(9));
    assert!(socket(&scratch, "one").exists(), "nobody could remove it");
    let mut third = Running::start(&program, &scratch, &["--name", "one"]);
    third.wait_for("one");
    assert_eq!(third.armlet(&["stop", "one", "--force"]).status, Some(0));
}

#[test]
fn junk_on_the_socket_harms_nobody() {
    let program = or_skip!("junk", armlet());
    let scratch = Scratch::new("junk");
    let mut running = Running::start(&program, &scratch, &["--name", "tough"]);
    running.wait_for("tough");
    let path = socket(&scratch, "tough");
    let mut held = Vec::new();
    for round in 0..80_u8 {
        let mut stream = UnixStream::connect(&path).expect("it listens");
        let junk: Vec<u8> = (0..2000_u32)
            .map(|n| (n.wrapping_mul(37) as u8) ^ round)
            .collect();
        // A connection that is ended for it takes no more.
        let _ = stream.write_all(&junk);
        let _ = stream.write_all(&vec![b'x'; usize::from(round) * 1500]);
        if round % 2 == 0 {
            held.push(stream);
        }
    }
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a time limit");
    stream
        .write_all(&[b"hello\n".as_slice(), &vec![b'y'; 70_000]].concat())
        .expect("sent");
    let mut said = String::new();
    // It ends the connection, before or after everything was sent.
    let _ = stream.read_to_string(&mut said);
    assert!(said.contains(r#""code":"bad-request""#), "{said}");
    assert!(said.contains(r#""code":"too-long""#), "{said}");
    running.wait_for("tough");
    assert_eq!(
        running.armlet(&["stop", "tough", "--force"]).status,
        Some(0)
    );
    assert_eq!(running.end().status, Some(0));
}
