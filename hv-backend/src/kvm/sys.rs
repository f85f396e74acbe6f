//! System calls and instructions that `kvm-ioctls` leaves to its users.

// UNSAFETY: maps memory shared with the kernel, gives guest memory to it, sends signals, and reads
// the counter's registers.
#![expect(unsafe_code, reason = "calls of the host")]

use std::arch::asm;
use std::io::{Error, Result};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

use aarch64::Gpa;
use kvm_bindings::{
    KVM_ARM_FEATURE_ID_RANGE_SIZE, KVM_IRQFD_FLAG_DEASSIGN, KVM_MEM_LOG_DIRTY_PAGES,
    KVM_MEM_READONLY, kvm_arm_counter_offset, kvm_device_attr, kvm_enable_cap, kvm_ioeventfd,
    kvm_ioeventfd_flag_nr_datamatch, kvm_ioeventfd_flag_nr_deassign, kvm_irqfd, kvm_run,
    kvm_userspace_memory_region, kvm_vcpu_init, reg_mask_range,
};
use kvm_ioctls::{DeviceFd, VcpuFd, VmFd};
use memory::{Prot, Region};

use crate::api::Doorbell;

/// The flag that makes `KVM_RUN` of one vCPU return at once, in a mapping of its own: the one that
/// `kvm-ioctls` has is borrowed by the vCPU's thread.
#[derive(Debug)]
pub struct ImmediateExit {
    page: NonNull<libc::c_void>,
}

// SAFETY: the mapping belongs to the process, and its one use is atomic.
unsafe impl Send for ImmediateExit {}
// SAFETY: as above.
unsafe impl Sync for ImmediateExit {}

impl ImmediateExit {
    const BYTES: usize = size_of::<kvm_run>();

    /// The flag of `vcpu`.
    pub fn new(vcpu: &VcpuFd) -> Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let fd = vcpu.as_raw_fd();
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                Self::BYTES,
                access,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        NonNull::new(page)
            .map(|page| Self { page })
            .ok_or_else(Error::last_os_error)
    }

    /// Sets or clears the flag.
    pub fn set(&self, exit: bool) {
        // SAFETY: the mapping holds a whole kvm_run, and lives as long as self.
        let flag = unsafe { self.page.byte_add(offset_of!(kvm_run, immediate_exit)) };
        // SAFETY: as above; the kernel reads the byte, and we write it, through atomics only.
        let flag = unsafe { flag.cast::<AtomicU8>().as_ref() };
        flag.store(exit.into(), SeqCst);
    }
}

impl Drop for ImmediateExit {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody uses it after this. It cannot fail.
        unsafe { libc::munmap(self.page.as_ptr(), Self::BYTES) };
    }
}

/// The kernel's number of this thread.
pub fn this_thread() -> i32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Interrupts a system call of one of our threads. One that has ended is none of the process.
pub fn interrupt(thread: i32) {
    // SAFETY: it takes nothing.
    let process = unsafe { libc::getpid() };
    // SAFETY: the signal has a handler that does nothing (`catch_interrupts`).
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGRTMIN()) };
}

/// Gives the signal of [`interrupt`] a handler that does nothing, so that all it does is interrupt.
pub fn catch_interrupts() {
    extern "C" fn nothing(_: libc::c_int) {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: all bits zero are a valid sigaction: no flags (no SA_RESTART), empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the handler does nothing, which any moment allows.
        unsafe { libc::sigaction(libc::SIGRTMIN(), &raw const action, ptr::null_mut()) };
    });
}

/// Lets the signal of [`interrupt`] reach this thread.
pub fn accept_interrupts() {
    // SAFETY: all bits zero are a valid set of signals: none.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and the signal exists.
    unsafe { libc::sigaddset(&raw mut signals, libc::SIGRTMIN()) };
    // SAFETY: the set is ours; the old one is not asked for. With this it cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, ptr::null_mut()) };
}

