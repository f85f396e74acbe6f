//! An ad-hoc code signature with entitlements, as `codesign --sign -` makes it (Apple's headers of
//! the kernel, `osfmk/kern/cs_blobs.h`).
//!
//! A signature is a set of blobs at the end of the file, everything in it big-endian. The code
//! directory holds a hash of every page before the signature and one of every other blob; ad hoc
//! means that nobody vouches for the code directory itself. The entitlements stand there twice, as
//! the property list and in DER, which newer systems read.

use crate::error::Error;
use sha2::{Digest, Sha256};

const MAGIC_64: u32 = 0xfeed_facf;
const LC_SEGMENT_64: u32 = 0x19;
const LC_CODE_SIGNATURE: u32 = 0x1d;
const HEADER_BYTES: usize = 32;

const SET: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
const REQUIREMENTS: u32 = 0xfade_0c01;
const ENTITLEMENTS: u32 = 0xfade_7171;
const ENTITLEMENTS_DER: u32 = 0xfade_7172;

/// The code directory's version that has the fields written here.
const VERSION: u32 = 0x2_0400;
const FLAG_ADHOC: u32 = 2;
const HASH_SHA256: u8 = 2;
const HASH_BYTES: usize = 32;
/// log2 of the page size of hashes, whatever the system's pages are.
const PAGE_SHIFT: u8 = 12;
/// The text segment is a program's, not a library's.
const EXEC_MAIN_BINARY: u64 = 1;
const DIRECTORY_BYTES: usize = 88;
/// The blobs' places in the set; the hashes of those below 8 stand before those of the pages.
const SLOT_DIRECTORY: u32 = 0;
const SLOT_REQUIREMENTS: u32 = 2;
const SLOT_ENTITLEMENTS: u32 = 5;
const SLOT_ENTITLEMENTS_DER: u32 = 7;
const SPECIAL_SLOTS: u32 = 7;
/// What the system rounds segments up to.
const SEGMENT_ALIGN: u64 = 0x4000;

/// The file with a new signature in place of the one that its linker made.
///
/// # Errors
/// When `file` is no 64-bit Mach-O file that ends with room for a signature, or `entitlements` is no
/// property list of entitlements that are true.
pub fn sign(file: &[u8], identifier: &str, entitlements: &[u8]) -> Result<Vec<u8>, Error> {
    let layout = Layout::of(file)?;
    let der = entitlements_in_der(entitlements)?;
    let blobs = [
        (SLOT_REQUIREMENTS, blob(REQUIREMENTS, &0_u32.to_be_bytes())),
        (SLOT_ENTITLEMENTS, blob(ENTITLEMENTS, entitlements)),
        (SLOT_ENTITLEMENTS_DER, blob(ENTITLEMENTS_DER, &der)),
    ];
    let mut signed = file
        .get(..layout.code_limit)
        .ok_or_else(|| malformed("its signature begins after its end"))?
        .to_vec();
    let pages = layout.code_limit.div_ceil(1 << PAGE_SHIFT);
    let hashes = HASH_BYTES * (SPECIAL_SLOTS as usize + pages);
    let directory = DIRECTORY_BYTES + identifier.len() + 1 + hashes;
    let index = 12 + 8 * (blobs.len() + 1);
    let bytes = index + directory + blobs.iter().map(|(_, blob)| blob.len()).sum::<usize>();
    // Before the hashes are taken: the header is hashed too.
    layout.announce(&mut signed, bytes)?;
    let directory = code_directory(&layout, &signed, identifier, &blobs)?;
    let set = set(&directory, &blobs)?;
    debug_assert_eq!(set.len(), bytes);
    signed.extend(set);
    Ok(signed)
}

/// Where the file says what matters to its signature.
struct Layout {
    /// Bytes before the signature: all that is hashed.
    code_limit: usize,
    /// Offset of the load command of the signature.
    signature: usize,
    /// Offset of the load command of the last segment, which holds the signature.
    last_segment: usize,
    /// Where the text segment lies in the file.
    text: (u64, u64),
}

impl Layout {
    fn of(file: &[u8]) -> Result<Self, Error> {
        if word(file, 0)? != MAGIC_64 {
            return Err(malformed("it is no 64-bit Mach-O file"));
        }
        let (mut signature, mut last_segment, mut text) = (None, None, None);
        let mut at = HEADER_BYTES;
        for _ in 0..word(file, 16)? {
            let (command, bytes) = (word(file, at)?, word(file, at + 4)?);
            match command {
                LC_CODE_SIGNATURE => signature = Some(at),
                LC_SEGMENT_64 if file.get(at + 8..at + 24) == Some(b"__LINKEDIT\0\0\0\0\0\0") => {
                    last_segment = Some(at);
                }
                LC_SEGMENT_64
                    if file.get(at + 8..at + 24) == Some(b"__TEXT\0\0\0\0\0\0\0\0\0\0") =>
                {
                    text = Some((long(file, at + 40)?, long(file, at + 48)?));
                }
                _ => {}
            }
            at += bytes as usize;
        }
        let signature = signature.ok_or_else(|| malformed("its linker left no signature"))?;
        Ok(Self {
            code_limit: word(file, signature + 8)? as usize,
            signature,
            last_segment: last_segment.ok_or_else(|| malformed("it has no __LINKEDIT"))?,
            text: text.ok_or_else(|| malformed("it has no __TEXT"))?,
        })
    }

