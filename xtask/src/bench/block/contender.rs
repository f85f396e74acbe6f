//! The machines that are measured, and how each is started: with the same kernel, initramfs, memory,
//! CPUs and image, one disk behind virtio-pci without its legacy registers, one queue for each CPU,
//! and the same use of the host's page cache. QEMU's disk has an I/O thread of its own, as armlet's
//! has a worker; beyond that it is as QEMU has it.

use super::guest;
use crate::bench::Accelerator;
use crate::bench::program::QEMU;
use std::path::Path;

/// The guest's memory.
pub const MEMORY_MIB: u64 = 512;
/// Its CPUs. The host of such a measurement may have two: one is for the disk's worker.
pub const CPUS: usize = 1;
/// QEMU at its fastest: TCG takes long over pointer authentication, and armlet's CPU has neither.
const TCG_CPU: &str = "max,pauth=off,sve=off";

/// How the host's page cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// It holds what is read and written.
    Writeback,
    /// It is left out (`O_DIRECT`).
    Direct,
}

impl Cache {
    /// What armlet calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writeback => "writeback",
            Self::Direct => "direct",
        }
    }
}

/// A machine to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// Our own program.
    Armlet,
    /// QEMU.
    Qemu,
}

/// What a machine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    pub accelerator: Accelerator,
    pub cache: Cache,
    /// Seconds in each cell.
    pub seconds: u64,
    pub kernel: &'a Path,
    pub initrd: &'a Path,
    pub image: &'a Path,
}

impl Contender {
    /// Both, in the order they run in.
    pub const BOTH: [Self; 2] = [Self::Armlet, Self::Qemu];

    /// Its name, for people and in what is measured.
    pub fn name(self) -> &'static str {
        match self {
            Self::Armlet => "armlet",
            Self::Qemu => "QEMU",
        }
    }

    /// The arguments it is started with.
    pub fn arguments(self, setup: &Setup<'_>) -> Vec<String> {
        match self {
            Self::Armlet => armlet(setup, "--rng off --balloon off"),
            Self::Qemu => qemu(setup),
        }
    }

    /// What starts it in the directory of [`crate::kvm_host`], by a shell.
    pub fn command(self, setup: &Setup<'_>) -> String {
        let program = match self {
            Self::Armlet => "armlet".to_owned(),
            Self::Qemu => QEMU.command(""),
        };
        quoted(program, self.arguments(setup))
    }
}

/// What starts armlet there with a console, a source of entropy and a balloon too.
pub fn with_all_devices(setup: &Setup<'_>) -> String {
    let words = armlet(setup, "--console port=log,file=port.log");
    quoted("armlet".to_owned(), words)
}

fn quoted(program: String, words: Vec<String>) -> String {
    let quoted = |word: String| format!(" '{word}'");
    let words = words.into_iter().map(quoted);
    words.fold(program, |text, word| text + &word)
}

fn armlet(setup: &Setup<'_>, other_devices: &str) -> Vec<String> {
    let Setup {
        accelerator,
        cache,
        seconds,
        kernel,
        initrd,
        image,
    } = setup;
    let accelerator = match accelerator {
        Accelerator::Soft => "soft",
        Accelerator::Kvm => "kvm",
    };
    let disk = format!("path={},format=raw,cache={}", image.display(), cache.name());
    let mut words = words(&format!(
        "run --accel {accelerator} --no-reboot {other_devices} --transport pci \
         --cpus {CPUS} --memory {MEMORY_MIB}M"
    ));
    words.extend(["--disk".to_owned(), disk]);
    words.extend(["--cmdline".to_owned(), guest::command_line(*seconds)]);
    words.extend(["--kernel".to_owned(), kernel.display().to_string()]);
    words.extend(["--initrd".to_owned(), initrd.display().to_string()]);
    words
}

fn qemu(setup: &Setup<'_>) -> Vec<String> {
    let Setup {
        accelerator,
        cache,
        seconds,
        kernel,
        initrd,
        image,
    } = setup;
    let accelerator = match accelerator {
        Accelerator::Soft => format!("-accel tcg,thread=multi -cpu {TCG_CPU}"),
        Accelerator::Kvm => "-accel kvm -cpu host".to_owned(),
    };
    let cache = match cache {
        Cache::Writeback => "writeback",
        Cache::Direct => "none",
    };
    let file = image.display();
    let drive = format!("if=none,id=disk,file={file},format=raw,cache={cache},aio=threads");
    let mut words = words(&format!(
        "-M virt,gic-version=3 {accelerator} -nic none -no-reboot -display none -monitor none \
         -serial stdio -smp {CPUS} -m {MEMORY_MIB} -object iothread,id=thread \
         -device virtio-blk-pci,drive=disk,disable-legacy=on,num-queues={CPUS},iothread=thread"
    ));
    words.extend(["-drive".to_owned(), drive]);
    words.extend(["-append".to_owned(), guest::command_line(*seconds)]);
    words.extend(["-kernel".to_owned(), kernel.display().to_string()]);
    words.extend(["-initrd".to_owned(), initrd.display().to_string()]);
    words
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_get_the_same_machine() {
        for (accelerator, cache, wanted) in [
            (
                Accelerator::Soft,
                Cache::Direct,
                ["cache=direct", "cache=none", "'soft'", "'tcg,"],
            ),
            (
                Accelerator::Kvm,
                Cache::Writeback,
                ["cache=writeback", "cache=writeback", "'kvm'", "'kvm'"],
            ),
        ] {
            let setup = Setup {
                accelerator,
                cache,
                seconds: 7,
                kernel: Path::new("k"),
                initrd: Path::new("i"),
                image: Path::new("d"),
            };
            let [armlet, qemu] = Contender::BOTH.map(|contender| contender.command(&setup));
            assert!(
                armlet.contains(wanted[0]) && armlet.contains(wanted[2]),
                "{armlet}"
            );
            assert!(
                qemu.contains(wanted[1]) && qemu.contains(wanted[3]),
                "{qemu}"
            );
            for text in [&armlet, &qemu] {
                assert!(text.contains(" armlet.seconds=7'"), "{text}");
                assert!(
                    text.contains("kernel' 'k'") && text.contains("initrd' 'i'"),
                    "{text}"
                );
            }
            assert!(
                armlet.contains("path=d,") && qemu.contains("file=d,"),
                "{armlet}"
            );
        }
    }
}
