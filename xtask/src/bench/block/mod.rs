//! `cargo xtask bench block`: armlet's disk beside QEMU's, by fio in the guest.
//!
//! On soft both run on this machine (QEMU with its TCG), on KVM where [`kvm_host`] puts them (QEMU
//! is Debian's for arm64). Both have the same kernel and initramfs, one CPU, the same raw image and
//! cache mode, and virtio-pci ([`contender`] has the rest); they run in turns, and the median of the
//! rounds counts. The guest goes through [`cells`] and says how many interrupts its disk made; the
//! host's processor time and, on KVM, exits are counted between a job's begin and its end. On KVM,
//! armlet runs once more with all devices, and its memory is measured when the disk has done all that.
//! In an emulated host seconds are many times those of a real one: ratios and counts are what to look at.
//!
//! Omitted: qcow2, several queues, and several disks.

mod cells;
mod contender;
mod guest;
mod report;
mod soft;

use super::Accelerator;
use super::kvm::compile_meter;
use super::program::QEMU;
use crate::command::{Profile, build_armlet, target};
use crate::error::Error;
use crate::{host, kvm_host};
use cells::CELLS;
use contender::{CPUS, Cache, Contender, Setup};
use guests::Store;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is printed where the arguments are wrong.
pub const USAGE: &str = "usage: cargo xtask bench block [--on soft|kvm] [--rounds N] [--seconds N] \
                         [--cache writeback|direct]";
const IMAGE_MIB: u64 = 128;
/// For the boot of a guest in an emulated host, and its end.
const LIMIT_EACH: u64 = 240;

/// What to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    accelerators: Vec<Accelerator>,
    rounds: usize,
    /// Of fio, for each accelerator.
    seconds: u64,
    cache: Cache,
}

/// Runs the benchmark. False when armlet is slower on KVM, or too large there.
pub fn run(arguments: &[&str]) -> Result<bool, Error> {
    let request = Request::parse(arguments).ok_or_else(|| Error::new(USAGE))?;
    host::require(&["qemu-system-aarch64", "xz", "aarch64-linux-gnu-gcc"])?;
    let directory = target().join("bench-block");
    fs::create_dir_all(&directory)?;
    let initrd = guest::initramfs(&directory)?;
    let image = image(&directory)?;
    let mut success = true;
    for accelerator in &request.accelerators {
        let output = match accelerator {
            Accelerator::Soft => on_soft(&request, &initrd, &image)?,
            Accelerator::Kvm => on_kvm(&request, &directory, &initrd, &image)?,
        };
        let (text, met) = report::table(&output)?;
        let (name, version, each) = (accelerator.name(), version(&output), request.each());
        println!(
            "\n{name}, {CPUS} CPU, virtio-pci, raw image of {IMAGE_MIB} MiB, cache={}; \
             {version}; {} rounds of {each} s in each cell",
            request.cache.name(),
            request.rounds
        );
        print!("{text}");
        match accelerator {
            Accelerator::Soft => {}
            Accelerator::Kvm => success = met,
        }
    }
    Ok(success)
}

impl Request {
    fn parse(arguments: &[&str]) -> Option<Self> {
        let mut request = Self {
            accelerators: Accelerator::BOTH.to_vec(),
            rounds: 3,
            seconds: 180,
            cache: Cache::Writeback,
        };
        let (pairs, rest) = arguments.as_chunks::<2>();
        for pair in pairs {
            match pair {
                ["--on", name] => request.accelerators = vec![Accelerator::named(name)?],
                ["--cache", "writeback"] => request.cache = Cache::Writeback,
                ["--cache", "direct"] => request.cache = Cache::Direct,
                ["--rounds", n] => request.rounds = n.parse().ok().filter(|n| *n > 0)?,
                ["--seconds", n] => request.seconds = n.parse().ok().filter(|n| *n > 0)?,
                _ => return None,
            }
        }
        rest.is_empty().then_some(request)
    }

    /// Seconds in each cell.
    fn each(&self) -> u64 {
        let runs = (CELLS.len() * Contender::BOTH.len() * self.rounds) as u64;
        (self.seconds / runs).max(1)
    }
}

/// The image, with something in each of its blocks.
fn image(directory: &Path) -> Result<PathBuf, Error> {
    let path = directory.join("disk.img");
    let mebibyte: Vec<u8> = (0..1_u32 << 20).map(|n| (n ^ n >> 12) as u8).collect();
    let mut file = fs::File::create(&path)?;
    for _ in 0..IMAGE_MIB {
        file.write_all(&mebibyte)?;
    }
    file.sync_all()?;
    Ok(path)
}

