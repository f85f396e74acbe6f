//! A function's ways to the guest: a message by the vector that the driver has chosen for the cause,
//! or the pin and the interrupt status while messages are disabled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::host::Interrupt;
use super::spec::{CONFIG_CHANGED, NO_VECTOR, USED};
use crate::pci::Interrupts;

/// Vectors, and the interrupt status with its pin.
#[derive(Debug)]
pub(super) struct FunctionInterrupt {
    wires: Arc<Interrupts>,
    chosen: Mutex<Chosen>,
}

/// What of it a guest sets and sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub config: u16,
    pub queues: Vec<u16>,
    pub causes: u8,
}

impl FunctionInterrupt {
    pub fn new(wires: Arc<Interrupts>, queues: usize) -> Self {
        let chosen = Chosen {
            config: NO_VECTOR,
            queues: vec![NO_VECTOR; queues],
            causes: 0,
        };
        Self {
            wires,
            chosen: Mutex::new(chosen),
        }
    }

    pub fn reset(&self) {
        let mut chosen = self.lock();
        chosen.config = NO_VECTOR;
        chosen.queues.fill(NO_VECTOR);
        self.set_causes(&mut chosen, 0);
    }

    /// The interrupt status, which reading clears.
    pub fn take_causes(&self) -> u8 {
        let mut chosen = self.lock();
        let causes = chosen.causes;
        self.set_causes(&mut chosen, 0);
        causes
    }

    pub fn config_vector(&self) -> u16 {
        self.lock().config
    }

    pub fn set_config_vector(&self, vector: u16) {
        self.lock().config = self.possible(vector);
    }

    pub fn queue_vector(&self, queue: u16) -> u16 {
        let chosen = self.lock();
        let vector = chosen.queues.get(usize::from(queue));
        vector.copied().unwrap_or(NO_VECTOR)
    }

    pub fn set_queue_vector(&self, queue: u16, vector: u16) {
        let vector = self.possible(vector);
        if let Some(chosen) = self.lock().queues.get_mut(usize::from(queue)) {
            *chosen = vector;
        }
    }

    /// A vector that the function has not is refused: the driver reads that it has none.
    fn possible(&self, vector: u16) -> u16 {
        if vector < self.wires.vectors() {
            vector
        } else {
            NO_VECTOR
        }
    }

    pub fn save(&self) -> Chosen {
        self.lock().clone()
    }

    /// Takes on saved values, if they can be.
    pub fn restore(&self, saved: Chosen) -> Option<()> {
        let mut chosen = self.lock();
        let possible = |vector: u16| self.possible(vector) == vector;
        let fits = saved.queues.len() == chosen.queues.len()
            && saved.queues.iter().all(|vector| possible(*vector))
            && possible(saved.config)
            && saved.causes & !(USED | CONFIG_CHANGED) == 0;
        if !fits {
            return None;
        }
        *chosen = saved;
        let causes = chosen.causes;
        self.set_causes(&mut chosen, causes);
        Some(())
    }

    /// The lock is held while the pin is driven, so that two threads cannot swap their order.
    fn set_causes(&self, chosen: &mut Chosen, causes: u8) {
        chosen.causes = causes;
        self.wires.set_pin(causes != 0);
    }

    fn raise(&self, cause: u8, vector: impl FnOnce(&Chosen) -> u16) {
        let mut chosen = self.lock();
        if self.wires.messages() {
            // Not a vector: none is so high.
            self.wires.signal(vector(&chosen));
        } else {
            let causes = chosen.causes | cause;
            self.set_causes(&mut chosen, causes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for FunctionInterrupt {
    fn used(&self, queue: u16) {
        let vector = |chosen: &Chosen| chosen.queues.get(usize::from(queue)).copied();
        self.raise(USED, |chosen| vector(chosen).unwrap_or(NO_VECTOR));
    }

    fn config_changed(&self) {
        self.raise(CONFIG_CHANGED, |chosen| chosen.config);
    }
}
