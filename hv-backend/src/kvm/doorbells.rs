//! Events in place of exits and calls (`KVM_IOEVENTFD`, `KVM_IRQFD`).

use std::os::fd::{BorrowedFd, OwnedFd};

use aarch64::Intid;
use aarch64::gic::END_OF_SPIS;

use super::sys;
use super::vm::{KvmVm, os};
use crate::api::{Doorbell, Doorbells, HostError};

/// What the kernel's default routing calls an SPI: its number among SPIs.
fn route(intid: Intid) -> Result<u32, HostError> {
    let number = intid.0.checked_sub(Intid::FIRST_SPI);
    let number = number.filter(|_| intid.0 < END_OF_SPIS);
    number.ok_or_else(|| HostError::BadState(format!("interrupt {} is no SPI", intid.0)))
}

impl Doorbells for KvmVm {
    fn event(&self) -> Result<OwnedFd, HostError> {
        sys::eventfd().map_err(os("eventfd"))
    }

    fn bind(&self, bell: &Doorbell, event: BorrowedFd<'_>) -> Result<(), HostError> {
        sys::ioeventfd(self.fd(), bell, event, true).map_err(os("KVM_IOEVENTFD"))
    }

    fn unbind(&self, bell: &Doorbell, event: BorrowedFd<'_>) -> Result<(), HostError> {
        sys::ioeventfd(self.fd(), bell, event, false).map_err(os("KVM_IOEVENTFD"))
    }

    fn bind_spi(&self, intid: Intid, event: BorrowedFd<'_>) -> Result<(), HostError> {
        sys::irqfd(self.fd(), route(intid)?, event, true).map_err(os("KVM_IRQFD"))
    }

    fn unbind_spi(&self, intid: Intid, event: BorrowedFd<'_>) -> Result<(), HostError> {
        sys::irqfd(self.fd(), route(intid)?, event, false).map_err(os("KVM_IRQFD"))
    }
}
