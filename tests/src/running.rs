//! A running `armlet` whose guest is not spoken to: for tests of how it is controlled.

use crate::program::{self, Outcome, Scratch};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A kernel that does nothing for ever: `wfi` and a branch back to it.
#[must_use]
pub fn idle_kernel() -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    // `b 0x40`, behind the header.
    image[..4].copy_from_slice(&0x1400_0010_u32.to_le_bytes());
    image[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image[64..68].copy_from_slice(&0xd503_207f_u32.to_le_bytes());
    image[68..72].copy_from_slice(&0x17ff_ffff_u32.to_le_bytes());
    image
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    program: PathBuf,
    runtime: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status, if it ended by itself.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it said on standard error.
    pub stderr: String,
}

impl Running {
    /// Starts `armlet run` with these arguments on the software CPU, with a guest that hears
    /// nothing and directories of its own in `scratch`.
    #[must_use]
    pub fn start(program: &Path, scratch: &Scratch, arguments: &[&str]) -> Self {
        let kernel = scratch.file("kernel", &idle_kernel());
        let runtime = scratch.path().to_owned();
        let child = Command::new(program)
            .args(["run", "--accel", "soft", "--memory", "16M"])
            .args(["--serial", "none", "--kernel", &kernel])
            .args(arguments)
            .env("XDG_RUNTIME_DIR", &runtime)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("armlet starts");
        let program = program.to_owned();
        Self {
            child,
            program,
            runtime,
        }
    }

    /// Runs another `armlet` with these arguments, which finds the same machines.
    #[must_use]
    pub fn armlet(&self, arguments: &[&str]) -> Outcome {
        program::run_in(&self.program, arguments, &self.runtime, LIMIT)
    }

    /// Waits until the machine of this name or socket runs.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn wait_for(&mut self, machine: &str) {
        let start = Instant::now();
        while !self
            .armlet(&["status", machine])
            .stdout
            .contains("state: running")
        {
            let is_late = start.elapsed() > LIMIT;
            let over = self.child.try_wait().expect("a child can be asked");
            assert!(!is_late && over.is_none(), "it does not run: {over:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("a child can be asked")
            .is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn end(mut self) -> Ended {
        let ended = program::wait(&mut self.child, LIMIT).expect("armlet does not end");
        let mut stderr = String::new();
        let pipe = self.child.stderr.take().expect("piped");
        let read = { pipe }.read_to_string(&mut stderr);
        assert!(read.is_ok(), "what it said is text");
        Ended {
            status: ended.code(),
            signal: ended.signal(),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
