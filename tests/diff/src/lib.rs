//! The differential test: armlet's software CPU against `qemu-aarch64`, instruction by
//! instruction.
//!
//! For every row of the opcode table that runs at EL0, random encodings run from random states on
//! both sides: general and vector registers, SP, NZCV, FPCR, FPSR and a window of memory are
//! compared, and what faults must fault on both. Then come random straight-line sequences, and
//! encodings that are nobody's row, which both sides must refuse.
//!
//! - [`program`] makes encodings and operands, [`values`] the edge values, [`address`] aims loads
//!   and stores at the window; [`skip`] lists what is left out, with reasons.
//! - [`oracle`] runs them in the emulator, through the little program in `runner/`; [`subject`]
//!   runs them in armlet; [`compare`] and [`report`] tell the difference.
//! - [`run()`] does it all, on as many threads as asked. Same seed, same cases.
//!
//! The command line is `cargo run --release -p armlet-diff -- --help`.

pub mod address;
pub mod compare;
pub mod decode;
pub mod oracle;
pub mod place;
pub mod program;
pub mod report;
pub mod rng;
pub mod run;
pub mod skip;
pub mod state;
pub mod subject;
pub mod values;

pub use run::{Config, run};

/// Why a comparison cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of the host is missing.
    #[error(
        "{tool} cannot be started ({source}); the packages qemu-user and gcc-aarch64-linux-gnu have what is needed"
    )]
    Missing {
        /// Its name.
        tool: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The oracle's program does not build.
    #[error("the oracle's program does not build: {0}")]
    Build(String),
    /// The oracle ends or answers nonsense.
    #[error("the oracle does not answer")]
    Silent,
    /// A program has too many instructions.
    #[error("a program of {0} instructions is too long")]
    TooLong(usize),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Guest memory is too small.
    #[error(transparent)]
    Memory(#[from] memory::OutOfRegion),
    /// A worker died.
    #[error("a worker thread died")]
    Worker,
}
