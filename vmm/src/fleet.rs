//! All vCPUs of a machine as every other thread sees them.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::channel;

use aarch64::VcpuId;
use devices::gic::GicSink;
use hv_backend::api::{IrqLine, Vcpu, Vm};

use crate::gate::{Epoch, Gate};
use crate::power::{Entry, PowerTable};
use crate::vcpu::{Errand, Post};

/// The vCPUs: their posts, power states and the gate they pass.
pub struct Fleet {
    vm: Arc<dyn Vm>,
    posts: Vec<Post>,
    power: PowerTable,
    gate: Gate,
}

impl Fleet {
    /// `count` vCPUs of `vm`, all off, before a closed gate.
    #[must_use]
    pub fn new(vm: Arc<dyn Vm>, count: u16) -> Self {
        let posts = (0..count).map(|_| Post::default()).collect();
        let gate = Gate::new(usize::from(count));
        Self {
            vm,
            posts,
            power: PowerTable::new(count),
            gate,
        }
    }

    /// The accelerator's VM.
    #[must_use]
    pub fn vm(&self) -> &dyn Vm {
        &*self.vm
    }

    /// Every vCPU's id.
    pub fn ids(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..u16::try_from(self.posts.len()).unwrap_or(u16::MAX)).map(VcpuId)
    }

    /// Who is on.
    #[must_use]
    pub fn power(&self) -> &PowerTable {
        &self.power
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The post of a vCPU.
    #[must_use]
    pub fn post(&self, id: VcpuId) -> &Post {
        &self.posts[id.index()]
    }

    /// Gets a vCPU's attention, wherever it is.
    pub fn rouse(&self, id: VcpuId) {
        if let Some(post) = self.posts.get(id.index()) {
            post.rouse(|| self.vm.kick(id));
        }
    }

    /// Moves an interrupt input of a vCPU.
    pub fn set_line(&self, id: VcpuId, line: IrqLine, high: bool) {
        if self
            .posts
            .get(id.index())
            .is_some_and(|post| post.set_line(line, high))
        {
            self.rouse(id);
        }
    }

    /// Stops every vCPU at the gate; all of them are there on return.
    pub fn stop(&self) {
        self.gate.close();
        self.rouse_all();
        self.gate.wait_for_all();
    }

    /// Lets the vCPUs run.
    pub fn go(&self) {
        self.gate.open();
    }

    /// Does something to a vCPU on its own thread, while all of them are stopped ([`Fleet::stop`]).
    /// `None` when the thread has ended.
    pub fn visit<R: Send + 'static>(
        &self,
        id: VcpuId,
        work: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static,
    ) -> Option<R> {
        let (result, wait) = channel();
        // Who waits for it is this very call.
        let errand = Errand::new(move |vcpu| drop(result.send(work(vcpu))));
        self.posts.get(id.index())?.leave_errand(errand);
        self.gate.call();
        // A thread that ends drops its errand, and the sender with it.
        wait.recv().ok()
    }

    /// Starts over at the next [`Fleet::go`]: vCPU 0 at `entry`, the others off.
    pub fn reset(&self, entry: Entry) -> Epoch {
        self.power.reset(entry);
        self.gate.next_epoch()
    }

    /// Ends every vCPU's thread.
    pub fn dismiss(&self) {
        self.gate.remove();
        self.rouse_all();
    }

    fn rouse_all(&self) {
        self.ids().for_each(|id| self.rouse(id));
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            vm: _,
            posts,
            power,
            gate,
        } = self;
        f.debug_struct("Fleet")
            .field("posts", posts)
            .field("power", power)
            .field("gate", gate)
            .finish_non_exhaustive()
    }
}

impl GicSink for Fleet {
    fn output(&self, vcpu: VcpuId, irq: bool, fiq: bool) {
        self.set_line(vcpu, IrqLine::Irq, irq);
        self.set_line(vcpu, IrqLine::Fiq, fiq);
    }
}