fn on_soft(request: &Request, initrd: &Path, image: &Path) -> Result<String, Error> {
    let armlet = build_armlet(Profile::Dist)?;
    let kernel = Store::of_checkout().kernel(guest::KERNEL)?;
    let setup = Setup {
        accelerator: Accelerator::Soft,
        cache: request.cache,
        seconds: request.each(),
        kernel: &kernel,
        initrd,
        image,
    };
    let qemu = Command::new("qemu-system-aarch64")
        .arg("--version")
        .output()?;
    let mut output = String::from_utf8_lossy(&qemu.stdout).into_owned();
    for round in 1..=request.rounds {
        for contender in Contender::BOTH {
            eprintln!("bench: {} on soft, round {round}", contender.name());
            output += &format!("{} {}\n", report::WHOSE, contender.name());
            output += &soft::run(contender, &armlet, &setup)?;
        }
    }
    Ok(output)
}

fn on_kvm(
    request: &Request,
    directory: &Path,
    initrd: &Path,
    image: &Path,
) -> Result<String, Error> {
    let mut files = QEMU.files(directory)?;
    files.push(("fio.cpio".to_owned(), initrd.to_owned()));
    files.push(("disk.img".to_owned(), image.to_owned()));
    files.push(("meter".to_owned(), compile_meter(directory)?));
    let starts = (Contender::BOTH.len() * request.rounds + 1) as u64;
    let request = kvm_host::Request {
        limit: Duration::from_secs(LIMIT_EACH * (starts + 1) + 2 * request.seconds),
        command: vec!["sh".to_owned(), "-c".to_owned(), script(request)],
        files,
        profile: Profile::Dist,
        ..kvm_host::Request::default()
    };
    eprintln!("bench: {starts} guests on KVM; in an emulated host about a minute each");
    kvm_host::capture(&request)
}

/// What runs on the host with KVM: each guest, behind a line that says whose it is.
fn script(request: &Request) -> String {
    let setup = Setup {
        accelerator: Accelerator::Kvm,
        cache: request.cache,
        seconds: request.each(),
        kernel: Path::new("Image"),
        initrd: Path::new("fio.cpio"),
        image: Path::new("disk.img"),
    };
    let mut text = format!("set -e\n{} --version\n", QEMU.command(""));
    let limit = LIMIT_EACH + 2 * request.each() * CELLS.len() as u64;
    for _ in 0..request.rounds {
        for contender in Contender::BOTH {
            let (name, command) = (contender.name(), contender.command(&setup));
            text += &format!(
                "echo {} {name}\ntimeout {limit} ./meter follow {} {command} < /dev/null\n",
                report::WHOSE,
                guest::COUNT
            );
        }
    }
    let last = CELLS.last().map_or("", |cell| cell.name);
    text += &format!(
        "echo {}\ntimeout {limit} ./meter boot '{} {last} end' {} {} < /dev/null\n",
        report::MEMORY,
        guest::COUNT,
        contender::MEMORY_MIB,
        contender::with_all_devices(&setup)
    );
    text
}

/// What QEMU says of itself.
fn version(output: &str) -> &str {
    let says = |line: &&str| line.starts_with("QEMU emulator version");
    output
        .lines()
        .find(says)
        .unwrap_or("QEMU of unknown version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_pairs() {
        let request = Request::parse(&["--on", "kvm", "--rounds", "2", "--seconds", "48"]);
        let request = request.expect("well formed");
        assert_eq!(request.accelerators, [Accelerator::Kvm]);
        assert_eq!((request.rounds, request.each()), (2, 2));
        assert_eq!(Request::parse(&[]).expect("empty").accelerators.len(), 2);
        for wrong in [
            vec!["--on"],
            vec!["--on", "hvf"],
            vec!["--rounds", "0"],
            vec!["--cache", "none"],
            vec!["x", "y"],
        ] {
            assert_eq!(Request::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_round_has_both() {
        let text = script(&Request::parse(&["--rounds", "2"]).expect("well formed"));
        assert_eq!(text.matches("echo BLOCK armlet\n").count(), 2);
        assert_eq!(text.matches("echo BLOCK QEMU\n").count(), 2);
        assert_eq!(text.matches("./meter follow ARMLET-COUNT ").count(), 4);
        let (_, memory) = text.split_once("echo MEMORY\n").expect("it is measured");
        assert!(memory.contains("./meter boot 'ARMLET-COUNT stream-out end' 512 armlet"));
        assert!(
            !memory.contains("'off'") && memory.contains("'--console'"),
            "{memory}"
        );
    }
}
