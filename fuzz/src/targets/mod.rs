//! The targets, by what they read.

pub mod balloon;
pub mod block;
pub mod boot;
pub mod config;
pub mod console;
pub mod control;
pub mod cpu;
pub mod device_tree;
pub mod gic;
pub mod layout;
pub mod machine;
pub mod pci;
pub mod peripherals;
pub mod psci;
pub mod qcow2;
pub mod state;
pub mod virtio;
pub mod virtio_pci;
