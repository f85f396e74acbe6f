//! A private apt: the host's configured sources and keys, but its own lists, cache and
//! architecture, so that arm64 packages can be had without root and without changing the host.

mod backports;

use crate::{Error, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const OS_RELEASE: &str = "/etc/os-release";
/// The host's list of sources. Those in the directory beside it are read in any case.
const SOURCES: &str = "/etc/apt/sources.list";

/// Index files the host may be configured to fetch that are of no use here.
const UNWANTED_INDEXES: [&str; 6] = [
    "DEP-11",
    "DEP-11-icons",
    "DEP-11-icons-small",
    "DEP-11-icons-large",
    "DEP-11-icons-hidpi",
    "Contents-deb",
];

/// A private apt state under one directory.
#[derive(Debug)]
pub struct Apt {
    root: PathBuf,
    architectures: Vec<String>,
    /// A release to take packages from before others; `root` has the list of sources.
    release: Option<String>,
}

impl Apt {
    /// Opens the state in `root` and fetches the package lists if there are none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_for(root, &["arm64"])
    }

    /// Opens the state in `root` for packages of these architectures, of which the first is meant
    /// where a name has none (`name:arm64`).
    pub fn open_for(root: &Path, architectures: &[&str]) -> Result<Self, Error> {
        Self {
            root: root.to_owned(),
            architectures: architectures.iter().map(ToString::to_string).collect(),
            release: None,
        }
        .update()
    }

    /// Opens the state in `root` for packages of this architecture, which come from the backports to
    /// the host's release where these have them.
    pub fn open_backports(root: &Path, architecture: &str) -> Result<Self, Error> {
        let plain = root.join("release");
        let host = Self::open_for(&plain, &[architecture])?;
        let answer = run::output(host.command("apt-get").args(backports::QUESTION))?;
        let system = fs::read_to_string(OS_RELEASE).map_err(Error::file(OS_RELEASE))?;
        let Some(found) = backports::sources(&system, &answer, backports::has_keys()) else {
            // The next time is to see what has changed until then.
            fs::remove_dir_all(&plain).map_err(Error::file(plain))?;
            return Err(Error::NoBackports);
        };
        // What cannot be read, apt does without too.
        let mut sources = fs::read_to_string(SOURCES).unwrap_or_default();
        for entry in found.entries {
            sources += &format!("\n{entry}\n");
        }
        let path = root.join("sources.list");
        fs::write(&path, sources).map_err(Error::file(path))?;
        Self {
            root: root.to_owned(),
            architectures: vec![architecture.to_owned()],
            release: Some(found.release),
        }
        .update()
    }

    /// Fetches the package lists if there are none.
    fn update(self) -> Result<Self, Error> {
        let (apt, root) = (&self, &self.root);
        let updated = root.join("updated");
        if updated.exists() {
            return Ok(self);
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let path = root.join(part);
            fs::create_dir_all(&path).map_err(Error::file(path))?;
        }
        for (name, text) in [
            ("state/status", String::new()),
            ("apt.conf", apt.configuration()),
        ] {
            let path = root.join(name);
            fs::write(&path, text).map_err(Error::file(path))?;
        }
        eprintln!(
            "guests: fetching {} package lists into {}",
            apt.architectures.join(" and "),
            root.display()
        );
        run::output(apt.command("apt-get").arg("update"))?;
        fs::write(&updated, "").map_err(Error::file(updated))?;
        Ok(self)
    }

    /// Names of known packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let text = run::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Names of the packages that this one depends on. Of alternatives, the first.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>, Error> {
        let text = run::output(self.command("apt-cache").args(["depends", package]))?;
        let name = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        let real = |name: &String| !name.starts_with('<');
        Ok(text.lines().filter_map(name).filter(real).collect())
    }

    /// Downloads one package into `directory` and returns its file.
    pub fn download(&self, package: &str, directory: &Path) -> Result<PathBuf, Error> {
        fs::create_dir_all(directory).map_err(Error::file(directory))?;
        eprintln!("guests: downloading {package}");
        run::output(
            self.command("apt-get")
                .args(["download", package])
                .current_dir(directory),
        )?;
        let (name, architecture) = package.split_once(':').unwrap_or((package, ""));
        let (prefix, suffix) = (format!("{name}_"), format!("{architecture}.deb"));
        deb_files(directory)?
            .into_iter()
            .find(|path| {
                path.file_name()
                    .map(|n| n.to_string_lossy())
                    .is_some_and(|n| n.starts_with(&prefix) && n.ends_with(&suffix))
            })
            .ok_or_else(|| Error::NoPackage {
                wanted: package.to_owned(),
            })
    }

    /// Downloads `packages` and everything they depend on, and returns the files.
    pub fn download_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>, Error> {
        eprintln!(
            "guests: downloading {} and what they need",
            packages.join(", ")
        );
        // Nothing counts as installed, so apt's resolver names the whole closure; and all of it is
        // to be downloaded, if nothing is there yet.
        let nowhere = self.root.join("cache/none");
        let listing = run::output(
            self.command("apt-get")
                .arg("-o")
                .arg(format!("Dir::Cache::archives={}/", nowhere.display()))
                .args(["--yes", "--quiet=2", "--print-uris", "install"])
                .args(packages),
        )?;
        run::output(
            self.command("apt-get")
                .args(["--yes", "--download-only", "install"])
                .args(packages),
        )?;
        let archives = self.root.join("cache/archives");
        let files = listing.lines().filter_map(file_of_listing);
        Ok(files.map(|name| archives.join(name)).collect())
    }

    /// Downloads `packages` and everything they depend on, and unpacks them into the new directory
    /// `tree`: all or none.
    pub fn unpack_closure(&self, packages: &[&str], tree: &Path) -> Result<(), Error> {
        // Two that unpack at once do not meet.
        let partial = tree.with_extension(format!("{}.partial", std::process::id()));
        let unpacked = self.download_closure(packages).and_then(|debs| {
            debs.iter().try_for_each(|deb| unpack(deb, &partial))?;
            match fs::rename(&partial, tree) {
                // The other one was first.
                Err(_) if tree.exists() => Ok(()),
                renamed => renamed.map_err(Error::file(tree)),
            }
        });
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::file(partial))?;
        }
        unpacked
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.root.join("apt.conf"))
            .env("LC_ALL", "C");
        command
    }

    fn configuration(&self) -> String {
        let root = self.root.display();
        let native = self.architectures.first().map_or("arm64", String::as_str);
        let quoted = self.architectures.iter().map(|name| format!("\"{name}\";"));
        let all = quoted.collect::<Vec<_>>().join(" ");
        let mut text = format!(
            "#clear APT::Architectures;\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             APT::Architecture \"{native}\";\n\
             APT::Architectures {{ {all} }};\n\
             APT::Sandbox::User \"root\";\n\
             APT::Install-Recommends \"false\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Dir::State \"{root}/state/\";\n\
             Dir::State::status \"{root}/state/status\";\n\
             Dir::Cache \"{root}/cache/\";\n"
        );
        if let Some(release) = &self.release {
            text += &format!(
                "APT::Default-Release \"{release}\";\n\
                 Dir::Etc::sourcelist \"{root}/sources.list\";\n"
            );
        }
        for index in UNWANTED_INDEXES {
            text += &format!("Acquire::IndexTargets::deb::{index}::DefaultEnabled \"false\";\n");
        }
        text
    }
}