    /// Writes the signature's size into the header.
    fn announce(&self, file: &mut [u8], bytes: usize) -> Result<(), Error> {
        let size = u32::try_from(bytes).map_err(|_| malformed("it is too large"))?;
        put(file, self.signature + 12, &size.to_le_bytes())?;
        let start = long(file, self.last_segment + 40)?;
        let in_file = (self.code_limit as u64 + u64::from(size))
            .checked_sub(start)
            .ok_or_else(|| malformed("its signature is outside of __LINKEDIT"))?;
        put(file, self.last_segment + 48, &in_file.to_le_bytes())?;
        let in_memory = in_file.next_multiple_of(SEGMENT_ALIGN);
        put(file, self.last_segment + 32, &in_memory.to_le_bytes())
    }
}

/// The blob with the hashes.
fn code_directory(
    layout: &Layout,
    code: &[u8],
    identifier: &str,
    blobs: &[(u32, Vec<u8>)],
) -> Result<Vec<u8>, Error> {
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_| malformed("it is too large"));
    let pages = code.chunks(1 << PAGE_SHIFT);
    let name_at = size(DIRECTORY_BYTES)?;
    let special = HASH_BYTES * SPECIAL_SLOTS as usize;
    let hashes_at = size(DIRECTORY_BYTES + identifier.len() + 1 + special)?;
    let mut body = Vec::new();
    for field in [VERSION, FLAG_ADHOC, hashes_at, name_at, SPECIAL_SLOTS] {
        body.extend(field.to_be_bytes());
    }
    body.extend(size(pages.len())?.to_be_bytes());
    body.extend(size(code.len())?.to_be_bytes());
    // The hash's size and kind, no platform, the page size.
    body.extend([HASH_BYTES as u8, HASH_SHA256, 0, PAGE_SHIFT]);
    // Spare; no scatter vector; no team; spare; no 64-bit limit, as the one above suffices.
    body.extend([0; 4 + 4 + 4 + 4 + 8]);
    for field in [layout.text.0, layout.text.1, EXEC_MAIN_BINARY] {
        body.extend(field.to_be_bytes());
    }
    body.extend(identifier.as_bytes());
    body.push(0);
    for slot in (1..=SPECIAL_SLOTS).rev() {
        match blobs.iter().find(|(place, _)| *place == slot) {
            Some((_, blob)) => body.extend(Sha256::digest(blob)),
            None => body.extend([0; HASH_BYTES]),
        }
    }
    for page in pages {
        body.extend(Sha256::digest(page));
    }
    Ok(blob(CODE_DIRECTORY, &body))
}

/// All blobs, behind an index.
fn set(directory: &[u8], blobs: &[(u32, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let first = (SLOT_DIRECTORY, directory);
    let others = blobs.iter().map(|(slot, blob)| (*slot, blob.as_slice()));
    let all: Vec<(u32, &[u8])> = std::iter::once(first).chain(others).collect();
    let size = |bytes: usize| u32::try_from(bytes).map_err(|_| malformed("it is too large"));
    let mut at = 12 + 8 * all.len();
    let mut body = size(all.len())?.to_be_bytes().to_vec();
    for (slot, blob) in &all {
        body.extend(slot.to_be_bytes());
        body.extend(size(at)?.to_be_bytes());
        at += blob.len();
    }
    for (_, blob) in all {
        body.extend(blob);
    }
    Ok(blob(SET, &body))
}

/// A blob: what it is, its size with these two fields, its contents.
fn blob(magic: u32, contents: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(8 + contents.len()).unwrap_or(u32::MAX);
    [&magic.to_be_bytes()[..], &bytes.to_be_bytes(), contents].concat()
}

/// The entitlements of a property list in DER: version 1, and a sequence of names and `true`. Other
/// values than `true` are not known here.
fn entitlements_in_der(list: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(list).map_err(|_| malformed("its entitlements are no text"))?;
    let mut names = Vec::new();
    for part in text.split("<key>").skip(1) {
        let entitlement = part
            .split_once("</key>")
            .filter(|(_, rest)| rest.trim_start().starts_with("<true/>"));
        match entitlement {
            Some((name, _)) => names.push(name),
            None => return Err(malformed("only entitlements that are true are known")),
        }
    }
    // DER orders the entries of a set by name.
    names.sort_unstable();
    let entries = names.iter().map(|name| {
        let entry = [element(0x0c, name.as_bytes()), element(0x01, &[0xff])].concat();
        element(0x30, &entry)
    });
    let entries: Vec<u8> = entries.flatten().collect();
    let version = element(0x02, &[1]);
    Ok(element(0x70, &[version, element(0xb0, &entries)].concat()))
}

/// A DER element of less than 64 KiB.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let header = match (high, low) {
        (0, ..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [header.as_slice(), contents].concat()
}

fn word(file: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk());
    let bytes = bytes.ok_or_else(|| malformed("it ends in its header"))?;
    Ok(u32::from_le_bytes(*bytes))
}

fn long(file: &[u8], at: usize) -> Result<u64, Error> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk());
    let bytes = bytes.ok_or_else(|| malformed("it ends in its header"))?;
    Ok(u64::from_le_bytes(*bytes))
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), Error> {
    let place = file.get_mut(at..at + bytes.len());
    let place = place.ok_or_else(|| malformed("it ends in its header"))?;
    place.copy_from_slice(bytes);
    Ok(())
}

