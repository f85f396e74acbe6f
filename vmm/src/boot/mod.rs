//! Starting a kernel: from files to guest memory and the first vCPU's registers.
//!
//! Follows Linux's `Documentation/arch/arm64/booting.rst`. [`Boot::open`] looks at the files and
//! decides where everything goes ([`plan`], pure); [`Boot::load`] writes it, once for each start
//! of the guest. Kernels stream from the file, through the decompressor if need be, into guest
//! memory; no whole copy is ever held.
//!
//! Formats: arm64 `Image`, raw or compressed by gzip or zstd; EFI zboot with such a payload; and a
//! flat binary without a header, entered at the start of RAM + 512 KiB. [`sniff`] tells them from
//! everything else. A new format is a new [`sniff::Kind`].

mod error;
mod file;
pub mod image;
pub mod plan;
mod side_by_side;
pub mod sniff;
pub mod zboot;

#[cfg(test)]
mod tests;

use std::path::Path;

use aarch64::machine::Span;
use memory::Layout;

pub use error::BootError;
use file::{Kernel, Source};
pub use plan::BootPlan;
use plan::{DoesNotFit, Part};

/// What a guest is started from, checked and placed.
#[derive(Debug)]
pub struct Boot {
    kernel: Kernel,
    initrd: Option<Source>,
    plan: BootPlan,
}

impl Boot {
    /// Opens the files of a guest with the memory `ram`, and places them there.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or does not fit.
    pub fn open(kernel: &Path, initrd: Option<&Path>, ram: Span) -> Result<Self, BootError> {
        let kernel = Kernel::open(kernel)?;
        let initrd = initrd
            .map(|path| Source::open(Part::Initrd, path))
            .transpose()?;
        let initrd_len = initrd.as_ref().map(Source::length);
        let plan = BootPlan::new(ram, kernel.footprint, initrd_len);
        let plan = plan.map_err(|DoesNotFit { part, needs }| {
            let file = match (part, &initrd) {
                (Part::Initrd, Some(initrd)) => initrd,
                (Part::Kernel, _) | (Part::Initrd, None) => &kernel.source,
            };
            BootError::DoesNotFit {
                part,
                path: file.path(),
                ram: ram.size,
                needs,
            }
        })?;
        Ok(Self {
            kernel,
            initrd,
            plan,
        })
    }

    /// Where everything goes, for the device tree and the first vCPU.
    #[must_use]
    pub fn plan(&self) -> &BootPlan {
        &self.plan
    }

    /// Writes the kernel, the initial RAM disk and the device tree to guest memory. It can be done
    /// again, to start the guest anew.
    ///
    /// # Errors
    /// When a file is damaged or changed, or the device tree is too long.
    pub fn load(&self, layout: &Layout, dtb: &[u8]) -> Result<(), BootError> {
        if dtb.len() as u64 > self.plan.dtb.size {
            return Err(BootError::DeviceTreeTooLong);
        }
        self.kernel.load(layout, self.plan.kernel)?;
        if let (Some(initrd), Some(span)) = (&self.initrd, self.plan.initrd) {
            initrd.load(layout, span)?;
        }
        layout.write(self.plan.dtb.base, dtb)?;
        Ok(())
    }
}
