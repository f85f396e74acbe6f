//! What a user writes on the command line and in a machine file.

use std::path::Path;

use aarch64::{PAGE_SIZE, machine};
use vmm::config::disk::DiskConfig;
use vmm::config::{MAX_CMDLINE, MIN_MEMORY, MachineConfig, RawConfig, file};

/// Texts make a machine that is possible, or are refused in one line that says something.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut fields = text.split('\n').map(str::to_owned);
    let mut next = || fields.next();
    let raw = RawConfig {
        memory: next(),
        cpus: next(),
        accel: next(),
        cpu: next(),
        counter_frequency: next(),
        serial: next(),
        cmdline: next(),
        kernel: next().map(Into::into),
        ..RawConfig::default()
    };
    match MachineConfig::try_from(raw) {
        Ok(config) => {
            let bytes = config.memory.bytes();
            assert!((MIN_MEMORY..=machine::MAX_RAM).contains(&bytes));
            assert!(bytes.is_multiple_of(PAGE_SIZE));
            assert!((1..=machine::MAX_VCPUS).contains(&config.cpus.get()));
            assert!(config.cmdline.len() < MAX_CMDLINE);
        }
        Err(error) => {
            let line = error.to_string();
            assert!(line.contains("--") && !line.contains('\n'), "{line:?}");
        }
    }
}

/// Good and nearly good configurations.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "512M\n1\nauto\nauto\nauto\nstdio\nconsole=ttyAMA0\nImage",
        "1 GiB\n123\nsoft\nportable\n24000000\nfile:/tmp/x\n\nImage",
        "16777216\n8\nkvm\nhost\nauto\nnone\nquiet\nImage",
        "1023G\n0\nhvf\nmax\n24M\nfile:\n\n",
        "18446744073709551615P\n65537\nsoft\n\n0\nstdio\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Where machine files of these targets seem to be.
const FILE: &str = "/machines/fuzz.toml";

/// A machine file is refused in one line that begins with its name, or makes a machine that is
/// written as a file of the same machine.
pub fn machine_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let settings = match file::parse(&text, Path::new(FILE)) {
        Ok(settings) => settings,
        Err(error) => {
            let line = error.to_string();
            let is_good = line.starts_with(FILE) && !line.contains('\n');
            return assert!(is_good, "{line:?}");
        }
    };
    let Ok(config) = MachineConfig::try_from(settings) else {
        return;
    };
    let written = config.to_toml().expect("its names came from text");
    let read = file::parse(&written, Path::new("/elsewhere/fuzz.toml"));
    let again = MachineConfig::try_from(read.expect(&written)).expect("all is said");
    // Names may be written in a shorter way once.
    assert_eq!(again.to_toml(), Ok(written));
    assert_eq!(again.cmdline, config.cmdline);
}

/// Machine files, good and nearly so.
#[must_use]
pub fn file_seeds() -> Vec<Vec<u8>> {
    [
        "kernel = 'Image'\ncpus = 4\nmemory = \"2G\"\ncmdline = \"console=ttyAMA0 \\u0007\"\n",
        "kernel = '/k'\ninitrd = '../i'\nno-reboot = true\nstop-timeout = 0x10\nname = 'web'",
        "accel = 'soft'\ncpu = 'portable'\nserial = 'file:log'\ncontrol = 'c'\nkernel = 'k'",
        "[[disk]]\npath = 'a'\n[rng]\n[[disk]]\nx = { y = [1, 2.0, 1979-05-27] }\n",
        "kernel = ''\ncpus = '0'",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A list of options is refused in one line, or makes a disk that is written as a list of the same.
pub fn options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<DiskConfig>() {
        Ok(disk) => assert_eq!(disk.to_string().parse(), Ok(disk)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Lists of options, good and nearly so.
#[must_use]
pub fn option_seeds() -> Vec<Vec<u8>> {
    [
        "path=disk.img,format=raw,readonly",
        "path=a,,b,format=qcow2,readonly=false,serial=vol 1,cache=relaxed,discard=false",
        "path=x,iops=100,iops-burst=500,bw=20M,bw-burst=1G,queues=4,cache=direct",
        "path=top,allow-backing=/a,allow-backing=b,,c",
        "path=,iops=0,,=,queues=65",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
