//! The contract, on small programs.

use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::state::{CoreRegs, CounterState};
use aarch64::{Gpa, PAGE_SIZE, Saved, Size, SysReg, VcpuId};
use memory::{Prot, Region};

use super::Soft;
use crate::api::{
    Conduit, Exit, HostError, Hypervisor, IrqLine, Resume, TimeSource, Vcpu, Vm, VmConfig,
};

const RAM: Gpa = Gpa(0x4000_0000);
const DEVICE: u64 = 0x0900_0000;

fn vm(vcpus: u16) -> Box<dyn Vm> {
    let config = VmConfig {
        vcpus,
        address_bits: 40,
        time: TimeSource::Host,
        counter_frequency: None,
        cpu: CpuModel::Portable,
    };
    Soft::default().create_vm(&config).unwrap()
}

/// A VM with one page of RAM that holds `code`, and its vCPU at the first instruction, with X1
/// pointing to a device.
fn guest(code: &[u32]) -> (Box<dyn Vm>, Box<dyn Vcpu>) {
    let vm = vm(1);
    let region = Arc::new(Region::new(PAGE_SIZE).unwrap());
    for (i, word) in code.iter().enumerate() {
        region.write(4 * i as u64, &word.to_le_bytes()).unwrap();
    }
    vm.map(RAM, region, Prot::ReadWrite).unwrap();
    let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
    let mut core = CoreRegs {
        pc: RAM.0,
        ..CoreRegs::default()
    };
    core.x[1] = DEVICE;
    vcpu.set_core(&core).unwrap();
    // Mapping memory kicks the vCPUs, so that those that run take notice.
    assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    (vm, vcpu)
}

fn pc(vcpu: &dyn Vcpu) -> u64 {
    vcpu.core().unwrap().pc - RAM.0
}

#[test]
fn device_loads_take_their_answer_and_extend_it() {
    // ldrsb w0, [x1, #3]; str x0, [x1]
    let (_vm, mut vcpu) = guest(&[0x39c0_0c20, 0xf900_0020]);
    let exit = vcpu.run(Resume::Done).unwrap();
    assert_eq!(
        exit,
        Exit::MmioRead {
            gpa: Gpa(DEVICE + 3),
            size: Size::B
        }
    );
    assert_eq!(pc(&*vcpu), 0, "the PC stays at the instruction");
    let exit = vcpu.run(Resume::Data(0x1f0)).unwrap();
    let data = 0xffff_fff0;
    assert_eq!(
        exit,
        Exit::MmioWrite {
            gpa: Gpa(DEVICE),
            size: Size::D,
            data
        }
    );
    vcpu.settle(Resume::Done).unwrap();
    assert_eq!(pc(&*vcpu), 8);
}

#[test]
fn a_pair_of_device_loads_asks_twice() {
    // ldp w2, w3, [x1]; hvc #7
    let (_vm, mut vcpu) = guest(&[0x2940_0c22, 0xd400_00e2]);
    let first = vcpu.run(Resume::Done).unwrap();
    assert_eq!(
        first,
        Exit::MmioRead {
            gpa: Gpa(DEVICE),
            size: Size::W
        }
    );
    let second = vcpu.run(Resume::Data(11)).unwrap();
    assert_eq!(
        second,
        Exit::MmioRead {
            gpa: Gpa(DEVICE + 4),
            size: Size::W
        }
    );
    let call = vcpu.run(Resume::Data(22)).unwrap();
    assert_eq!(
        call,
        Exit::Call {
            conduit: Conduit::Hvc,
            imm: 7
        }
    );
    assert_eq!(vcpu.core().unwrap().x[2..4], [11, 22]);
    vcpu.settle(Resume::Call([1, 2, 3, 4])).unwrap();
    assert_eq!(vcpu.core().unwrap().x[..4], [1, 2, 3, 4]);
    assert_eq!(pc(&*vcpu), 8);
}

#[test]
fn a_pair_of_device_loads_settles_access_by_access() {
    // ldp w2, w3, [x1]
    let (_vm, mut vcpu) = guest(&[0x2940_0c22]);
    vcpu.run(Resume::Done).unwrap();
    let second = vcpu.settle(Resume::Data(11)).unwrap();
    let (gpa, size) = (Gpa(DEVICE + 4), Size::W);
    assert_eq!(second, Some(Exit::MmioRead { gpa, size }));
    assert_eq!(pc(&*vcpu), 0);
    assert_eq!(vcpu.settle(Resume::Data(22)).unwrap(), None);
    assert_eq!(pc(&*vcpu), 4);
    assert_eq!(vcpu.core().unwrap().x[2..4], [11, 22]);
}

#[test]
fn refused_accesses_are_the_guests_to_handle() {
    // ldr x0, [x1]
    let (_vm, mut vcpu) = guest(&[0xf940_0020]);
    vcpu.set_sysreg(Saved::VbarEl1.sysreg(), RAM.0 + 0x800)
        .unwrap();
    vcpu.run(Resume::Done).unwrap();
    vcpu.settle(Resume::ExternalAbort).unwrap();
    assert_eq!(pc(&*vcpu), 0xa00);
    // Data abort from the same level, synchronous external abort, 32-bit instruction.
    assert_eq!(vcpu.sysreg(Saved::EsrEl1.sysreg()).unwrap(), 0x9600_0010);
    assert_eq!(vcpu.sysreg(Saved::FarEl1.sysreg()).unwrap(), DEVICE);
    assert_eq!(vcpu.sysreg(Saved::ElrEl1.sysreg()).unwrap(), RAM.0);
}

