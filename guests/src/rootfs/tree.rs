//! The unpacked tree of the Debian guest.

use super::config;
use crate::{Error, apt};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories that Debian has moved below `/usr`, while its packages still name both places.
const MERGED: [&str; 3] = ["bin", "lib", "sbin"];

/// Unpacks `debs` to `tree`, which is made anew, and sets it up. `programs` are executables of our
/// own, each as its path and content.
pub(super) fn build(
    tree: &Path,
    debs: &[PathBuf],
    programs: &[(&str, Vec<u8>)],
) -> Result<(), Error> {
    remove(tree)?;
    for deb in debs.iter().filter(|deb| is_unpacked(deb)) {
        apt::unpack(deb, tree)?;
    }
    for name in MERGED {
        merge(&tree.join(name), &tree.join("usr").join(name))?;
        link(tree, name, &format!("usr/{name}"))?;
    }
    for unread in config::UNREAD {
        remove(&tree.join(unread))?;
    }
    configure(tree)?;
    for (path, content) in programs {
        file(tree, path, 0o755, content)?;
    }
    Ok(())
}

/// Whether the package in this file is part of the tree.
pub(super) fn is_unpacked(deb: &Path) -> bool {
    let name = deb.file_name().unwrap_or_default().to_string_lossy();
    !config::LEFT_OUT
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn configure(tree: &Path) -> Result<(), Error> {
    for (path, mode, text) in config::FILES {
        file(tree, path, mode, text.as_bytes())?;
    }
    for (path, target) in config::LINKS {
        link(tree, path, target)?;
    }
    for unit in config::MASKED {
        link(tree, &format!("etc/systemd/system/{unit}"), "/dev/null")?;
    }
    for rules in config::MASKED_RULES {
        link(tree, &format!("etc/udev/rules.d/{rules}"), "/dev/null")?;
    }
    for generator in config::MASKED_GENERATORS {
        link(
            tree,
            &format!("etc/systemd/system-generators/{generator}"),
            "/dev/null",
        )?;
    }
    Ok(())
}

/// Moves everything in `from` to the same place in `to`, and removes `from`.
fn merge(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.exists() {
        return Ok(());
    }
    if !to.is_dir() {
        return fs::rename(from, to).map_err(Error::file(to));
    }
    for entry in fs::read_dir(from).map_err(Error::file(from))? {
        let entry = entry.map_err(Error::file(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(Error::file(&path))?.is_dir() {
            merge(&path, &target)?;
        } else {
            fs::rename(&path, &target).map_err(Error::file(target))?;
        }
    }
    fs::remove_dir(from).map_err(Error::file(from))
}

fn file(tree: &Path, path: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
    let path = prepare(tree, path)?;
    fs::write(&path, content).map_err(Error::file(&path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(Error::file(path))
}

fn link(tree: &Path, path: &str, target: &str) -> Result<(), Error> {
    let path = prepare(tree, path)?;
    // A package may have an empty directory there.
    remove(&path)?;
    symlink(target, &path).map_err(Error::file(path))
}

/// The path of `name` in the tree, with the directories above it and nothing there.
fn prepare(tree: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = tree.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::file(parent))?;
    }
    if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(&path).map_err(Error::file(&path))?;
    }
    Ok(path)
}

/// Removes what there is of the directory `path`.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::file(path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    #[test]
    fn directories_that_packages_have_twice_become_one() {
        let root = env::temp_dir().join(format!("armlet-merge-{}", std::process::id()));
        for path in [
            "lib/systemd/system/a",
            "usr/lib/systemd/system/b",
            "usr/lib/c",
            "lib/udev/d",
        ] {
            file(&root, path, 0o644, path.as_bytes()).expect("file");
        }
        merge(&root.join("lib"), &root.join("usr/lib")).expect("merged");
        link(&root, "lib", "usr/lib").expect("link");
        for path in [
            "lib/systemd/system/a",
            "lib/systemd/system/b",
            "lib/c",
            "usr/lib/udev/d",
        ] {
            assert!(root.join(path).is_file(), "{path}");
        }
        fs::remove_dir_all(root).expect("cleanup");
    }

    #[test]
    fn interpreters_are_left_out() {
        assert!(!is_unpacked(Path::new("debs/perl-base_5.36.0-7_arm64.deb")));
        assert!(!is_unpacked(Path::new("debs/dpkg_1.21.23_arm64.deb")));
        assert!(is_unpacked(Path::new("debs/fio_3.33-3_arm64.deb")));
    }
}
