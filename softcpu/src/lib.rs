//! softcpu

pub mod fp;
