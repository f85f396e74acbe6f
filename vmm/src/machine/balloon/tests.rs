//! Free memory that is taken back while the guest goes on, with a driver in the test's hands.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;

use aarch64::cpu_model::CpuModel;
use aarch64::{Intid, Size, SysReg, VcpuId};
use devices::virtio::balloon::spec::{config, feature, hint};
use devices::virtio::mmio::MmioTransport;
use devices::virtio::testing::{
    Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers,
};
use hv_backend::api::{Hypervisor, TimeSource, VmConfig};
use hv_backend::scripted::{Script, Scripted};
use memory::{Access, Layout, Pieces, Prot, Region};

use super::*;
use crate::board::Board;
use crate::coordinator::{self, Activity, Control, OnReset, controls};
use crate::outcome::Outcome;
use crate::power::Entry;

/// RAM, in pages of the host.
const UNITS: u64 = 64;
/// The queue of hints, and where numbers are sent from.
const HINTS: u16 = 3;
const BUFFER: u64 = RAM_BASE + 0x2_0000;
/// The first of the host's pages behind rings and buffers, whatever its size.
const FIRST: u64 = 40;
/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(100);

fn unit() -> u64 {
    memory::page_size() as u64
}

/// A board that has nothing but the balloon's device.
struct Slot(MmioTransport);

impl Board for Slot {
    fn mmio_read(&self, _: Gpa, _: Size) -> Option<u64> {
        None
    }
    fn mmio_write(&self, _: Gpa, _: Size, _: u64) -> Option<()> {
        None
    }
    fn sysreg_read(&self, _: VcpuId, _: SysReg) -> Option<u64> {
        None
    }
    fn sysreg_write(&self, _: VcpuId, _: SysReg, _: u64) -> Option<()> {
        None
    }
    fn set_ppi(&self, _: VcpuId, _: Intid, _: bool) {}
    fn reset_cpu_interface(&self, _: VcpuId) {}
    fn set_stopped(&self, stopped: bool) {
        if stopped {
            self.0.core().hold();
        } else {
            self.0.core().release();
        }
    }
    fn press_power_key(&self) {}
    fn is_memory(&self, _: Gpa) -> bool {
        true
    }
    fn reset(&self) -> Result<Entry, String> {
        Ok(Entry { pc: 0, x0: 0 })
    }
}

type Told = Receiver<(u32, Result<Reclaimed, ReclaimError>)>;

struct Fixture {
    scripted: Scripted,
    balloon: Arc<GuestBalloon>,
    slot: Arc<Slot>,
    layout: Arc<Layout>,
    control: Control,
    machine: Option<JoinHandle<Outcome>>,
}

impl Fixture {
    fn new(logs: bool, patience: Duration) -> Self {
        let scripted = Scripted::new(vec![Script::new()], || 0);
        let scripted = if logs {
            scripted.with_dirty_log()
        } else {
            scripted
        };
        let vm = scripted.create_vm(&VmConfig {
            vcpus: 1,
            address_bits: 40,
            time: TimeSource::Host,
            counter_frequency: None,
            cpu: CpuModel::Portable,
        });
        let vm = vm.unwrap();
        let span = Span {
            base: Gpa(RAM_BASE),
            size: UNITS * unit(),
        };
        let region = Arc::new(Region::new(span.size).unwrap());
        region.write(0, &vec![7; span.size as usize]).unwrap();
        vm.map(span.base, region.clone(), Prot::ReadWrite).unwrap();
        let layout = Layout::default().with(span.base, region, Prot::ReadWrite);
        let layout = Arc::new(layout.unwrap());
        let ram = Arc::new(GuestRam::default());
        ram.set(layout.clone());
        let fleet = Arc::new(Fleet::new(Arc::from(vm), 1));
        let clock = Arc::new(Manual::default());
        let config = BalloonConfig::default();
        let mut balloon = GuestBalloon::new(&config, clock, &fleet, (&ram, span));
        balloon.patience = patience;
        let device = balloon.device().clone();
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(device, ram, line, &NoThreads).unwrap();
        let slot = Arc::new(Slot(slot));
        let (control, inbox) = controls();
        let board = slot.clone();
        let run = move || coordinator::run(fleet, board, OnReset::Restart, inbox);
        let machine = thread_of(run);
        let fixture = Self {
            scripted,
            balloon: Arc::new(balloon),
            slot,
            layout,
            control,
            machine: Some(machine),
        };
        while fixture.control.condition().activity != Activity::Running {
            std::thread::yield_now();
        }
        fixture
    }

