//! Boots the benchmark's guest once and takes its numbers.

use super::sample;
use crate::error::Error;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A run that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(600);
const MEMORY_MIB: u64 = 512;

/// QEMU at its fastest: TCG takes long over pointer authentication, and armlet's CPU has neither.
const QEMU_CPU: &str = "max,pauth=off,sve=off";

/// A machine to be measured.
#[derive(Debug)]
pub enum Contender {
    /// Our own program, on the software CPU.
    Armlet(PathBuf),
    /// QEMU with TCG.
    Qemu,
}

/// What a machine is given to do.
#[derive(Debug)]
pub struct Run {
    /// Number of CPUs.
    pub cpus: usize,
    /// Names of workloads with commas between.
    pub workloads: &'static str,
}

/// What one workload took.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// Seconds of the guest's clock.
    pub seconds: f64,
    /// Processor seconds of the host.
    pub processor: f64,
    /// What it computed.
    pub checksum: String,
}

/// What a run took.
#[derive(Debug, Default)]
pub struct Measured {
    /// Seconds to init.
    pub boot: Option<f64>,
    /// Processor seconds to init.
    pub boot_processor: Option<f64>,
    /// Processor seconds to the end of the last workload.
    pub processor: Option<f64>,
    /// Memory of the process beyond the guest's, at the end, in MiB.
    pub own_memory_mib: Option<f64>,
    /// Guest instructions of the whole run, in millions for each processor second.
    pub rate: Option<f64>,
    /// By the workload's name.
    pub work: BTreeMap<String, Work>,
}

impl Measured {
    /// Takes the smaller of each number.
    pub fn keep_better(&mut self, other: Self) {
        let Self {
            boot,
            boot_processor,
            processor: _,
            own_memory_mib,
            rate,
            work,
        } = other;
        let keep = |mine: &mut Option<f64>, new: Option<f64>| {
            *mine = [*mine, new].into_iter().flatten().reduce(f64::min);
        };
        keep(&mut self.boot, boot);
        keep(&mut self.boot_processor, boot_processor);
        self.rate = [self.rate, rate].into_iter().flatten().reduce(f64::max);
        // Of memory the larger one is the honest one.
        self.own_memory_mib = [self.own_memory_mib, own_memory_mib]
            .into_iter()
            .flatten()
            .reduce(f64::max);
        for (name, new) in work {
            let best = self.work.entry(name).or_insert_with(|| new.clone());
            best.seconds = best.seconds.min(new.seconds);
            best.processor = best.processor.min(new.processor);
        }
    }
}

impl Contender {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Armlet(_) => "armlet",
            Self::Qemu => "QEMU TCG",
        }
    }

    fn command(&self, run: &Run, kernel: &Path, initrd: &Path) -> Command {
        let (cpus, memory) = (run.cpus.to_string(), MEMORY_MIB.to_string());
        let cmdline = format!(
            "console=ttyAMA0 armlet.do=bench armlet.workloads={}",
            run.workloads
        );
        match self {
            Self::Armlet(program) => {
                let mut command = Command::new(program);
                command.env("ARMLET_LOG", "vmm=info");
                command.args(["run", "--accel", "soft", "--no-reboot", "--cpus", &cpus]);
                command.args(["--memory", &format!("{memory}M"), "--cmdline", &cmdline]);
                command
                    .arg("--kernel")
                    .arg(kernel)
                    .arg("--initrd")
                    .arg(initrd);
                command
            }
            Self::Qemu => {
                let mut command = Command::new("qemu-system-aarch64");
                command.args(["-M", "virt,gic-version=3", "-cpu", QEMU_CPU, "-nic", "none"]);
                command.args(["-accel", "tcg,thread=multi", "-no-reboot", "-smp", &cpus]);
                command.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
                command.args(["-m", &memory, "-append", &cmdline]);
                command
                    .arg("-kernel")
                    .arg(kernel)
                    .arg("-initrd")
                    .arg(initrd);
                command
            }
        }
    }
}

