//! `cargo xtask lint`: rules of the source tree that neither the compiler nor clippy checks.
//!
//! - [`direction`]: crates depend on each other only as ARCHITECTURE.md says.
//! - [`places`]: `unsafe` and conditional compilation by platform stand only where they are allowed.
//! - [`size`]: files stay small; the list of exceptions only shrinks.
//! - [`headers`]: every file begins by saying what it is.
//!
//! A rule is a function from the sources to findings. To add one, write it and list it in [`RULES`].

mod direction;
mod headers;
mod mask;
mod places;
mod size;

use crate::command::workspace;
use crate::error::Error;
use std::fs;
use std::path::Path;

/// A Rust file of the tree.
#[derive(Debug)]
pub struct Source {
    /// Its path from the top, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its text with comments and literals blanked, line by line the same.
    pub code: String,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where: a path, perhaps with a line.
    pub place: String,
    /// What is wrong, and the way out.
    pub message: String,
}

type Rule = fn(&[Source]) -> Result<Vec<Finding>, Error>;

const RULES: [(&str, Rule); 4] = [
    ("dependency direction", direction::check),
    ("places of unsafe and cfg", places::check),
    ("file sizes", size::check),
    ("file headers", headers::check),
];

/// Runs the command.
pub fn run(_arguments: &[String]) -> Result<bool, Error> {
    let sources = sources(workspace())?;
    let mut clean = true;
    for (name, rule) in RULES {
        let findings = rule(&sources)?;
        println!(
            "lint: {name}: {}",
            if findings.is_empty() { "ok" } else { "BROKEN" }
        );
        for Finding { place, message } in findings {
            println!("  {place}: {message}");
            clean = false;
        }
    }
    Ok(clean)
}

/// Every Rust file below `top`, in order, without build output.
fn sources(top: &Path) -> Result<Vec<Source>, Error> {
    let mut found = Vec::new();
    collect(top, "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<Source>) -> Result<(), Error> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && name != "target" {
                collect(&entry.path(), &format!("{path}/"), found)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path())?;
            let code = mask::mask(&text);
            found.push(Source { path, text, code });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
        code: mask::mask(text),
    }
}
