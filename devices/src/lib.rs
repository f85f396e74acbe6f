//! Device models of the armlet machine: the MMIO bus, interrupt lines, and the devices themselves.
//!
//! A device knows neither the accelerator nor the machine it sits in. It is given everything it
//! touches: its [`irq::IrqLine`], a [`clock::Clock`], an output. It never reads the host's clock,
//! starts a thread or opens a file. Each is a directory of the same files: `mod.rs` (the device
//! with its wiring), `registers.rs` (its behaviour, pure), `spec.rs` (registers and bits, as its
//! manual names them) and `state.rs` (what a snapshot holds, and how it is checked). Virtio devices
//! have a framework of their own, [`virtio`].
//!
//! Guests are hostile: no access of any size at any offset may panic, allocate without bound or
//! block.

#![forbid(unsafe_code)]

pub mod bus;
pub mod clock;
pub mod gic;
pub mod irq;
pub mod pci;
pub mod pl011;
pub mod pl031;
pub mod pl061;
mod primecell;
pub mod serial;
pub mod virtio;
