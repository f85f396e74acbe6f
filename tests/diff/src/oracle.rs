//! The oracle: `qemu-aarch64` running the program in `runner/`.
//!
//! The program is built with the cross compiler the first time, into the build's target
//! directory. Requests and results go through pipes; the layout is in `runner/runner.c`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::place::{PAGES_BYTES, WINDOW_BYTES};
use crate::program::Batch;
use crate::state::{End, State, WIRE_BYTES};

const MAGIC: u64 = 0x4646_4944_544c_4d41;
const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
const SOURCES: [(&str, &str); 2] = [
    ("enter.S", include_str!("../runner/enter.S")),
    ("runner.c", include_str!("../runner/runner.c")),
];

/// What one case came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The registers after it.
    pub state: State,
    /// The window after it; empty if the batch does not use memory.
    pub window: Vec<u8>,
}

/// What a batch came to.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Case by case.
    pub cases: Vec<Outcome>,
    /// Both data pages after all of them; empty if the batch does not use memory.
    pub pages: Vec<u8>,
}

/// A running oracle.
#[derive(Debug)]
pub struct Oracle {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

/// Builds the oracle's program in `directory`.
///
/// # Errors
/// When there is no compiler or it fails.
pub fn build(directory: &Path) -> Result<PathBuf, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let scratch = directory.join(format!("build-{}-{count}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let built = compile(&scratch).and_then(|new| {
        // Others may be running the old one; a rename leaves it to them.
        let program = directory.join("runner");
        fs::rename(new, &program)?;
        Ok(program)
    });
    fs::remove_dir_all(&scratch)?;
    built
}

fn compile(scratch: &Path) -> Result<PathBuf, Error> {
    let program = scratch.join("runner");
    let mut command = Command::new(COMPILER);
    for (name, text) in SOURCES {
        let path = scratch.join(name);
        fs::write(&path, text)?;
        command.arg(path);
    }
    let flags = [
        "-O2",
        "-ffreestanding",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-fno-stack-protector",
        "-Wl,-Ttext-segment=0x54000000",
        "-Wl,--defsym=slot=0x50008000",
        "-Wl,-z,noexecstack",
        "-o",
    ];
    let output = command.args(flags).arg(&program).output();
    let output = output.map_err(|source| Error::Missing {
        tool: COMPILER,
        source,
    })?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::Build(text));
    }
    Ok(program)
}

impl Oracle {
    /// Starts the program as this CPU model.
    ///
    /// # Errors
    /// When there is no emulator.
    pub fn start(program: &Path, model: &str) -> Result<Self, Error> {
        let mut child = Command::new(EMULATOR)
            .args(["-cpu", model])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Missing {
                tool: EMULATOR,
                source,
            })?;
        let (to, from) = child
            .stdin
            .take()
            .zip(child.stdout.take())
            .ok_or(Error::Silent)?;
        Ok(Self { child, to, from })
    }

    /// Sends a batch. It runs while the caller does something else.
    ///
    /// # Errors
    /// When the oracle is gone.
    pub fn send(&mut self, batch: &Batch) -> Result<(), Error> {
        let memory = batch.window.as_ref();
        let header = [
            MAGIC,
            batch.words.len() as u64,
            batch.cases.len() as u64,
            u64::from(memory.is_some()),
        ];
        let mut request = Vec::with_capacity(batch.cases.len() * WIRE_BYTES + 2048);
        for word in header {
            request.extend_from_slice(&word.to_le_bytes());
        }
        let mut words = [0; crate::place::MOST_WORDS];
        words[..batch.words.len()].copy_from_slice(&batch.words);
        for word in words {
            request.extend_from_slice(&word.to_le_bytes());
        }
        if let Some(window) = memory {
            request.extend_from_slice(window.as_slice());
        }
        for case in &batch.cases {
            case.put(&mut request);
        }
        self.to.write_all(&request)?;
        self.to.flush()?;
        Ok(())
    }

    /// What the batch sent last came to.
    ///
    /// # Errors
    /// When the oracle is gone.
    pub fn receive(&mut self, batch: &Batch) -> Result<Outcomes, Error> {
        let mut outcomes = Outcomes::default();
        let window = batch.window.as_ref().map_or(0, |_| WINDOW_BYTES);
        let each = WIRE_BYTES + window;
        let mut bytes = vec![0; batch.cases.len() * each];
        self.from.read_exact(&mut bytes)?;
        for case in bytes.chunks_exact(each) {
            let (wire, window) = case.split_first_chunk().ok_or(Error::Silent)?;
            let (state, end) = State::take(wire);
            outcomes.cases.push(Outcome {
                end,
                state,
                window: window.to_vec(),
            });
        }
        if window != 0 {
            outcomes.pages = vec![0; PAGES_BYTES];
            self.from.read_exact(&mut outcomes.pages)?;
        }
        Ok(outcomes)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // It may have gone by itself; either way it is to be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
