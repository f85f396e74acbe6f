//! The log of written memory: the kernel's, and what the executor wrote in the guest's name.

use aarch64::{Gpa, PAGE_SIZE};
use kvm_ioctls::VmFd;
use memory::{PageSet, Region};

use super::failed;
use crate::api::HostError;

/// The pages of a slot that were written since the last time. The executor does not write meanwhile.
pub fn take(vm: &VmFd, slot: u32, region: &Region) -> Result<PageSet, HostError> {
    let bytes = region.size();
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let bitmap = vm.get_dirty_log(slot, length);
    let bitmap = bitmap.map_err(failed("KVM_GET_DIRTY_LOG"))?;
    let mut pages = PageSet::from_bitmap(bytes, &bitmap, host_page());
    pages.insert_all(&region.take_log());
    Ok(pages)
}

/// What one bit of the kernel's log stands for.
fn host_page() -> u64 {
    super::sys::page_size().max(PAGE_SIZE)
}

/// There is no region that begins at `gpa`.
pub fn nothing_at(gpa: Gpa) -> HostError {
    let reason = "no region begins there".into();
    HostError::Map { gpa, reason }
}
