//! Guest memory.

use std::sync::Arc;

use aarch64::machine::RAM_BASE;
use aarch64::{Gpa, Size};
use armlet_tests::bare::asm::{Asm, X};
use hv_backend::api::{Exit, HostError, Resume, VmConfig};
use hvf_sim::{Fault, Profile, inject};
use memory::{Prot, Region};

use crate::mac::{CONFIG, mac};

fn region(bytes: u64) -> Arc<Region> {
    Arc::new(Region::new(bytes).unwrap())
}

#[test]
fn what_the_framework_would_not_map_is_refused_in_words() {
    let mac = mac(Profile::M1_13);
    let vm = mac.vm(1);
    for (gpa, bytes, said) in [
        (0x4000_1000, 0x4000, "16 KiB"),
        (0x4000_0000, 0x1000, "16 KiB"),
        (1 << 36, 0x4000, "36 address bits"),
    ] {
        let refused = vm
            .map(Gpa(gpa), region(bytes), Prot::ReadWrite)
            .unwrap_err();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    vm.map(RAM_BASE, region(0x8000), Prot::ReadWrite).unwrap();
    let overlap = vm.map(Gpa(RAM_BASE.0 + 0x4000), region(0x4000), Prot::ReadWrite);
    assert!(matches!(overlap, Err(HostError::Map { .. })));
}

#[test]
fn a_host_that_maps_no_more_is_an_error_and_leaves_nothing_behind() {
    let mac = mac(Profile::M1_13);
    let vm = mac.vm(1);
    inject(Fault::FailMap(1));
    let refused = vm.map(RAM_BASE, region(0x4000), Prot::ReadWrite);
    let HostError::Map { gpa, reason } = refused.unwrap_err() else {
        panic!("a mapping that cannot be made");
    };
    assert_eq!(gpa, RAM_BASE);
    assert!(reason.contains("hv_vm_map") && reason.contains("less memory"));
    vm.map(RAM_BASE, region(0x4000), Prot::ReadWrite).unwrap();
    assert_eq!(vm.unmap(RAM_BASE).unwrap().size(), 0x4000);
    assert!(vm.unmap(RAM_BASE).is_err());
}

#[test]
fn memory_that_is_read_only_reads_and_writes_leave() {
    let mac = mac(Profile::M2_15);
    let rom = Gpa(0x8000_0000);
    let mut guest = mac.guest(|asm| {
        asm.mov(X(2), rom.0).load(Size::D, X(3), X(2), 8);
        asm.store(Size::D, X(3), X(2), 16).hvc(0);
    });
    let memory = region(0x4000);
    memory.write(8, &0x1234_u64.to_le_bytes()).unwrap();
    guest.vm.map(rom, memory.clone(), Prot::ReadOnly).unwrap();
    let write = Exit::MmioWrite {
        gpa: Gpa(rom.0 + 16),
        size: Size::D,
        data: 0x1234,
    };
    assert_eq!(guest.go(), write);
    assert!(matches!(guest.go(), Exit::Call { .. }));
    assert_eq!(memory.load_u64(16), Some(0));
    guest.vm.unmap(rom).unwrap();
}

#[test]
fn memory_that_the_host_does_not_take_back_is_missed_and_tried_again() {
    let mac = mac(Profile::M4_26);
    let mut guest = mac.guest(|asm| {
        asm.mov(X(2), RAM_BASE.0 + 0x4000).mov(X(3), 7);
        asm.store(Size::D, X(3), X(2), 8).hvc(0);
        asm.load(Size::D, X(3), X(2), 8).hvc(0);
    });
    assert!(matches!(guest.go(), Exit::Call { .. }));
    let page = Gpa(RAM_BASE.0 + 0x4000);
    inject(Fault::FailMap(1));
    let HostError::Os { call, .. } = guest.vm.discard(page, 0x4000).unwrap_err() else {
        panic!("a call that failed");
    };
    assert_eq!(call, "hv_vm_map");
    inject(Fault::FailMap(1));
    let missed = guest.vcpu.run(Resume::Call([0, 0, page.0, 0])).unwrap_err();
    assert!(missed.to_string().contains("hv_vm_map"), "{missed}");
    // The host has recovered.
    let exit = guest.go();
    assert!(matches!(exit, Exit::Call { .. }), "{exit:?}");
    assert_eq!(guest.x(3), 0);
    // A VM can end while something is missing, too.
    inject(Fault::FailMap(1));
    assert!(guest.vm.discard(page, 0x4000).is_err());
}

#[test]
fn code_is_fetched_again_after_it_was_forgotten() {
    let mac = mac(Profile::M2_15);
    let mut guest = mac.guest(|asm| {
        let again = asm.here();
        asm.hvc(1).b(again);
    });
    assert!(matches!(guest.go(), Exit::Call { imm: 1, .. }));
    let mut other = Asm::new();
    other.hvc(2);
    guest.ram.write(0, &other.bytes()).unwrap();
    guest.vm.forget_code();
    let resume = Resume::Call([0; 4]);
    assert!(matches!(guest.run(resume), Exit::Call { imm: 2, .. }));
}

#[test]
fn a_vm_has_as_many_address_bits_as_it_asks_for() {
    let mac = mac(Profile::M4_26);
    let config = VmConfig {
        address_bits: 40,
        ..CONFIG
    };
    let vm = mac.open().unwrap().create_vm(&config).unwrap();
    vm.map(Gpa(1 << 38), region(0x4000), Prot::ReadWrite)
        .unwrap();
}
