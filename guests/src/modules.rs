//! The modules of a kernel: which file holds one, and what must be loaded before it.
//!
//! A driver that a kernel has as a module on one configuration is built into another, so a guest names
//! the drivers it needs and gets those that are modules. What a module depends on stands in its
//! `.modinfo` section, as `depends=NAME,NAME` between NUL bytes (linux/module.h); reading that needs
//! no `depmod`. Omitted: soft dependencies (`softdep=`), which name aliases; a guest names those
//! modules itself.

use crate::{Error, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Parts of Debian's full configuration that no virtual machine has, and most of its size.
pub(crate) const UNUSED: [&str; 7] = [
    "kernel/sound",
    "kernel/drivers/gpu",
    "kernel/drivers/infiniband",
    "kernel/drivers/media",
    "kernel/drivers/net/ethernet",
    "kernel/drivers/net/wireless",
    "kernel/drivers/staging",
];

/// The list of those that are built in.
pub(crate) const BUILTIN: &str = "modules.builtin";

/// One module, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, with `_` for every `-`.
    pub(crate) name: String,
    /// The ELF file.
    pub(crate) data: Vec<u8>,
}

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    directory: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Those in `directory`, which is laid out as `/lib/modules/VERSION`.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        find(directory, &mut files)?;
        let list = directory.join(BUILTIN);
        let list = fs::read_to_string(&list).map_err(Error::file(list))?;
        let builtin = list.lines().filter_map(|line| name_of(Path::new(line)));
        Ok(Self {
            directory: directory.to_owned(),
            files,
            builtin: builtin.collect(),
        })
    }

    /// The file that says which drivers are built into the kernel.
    pub(crate) fn builtin_list(&self) -> Result<Vec<u8>, Error> {
        let list = self.directory.join(BUILTIN);
        fs::read(&list).map_err(Error::file(list))
    }

    /// The modules `wanted` and what they depend on, in the order they must be loaded. A driver
    /// that is built into the kernel needs none; one that is not there at all is an error.
    pub(crate) fn closure(&self, wanted: &[String]) -> Result<Vec<Module>, Error> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.add(name, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    /// Appends `name` to `order`, after what it depends on.
    fn add(
        &self,
        name: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<(), Error> {
        let name = name.replace('-', "_");
        if self.builtin.contains(&name) || !seen.insert(name.clone()) {
            return Ok(());
        }
        let path = self.files.get(&name).ok_or_else(|| Error::NoModule {
            name: name.clone(),
            directory: self.directory.clone(),
        })?;
        let data = read(path)?;
        for dependency in dependencies(&data) {
            self.add(&dependency, seen, order)?;
        }
        order.push(Module { name, data });
        Ok(())
    }
}

/// Adds the modules below `directory` to `files`, by name.
fn find(directory: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(directory).map_err(Error::file(directory))? {
        let entry = entry.map_err(Error::file(directory))?;
        let path = entry.path();
        if entry.file_type().map_err(Error::file(&path))?.is_dir() {
            find(&path, files)?;
        } else if let Some(name) = name_of(&path) {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// The name of the module in the file `path`, if it holds one.
fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file);
    Some(stem.strip_suffix(".ko")?.replace('-', "_"))
}

/// The module itself; newer kernels' packages have them compressed.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    if path.extension().is_some_and(|extension| extension == "xz") {
        return run::bytes(
            Command::new("xz")
                .args(["--decompress", "--stdout"])
                .arg(path),
        );
    }
    fs::read(path).map_err(Error::file(path))
}

/// What the module `data` says it depends on.
fn dependencies(data: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"depends=";
    let fields = data.split(|&byte| byte == 0);
    let value = fields.filter_map(|field| field.strip_prefix(KEY)).next();
    let value = String::from_utf8_lossy(value.unwrap_or_default());
    let names = value.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    /// A directory of modules with these names and dependencies, and `ext4` built in.
    fn directory(test: &str, modules: &[(&str, &str)]) -> PathBuf {
        let root = env::temp_dir().join(format!("armlet-{test}-{}", std::process::id()));
        let drivers = root.join("kernel/drivers");
        fs::create_dir_all(&drivers).expect("temporary directory");
        fs::write(root.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").expect("list");
        for (name, depends) in modules {
            let data = format!("\x7fELF..\0license=GPL\0depends={depends}\0name={name}\0");
            fs::write(drivers.join(format!("{name}.ko")), data).expect("module");
        }
        root
    }

    fn closure(directory: &Path, wanted: &[&str]) -> Result<Vec<String>, Error> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let modules = Modules::open(directory)?.closure(&wanted)?;
        Ok(modules.into_iter().map(|module| module.name).collect())
    }

    #[test]
    fn what_a_module_needs_comes_before_it_and_once() {
        let directory = directory(
            "order",
            &[
                ("virtio", ""),
                ("virtio_ring", "virtio"),
                ("virtio_blk", "virtio_ring,virtio"),
                ("virtio-rng", "virtio"),
            ],
        );
        let order = closure(
            &directory,
            &["virtio-rng", "virtio_blk", "virtio_rng", "ext4"],
        );
        assert_eq!(
            order.expect("all are there"),
            ["virtio", "virtio_rng", "virtio_ring", "virtio_blk"]
        );
        fs::remove_dir_all(directory).expect("cleanup");
    }

    #[test]
    fn a_missing_module_is_named() {
        let directory = directory("missing", &[("virtio_net", "failover")]);
        let error = closure(&directory, &["virtio_net"]).expect_err("half of it is missing");
        assert!(error.to_string().contains("failover"), "{error}");
        fs::remove_dir_all(directory).expect("cleanup");
    }

    #[test]
    fn a_compressed_module_is_unpacked() {
        let directory = directory("xz", &[("evdev", "")]);
        let plain = directory.join("kernel/drivers/evdev.ko");
        let data = fs::read(&plain).expect("module");
        run::output(Command::new("xz").arg(&plain)).expect("xz");
        let modules = Modules::open(&directory).expect("directory");
        let found = modules.closure(&["evdev".to_owned()]).expect("module");
        assert_eq!(found[0].data, data);
        fs::remove_dir_all(directory).expect("cleanup");
    }
}
