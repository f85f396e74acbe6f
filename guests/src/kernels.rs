//! The store's kernels and their modules.

use crate::apt::{self, Apt};
use crate::modules::{self, Modules};
use crate::store::write;
use crate::{Error, Kernel, Store};
use std::fs;
use std::path::{Path, PathBuf};

impl Store {
    /// The kernel's image.
    pub fn kernel(&self, kernel: Kernel) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let image = self.kernel_directory(kernel).join("Image");
        if !image.exists() {
            self.find_kernel(kernel)?;
        }
        Ok(image)
    }

    /// The kernel's modules. The caller holds the lock.
    ///
    /// An image that was put here by hand has those that were put beside it.
    pub(crate) fn modules(&self, kernel: Kernel) -> Result<Modules, Error> {
        let directory = self.kernel_directory(kernel);
        let modules = directory.join("modules");
        let by_hand = directory.join("Image").exists() && !directory.join("package").exists();
        if !modules.exists() && !by_hand {
            // Image and modules come together, so that they fit each other.
            self.find_kernel(kernel)?;
        }
        Modules::open(&modules)
    }

    /// What another store needs to have these modules of `kernel`, and those they depend on: each
    /// file's path in the store, and what is in it.
    pub fn some_modules(
        &self,
        kernel: Kernel,
        names: &[&str],
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let _lock = self.lock()?;
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let modules = self.modules(kernel)?;
        let place = |file: &str| format!("kernels/{}/modules/{file}", kernel.name());
        let mut files = vec![(place(modules::BUILTIN), modules.builtin_list()?)];
        for module in modules.closure(&names)? {
            files.push((place(&format!("{}.ko", module.name)), module.data));
        }
        Ok(files)
    }

    fn kernel_directory(&self, kernel: Kernel) -> PathBuf {
        self.root().join("kernels").join(kernel.name())
    }

    fn find_kernel(&self, kernel: Kernel) -> Result<(), Error> {
        let apt = self.apt()?;
        let names = apt.names(kernel.package_prefix())?;
        let mut failure = Error::NoPackage {
            wanted: format!("{}*-arm64 ({})", kernel.package_prefix(), kernel.name()),
        };
        // A name may be known without being on offer (a dropped version): try a few.
        for package in kernel.candidates(&names).into_iter().take(4) {
            match self.fetch_kernel(&apt, package, &self.kernel_directory(kernel)) {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn fetch_kernel(&self, apt: &Apt, package: &str, directory: &Path) -> Result<(), Error> {
        let deb = apt.download(package, &self.root().join("debs"))?;
        let tree = directory.join("unpacking");
        apt::unpack(&deb, &tree)?;
        let incomplete = |wanted| Error::Incomplete {
            package: package.to_owned(),
            wanted,
        };
        let found = first_in(&tree.join("boot"), "vmlinuz")?.ok_or(incomplete("kernel"))?;
        // Newer releases have them below /usr.
        let version = ["lib/modules", "usr/lib/modules"]
            .map(|name| tree.join(name))
            .into_iter()
            .find(|path| path.exists())
            .map(|path| first_in(&path, ""))
            .transpose()?
            .flatten()
            .ok_or(incomplete("modules"))?;
        keep_modules(&version, &directory.join("modules"))?;
        write(&directory.join("package"), package.as_bytes())?;
        let image = directory.join("Image");
        fs::rename(&found, &image).map_err(Error::file(image))?;
        fs::remove_dir_all(&tree).map_err(Error::file(tree))
    }
}

/// Moves the modules of a package to `directory`, without those no guest loads.
fn keep_modules(unpacked: &Path, directory: &Path) -> Result<(), Error> {
    for unused in modules::UNUSED {
        let path = unpacked.join(unused);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(Error::file(path))?;
        }
    }
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(Error::file(directory))?;
    }
    fs::rename(unpacked, directory).map_err(Error::file(directory))
}

/// Something in `directory` whose name begins with `prefix`.
fn first_in(directory: &Path, prefix: &str) -> Result<Option<PathBuf>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file(directory))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.find(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(prefix)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    #[test]
    fn a_kernel_put_there_by_hand_is_used() {
        let root = env::temp_dir().join(format!("armlet-store-{}", std::process::id()));
        let directory = root.join("kernels/6.1-cloud");
        fs::create_dir_all(&directory).expect("temporary directory");
        fs::write(directory.join("Image"), "mine").expect("temporary file");
        let store = Store::at(root.clone());
        let image = store.kernel(Kernel::V6_1Cloud).expect("no download");
        assert_eq!(fs::read_to_string(image).expect("image"), "mine");
        let error = store
            .modules(Kernel::V6_1Cloud)
            .expect_err("none beside it");
        assert!(error.to_string().contains("6.1-cloud/modules"), "{error}");
        fs::remove_dir_all(root).expect("cleanup");
    }
}
