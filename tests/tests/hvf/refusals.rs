//! What stands in the way of a guest, in words.

use aarch64::VcpuId;
use hv_backend::api::{TimeSource, VmConfig};
use hvf_sim::Profile;

use crate::mac::{CONFIG, mac};

#[test]
fn a_mac_that_runs_no_vms_says_what_to_do() {
    for (profile, said) in [
        (Profile::NO_ENTITLEMENT, "codesign"),
        (Profile::NO_HYPERVISOR, "kern.hv_support"),
        (Profile::M4_26_WRONG_HZ, "please report"),
    ] {
        let mac = mac(profile);
        let line = mac.open().err().unwrap().to_string();
        assert!(
            line.contains(said) && line.contains("--accel soft"),
            "{line}"
        );
        assert!(!line.contains('\n'));
    }
}

#[test]
fn more_than_a_mac_has_is_refused() {
    let mac = mac(Profile::M1_13);
    let hypervisor = mac.open().unwrap();
    for (config, said) in [
        (VmConfig { vcpus: 0, ..CONFIG }, "1 to 64"),
        (
            VmConfig {
                vcpus: 65,
                ..CONFIG
            },
            "1 to 64",
        ),
        (
            VmConfig {
                address_bits: 40,
                ..CONFIG
            },
            "give it less memory",
        ),
        (
            VmConfig {
                time: TimeSource::Instructions,
                ..CONFIG
            },
            "counts no instructions",
        ),
    ] {
        let line = hypervisor.create_vm(&config).err().unwrap().to_string();
        assert!(line.contains(said), "{line}");
    }
}

#[test]
fn a_process_has_one_vm_at_a_time() {
    let mac = mac(Profile::M2_15);
    let hypervisor = mac.open().unwrap();
    let first = hypervisor.create_vm(&CONFIG).unwrap();
    let line = hypervisor.create_vm(&CONFIG).err().unwrap().to_string();
    assert!(line.contains("a VM already"), "{line}");
    let vcpu = first.bind_vcpu(VcpuId(0)).unwrap();
    drop(first);
    assert!(
        hypervisor.create_vm(&CONFIG).is_err(),
        "a vCPU keeps its VM"
    );
    drop(vcpu);
    assert!(hypervisor.create_vm(&CONFIG).is_ok());
}

#[test]
fn vcpus_are_bound_once_and_one_to_a_thread() {
    let mac = mac(Profile::M2_15);
    let vm = mac.vm(2);
    let first = vm.bind_vcpu(VcpuId(0)).unwrap();
    assert!(vm.bind_vcpu(VcpuId(0)).is_err());
    assert!(vm.bind_vcpu(VcpuId(2)).is_err());
    let second = vm.bind_vcpu(VcpuId(1)).err().unwrap().to_string();
    assert!(second.contains("this thread"), "{second}");
    drop(first);
}
