//! Guest RAM: regions of host memory, the layout that places them in a guest's physical address
//! space, and the cache of page frames that makes a software CPU's accesses fast.
//!
//! This is the one crate that touches guest memory by pointer. Everything it hands out is safe:
//! a guest, other vCPUs and devices may change any byte at any time, so bytes are only ever read
//! and written through atomics or volatile copies, and a frame can only be reached while the
//! region that owns it is held.

#[cfg(not(target_endian = "little"))]
compile_error!("guest memory is little-endian; a big-endian host would have to swap every access");

mod device;
mod frames;
mod host;
mod layout;
mod pages;
mod pieces;
mod region;
pub mod rights;

pub use device::Access;
pub use frames::{FrameCache, Grant, Mode, Unit};
pub use host::{Run, Way, page_size};
pub use layout::{Layout, LayoutError, Mapping, Prot};
pub use pages::PageSet;
pub use pieces::{BeyondPieces, Pieces};
pub use region::{OutOfRegion, Region};
pub use rights::Rights;
