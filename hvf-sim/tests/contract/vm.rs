//! The VM, its configuration, and the host.

use std::ptr;

use hv_backend::hvf::abi::status;
use hvf_sim::{Profile, Violation};

use crate::support::{
    Mac, RAM, Ram, VmConfig, ask, ask_nowhere, caches, clocks, feature, release, timebase,
};

#[test]
fn hosts_that_allow_no_vm_say_why() {
    for (profile, expected) in [
        (Profile::NO_ENTITLEMENT, status::DENIED),
        (Profile::NO_HYPERVISOR, status::UNSUPPORTED),
        (Profile::INTEL, status::UNSUPPORTED),
    ] {
        let mac = Mac::new(profile);
        assert_eq!(mac.create_vm(ptr::null_mut()), expected, "{profile:?}");
    }
}

#[test]
fn a_process_has_one_vm_after_the_other() {
    let mac = Mac::with_vm(Profile::M1_13);
    assert_eq!(mac.create_vm(ptr::null_mut()), status::BUSY);
    for _ in 0..100 {
        assert_eq!(mac.destroy_vm(), status::SUCCESS);
        assert_eq!(mac.create_vm(ptr::null_mut()), status::SUCCESS);
    }
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::NO_DEVICE);
    let call = "hv_vm_destroy";
    assert_eq!(mac.violations(), [Violation::NoVm { call }]);
}

