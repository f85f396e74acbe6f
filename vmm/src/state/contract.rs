//! What a saved machine needs of the one that takes it up, and a check that names what differs.
//!
//! The contract is what the guest has seen and relies on: it found its devices, counted its CPUs,
//! measured its clock and read its identification registers once, when it booted.

use aarch64::cpu_model::CpuModel;
use aarch64::machine::{self, Span};
use aarch64::{Gpa, Intid, SysReg};
use devices::virtio::DeviceKind as VirtioKind;

use crate::config::Transport;
use crate::machine::place;

/// The version of [`MachineState`](super::MachineState) that this program writes, and reads.
pub const FORMAT: u32 = 2;

/// The shape of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineContract {
    /// [`FORMAT`] of the state.
    pub format: u32,
    /// What the guest found its processor to be.
    pub cpu: CpuContract,
    /// `CNTFRQ_EL0`.
    pub counter_frequency: u64,
    /// Bits of guest physical address that the machine uses.
    pub address_bits: u8,
    /// The interrupt controller.
    pub gic: GicContract,
    /// RAM, lowest address first.
    pub memory: Vec<Span>,
    /// Devices on the bus.
    pub devices: Vec<DeviceContract>,
    /// How many vCPUs.
    pub vcpus: u16,
}

/// A processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuContract {
    /// The CPU model.
    pub model: CpuModel,
    /// Identification registers, where the model does not say what they hold.
    pub id_registers: Vec<(SysReg, u64)>,
}

/// A GICv3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GicContract {
    /// Its distributor.
    pub distributor: Gpa,
    /// The first of its redistributors.
    pub redistributors: Gpa,
    /// How many SPIs it has.
    pub spis: u16,
    /// Its GICv2m frame.
    pub msi_frame: Gpa,
    /// SPIs of that frame: the first, and how many.
    pub msi_spis: (u16, u16),
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// PL011.
    Uart,
    /// PL031.
    Rtc,
    /// PL061.
    Gpio,
    /// PCIe host bridge.
    PciHost,
    /// A virtio device.
    Virtio(VirtioKind),
}

impl DeviceKind {
    /// What messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uart => "PL011 UART",
            Self::Rtc => "PL031 real-time clock",
            Self::Gpio => "PL061 GPIO",
            Self::PciHost => "PCIe host bridge",
            Self::Virtio(kind) => kind.name(),
        }
    }
}

/// A device at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceContract {
    /// What it is.
    pub kind: DeviceKind,
    /// Its registers.
    pub at: Span,
    /// Its interrupt.
    pub intid: Intid,
}

/// The devices of every machine, beside its virtio devices.
pub const DEVICES: [DeviceContract; 3] = [
    DeviceContract {
        kind: DeviceKind::Uart,
        at: machine::UART,
        intid: machine::UART_INTID,
    },
    DeviceContract {
        kind: DeviceKind::Rtc,
        at: machine::RTC,
        intid: machine::RTC_INTID,
    },
    DeviceContract {
        kind: DeviceKind::Gpio,
        at: machine::GPIO,
        intid: machine::GPIO_INTID,
    },
];

/// The PCIe host bridge, by its configuration space and the first of its four interrupts. What is
/// behind it says [`PciState`](devices::pci::PciState).
pub const BRIDGE: DeviceContract = DeviceContract {
    kind: DeviceKind::PciHost,
    at: machine::PCIE_ECAM,
    intid: machine::PCIE_INTX_INTID,
};

/// The devices of a machine with these virtio devices, behind `transport`.
#[must_use]
pub fn devices(transport: Transport, virtio: &[VirtioKind]) -> Vec<DeviceContract> {
    let bridge = transport.has_bridge(virtio.len()).then_some(BRIDGE);
    let slots = (0..).zip(virtio).map(|(n, kind)| {
        let (at, intid) = place(transport, n);
        let kind = DeviceKind::Virtio(*kind);
        DeviceContract { kind, at, intid }
    });
    DEVICES.into_iter().chain(bridge).chain(slots).collect()
}

/// The interrupt controller of every machine.
pub const GIC: GicContract = GicContract {
    distributor: machine::GICD.base,
    redistributors: machine::GICR_BASE,
    spis: machine::SPIS,
    msi_frame: machine::GICV2M.base,
    msi_spis: machine::GICV2M_SPIS,
};

