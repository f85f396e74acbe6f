//! Fuzz targets: everything that reads bytes which a guest or a file controls.
//!
//! A target is a plain function of bytes that must return, whatever the bytes are; what it checks it
//! checks by panicking. [`TARGETS`] lists them all. They run in two ways:
//! - on any toolchain for a bounded time, from seeds and a repeatable random source: [`campaign`],
//!   which `cargo xtask test` and the program of this crate use;
//! - guided by coverage, by libFuzzer: the crate in `fuzz/libfuzzer` wraps each target.
//!
//! To add a target: write it in `targets/`, list it in [`TARGETS`], and wrap it for libFuzzer.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod campaign;
pub mod guest;
pub mod mutate;
pub mod random;
pub mod targets;

/// One thing to fuzz.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, as commands and file names have it.
    pub name: &'static str,
    /// Runs it on these bytes.
    pub run: fn(&[u8]),
    /// Inputs to start from; what is random all over reaches little of a file format.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The longest input that makes sense.
    pub longest: usize,
    /// Its share of a campaign's time.
    pub weight: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "kernel_file",
        run: targets::boot::kernel_file,
        seeds: targets::boot::kernel_seeds,
        longest: 16 << 10,
        weight: 3,
    },
    Target {
        name: "boot_plan",
        run: targets::boot::boot_plan,
        seeds: no_seeds,
        longest: 64,
        weight: 1,
    },
    Target {
        name: "device_tree",
        run: targets::device_tree::reader,
        seeds: targets::device_tree::seeds,
        longest: 8 << 10,
        weight: 1,
    },
    Target {
        name: "device_tree_writer",
        run: targets::device_tree::writer,
        seeds: no_seeds,
        longest: 256,
        weight: 1,
    },
    Target {
        name: "config",
        run: targets::config::config,
        seeds: targets::config::seeds,
        longest: 256,
        weight: 1,
    },
    Target {
        name: "machine_file",
        run: targets::config::machine_file,
        seeds: targets::config::file_seeds,
        longest: 4 << 10,
        weight: 2,
    },
    Target {
        name: "options",
        run: targets::config::options,
        seeds: targets::config::option_seeds,
        longest: 256,
        weight: 1,
    },
    Target {
        name: "control",
        run: targets::control::control,
        seeds: targets::control::seeds,
        longest: 1024,
        weight: 2,
    },
    Target {
        name: "layout",
        run: targets::layout::layout,
        seeds: no_seeds,
        longest: 512,
        weight: 1,
    },
    Target {
        name: "psci",
        run: targets::psci::psci,
        seeds: no_seeds,
        longest: 64,
        weight: 1,
    },
    Target {
        name: "gic",
        run: targets::gic::accesses,
        seeds: no_seeds,
        longest: 2048,
        weight: 4,
    },
    Target {
        name: "gic_state",
        run: targets::gic::state,
        seeds: no_seeds,
        longest: 512,
        weight: 2,
    },
    Target {
        name: "cpu",
        run: targets::cpu::cpu,
        seeds: no_seeds,
        longest: 1024,
        weight: 12,
    },
    Target {
        name: "machine",
        run: targets::machine::machine,
        seeds: no_seeds,
        longest: 1500,
        weight: 16,
    },
    Target {
        name: "machine_state",
        run: targets::state::machine_state,
        seeds: no_seeds,
        longest: 512,
        weight: 4,
    },
    Target {
        name: "pci",
        run: targets::pci::pci,
        seeds: no_seeds,
        longest: 2048,
        weight: 4,
    },
    Target {
        name: "peripherals",
        run: targets::peripherals::peripherals,
        seeds: no_seeds,
        longest: 1024,
        weight: 2,
    },
    Target {
        name: "virtio_block",
        run: targets::block::virtio_block,
        seeds: no_seeds,
        longest: 1024,
        weight: 4,
    },
    Target {
        name: "virtio_balloon",
        run: targets::balloon::virtio_balloon,
        seeds: no_seeds,
        longest: 1024,
        weight: 2,
    },
    Target {
        name: "virtio_console",
        run: targets::console::virtio_console,
        seeds: no_seeds,
        longest: 1024,
        weight: 2,
    },
    Target {
        name: "virtio_pci",
        run: targets::virtio_pci::virtio_pci,
        seeds: no_seeds,
        longest: 2048,
        weight: 4,
    },
    Target {
        name: "virtio_mmio",
        run: targets::virtio::virtio_mmio,
        seeds: no_seeds,
        longest: 1024,
        weight: 6,
    },
    Target {
        name: "qcow2",
        run: targets::qcow2::image,
        seeds: targets::qcow2::seeds,
        longest: 16 << 10,
        weight: 4,
    },
];

/// For targets whose input is a list of operations: random bytes are as good a start as any.
fn no_seeds() -> Vec<Vec<u8>> {
    Vec::new()
}

/// The target of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_survives_its_seeds_and_nothing() {
        for target in TARGETS {
            (target.run)(&[]);
            for seed in (target.seeds)() {
                (target.run)(&seed);
            }
        }
    }

    #[test]
    fn every_target_has_its_own_name_and_wrapper() {
        let wrappers = concat!(env!("CARGO_MANIFEST_DIR"), "/libfuzzer/fuzz_targets");
        for target in TARGETS {
            assert_eq!(find(target.name).map(|t| t.name), Some(target.name));
            let wrapper = format!("{wrappers}/{}.rs", target.name);
            let text = std::fs::read_to_string(&wrapper).unwrap_or_default();
            let wanted = format!("\"{}\"", target.name);
            assert!(text.contains(&wanted), "{wrapper} does not wrap {wanted}");
        }
    }
}
