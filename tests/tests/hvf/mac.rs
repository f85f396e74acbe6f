//! A simulated Mac for one test, and a guest of a few instructions on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::cpu_model::CpuModel;
use aarch64::machine::{RAM_BASE, UART};
use aarch64::state::CoreRegs;
use aarch64::{Gpa, VcpuId};
use armlet_tests::bare::asm::{Asm, X};
use armlet_tests::simulated;
use hv_backend::Accel;
use hv_backend::api::{Exit, HostError, Hypervisor, Resume, TimeSource, Vcpu, Vm, VmConfig};
use hv_backend::select;
use hvf_sim::Profile;
use memory::{Prot, Region};

/// Where nothing is mapped; X1 holds it.
pub const DEVICE: Gpa = UART.base;
/// The register that holds [`DEVICE`].
pub const DEV: X = X(1);
/// Bytes of RAM.
const RAM: u64 = 64 << 10;

/// What guests are made with that do not care.
pub const CONFIG: VmConfig = VmConfig {
    vcpus: 1,
    address_bits: 36,
    time: TimeSource::Host,
    counter_frequency: None,
    cpu: CpuModel::Portable,
};

/// This process is a Mac, until this is dropped. Then the Mac must have nothing to complain of.
pub struct Mac {
    _only: MutexGuard<'static, ()>,
}

/// Makes this process a Mac.
pub fn mac(profile: Profile) -> Mac {
    static ONE: Mutex<()> = Mutex::new(());
    let only = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    simulated::become_mac(profile);
    Mac { _only: only }
}

impl Mac {
    /// The accelerator, if it opens.
    pub fn open(&self) -> Result<Box<dyn Hypervisor>, HostError> {
        select::open(Accel::Hvf)
    }

    /// A VM without memory.
    pub fn vm(&self, vcpus: u16) -> Box<dyn Vm> {
        let config = VmConfig { vcpus, ..CONFIG };
        self.open().unwrap().create_vm(&config).unwrap()
    }

    /// A guest at the first of its instructions.
    pub fn guest(&self, build: impl FnOnce(&mut Asm)) -> Guest {
        let vm = self.vm(1);
        let mut code = Asm::new();
        build(&mut code);
        let ram = Arc::new(Region::new(RAM).unwrap());
        ram.write(0, &code.bytes()).unwrap();
        vm.map(RAM_BASE, Arc::clone(&ram), Prot::ReadWrite).unwrap();
        let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        let mut core = CoreRegs {
            pc: RAM_BASE.0,
            ..CoreRegs::default()
        };
        core.x[1] = DEVICE.0;
        vcpu.set_core(&core).unwrap();
        Guest { vcpu, vm, ram }
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        let verdict = simulated::last_verdict();
        if !std::thread::panicking() {
            assert_eq!(verdict, Ok(()));
        }
    }
}

/// A VM with one vCPU.
pub struct Guest {
    // The vCPU goes before its VM.
    pub vcpu: Box<dyn Vcpu>,
    pub vm: Box<dyn Vm>,
    pub ram: Arc<Region>,
}

impl Guest {
    /// Answers the last exit and runs to the next.
    pub fn run(&mut self, resume: Resume) -> Exit {
        self.vcpu.run(resume).unwrap()
    }

    /// Runs on.
    pub fn go(&mut self) -> Exit {
        self.run(Resume::Done)
    }

    /// The PC, from the first instruction on.
    pub fn pc(&self) -> u64 {
        self.vcpu.core().unwrap().pc - RAM_BASE.0
    }

    /// A general register.
    pub fn x(&self, n: usize) -> u64 {
        self.vcpu.core().unwrap().x[n]
    }
}
