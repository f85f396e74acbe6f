//! RAM, devices and the interrupt controller: the [`Board`] that vCPUs' exits reach.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::machine::{self, Span};
use aarch64::{Gpa, Intid, Size, SysReg, VcpuId};
use devices::bus::{Bus, BusError, MmioDevice};
use devices::pl011::Pl011;
use devices::pl031::Pl031;
use devices::pl061::Pl061;
use devices::serial::SerialSink;
use devices::virtio::GuestRam;
use devices::virtio::console::Console;
use memory::{Layout, Prot, Region};

use super::StartError;
use super::balloon::GuestBalloon;
use super::contents::Contents;
use super::disk::OpenDisk;
use super::interrupts::Interrupts;
use super::pci::{self, Bridge};
use super::virtio::{Means, VirtioSlots, Wanted};
use crate::board::Board;
use crate::config::Transport;
use crate::fleet::Fleet;
use crate::host::clock::{AlarmHolder, Alarms, WallClock};
use crate::power::Entry;
use crate::vcpu::chain;

/// What the platform is connected to.
pub struct Wiring<'a> {
    pub fleet: Arc<Fleet>,
    /// Where the serial port's output goes.
    pub serial: Box<dyn SerialSink>,
    pub alarms: &'a Alarms,
    /// What virtio devices sit behind.
    pub transport: Transport,
    /// The virtio devices, in their order.
    pub virtio: &'a [Wanted],
    /// The disks among them.
    pub disks: Vec<OpenDisk>,
    /// The console among them.
    pub console: Arc<Console>,
}

/// The machine around the vCPUs.
pub struct Platform {
    // Configuration.
    contents: Contents,
    // Wiring.
    pub(super) fleet: Arc<Fleet>,
    bus: Bus,
    pub(super) interrupts: Interrupts,
    pub(super) uart: Arc<Pl011>,
    pub(super) rtc: Arc<Pl031>,
    pub(super) gpio: Arc<Pl061>,
    pub(super) pci: Bridge,
    pub(super) virtio: VirtioSlots,
    alarms: AlarmHolder,
    // State.
    ram: Arc<GuestRam>,
    power_on: Mutex<PowerOn>,
}

/// How far the machine is from its state at power-on.
#[derive(Debug)]
enum PowerOn {
    /// Nothing has run since RAM was filled; where vCPU 0 starts.
    Fresh(Entry),
    /// The guest has run.
    Used,
}

impl Platform {
    /// Makes the devices. There is no RAM yet: [`Platform::power_on`] or [`Platform::restore`]
    /// follows.
    pub fn new(wiring: Wiring<'_>, contents: Contents) -> Result<Self, StartError> {
        let Wiring {
            fleet,
            serial,
            alarms,
            transport,
            virtio,
            disks,
            console,
        } = wiring;
        let interrupts = Interrupts::new(&fleet);
        let line = |intid| interrupts.line(intid);
        let uart = Arc::new(Pl011::new(line(machine::UART_INTID), serial));
        let alarm = alarms.add();
        let rtc = Pl031::new(line(machine::RTC_INTID), Arc::new(WallClock), alarm.clone());
        let rtc = Arc::new(rtc);
        let ringing = rtc.clone();
        alarm.rings(move || ringing.on_alarm());
        let alarm = alarms.add();
        let gpio = Arc::new(Pl061::new(line(machine::GPIO_INTID), alarm.clone()));
        let ringing = gpio.clone();
        alarm.rings(move || ringing.on_alarm());
        let mut bridge = pci::bridge(transport, virtio.len(), &interrupts);
        let ram = Arc::new(GuestRam::default());
        let means = Means {
            ram: &ram,
            span: contents.ram(),
            fleet: &fleet,
            interrupts: &interrupts,
            bridge: &mut bridge,
            disks,
            console,
            balloon: None,
        };
        let virtio = VirtioSlots::new(virtio, means)?;
        let pci = bridge.map(Arc::new);
        let bus = build_bus(
            (&interrupts, &pci, &virtio),
            [
                ("UART", machine::UART, uart.clone()),
                ("RTC", machine::RTC, rtc.clone()),
                ("GPIO", machine::GPIO, gpio.clone()),
            ],
        )
        .map_err(|error| StartError::Host(error.to_string()))?;
        Ok(Self {
            contents,
            fleet,
            bus,
            interrupts,
            uart,
            rtc,
            gpio,
            pci,
            virtio,
            alarms: alarms.holder(),
            ram,
            power_on: Mutex::new(PowerOn::Used),
        })
    }

