//! A VM with RAM, and an interrupt controller where the accelerator brings none.
//!
//! It is the least around an accelerator that lets a guest take interrupts: what `vmm` does, in a
//! few lines and apart from it, so that a test that fails here is about the accelerator.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use aarch64::cpu_model::CpuModel;
use aarch64::gic_state::GicState;
use aarch64::machine::RAM_BASE;
use aarch64::{Gpa, Intid, Size, SysReg, VcpuId};
use devices::bus::Bus;
use devices::gic::{GicSink, SharedGic};
use hv_backend::api::{Caps, TimeSource, Vm, VmConfig};
use memory::{Prot, Region};

use super::{Program, accelerator, image};

/// Bits of guest physical address: RAM ends below 2 GiB.
const ADDRESS_BITS: u8 = 36;

/// A machine for bare-metal guests.
pub struct Machine {
    caps: Caps,
    ram: Arc<Region>,
    program: Program,
    model: Option<Model>,
    seats: Arc<Seats>,
}

/// The model of a GIC, where the accelerator has none.
struct Model {
    gic: Arc<SharedGic>,
    bus: Bus,
}

/// The vCPUs as other threads see them.
pub(super) struct Seats {
    pub vm: Box<dyn Vm>,
    pub seats: Vec<Seat>,
}

/// One vCPU as other threads see it.
#[derive(Default)]
pub(super) struct Seat {
    /// IRQ in bit 0, FIQ in bit 1.
    lines: AtomicU8,
    /// Somebody called [`Machine::kick`].
    called: AtomicBool,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Seat {
    /// The interrupt inputs.
    pub fn lines(&self) -> u8 {
        self.lines.load(SeqCst)
    }

    /// Whether somebody wants this vCPU's thread back; that is used up.
    pub fn take_call(&self) -> bool {
        self.called.swap(false, SeqCst)
    }

    /// Sleeps until an input is high, somebody calls, or the time is over.
    pub fn park(&self, limit: Option<Duration>) {
        let guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |(): &mut ()| self.lines() == 0 && !self.called.load(SeqCst);
        match limit {
            Some(limit) => drop(self.wake.wait_timeout_while(guard, limit, idle)),
            None => drop(self.wake.wait_while(guard, idle)),
        }
    }

    fn wake(&self) {
        drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }
}

impl Machine {
    /// A machine of so many vCPUs, with the program in its RAM.
    #[must_use]
    pub fn new(vcpus: u16, program: &Program) -> Arc<Self> {
        let accelerator = accelerator();
        let portable = accelerator.offers_cpu(CpuModel::Portable);
        let config = VmConfig {
            vcpus,
            address_bits: ADDRESS_BITS,
            time: TimeSource::Host,
            counter_frequency: None,
            cpu: portable.map_or(CpuModel::Host, |()| CpuModel::Portable),
        };
        let vm = accelerator.create_vm(&config).expect("a VM");
        let ram = Arc::new(Region::new(image::BYTES).expect("memory"));
        program.load(&ram);
        vm.map(RAM_BASE, ram.clone(), Prot::ReadWrite)
            .expect("RAM can be mapped");
        let seats = (0..vcpus).map(|_| Seat::default()).collect();
        let seats = Arc::new(Seats { vm, seats });
        let model = seats.vm.kernel_gic().is_none().then(|| {
            let gic = Arc::new(SharedGic::new(vcpus, seats.clone()));
            let mut bus = Bus::new();
            gic.attach(&mut bus).expect("the bus is empty");
            Model { gic, bus }
        });
        Arc::new(Self {
            caps: *accelerator.caps(),
            ram,
            program: program.clone(),
            model,
            seats,
        })
    }

    /// The VM.
    #[must_use]
    pub fn vm(&self) -> &dyn Vm {
        &*self.seats.vm
    }

