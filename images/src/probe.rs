//! What the first bytes of a file say that it is.
//!
//! A guest writes the first bytes of a raw disk. If these bytes decided what the file is, a guest
//! could turn its disk into an image with a backing file of its choice, and read that file after the
//! next start. So a file that was opened as raw without being asked to is [guarded](guards): writes
//! that would make it look like something else are refused.

/// Bytes at the start of a file that [`probe`] looks at.
pub const PROBED: usize = 512;

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Like nothing known: raw.
    Raw,
    /// Like qcow2.
    Qcow2,
    /// Like an image of this kind, which we cannot read.
    Like(&'static str),
}

/// Where images of other kinds say what they are.
const FOREIGN: [(usize, &[u8], &str); 12] = [
    (0, b"KDMV", "a VMDK image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "a cloop image"),
];

/// The first bytes of QCOW images of all versions.
const QCOW: &[u8] = b"QFI\xfb";

/// What a file that begins like this looks like.
pub fn probe(start: &[u8]) -> Looks {
    let has = |at: usize, magic: &[u8]| start.get(at..at + magic.len()) == Some(magic);
    if has(0, QCOW) {
        return if has(4, &[0, 0, 0, 1]) {
            Looks::Like("a QCOW image of version 1")
        } else {
            Looks::Qcow2
        };
    }
    let foreign = FOREIGN.iter().find(|(at, magic, _)| has(*at, magic));
    foreign.map_or(Looks::Raw, |(_, _, name)| Looks::Like(name))
}

/// Whether a write at `at` could change what the file looks like.
pub fn guards(at: u64) -> bool {
    at < PROBED as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_their_first_bytes() {
        assert_eq!(probe(b"QFI\xfb\0\0\0\x03"), Looks::Qcow2);
        assert_eq!(probe(b""), Looks::Raw);
        assert_eq!(probe(&[0; PROBED]), Looks::Raw);
        assert!(matches!(probe(b"QFI\xfb\0\0\0\x01"), Looks::Like(_)));
        for (at, magic, name) in FOREIGN {
            let mut start = vec![0; PROBED];
            start[at..at + magic.len()].copy_from_slice(magic);
            assert_eq!(probe(&start), Looks::Like(name));
            assert!(guards(at as u64));
        }
    }
}
