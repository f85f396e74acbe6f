//! New files. One appears under its name when it is complete, and never in the place of another.
//!
//! Until then it has no name at all where the host has such files (Linux on most file systems), and
//! nothing is left of it however the process ends. Elsewhere it is a hidden file beside its place,
//! which is removed when it comes to nothing; a process that a signal ends calls [`abandon`] first.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{ImageError, Problem};
use crate::host;

/// The hidden files of this process.
static REGISTER: Register = Register(Mutex::new(BTreeSet::new()));

/// Removes what there is of new files that are not complete, for a process that is about to end.
pub fn abandon() {
    REGISTER.abandon();
}

/// Hidden files.
#[derive(Debug, Default)]
struct Register(Mutex<BTreeSet<PathBuf>>);

impl Register {
    fn known(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self) {
        for path in std::mem::take(&mut *self.known()) {
            // There is nobody left to tell that this failed.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes a file, and gives it its name when `fill` is done with it.
pub(crate) fn new_file(
    path: &Path,
    fill: impl FnOnce(File) -> Result<(), Problem>,
) -> Result<(), ImageError> {
    let inner = || {
        if path.file_name().is_none() {
            return Err(Problem::Wrong("this is no name for a file".into()));
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(Problem::Exists);
        }
        let (file, fresh) = Fresh::make(path).map_err(Problem::host("make it"))?;
        fill(file)?;
        fresh.keep(path)
    };
    inner().map_err(|problem| problem.of(path))
}

/// A file that goes away unless it is kept.
#[derive(Debug)]
enum Fresh {
    /// One without a name.
    Unnamed(File),
    /// One under another name.
    Hidden(Hidden),
}

impl Fresh {
    fn make(path: &Path) -> io::Result<(File, Self)> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            Some(_) | None => Path::new("."),
        };
        match host::unnamed_file(directory) {
            Some(file) => Ok((file.try_clone()?, Self::Unnamed(file))),
            None => {
                let (file, hidden) = Hidden::make(path, &REGISTER)?;
                Ok((file, Self::Hidden(hidden)))
            }
        }
    }

    /// Gives the file its name, unless that is taken by now.
    fn keep(self, path: &Path) -> Result<(), Problem> {
        let named = match self {
            Self::Unnamed(file) => host::give_name(&file, path),
            Self::Hidden(hidden) => hidden.keep(path),
        };
        named.map_err(|error| {
            if error.kind() == ErrorKind::AlreadyExists {
                Problem::Exists
            } else {
                Problem::Host("give it its name", error)
            }
        })
    }
}

/// A file under a name that nobody looks for. It is removed when this is dropped.
#[derive(Debug)]
struct Hidden {
    path: PathBuf,
    register: &'static Register,
}

impl Hidden {
    fn make(path: &Path, register: &'static Register) -> io::Result<(File, Self)> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".armlet-{}", std::process::id()));
        let path = path.with_file_name(name);
        // Nobody may find the register without it when it is there.
        let mut known = register.known();
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        known.insert(path.clone());
        Ok((file, Self { path, register }))
    }

    fn keep(self, path: &Path) -> io::Result<()> {
        match fs::hard_link(&self.path, path) {
            // Not every file system has links; a rename is all that is left then.
            Err(error) if error.kind() != ErrorKind::AlreadyExists => fs::rename(&self.path, path),
            linked => linked,
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // It was kept, or this is all that can be done.
        let _ = fs::remove_file(&self.path);
        self.register.known().remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::testing::Folder;

    use super::*;

    fn names(folder: &Folder) -> Vec<OsString> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_appears_when_it_is_complete_and_replaces_none() {
        let folder = Folder::new("fresh").unwrap();
        let path = folder.join("new");
        let fill = |mut file: File| {
            assert!(!path.exists(), "not yet");
            file.write_all(b"whole").map_err(Problem::host("write it"))
        };
        new_file(&path, fill).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        let again = new_file(&path, |_| panic!("it is there")).unwrap_err();
        assert!(matches!(again.problem, Problem::Exists));
        let other = folder.join("other");
        let late = new_file(&other, |_| {
            fs::write(&other, b"of somebody else").map_err(Problem::host("write it"))
        });
        assert!(matches!(late.unwrap_err().problem, Problem::Exists));
        assert_eq!(fs::read(&other).unwrap(), b"of somebody else");
        fs::remove_file(&other).unwrap();
        let failed = new_file(&other, |_| Err(Problem::Wrong("no".into())));
        assert!(failed.is_err());
        assert_eq!(names(&folder), ["new"], "nothing else is left");
    }

    #[test]
    fn a_hidden_file_is_kept_dropped_or_abandoned() {
        let folder = Folder::new("fresh-hidden").unwrap();
        let register: &Register = Box::leak(Box::default());
        let [kept, dropped, abandoned] =
            ["kept", "dropped", "abandoned"].map(|name| folder.join(name));
        let (mut file, hidden) = Hidden::make(&kept, register).unwrap();
        file.write_all(b"whole").unwrap();
        hidden.keep(&kept).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"whole");
        let (_, hidden) = Hidden::make(&kept, register).unwrap();
        let taken = hidden.keep(&kept).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        drop(Hidden::make(&dropped, register).unwrap());
        assert_eq!(names(&folder), ["kept"]);
        let unfinished = Hidden::make(&abandoned, register).unwrap();
        assert_eq!(names(&folder).len(), 2);
        register.abandon();
        assert_eq!(names(&folder), ["kept"]);
        drop(unfinished);
    }
}
