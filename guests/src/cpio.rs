//! A writer of the cpio "newc" format, which Linux unpacks as an initramfs
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Every file belongs to root, has no time and one link, so that equal trees give equal bytes.
//! Omitted: hard links, checksums ("070702") and files of 4 GiB and more.

use std::collections::BTreeMap;

/// The type bits of a mode.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

const ALIGNMENT: usize = 4;
/// The archive ends on such a boundary, as cpio's own do.
const BLOCK: usize = 512;

/// One entry of an archive. Modes are the twelve permission bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory {
        /// Permissions.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permissions.
        mode: u32,
        /// Content.
        data: Vec<u8>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points.
        target: String,
    },
    /// A character device.
    Character {
        /// Permissions.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// A tree of files to be written. Paths are relative, without a leading slash.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces an entry, with the directories above it. A directory that is there stays.
    pub fn add(&mut self, path: &str, node: Node) {
        let mut parent = String::new();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some(name) = parts.pop() else { return };
        for part in parts {
            parent.push_str(part);
            self.nodes
                .entry(parent.clone())
                .or_insert(Node::Directory { mode: 0o755 });
            parent.push('/');
        }
        let path = parent + name;
        if matches!(node, Node::Directory { .. }) && self.nodes.contains_key(&path) {
            return;
        }
        self.nodes.insert(path, node);
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) {
        self.add(
            path,
            Node::File {
                mode,
                data: data.into(),
            },
        );
    }

    /// The archive. The order is that of the names, so a directory precedes what is in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (inode, (path, node)) in (1..).zip(&self.nodes) {
            write_node(&mut out, inode, path, node);
        }
        header(
            &mut out,
            &Header {
                nlink: 1,
                ..Header::default()
            },
            "TRAILER!!!",
        );
        pad(&mut out, BLOCK);
        out
    }
}

/// The fields of a header that are not always zero.
#[derive(Default)]
struct Header {
    inode: u32,
    mode: u32,
    nlink: u32,
    size: u32,
    device: (u32, u32),
}

fn write_node(out: &mut Vec<u8>, inode: u32, path: &str, node: &Node) {
    let (mode, device, data): (u32, (u32, u32), &[u8]) = match node {
        Node::Directory { mode } => (DIRECTORY | mode, (0, 0), &[]),
        Node::File { mode, data } => (REGULAR | mode, (0, 0), data),
        Node::Symlink { target } => (SYMLINK | 0o777, (0, 0), target.as_bytes()),
        Node::Character { mode, major, minor } => (CHARACTER | mode, (*major, *minor), &[]),
    };
    let size = u32::try_from(data.len()).expect("a file of an initramfs is below 4 GiB");
    let nlink = if matches!(node, Node::Directory { .. }) {
        2
    } else {
        1
    };
    header(
        out,
        &Header {
            inode,
            mode,
            nlink,
            size,
            device,
        },
        path,
    );
    out.extend_from_slice(data);
    pad(out, ALIGNMENT);
}

fn header(out: &mut Vec<u8>, fields: &Header, name: &str) {
    let Header {
        inode,
        mode,
        nlink,
        size,
        device: (major, minor),
    } = *fields;
    let name_size = u32::try_from(name.len() + 1).expect("a path is short");
    let fields = [
        inode, mode, 0, 0, nlink, 0, size, 0, 0, major, minor, name_size, 0,
    ]
    .map(|field| format!("{field:08x}"));
    out.extend_from_slice(b"070701");
    out.extend_from_slice(fields.concat().as_bytes());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, ALIGNMENT);
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_laid_out_as_the_format_says() {
        let mut tree = Tree::new();
        tree.file("a", 0o644, *b"hi");
        let bytes = tree.to_bytes();
        let head = "070701\
            00000001000081a4000000000000000000000001000000000000000200000000000000000000000000000000\
            0000000200000000";
        assert_eq!(std::str::from_utf8(&bytes[..110]), Ok(head));
        assert_eq!(
            &bytes[110..112],
            b"a\0",
            "name with its end, aligned already"
        );
        assert_eq!(&bytes[112..116], b"hi\0\0", "data, padded");
        assert_eq!(bytes.len() % BLOCK, 0);
    }

    #[test]
    fn parents_come_first_and_are_made_once() {
        let mut tree = Tree::new();
        tree.file("b/c/d", 0o755, *b"");
        tree.add("b", Node::Directory { mode: 0o700 });
        tree.add(
            "/dev/null",
            Node::Character {
                mode: 0o666,
                major: 1,
                minor: 3,
            },
        );
        let names: Vec<&str> = tree.nodes.keys().map(String::as_str).collect();
        assert_eq!(names, ["b", "b/c", "b/c/d", "dev", "dev/null"]);
        assert_eq!(tree.nodes["b"], Node::Directory { mode: 0o755 });
    }

    #[test]
    fn gnu_cpio_lists_what_was_written() {
        let mut tree = Tree::new();
        tree.file("bin/tool", 0o755, vec![7; 1001]);
        tree.add(
            "bin/link",
            Node::Symlink {
                target: "tool".into(),
            },
        );
        let Some(listing) = list_with_cpio(&tree.to_bytes()) else {
            eprintln!("SKIP: no cpio on this machine");
            return;
        };
        assert_eq!(listing, "bin\nbin/link\nbin/tool\n");
    }

    fn list_with_cpio(archive: &[u8]) -> Option<String> {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut child = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(archive).ok()?;
        let output = child.wait_with_output().ok()?;
        assert!(output.status.success());
        String::from_utf8(output.stdout).ok()
    }
}
