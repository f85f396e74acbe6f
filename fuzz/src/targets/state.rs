//! Saved machines from an untrusted file: whatever they hold, they are refused in a line, or run.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aarch64::cpu_model::CpuModel;
use aarch64::machine::{RAM_BASE, Span};
use aarch64::state::{CounterState, VcpuState};
use aarch64::{Gpa, Saved as SavedReg};
use devices::gic::Gic;
use devices::irq::IrqLine;
use devices::pl011::Pl011;
use devices::pl031::Pl031State;
use devices::pl061::Pl061State;
use devices::serial::NullSink;
use devices::virtio::DeviceKind as VirtioKind;
use hv_backend::api::Hypervisor;
use hv_backend::soft::Soft;
use memory::Region;
use vmm::config::{MachineConfig, RawConfig, Transport};
use vmm::machine::{Machine, StartError};
use vmm::outcome::Outcome;
use vmm::power::{Entry, Power};
use vmm::state::contract::{self, CpuContract};
use vmm::state::{MachineContract, MachineState, Ram, Saved, SavedVcpu, SlotState};

use super::boot::TempFile;
use super::{gic, pci, peripherals, virtio_pci};
use crate::bytes::Bytes;

const RAM: Span = Span {
    base: RAM_BASE,
    size: 16 << 20,
};
const CPUS: u16 = 2;
/// What a guest of a possible state may run for.
const LIMIT: Duration = Duration::from_millis(2);

/// A damaged state never brings the host down, and a refusal is one line.
pub fn machine_state(data: &[u8]) {
    let outcome = run(data);
    let legal = match &outcome {
        Ok(Outcome::PoweredOff | Outcome::ResetRefused | Outcome::Left) => true,
        Ok(Outcome::GuestFailed { reason, .. }) => !reason.is_empty() && !reason.contains('\n'),
        Ok(Outcome::NotRestored(line)) | Err(StartError::Input(line)) => {
            !line.is_empty() && !line.contains('\n')
        }
        Ok(Outcome::Signal(_) | Outcome::Cut | Outcome::StopTimedOut(_)) => false,
        Ok(Outcome::HostFailed(_)) | Err(StartError::Host(_)) => false,
    };
    assert!(legal, "{outcome:?}");
}

fn run(data: &[u8]) -> Result<Outcome, StartError> {
    let mut bytes = Bytes::new(data);
    // `b .`: only a reset would start it.
    let kernel = TempFile::new(&[0, 0, 0, 0x14]);
    let raw = RawConfig {
        kernel: Some(kernel.path().to_owned()),
        cpus: Some(CPUS.to_string()),
        memory: Some("16M".to_owned()),
        accel: Some("soft".to_owned()),
        serial: Some("none".to_owned()),
        // The devices of `good`.
        balloon: Some("off".to_owned()),
        no_reboot: Some(true),
        ..RawConfig::default()
    };
    let config = MachineConfig::try_from(raw).expect("a possible machine");
    let soft = Soft::default();
    let mut state = good(soft.caps().counter_frequency);
    for _ in 0..bytes.below(6) {
        damage(&mut state, &mut bytes);
    }
    let size = if bytes.below(16) == 0 { 4096 } else { RAM.size };
    let region = Arc::new(Region::new(size).map_err(|e| StartError::Input(e.to_string()))?);
    let code = bytes.rest();
    // Code longer than the region is left out.
    let _ = region.write(0, code);
    let gpa = RAM.base;
    let ram = vec![Ram { gpa, region }];
    let machine = Machine::restore(&soft, config, Saved { state, ram })?;
    let control = machine.control();
    let stopper = thread::spawn(move || {
        thread::sleep(LIMIT);
        control.end(Outcome::Left);
    });
    let outcome = machine.run();
    let _ = stopper.join();
    outcome
}

