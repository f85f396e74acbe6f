//! What lies in RAM at power-on: the kernel, the initial RAM disk and the device tree.
//!
//! The files stay open and are read anew at each reset, rather than kept in memory as long as the
//! guest runs. The device tree is made anew as well, with new seeds.

use aarch64::machine::{self, Span};
use devicetree::{Chosen, Machine, Seeds, VirtioMmio};
use memory::Layout;

use super::virtio::{place, wanted};
use super::{StartError, pci};
use crate::boot::Boot;
use crate::config::{MachineConfig, Transport};
use crate::host::random;
use crate::power::Entry;
use crate::vcpu::chain;

/// What the guest is started from.
#[derive(Debug)]
pub struct Contents {
    boot: Boot,
    cmdline: String,
    vcpus: u16,
    ram: Span,
    transport: Transport,
    /// How many virtio devices there are.
    devices: u16,
}

impl Contents {
    /// Opens the files, and finds a place for each.
    pub fn open(config: &MachineConfig) -> Result<Self, StartError> {
        let MachineConfig {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            transport,
            ..
        } = config;
        let ram = Span {
            base: machine::RAM_BASE,
            size: memory.bytes(),
        };
        let boot = Boot::open(kernel, initrd.as_deref(), ram);
        let boot = boot.map_err(|error| StartError::Input(chain(&error)))?;
        Ok(Self {
            boot,
            cmdline: cmdline.clone(),
            vcpus: cpus.get(),
            ram,
            transport: *transport,
            devices: u16::try_from(wanted(config).len()).unwrap_or(u16::MAX),
        })
    }

    /// The RAM it is made for.
    pub fn ram(&self) -> Span {
        self.ram
    }

    /// Loads everything, and says where vCPU 0 starts.
    pub fn load(&self, layout: &Layout) -> Result<Entry, StartError> {
        let device_tree = self.device_tree()?;
        let loaded = self.boot.load(layout, &device_tree);
        loaded.map_err(|error| StartError::Input(chain(&error)))?;
        let registers = self.boot.plan().registers();
        Ok(Entry {
            pc: registers.pc,
            x0: registers.x[0],
        })
    }

    /// The device tree, with new seeds.
    pub fn device_tree(&self) -> Result<Vec<u8>, StartError> {
        let seeds = seeds().map_err(|error| StartError::Host(format!("no randomness: {error}")))?;
        let chosen = Chosen {
            bootargs: self.cmdline.clone(),
            initrd: self.boot.plan().initrd,
            seeds: Some(seeds),
        };
        let slots = match self.transport {
            Transport::Mmio => self.devices,
            Transport::Pci => 0,
        };
        let bridge = self.transport.has_bridge(self.devices.into());
        let machine = Machine {
            vcpus: self.vcpus,
            memory: vec![self.ram],
            chosen,
            virtio_mmio: (0..slots).map(slot).collect(),
            pcie: bridge.then(pci::description),
        };
        machine
            .to_fdt()
            .map_err(|error| StartError::Input(chain(&error)))
    }
}

/// Slot `n` of virtio-mmio.
fn slot(n: u16) -> VirtioMmio {
    let (span, intid) = place(Transport::Mmio, n);
    VirtioMmio { span, intid }
}

fn seeds() -> std::io::Result<Seeds> {
    let (mut rng, mut kaslr) = ([0; 64], [0; 8]);
    random::fill(&mut rng)?;
    random::fill(&mut kaslr)?;
    Ok(Seeds {
        rng,
        kaslr: u64::from_le_bytes(kaslr),
    })
}