    fn drive(&self) -> Driver<MmioRegisters<'_>> {
        let features = feature::FREE_PAGE_HINT | feature::STATS_VQ;
        Driver::start(MmioRegisters(&self.slot.0), &self.layout, features, &[8; 4])
    }

    fn reclaim(&self) -> Result<(u32, Told), ReclaimError> {
        let (tell, told) = channel();
        let tell = move |round, result| tell.send((round, result)).unwrap();
        let round = self.balloon.reclaim(&self.control, tell)?;
        assert!(self.scripted.is_logging());
        assert_eq!(self.shown(), round);
        Ok((round, told))
    }

    fn shown(&self) -> u32 {
        MmioRegisters(&self.slot.0).config(config::HINT_ID, Size::W) as u32
    }

    /// The driver sends a buffer with a number.
    fn say(&self, driver: &mut Driver<MmioRegisters<'_>>, number: u32) {
        self.layout
            .write(Gpa(BUFFER), &number.to_le_bytes())
            .unwrap();
        driver.send(HINTS, &[Buffer::Read(BUFFER, 4)]);
        self.serve(driver);
    }

    /// The driver names pages of the host.
    fn name(&self, driver: &mut Driver<MmioRegisters<'_>>, first: u64, count: u64) {
        let bytes = (count * unit()) as u32;
        driver.send(HINTS, &[Buffer::Write(at(first).0, bytes)]);
        self.serve(driver);
    }

    /// Serves until the buffer is used; the machine may be standing still for a moment.
    fn serve(&self, driver: &mut Driver<MmioRegisters<'_>>) {
        while driver.used(HINTS).is_empty() {
            let _ = self.slot.0.core().turn(0);
        }
    }

    /// Which of the host's pages from [`FIRST`] on are zeros.
    fn gone(&self) -> Vec<u64> {
        let is_gone = |page: &u64| {
            let mut bytes = vec![0; unit() as usize];
            self.layout.read(at(*page), &mut bytes).unwrap();
            bytes.iter().all(|byte| *byte == 0)
        };
        (FIRST..UNITS).filter(is_gone).collect()
    }

    /// Nothing went back, nothing is under way, and the guest has its pages.
    fn assert_nothing_happened(&self, shown: u32) {
        assert!(self.gone().is_empty());
        assert!(!self.scripted.is_logging());
        assert_eq!(self.shown(), shown);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.control.end(Outcome::Left);
        if let Some(machine) = self.machine.take() {
            let outcome = machine.join();
            assert!(std::thread::panicking() || outcome.is_ok_and(|it| it == Outcome::Left));
        }
        self.balloon.finish();
    }
}

fn thread_of(run: impl FnOnce() -> Outcome + Send + 'static) -> JoinHandle<Outcome> {
    crate::host::thread::spawn("machine", run).unwrap()
}

fn at(page: u64) -> Gpa {
    Gpa(RAM_BASE + page * unit())
}

