//! Reads a finished program for Macs and checks what its compiler could not: that it starts on the
//! oldest macOS it is for, asks the system for nothing newer, and may use the hypervisor.
//!
//! It reads the file with a library that did not write it, and recomputes the signature's hashes
//! from what the file says about itself.

use super::OLDEST_MACOS;
use super::stubs::Symbol;
use crate::error::Error;
use object::macho;
use object::read::macho::MachOFile64;
use object::{Architecture, LittleEndian, Object, ObjectSymbol};
use sha2::{Digest, Sha256};
use std::fmt;

const ENTITLEMENT: &str = "com.apple.security.hypervisor";
/// The path of the function that calls the setter of SIMD registers, in its mangled name.
const VECTOR_CALL: &str = "10hvf_vector10set_vector";
/// `ldr q0, [x2]` and `br x3`: the vector goes in V0, the integers stay.
const VECTOR_CALL_CODE: [u32; 2] = [0x3dc0_0040, 0xd61f_0060];

/// What a program says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    architecture: Architecture,
    oldest_macos: (u16, u8),
    /// Functions of Hypervisor.framework that the program does not start without.
    imports: Vec<String>,
    /// Entitlements as the signature has them, in both forms.
    entitlements: [Vec<u8>; 2],
    /// The signature's slots whose hash is not that of the file.
    wrong_hashes: Vec<String>,
    /// The first instructions of the function that calls the setter of SIMD registers.
    vector_call: Option<[u32; 2]>,
}

/// Reads a program.
pub fn inspect(file: &[u8]) -> Result<Facts, Error> {
    let refused = |error: object::Error| Error::new(format!("no Mach-O program: {error}"));
    let object = MachOFile64::<LittleEndian>::parse(file).map_err(refused)?;
    let endian = LittleEndian;
    let (mut oldest_macos, mut signature) = ((0, 0), None);
    let mut commands = object.macho_load_commands().map_err(refused)?;
    while let Some(command) = commands.next().map_err(refused)? {
        if let Some(build) = command.build_version().map_err(refused)? {
            let [_, minor, major @ ..] = build.minos.get(endian).to_le_bytes();
            oldest_macos = (u16::from_le_bytes(major), minor);
        }
        if command.cmd() == macho::LC_CODE_SIGNATURE {
            let data: &macho::LinkeditDataCommand<LittleEndian> =
                command.data().map_err(refused)?;
            let start = data.dataoff.get(endian) as usize;
            let end = start + data.datasize.get(endian) as usize;
            signature = file.get(start..end);
        }
    }
    let signature = signature.ok_or_else(|| Error::new("the program has no signature"))?;
    let signature = Signature::of(signature)?;
    let imports = object.imports().map_err(refused)?;
    let mut imports: Vec<String> = imports
        .iter()
        .map(|import| String::from_utf8_lossy(import.name()).into_owned())
        .filter_map(|name| name.strip_prefix('_').map(str::to_owned))
        .filter(|name| name.starts_with("hv_"))
        .collect();
    imports.sort();
    imports.dedup();
    Ok(Facts {
        architecture: object.architecture(),
        oldest_macos,
        imports,
        entitlements: signature.entitlements(),
        wrong_hashes: signature.wrong_hashes(file)?,
        vector_call: vector_call(&object),
    })
}

/// Whether this is the mangled name of that function, in either of the compiler's ways: the older one,
/// which stable compilers choose by themselves, puts a hash behind the path.
fn is_vector_call(name: &str) -> bool {
    let (_, rest) = name.split_once(VECTOR_CALL).unwrap_or(("", name));
    name.starts_with('_') && (rest.is_empty() || rest.starts_with("17h"))
}

fn vector_call(object: &MachOFile64<'_, LittleEndian>) -> Option<[u32; 2]> {
    use object::ObjectSection as _;
    let named = |symbol: &object::read::macho::MachOSymbol64<'_, '_, LittleEndian>| {
        symbol.is_definition() && symbol.name().is_ok_and(is_vector_call)
    };
    let symbol = object.symbols().find(named)?;
    let section = object.section_by_index(symbol.section_index()?).ok()?;
    let code = section.data_range(symbol.address(), 8).ok()??;
    let words: Vec<u32> = code
        .chunks_exact(4)
        .filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
        .collect();
    words.try_into().ok()
}

impl Facts {
    /// What is wrong with the program, given what the framework has.
    pub fn faults(&self, framework: &[Symbol]) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |good: bool, fault: String| {
            if !good {
                faults.push(fault);
            }
        };
        check(
            self.architecture == Architecture::Aarch64,
            format!("it is for {:?}, not for Apple silicon", self.architecture),
        );
        check(
            self.oldest_macos == OLDEST_MACOS,
            format!("it starts on macOS {:?} and later", self.oldest_macos),
        );
        check(
            !self.imports.is_empty(),
            "it never calls Hypervisor.framework".to_owned(),
        );
        for name in &self.imports {
            let symbol = framework.iter().find(|symbol| symbol.name == *name);
            let good = symbol.is_some_and(|symbol| symbol.since <= OLDEST_MACOS);
            check(
                good,
                format!("it does not start without {name}, which macOS {OLDEST_MACOS:?} lacks"),
            );
        }
        for entitlements in &self.entitlements {
            let name = ENTITLEMENT.as_bytes();
            let has = entitlements.windows(name.len()).any(|part| part == name);
            check(has, format!("its signature lacks {ENTITLEMENT}"));
        }
        for slot in &self.wrong_hashes {
            check(false, format!("its signature has another hash of {slot}"));
        }
        check(
            self.vector_call == Some(VECTOR_CALL_CODE),
            format!("the SIMD setter is called by {:x?}", self.vector_call),
        );
        faults
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.oldest_macos;
        writeln!(
            f,
            "  {:?}, macOS {major}.{minor} and later",
            self.architecture
        )?;
        writeln!(
            f,
            "  {} functions of Hypervisor.framework",
            self.imports.len()
        )?;
        write!(f, "  ad-hoc signature with {ENTITLEMENT}")
    }
}

