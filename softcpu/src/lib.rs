//! softcpu