impl MachineContract {
    /// The contract of a machine as this program makes them.
    #[must_use]
    pub fn of_machine(
        cpu: CpuContract,
        vcpus: u16,
        ram: Span,
        counter_frequency: u64,
        address_bits: u8,
        devices: Vec<DeviceContract>,
    ) -> Self {
        Self {
            format: FORMAT,
            cpu,
            counter_frequency,
            address_bits,
            gic: GIC,
            memory: vec![ram],
            devices,
            vcpus,
        }
    }
}

/// What of a saved machine this one is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Another version of the state.
    #[error("its state has format {found}; this version of armlet reads {FORMAT}")]
    Format {
        /// In the state.
        found: u32,
    },
    /// Another CPU model.
    #[error("its CPU model is {saved}, here it is {here}")]
    Model {
        /// In the state.
        saved: CpuModel,
        /// In the machine.
        here: CpuModel,
    },
    /// A processor that says something else of itself.
    #[error("its processor's {register} is {saved}, here it is {here}")]
    Processor {
        /// The identification register.
        register: SysReg,
        /// In the state.
        saved: Value,
        /// In the machine.
        here: Value,
    },
    /// Another clock.
    #[error("its counter runs at {saved} Hz, here at {here} Hz")]
    Frequency {
        /// In the state.
        saved: u64,
        /// In the machine.
        here: u64,
    },
    /// Not enough address space.
    #[error("it uses {saved} bits of address, here there are {here}")]
    AddressBits {
        /// In the state.
        saved: u8,
        /// In the machine.
        here: u8,
    },
    /// An interrupt controller of another size.
    #[error("its interrupt controller has {saved} SPIs, here there are {here}")]
    Spis {
        /// In the state.
        saved: u16,
        /// In the machine.
        here: u16,
    },
    /// An interrupt controller elsewhere, or other MSIs.
    #[error("its interrupt controller is not where the GICv3 here is, or has other MSIs")]
    Gic,
    /// RAM of another size, or elsewhere.
    #[error("its memory is {saved}, here it is {here}")]
    Memory {
        /// In the state.
        saved: Spans,
        /// In the machine.
        here: Spans,
    },
    /// A device that is not here.
    #[error("its {kind} at {at} is not here")]
    NoDevice {
        /// What.
        kind: &'static str,
        /// Where.
        at: Gpa,
    },
    /// A device that it has not.
    #[error("the {kind} at {at} is not in it")]
    NewDevice {
        /// What.
        kind: &'static str,
        /// Where.
        at: Gpa,
    },
    /// Another number of vCPUs.
    #[error("it has {saved} CPUs, here there are {here}")]
    Vcpus {
        /// In the state.
        saved: u16,
        /// In the machine.
        here: u16,
    },
}

/// A register's value in messages, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(pub Option<u64>);

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value:#x}"),
            None => f.write_str("missing"),
        }
    }
}

/// RAM in messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans(pub Vec<Span>);

impl std::fmt::Display for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (n, Span { base, size }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{size:#x} bytes at {base}")?;
        }
        Ok(())
    }
}

/// Whether a machine that is `here` can take up the one that was `saved`. Everything must be the
/// same, but for address bits, of which there may be more.
///
/// # Errors
/// The first thing that differs.
pub fn check(saved: &MachineContract, here: &MachineContract) -> Result<(), ContractError> {
    let MachineContract {
        format,
        cpu,
        counter_frequency,
        address_bits,
        gic,
        memory,
        devices,
        vcpus,
    } = saved;
    if *format != here.format {
        return Err(ContractError::Format { found: *format });
    }
    check_cpu(cpu, &here.cpu)?;
    if *vcpus != here.vcpus {
        let (saved, here) = (*vcpus, here.vcpus);
        return Err(ContractError::Vcpus { saved, here });
    }
    if *memory != here.memory {
        let (saved, here) = (Spans(memory.clone()), Spans(here.memory.clone()));
        return Err(ContractError::Memory { saved, here });
    }
    if *address_bits > here.address_bits {
        let (saved, here) = (*address_bits, here.address_bits);
        return Err(ContractError::AddressBits { saved, here });
    }
    if *counter_frequency != here.counter_frequency {
        let (saved, here) = (*counter_frequency, here.counter_frequency);
        return Err(ContractError::Frequency { saved, here });
    }
    if gic.spis != here.gic.spis {
        let (saved, here) = (gic.spis, here.gic.spis);
        return Err(ContractError::Spis { saved, here });
    }
    if *gic != here.gic {
        return Err(ContractError::Gic);
    }
    check_devices(devices, &here.devices)
}

