//! A VM of the `soft` backend.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aarch64::state::CounterState;
use aarch64::{Gpa, VcpuId};
use memory::{Layout, LayoutError, Prot, Region};
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Interpreter};

use super::clock::HostClock;
use super::dirty::SoftLog;
use super::vcpu::SoftVcpu;
use crate::api::{DirtyLog, Doorbells, HostError, KernelGic, Vcpu, Vm};
use crate::discard::{self, Part};

/// Decoded instructions that all vCPUs of a VM keep together, 24 bytes each.
const DECODED_OPS: usize = 800_000;
/// What each vCPU keeps at least.
const DECODED_OPS_MIN: usize = 16_000;

/// What the VM and its vCPUs share.
#[derive(Debug)]
pub struct Shared {
    pub cluster: Arc<Cluster>,
    pub clock: Arc<HostClock>,
    /// Guest memory as it is now.
    layout: Mutex<Arc<Layout>>,
    /// Counts changes of `layout`.
    layout_version: AtomicU64,
    /// Counts requests to drop decoded code.
    pub code_version: AtomicU64,
}

impl Shared {
    /// Guest memory, and the count that says when it changes.
    pub fn layout(&self) -> (Arc<Layout>, u64) {
        let layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        (
            Arc::clone(&layout),
            self.layout_version.load(Ordering::SeqCst),
        )
    }

    /// Whether guest memory changed since `version`.
    pub fn layout_changed(&self, version: u64) -> bool {
        self.layout_version.load(Ordering::Acquire) != version
    }

    fn change_layout<R>(
        &self,
        change: impl FnOnce(&Layout) -> Result<(Layout, R), LayoutError>,
    ) -> Result<R, LayoutError> {
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        let (new, result) = change(&layout)?;
        *layout = Arc::new(new);
        self.layout_version.fetch_add(1, Ordering::SeqCst);
        drop(layout);
        self.kick_all();
        Ok(result)
    }

    fn kick_all(&self) {
        for index in 0..self.cluster.count() {
            if let Some(seat) = self.cluster.seat(index) {
                seat.kick();
            }
        }
    }
}

/// A VM.
#[derive(Debug)]
pub struct SoftVm {
    shared: Arc<Shared>,
    log: SoftLog,
    bound: Mutex<Vec<bool>>,
}

impl SoftVm {
    /// A VM without memory.
    pub fn new(vcpus: u16, clock: Arc<HostClock>) -> Self {
        let shared = Shared {
            cluster: Arc::new(Cluster::new(vcpus)),
            clock,
            layout: Mutex::new(Arc::new(Layout::default())),
            layout_version: AtomicU64::new(0),
            code_version: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        Self {
            log: SoftLog::new(Arc::clone(&shared)),
            shared,
            bound: Mutex::new(vec![false; usize::from(vcpus)]),
        }
    }
}

fn refused(gpa: Gpa) -> impl FnOnce(LayoutError) -> HostError {
    move |error| HostError::Map {
        gpa,
        reason: error.to_string(),
    }
}

impl Vm for SoftVm {
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        self.shared
            .change_layout(|layout| Ok((layout.with(gpa, Arc::clone(&region), prot)?, ())))
            .map_err(refused(gpa))?;
        self.log.mapped(&region);
        Ok(())
    }

    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        let region = self.shared.change_layout(|layout| layout.without(gpa));
        let region = region.map_err(refused(gpa))?;
        region.stop_log();
        Ok(region)
    }

    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        let (layout, _) = self.shared.layout();
        // Addresses in the host stay what they are, so what vCPUs have at hand of frames stays good.
        let parts = discard::parts(&layout, gpa, bytes, aarch64::PAGE_SIZE)?;
        parts.iter().try_for_each(Part::discard)
    }

    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        match bound.get_mut(id.index()) {
            None => return Err(HostError::Limit(format!("the VM has no {id}"))),
            Some(true) => return Err(HostError::Limit(format!("{id} is bound already"))),
            Some(free) => *free = true,
        }
        let share = DECODED_OPS / bound.len();
        let (layout, version) = self.shared.layout();
        let clock: Arc<dyn Clock> = Arc::clone(&self.shared.clock) as _;
        let cpu = Cpu::new(id.index(), Arc::clone(&self.shared.cluster), clock, layout);
        let interpreter = Interpreter::new(share.max(DECODED_OPS_MIN));
        Ok(Box::new(SoftVcpu::new(
            cpu,
            interpreter,
            Arc::clone(&self.shared),
            version,
        )))
    }

    fn kick(&self, id: VcpuId) {
        if let Some(seat) = self.shared.cluster.seat(id.index()) {
            seat.kick();
        }
    }

    fn counter(&self) -> CounterState {
        let clock = &self.shared.clock;
        CounterState {
            value: clock.counter(),
            frequency: clock.frequency(),
        }
    }

    fn set_counter(&self, state: &CounterState) -> Result<(), HostError> {
        let frequency = self.shared.clock.frequency();
        if state.frequency != frequency {
            let asked = state.frequency;
            return Err(HostError::BadState(format!(
                "the counter runs at {frequency} Hz here, not at {asked} Hz"
            )));
        }
        self.shared.clock.set(state.value);
        Ok(())
    }

    fn forget_code(&self) {
        self.shared.code_version.fetch_add(1, Ordering::SeqCst);
        self.shared.kick_all();
    }

    fn kernel_gic(&self) -> Option<&dyn KernelGic> {
        None
    }

    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        Some(&self.log)
    }

    fn doorbells(&self) -> Option<&dyn Doorbells> {
        None
    }
}
