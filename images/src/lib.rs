//! Disk images: what is behind a virtual disk, and the tools to make and mend it.
//!
//! An [`Image`] is an array of bytes that several threads read and write at once. [`open()`] makes one
//! of a file: raw (a file or a block device as it is) or qcow2 (see [`qcow2`]). How it is opened is in
//! [`Options`]; everything that can be wrong with a file is an [`ImageError`] of one line.
//!
//! The crate knows no guest memory and no device. Who has a faster way to move bytes (vectored
//! reads straight into guest memory, io_uring) asks [`Image::extent`] and [`Image::write_extent`]
//! where they are in a file, and moves them there itself.
//!
//! Files are untrusted: a guest wrote them, or somebody sent them. Nothing in one may make this
//! crate panic, loop without end, allocate without bound, or open a file it may not.
//!
//! Left out: networks (`nbd:` and the like), images of other programs (VMDK, VHDX, VDI), encryption.

#![forbid(unsafe_code)]

mod chain;
mod convert;
mod create;
mod error;
mod fresh;
mod host;
mod image;
mod info;
mod lock;
mod maintain;
mod open;
mod options;
mod probe;
pub mod qcow2;
mod raw;
mod storage;
pub mod testing;

pub use chain::{files, outside};
pub use convert::{Conversion, convert};
pub use create::{NewImage, create};
pub use error::{ImageError, Problem};
pub use fresh::abandon;
pub use image::{Extent, FileRange, Hold, Image, Limits};
pub use info::{Info, info};
pub use maintain::{check, repair, resize};
pub use open::{open, open_qcow2};
pub use options::{Backing, Cache, Durability, Format, Options};
pub use qcow2::compress::{Compression, compression};
pub use storage::Storage;
