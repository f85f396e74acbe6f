//! What runs the guests, and how it is told.

use super::{Disk, Setup};
use crate::{image, program};
use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What runs the guests.
#[derive(Clone, Debug)]
pub enum Vmm {
    /// The program under test.
    Armlet(PathBuf),
    /// The control: see the crate's documentation.
    Qemu,
}

/// How a guest reaches its virtio devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// virtio-pci.
    Pci,
    /// virtio-mmio.
    Mmio,
}

const QEMU: &str = "qemu-system-aarch64";

impl Vmm {
    /// The one that the environment chooses.
    pub fn of_environment() -> Result<Self, String> {
        match env::var("ARMLET_TEST_VMM").as_deref() {
            Ok("qemu") => Ok(Self::Qemu),
            Ok(other) => Err(format!("ARMLET_TEST_VMM knows only qemu, not {other}")),
            Err(_) => program::armlet().map(Self::Armlet),
        }
    }

    /// QEMU, or why there is none.
    pub fn qemu() -> Result<Self, String> {
        let mut version = Command::new(QEMU);
        let found = version.arg("--version").stdout(Stdio::null()).status();
        match found {
            Ok(_) => Ok(Self::Qemu),
            Err(error) => Err(format!("{QEMU}: {error}")),
        }
    }
}

/// The command that starts the guest of `setup`.
pub(super) fn command(setup: &Setup) -> Command {
    match &setup.vmm {
        Vmm::Armlet(path) => armlet(path, setup),
        Vmm::Qemu => qemu(setup),
    }
}

fn cmdline(setup: &Setup) -> String {
    let Setup { action, words, .. } = setup;
    let quiet = if env::var_os("ARMLET_TEST_QUIET").is_some() {
        " quiet"
    } else {
        ""
    };
    format!("console=ttyAMA0{quiet} panic=-1 armlet.do={action}{words}")
}

fn armlet(path: &PathBuf, setup: &Setup) -> Command {
    let mut command = Command::new(path);
    let accel = crate::accelerator_name();
    let memory = format!("{}M", setup.memory_mib);
    command.args(["run", "--accel", &accel]);
    command.args(["--cpus", &setup.cpus.to_string(), "--memory", &memory]);
    command.args(["--cmdline", &cmdline(setup)]);
    command.arg("--kernel").arg(&setup.kernel);
    command.arg("--initrd").arg(&setup.initrd);
    for disk in &setup.disks {
        let Disk { path, options } = disk;
        let mut disk = format!("path={},format={}", path.display(), format_of(path));
        if !options.is_empty() {
            disk = format!("{disk},{options}");
        }
        command.args(["--disk", &disk]);
    }
    if setup.transport == Transport::Mmio {
        command.args(["--transport", "mmio"]);
    }
    if !setup.reboots {
        command.arg("--no-reboot");
    }
    command.args(&setup.options);
    command
}

/// What the file of a disk is.
fn format_of(path: &Path) -> &'static str {
    if image::is_qcow2(path) {
        "qcow2"
    } else {
        "raw"
    }
}

fn qemu(setup: &Setup) -> Command {
    let mut command = Command::new(QEMU);
    command.args([
        "-M",
        "virt,gic-version=3",
        "-nic",
        "none",
        "-display",
        "none",
    ]);
    // Authentication of pointers as the architecture has it takes most of the time.
    command.args(["-cpu", "max,pauth-impdef=on", "-serial", "stdio"]);
    command.args([
        "-smp",
        &setup.cpus.to_string(),
        "-m",
        &setup.memory_mib.to_string(),
    ]);
    command.args(["-append", &cmdline(setup)]);
    command.arg("-kernel").arg(&setup.kernel);
    command.arg("-initrd").arg(&setup.initrd);
    let transport = match setup.transport {
        Transport::Pci => "pci",
        Transport::Mmio => "device",
    };
    for (index, disk) in setup.disks.iter().enumerate() {
        let (path, format) = (disk.path.display(), format_of(&disk.path));
        let drive = format!("if=none,id=disk{index},format={format},file={path}");
        let device = format!("virtio-blk-{transport},drive=disk{index}");
        command.args(["-drive", &drive, "-device", &device]);
    }
    match &setup.monitor {
        Some(socket) => {
            let monitor = format!("unix:{},server=on,wait=off", socket.display());
            command.args(["-monitor", &monitor]);
        }
        None => _ = command.args(["-monitor", "none"]),
    }
    if !setup.reboots {
        command.arg("-no-reboot");
    }
    command
}

/// Presses the power key of the guest that `process` runs.
pub(super) fn press_power(setup: &Setup, process: u32) {
    match (&setup.vmm, &setup.monitor) {
        (Vmm::Armlet(_), _) => {
            let kill = Command::new("kill")
                .args(["-TERM", &process.to_string()])
                .status();
            assert!(
                kill.is_ok_and(|status| status.success()),
                "no SIGTERM for {process}"
            );
        }
        (Vmm::Qemu, Some(socket)) => {
            let mut monitor = UnixStream::connect(socket).expect("QEMU's monitor");
            monitor
                .write_all(b"system_powerdown\n")
                .expect("QEMU listens");
            // The command is done when the next prompt is there; leaving earlier would lose it.
            let mut said = Vec::new();
            while said.windows(6).filter(|part| part == b"(qemu)").count() < 2 {
                let mut byte = [0];
                monitor.read_exact(&mut byte).expect("QEMU answers");
                said.extend(byte);
            }
        }
        (Vmm::Qemu, None) => panic!("a guest without a power key"),
    }
}
