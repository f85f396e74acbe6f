//! The emulated arm64 host: QEMU's `virt` machine with EL2, and an initramfs that holds everything.

use super::{Request, present, toolchain};
use crate::error::Error;
use crate::host;
use guests::{Kernel, Store};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const QEMU: &str = "qemu-system-aarch64";
/// Everything is kept in it, disks of guests too.
const MEMORY: &str = "4G";
/// What the machine's action ends its output with, before the status.
const STATUS: &str = "ARMLET-STATUS ";
const ACTION: &str = include_str!("../../files/kvm-host.sh");

/// Makes sure of the host's tools that this takes.
pub fn tools() -> Result<(), Error> {
    host::require(&[QEMU])
}

/// Runs the command, writes its output to `output`, and returns its exit status.
pub fn run(
    request: &Request,
    directory: &Path,
    output: &mut (impl Write + Send),
) -> Result<i32, Error> {
    tools()?;
    let armlet = toolchain::build_armlet(directory, request.profile)?;
    let store = Store::of_checkout();
    let mut files = vec![
        ("actions/kvm_host".to_owned(), ACTION.as_bytes().to_vec()),
        ("bin/armlet".to_owned(), fs::read(armlet)?),
        ("command".to_owned(), script(&request.command).into_bytes()),
    ];
    for (name, path) in present(request)? {
        files.push((format!("guest/{name}"), fs::read(path)?));
    }
    // Several may run at once, each with its own command.
    let name = format!("kvm-host.{}.cpio", std::process::id());
    let initramfs = store.bundle(&name, &files)?;
    let log = directory.join("console.log");
    let mode = if request.nvhe {
        " kvm-arm.mode=nvhe"
    } else {
        ""
    };
    let mut qemu = request.emulator.command(directory)?;
    let machine = format!("virt,virtualization=on,gic-version={}", request.gic);
    qemu.args(["-M", &machine, "-cpu", &request.cpu])
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", MEMORY])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(store.kernel(request.kernel)?)
        .arg("-initrd")
        .arg(&initramfs)
        .arg("-append")
        .arg(format!(
            "console=ttyAMA0 quiet panic=-1 armlet.do=kvm_host{mode}"
        ))
        .args(["-chardev", "stdio,id=output,signal=off"])
        .args(consoles(request.kernel, &log));
    let status = watch(&mut qemu, request.limit, output);
    fs::remove_file(initramfs)?;
    status?.ok_or_else(|| {
        Error::new(format!(
            "the emulated host ended without a status; its log is {}",
            log.display()
        ))
    })
}

/// Where the kernel's log and the command's output go. A kernel whose virtio console is a module has
/// the serial port for both.
fn consoles(kernel: Kernel, log: &Path) -> Vec<String> {
    let log = format!("file:{}", log.display());
    let words: &[&str] = match kernel {
        Kernel::V6_12Cloud => &[
            "-serial",
            &log,
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtconsole,chardev=output",
        ],
        Kernel::V6_1Cloud | Kernel::V6_1Generic => &["-serial", "chardev:output"],
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

/// The command as a script: every word quoted.
fn script(command: &[String]) -> String {
    let quoted = command
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    format!("exec {}\n", quoted.collect::<Vec<_>>().join(" "))
}

/// Runs the machine, shows its output as it comes, and returns the status that this ends with, if
/// it does.
fn watch(
    qemu: &mut Command,
    limit: Duration,
    into: &mut (impl Write + Send),
) -> Result<Option<i32>, Error> {
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot run {QEMU}: {error}")))?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::new("no output pipe"))?;
    let (done, finished) = mpsc::channel();
    let (in_time, status) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let status = show(output, into);
            // Nobody waits any more if the time is up.
            let _ = done.send(());
            status
        });
        let in_time = finished.recv_timeout(limit).is_ok();
        // The machine has nothing to lose: its disk is memory.
        let stopped = child.kill().and_then(|()| child.wait());
        let status = reader
            .join()
            .map_err(|_| Error::new("the output reader failed"))?;
        stopped?;
        Ok::<_, Error>((in_time, status?))
    })?;
    if !in_time {
        let seconds = limit.as_secs();
        return Err(Error::new(format!("no end after {seconds} s: stopped")));
    }
    Ok(status)
}

/// Copies lines up to the one with the status.
fn show(output: impl Read, into: &mut impl Write) -> std::io::Result<Option<i32>> {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        // The command's last line may lack its end.
        if let Some((before, status)) = text.split_once(STATUS)
            && let Ok(status) = status.trim_end().parse()
        {
            into.write_all(before.as_bytes())?;
            into.flush()?;
            return Ok(Some(status));
        }
        into.write_all(&line)?;
        into.flush()?;
        line.clear();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_command_as_they_are() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME", ""].map(str::to_owned);
        let output = Command::new("sh").args(["-c", &script(&words)]).output();
        let output = output.expect("sh runs");
        assert_eq!(output.stdout, b"a b|it's|$HOME||");
    }

    #[test]
    fn output_is_shown_up_to_the_status() {
        for (output, shown, status) in [
            ("a\nb\nARMLET-STATUS 3\r\n", "a\nb\n", Some(3)),
            ("no end of lineARMLET-STATUS 0\n", "no end of line", Some(0)),
            ("ARMLET-STATUS of what?\n", "ARMLET-STATUS of what?\n", None),
            ("", "", None),
        ] {
            let mut copy = Vec::new();
            let found = show(output.as_bytes(), &mut copy).expect("memory");
            assert_eq!((copy.as_slice(), found), (shown.as_bytes(), status));
        }
    }
}