/// The blobs of a code signature, by slot.
struct Signature<'a>(Vec<(u32, &'a [u8])>);

const SLOT_DIRECTORY: u32 = 0;
const SLOT_ENTITLEMENTS: u32 = 5;
const SLOT_ENTITLEMENTS_DER: u32 = 7;

impl<'a> Signature<'a> {
    fn of(set: &'a [u8]) -> Result<Self, Error> {
        let mut blobs = Vec::new();
        for n in 0..big(set, 8)? as usize {
            let (slot, at) = (big(set, 12 + 8 * n)?, big(set, 16 + 8 * n)? as usize);
            let bytes = big(set, at + 4)? as usize;
            let blob = set.get(at..at + bytes).ok_or_else(cut)?;
            blobs.push((slot, blob));
        }
        Ok(Self(blobs))
    }

    fn blob(&self, slot: u32) -> &'a [u8] {
        let found = self.0.iter().find(|(place, _)| *place == slot);
        found.map_or(&[], |(_, blob)| blob)
    }

    fn entitlements(&self) -> [Vec<u8>; 2] {
        [SLOT_ENTITLEMENTS, SLOT_ENTITLEMENTS_DER].map(|slot| self.blob(slot).to_vec())
    }

    /// The pages and blobs whose hash is another than the code directory says.
    fn wrong_hashes(&self, file: &[u8]) -> Result<Vec<String>, Error> {
        let directory = self.blob(SLOT_DIRECTORY);
        let hashes = big(directory, 16)? as usize;
        let code = file.get(..big(directory, 32)? as usize).ok_or_else(cut)?;
        let page = 1_usize << *directory.get(39).ok_or_else(cut)?;
        let matches = |at: usize, data: &[u8]| -> Result<bool, Error> {
            let hash = directory.get(at..at + 32).ok_or_else(cut)?;
            Ok(hash == Sha256::digest(data).as_slice())
        };
        let mut wrong = Vec::new();
        for (n, data) in code.chunks(page).enumerate() {
            if !matches(hashes + 32 * n, data)? {
                wrong.push(format!("page {n}"));
            }
        }
        for (slot, blob) in self.0.iter().filter(|(slot, _)| *slot != SLOT_DIRECTORY) {
            let at = hashes.checked_sub(32 * *slot as usize).ok_or_else(cut)?;
            if !matches(at, blob)? {
                wrong.push(format!("blob {slot}"));
            }
        }
        Ok(wrong)
    }
}

fn big(bytes: &[u8], at: usize) -> Result<u32, Error> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_be_bytes(*word.ok_or_else(cut)?))
}

fn cut() -> Error {
    Error::new("the program's signature is cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let entitlements = ENTITLEMENT.as_bytes().to_vec();
        Facts {
            architecture: Architecture::Aarch64,
            oldest_macos: OLDEST_MACOS,
            imports: vec!["hv_vm_create".to_owned()],
            entitlements: [entitlements.clone(), entitlements],
            wrong_hashes: Vec::new(),
            vector_call: Some(VECTOR_CALL_CODE),
        }
    }

    fn framework() -> Vec<Symbol> {
        [("hv_vm_create", (11, 0)), ("hv_gic_create", (15, 0))]
            .map(|(name, since)| Symbol {
                name: name.to_owned(),
                since,
            })
            .to_vec()
    }

    type Change = fn(&mut Facts);

    #[test]
    fn each_fault_is_found_by_itself() {
        assert_eq!(facts().faults(&framework()), Vec::<String>::new());
        let changes: [Change; 9] = [
            |facts| facts.architecture = Architecture::X86_64,
            |facts| facts.oldest_macos = (14, 0),
            |facts| facts.imports.clear(),
            |facts| facts.imports.push("hv_vm_creat".to_owned()),
            |facts| facts.imports.push("hv_gic_create".to_owned()),
            |facts| facts.entitlements[0].clear(),
            |facts| facts.entitlements[1].clear(),
            |facts| facts.wrong_hashes.push("page 1".to_owned()),
            |facts| facts.vector_call = Some([0xaa02_03e0, VECTOR_CALL_CODE[1]]),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut wrong = facts();
            change(&mut wrong);
            assert_eq!(wrong.faults(&framework()).len(), 1, "change {n}");
        }
    }

    #[test]
    fn the_function_is_known_by_both_of_its_names() {
        for name in [
            "__RNvNtCs5JNAybJ9MVI_10hv_backend10hvf_vector10set_vector",
            "__ZN10hv_backend10hvf_vector10set_vector17h2899e7afe0851cc1E",
        ] {
            assert!(is_vector_call(name), "{name}");
        }
        for name in [
            "",
            "_",
            "10hvf_vector10set_vector",
            "__RNvNtCs5JNAybJ9MVI_10hv_backend10hvf_vector10set_vectors",
            "__ZN10hv_backend3sys4vcpu7RawVcpu10set_vector17h2899e7afe0851cc1E",
        ] {
            assert!(!is_vector_call(name), "{name}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for wrong in [&b""[..], b"\x7fELF", &[0xcf, 0xfa, 0xed, 0xfe]] {
            assert!(inspect(wrong).is_err());
        }
        assert!(Signature::of(&[0xff; 20]).is_err());
    }
}
