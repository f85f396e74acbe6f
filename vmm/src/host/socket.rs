//! Sockets at names in the file system, for one user's processes to talk to each other.

use std::fs::{DirBuilder, File, FileType, Metadata, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};

/// How often another process that makes a socket in the same directory is waited for.
const TRIES: u32 = 200;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// This user's directory for sockets: `armlet` in `$XDG_RUNTIME_DIR`; or else `armlet-UID` in the
/// directory for temporary files, which is `$TMPDIR` or `/tmp`.
#[must_use]
pub fn directory() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute()) {
        Some(path) => path.join("armlet"),
        None => std::env::temp_dir().join(format!("armlet-{}", geteuid().as_raw())),
    }
}

/// Makes [`directory`], for this user only, if it is not there.
///
/// # Errors
/// When it cannot be made, or what is there could be changed by another user.
pub fn make_directory(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = std::fs::symlink_metadata(path)?;
    let is_ours = found.is_dir() && found.uid() == geteuid().as_raw();
    if is_ours && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let why = "it is not a directory that only this user may change";
    Err(Error::new(ErrorKind::PermissionDenied, why))
}

/// A socket that listens, and is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The file, by its device and number: a later one of that name is not removed.
    file: (u64, u64),
}

impl Socket {
    /// Makes a socket that only this user may use. One that nobody listens to any more is replaced.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, or it is a file of another kind; else why it cannot
    /// be made.
    pub fn bind(path: &Path) -> Result<Self> {
        let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
        // Whoever finds a socket that nobody listens to must not remove the one that somebody else
        // puts in its place meanwhile.
        let _lock = lock(directory.unwrap_or(Path::new(".")))?;
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) => remove_stale(path, found.file_type())?,
        }
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        let file = identity(&std::fs::symlink_metadata(path)?);
        let path = path.to_owned();
        Ok(Self {
            listener,
            path,
            file,
        })
    }

    /// What listens.
    #[must_use]
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| identity(&found) == self.file) {
            // One that cannot be removed is found to be stale by the next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Holds a directory until the file is dropped.
fn lock(directory: &Path) -> Result<File> {
    let file = File::open(directory)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let why = "its directory is locked by another process";
    Err(Error::new(ErrorKind::ResourceBusy, why))
}

fn remove_stale(path: &Path, found: FileType) -> Result<()> {
    let in_use = |why| Err(Error::new(ErrorKind::AddrInUse, why));
    if !found.is_socket() {
        return in_use("it is there already, and no socket");
    }
    match UnixStream::connect(path) {
        Ok(_) => in_use("another machine runs there"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let name = format!("armlet-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_socket_is_its_users_own_and_goes_with_its_owner() {
        let folder = scratch("socket-own");
        make_directory(&folder).unwrap();
        make_directory(&folder).unwrap();
        let path = folder.join("s");
        let socket = Socket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = Socket::bind(&path).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_other_files_are_not() {
        let folder = scratch("socket-stale");
        make_directory(&folder).unwrap();
        let path = folder.join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "nobody removed it");
        let socket = Socket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        // Somebody else's file of that name stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"precious").unwrap();
        drop(socket);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let refused = Socket::bind(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_directory_that_others_may_change_is_refused() {
        let folder = scratch("socket-shared");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = make_directory(&folder).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        let link = folder.join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(make_directory(&link).is_err(), "a link may lead anywhere");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn of_many_that_find_a_stale_socket_one_gets_it() {
        let folder = scratch("socket-race");
        make_directory(&folder).unwrap();
        let path = folder.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let bind = || Socket::bind(&path);
        let got: Vec<Result<Socket>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(got.iter().filter(|socket| socket.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
        drop(got);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
