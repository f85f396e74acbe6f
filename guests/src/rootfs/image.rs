//! The ext4 image of a tree, made without root and without mounting anything.

use crate::{Error, run};
use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// What the file system is called, and its identity: the same in every image.
const LABEL: &str = "armlet-root";
const IDENTITY: &str = "61726d6c-6574-4000-8000-726f6f746673";

/// Makes the image `path` of `size` bytes, most of them a hole, with what is in `tree`. Everything
/// belongs to root, whoever unpacked it.
pub(super) fn make(tree: &Path, path: &Path, size: u64) -> Result<(), Error> {
    let file = File::create(path).map_err(Error::file(path))?;
    file.set_len(size).map_err(Error::file(path))?;
    drop(file);
    let extended = format!("root_owner=0:0,hash_seed={IDENTITY},lazy_itable_init=0,nodiscard");
    run::output(
        Command::new("/sbin/mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0"])
            .args(["-L", LABEL, "-U", IDENTITY, "-E", &extended, "-d"])
            .args([tree, path]),
    )?;
    let mut commands = String::new();
    give_to_root(tree, "", &mut commands)?;
    if !commands.is_empty() {
        let script = path.with_extension("owners");
        fs::write(&script, commands).map_err(Error::file(&script))?;
        run::output(
            Command::new("/sbin/debugfs")
                .args(["-w", "-f"])
                .arg(&script)
                .arg(path),
        )?;
        fs::remove_file(&script).map_err(Error::file(script))?;
    }
    check(path)
}

/// Appends debugfs's commands for everything in `directory` that does not belong to root.
fn give_to_root(directory: &Path, inside: &str, commands: &mut String) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::file(directory))? {
        let path = entry.map_err(Error::file(directory))?.path();
        let found = fs::symlink_metadata(&path).map_err(Error::file(&path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("{inside}/{name}");
        for (field, value) in [("uid", found.uid()), ("gid", found.gid())] {
            if value != 0 {
                let written = writeln!(commands, "set_inode_field \"{inside}\" {field} 0");
                written.expect("writing to a string does not fail");
            }
        }
        if found.is_dir() {
            give_to_root(&path, &inside, commands)?;
        }
    }
    Ok(())
}

/// Copies an image to a new file, without its holes, sharing blocks where the host can.
pub fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let options = ["--sparse=always", "--reflink=auto", "--no-preserve=mode"];
    run::output(Command::new("cp").args(options).args([from, to])).map(drop)
}

/// Checks the ext4 file system in the raw image `path`, and changes nothing: an error says what
/// e2fsck found. One that was not unmounted is sound only after its journal was replayed.
pub fn check(path: &Path) -> Result<(), Error> {
    run::output(Command::new("/sbin/e2fsck").args(["-f", "-n"]).arg(path)).map(drop)
}