/// A machine that has just begun: CPU 0 on, CPU 1 off.
fn good(frequency: u64) -> MachineState {
    let cpu = CpuContract {
        model: CpuModel::Portable,
        id_registers: Vec::new(),
    };
    let vcpu = |pc, power| {
        let mut registers = VcpuState::default();
        registers.core.pc = pc;
        SavedVcpu { registers, power }
    };
    let devices = contract::devices(Transport::Pci, &[VirtioKind::Entropy]);
    let (bridge, function) = virtio_pci::fresh_states();
    MachineState {
        contract: MachineContract::of_machine(cpu, CPUS, RAM, frequency, 31, devices),
        counter: CounterState {
            value: 0,
            frequency,
        },
        vcpus: vec![vcpu(RAM.base.0, Power::On), vcpu(0, Power::Off)],
        gic: Gic::new(CPUS).save(),
        uart: Pl011::new(IrqLine::unconnected(), Box::new(NullSink)).save(),
        rtc: Pl031State {
            offset: 0,
            load: 0,
            matches: 0,
            irq_mask: false,
            irq_raw: false,
            compared: 0,
        },
        gpio: Pl061State::default(),
        pci: Some(bridge),
        virtio: vec![SlotState::Pci(function)],
    }
}

fn damage(state: &mut MachineState, bytes: &mut Bytes<'_>) {
    let MachineState {
        contract,
        counter,
        vcpus,
        gic,
        uart,
        rtc,
        gpio,
        pci,
        virtio,
    } = state;
    match bytes.below(18) {
        0 => damage_contract(contract, bytes),
        1 => counter.value = bytes.value(),
        2 => counter.frequency ^= bytes.value(),
        3 => drop(vcpus.pop()),
        4 => gic::damage(gic, bytes),
        5 => *uart = peripherals::uart_state(uart.clone(), bytes),
        6 => rtc.offset ^= bytes.u32(),
        7 => gpio.input ^= bytes.u8(),
        8 => match pci {
            Some(state) if bytes.below(4) != 0 => pci::damage(state, bytes),
            Some(_) | None => *pci = None,
        },
        9 => drop(virtio.pop()),
        10..=12 => virtio.iter_mut().for_each(|slot| damage_slot(slot, bytes)),
        _ => {
            let index = bytes.below(vcpus.len() as u64 + 1) as usize;
            if let Some(vcpu) = vcpus.get_mut(index) {
                damage_vcpu(vcpu, bytes);
            }
        }
    }
}

fn damage_slot(slot: &mut SlotState, bytes: &mut Bytes<'_>) {
    match slot {
        SlotState::Pci(function) => virtio_pci::damage(function, bytes),
        SlotState::Mmio(_) => {}
    }
}

fn damage_contract(contract: &mut MachineContract, bytes: &mut Bytes<'_>) {
    let MachineContract {
        format,
        cpu,
        counter_frequency,
        address_bits,
        gic,
        memory,
        devices,
        vcpus,
    } = contract;
    match bytes.below(8) {
        0 => *format = bytes.u32(),
        1 => cpu
            .id_registers
            .push((SavedReg::SctlrEl1.sysreg(), bytes.value())),
        2 => *counter_frequency ^= bytes.value(),
        3 => *address_bits = bytes.u8(),
        4 => gic.spis = bytes.u16(),
        5 => memory.push(Span {
            base: Gpa(bytes.value()),
            size: bytes.value(),
        }),
        6 => drop(devices.pop()),
        _ => *vcpus = bytes.u16(),
    }
}

fn damage_vcpu(vcpu: &mut SavedVcpu, bytes: &mut Bytes<'_>) {
    let SavedVcpu { registers, power } = vcpu;
    let VcpuState { core, simd, sys } = registers;
    match bytes.below(8) {
        0 => core.x[bytes.below(31) as usize] = bytes.value(),
        1 => core.pc = bytes.value(),
        2 => core.pstate ^= bytes.value(),
        3 => simd.v[bytes.below(32) as usize] = u128::from(bytes.value()),
        4 => simd.fpcr ^= bytes.u32(),
        5 => {
            let (pc, x0) = (bytes.value(), bytes.value());
            *power = bytes.pick(&[Power::On, Power::Off, Power::Pending(Entry { pc, x0 })]);
        }
        _ => {
            let reg = bytes.pick(SavedReg::ALL);
            sys[reg] ^= bytes.value();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_undamaged_state_runs() {
        // `b .`, after no damage to the state and memory of the right size.
        let guest = [0, 1, 0, 0, 0, 0x14];
        assert_eq!(run(&guest), Ok(Outcome::Left));
    }
}
