//! One function with its configuration space.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Size;

use super::config::{BarAccess, ConfigSpace};
use super::description::Vectors;
use super::interrupts::Interrupts;
use super::msix::Msix;
use super::spec::{BARS, NOBODY};
use super::{FunctionState, InvalidPciState, PciFunction};

/// A function, its configuration space and its vectors.
pub(super) struct Endpoint {
    // Configuration.
    device: u8,
    /// The BAR that holds the table of vectors.
    table: Option<usize>,
    // Wiring.
    function: Arc<dyn PciFunction>,
    interrupts: Option<Arc<Interrupts>>,
    // State.
    config: Mutex<ConfigSpace>,
}

/// A saved state that was found to be possible.
pub(super) struct Checked {
    config: ConfigSpace,
    interrupts: Option<(bool, Msix)>,
}

impl Endpoint {
    /// A function at reset. `interrupts` are there if its description says so.
    pub fn new(
        device: u8,
        function: Arc<dyn PciFunction>,
        interrupts: Option<Arc<Interrupts>>,
    ) -> Self {
        let description = function.description();
        Self {
            device,
            table: description.interrupts.map(|Vectors { bar, .. }| bar),
            config: Mutex::new(ConfigSpace::new(&description)),
            function,
            interrupts,
        }
    }

    /// What is behind configuration space.
    pub fn function(&self) -> &dyn PciFunction {
        &*self.function
    }

    /// A read inside of one word of configuration space.
    pub fn read_config(&self, offset: usize, size: Size) -> u32 {
        let access = self.lock().bar_access(offset, size);
        if let Some(access) = access {
            // Not under the lock: the BAR may be slow.
            let BarAccess { bar, offset, size } = access;
            let value = self.read_bar(bar, offset, size) as u32;
            self.lock().set_window_data(access, value);
        }
        let pin = self.interrupts.as_ref().is_some_and(|all| all.pin());
        self.lock().read(offset, size, pin)
    }

    /// A write inside of one word of configuration space. Whether BARs were moved, or memory was
    /// enabled or disabled for the function.
    pub fn write_config(&self, offset: usize, size: Size, value: u32) -> bool {
        let mut config = self.lock();
        let decoding = |config: &ConfigSpace| (config.claims(), config.enables().bus_master);
        let before = decoding(&config);
        config.write(offset, size, value);
        if let Some(interrupts) = &self.interrupts {
            interrupts.enable(config.enables());
        }
        let moved = before != decoding(&config);
        let access = config.bar_access(offset, size);
        let data = config.window_data();
        drop(config);
        if let Some(BarAccess { bar, offset, size }) = access {
            self.write_bar(bar, offset, size, u64::from(data) & size.mask());
        }
        moved
    }

    /// A load from a BAR.
    pub fn read_bar(&self, bar: usize, offset: u64, size: Size) -> u64 {
        match &self.interrupts {
            Some(interrupts) if self.table == Some(bar) => interrupts.read(offset, size),
            Some(_) | None => self.function.read_bar(bar, offset, size) & size.mask(),
        }
    }

    /// A store to a BAR.
    pub fn write_bar(&self, bar: usize, offset: u64, size: Size, value: u64) {
        match &self.interrupts {
            Some(interrupts) if self.table == Some(bar) => interrupts.write(offset, size, value),
            Some(_) | None => self.function.write_bar(bar, offset, size, value),
        }
    }

    /// What each BAR claims, and whether the function may use memory.
    pub fn decoding(&self) -> ([Option<(u64, u64)>; BARS], bool) {
        let config = self.lock();
        (config.claims(), config.enables().bus_master)
    }

    /// Back to the state at power-on, all of it.
    pub fn reset(&self) {
        self.function.reset();
        let mut config = self.lock();
        config.reset();
        if let Some(interrupts) = &self.interrupts {
            interrupts.reset();
        }
    }

    /// The state to save.
    pub fn save(&self) -> FunctionState {
        let config = self.lock();
        let saved = self.interrupts.as_ref().map(|all| all.save());
        let (pin, msix) = saved.map_or((false, None), |(pin, msix)| (pin, Some(msix)));
        FunctionState {
            device: self.device,
            config: config.bytes().to_vec(),
            pin,
            msix,
        }
    }

    /// Whether a saved state can be this function's.
    pub fn check(&self, saved: &FunctionState) -> Result<Checked, InvalidPciState> {
        let FunctionState {
            device,
            config: bytes,
            pin,
            msix,
        } = saved;
        let here = self.device;
        if *device != here {
            return Err(InvalidPciState::Devices);
        }
        let mut config = self.lock().clone();
        config
            .set_bytes(bytes)
            .ok_or(InvalidPciState::Config(here))?;
        let impossible = InvalidPciState::Msix(here);
        let interrupts = match (&self.interrupts, msix) {
            (Some(interrupts), Some(msix)) => {
                Some((*pin, interrupts.check(msix).ok_or(impossible)?))
            }
            (None, None) if !pin => None,
            (None, _) | (Some(_), None) => return Err(impossible),
        };
        Ok(Checked { config, interrupts })
    }

    /// Takes on a saved state.
    pub fn restore(&self, checked: Checked) {
        let Checked {
            config: new,
            interrupts,
        } = checked;
        let mut config = self.lock();
        *config = new;
        if let (Some(here), Some((pin, msix))) = (&self.interrupts, interrupts) {
            here.restore(config.enables(), pin, msix);
        }
    }

    fn lock(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// A read of an address that no function has.
pub(super) fn nobody(size: Size) -> u64 {
    NOBODY & size.mask()
}
