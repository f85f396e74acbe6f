//! Machine files, good and bad.

use super::super::disk::DiskConfig;
use super::super::{CpuChoice, MachineConfig};
use super::*;

/// Where the files of these tests seem to be.
const PATH: &str = "/machines/web.toml";

/// The one `[[disk]]` of a text.
pub fn device_of(text: &str) -> Result<DiskConfig, String> {
    let mut disks = disks(text)?;
    disks.pop().ok_or_else(|| "no disk".to_owned())
}

/// The `[[disk]]` tables of a text, whatever else settings are.
fn disks(text: &str) -> Result<Vec<DiskConfig>, String> {
    let document = DeTable::parse(text).map_err(|error| error.to_string())?;
    let value = document.get_ref().get("disk").ok_or("no disk")?;
    let given = Given {
        key: "disk",
        value: value.get_ref(),
        span: value.span(),
        directory: Path::new("/machines"),
    };
    let line = |Wrong { at, what }| format!("{}: {what}", line_of(text, at));
    given.devices().map_err(line)
}

fn config(text: &str) -> MachineConfig {
    let settings = parse(text, Path::new(PATH)).unwrap();
    MachineConfig::try_from(settings).unwrap()
}

fn refused(text: &str) -> String {
    parse(text, Path::new(PATH)).unwrap_err().to_string()
}

#[test]
fn names_of_files_are_relative_to_the_file() {
    let text = "kernel = 'Image'\ninitrd = '../initrd'\nserial = 'file:log'\ncontrol = '/run/x'";
    let config = config(text);
    assert_eq!(config.kernel, Path::new("/machines/Image"));
    assert_eq!(
        config.initrd.as_deref(),
        Some(Path::new("/machines/../initrd"))
    );
    assert_eq!(config.serial, Serial::File("/machines/log".into()));
    assert_eq!(config.control.as_deref(), Some(Path::new("/run/x")));
}

#[test]
fn numbers_may_be_texts_or_numbers() {
    for (cpus, memory) in [
        ("4", "0x4000_0000"),
        ("'4'", "'1G'"),
        ("+4", "1_073_741_824"),
    ] {
        let config = config(&format!("kernel = 'k'\ncpus = {cpus}\nmemory = {memory}"));
        assert_eq!((config.cpus.get(), config.memory.bytes()), (4, 1 << 30));
        assert_eq!(config.cpu, CpuChoice::Auto);
    }
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(
        parse("# nothing\n", Path::new(PATH)).unwrap(),
        Settings::default()
    );
}

#[test]
fn mistakes_name_file_line_and_key() {
    for (text, said) in [
        (
            "\ncpus = 0",
            "/machines/web.toml:2: cpus 0: a machine has 1 to 123 CPUs",
        ),
        (
            "\n\nmemory = 'lots'",
            "web.toml:3: memory lots: this is no size",
        ),
        (
            "cpus = [4]",
            "web.toml:1: cpus: write a number or a text, not a value of type array",
        ),
        (
            "cmdline = 5",
            "web.toml:1: cmdline: write a text, not a value of type integer",
        ),
        (
            "no-reboot = 'yes'",
            "web.toml:1: no-reboot: write true or false",
        ),
        ("kernel = ''", "web.toml:1: kernel: this is no file's name"),
        (
            "cpus = 1\nsound = 1",
            "web.toml:2: unknown setting 'sound'; choose from kernel,",
        ),
        ("accel = 'xen'", "web.toml:1: accel 'xen' is no accelerator"),
        ("serial = 'pty'", "web.toml:1: serial pty: choose stdio,"),
        ("stop-timeout = -1", "web.toml:1: stop-timeout -1: "),
        ("name = 'a/b'", "web.toml:1: name a/b: "),
        ("cpus = 1\ncpus = 2", "web.toml:2: duplicate key"),
        ("cpus = 1\nmemory = ", "web.toml:2: "),
        ("cpus: 1", "web.toml:1: "),
    ] {
        let line = refused(text);
        assert!(
            line.contains(said) && !line.contains('\n'),
            "{text}: {line}"
        );
    }
}