/// Unpacks the package `deb` below `directory`, without running anything from it.
pub fn unpack(deb: &Path, directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    run::output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .args([deb, directory]),
    )
    .map(drop)
}

/// The file that a line of `--print-uris` downloads to: `'URI' FILE SIZE HASH`.
fn file_of_listing(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix('\'')?;
    words.next().filter(|name| name.ends_with(".deb"))
}

/// The package files in `directory`, sorted.
fn deb_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::file(directory))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_closure_are_those_apt_lists() {
        let line = "'http://deb/pool/d/dbus_1.14_arm64.deb' dbus_1%3a1.14_arm64.deb 97 SHA256:12";
        assert_eq!(file_of_listing(line), Some("dbus_1%3a1.14_arm64.deb"));
        for other in [
            "",
            "Reading package lists...",
            "dbus_1.14_arm64.deb x",
            "'http://deb/Packages' Packages 1 -",
        ] {
            assert_eq!(file_of_listing(other), None);
        }
    }

    #[test]
    fn the_configuration_names_only_private_directories() {
        for (release, directories) in [(None, 3), (Some("x-backports"), 4)] {
            let apt = Apt {
                root: PathBuf::from("/private"),
                architectures: vec!["arm64".to_owned()],
                release: release.map(str::to_owned),
            };
            let text = apt.configuration();
            for line in text.lines().filter(|line| line.starts_with("Dir::")) {
                assert!(line.contains("\"/private/"), "{line}");
            }
            assert_eq!(text.matches("Dir::").count(), directories);
        }
    }
}