#[test]
fn a_vm_with_vcpus_cannot_be_destroyed() {
    let mac = Mac::with_vm(Profile::M1_13);
    let vcpu = mac.create_vcpu().unwrap();
    assert_eq!(mac.destroy_vm(), status::BUSY);
    assert_eq!(mac.violations(), [Violation::VcpusLeft { count: 1 }]);
    assert_eq!(vcpu.destroy(), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn a_vm_destroyed_with_memory_is_told_on() {
    let mac = Mac::with_vm(Profile::M1_13);
    let ram = Ram::new(0x8000);
    assert_eq!(mac.map(&ram, RAM, 0x8000, 7), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
    assert_eq!(mac.violations(), [Violation::MappingsLeft { count: 1 }]);
}

#[test]
fn a_vm_left_behind_is_told_on() {
    let mac = Mac::with_vm(Profile::M1_13);
    hvf_sim::check_leaks();
    assert_eq!(mac.violations(), [Violation::VmLeft]);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn address_sizes_end_at_the_chips() {
    for (profile, most) in [(Profile::M1_13, 36), (Profile::M4_26, 40)] {
        let mac = Mac::new(profile);
        assert_eq!(ask(mac.table.hv_vm_config_get_max_ipa_size), Ok(most));
        assert_eq!(ask(mac.table.hv_vm_config_get_default_ipa_size), Ok(36));
        let config = VmConfig::new(&mac);
        assert_eq!(config.bits(), Ok(36));
        assert_eq!(config.set_bits(most + 1), status::UNSUPPORTED);
        assert_eq!(config.set_bits(0), status::SUCCESS);
        assert_eq!(config.bits(), Ok(0));
        assert_eq!(config.set_bits(most), status::SUCCESS);
        assert_eq!(mac.create_vm(config.1), status::SUCCESS);
        let ram = Ram::new(0x4000);
        let last = (1 << most) - 0x4000;
        assert_eq!(mac.map(&ram, last, 0x4000, 7), status::SUCCESS);
        assert_eq!(mac.unmap(last, 0x4000), status::SUCCESS);
        let beyond = mac.map(&ram, 1 << most, 0x4000, 7);
        assert_eq!(beyond, status::BAD_ARGUMENT);
        assert_eq!(mac.destroy_vm(), status::SUCCESS);
    }
}

#[test]
fn objects_are_released_once() {
    let mac = Mac::new(Profile::M1_13);
    let config = VmConfig::new(&mac);
    let object = config.1;
    drop(config);
    assert_eq!(mac.create_vm(object), status::BAD_ARGUMENT);
    release(&mac, object);
    assert_eq!(mac.violations(), [Violation::BadRelease]);
    std::mem::forget(VmConfig::new(&mac));
    hvf_sim::check_leaks();
    let created_by = "hv_vm_config_create";
    assert_eq!(mac.violations(), [Violation::ObjectLeaked { created_by }]);
}

#[test]
fn null_is_no_place_for_a_result() {
    let mac = Mac::new(Profile::M1_13);
    let nowhere = ask_nowhere(mac.table.hv_vm_get_max_vcpu_count);
    assert_eq!(nowhere, status::BAD_ARGUMENT);
    let call = "hv_vm_get_max_vcpu_count";
    assert_eq!(mac.violations(), [Violation::NullPointer { call }]);
    assert_eq!(ask(mac.table.hv_vm_get_max_vcpu_count), Ok(64));
}

#[test]
fn functions_come_with_their_macos() {
    for (profile, el2, sme, granule) in [
        (Profile::M1_13, None, None, None),
        (Profile::M2_15, Some(Ok(false)), None, None),
        (
            Profile::M2_15_2,
            Some(Ok(false)),
            Some(Err(status::UNSUPPORTED)),
            None,
        ),
        (Profile::M4_26, Some(Ok(true)), Some(Ok(64)), Some(Ok(1))),
    ] {
        let table = Mac::new(profile).table;
        assert_eq!(table.hv_vm_config_get_el2_supported.map(ask), el2);
        assert_eq!(table.hv_sme_config_get_max_svl_bytes.map(ask), sme);
        assert_eq!(table.hv_vm_config_get_default_ipa_granule.map(ask), granule);
    }
}

#[test]
fn feature_registers_and_caches_are_the_profiles() {
    let mac = Mac::new(Profile::M1_13);
    assert_eq!(feature(&mac, 4), Ok(0x0000_1000_0f10_0022));
    assert_eq!(feature(&mac, 12), Err(status::BAD_ARGUMENT));
    let data = caches(&mac, 0).unwrap();
    assert_eq!(data[8], 77, "eight values and no more");
    assert!(data[..8].iter().all(|value| *value != 77));
    assert!(caches(&mac, 1).is_ok());
    assert_eq!(caches(&mac, 2), Err(status::BAD_ARGUMENT));
    let newer = feature(&Mac::new_after(mac, Profile::M4_26), 12);
    assert!(newer.is_ok());
}

#[test]
fn the_host_says_what_it_is() {
    let yes = Some(1_i32.to_ne_bytes().to_vec());
    let mac = Mac::new(Profile::M1_13);
    assert_eq!(mac.sysctl("kern.hv_support"), yes);
    assert_eq!(mac.sysctl("hw.optional.arm64"), yes);
    assert_eq!(mac.sysctl("kern.osproductversion").unwrap(), b"13.6\0");
    assert_eq!(mac.sysctl("kern.nothing"), None);
    let mac = Mac::new_after(mac, Profile::NO_HYPERVISOR);
    assert_ne!(mac.sysctl("kern.hv_support"), yes);
    let mac = Mac::new_after(mac, Profile::INTEL);
    assert_eq!(mac.sysctl("hw.optional.arm64"), None);
}

#[test]
fn clocks_tick_at_24_mhz_and_one_stops_with_the_host() {
    let mac = Mac::new(Profile::M1_13);
    assert_eq!(timebase(&mac), (125, 3));
    let before = clocks(&mac);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let after = clocks(&mac);
    assert!(after.0 - before.0 >= 20 * 24_000);
    hvf_sim::sleep_host(std::time::Duration::from_secs(60));
    let awake = clocks(&mac);
    assert!(awake.0 - after.0 < 30 * 24_000_000);
    assert!(awake.1 - after.1 >= 60 * 24_000_000);
}