/// Whether the processor here is the one that the guest knows.
///
/// # Errors
/// The first thing that differs.
pub fn check_cpu(saved: &CpuContract, here: &CpuContract) -> Result<(), ContractError> {
    let CpuContract {
        model,
        id_registers,
    } = saved;
    if *model != here.model {
        let (saved, here) = (*model, here.model);
        return Err(ContractError::Model { saved, here });
    }
    let value = |registers: &[(SysReg, u64)], wanted| {
        let found = registers.iter().find(|(register, _)| *register == wanted);
        Value(found.map(|(_, value)| *value))
    };
    for (register, _) in id_registers.iter().chain(&here.id_registers) {
        let register = *register;
        let (saved, here) = (
            value(id_registers, register),
            value(&here.id_registers, register),
        );
        if saved != here {
            return Err(ContractError::Processor {
                register,
                saved,
                here,
            });
        }
    }
    Ok(())
}

fn check_devices(saved: &[DeviceContract], here: &[DeviceContract]) -> Result<(), ContractError> {
    let name = |device: &DeviceContract| (device.kind.name(), device.at.base);
    if let Some(device) = saved.iter().find(|device| !here.contains(device)) {
        let (kind, at) = name(device);
        return Err(ContractError::NoDevice { kind, at });
    }
    if let Some(device) = here.iter().find(|device| !saved.contains(device)) {
        let (kind, at) = name(device);
        return Err(ContractError::NewDevice { kind, at });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAM: Span = Span {
        base: machine::RAM_BASE,
        size: 64 << 20,
    };
    const FEATURE: SysReg = SysReg::new(3, 0, 0, 6, 0);

    fn contract() -> MachineContract {
        let cpu = CpuContract {
            model: CpuModel::Host,
            id_registers: vec![(FEATURE, 5)],
        };
        let virtio = [VirtioKind::Block, VirtioKind::Entropy];
        let devices = devices(Transport::Pci, &virtio);
        MachineContract::of_machine(cpu, 2, RAM, 62_500_000, 36, devices)
    }

    fn refusal(change: impl FnOnce(&mut MachineContract)) -> String {
        let mut saved = contract();
        change(&mut saved);
        check(&saved, &contract()).unwrap_err().to_string()
    }

    #[test]
    fn there_is_a_bridge_where_something_is_behind_it() {
        let bridge =
            |transport, virtio: &[VirtioKind]| devices(transport, virtio).contains(&BRIDGE);
        assert!(bridge(Transport::Pci, &[VirtioKind::Entropy]));
        assert!(!bridge(Transport::Pci, &[]));
        assert!(!bridge(Transport::Mmio, &[VirtioKind::Entropy]));
    }

    #[test]
    fn the_same_machine_fits_and_more_address_bits_do_no_harm() {
        assert_eq!(check(&contract(), &contract()), Ok(()));
        let mut here = contract();
        here.address_bits += 4;
        assert_eq!(check(&contract(), &here), Ok(()));
    }

    #[test]
    fn every_difference_is_refused_by_name() {
        for (refused, name) in [
            (refusal(|c| c.format = 9), "format 9"),
            (
                refusal(|c| c.cpu.model = CpuModel::Portable),
                "CPU model is portable",
            ),
            (
                refusal(|c| c.cpu.id_registers[0].1 = 6),
                "S3_0_C0_C6_0 is 0x6, here it is 0x5",
            ),
            (
                refusal(|c| c.cpu.id_registers.clear()),
                "S3_0_C0_C6_0 is missing",
            ),
            (refusal(|c| c.counter_frequency += 1), "62500001 Hz"),
            (refusal(|c| c.address_bits = 40), "40 bits"),
            (
                refusal(|c| c.gic.spis = 960),
                "has 960 SPIs, here there are 224",
            ),
            (refusal(|c| c.gic.msi_spis.1 = 64), "has other MSIs"),
            (refusal(|c| c.memory[0].size *= 2), "0x8000000 bytes"),
            (refusal(|c| c.memory.clear()), "memory is none"),
            (
                refusal(|c| c.devices[1].intid = Intid(99)),
                "real-time clock",
            ),
            (
                refusal(|c| c.devices.retain(|d| d.kind != DeviceKind::Gpio)),
                "GPIO",
            ),
            (
                refusal(|c| c.devices.truncate(5)),
                "virtio entropy source at",
            ),
            (
                refusal(|c| c.devices[4].kind = DeviceKind::Virtio(VirtioKind::Vsock)),
                "its virtio socket device at",
            ),
            (refusal(|c| c.vcpus = 3), "3 CPUs, here there are 2"),
        ] {
            assert!(refused.contains(name), "{refused}: no {name}");
        }
    }
}