#[test]
fn the_first_mistake_is_told() {
    assert!(refused("name = '-'\ncpus = 0").contains(":1: name"));
    assert!(refused("cpus = 0\nname = '-'").contains(":1: cpus"));
}

#[test]
fn devices_are_tables() {
    let text = "[[disk]]\npath = 'a,b.img'\nreadonly = true\niops = 100\nbw = '1M'\n\
                [[disk]]\npath = '/b'\nserial = 7";
    let disks = disks(text).unwrap();
    assert_eq!(disks[0].path, Path::new("/machines/a,b.img"));
    assert!(disks[0].read_only && disks[0].iops.is_some() && disks[0].bandwidth.is_some());
    assert_eq!(disks[1].path, Path::new("/b"));
    assert_eq!(
        disks[1].serial.as_ref().map(|serial| serial.as_str()),
        Some("7")
    );
}

#[test]
fn names_that_may_be_repeated_are_a_list() {
    for (text, wanted) in [
        ("", &[][..]),
        ("allow-backing = 'a'", &["/machines/a"]),
        ("allow-backing = ['a,b', '/c']", &["/machines/a,b", "/c"]),
    ] {
        let disk = device_of(&format!("[[disk]]\npath = 'x'\n{text}")).unwrap();
        let wanted: Vec<PathBuf> = wanted.iter().map(PathBuf::from).collect();
        assert_eq!(disk.allow_backing, wanted, "{text}");
    }
}

#[test]
fn mistakes_in_devices_name_line_and_key() {
    for (text, said) in [
        ("disk = 5", "1: disk: write a table [[disk]] for each"),
        ("disk = [5]", "1: disk: write a table [[disk]] for each"),
        (
            "[[disk]]\npath = 'a'\n[[disk]]\nsize = 1",
            "4: disk: unknown option 'size'; choose",
        ),
        ("[[disk]]\npath = 'a'\niops = 0", "3: disk: iops=0: "),
        (
            "[[disk]]\nreadonly = 1",
            "2: disk: readonly: write true or false",
        ),
        ("[[disk]]\npath = 1", "2: disk: path: write a text"),
        ("[[disk]]\npath = ''", "2: disk: path has no value"),
        ("[[disk]]\npath = ['a']", "2: disk: path: write a text"),
        (
            "[[disk]]\npath = 'a'\nallow-backing = ['b',\n5]",
            "4: disk: allow-backing: write a text, or a list",
        ),
        (
            "[[disk]]\npath = 'a'\nallow-backing = ['']",
            "3: disk: allow-backing has no value",
        ),
        (
            "[[disk]]\npath = 'a'\n[[disk]]\niops = 1",
            "3: disk: path is missing",
        ),
    ] {
        let line = disks(text).unwrap_err();
        assert!(line.starts_with(said), "{text}: {line}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = std::env::temp_dir().join(format!("armlet-machine-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let refused = |content: &[u8]| {
        let path = folder.join("m.toml");
        std::fs::write(&path, content).unwrap();
        read(&path).unwrap_err().to_string()
    };
    assert!(refused(b"kernel = '\xff'").ends_with("it is not UTF-8"));
    assert!(refused(&vec![b'#'; (1 << 20) + 1]).ends_with("longer than 1 MiB"));
    let (pipe, socket, device) = (folder.join("p"), folder.join("s"), folder.join("d"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &device).unwrap();
    for (path, said) in [
        (&folder, "this is a directory; a machine file is a regular"),
        (&pipe, "this is a pipe;"),
        (&socket, "this is a socket;"),
        (&device, "this is a device;"),
    ] {
        let line = read(path).unwrap_err().to_string();
        let start = format!("{}: {said}", path.display());
        assert!(line.starts_with(&start), "{line}");
    }
    assert!(
        read(&folder.join("none"))
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
    std::fs::remove_dir_all(folder).unwrap();
}
