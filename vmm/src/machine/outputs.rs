//! The files a machine writes over: its serial port's, its console ports', its device tree's. None
//! may be a file that the machine is made of, or another of them.
//!
//! | step | when | what it sees |
//! |---|---|---|
//! | [`check`] | before anything is created, opened for writing or emptied | every name that leads to one file: links, hard links, other spellings, nodes of one block device |
//! | [`create`] | when an output is opened | whoever else has the file just now: a disk of any machine, another's output |
//!
//! The first names both sides. The second knows no names but races with nobody, and it takes a lock
//! (the one that disks take), so that the file is this machine's as long as it is open.
//!
//! Pipes, terminals and other character devices, `/dev/null` above all, keep nothing that could be
//! lost, and may be several outputs at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{StartError, disk};
use crate::config::console::{ConsoleConfig, ConsoleEnd};
use crate::config::{MachineConfig, Serial};
use crate::host::stdio;

/// The most links that are followed to where a new file would be, as Linux does.
const MOST_LINKS: usize = 40;

/// Files that go with a machine though its configuration does not name them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside<'a> {
    /// The machine file that the configuration came from.
    pub machine_file: Option<&'a Path>,
    /// Where the device tree is to be written.
    pub device_tree: Option<&'a Path>,
}

/// Refuses outputs that are a file the machine is made of, or another output.
///
/// # Errors
/// With the first of them, and whose file it is.
pub fn check(config: &MachineConfig, beside: Beside<'_>) -> Result<(), StartError> {
    let mut taken = HashMap::new();
    for (path, what) in inputs(config, beside) {
        if let Some(place) = Place::of(&path) {
            taken.entry(place).or_insert(what);
        }
    }
    for (place, what) in outputs(config, beside) {
        let Some(place) = place else { continue };
        if let Some(other) = taken.get(&place) {
            let line = format!(
                "{what}: this is the file of {other}, which would be overwritten; give another one"
            );
            return Err(StartError::Input(line));
        }
        taken.insert(place, what);
    }
    Ok(())
}

/// Opens an output, empty. It is this machine's from now on.
///
/// # Errors
/// The host's, and when somebody has the file as a disk or an output.
pub fn create(path: &Path) -> io::Result<File> {
    // It is emptied once it is known that nobody has it. A pipe is not waited for, neither here nor by
    // a write later: who writes waits where others go on.
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NXIO) if is_pipe(path) => {
                let why = "nobody reads this pipe; start its reader first, or give a file";
                io::Error::new(error.kind(), why)
            }
            Some(_) | None => error,
        })?;
    let metadata = file.metadata()?;
    if !keeps_data(&metadata) {
        return Ok(file);
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let why = "it is in use, as a disk or for the output of a machine";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        // Not every file system has locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    if metadata.is_file() {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Everything the machine is made of, with its name for the user.
fn inputs(config: &MachineConfig, beside: Beside<'_>) -> Vec<(PathBuf, String)> {
    let named = |what: &str, path: &Path| (path.to_owned(), format!("{what} {}", path.display()));
    let mut inputs = vec![named("--kernel", &config.kernel)];
    inputs.extend(config.initrd.iter().map(|path| named("--initrd", path)));
    let machine_file = beside.machine_file.iter();
    inputs.extend(machine_file.map(|path| named("the machine file", path)));
    for disk in &config.disks {
        let image = format!("--disk path={}", disk.path.display());
        let mut files = disk::files(disk).into_iter();
        inputs.extend(files.next().map(|path| (path, image.clone())));
        inputs.extend(files.map(|path| {
            let what = format!("{}, a backing file of {image}", path.display());
            (path, what)
        }));
    }
    inputs
}

/// Everything the machine writes over, with its name for the user.
fn outputs(config: &MachineConfig, beside: Beside<'_>) -> Vec<(Option<Place>, String)> {
    let mut outputs = Vec::new();
    // No guest runs where the device tree is written, which may well be to standard output.
    let stdout = || match beside.device_tree {
        Some(_) => None,
        None => Place::of_stdout(),
    };
    match &config.serial {
        Serial::File(path) => {
            outputs.push((Place::of(path), format!("--serial file:{}", path.display())));
        }
        Serial::Stdio => outputs.push((stdout(), "--serial stdio".to_owned())),
        Serial::None => {}
    }
    for console in &config.consoles {
        let ConsoleConfig { port: _, end } = console;
        let place = match end {
            ConsoleEnd::File(path) => Place::of(path),
            ConsoleEnd::Stdio => stdout(),
            // A socket takes the place of nothing but an abandoned socket.
            ConsoleEnd::Socket(_) | ConsoleEnd::None => continue,
        };
        outputs.push((place, format!("--console {console}")));
    }
    if let Some(path) = beside.device_tree {
        outputs.push((Place::of(path), format!("--dump-dtb {}", path.display())));
    }
    outputs
}

/// What tells one file from every other, whatever names lead to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// A file that is there: its device and inode.
    File(u64, u64),
    /// A block device, by its number: there may be several nodes of one.
    Device(u64),
    /// A file that is not there yet: the device and inode of its directory, and its name.
    New(u64, u64, OsString),
}