#[test]
fn what_is_named_goes_back_but_for_what_was_written() {
    let fixture = Fixture::new(true, LONG);
    let mut driver = fixture.drive();
    fixture.scripted.wrote(at(FIRST + 7));
    let (round, told) = fixture.reclaim().unwrap();
    fixture.say(&mut driver, round);
    fixture.name(&mut driver, FIRST, 8);
    // A CPU and a device write to what was free; so does a CPU to what is named thereafter, and
    // writes zeros there.
    fixture.scripted.wrote(at(FIRST + 2));
    let mut buffer = Pieces::new(fixture.layout.clone());
    buffer.push(at(FIRST + 5), 1, Access::Write).unwrap();
    buffer.copy_from(0, &[1]).unwrap();
    fixture.scripted.wrote(at(FIRST + 10));
    let zeros = vec![0; unit() as usize];
    fixture.layout.write(at(FIRST + 11), &zeros).unwrap();
    fixture.scripted.wrote(at(FIRST + 11));
    fixture.name(&mut driver, FIRST + 10, 2);
    assert_eq!(fixture.gone(), [FIRST + 11], "it is too early");
    fixture.say(&mut driver, hint::STOP);
    let reclaimed = Reclaimed {
        named: 10 * unit(),
        returned: 7 * unit(),
    };
    assert_eq!(told.recv_timeout(LONG), Ok((round, Ok(reclaimed))));
    let gone = [0, 1, 3, 4, 6, 7, 11].map(|page| FIRST + page);
    assert_eq!(fixture.gone(), gone);
    assert_eq!(fixture.shown(), hint::DONE);
    assert!(!fixture.scripted.is_logging());
    assert_eq!(fixture.control.visit(|_| ()), None, "the machine goes on");

    let (next, told) = fixture.reclaim().unwrap();
    assert_ne!(next, round);
    fixture.say(&mut driver, next);
    fixture.say(&mut driver, hint::STOP);
    let nothing = Reclaimed {
        named: 0,
        returned: 0,
    };
    assert_eq!(told.recv_timeout(LONG), Ok((next, Ok(nothing))));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_begins() {
    let fixture = Fixture::new(true, LONG);
    let why = |fixture: &Fixture| fixture.reclaim().map(|_| ()).unwrap_err();
    assert_eq!(why(&fixture), ReclaimError::NoDriver);
    let _driver = fixture.drive();
    assert!(fixture.control.pause());
    assert_eq!(why(&fixture), ReclaimError::StandsStill);
    fixture.assert_nothing_happened(hint::STOP);
    fixture.control.resume();
    while fixture.control.condition().activity != Activity::Running {
        std::thread::yield_now();
    }
    let (_, told) = fixture.reclaim().unwrap();
    assert_eq!(why(&fixture), ReclaimError::UnderWay);
    assert!(fixture.scripted.is_logging(), "that is the first one's");
    let early = told.recv_timeout(Duration::ZERO);
    assert_eq!(early, Err(RecvTimeoutError::Timeout));

    let without = Fixture::new(false, LONG);
    without.drive();
    assert_eq!(why(&without), ReclaimError::NoLog);
    without.assert_nothing_happened(hint::STOP);
}

#[test]
fn a_guest_that_never_stops_has_its_pages_again() {
    let fixture = Fixture::new(true, Duration::from_millis(50));
    let mut driver = fixture.drive();
    let (round, told) = fixture.reclaim().unwrap();
    fixture.say(&mut driver, round);
    fixture.name(&mut driver, FIRST, 8);
    let timed_out = Ok((round, Err(ReclaimError::TimedOut)));
    assert_eq!(told.recv_timeout(LONG), timed_out);
    fixture.say(&mut driver, hint::STOP);
    fixture.assert_nothing_happened(hint::DONE);
}

#[test]
fn a_driver_that_starts_over_has_its_pages_again() {
    let fixture = Fixture::new(true, LONG);
    let mut driver = fixture.drive();
    let (round, told) = fixture.reclaim().unwrap();
    fixture.say(&mut driver, round);
    fixture.name(&mut driver, FIRST, 8);
    let _driver = fixture.drive();
    let reset = Ok((round, Err(ReclaimError::Reset)));
    assert_eq!(told.recv_timeout(LONG), reset);
    fixture.assert_nothing_happened(hint::STOP);
}

#[test]
fn a_driver_that_starts_over_before_the_machine_stands_still_does_too() {
    let fixture = Fixture::new(true, LONG);
    let mut driver = fixture.drive();
    let (round, told) = fixture.reclaim().unwrap();
    fixture.say(&mut driver, round);
    fixture.name(&mut driver, FIRST, 8);
    // Nothing is taken back before the driver has started over.
    let not_yet = fixture.balloon.under_way.lock().unwrap();
    fixture.say(&mut driver, hint::STOP);
    let _driver = fixture.drive();
    drop(not_yet);
    let reset = Ok((round, Err(ReclaimError::Reset)));
    assert_eq!(told.recv_timeout(LONG), reset);
    fixture.assert_nothing_happened(hint::STOP);
}

#[test]
fn a_save_ends_what_is_under_way() {
    let fixture = Fixture::new(true, LONG);
    let mut driver = fixture.drive();
    let (round, told) = fixture.reclaim().unwrap();
    fixture.say(&mut driver, round);
    fixture.name(&mut driver, FIRST, 8);
    assert!(fixture.control.pause());
    fixture.balloon.end_reclaim();
    let ended = Ok((round, Err(ReclaimError::Ended)));
    assert_eq!(told.recv_timeout(LONG), ended);
    fixture.assert_nothing_happened(hint::DONE);
}
