//! The guests that the demo, the end-to-end tests and the benchmarks boot.
//!
//! Everything comes from the Debian archive the host's own apt is configured for, through a private
//! apt state ([`apt`]) that leaves the host's package lists and architectures alone and needs no
//! root. No guest code runs while a guest is built: packages are only unpacked, and [`cpio`] writes
//! the initramfs.
//!
//! A [`Store`] is a directory (`target/guests`) with this content, each made on first use:
//! ```text
//! apt/                       private apt lists and cache
//! debs/                      downloaded packages
//! kernels/NAME/Image         one kernel; a file put here by hand is used as it is
//! kernels/NAME/package       the package it came from
//! kernels/NAME/modules/      its modules, as in /lib/modules/VERSION
//! busybox                    static arm64 busybox
//! userland/                  an unpacked Debian arm64 tree with openssl, python3, xz and sqlite3
//! initramfs.cpio.gz          busybox and `files/init`: boots to what `armlet.do=` names
//! rootfs/root.img            a Debian system on ext4 ([`rootfs`])
//! NAME-KERNEL.cpio           the same with modules, actions and programs ([`initramfs::Extras`])
//! userland.cpio              the same with the Debian tree, uncompressed (quicker to unpack)
//! ```
//! To add a kernel, add a variant to [`Kernel`]; to add an action, see `files/init`.

pub mod apt;
pub mod cpio;
mod durable;
mod error;
pub mod initramfs;
mod kernel;
mod kernels;
mod modules;
pub mod rootfs;
mod run;
mod store;
mod userland;

pub use error::Error;
pub use kernel::Kernel;
pub use store::Store;
pub use userland::USERLAND_SCRIPT;
