//! The terminal: raw while the guest runs, and restored however the program ends.
//!
//! util-linux's `script` gives the terminal. In it, a shell records the terminal's settings before
//! and after `armlet run`.

use armlet_tests::program::{self, Scratch, armlet};
use armlet_tests::{or_skip, skip::skip};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// A kernel that does nothing for ever: `b .` at its entry.
fn idle_kernel() -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[..4].copy_from_slice(&0x1400_0000_u32.to_le_bytes());
    image[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// How a run is ended.
enum End {
    /// What is typed.
    Keys(&'static [u8]),
    /// The name of a signal to the program.
    Signal(&'static str),
}

/// What a run left behind.
struct Left {
    /// The terminal's settings before and after.
    settings: [String; 2],
    /// Its settings while the guest ran.
    during: String,
    /// What the shell saw as the exit status.
    status: String,
    /// What stood on the screen.
    screen: String,
}

/// Runs armlet on a new terminal until `end`.
fn run(armlet: &Path, scratch: &Scratch, end: &End) -> Left {
    let kernel = scratch.file("kernel", &idle_kernel());
    let folder = scratch.path().display();
    let session = format!(
        "cd {folder}; rm -f before during after status pid; stty -g > before; tty > tty; \
         sh -c 'echo $$ > pid; exec {} run --accel soft --stop-timeout 1 --kernel {kernel}'; \
         echo $? > status; stty -g > after",
        armlet.display()
    );
    let mut child = Command::new("script")
        .args(["--quiet", "--command", &session, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("script starts");
    let mut keys = child.stdin.take().expect("piped");
    let mut screen = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // A terminal that closes is the end as any other.
        let _ = screen.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let read = |name: &str| {
        std::fs::read_to_string(scratch.path().join(name))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let during = wait_for_change(&read);
    match end {
        End::Keys(typed) => keys
            .write_all(typed)
            .and_then(|()| keys.flush())
            .expect("typing works"),
        End::Signal(name) => {
            let kill = Command::new("kill")
                .args(["-s", name, &read("pid")])
                .status();
            assert!(kill.expect("kill runs").success());
        }
    }
    let ended = program::wait(&mut child, LIMIT);
    drop(keys);
    let screen = reader.join().expect("reader");
    assert!(ended.is_some(), "armlet does not end; screen: {screen}");
    Left {
        settings: [read("before"), read("after")],
        during,
        status: read("status"),
        screen,
    }
}

/// Waits until armlet has changed the terminal's settings, and returns them.
fn wait_for_change(read: &dyn Fn(&str) -> String) -> String {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(50));
        let terminal = read("tty");
        if terminal.is_empty() || read("pid").is_empty() {
            continue;
        }
        let settings = Command::new("stty")
            .args(["-F", &terminal, "-g"])
            .output()
            .expect("stty runs");
        let settings = String::from_utf8_lossy(&settings.stdout).trim().to_owned();
        if !settings.is_empty() && settings != read("before") {
            return settings;
        }
    }
    String::new()
}

fn restored_after(test: &str, end: &End) -> Option<Left> {
    let armlet = match armlet() {
        Ok(path) => path,
        Err(reason) => {
            skip(test, &reason);
            return None;
        }
    };
    if Command::new("script").arg("--version").output().is_err() {
        skip(test, "util-linux's script is not installed");
        return None;
    }
    let scratch = Scratch::new(test);
    let left = run(&armlet, &scratch, end);
    let [before, after] = &left.settings;
    assert!(
        !left.during.is_empty(),
        "armlet never made the terminal raw: {}",
        left.screen
    );
    assert!(!before.is_empty());
    assert_eq!(
        before, after,
        "the terminal is not restored; screen: {}",
        left.screen
    );
    Some(left)
}

#[test]
fn control_a_x_leaves_and_restores_the_terminal() {
    if let Some(left) = restored_after("terminal-keys", &End::Keys(b"\x01x")) {
        assert_eq!(left.status, "0", "leaving is no failure: {}", left.screen);
    }
}

#[test]
fn control_a_h_helps() {
    if let Some(left) = restored_after("terminal-help", &End::Keys(b"\x01h\x01x")) {
        assert!(left.screen.contains("Ctrl-A x"), "{}", left.screen);
    }
}

#[test]
fn signals_restore_the_terminal() {
    for name in ["TERM", "INT", "HUP", "ABRT", "SEGV"] {
        if let Some(left) = restored_after(&format!("terminal-{name}"), &End::Signal(name)) {
            assert_ne!(left.status, "0", "SIG{name} is no power-off");
        }
    }
}

#[test]
fn without_a_terminal_nothing_is_changed() {
    // With pipes there is no terminal to set; a run must work and say nothing of it.
    let program = or_skip!("no terminal", armlet());
    let outcome = program::run(&program, &["run", "--kernel", "/no/such/kernel"], LIMIT);
    assert!(
        !outcome.stderr.to_lowercase().contains("terminal"),
        "{}",
        outcome.stderr
    );
}
