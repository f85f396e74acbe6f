//! Crates depend on each other in one direction only.

use super::{Finding, Source};
use crate::command::cargo;
use crate::error::Error;
use serde_json::Value;

/// Each crate of the workspace with the crates of the workspace it may use. Development
/// dependencies count too, but for those of `tests`, whose work is to reach everything.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("aarch64", &[]),
    ("devicetree", &["aarch64"]),
    ("memory", &["aarch64"]),
    ("transfers", &["aarch64", "memory"]),
    ("softcpu", &["aarch64", "memory"]),
    ("hv-backend", &["aarch64", "memory", "softcpu"]),
    ("hvf-sim", &["aarch64", "memory", "softcpu", "hv-backend"]),
    ("hvf-probe", &["aarch64", "memory", "hv-backend"]),
    ("devices", &["aarch64", "memory", "transfers"]),
    ("images", &[]),
    (
        "vmm",
        &[
            "aarch64",
            "memory",
            "devicetree",
            "devices",
            "hv-backend",
            "images",
            "transfers",
        ],
    ),
    ("armlet", &["hv-backend", "images", "vmm"]),
    ("guests", &[]),
    ("armlet-diff", &["aarch64", "memory", "softcpu"]),
    (
        "armlet-tests",
        &[
            "armlet-diff",
            "aarch64",
            "memory",
            "devicetree",
            "softcpu",
            "hv-backend",
            "hvf-probe",
            "devices",
            "images",
            "vmm",
            "guests",
            "hvf-sim",
            "armlet",
        ],
    ),
    ("xtask", &["guests"]),
    (
        "armlet-fuzz",
        &[
            "aarch64",
            "memory",
            "devicetree",
            "softcpu",
            "hv-backend",
            "devices",
            "images",
            "vmm",
        ],
    ),
];

pub fn check(_sources: &[Source]) -> Result<Vec<Finding>, Error> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Error::new(format!("cargo metadata: {error}")))?;
    Ok(edges(&metadata)
        .iter()
        .filter_map(|(from, to)| judge(from, to))
        .collect())
}

/// Every dependency of one crate of the workspace on another.
fn edges(metadata: &Value) -> Vec<(String, Option<String>)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let mut edges = Vec::new();
    for package in &packages {
        edges.push((name(package), None));
        for dependency in list(&package["dependencies"]) {
            if dependency["path"].is_string() {
                edges.push((name(package), Some(name(&dependency))));
            }
        }
    }
    edges
}

/// The finding, if `from` must not exist or must not depend on `to`.
fn judge(from: &str, to: &Option<String>) -> Option<Finding> {
    let place = format!("{from}/Cargo.toml");
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == from) else {
        let message = "a new crate: give it a place in ARCHITECTURE.md and xtask's direction.rs";
        return Some(Finding {
            place,
            message: message.to_owned(),
        });
    };
    let to = to.as_deref()?;
    (!allowed.contains(&to)).then(|| Finding {
        place,
        message: format!("{from} must not depend on {to} (see ARCHITECTURE.md)"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_has_no_cycle() {
        for (position, (name, allowed)) in ALLOWED.iter().enumerate() {
            for used in *allowed {
                let used_position = ALLOWED.iter().position(|(other, _)| other == used);
                assert!(
                    used_position.is_some_and(|p| p < position),
                    "{name} uses {used}"
                );
            }
        }
    }

    #[test]
    fn a_dependency_against_the_direction_is_found() {
        let metadata = json!({ "packages": [
            { "name": "aarch64", "dependencies": [{ "name": "vmm", "path": "/vmm" }] },
            { "name": "vmm", "dependencies": [{ "name": "aarch64", "path": "/aarch64" }] },
            { "name": "armlet", "dependencies": [{ "name": "tracing", "path": null }] },
        ]});
        let findings: Vec<Finding> = edges(&metadata)
            .iter()
            .filter_map(|(from, to)| judge(from, to))
            .collect();
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0]
                .message
                .starts_with("aarch64 must not depend on vmm")
        );
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert!(judge("extra", &None).is_some());
    }
}
