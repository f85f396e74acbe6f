//! The guest program that writes what must survive a power cut, and says what did: see
//! `files/durable.c`.

use crate::store::write;
use crate::{Error, Store, run};
use std::fs;
use std::process::Command;

/// The program.
pub(crate) const SOURCE: &str = include_str!("../files/durable.c");

/// The compiler that the host needs.
const COMPILER: &str = "aarch64-linux-gnu-gcc";

impl Store {
    /// The program `armlet-durable`, static, for [`Extras::program`](crate::initramfs::Extras). The
    /// Debian guest has it. The caller does not hold the lock.
    pub fn durable(&self) -> Result<Vec<u8>, Error> {
        let _lock = self.lock()?;
        self.compile_durable()
    }

    /// As [`Self::durable`], when the lock is held.
    pub(crate) fn compile_durable(&self) -> Result<Vec<u8>, Error> {
        let (source, program) = (self.root().join("durable.c"), self.root().join("durable"));
        let same = fs::read_to_string(&source).is_ok_and(|text| text == SOURCE);
        if !same || !program.exists() {
            let partial = program.with_extension("partial");
            let text = partial.with_extension("partial.c");
            write(&text, SOURCE.as_bytes())?;
            run::output(
                Command::new(COMPILER)
                    .args(["-static", "-O2", "-march=armv8-a", "-o"])
                    .args([&partial, &text]),
            )?;
            fs::rename(&partial, &program).map_err(Error::file(&program))?;
            // What the program was made from, and so the last to be there.
            fs::rename(&text, &source).map_err(Error::file(&source))?;
        }
        fs::read(&program).map_err(Error::file(program))
    }
}
