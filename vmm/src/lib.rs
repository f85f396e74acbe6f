//! armlet's machine: configuration, composition, vCPU threads and their exits, firmware calls,
//! the console, and how it all ends.

pub mod board;
pub mod boot;
pub mod config;
pub mod console;
pub mod control;
pub mod coordinator;
pub mod fleet;
pub mod gate;
pub mod host;
pub mod machine;
pub mod outcome;
pub mod power;
pub mod psci;
pub mod state;
pub mod stopping;
pub mod text;
pub mod vcpu;
