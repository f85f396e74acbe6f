//! The machine's PCIe host bridge, if its virtio devices sit behind one.
//!
//! Messages of functions go to the GICv2m frame, whichever interrupt controller there is: each is
//! the rising edge of an SPI. The frame has 128 of them. A device has one for each queue and one for
//! its configuration, so 31 disks, or entropy devices, of one queue need 62. Only many queues can
//! need more than there are (31 disks of 4 queues: 155); a driver that gets fewer than it asks for
//! shares one among its queues, or falls back to INTx, as Linux does. An ITS would have thousands,
//! and needs tables in guest memory, commands, and a model of them for the accelerators without a
//! kernel's.

use std::sync::Arc;

use devices::pci::{PciHost, intx};
use devicetree::Pcie;

use super::interrupts::Interrupts;
use crate::config::Transport;

/// A bridge, still without functions, for a machine with so many virtio devices that has one.
pub fn bridge(transport: Transport, devices: usize, interrupts: &Interrupts) -> Option<PciHost> {
    let line = |intid| interrupts.line(intid);
    let bridge = || PciHost::new(line, interrupts.messages());
    transport.has_bridge(devices).then(bridge)
}

/// What the device tree says of the bridge.
pub fn description() -> Pcie {
    let pins = |device| [0, 1, 2, 3].map(|pin| intx(device, pin));
    Pcie {
        intx: [0, 1, 2, 3].map(pins),
    }
}

/// The bridge, shared with the bus it is on.
pub type Bridge = Option<Arc<PciHost>>;