fn malformed(why: &str) -> Error {
    Error::new(format!("cannot sign the program: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the two segments and the signature's load command, and nothing else.
    fn program(code: usize) -> Vec<u8> {
        let segment = |name: &[u8], at: u64, bytes: u64| {
            let mut command = [LC_SEGMENT_64.to_le_bytes(), 72_u32.to_le_bytes()].concat();
            command.extend(name);
            command.resize(24, 0);
            for field in [at, bytes, at, bytes] {
                command.extend(field.to_le_bytes());
            }
            command.resize(72, 0);
            command
        };
        let mut file = Vec::new();
        for field in [MAGIC_64, 0x100_000c, 0, 2, 3, 160, 0, 0] {
            file.extend(field.to_le_bytes());
        }
        file.extend(segment(b"__TEXT", 0, code as u64 / 2));
        file.extend(segment(
            b"__LINKEDIT",
            code as u64 / 2,
            code as u64 / 2 + 100,
        ));
        for field in [LC_CODE_SIGNATURE, 16, code as u32, 100] {
            file.extend(field.to_le_bytes());
        }
        file.resize(code, 0x5a);
        file.resize(code + 100, 0);
        file
    }

    const LIST: &[u8] = b"<dict><key>b.c</key>\n <true/><key>a</key><true/></dict>";

    #[test]
    fn the_signature_ends_the_file_and_its_segment() {
        for code in [0x1000, 0x2abc, 0x1_0000] {
            let signed = sign(&program(code), "name", LIST).expect("well formed");
            let layout = Layout::of(&signed).expect("well formed");
            assert_eq!(layout.code_limit, code);
            let size = word(&signed, layout.signature + 12).expect("inside");
            assert_eq!(signed.len(), code + size as usize);
            let in_file = long(&signed, layout.last_segment + 48).expect("inside");
            assert_eq!(code as u64 / 2 + in_file, signed.len() as u64);
            assert_eq!(signed[code..code + 4], SET.to_be_bytes());
            assert_eq!(signed[code + 4..code + 8], size.to_be_bytes());
        }
    }

    #[test]
    fn signing_again_changes_nothing() {
        let once = sign(&program(0x2abc), "name", LIST).expect("well formed");
        assert_eq!(sign(&once, "name", LIST).expect("well formed"), once);
    }

    #[test]
    fn entitlements_in_der_are_ordered_by_name() {
        let der = entitlements_in_der(LIST).expect("well formed");
        let expected = [
            0x70, 0x17, 0x02, 1, 1, 0xb0, 0x12, 0x30, 6, 0x0c, 1, b'a', 1, 1, 0xff, 0x30, 8, 0x0c,
            3, b'b', b'.', b'c', 1, 1, 0xff,
        ];
        assert_eq!(der, expected);
        assert!(entitlements_in_der(b"<key>a</key><false/>").is_err());
        assert!(entitlements_in_der(b"<key>a").is_err());
    }

    #[test]
    fn long_elements_have_long_lengths() {
        assert_eq!(element(4, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(element(4, &[0; 0x123])[..4], [4, 0x82, 0x01, 0x23]);
    }

    #[test]
    fn other_files_are_refused() {
        let good = program(0x1000);
        let mut no_signature = good.clone();
        no_signature[HEADER_BYTES + 144] = 0;
        let mut far = good.clone();
        far[HEADER_BYTES + 144 + 11] = 0x7f;
        for wrong in [&b"\x7fELF"[..], b"", &good[..100], &no_signature, &far] {
            assert!(sign(wrong, "name", LIST).is_err());
        }
    }
}
