//! Whatever is wrong with an image, it is said in one line that names the file and the way out.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::qcow2::create::Layout;
use images::{Backing, Conversion, Extent, Format, NewImage, Options, convert, create, open};

/// A program that another test starts has this process's locks for a moment, until it is another
/// program: so there is one test at a time.
static TURN: Mutex<()> = Mutex::new(());

struct Directory {
    path: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Directory {
    fn new(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let path = env::temp_dir().join(format!("armlet-images-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("inner")).unwrap();
        Self { path, _turn: turn }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A qcow2 image in which some bytes are others.
    fn damaged(&self, name: &str, changes: &[(usize, &[u8])]) -> PathBuf {
        let path = self.file(name);
        let _ = fs::remove_file(&path);
        create(&path, &NewImage::Qcow2(Layout::of_size(1 << 20))).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        for (at, change) in changes {
            bytes[*at..at + change.len()].copy_from_slice(change);
        }
        fs::write(&path, bytes).unwrap();
        path
    }

    /// An image with a backing file of this name, whatever that is.
    fn over(&self, name: &str, backing: &str) -> PathBuf {
        let (at, len) = (512u64.to_be_bytes(), (backing.len() as u32).to_be_bytes());
        self.damaged(name, &[(8, &at), (16, &len), (512, backing.as_bytes())])
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn refused(path: &Path, options: &Options, said: &[&str]) {
    let line = open(path, options).unwrap_err().to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(line.contains(name) && !line.contains('\n'), "{line}");
    for word in said {
        assert!(line.contains(word), "{line:?} lacks {word:?}");
    }
}

#[test]
fn what_is_no_disk_is_refused() {
    let directory = Directory::new("kinds");
    let options = Options::default();
    refused(
        &directory.file("missing"),
        &options,
        &["no such file", "disk create"],
    );
    refused(&directory.file("inner"), &options, &["a directory"]);
    refused("/dev/null".as_ref(), &options, &["a character device"]);
    let pipe = directory.file("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    refused(&pipe, &options, &["a pipe"]);
    let foreign = directory.file("foreign");
    fs::write(&foreign, b"KDMV and so on").unwrap();
    refused(&foreign, &options, &["VMDK", "the format raw"]);
    let raw = Options {
        format: Format::Raw,
        ..Options::default()
    };
    assert!(open(&foreign, &raw).is_ok());
    let qcow2 = Options {
        format: Format::Qcow2,
        ..Options::default()
    };
    refused(&foreign, &qcow2, &["no qcow2"]);
}

#[test]
fn an_image_has_one_writer_or_many_readers() {
    let directory = Directory::new("locks");
    let path = directory.damaged("disk.qcow2", &[]);
    let writer = Options::default();
    let reader = Options {
        readonly: true,
        ..Options::default()
    };
    let first = open(&path, &writer).unwrap();
    refused(&path, &writer, &["in use by"]);
    refused(&path, &reader, &["being written by"]);
    drop(first);
    let (_one, _two) = (open(&path, &reader).unwrap(), open(&path, &reader).unwrap());
    refused(&path, &writer, &["in use", "read-only"]);
    let unlocked = Options {
        lock: false,
        ..Options::default()
    };
    assert!(open(&path, &unlocked).is_ok());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let directory = Directory::new("features");
    let changes: [(usize, &[u8], &str); 12] = [
        (4, &[0, 0, 0, 9], "version 9"),
        (32, &[0, 0, 0, 1], "encryption (AES)"),
        (32, &[0, 0, 0, 2], "encryption (LUKS)"),
        (79, &[4], "an external data file"),
        (79, &[16], "subclusters"),
        (72, &[0x80], "incompatible feature 63"),
        (79, &[8], "compression of kind 0"),
        (20, &[0, 0, 0, 40], "corrupt: clusters of 2^40"),
        (24, &[0x7f], "corrupt: a disk of"),
        (36, &[0, 0, 0, 0], "corrupt: an L1 table of 0 entries"),
        (
            40,
            &[0, 1],
            "L1 table at 0x1000000030000 is not in the file",
        ),
        (56, &[0xff], "refcount table is too large"),
    ];
    for (at, change, said) in changes {
        let path = directory.damaged("disk.qcow2", &[(at, change)]);
        refused(&path, &Options::default(), &[said]);
    }
    let path = directory.damaged("disk.qcow2", &[]);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..100_000]).unwrap();
    refused(&path, &Options::default(), &["cut short"]);
    fs::write(&path, &bytes[..60]).unwrap();
    refused(&path, &Options::default(), &["no qcow2"]);
}

#[test]
fn what_was_not_closed_is_mended_before_it_is_written() {
    let directory = Directory::new("dirty");
    let reader = Options {
        readonly: true,
        ..Options::default()
    };
    for (bit, said) in [(1, "not closed"), (2, "marked as corrupt")] {
        let path = directory.damaged("disk.qcow2", &[(79, &[bit])]);
        refused(&path, &Options::default(), &[said, "check --repair"]);
        assert!(open(&path, &reader).is_ok());
        images::repair(&path, Format::Auto).unwrap();
        assert!(open(&path, &Options::default()).is_ok());
    }
}

#[test]
fn tables_that_would_be_overwritten_are_found() {
    let directory = Directory::new("overlap");
    // The L1 table is the fourth cluster; its entry points to itself.
    let path = directory.damaged("disk.qcow2", &[(0x3_0000, &[0x80, 0, 0, 0, 0, 3, 0, 0])]);
    refused(&path, &Options::default(), &["two tables", "disk check"]);
    // An L2 table at the end whose first entry is the header.
    let path = directory.damaged("disk.qcow2", &[(0x3_0000, &[0x80, 0, 0, 0, 0, 4, 0, 0])]);
    let mut bytes = fs::read(&path).unwrap();
    bytes.resize(0x5_0000, 0);
    for (guest, host) in [0x8000_0000_0003_0000u64, 0x8000_0000_0002_0000]
        .iter()
        .enumerate()
    {
        let at = 0x4_0000 + guest * 8;
        bytes[at..at + 8].copy_from_slice(&host.to_be_bytes());
    }
    fs::write(&path, bytes).unwrap();
    let image = open(&path, &Options::default()).unwrap();
    for at in [0, 0x1_0000] {
        let error = image.write_at(&[1; 512], at).unwrap_err().to_string();
        assert!(
            error.contains("corrupt") && error.contains("disk check"),
            "{error}"
        );
        assert!(image.write_extent(at, 512).is_err());
    }
    drop(image);
    let (found, left) = images::repair(&path, Format::Auto).unwrap().unwrap();
    assert!(
        found.corruptions > 0 && left.corruptions > 0,
        "no guesses are made"
    );
}

/// Bytes of the disks that are cut short.
const FULL: u64 = 4 << 20;

fn cut(path: &Path, len: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

/// A disk without any zeroes, of which half can be compressed away.
fn full_disk() -> Vec<u8> {
    let mut random = 0x1234_5678_9abc_def1u64;
    let next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[3] & 0xf | 1
    };
    std::iter::repeat_with(next).take(FULL as usize).collect()
}

fn reader() -> Options {
    Options {
        readonly: true,
        ..Options::default()
    }
}

/// A full disk as qcow2.
fn full_image(directory: &Directory, compress: Option<&str>) -> PathBuf {
    let (raw, path) = (directory.file("full.raw"), directory.file("full.qcow2"));
    let _ = fs::remove_file(&path);
    fs::write(&raw, full_disk()).unwrap();
    let mut layout = Layout::of_size(0);
    if let Some(name) = compress {
        layout.compression = images::compression(name).unwrap();
    }
    let conversion = Conversion::Qcow2 {
        layout,
        compress: compress.is_some(),
    };
    let as_raw = Options {
        format: Format::Raw,
        ..Options::default()
    };
    convert(&raw, &as_raw, &path, &conversion).unwrap();
    path
}

#[test]
fn an_image_that_is_cut_short_never_reads_as_zeroes() {
    let directory = Directory::new("cut");
    let disk = full_disk();
    for compress in [None, Some("zlib"), Some("zstd")] {
        let path = full_image(&directory, compress);
        let whole = fs::metadata(&path).unwrap().len();
        for len in [whole / 2, whole / 2 + 4096, whole - 0x1_0000] {
            let path = full_image(&directory, compress);
            cut(&path, len.next_multiple_of(512));
            // Nothing is written to it: what is missing would be made zeroes for good.
            refused(&path, &Options::default(), &["cut short", "disk check"]);
            // What is there can be read, and what is not is an error.
            let image = open(&path, &reader()).unwrap();
            let (mut good, mut missing) = (0, 0);
            for at in (0..FULL).step_by(0x1_0000) {
                let mut bytes = vec![0; 0x1_0000];
                let want = &disk[at as usize..][..0x1_0000];
                match image.read_at(&mut bytes, at) {
                    Ok(()) => good += usize::from(bytes == want),
                    Err(error) => {
                        let line = error.to_string();
                        assert!(line.contains("corrupt"), "{line}");
                        missing += 1;
                    }
                }
            }
            assert!(good > 0 && missing > 0, "{good} {missing}");
            // The one that the file ends in.
            assert!(good + missing + 1 >= 64, "{good} {missing}");
            drop(image);
            for conversion in [
                Conversion::Raw,
                Conversion::Qcow2 {
                    layout: Layout::of_size(0),
                    compress: false,
                },
            ] {
                let copy = directory.file("copy");
                let failed = convert(&path, &Options::default(), &copy, &conversion);
                let line = failed.unwrap_err().to_string();
                assert!(
                    line.contains("full.qcow2") && line.contains("corrupt"),
                    "{line}"
                );
                assert!(!line.contains('\n'), "{line}");
                assert!(!copy.exists(), "half a copy is left");
            }
            let before = fs::read(&path).unwrap();
            let (found, left) = images::repair(&path, Format::Auto).unwrap().unwrap();
            assert!(found.corruptions > 0 && left.corruptions > 0);
            assert!(fs::read(&path).unwrap() == before, "no guesses are made");
        }
    }
}

#[test]
fn the_last_cluster_may_be_there_in_part() {
    let directory = Directory::new("partly");
    let path = directory.file("disk.qcow2");
    create(&path, &NewImage::Qcow2(Layout::of_size(FULL))).unwrap();
    let image = open(&path, &Options::default()).unwrap();
    image.write_at(&[7; 700], 0x2_0000).unwrap();
    drop(image);
    // The data cluster is the last; others' tools write no more of it than there is.
    let len = fs::metadata(&path).unwrap().len();
    cut(&path, len - 0x1_0000 + 1024);
    let image = open(&path, &Options::default()).unwrap();
    let mut bytes = vec![1; 0x1_0000];
    image.read_at(&mut bytes, 0x2_0000).unwrap();
    assert!(bytes[..700] == [7; 700] && bytes[700..].iter().all(|&byte| byte == 0));
    // A write makes it longer, and others follow.
    image.write_at(&[8; 700], 0x2_8000).unwrap();
    image.write_at(&[9; 0x3_0000], 0x10_0000).unwrap();
    image.flush().unwrap();
    image.read_at(&mut bytes, 0x2_0000).unwrap();
    assert!(bytes[0] == 7 && bytes[0x8000] == 8);
    // Of a cluster that was just given out, and hardly written, the rest is zero.
    image.write_at(&[6; 512], 0x20_0000).unwrap();
    image.read_at(&mut bytes, 0x20_0000).unwrap();
    assert!(bytes[511] == 6 && bytes[512..].iter().all(|&byte| byte == 0));
    drop(image);
    assert!(
        images::check(&path, Format::Auto)
            .unwrap()
            .unwrap()
            .is_clean()
    );
}

#[test]
fn clusters_behind_the_end_that_nobody_names_are_only_lost() {
    let directory = Directory::new("behind");
    let path = directory.damaged("disk.qcow2", &[]);
    let len = fs::metadata(&path).unwrap().len();
    // As power that failed leaves it: counted, but never named and never there. The refcounts are
    // in the third cluster.
    let mut bytes = fs::read(&path).unwrap();
    let at = 0x2_0000 + 2 * (len / 0x1_0000 + 1) as usize + 1;
    bytes[at] = 1;
    fs::write(&path, bytes).unwrap();
    let image = open(&path, &Options::default()).unwrap();
    image.write_at(&[3; 0x4_0000], 0).unwrap();
    let mut bytes = vec![0; 0x4_0000];
    image.read_at(&mut bytes, 0).unwrap();
    assert!(bytes == [3; 0x4_0000]);
    let extent = image.extent(0, 0x4_0000).unwrap();
    assert!(matches!(extent, Extent::Data(_)), "{extent:?}");
    drop(extent);
    drop(image);
    let (found, left) = images::repair(&path, Format::Auto).unwrap().unwrap();
    assert!(found.leaks == 1 && found.corruptions == 0 && left.is_clean());
}

#[test]
fn backing_files_are_where_they_may_be() {
    let directory = Directory::new("backing");
    let options = Options::default();
    fs::write(directory.file("base.raw"), vec![7; 4096]).unwrap();
    fs::write(directory.file("inner/base.raw"), vec![8; 4096]).unwrap();
    assert!(open(&directory.over("a.qcow2", "base.raw"), &options).is_ok());
    assert!(open(&directory.over("a.qcow2", "inner/base.raw"), &options).is_ok());
    let gone = directory.over("a.qcow2", "gone.raw");
    refused(&gone, &options, &["gone.raw: there is no such file"]);
    for name in ["nbd://host/x", "json:{}", "file:base.raw"] {
        let path = directory.over("a.qcow2", name);
        refused(&path, &options, &["the path of a file"]);
    }
    let outside = directory.over("inner/b.qcow2", "../base.raw");
    refused(&outside, &options, &["base.raw", "allow-backing="]);
    symlink(directory.file("base.raw"), directory.file("inner/link")).unwrap();
    let linked = directory.over("inner/b.qcow2", "link");
    refused(&linked, &options, &["allow-backing="]);
    for backing in [
        Backing::Anywhere,
        Backing::SameTree(vec![directory.path.clone()]),
        Backing::SameTree(vec![directory.file("base.raw")]),
    ] {
        let options = Options {
            backing,
            ..Options::default()
        };
        assert!(open(&outside, &options).is_ok());
    }
    let nowhere = Options {
        backing: Backing::SameTree(vec!["/no/such/place".into()]),
        ..Options::default()
    };
    refused(&outside, &nowhere, &["allow-backing=/no/such/place: "]);
    let itself = directory.over("c.qcow2", "c.qcow2");
    refused(&itself, &options, &["this image itself"]);
    let (one, _two) = (directory.over("one", "two"), directory.over("two", "one"));
    refused(&one, &options, &["this image itself"]);
    for path in [&itself, &one] {
        let line = images::check(path, Format::Auto).unwrap_err().to_string();
        assert!(line.contains("this image itself"), "{line}");
    }
    for n in 0..40 {
        directory.over(&format!("deep{n}"), &format!("deep{}", n + 1));
    }
    refused(&directory.file("deep0"), &options, &["one too many"]);
}