/// Backs guest memory from `gpa` on with `region` as the memory slot `slot`, or takes the slot
/// away if there is no region; `log` makes the kernel log which of its pages are written.
///
/// The caller keeps the region until the slot is taken away, or the VM and its vCPUs are gone.
pub fn set_slot(
    vm: &VmFd,
    slot: u32,
    gpa: Gpa,
    memory: Option<(&Region, Prot)>,
    log: bool,
) -> Result<()> {
    let (host, size, flags) = match memory {
        None => (0, 0, 0),
        Some((region, prot)) => {
            let flags = match prot {
                Prot::ReadOnly => KVM_MEM_READONLY,
                Prot::ReadWrite if log => KVM_MEM_LOG_DIRTY_PAGES,
                Prot::ReadWrite => 0,
            };
            (region.host_base().as_ptr() as u64, region.size(), flags)
        }
    };
    let slot = kvm_userspace_memory_region {
        slot,
        flags,
        guest_phys_addr: gpa.0,
        memory_size: size,
        userspace_addr: host,
    };
    // SAFETY: the memory is a region's, made to be shared with a guest, and stays (see above).
    unsafe { vm.set_user_memory_region(slot) }.map_err(Error::from)
}

/// `_IOW(KVMIO, number, T)`
const fn write_request<T>(number: libc::Ioctl) -> libc::Ioctl {
    1 << 30 | (size_of::<T>() as libc::Ioctl) << 16 | 0xae << 8 | number
}

const KVM_ENABLE_CAP: libc::Ioctl = write_request::<kvm_enable_cap>(0xa3);
const KVM_IOEVENTFD: libc::Ioctl = write_request::<kvm_ioeventfd>(0x79);
const KVM_IRQFD: libc::Ioctl = write_request::<kvm_irqfd>(0x76);
const KVM_ARM_VCPU_INIT: libc::Ioctl = write_request::<kvm_vcpu_init>(0xae);
const KVM_ARM_SET_COUNTER_OFFSET: libc::Ioctl = write_request::<kvm_arm_counter_offset>(0xb5);

/// `_IOR(KVMIO, 0xb6, struct reg_mask_range)`
const KVM_ARM_GET_REG_WRITABLE_MASKS: libc::Ioctl =
    2 << 30 | (size_of::<reg_mask_range>() as libc::Ioctl) << 16 | 0xae << 8 | 0xb6;

/// How many identification registers KVM has masks of.
pub const ID_REGISTERS: usize = KVM_ARM_FEATURE_ID_RANGE_SIZE as usize;

/// Turns on an ability of a VM.
pub fn enable_cap(vm: &VmFd, cap: u32) -> Result<()> {
    let cap = kvm_enable_cap {
        cap,
        ..kvm_enable_cap::default()
    };
    // SAFETY: the kernel reads the structure that belongs to this request.
    checked(unsafe { libc::ioctl(vm.as_raw_fd(), KVM_ENABLE_CAP, &raw const cap) })
}

/// Sets what a VM's counters lie behind the host's.
pub fn set_counter_offset(vm: &VmFd, offset: u64) -> Result<()> {
    let offset = kvm_arm_counter_offset {
        counter_offset: offset,
        reserved: 0,
    };
    let fd = vm.as_raw_fd();
    // SAFETY: as above.
    checked(unsafe { libc::ioctl(fd, KVM_ARM_SET_COUNTER_OFFSET, &raw const offset) })
}

/// A new event.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: it takes nothing but numbers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    checked(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a store of the guest signal `event`, or an exit again.
pub fn ioeventfd(vm: &VmFd, bell: &Doorbell, event: BorrowedFd<'_>, on: bool) -> Result<()> {
    let Doorbell { gpa, size, value } = *bell;
    let value = value.filter(|_| size.is_some());
    let matching = u32::from(value.is_some()) << kvm_ioeventfd_flag_nr_datamatch;
    let event = kvm_ioeventfd {
        datamatch: value.unwrap_or(0),
        addr: gpa.0,
        // No length is any length.
        len: size.map_or(0, |size| size.bytes() as u32),
        fd: event.as_raw_fd(),
        flags: matching | u32::from(!on) << kvm_ioeventfd_flag_nr_deassign,
        ..kvm_ioeventfd::default()
    };
    let fd = vm.as_raw_fd();
    // SAFETY: the kernel reads the structure that belongs to this request, and takes its own hold
    // of the event.
    checked(unsafe { libc::ioctl(fd, KVM_IOEVENTFD, &raw const event) })
}

/// Makes `event` raise the interrupt `route`, or no longer.
pub fn irqfd(vm: &VmFd, route: u32, event: BorrowedFd<'_>, on: bool) -> Result<()> {
    let event = kvm_irqfd {
        fd: event.as_raw_fd() as u32,
        gsi: route,
        flags: if on { 0 } else { KVM_IRQFD_FLAG_DEASSIGN },
        ..kvm_irqfd::default()
    };
    let fd = vm.as_raw_fd();
    // SAFETY: as above.
    checked(unsafe { libc::ioctl(fd, KVM_IRQFD, &raw const event) })
}