    /// What the accelerator can do.
    #[must_use]
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// The RAM.
    #[must_use]
    pub fn ram(&self) -> &Arc<Region> {
        &self.ram
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The 64 bits at `gpa` in RAM.
    ///
    /// # Panics
    /// When that is no RAM, or misaligned.
    #[must_use]
    pub fn peek(&self, gpa: Gpa) -> u64 {
        self.ram.load_u64(gpa.0 - RAM_BASE.0).expect("RAM")
    }

    /// Holds the input of an SPI high or low.
    pub fn set_spi(&self, intid: Intid, high: bool) {
        match (&self.model, self.vm().kernel_gic()) {
            (Some(model), _) => model.gic.set_spi(intid, high),
            (None, Some(gic)) => gic.set_spi(intid, high).expect("an SPI"),
            (None, None) => unreachable!("there is the one or the other"),
        }
    }

    /// One edge at the input of an SPI.
    pub fn pulse_spi(&self, intid: Intid) {
        match self.vm().kernel_gic() {
            Some(gic) => gic.pulse_spi(intid).expect("an SPI"),
            None => {
                self.set_spi(intid, true);
                self.set_spi(intid, false);
            }
        }
    }

    /// The state of the interrupt controller, while no vCPU runs.
    ///
    /// # Panics
    /// When the host refuses.
    #[must_use]
    pub fn save_gic(&self) -> GicState {
        match (&self.model, self.vm().kernel_gic()) {
            (Some(model), _) => model.gic.save(),
            (None, Some(gic)) => gic.save().expect("no vCPU runs"),
            (None, None) => unreachable!("there is the one or the other"),
        }
    }

    /// Replaces the state of the interrupt controller, while no vCPU runs.
    ///
    /// # Panics
    /// When the host refuses.
    pub fn restore_gic(&self, state: &GicState) {
        match (&self.model, self.vm().kernel_gic()) {
            (Some(model), _) => model.gic.restore(state).expect("a possible state"),
            (None, Some(gic)) => gic.restore(state).expect("a state that KVM can hold"),
            (None, None) => unreachable!("there is the one or the other"),
        }
    }

    /// Holds the input of a vCPU's PPI high or low. The kernel's GIC drives those itself.
    pub(super) fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool) {
        if let Some(model) = &self.model {
            model.gic.set_ppi(vcpu, intid, high);
        }
    }

    /// Whether the interrupt controller is the model of this process rather than the kernel's.
    #[must_use]
    pub fn models_gic(&self) -> bool {
        self.model.is_some()
    }

    /// Gets a vCPU's thread back from [`Cpu::enter`](super::Cpu::enter), wherever it is.
    pub fn kick(&self, vcpu: VcpuId) {
        let seat = self.seat(vcpu);
        seat.called.store(true, SeqCst);
        self.vm().kick(vcpu);
        seat.wake();
    }

    pub(super) fn seat(&self, vcpu: VcpuId) -> &Seat {
        &self.seats.seats[vcpu.index()]
    }

    /// What a load from the interrupt controller gives, if it is one.
    pub(super) fn gic_read(&self, gpa: Gpa, size: Size) -> Option<u64> {
        self.model.as_ref()?.bus.read(gpa, size)
    }

    /// Stores to the interrupt controller, if it is there.
    pub(super) fn gic_write(&self, gpa: Gpa, size: Size, data: u64) -> Option<()> {
        self.model.as_ref()?.bus.write(gpa, size, data)
    }

    /// What a register of the interrupt controller holds, if it is one.
    pub(super) fn icc_read(&self, vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        self.model.as_ref()?.gic.icc_read(vcpu, reg)
    }

    /// Writes a register of the interrupt controller, if it is one.
    pub(super) fn icc_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        self.model.as_ref()?.gic.icc_write(vcpu, reg, data)
    }
}

impl GicSink for Seats {
    fn output(&self, vcpu: VcpuId, irq: bool, fiq: bool) {
        let seat = &self.seats[vcpu.index()];
        seat.lines.store(u8::from(irq) | u8::from(fiq) << 1, SeqCst);
        self.vm.kick(vcpu);
        seat.wake();
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("vcpus", &self.seats.seats.len())
            .field("model", &self.model.is_some())
            .finish_non_exhaustive()
    }
}
