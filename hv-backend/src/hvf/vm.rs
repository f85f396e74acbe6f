//! A VM of the `hvf` backend. A process has one at most.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aarch64::cpu_model::CpuModel;
use aarch64::state::CounterState;
use aarch64::{Gpa, VcpuId};
use memory::{Prot, Region};

use super::alarm::{Alarms, Ticks};
use super::memory::Memory;
use super::sys::Framework;
use super::sys::vcpu::Stop;
use super::time::VmTime;
use super::vcpu::HvfVcpu;
use crate::api::{DirtyLog, Doorbells, HostError, KernelGic, Vcpu, Vm};

/// A vCPU as those see it who kick it.
#[derive(Debug, Default)]
pub struct Seat {
    kicked: AtomicBool,
    alarmed: AtomicBool,
    /// Gets it out of the guest.
    pub stop: Arc<Stop>,
}

impl Seat {
    /// Whether it was kicked; the kick is used up.
    pub fn take_kick(&self) -> bool {
        self.kicked.swap(false, SeqCst)
    }

    /// Whether its physical timer is to be looked at; that is then done.
    pub fn take_alarm(&self) -> bool {
        self.alarmed.swap(false, SeqCst)
    }

    /// Has its physical timer looked at.
    pub fn alarm(&self) {
        self.alarmed.store(true, SeqCst);
    }
}

/// What the VM and its vCPUs share. The VM of the framework ends with the last of them.
#[derive(Debug)]
pub struct Shared {
    /// The host.
    pub framework: Framework,
    /// Guest memory.
    pub memory: Memory,
    /// The guest's counter.
    pub time: VmTime,
    /// What guests find their processor to be.
    pub cpu: CpuModel,
    /// Bits of guest physical address.
    pub address_bits: u8,
    seats: Vec<Seat>,
    alarms: Arc<Alarms>,
}

impl Shared {
    /// A vCPU's seat.
    pub fn seat(&self, id: VcpuId) -> Option<&Seat> {
        self.seats.get(id.index())
    }

    /// Lets every vCPU take over a new offset of the counter, if the host has slept.
    pub fn notice_sleep(&self) {
        if self.time.catch_up(self.framework) {
            for seat in &self.seats {
                seat.stop.stop(self.framework);
            }
        }
    }

    /// Sets or clears the alarm for a vCPU's physical timer: when the counter reaches `cval`.
    pub fn set_alarm(self: &Arc<Self>, id: VcpuId, cval: Option<u64>) -> Result<(), HostError> {
        let at = cval.map(|cval| {
            let now = self.framework.awake_ticks();
            let counts = cval.saturating_sub(self.time.counter(self.framework));
            now.saturating_add(self.time.clock().ticks(counts))
        });
        let vm = Arc::downgrade(self);
        let ring = move |id| ring(&vm, id);
        let ticks = HostTicks(self.framework, self.time.ticks_per_second());
        let set = self.alarms.set(id, at, ticks, ring);
        set.map_err(|source| HostError::Os {
            call: "starting a thread for alarms",
            source,
        })
    }
}

fn ring(vm: &Weak<Shared>, id: VcpuId) {
    let Some(vm) = vm.upgrade() else { return };
    if let Some(seat) = vm.seat(id) {
        seat.alarm();
        seat.stop.stop(vm.framework);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.alarms.end();
        self.memory.clear();
        // Nobody is left who could do something about a failure.
        let _ = self.framework.destroy_vm();
    }
}

/// The host's ticks, for alarms.
#[derive(Clone, Copy)]
struct HostTicks(Framework, u64);

impl Ticks for HostTicks {
    fn now(&self) -> u64 {
        self.0.awake_ticks()
    }

    fn duration(&self, ticks: u64) -> Duration {
        Duration::from_nanos(aarch64::timer::nanoseconds(ticks, self.1))
    }
}

/// A VM.
#[derive(Debug)]
pub struct HvfVm {
    bound: Mutex<Vec<bool>>,
    shared: Arc<Shared>,
}

impl HvfVm {
    /// Takes over the VM that was just made in the framework.
    pub fn new(
        framework: Framework,
        time: VmTime,
        cpu: CpuModel,
        address_bits: u8,
        vcpus: u16,
    ) -> Self {
        let shared = Shared {
            framework,
            memory: Memory::new(framework, address_bits),
            time,
            cpu,
            address_bits,
            seats: (0..vcpus).map(|_| Seat::default()).collect(),
            alarms: Arc::default(),
        };
        Self {
            bound: Mutex::new(vec![false; usize::from(vcpus)]),
            shared: Arc::new(shared),
        }
    }
}

impl Vm for HvfVm {
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        self.shared.memory.map(gpa, region, prot)
    }

    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        self.shared.memory.unmap(gpa)
    }

    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        self.shared.memory.discard(gpa, bytes)
    }

    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound.get_mut(id.index()) {
            None => return Err(HostError::Limit(format!("the VM has no {id}"))),
            Some(true) => return Err(HostError::Limit(format!("{id} is bound already"))),
            Some(free) => *free = true,
        }
        let vcpu = HvfVcpu::new(id, Arc::clone(&self.shared))?;
        Ok(Box::new(vcpu))
    }

    fn kick(&self, id: VcpuId) {
        if let Some(seat) = self.shared.seat(id) {
            // In this order: the framework loses what it is told while the vCPU leaves the guest for
            // another reason, the flag is looked at before each entry.
            seat.kicked.store(true, SeqCst);
            seat.stop.stop(self.shared.framework);
        }
    }

    fn counter(&self) -> CounterState {
        self.shared.notice_sleep();
        CounterState {
            value: self.shared.time.counter(self.shared.framework),
            frequency: self.shared.time.clock().frequency(),
        }
    }

    fn set_counter(&self, state: &CounterState) -> Result<(), HostError> {
        let CounterState { value, frequency } = *state;
        let ours = self.shared.time.clock().frequency();
        if frequency != ours {
            return Err(HostError::BadState(format!(
                "the counter runs at {ours} Hz here, not at {frequency} Hz"
            )));
        }
        self.shared.time.set(self.shared.framework, value);
        Ok(())
    }

    /// The framework maps pages when the guest touches them first, and makes them fit to be executed
    /// then. So it is made to do that again.
    fn forget_code(&self) {
        // What fails to be mapped is missed at the guest's next access, which says so.
        let _ = self.shared.memory.remap();
    }

    fn kernel_gic(&self) -> Option<&dyn KernelGic> {
        None
    }

    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        Some(&self.shared.memory)
    }

    fn doorbells(&self) -> Option<&dyn Doorbells> {
        None
    }
}
