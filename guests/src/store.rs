//! The directory that guests are kept in.

use crate::apt::{self, Apt};
use crate::initramfs::Extras;
use crate::{Error, Kernel, initramfs, userland};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A directory of guests. Several processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store of this checkout: `target/guests`, wherever cargo's target directory is.
    #[must_use]
    pub fn of_checkout() -> Self {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target"),
            PathBuf::from,
        );
        Self::at(target.join("guests"))
    }

    /// The store in `root`, which need not exist yet.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The initramfs of busybox and `/init`.
    pub fn initramfs(&self) -> Result<PathBuf, Error> {
        self.initramfs_with("initramfs.cpio.gz", &[])
    }

    /// An initramfs of busybox, `/init` and some executables, each as its path and content.
    pub fn initramfs_with(
        &self,
        name: &str,
        programs: &[(&str, Vec<u8>)],
    ) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let mut tree = initramfs::basic(self.busybox()?);
        for (path, content) in programs {
            tree.file(path, 0o755, content.clone());
        }
        let path = self.root.join(name);
        write(&path, &initramfs::gzip(&tree.to_bytes()))?;
        Ok(path)
    }

    /// An initramfs for `kernel` of busybox, `/init` and `extras`: modules of that kernel, actions
    /// and programs. See [`Extras`].
    pub fn initramfs_for(
        &self,
        kernel: Kernel,
        name: &str,
        extras: &Extras,
    ) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let mut tree = initramfs::basic(self.busybox()?);
        let modules = if extras.modules.is_empty() {
            Vec::new()
        } else {
            self.modules(kernel)?.closure(&extras.modules)?
        };
        initramfs::add_extras(&mut tree, &modules, extras);
        let path = self.root.join(format!("{name}-{}.cpio", kernel.name()));
        write(&path, &tree.to_bytes())?;
        Ok(path)
    }

    /// An initramfs of busybox, `/init` and more executables, each as its path and content. It is
    /// not compressed: quicker to make and to unpack if it is large.
    pub fn bundle(&self, name: &str, files: &[(String, Vec<u8>)]) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let mut tree = initramfs::basic(self.busybox()?);
        for (path, content) in files {
            tree.file(path, 0o755, content.clone());
        }
        let path = self.root.join(name);
        write(&path, &tree.to_bytes())?;
        Ok(path)
    }

    /// An initramfs with Debian's openssl, python3, xz and sqlite3, and the action `userland`.
    pub fn userland(&self) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let path = self.root.join("userland.cpio");
        let stamp_path = self.root.join("userland.stamp");
        let stamp = [initramfs::INIT, userland::ACTION, userland::USERLAND_SCRIPT].concat();
        if path.exists() && fs::read_to_string(&stamp_path).is_ok_and(|text| text == stamp) {
            return Ok(path);
        }
        let directory = self.root.join("userland");
        if !directory.exists() {
            self.apt()?
                .unpack_closure(&userland::PACKAGES, &directory)?;
        }
        let mut tree = initramfs::basic(self.busybox()?);
        initramfs::add_debian(&mut tree, &directory)?;
        tree.file("actions/userland", 0o644, userland::ACTION);
        tree.file("userland.sh", 0o755, userland::USERLAND_SCRIPT);
        write(&path, &tree.to_bytes())?;
        write(&stamp_path, stamp.as_bytes())?;
        Ok(path)
    }

    fn busybox(&self) -> Result<Vec<u8>, Error> {
        let path = self.root.join("busybox");
        if !path.exists() {
            let deb = self
                .apt()?
                .download("busybox-static", &self.root.join("debs"))?;
            let tree = self.root.join("busybox.unpacking");
            apt::unpack(&deb, &tree)?;
            // Newer releases have it below /usr.
            let found = ["bin/busybox", "usr/bin/busybox"]
                .map(|name| tree.join(name))
                .into_iter()
                .find(|candidate| candidate.exists())
                .ok_or_else(|| Error::Incomplete {
                    package: "busybox-static".to_owned(),
                    wanted: "busybox",
                })?;
            fs::rename(found, &path).map_err(Error::file(&path))?;
            fs::remove_dir_all(&tree).map_err(Error::file(tree))?;
        }
        fs::read(&path).map_err(Error::file(path))
    }

    pub(crate) fn apt(&self) -> Result<Apt, Error> {
        Apt::open(&self.root.join("apt"))
    }

    /// Holds the store for this process until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File, Error> {
        fs::create_dir_all(&self.root).map_err(Error::file(&self.root))?;
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(Error::file(&path))?;
        file.lock().map_err(Error::file(path))?;
        Ok(file)
    }
}

/// Writes a file whole or not at all, and leaves an equal one untouched.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).map_err(Error::file(&partial))?;
    fs::rename(&partial, path).map_err(Error::file(path))
}
