//! A machine of scripted vCPUs and a board that writes down what it is asked.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aarch64::cpu_model::CpuModel;
use aarch64::psci::id;
use aarch64::{Gpa, Intid, Size, SysReg, VcpuId, machine};
use hv_backend::api::{Conduit, Exit, Hypervisor, IrqLine, TimeSource, VmConfig};
use hv_backend::scripted::{Script, Scripted, Step};
use vmm::board::Board;
use vmm::coordinator::{self, Control, Inbox, OnReset};
use vmm::fleet::Fleet;
use vmm::outcome::Outcome;
use vmm::power::Entry;

/// Where the board starts vCPU 0.
pub const BOOT: Entry = Entry {
    pc: 0x4020_0000,
    x0: 0x4800_0000,
};
/// The one address with a device.
pub const DEVICE: Gpa = Gpa(0x0900_0000);
/// The one system register of the board.
pub const REGISTER: SysReg = SysReg::new(3, 0, 12, 12, 0);
/// What both of them read as.
pub const VALUE: u64 = 0x1234;

/// Nanoseconds since the first call: the guest's counter.
pub fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap()
}

/// What a board was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Mmio(Gpa, u64),
    SysReg(VcpuId, SysReg, u64),
    Ppi(Intid, bool),
    Interface(VcpuId),
    Stopped(bool),
}

#[derive(Default)]
pub struct TestBoard {
    seen: Mutex<Vec<Seen>>,
    resets: AtomicUsize,
    keys: AtomicUsize,
    refuse: Mutex<Option<String>>,
    raise: AtomicBool,
    fleet: OnceLock<Arc<Fleet>>,
}

impl TestBoard {
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn resets(&self) -> usize {
        self.resets.load(SeqCst)
    }

    /// How often the power key was pressed.
    pub fn keys(&self) -> usize {
        self.keys.load(SeqCst)
    }

    pub fn ppis(&self, intid: Intid) -> Vec<bool> {
        let level = |seen: Seen| match seen {
            Seen::Ppi(i, high) if i == intid => Some(high),
            Seen::Ppi(..)
            | Seen::Mmio(..)
            | Seen::SysReg(..)
            | Seen::Interface(_)
            | Seen::Stopped(_) => None,
        };
        self.seen().into_iter().filter_map(level).collect()
    }

    pub fn fail_resets(&self, why: &str) {
        *self.refuse.lock().unwrap() = Some(why.into());
    }

    fn see(&self, seen: Seen) {
        self.seen.lock().unwrap().push(seen);
    }
}

impl Board for TestBoard {
    fn mmio_read(&self, gpa: Gpa, _size: Size) -> Option<u64> {
        (gpa == DEVICE).then_some(VALUE)
    }

    fn mmio_write(&self, gpa: Gpa, _size: Size, data: u64) -> Option<()> {
        (gpa == DEVICE).then(|| self.see(Seen::Mmio(gpa, data)))
    }

    fn sysreg_read(&self, _vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        (reg == REGISTER).then_some(VALUE)
    }

    fn sysreg_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        (reg == REGISTER).then(|| self.see(Seen::SysReg(vcpu, reg, data)))
    }

    fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool) {
        self.see(Seen::Ppi(intid, high));
        if let Some(fleet) = self.fleet.get().filter(|_| self.raise.load(SeqCst)) {
            fleet.set_line(vcpu, IrqLine::Irq, high);
        }
    }

    fn reset_cpu_interface(&self, vcpu: VcpuId) {
        self.see(Seen::Interface(vcpu));
    }

    fn set_stopped(&self, stopped: bool) {
        self.see(Seen::Stopped(stopped));
    }

    fn press_power_key(&self) {
        self.keys.fetch_add(1, SeqCst);
    }

    fn is_memory(&self, gpa: Gpa) -> bool {
        gpa >= machine::RAM_BASE
    }

    fn reset(&self) -> Result<Entry, String> {
        self.resets.fetch_add(1, SeqCst);
        self.refuse.lock().unwrap().clone().map_or(Ok(BOOT), Err)
    }
}

/// Adds a call with these X0 to X3.
pub fn call(script: Script, x: [u64; 4]) -> Script {
    let set = |script: Script, (n, x)| script.then(Step::X(n, x));
    x.into_iter()
        .enumerate()
        .fold(script, set)
        .exit(Exit::Call {
            conduit: Conduit::Hvc,
            imm: 0,
        })
}

/// Adds the guest's power-off.
pub fn power_off(script: Script) -> Script {
    call(script, [id::SYSTEM_OFF.into(), 0, 0, 0])
}

/// One machine under test.
pub struct Harness {
    pub scripted: Scripted,
    pub board: Arc<TestBoard>,
    pub fleet: Arc<Fleet>,
    control: Control,
    inbox: RefCell<Option<Inbox>>,
    on_reset: OnReset,
    thread: RefCell<Option<JoinHandle<Outcome>>>,
}

impl Harness {
    pub fn new(scripts: Vec<Script>) -> Self {
        let vcpus = u16::try_from(scripts.len()).unwrap();
        let scripted = Scripted::new(scripts, now);
        let config = VmConfig {
            vcpus,
            address_bits: 40,
            time: TimeSource::Host,
            counter_frequency: None,
            cpu: CpuModel::Portable,
        };
        let vm = scripted.create_vm(&config).unwrap();
        let fleet = Arc::new(Fleet::new(Arc::from(vm), vcpus));
        let board = Arc::new(TestBoard::default());
        assert!(board.fleet.set(fleet.clone()).is_ok());
        let (control, inbox) = coordinator::controls();
        let (inbox, thread) = (RefCell::new(Some(inbox)), RefCell::default());
        let on_reset = OnReset::Restart;
        Self {
            scripted,
            board,
            fleet,
            control,
            inbox,
            on_reset,
            thread,
        }
    }

    pub fn on_reset(mut self, on_reset: OnReset) -> Self {
        self.on_reset = on_reset;
        self
    }

    /// From now on the board's GIC hands every PPI on as an IRQ.
    pub fn ppis_raise_irq(self) -> Self {
        self.board.raise.store(true, SeqCst);
        self
    }

    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Starts the machine and returns.
    pub fn started(self) -> Self {
        let inbox = self.inbox.take().unwrap();
        let (fleet, board, on_reset) = (self.fleet.clone(), self.board.clone(), self.on_reset);
        let run = move || coordinator::run(fleet, board, on_reset, inbox);
        *self.thread.borrow_mut() = Some(std::thread::spawn(run));
        self
    }

    /// Waits for the machine's end.
    pub fn finish(&self) -> Outcome {
        let thread = self.thread.take().unwrap();
        self.wait(|_| thread.is_finished());
        thread.join().unwrap()
    }

    /// Runs the machine to its end.
    pub fn run(&self) -> Outcome {
        let inbox = self.inbox.take().unwrap();
        coordinator::run(self.fleet.clone(), self.board.clone(), self.on_reset, inbox)
    }

    /// Waits until something is so.
    pub fn wait(&self, so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "it never became so"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
