//! Linux, paused, saved and taken up by other machines while it works, and none the wiser.

use std::env;
use std::thread::sleep;
use std::time::Duration;

use aarch64::cpu_model::CpuModel;
use aarch64::{SysReg, VcpuId};
use armlet_tests::bare::{accelerator, random_seed};
use armlet_tests::guest::trouble_in;
use armlet_tests::moving::{Guest, Place};
use armlet_tests::{or_skip, skip::does_not_apply, skip::skip};
use guests::{Kernel, Store};
use hv_backend::api::{Hypervisor, TimeSource, VmConfig};
use hv_backend::select::{Accel, open};

const ROUNDS: u64 = 60_000;
/// `ID_AA64MMFR1_EL1`, of which KVM cannot hide a field that Linux compares when a CPU comes online.
const MMFR1: SysReg = SysReg::new(3, 0, 0, 7, 1);
/// How often a guest moves while it boots and while it works.
const MOVES: usize = 12;

/// What `do_count` of the guest's `/init` computes.
fn sum() -> u64 {
    (1..=ROUNDS).fold(0, |sum, i| (sum * 31 + i) % 1_000_003)
}

/// A random time of less than so many milliseconds, 256 at most.
fn nap(seed: &mut u64, milliseconds: u64) {
    // Knuth's MMIX.
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    sleep(Duration::from_millis((*seed >> 56) * milliseconds / 256));
}

fn linux(cpus: u16, counter_frequency: u64) -> Result<Guest, guests::Error> {
    let store = Store::of_checkout();
    let quiet = env::var_os("ARMLET_TEST_QUIET").map_or("", |_| " quiet");
    Ok(Guest {
        kernel: store.kernel(Kernel::V6_12Cloud)?,
        initrd: Some(store.initramfs()?),
        cmdline: format!("console=ttyAMA0{quiet} panic=-1 armlet.do=count armlet.rounds={ROUNDS}"),
        cpus,
        memory_mib: 160,
        counter_frequency: Some(counter_frequency),
        devices: true,
    })
}

/// What a guest of the model `portable` finds in a register.
fn shown(accel: &dyn Hypervisor, reg: SysReg) -> u64 {
    let config = VmConfig {
        vcpus: 1,
        address_bits: 36,
        time: TimeSource::Host,
        counter_frequency: None,
        cpu: CpuModel::Portable,
    };
    let vm = accel.create_vm(&config).expect("a VM");
    let vcpu = vm.bind_vcpu(VcpuId(0)).expect("a vCPU");
    vcpu.sysreg(reg).expect("it can be read")
}

/// Starts the guest on one accelerator and moves it between that and the other, so often.
fn moves_and_works_on(from: &dyn Hypervisor, to: &dyn Hypervisor, moves: usize) {
    let way = format!("{} and {}", from.name(), to.name());
    let mut seed = random_seed(&way);
    let guest = or_skip!(&way, linux(2, accelerator().caps().counter_frequency));
    // A process has one VM of Hypervisor.framework: this one is gone before the machine's.
    let alike = from.name() == to.name() || shown(from, MMFR1) == shown(to, MMFR1);
    let place = Place::new("moves", guest);
    let mut machine = place.start(from);
    if !alike {
        // A CPU that comes online on the other one would not be as the first is, and Linux stops.
        machine.expect("ARMLET-INIT");
    }
    for moved in 0..moves {
        // Where the guest is then, after an odd number, is the faster one.
        if moved == MOVES / 4 {
            machine.expect("ARMLET-COUNT-BEGIN");
        }
        // It has to be at work until the last move, on a fast host too.
        nap(&mut seed, if moved < MOVES / 4 { 256 } else { 64 });
        machine = machine.move_to(&place, if moved % 2 == 0 { to } else { from });
    }
    let printed = machine.finish();
    let wanted = format!("ARMLET-COUNT sum={} hashes=1", sum());
    assert!(printed.contains(&wanted), "no {wanted:?} in:\n{printed}");
    let trouble = trouble_in(&printed);
    assert_eq!(trouble, None, "{way}: trouble in the guest:\n{printed}");
}

#[test]
fn a_guest_that_moves_at_random_moments_works_on() {
    let accel = accelerator();
    // A process has one VM of Hypervisor.framework: from there it is to the software CPU and back.
    let other = match accel.name() {
        "hvf" => open(Accel::Soft).expect("always there"),
        _ => accelerator(),
    };
    moves_and_works_on(&*accel, &*other, MOVES);
}

/// The other test has moved to the software CPU and back on a Mac, and never left it on `soft`.
#[test]
fn a_guest_of_the_software_cpu_moves_to_kvm_and_back() {
    let test = "Linux from soft to kvm and back";
    let accel = accelerator();
    if accel.name() != "kvm" {
        return does_not_apply(test, "it begins on the software CPU and needs KVM");
    }
    if let Err(error) = accel.offers_cpu(CpuModel::Portable) {
        return skip(test, &error.to_string());
    }
    let soft = open(Accel::Soft).expect("always there");
    // An odd number: the rest of its work is for the faster one, too.
    moves_and_works_on(&*soft, &*accel, MOVES + 1);
}
