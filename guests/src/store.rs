//! The directory that guests are kept in.

use crate::apt::{self, Apt};
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

    /// The kernel's image.
    pub fn kernel(&self, kernel: Kernel) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let directory = self.root.join("kernels").join(kernel.name());
        let image = directory.join("Image");
        if image.exists() {
            return Ok(image);
        }
        let apt = self.apt()?;
        let names = apt.names(kernel.package_prefix())?;
        let mut failure = Error::NoPackage {
            wanted: format!("{}*-arm64 ({})", kernel.package_prefix(), kernel.name()),
        };
        // A name may be known without being on offer (a dropped version): try a few.
        for package in kernel.candidates(&names).into_iter().take(4) {
            match self.fetch_kernel(&apt, package, &directory) {
                Ok(()) => return Ok(image),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn fetch_kernel(&self, apt: &Apt, package: &str, directory: &Path) -> Result<(), Error> {
        let deb = apt.download(package, &self.root.join("debs"))?;
        let tree = directory.join("unpacking");
        apt::unpack(&deb, &tree)?;
        let boot = tree.join("boot");
        let found = fs::read_dir(&boot)
            .map_err(Error::file(&boot))?
            .find_map(|entry| {
                let path = entry.ok()?.path();
                path.file_name()?
                    .to_string_lossy()
                    .starts_with("vmlinuz")
                    .then_some(path)
            });
        let found = found.ok_or_else(|| Error::Incomplete {
            package: package.to_owned(),
            wanted: "kernel",
        })?;
        write(&directory.join("package"), package.as_bytes())?;
        let image = directory.join("Image");
        fs::rename(&found, &image).map_err(Error::file(image))?;
        fs::remove_dir_all(&tree).map_err(Error::file(tree))
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
            let partial = self.root.join("userland.partial");
            for deb in self.apt()?.download_closure(&userland::PACKAGES)? {
                apt::unpack(&deb, &partial)?;
            }
            fs::rename(&partial, &directory).map_err(Error::file(partial))?;
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

    fn apt(&self) -> Result<Apt, Error> {
        Apt::open(&self.root.join("apt"))
    }

    /// Holds the store for this process until the file is dropped.
    fn lock(&self) -> Result<File, Error> {
        fs::create_dir_all(&self.root).map_err(Error::file(&self.root))?;
        let path = self.root.join("lock");
        let file = File::create(&path).map_err(Error::file(&path))?;
        file.lock().map_err(Error::file(path))?;
        Ok(file)
    }
}

/// Writes a file whole or not at all, and leaves an equal one untouched.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    fs::write(&partial, bytes).map_err(Error::file(&partial))?;
    fs::rename(&partial, path).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_put_there_by_hand_is_used() {
        let root = env::temp_dir().join(format!("armlet-store-{}", std::process::id()));
        let directory = root.join("kernels/6.1-cloud");
        fs::create_dir_all(&directory).expect("temporary directory");
        fs::write(directory.join("Image"), "mine").expect("temporary file");
        let image = Store::at(root.clone())
            .kernel(Kernel::V6_1Cloud)
            .expect("no download");
        assert_eq!(fs::read_to_string(image).expect("image"), "mine");
        fs::remove_dir_all(root).expect("cleanup");
    }
}
