//! Stand-ins for the libraries of macOS that Zig does not bring: text files that list names, which
//! is all that a linker wants of a library.

use crate::error::Error;
use std::fs;
use std::path::Path;

/// Every function of Hypervisor.framework, and the first macOS that has it.
const SYMBOLS: &str = include_str!("../../files/hypervisor-symbols.txt");
/// Where macOS has the framework.
const FRAMEWORK: &str = "/System/Library/Frameworks/Hypervisor.framework/Versions/A/Hypervisor";
/// The standard library asks for it, but armlet uses nothing of it.
const ICONV: (&str, &str) = ("/usr/lib/libiconv.2.dylib", "libiconv.tbd");

/// A function of the framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its name in C.
    pub name: String,
    /// The first macOS that has it.
    pub since: (u16, u8),
}

/// All functions of the framework.
pub fn symbols() -> Result<Vec<Symbol>, Error> {
    let lines = SYMBOLS.lines().filter(|line| !line.starts_with('#'));
    lines.map(symbol).collect()
}

fn symbol(line: &str) -> Result<Symbol, Error> {
    let parse = || {
        let (since, name) = line.split_once(' ')?;
        let (major, minor) = since.split_once('.')?;
        Some(Symbol {
            name: name.to_owned(),
            since: (major.parse().ok()?, minor.parse().ok()?),
        })
    };
    parse().ok_or_else(|| Error::new(format!("hypervisor-symbols.txt: no symbol: {line}")))
}

/// Writes the stand-ins into `directory`.
pub fn write(directory: &Path) -> Result<(), Error> {
    let framework = directory.join("Hypervisor.framework");
    fs::create_dir_all(&framework)?;
    let names: Vec<String> = symbols()?.into_iter().map(|symbol| symbol.name).collect();
    fs::write(framework.join("Hypervisor.tbd"), stub(FRAMEWORK, &names))?;
    let (path, file) = ICONV;
    let names = ["iconv", "iconv_open", "iconv_close"].map(str::to_owned);
    fs::write(directory.join(file), stub(path, &names))?;
    Ok(())
}

/// A text stub, version 4, of the library that macOS has at `path`.
fn stub(path: &str, names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("_{name}")).collect();
    format!(
        "--- !tapi-tbd\n\
         tbd-version:     4\n\
         targets:         [ arm64-macos ]\n\
         install-name:    '{path}'\n\
         exports:\n  \
         - targets:         [ arm64-macos ]\n    \
           symbols:         [ {} ]\n\
         ...\n",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_line_names_one_function_once() {
        let symbols = symbols().expect("well formed");
        let names: HashSet<&str> = symbols.iter().map(|symbol| symbol.name.as_str()).collect();
        assert_eq!(names.len(), symbols.len());
        assert!(names.contains("hv_vcpu_set_simd_fp_reg"));
        for Symbol { name, since } in &symbols {
            assert!(name.starts_with("hv_"), "{name}");
            assert!((11..=27).contains(&since.0), "{name} since {since:?}");
        }
    }

    #[test]
    fn a_line_without_a_version_is_refused() {
        for wrong in ["hv_vm_create", "11 hv_vm_create", "x.0 hv_vm_create", ""] {
            assert!(symbol(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stub_lists_names_as_c_compilers_write_them() {
        let text = stub("/usr/lib/a.dylib", &["f".to_owned(), "g".to_owned()]);
        assert!(text.contains("install-name:    '/usr/lib/a.dylib'\n"));
        assert!(text.contains("    symbols:         [ _f, _g ]\n"), "{text}");
    }
}