/// The size of the host's pages.
pub fn page_size() -> u64 {
    // SAFETY: it takes nothing but a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(0)
}

fn checked(result: libc::c_int) -> Result<()> {
    if result < 0 {
        return Err(Error::last_os_error());
    }
    Ok(())
}

/// Reads an attribute of the GIC's device, of 32 or 64 bits.
pub fn get_attribute(gic: &DeviceFd, group: u32, attr: u64) -> Result<u64> {
    // The processor is little-endian, so the half that is written is the lower one.
    let mut value = 0_u64;
    let mut attribute = kvm_device_attr {
        flags: 0,
        group,
        attr,
        addr: ptr::from_mut(&mut value) as u64,
    };
    // SAFETY: no attribute of a GICv3 has more than 64 bits.
    unsafe { gic.get_device_attr(&mut attribute) }?;
    Ok(value)
}

/// Another handle on a vCPU, for what a thread that does not run it may ask.
pub fn another_handle(vcpu: &VcpuFd) -> Result<OwnedFd> {
    // SAFETY: the handle is open as long as the borrowed vCPU.
    let borrowed = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
    borrowed.try_clone_to_owned()
}

/// Makes, or resets, a vCPU. It must not run.
pub fn init_vcpu(vcpu: &OwnedFd, init: &kvm_vcpu_init) -> Result<()> {
    // SAFETY: the kernel reads the structure that belongs to this request.
    checked(unsafe { libc::ioctl(vcpu.as_raw_fd(), KVM_ARM_VCPU_INIT, ptr::from_ref(init)) })
}

/// The host's counter now.
pub fn host_counter() -> u64 {
    let value: u64;
    // SAFETY: Linux lets programs read the counter; `isb` keeps it from being read early.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) value, options(nostack, nomem)) };
    value
}

/// What the counter counts in a second.
pub fn counter_frequency() -> u64 {
    let value: u64;
    // SAFETY: Linux lets programs read the frequency.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) value, options(nostack, nomem)) };
    value
}

/// Which bits of a VM's identification registers can be written, in the order of
/// [`mask_index`](super::registers::mask_index). None where the kernel cannot say: it came before
/// Linux 6.7, where they could not.
pub fn writable_id_registers(vm: &VmFd) -> Box<[u64; ID_REGISTERS]> {
    let mut masks = Box::new([0; ID_REGISTERS]);
    let range = reg_mask_range {
        addr: masks.as_mut_ptr() as u64,
        ..reg_mask_range::default()
    };
    let fd = vm.as_raw_fd();
    // SAFETY: the kernel reads the structure, and writes as many masks as the array has.
    let result = unsafe { libc::ioctl(fd, KVM_ARM_GET_REG_WRITABLE_MASKS, &raw const range) };
    if result != 0 {
        *masks = [0; ID_REGISTERS];
    }
    masks
}

/// `DCZID_EL0`: what `DC ZVA` clears.
pub fn zeroing_block() -> u64 {
    let value: u64;
    // SAFETY: the architecture lets programs read it.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) value, options(nostack, nomem)) };
    value
}

/// The address of an access that `KVM_EXIT_ARM_NISV` reports; the vCPU left with that exit.
pub fn undecoded_address(run: &kvm_run) -> Gpa {
    // SAFETY: every bit pattern is one of these integers.
    let access = unsafe { run.__bindgen_anon_1.arm_nisv };
    Gpa(access.fault_ipa)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks the signal of [`interrupt`] in this thread.
    fn block() {
        // SAFETY: as in `accept_interrupts`.
        let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: as there.
        unsafe { libc::sigaddset(&raw mut signals, libc::SIGRTMIN()) };
        // SAFETY: as there.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut()) };
    }

    /// Whether the signal waits for this thread to let it in.
    fn is_waiting() -> bool {
        // SAFETY: as in `accept_interrupts`.
        let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is ours.
        unsafe { libc::sigpending(&raw mut signals) };
        // SAFETY: as above.
        unsafe { libc::sigismember(&raw const signals, libc::SIGRTMIN()) == 1 }
    }

    #[test]
    fn a_thread_that_inherited_a_blocked_signal_is_interrupted() {
        catch_interrupts();
        block();
        interrupt(this_thread());
        assert!(is_waiting(), "blocked");
        accept_interrupts();
        assert!(!is_waiting(), "taken");
        interrupt(this_thread());
        assert!(!is_waiting(), "taken at once");
    }
}
