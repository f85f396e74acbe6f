//! `cargo xtask kvm-host -- COMMAND...`: runs a command where arm64 KVM works.
//!
//! On an arm64 host with KVM that is the host itself. Elsewhere QEMU emulates an arm64 machine with
//! EL2, which runs Debian's kernel and its real KVM; the command runs in its initramfs. Either way
//! the command finds in its directory:
//!
//! | file | what |
//! |---|---|
//! | `Image` | the kernel to boot as a guest |
//! | `initramfs.cpio.gz` | the guests' busybox and `/init` |
//!
//! and `armlet` among the programs, built from this checkout. Everything is made on first use and
//! kept in `target/kvm-host`; the emulated host's kernel log is `target/kvm-host/console.log`.

pub mod debian;
mod emulator;
pub mod toolchain;
mod trouble;
mod vehicle;

use crate::command::{Profile, build_armlet, target};
use crate::error::Error;
use crate::host;
use guests::{Kernel, Store};
use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub use emulator::Emulator;
pub use trouble::{check as check_trouble, run as run_trouble};

const USAGE: &str =
    "usage: cargo xtask kvm-host [--seconds N] [--nvhe] [--host-cpu NAME] [--recent] -- COMMAND...";
/// The kernel that guests boot, and the emulated host unless it is to be another.
const KERNEL: Kernel = Kernel::V6_12Cloud;
/// The CPU that QEMU emulates fastest of those with EL2.
pub const CPU: &str = "max,pauth=off,sve=off,lpa2=off";

/// What to run, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Give up after this long.
    pub limit: Duration,
    /// The emulated host's kernel runs at EL1, its hypervisor alone at EL2.
    pub nvhe: bool,
    /// The emulated host's processor, as QEMU names it.
    pub cpu: String,
    /// What emulates it.
    pub emulator: Emulator,
    /// The emulated host's kernel.
    pub kernel: Kernel,
    /// The version of the emulated host's interrupt controller.
    pub gic: u8,
    /// How armlet is built.
    pub profile: Profile,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// What else lies in its directory: the name there, and the file here.
    pub files: Vec<(String, PathBuf)>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(600),
            nvhe: false,
            cpu: CPU.to_owned(),
            emulator: Emulator::default(),
            kernel: KERNEL,
            gic: 3,
            profile: Profile::default(),
            command: Vec::new(),
            files: Vec::new(),
        }
    }
}

/// Runs the command and ends with its exit status.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let request = Request::parse(arguments)?;
    let directory = directory()?;
    let status = if host::accelerator("kvm").is_ok() {
        natively(&request, &directory)?
            .status()?
            .code()
            .unwrap_or(1)
    } else {
        vehicle::run(&request, &directory, &mut std::io::stdout())?
    };
    if status != 0 {
        std::process::exit(status);
    }
    Ok(true)
}

/// Makes sure of what the emulated host takes of this one.
pub fn tools() -> Result<(), Error> {
    vehicle::tools()
}

/// Keeps what is written, and shows it on standard error as it comes.
#[derive(Default)]
struct Shown(Vec<u8>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend(bytes);
        std::io::stderr().write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Runs the command and returns what it printed; it is shown too.
pub fn capture(request: &Request) -> Result<String, Error> {
    let directory = directory()?;
    let mut output = Shown::default();
    let status = if host::accelerator("kvm").is_ok() {
        let mut child = natively(request, &directory)?
            .stdout(Stdio::piped())
            .spawn()?;
        let pipe = child.stdout.take();
        let mut pipe = pipe.ok_or_else(|| Error::new("no output pipe"))?;
        std::io::copy(&mut pipe, &mut output)?;
        child.wait()?.code().unwrap_or(1)
    } else {
        vehicle::run(request, &directory, &mut output)?
    };
    if status != 0 {
        return Err(Error::new(format!("it ended with status {status}")));
    }
    Ok(String::from_utf8_lossy(&output.0).into_owned())
}

/// Where everything is kept.
pub fn directory() -> Result<PathBuf, Error> {
    let directory = target().join("kvm-host");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, Error> {
        let mut request = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--" => break,
                "--nvhe" => request.nvhe = true,
                "--recent" => request.emulator = Emulator::Recent,
                "--host-cpu" => {
                    let name = words.next().ok_or_else(|| Error::new(USAGE))?;
                    request.cpu.clone_from(name);
                }
                "--seconds" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    request.limit = Duration::from_secs(number.ok_or_else(|| Error::new(USAGE))?);
                }
                _ => return Err(Error::new(USAGE)),
            }
        }
        request.command = words.cloned().collect();
        if request.command.is_empty() {
            return Err(Error::new(USAGE));
        }
        Ok(request)
    }
}

/// The command on this machine.
fn natively(request: &Request, directory: &Path) -> Result<Command, Error> {
    let armlet = build_armlet(request.profile)?;
    let guest = directory.join("guest");
    fs::create_dir_all(&guest)?;
    for (name, path) in present(request)? {
        let place = guest.join(name);
        fs::create_dir_all(place.parent().unwrap_or(&guest))?;
        fs::copy(path, place)?;
    }
    let programs = armlet.parent().into_iter().map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(programs.chain(env::split_paths(&path)));
    let mut command = Command::new(&request.command[0]);
    command
        .args(&request.command[1..])
        .current_dir(guest)
        .env("PATH", path.map_err(|error| Error::new(error.to_string()))?);
    Ok(command)
}

/// What lies in the command's directory, and where it comes from.
fn present(request: &Request) -> Result<Vec<(String, PathBuf)>, Error> {
    let store = Store::of_checkout();
    let mut files = request.files.clone();
    files.push(("Image".to_owned(), store.kernel(KERNEL)?));
    files.push(("initramfs.cpio.gz".to_owned(), store.initramfs()?));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, Error> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Request::parse(&words)
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let request = parse("--seconds 5 --host-cpu cortex-a76 --nvhe --recent -- ls --nvhe");
        let request = request.expect("well formed");
        assert_eq!(request.cpu, "cortex-a76");
        assert_eq!(request.limit, Duration::from_secs(5));
        assert!(request.nvhe);
        assert_eq!(request.emulator, Emulator::Recent);
        assert_eq!(request.command, ["ls", "--nvhe"]);
    }

    #[test]
    fn anything_else_shows_the_usage() {
        for wrong in [
            "",
            "--",
            "ls",
            "--seconds",
            "--seconds x -- ls",
            "--nvhe",
            "--host-cpu",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
