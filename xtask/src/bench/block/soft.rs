//! Runs a guest on this machine and keeps what it says, with the processor time of its process
//! behind each line that asks for counters: what `xtask/files/meter.c` does where KVM is.

use super::contender::{Contender, Setup};
use super::guest::COUNT;
use crate::bench::meter::METER;
use crate::bench::soft::sample;
use crate::command;
use crate::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// For the boot and the end of a guest, in seconds.
const LIMIT: u64 = 120;

/// What the guest said.
pub fn run(contender: Contender, armlet: &Path, setup: &Setup<'_>) -> Result<String, Error> {
    let program = match contender {
        Contender::Armlet => armlet,
        Contender::Qemu => Path::new("qemu-system-aarch64"),
    };
    let name = contender.name();
    let mut child = Command::new(program)
        .args(contender.arguments(setup))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot start {name}: {error}")))?;
    let console = child.stdout.take();
    let console = console.ok_or_else(|| Error::new("no output pipe"))?;
    let id = child.id();
    let reader = std::thread::spawn(move || relay(console, || sample::processor_seconds(id)));
    let limit = Duration::from_secs(LIMIT + setup.seconds * super::CELLS.len() as u64);
    let success = command::wait(&mut child, limit)?;
    let output = reader.join();
    let output = output.map_err(|_| Error::new("the output reader failed"))?;
    if !success {
        return Err(Error::new(format!("{name} failed:\n{output}")));
    }
    Ok(output)
}

/// The guest's lines, with the processor time behind those that ask for it.
fn relay(console: impl Read, mut processor: impl FnMut() -> Option<f64>) -> String {
    let mut text = String::new();
    for line in BufReader::new(console).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        text += line.trim_end();
        text += "\n";
        if let (true, Some(seconds)) = (line.starts_with(COUNT), processor()) {
            text += &format!("{METER} busy={:.0}\n", seconds * 1000.0);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_ask_for_it_are_followed_by_the_time() {
        let console = b"a\r\nARMLET-COUNT read-1 begin 4\r\nb".as_slice();
        let text = relay(console, || Some(1.25));
        assert_eq!(text, "a\nARMLET-COUNT read-1 begin 4\nMETER busy=1250\nb\n");
    }
}
