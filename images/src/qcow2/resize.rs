//! Another size of the disk.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::zero::Kind;
use super::{Image, Qcow2, grow};

impl Qcow2 {
    /// Gives the disk another size.
    pub(super) fn change_size(&self, size: u64) -> io::Result<()> {
        let _one = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.size();
        if size > self.geometry.max_size() {
            let most = self.geometry.max_size();
            let line = format!("with clusters of this size a disk has {most} bytes at most");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, line));
        }
        if self.fixed_size && size != old && (!self.geometry.v3 || size < old) {
            let line = "the disk has internal snapshots, which keep its size; delete them first";
            return Err(io::Error::new(io::ErrorKind::Unsupported, line));
        }
        self.touched.store(true, Ordering::Release);
        if size < old {
            // First out of reach, then gone.
            self.size.store(size, Ordering::Release);
            let first = size.next_multiple_of(self.geometry.cluster());
            let end = old.next_multiple_of(self.geometry.cluster());
            self.unmap(first, end.saturating_sub(first), Kind::Forget)?;
            self.commit()?;
            return self.write_size(size);
        }
        self.write_size(size)?;
        // Nothing of the last cluster or of the backing file shows in what is new.
        let tail = old.next_multiple_of(self.geometry.cluster());
        let end = size.min(tail.max(self.backing_size()));
        if end > old {
            self.unmap(old, end - old, Kind::Zero { keep: false })?;
        }
        self.commit()?;
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    fn write_size(&self, size: u64) -> io::Result<()> {
        // No commit may be between having copied the L1 table and writing it.
        let _one = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut tables = self.lock();
        grow::set_size(&mut tables, size)
    }
}