    /// Loads the guest into new RAM.
    pub fn power_on(&self) -> Result<(), StartError> {
        let entry = self.contents.load(&self.new_ram()?)?;
        *self.how_far() = PowerOn::Fresh(entry);
        Ok(())
    }

    /// The machine has come to its end, and no vCPU runs.
    pub fn finish(&self) {
        if let Some(balloon) = self.balloon() {
            balloon.finish();
        }
        self.virtio.finish();
    }

    /// The memory balloon, if there is one.
    pub fn balloon(&self) -> Option<&Arc<GuestBalloon>> {
        self.virtio.balloon()
    }

    /// The serial port.
    pub fn uart(&self) -> &Arc<Pl011> {
        &self.uart
    }

    /// Maps new RAM.
    fn new_ram(&self) -> Result<Layout, StartError> {
        let Span { base, size } = self.contents.ram();
        let refuse = |error| {
            let mib = size >> 20;
            StartError::Input(format!("--memory: the host refuses {mib} MiB: {error}"))
        };
        let host = |error| StartError::Host(chain(&error));
        let region = Arc::new(Region::new(size).map_err(refuse)?);
        let layout = Layout::default().with(base, region.clone(), Prot::ReadWrite);
        let layout = layout.map_err(|error| StartError::Host(error.to_string()))?;
        self.fleet
            .vm()
            .map(base, region, Prot::ReadWrite)
            .map_err(host)?;
        self.set_ram(layout.clone());
        Ok(layout)
    }

    fn start_over(&self) -> Result<Entry, StartError> {
        let Self {
            contents,
            fleet,
            bus: _,
            interrupts,
            uart,
            rtc,
            gpio,
            pci,
            virtio,
            alarms: _,
            ram: _,
            power_on: _,
        } = self;
        uart.reset();
        rtc.reset();
        gpio.reset();
        if let Some(pci) = pci {
            pci.reset();
        }
        virtio.reset();
        let host = |error| StartError::Host(chain(&error));
        interrupts.reset().map_err(host)?;
        // New memory rather than zeros written: the host gets back what the guest had touched.
        drop(fleet.vm().unmap(contents.ram().base).map_err(host)?);
        contents.load(&self.new_ram()?)
    }

    /// RAM as it is mapped.
    pub fn ram(&self) -> Arc<Layout> {
        self.ram.get()
    }

    /// RAM is mapped so from now on.
    pub(super) fn set_ram(&self, layout: Layout) {
        self.ram.set(Arc::new(layout));
    }

    fn how_far(&self) -> MutexGuard<'_, PowerOn> {
        self.power_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn build_bus<const N: usize>(
    (interrupts, pci, virtio): (&Interrupts, &Bridge, &VirtioSlots),
    devices: [(&'static str, Span, Arc<dyn MmioDevice>); N],
) -> Result<Bus, BusError> {
    let mut bus = Bus::new();
    interrupts.attach(&mut bus)?;
    if let Some(pci) = pci {
        pci.attach(&mut bus)?;
    }
    virtio.attach(&mut bus)?;
    for (name, span, device) in devices {
        bus.insert(name, span, device)?;
    }
    Ok(bus)
}

impl Board for Platform {
    fn mmio_read(&self, gpa: Gpa, size: Size) -> Option<u64> {
        self.bus.read(gpa, size)
    }

    fn mmio_write(&self, gpa: Gpa, size: Size, data: u64) -> Option<()> {
        self.bus.write(gpa, size, data)
    }

    fn sysreg_read(&self, vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        self.interrupts.icc_read(vcpu, reg)
    }

    fn sysreg_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        self.interrupts.icc_write(vcpu, reg, data)
    }

    fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool) {
        self.interrupts.set_ppi(vcpu, intid, high);
    }

    fn reset_cpu_interface(&self, vcpu: VcpuId) {
        self.interrupts.reset_cpu_interface(vcpu);
    }

    fn set_stopped(&self, stopped: bool) {
        self.uart.hold(stopped);
        if stopped {
            self.alarms.hold();
            self.virtio.hold();
        } else {
            self.virtio.release();
            // The real-time clock went on: it may be time for its alarm.
            self.rtc.on_alarm();
            self.alarms.release();
        }
    }

    fn press_power_key(&self) {
        self.gpio.press(machine::POWER_BUTTON_LINE);
    }

    fn is_memory(&self, gpa: Gpa) -> bool {
        self.contents.ram().contains(gpa)
    }

    fn reset(&self) -> Result<Entry, String> {
        let before = std::mem::replace(&mut *self.how_far(), PowerOn::Used);
        match before {
            PowerOn::Fresh(entry) => Ok(entry),
            PowerOn::Used => self.start_over().map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform")
            .field("contents", &self.contents)
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}