impl Place {
    /// The place that a name leads to; none if it cannot be written, or keeps no data.
    fn of(path: &Path) -> Option<Self> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            if let Ok(metadata) = fs::metadata(&path) {
                return Self::of_file(&metadata);
            }
            let directory = match path.parent() {
                Some(parent) if parent != Path::new("") => parent.to_owned(),
                Some(_) | None => PathBuf::from("."),
            };
            // A link to nothing: the file is made where it leads to.
            if let Ok(target) = fs::read_link(&path) {
                path = directory.join(target);
                continue;
            }
            let metadata = fs::metadata(directory).ok()?;
            let name = path.file_name()?.to_owned();
            return Some(Self::New(metadata.dev(), metadata.ino(), name));
        }
        None
    }

    /// The place of standard output.
    fn of_stdout() -> Option<Self> {
        let file = stdio::stdout().ok()?;
        Self::of_file(&file.metadata().ok()?)
    }

    fn of_file(metadata: &Metadata) -> Option<Self> {
        if metadata.file_type().is_block_device() {
            Some(Self::Device(metadata.rdev()))
        } else if keeps_data(metadata) {
            Some(Self::File(metadata.dev(), metadata.ino()))
        } else {
            None
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Whether what is written to a file is kept in it.
fn keeps_data(metadata: &Metadata) -> bool {
    metadata.is_file() || metadata.file_type().is_block_device()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use images::qcow2::create::Layout;
    use images::testing::Folder;
    use images::{NewImage, Options};

    use crate::config::RawConfig;

    use super::*;

    /// A machine with all there is, in a folder of its own.
    struct Made(Folder);

    impl Made {
        fn new(test: &str) -> Self {
            let folder = Folder::new(&format!("outputs-{test}")).unwrap();
            for name in ["kernel", "initrd", "vm.toml", "raw"] {
                fs::write(folder.join(name), [7; 4096]).unwrap();
            }
            let base = folder.join("base");
            images::create(&base, &NewImage::Qcow2(Layout::of_size(1 << 20))).unwrap();
            let top = folder.join("top");
            let layout = Layout::on(&top, "base".into(), &Options::default(), None).unwrap();
            images::create(&top, &NewImage::Qcow2(layout)).unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        fn config(&self, serial: &str, consoles: &[String]) -> MachineConfig {
            let disk = |name| format!("path={}", self.path(name));
            let raw = RawConfig {
                kernel: Some(self.0.join("kernel")),
                initrd: Some(self.0.join("initrd")),
                serial: Some(serial.to_owned()),
                disks: vec![disk("raw"), disk("top")],
                consoles: consoles.to_vec(),
                ..RawConfig::default()
            };
            raw.try_into().unwrap()
        }

        /// What is said of a machine with this file as its only output, in each way there is.
        fn said(&self, output: &str) -> Vec<String> {
            let machine_file = self.0.join("vm.toml");
            let beside = Beside {
                machine_file: Some(&machine_file),
                device_tree: None,
            };
            let dump = Beside {
                device_tree: Some(Path::new(output)),
                ..beside
            };
            let port = [format!("port=log,file={output}")];
            [
                check(&self.config(&format!("file:{output}"), &[]), beside),
                check(&self.config("none", &port), beside),
                check(&self.config("none", &[]), dump),
            ]
            .map(|checked| {
                checked
                    .err()
                    .map_or(String::new(), |error| error.to_string())
            })
            .into()
        }
    }

    #[test]
    fn no_output_is_a_file_that_the_machine_is_made_of() {
        let made = Made::new("inputs");
        for (name, whose) in [
            ("kernel", "--kernel "),
            ("initrd", "--initrd "),
            ("vm.toml", "the machine file "),
            ("raw", "--disk path="),
            ("top", "--disk path="),
            ("base", "a backing file of --disk path="),
        ] {
            let (link, hard) = (made.path("link"), made.path("hard"));
            symlink(made.path(name), &link).unwrap();
            fs::hard_link(made.path(name), &hard).unwrap();
            let spelt = format!("{}/../{name}", made.path("below"));
            fs::create_dir_all(made.path("below")).unwrap();
            for output in [&made.path(name), &link, &hard, &spelt] {
                let flags = ["--serial file:", "--console port=log,file=", "--dump-dtb "];
                for (line, flag) in made.said(output).into_iter().zip(flags) {
                    let start = format!("{flag}{output}: this is the file of ");
                    assert!(line.starts_with(&start), "{name}, {output}: {line:?}");
                    assert!(line.contains(whose), "{name}: {line}");
                }
            }
            fs::remove_file(&link).unwrap();
            fs::remove_file(&hard).unwrap();
        }
        assert_eq!(made.said(&made.path("log")), ["", "", ""]);
        fs::write(made.path("log"), b"of the last run").unwrap();
        assert_eq!(made.said(&made.path("log")), ["", "", ""]);
    }

    #[test]
    fn one_file_is_one_output_whether_it_is_there_or_not() {
        let made = Made::new("twice");
        fs::create_dir_all(made.path("below")).unwrap();
        let (log, spelt) = (made.path("log"), format!("{}/../log", made.path("below")));
        symlink("log", made.path("link")).unwrap();
        symlink("link", made.path("further")).unwrap();
        for there in [false, true] {
            for other in [spelt.clone(), made.path("link"), made.path("further")] {
                let ports = [format!("port=a,file={log}"), format!("port=b,file={other}")];
                let line = check(&made.config("none", &ports), Beside::default());
                let line = line.unwrap_err().to_string();
                let said = format!("--console port=b,file={other}: this is the file of --console");
                assert!(line.starts_with(&said), "{there}: {line}");
                let serial = made.config(&format!("file:{log}"), &ports[1..]);
                assert!(check(&serial, Beside::default()).is_err());
            }
            fs::write(&log, b"").unwrap();
        }
    }

    #[test]
    fn what_keeps_no_data_may_be_several_outputs() {
        let made = Made::new("null");
        let ports = ["a", "b"].map(|name| format!("port={name},file=/dev/null"));
        let config = made.config("file:/dev/null", &ports[..1]);
        assert_eq!(check(&config, Beside::default()), Ok(()));
        let [first, second] = [0, 1].map(|_| create(Path::new("/dev/null")));
        assert!(first.is_ok() && second.is_ok());
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let made = Made::new("pipe");
        let pipe = made.0.join("pipe");
        let made_it = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made_it.unwrap().success());
        let refused = create(&pipe).unwrap_err();
        assert!(refused.to_string().contains("nobody reads"), "{refused}");
        let mut reader = OpenOptions::new();
        let reader = reader
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut reader = reader.open(&pipe).unwrap();
        io::Write::write_all(&mut create(&pipe).unwrap(), b"boot").unwrap();
        let mut text = [0; 4];
        io::Read::read_exact(&mut reader, &mut text).unwrap();
        assert_eq!(&text, b"boot");
    }

    #[test]
    fn an_output_that_somebody_has_is_not_emptied() {
        let made = Made::new("locks");
        let raw = made.0.join("raw");
        let disk = images::open(&raw, &Options::default()).unwrap();
        let refused = create(&raw).unwrap_err();
        assert!(refused.to_string().contains("in use"), "{refused}");
        assert_eq!(fs::read(&raw).unwrap(), [7; 4096]);
        drop(disk);
        let output = create(&raw).unwrap();
        assert_eq!(fs::read(&raw).unwrap(), b"");
        assert!(create(&raw).is_err());
        drop(output);
        create(&raw).unwrap();
    }
}
