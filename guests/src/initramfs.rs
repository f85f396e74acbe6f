//! What goes into the guests' initial file systems.

use crate::Error;
use crate::cpio::{Node, Tree};
use crate::modules::Module;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The first process of every guest.
pub const INIT: &str = include_str!("../files/init");

/// Directories of Debian's tree that no guest program reads.
const UNREAD: [&str; 9] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/lintian",
    "usr/share/zoneinfo",
    "usr/share/bash-completion",
    "usr/share/common-licenses",
];

/// A tree that boots: busybox, `/init`, and the two devices needed before `/dev` is mounted.
#[must_use]
pub fn basic(busybox: Vec<u8>) -> Tree {
    let mut tree = Tree::new();
    tree.file("init", 0o755, INIT);
    tree.file("bin/busybox", 0o755, busybox);
    tree.add(
        "dev/console",
        Node::Character {
            mode: 0o600,
            major: 5,
            minor: 1,
        },
    );
    tree.add(
        "dev/null",
        Node::Character {
            mode: 0o666,
            major: 1,
            minor: 3,
        },
    );
    tree
}

/// What an initramfs holds beside busybox and `/init`.
///
/// A guest that tries one virtio device, say the entropy device on either transport, is
/// ```no_run
/// use guests::{Kernel, Store, initramfs::Extras};
/// let extras = Extras::new()
///     .modules(&["virtio_mmio", "virtio_pci", "virtio_rng"])
///     .action("entropy", "await /dev/hwrng && head -c 64 /dev/hwrng | xxd -p | sed 's/^/ARMLET-SAY /'");
/// let initrd = Store::of_checkout().initramfs_for(Kernel::V6_12Cloud, "entropy", &extras)?;
/// # Ok::<(), guests::Error>(())
/// ```
/// booted with `armlet.do=entropy` on the kernel's command line
/// (`Setup::with_initrd(Kernel::V6_12Cloud, initrd, "entropy")` in the tests). The modules are loaded
/// before the action runs; `ARMLET-DONE entropy` says that its last command succeeded, else
/// `ARMLET-FAIL entropy`. The functions of `files/init` (`await`, `setting`, `do_ask`, ...) and all of
/// busybox are there to be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    pub(crate) modules: Vec<String>,
    actions: Vec<(String, String)>,
    programs: Vec<(String, Vec<u8>)>,
}

impl Extras {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With these drivers and what they depend on, loaded in this order. Those that are built into
    /// the kernel may be named too, so that one list serves every kernel.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules.extend(names.iter().map(ToString::to_string));
        self
    }

    /// With an action: `armlet.do=NAME` runs the shell commands `body`. The name is one that a
    /// shell function can have.
    #[must_use]
    pub fn action(mut self, name: &str, body: &str) -> Self {
        self.actions.push((name.to_owned(), body.to_owned()));
        self
    }

    /// With an executable at `path`, such as `bin/tool`.
    #[must_use]
    pub fn program(mut self, path: &str, content: Vec<u8>) -> Self {
        self.programs.push((path.to_owned(), content));
        self
    }
}

/// Adds `modules`, which are loaded in this order, and the rest of `extras`.
pub(crate) fn add_extras(tree: &mut Tree, modules: &[Module], extras: &Extras) {
    let Extras {
        modules: _, // those are `modules`, with what they depend on
        actions,
        programs,
    } = extras;
    let mut order = String::new();
    for Module { name, data } in modules {
        tree.file(&format!("modules/{name}.ko"), 0o644, data.clone());
        order += &format!("{name}\n");
    }
    if !order.is_empty() {
        tree.file("modules/order", 0o644, order);
    }
    for (name, body) in actions {
        let text = format!("do_{name}() {{\n{body}\n}}\n");
        tree.file(&format!("actions/{name}"), 0o644, text);
    }
    for (path, content) in programs {
        tree.file(path, 0o755, content.clone());
    }
}

/// Adds everything below `directory`, moved as Debian's merged `/usr` has it.
pub fn add_debian(tree: &mut Tree, directory: &Path) -> Result<(), Error> {
    for name in ["lib", "sbin"] {
        tree.add(
            name,
            Node::Symlink {
                target: format!("usr/{name}"),
            },
        );
    }
    add_below(tree, directory, "")
}

fn add_below(tree: &mut Tree, directory: &Path, prefix: &str) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::file(directory))? {
        let entry = entry.map_err(Error::file(directory))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let inside = format!("{prefix}{name}");
        if UNREAD.contains(&inside.as_str()) {
            continue;
        }
        let inside = merged_usr(&inside);
        let metadata = fs::symlink_metadata(&path).map_err(Error::file(&path))?;
        if metadata.is_dir() {
            add_below(tree, &path, &format!("{prefix}{name}/"))?;
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).map_err(Error::file(&path))?;
            // A link of the merged layout itself, such as /lib, is already there.
            if !["lib", "bin", "sbin"].contains(&inside.as_str()) {
                tree.add(
                    &inside,
                    Node::Symlink {
                        target: target.to_string_lossy().into_owned(),
                    },
                );
            }
        } else if metadata.is_file() {
            let data = fs::read(&path).map_err(Error::file(&path))?;
            tree.file(&inside, metadata.permissions().mode() & 0o7777, data);
        }
    }
    Ok(())
}

/// Where a path of a package belongs: `/bin` stays busybox's, the rest moves below `/usr`.
fn merged_usr(path: &str) -> String {
    let moved = path.starts_with("lib/") || path.starts_with("sbin/") || path.starts_with("bin/");
    if moved {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

/// `bytes`, gzip compressed. Equal input gives equal output.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory does not fail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_merge_into_usr() {
        assert_eq!(
            merged_usr("lib/aarch64-linux-gnu/libc.so.6"),
            "usr/lib/aarch64-linux-gnu/libc.so.6"
        );
        assert_eq!(merged_usr("bin/tar"), "usr/bin/tar");
        assert_eq!(merged_usr("usr/bin/xz"), "usr/bin/xz");
        assert_eq!(merged_usr("library"), "library");
    }

    #[test]
    fn every_action_the_tests_use_is_in_init() {
        for action in [
            "shell", "poweroff", "check", "count", "hotplug", "ask", "reboot", "crash", "idle",
            "cpu",
        ] {
            assert!(INIT.contains(&format!("do_{action}()")), "{action}");
        }
    }

    #[test]
    fn compression_is_reproducible() {
        let data = vec![42; 10_000];
        assert_eq!(gzip(&data), gzip(&data));
        assert_eq!(gzip(&data)[..2], [0x1f, 0x8b]);
    }
}
