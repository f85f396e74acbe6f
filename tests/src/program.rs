//! The `armlet` program itself.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the program is, or why it cannot be tested.
pub fn armlet() -> Result<PathBuf, String> {
    let path = env::var_os("ARMLET_BIN").map_or_else(
        || {
            guests::Store::of_checkout()
                .root()
                .with_file_name("release")
                .join("armlet")
        },
        PathBuf::from,
    );
    if path.exists() {
        Ok(path)
    } else {
        Err(format!(
            "{} is not there; cargo xtask test builds it",
            path.display()
        ))
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// It did not end by itself, but was stopped when its time was up.
    pub stopped: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the program with `arguments` and no input, and stops it after `limit` (status `None`).
#[must_use]
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Outcome {
    run_command(Command::new(program).args(arguments), limit)
}

/// As [`run`], with `runtime` as the user's directory for sockets.
#[must_use]
pub fn run_in(program: &Path, arguments: &[&str], runtime: &Path, limit: Duration) -> Outcome {
    let mut command = Command::new(program);
    run_command(
        command.args(arguments).env("XDG_RUNTIME_DIR", runtime),
        limit,
    )
}

fn run_command(command: &mut Command, limit: Duration) -> Outcome {
    let mut child = command
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("armlet starts");
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let status = wait(&mut child, limit);
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("reader")).into_owned()
    };
    Outcome {
        status: status.and_then(|status| status.code()),
        stopped: status.is_none(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // An error ends the output as its end does.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits for `child`; ends it after `limit` and returns `None`.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // It may have ended by itself just now.
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// How many scratch directories this process has made.
static SCRATCHES: AtomicUsize = AtomicUsize::new(0);

/// A directory for one test's files, removed with it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory. Another of the same name is another directory: tests of one process
    /// run at the same time.
    #[must_use]
    pub fn new(test: &str) -> Self {
        Self::below(&env::temp_dir(), &format!("armlet-{test}"))
    }

    /// As [`Self::new`], for disks: beside the guests, where there is room for them.
    #[must_use]
    pub fn for_disks(test: &str) -> Self {
        Self::below(
            guests::Store::of_checkout().root(),
            &format!("disks-{test}"),
        )
    }

    fn below(parent: &Path, name: &str) -> Self {
        let number = SCRATCHES.fetch_add(1, Ordering::SeqCst);
        let path = parent.join(format!("{name}-{}-{number}", std::process::id()));
        // Of a process of the same number that was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory for a test can be made");
        Self(path)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and returns the path as text.
    #[must_use]
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a temporary file can be written");
        path.to_str().expect("temporary paths are text").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Leaving a temporary directory behind is no failure.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