/// Boots the guest once.
pub fn measure(
    contender: &Contender,
    run: &Run,
    kernel: &Path,
    initrd: &Path,
) -> Result<Measured, Error> {
    let start = Instant::now();
    let mut child = contender
        .command(run, kernel, initrd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot start {}: {error}", contender.name())))?;
    let console = console_of(&mut child)?;
    let log = log_of(&mut child);
    let result = follow(&child, &console, start);
    // The guest powers off by itself; after a failure it must not go on.
    if result.is_err() {
        child.kill()?;
    }
    child.wait()?;
    let log = log.and_then(|log| log.join().ok()).unwrap_or_default();
    let fail = |why| Error::new(format!("{}: {why}\n{log}", contender.name()));
    let mut measured = result.map_err(fail)?;
    measured.rate = instructions(&log)
        .zip(measured.processor)
        .map(|(instructions, processor)| instructions / processor / 1e6);
    for name in run.workloads.split(',') {
        if !measured.work.contains_key(name) {
            return Err(Error::new(format!(
                "{}: {name} did not finish",
                contender.name()
            )));
        }
    }
    Ok(measured)
}

/// The console, line by line, from a thread of its own.
fn console_of(child: &mut Child) -> Result<Receiver<String>, Error> {
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::new("no output pipe"))?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { break };
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    Ok(receiver)
}

/// What the process says on standard error, from a thread of its own.
fn log_of(child: &mut Child) -> Option<std::thread::JoinHandle<String>> {
    let mut errors = child.stderr.take()?;
    Some(std::thread::spawn(move || {
        let mut text = Vec::new();
        // What cannot be read was not said.
        let _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }))
}

/// Instructions that all CPUs together retired, by armlet's log.
fn instructions(log: &str) -> Option<f64> {
    let counts = log
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("instructions=")?.parse().ok());
    counts.reduce(|sum: f64, count| sum + count)
}

/// Reads the console to its end and samples the process at the lines that matter.
fn follow(child: &Child, console: &Receiver<String>, start: Instant) -> Result<Measured, String> {
    let mut measured = Measured::default();
    let mut begun = 0.0;
    loop {
        let left = LIMIT.saturating_sub(start.elapsed());
        let Ok(line) = console.recv_timeout(left) else {
            return if left.is_zero() {
                Err("it takes too long".to_owned())
            } else {
                Ok(measured)
            };
        };
        let processor = || sample::processor_seconds(child.id());
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ARMLET-INIT", ..] => {
                measured.boot = Some(start.elapsed().as_secs_f64());
                measured.boot_processor = processor();
            }
            ["ARMLET-BEGIN", _] => begun = processor().unwrap_or(0.0),
            ["ARMLET-WORK", name, seconds, checksum] => {
                let seconds = seconds.parse().map_err(|_| format!("no time: {line}"))?;
                let work = Work {
                    seconds,
                    processor: processor().unwrap_or(0.0) - begun,
                    checksum: (*checksum).to_owned(),
                };
                measured.work.insert((*name).to_owned(), work);
                measured.processor = processor();
                measured.own_memory_mib = sample::own_memory_mib(child.id(), MEMORY_MIB);
                eprint!(".");
                // Nothing depends on the dots.
                let _ = std::io::stderr().flush();
            }
            ["ARMLET-DONE", ..] => eprintln!(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_of_all_cpus_are_added() {
        let log = "INFO vmm: done vcpu=vcpu0 instructions=40\nINFO vmm: done instructions=2\n";
        assert_eq!(instructions(log), Some(42.0));
        assert_eq!(instructions("nothing"), None);
    }

    #[test]
    fn the_best_of_each_number_is_kept() {
        let measured = |boot, seconds| Measured {
            boot: Some(boot),
            own_memory_mib: Some(boot),
            work: [(
                "w".to_owned(),
                Work {
                    seconds,
                    processor: 1.0,
                    checksum: "c".into(),
                },
            )]
            .into(),
            ..Measured::default()
        };
        let mut best = Measured::default();
        best.keep_better(measured(3.0, 1.0));
        best.keep_better(measured(2.0, 4.0));
        assert_eq!(best.boot, Some(2.0));
        assert_eq!(best.own_memory_mib, Some(3.0), "of memory the worst");
        assert_eq!(best.work["w"].seconds, 1.0);
    }
}
