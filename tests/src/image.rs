//! Images of disks, made and checked by QEMU's tools and by ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use guests::rootfs;

/// Makes `path` a qcow2 image on top of the raw image `backing`.
pub fn overlay(backing: &Path, path: &Path) -> Result<(), String> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
    command.args([backing, path]);
    run(&mut command)
}

/// Makes `path` a raw image of so many MiB with an empty ext4 file system.
pub fn ext4(path: &Path, mib: u64) -> Result<(), String> {
    let file = fs::File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let sized = file.set_len(mib << 20);
    sized.map_err(|error| format!("{}: {error}", path.display()))?;
    run(Command::new("/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096"])
        .arg(path))
}

/// Checks the image at `path`, raw or qcow2, by our means and by QEMU's.
///
/// # Panics
/// When something is wrong with it that a power cut does not explain: clusters may be lost, and
/// nothing else.
pub fn check(path: &Path) {
    if !is_qcow2(path) {
        return;
    }
    match images::check(path, images::Format::Qcow2) {
        Ok(Some(report)) => assert_eq!(report.corruptions, 0, "{report:?}"),
        Ok(None) => panic!("{} is not looked at", path.display()),
        Err(error) => panic!("{error}"),
    }
    let mut command = Command::new("qemu-img");
    let output = command.args(["check", "-f", "qcow2"]).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("qemu-img: {error}"));
    // 3: nothing but lost clusters.
    let fine = matches!(output.status.code(), Some(0 | 3));
    assert!(fine, "{}", String::from_utf8_lossy(&output.stdout));
}

/// Checks the image at `path` and the ext4 file system in it, which was unmounted.
///
/// # Panics
/// When one of them is not sound.
pub fn check_file_system(path: &Path) {
    check(path);
    let raw = path.with_extension("checked");
    let plain = if is_qcow2(path) {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "qcow2", "-O", "raw"]);
        let converted = run(command.args([path, raw.as_path()]));
        assert_eq!(converted, Ok(()));
        &raw
    } else {
        path
    };
    let checked = rootfs::check(plain);
    // It is there if it was made.
    let _ = fs::remove_file(&raw);
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// Whether an image is qcow2.
#[must_use]
pub fn is_qcow2(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"QFI\xfb"
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {said}"))
}
