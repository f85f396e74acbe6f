//! What a user writes on the command line.

use vmm::config::{MachineConfig, RawConfig};

use aarch64::{PAGE_SIZE, machine};
use vmm::config::{MAX_CMDLINE, MIN_MEMORY};

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