#[test]
fn registers_of_the_gic_are_the_vmms() {
    // mrs x0, ICC_IAR1_EL1; msr ICC_EOIR1_EL1, x0
    let (_vm, mut vcpu) = guest(&[0xd538_cc00, 0xd518_cc20]);
    let read = vcpu.run(Resume::Done).unwrap();
    assert_eq!(
        read,
        Exit::SysRegRead {
            reg: SysReg::new(3, 0, 12, 12, 0)
        }
    );
    let write = vcpu.run(Resume::Data(27)).unwrap();
    assert_eq!(
        write,
        Exit::SysRegWrite {
            reg: SysReg::new(3, 0, 12, 12, 1),
            data: 27
        }
    );
}

#[test]
fn kicks_are_sticky_and_one() {
    // b .
    let (vm, mut vcpu) = guest(&[0x1400_0000]);
    vm.kick(VcpuId(0));
    vm.kick(VcpuId(0));
    assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            vm.kick(VcpuId(0));
        });
        assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    });
    vm.kick(VcpuId(9));
}

#[test]
fn waiting_ends_with_an_interrupt() {
    // wfi; wfi; b .
    let (vm, mut vcpu) = guest(&[0xd503_207f, 0xd503_207f, 0x1400_0000]);
    assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Wfi);
    assert_eq!(pc(&*vcpu), 0);
    vcpu.set_irq(IrqLine::Irq, true).unwrap();
    vm.kick(VcpuId(0));
    // Interrupts are masked at reset: a pending one ends the second WFI and is not taken.
    assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    vm.kick(VcpuId(0));
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            vm.kick(VcpuId(0));
        });
        while pc(&*vcpu) != 8 {
            assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
        }
    });
}

#[test]
fn memory_that_is_gone_is_a_device() {
    // hvc #0; ldr x2, [x3]
    let (vm, mut vcpu) = guest(&[0xd400_0002, 0xf940_0062]);
    let data = Gpa(0x8000_0000);
    vm.map(
        data,
        Arc::new(Region::new(PAGE_SIZE).unwrap()),
        Prot::ReadOnly,
    )
    .unwrap();
    assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    vcpu.run(Resume::Done).unwrap();
    let region = vm.unmap(data).unwrap();
    assert_eq!(region.size(), PAGE_SIZE);
    assert!(matches!(vm.unmap(data), Err(HostError::Map { .. })));
    vcpu.settle(Resume::Call([0; 4])).unwrap();
    let mut core = vcpu.core().unwrap();
    core.x[3] = data.0;
    vcpu.set_core(&core).unwrap();
    let exit = vcpu.run(Resume::Call([0; 4])).unwrap_or(Exit::Kicked);
    let exit = if exit == Exit::Kicked {
        vcpu.run(Resume::Done).unwrap()
    } else {
        exit
    };
    assert_eq!(
        exit,
        Exit::MmioRead {
            gpa: data,
            size: Size::D
        }
    );
}

#[test]
fn vcpus_are_bound_once_and_limits_hold() {
    let two = vm(2);
    let _vcpu = two.bind_vcpu(VcpuId(1)).unwrap();
    assert!(matches!(two.bind_vcpu(VcpuId(1)), Err(HostError::Limit(_))));
    assert!(matches!(two.bind_vcpu(VcpuId(2)), Err(HostError::Limit(_))));
    for (vcpus, address_bits) in [(0, 36), (124, 36), (1, 41)] {
        let config = VmConfig {
            vcpus,
            address_bits,
            time: TimeSource::Host,
            counter_frequency: None,
            cpu: CpuModel::Portable,
        };
        assert!(matches!(
            Soft::default().create_vm(&config),
            Err(HostError::Limit(_))
        ));
    }
    let misplaced = two.map(
        Gpa(0x123),
        Arc::new(Region::new(PAGE_SIZE).unwrap()),
        Prot::ReadOnly,
    );
    assert!(matches!(misplaced, Err(HostError::Map { .. })));
}

#[test]
fn the_counter_moves_and_keeps_its_frequency() {
    let vm = vm(1);
    let CounterState { frequency, .. } = vm.counter();
    vm.set_counter(&CounterState {
        value: 1 << 50,
        frequency,
    })
    .unwrap();
    assert!(vm.counter().value >= 1 << 50);
    let other = CounterState {
        value: 0,
        frequency: frequency + 1,
    };
    assert!(matches!(
        vm.set_counter(&other),
        Err(HostError::BadState(_))
    ));
}

#[test]
fn a_guest_gets_the_counter_of_the_host_it_comes_from() {
    let config = |counter_frequency| VmConfig {
        vcpus: 1,
        address_bits: 40,
        time: TimeSource::Host,
        counter_frequency,
        cpu: CpuModel::Portable,
    };
    let vm = Soft::default()
        .create_vm(&config(Some(24_000_000)))
        .unwrap();
    let state = CounterState {
        value: 1 << 50,
        frequency: 24_000_000,
    };
    vm.set_counter(&state).unwrap();
    let now = vm.counter();
    assert_eq!(now.frequency, 24_000_000);
    assert!((1 << 50..(1 << 50) + 60 * 24_000_000).contains(&now.value));
    let frequency = crate::soft::clock::FREQUENCY;
    assert!(
        vm.set_counter(&CounterState { frequency, ..state })
            .is_err()
    );
    assert!(Soft::default().create_vm(&config(Some(0))).is_err());
}
