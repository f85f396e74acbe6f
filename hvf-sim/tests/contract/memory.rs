//! Guest memory: what can be mapped, and what protection does to a guest.

use std::ptr;

use hv_backend::hvf::abi::{PAGE_SIZE, reason, status};
use hvf_sim::{Fault, Profile, Violation};

use crate::support::{Mac, RAM, Ram};

const READ_EXEC: u64 = 5;

#[test]
fn ranges_are_whole_pages_of_16_kib() {
    let mac = Mac::with_vm(Profile::M1_13);
    let ram = Ram::new(4 * PAGE_SIZE);
    for (ipa, size) in [(RAM + 0x1000, PAGE_SIZE), (RAM, 0x1000), (RAM, 0)] {
        assert_eq!(mac.map(&ram, ipa, size, 7), status::BAD_ARGUMENT);
        assert_eq!(mac.unmap(ipa, size), status::BAD_ARGUMENT);
        assert_eq!(mac.protect(ipa, size, 7), status::BAD_ARGUMENT);
        let found = mac.violations();
        assert!(matches!(found[..], [Violation::Misaligned { .. }, _, _]));
    }
    let odd = ram.base().as_ptr().wrapping_add(0x1000).cast();
    assert_eq!(mac.map_at(odd, RAM, PAGE_SIZE, 7), status::BAD_ARGUMENT);
    assert!(matches!(
        mac.violations()[..],
        [Violation::Misaligned { .. }]
    ));
    assert_eq!(
        mac.map_at(ptr::null_mut(), RAM, PAGE_SIZE, 7),
        status::BAD_ARGUMENT
    );
    assert!(matches!(
        mac.violations()[..],
        [Violation::NullPointer { .. }]
    ));
    assert_eq!(mac.map(&ram, RAM, PAGE_SIZE, 8), status::BAD_ARGUMENT);
    let call = "hv_vm_map";
    let flags = Violation::UnknownFlags { call, flags: 8 };
    assert_eq!(mac.violations(), [flags]);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn memory_needs_a_vm() {
    let mac = Mac::new(Profile::M1_13);
    let ram = Ram::new(PAGE_SIZE);
    assert_eq!(mac.map(&ram, RAM, PAGE_SIZE, 7), status::NO_DEVICE);
    assert_eq!(mac.unmap(RAM, PAGE_SIZE), status::NO_DEVICE);
    assert_eq!(mac.protect(RAM, PAGE_SIZE, 7), status::NO_DEVICE);
    assert_eq!(mac.violations().len(), 3);
}

#[test]
fn overlaps_are_refused_and_parts_come_and_go() {
    let mac = Mac::with_vm(Profile::M1_13);
    let ram = Ram::new(8 * PAGE_SIZE);
    assert_eq!(mac.map(&ram, RAM, 4 * PAGE_SIZE, 0), status::SUCCESS);
    let again = mac.map(&ram, RAM + 3 * PAGE_SIZE, 2 * PAGE_SIZE, 7);
    assert_eq!(again, status::ERROR);
    assert!(matches!(mac.violations()[..], [Violation::Overlap { .. }]));
    let middle = RAM + PAGE_SIZE;
    assert_eq!(mac.unmap(middle, 2 * PAGE_SIZE), status::SUCCESS);
    for (ipa, size) in [(middle, PAGE_SIZE), (RAM, 4 * PAGE_SIZE)] {
        assert_eq!(mac.unmap(ipa, size), status::ERROR);
        assert_eq!(mac.protect(ipa, size, 7), status::ERROR);
        let found = mac.violations();
        assert!(matches!(found[..], [Violation::NotMapped { .. }, _]));
    }
    assert_eq!(mac.map(&ram, middle, 2 * PAGE_SIZE, 7), status::SUCCESS);
    assert_eq!(mac.protect(RAM, 4 * PAGE_SIZE, 1), status::SUCCESS);
    assert_eq!(mac.unmap(RAM, 4 * PAGE_SIZE), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn host_memory_must_be_there_and_stay() {
    let mac = Mac::with_vm(Profile::M1_13);
    let ram = Ram::new(4 * PAGE_SIZE);
    let huge = mac.map(&ram, RAM, 1 << 35, 7);
    assert_eq!(huge, status::ERROR, "more than the host has there");
    let nothing = ptr::without_provenance_mut(0x10_0000);
    assert_eq!(mac.map_at(nothing, RAM, PAGE_SIZE, 7), status::ERROR);
    assert_eq!(mac.map(&ram, RAM, 4 * PAGE_SIZE, 7), status::SUCCESS);
    drop(ram);
    assert_eq!(mac.unmap(RAM, 4 * PAGE_SIZE), status::SUCCESS);
    let (ipa, size) = (RAM, 4 * PAGE_SIZE);
    let gone = Violation::HostMemoryGone { ipa, size };
    assert_eq!(mac.violations(), [gone]);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn memory_is_given_back_only_when_the_guest_has_it_no_more() {
    // str w1, [x0]; hvc #0
    const CODE: [u32; 2] = [0xb900_0001, 0xd400_0002];
    for taken_first in [true, false] {
        Mac::run_guest(Profile::M1_13, &CODE, |mac, vcpu, ram| {
            let page = RAM + 2 * PAGE_SIZE;
            vcpu.set(0, page + PAGE_SIZE / 2);
            assert_eq!(vcpu.syndrome() >> 26, 0x16);
            if taken_first {
                assert_eq!(mac.unmap(page, PAGE_SIZE), status::SUCCESS);
                ram.discard(2 * PAGE_SIZE, PAGE_SIZE);
            } else {
                ram.discard(2 * PAGE_SIZE, PAGE_SIZE);
                assert_eq!(mac.unmap(page, PAGE_SIZE), status::SUCCESS);
                let (ipa, pages) = (page + PAGE_SIZE / 2, 1);
                assert_eq!(mac.violations(), [Violation::GivenBack { ipa, pages }]);
            }
            let back = ram.base().as_ptr().wrapping_add(2 * PAGE_SIZE as usize);
            let mapped = mac.map_at(back.cast(), page, PAGE_SIZE, 7);
            assert_eq!(mapped, status::SUCCESS);
        });
    }
}

#[test]
fn the_nth_map_fails_when_asked_to() {
    let mac = Mac::with_vm(Profile::M1_13);
    let ram = Ram::new(4 * PAGE_SIZE);
    hvf_sim::inject(Fault::FailMap(2));
    assert_eq!(mac.map(&ram, RAM, PAGE_SIZE, 7), status::SUCCESS);
    let second = RAM + PAGE_SIZE;
    assert_eq!(mac.map(&ram, second, PAGE_SIZE, 7), status::NO_RESOURCES);
    assert_eq!(mac.map(&ram, second, PAGE_SIZE, 7), status::SUCCESS);
    assert_eq!(mac.unmap(RAM, 2 * PAGE_SIZE), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn a_store_to_protected_memory_leaves_until_it_is_allowed() {
    // str w1, [x0]; hvc #0
    Mac::run_guest(
        Profile::M1_13,
        &[0xb900_0001, 0xd400_0002],
        |mac, vcpu, ram| {
            let page = RAM + 2 * PAGE_SIZE;
            vcpu.set(0, page + 0x123c);
            vcpu.set(1, 7);
            assert_eq!(mac.protect(page, PAGE_SIZE, READ_EXEC), status::SUCCESS);
            let exit = vcpu.run();
            assert_eq!(exit.reason, reason::EXCEPTION);
            assert_eq!(exit.syndrome >> 26, 0x24);
            assert_eq!(exit.syndrome & 0x3f, 0x0f, "a permission fault");
            assert_eq!(exit.physical_address, page + 0x123c);
            assert_eq!(vcpu.pc(), RAM);
            assert_eq!(mac.protect(page, PAGE_SIZE, 7), status::SUCCESS);
            assert_eq!(vcpu.syndrome() >> 26, 0x16);
            assert_eq!(ram.word(2 * PAGE_SIZE + 0x123c), 7);
        },
    );
}

#[test]
fn protection_reaches_a_vcpu_that_runs() {
    // str w1, [x0]; b .-4
    Mac::run_guest(
        Profile::M1_13,
        &[0xb900_0001, 0x17ff_ffff],
        |mac, vcpu, _| {
            let page = RAM + 2 * PAGE_SIZE;
            vcpu.set(0, page);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_millis(30));
                    assert_eq!(mac.protect(page, PAGE_SIZE, READ_EXEC), status::SUCCESS);
                });
                let exit = vcpu.run();
                assert_eq!(exit.syndrome & 0x3f, 0x0f);
            });
        },
    );
}

#[test]
fn memory_can_be_swapped_in_place() {
    // ldr w1, [x0]; hvc #0
    Mac::run_guest(
        Profile::M1_13,
        &[0xb940_0001, 0xd400_0002],
        |mac, vcpu, ram| {
            let page = RAM + 2 * PAGE_SIZE;
            vcpu.set(0, page);
            ram.write(2 * PAGE_SIZE, &[11]);
            assert_eq!(vcpu.syndrome() >> 26, 0x16);
            assert_eq!(vcpu.get(1), 11);
            assert_eq!(mac.unmap(page, PAGE_SIZE), status::SUCCESS);
            vcpu.set(31, RAM);
            let exit = vcpu.run();
            assert_eq!(exit.syndrome & 0x3f, 0x07, "a translation fault");
            let other = Ram::new(PAGE_SIZE);
            other.write(0, &[22]);
            assert_eq!(mac.map(&other, page, PAGE_SIZE, 7), status::SUCCESS);
            assert_eq!(vcpu.syndrome() >> 26, 0x16);
            assert_eq!(vcpu.get(1), 22);
            assert_eq!(mac.unmap(page, PAGE_SIZE), status::SUCCESS);
            let back = ram.base().as_ptr().wrapping_add(2 * PAGE_SIZE as usize);
            let mapped = mac.map_at(back.cast(), page, PAGE_SIZE, 7);
            assert_eq!(mapped, status::SUCCESS);
        },
    );
}
