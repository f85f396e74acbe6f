//! Images made by us are read by QEMU's tools, and the other way round.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::qcow2::create::Layout;
use images::{Conversion, Format, Image, NewImage, Options, convert, create, open};

/// Whether `test` can run; if not, that is told to `cargo xtask test` as `armlet-tests` tells it.
fn has_qemu(test: &str) -> bool {
    let found = ["qemu-img", "qemu-io"]
        .iter()
        .all(|tool| Command::new(tool).arg("--version").output().is_ok());
    if !found {
        eprintln!("SKIP {test}: no qemu-img and qemu-io");
        if let Some(path) = env::var_os("ARMLET_SKIP_LOG") {
            let mut log = OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .unwrap();
            writeln!(log, "{test}\tno qemu-img and qemu-io").unwrap();
        }
    }
    found
}

/// A directory that is removed at the end.
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
        fs::create_dir_all(&path).unwrap();
        Self { path, _turn: turn }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?} {path:?}: {text}{trouble}"
    );
    text
}

fn qemu_check(path: &Path) {
    run("qemu-img", &["check", "-q", "-f", "qcow2"], path);
}

fn our_check(path: &Path) {
    let report = images::check(path, Format::Qcow2).unwrap().unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn equal(path: &Path, format: &str, raw: &Path) {
    let output = Command::new("qemu-img")
        .args(["compare", "-f", format, "-F", "raw"])
        .args([path, raw])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{path:?}: {text}");
}

/// Numbers that repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

const SIZE: u64 = 8 << 20;

/// Writes, zeroes and discards at random, the same to a plain file.
fn workload(path: &Path, raw: &Path, random: &mut Random, rounds: u32) {
    workload_with(&Options::default(), path, raw, random, rounds);
}

fn workload_with(options: &Options, path: &Path, raw: &Path, random: &mut Random, rounds: u32) {
    let image = open(path, options).unwrap();
    let options = Options {
        format: Format::Raw,
        ..Options::default()
    };
    let plain = open(raw, &options).unwrap();
    for _ in 0..rounds {
        let at = random.below(SIZE / 512) * 512;
        let most = if random.below(4) == 0 { 400_000 } else { 9000 };
        let len = (512 + random.below(most) / 512 * 512).min(SIZE - at);
        match random.below(8) {
            0 => {
                image.write_zeroes(at, len, random.below(2) == 0).unwrap();
                plain.write_zeroes(at, len, false).unwrap();
            }
            1 => {
                image.discard(at, len).unwrap();
                let mut now = vec![0; len as usize];
                image.read_at(&mut now, at).unwrap();
                plain.write_at(&now, at).unwrap();
            }
            2 => image.flush().unwrap(),
            _ => {
                let byte = random.below(255) as u8 + 1;
                let bytes: Vec<u8> = (0..len).map(|n| byte ^ (n / 700) as u8).collect();
                image.write_at(&bytes, at).unwrap();
                plain.write_at(&bytes, at).unwrap();
            }
        }
    }
    image.flush().unwrap();
}

fn all(image: &dyn Image) -> Vec<u8> {
    let mut bytes = vec![0; image.size() as usize];
    image.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn readonly() -> Options {
    Options {
        readonly: true,
        ..Options::default()
    }
}

#[test]
fn what_we_write_qemu_reads() {
    if !has_qemu("what_we_write_qemu_reads") {
        return;
    }
    let directory = Directory::new("ours");
    let mut random = Random(0x1234_5678_9abc);
    for (number, (cluster, refcount_bits, v3)) in [
        (512, 16, true),
        (4096, 1, true),
        (65536, 16, true),
        (65536, 16, false),
        (2 << 20, 64, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (image, raw) = (
            directory.file(&format!("{number}.qcow2")),
            directory.file(&format!("{number}.raw")),
        );
        let layout = Layout {
            cluster,
            refcount_bits,
            v3,
            ..Layout::of_size(SIZE)
        };
        create(&image, &NewImage::Qcow2(layout)).unwrap();
        create(&raw, &NewImage::Raw(SIZE)).unwrap();
        qemu_check(&image);
        workload(&image, &raw, &mut random, 200);
        qemu_check(&image);
        our_check(&image);
        equal(&image, "qcow2", &raw);
        // The same without the page cache, where the file system can.
        let direct = Options {
            cache: images::Cache::None,
            ..Options::default()
        };
        if open(&image, &direct).is_ok() {
            workload_with(&direct, &image, &raw, &mut random, 60);
            qemu_check(&image);
            equal(&image, "qcow2", &raw);
        }
    }
}

/// The same writes by QEMU to an image, and by us to a plain file.
fn write_by_qemu(image: &Path, raw: &Path) {
    let options = Options {
        format: Format::Raw,
        ..Options::default()
    };
    let plain = open(raw, &options).unwrap();
    for (at, byte) in [(0x1_1000, 0x41), (0x30_0200, 0x42), (0x7e_0000, 0x43)] {
        let command = format!("write -P {byte} {at} 70000");
        run("qemu-io", &["-f", "qcow2", "-c", &command], image);
        plain.write_at(&vec![byte; 70_000], at).unwrap();
    }
}

#[test]
fn chains_and_snapshots_that_both_write_stay_equal() {
    if !has_qemu("chains_and_snapshots_that_both_write_stay_equal") {
        return;
    }
    let directory = Directory::new("chain");
    let raw = directory.file("plain.raw");
    let mut random = Random(0xfeed_beef);
    let base = directory.file("base.qcow2");
    create(&raw, &NewImage::Raw(SIZE)).unwrap();
    let raw_name = raw.to_str().unwrap();
    let arguments = [
        "convert",
        "-O",
        "qcow2",
        "-f",
        "raw",
        "-o",
        "cluster_size=4096",
        raw_name,
    ];
    run("qemu-img", &arguments, &base);
    workload(&base, &raw, &mut random, 60);
    // A snapshot inside, by QEMU; then a layer by each of us, and QEMU's writes between ours.
    run("qemu-img", &["snapshot", "-c", "first"], &base);
    let at_first = all(&*open(&base, &readonly()).unwrap());
    workload(&base, &raw, &mut random, 60);
    qemu_check(&base);
    our_check(&base);
    equal(&base, "qcow2", &raw);
    let middle = directory.file("middle.qcow2");
    let layout = Layout::on(&middle, "base.qcow2".into(), &Options::default(), None).unwrap();
    create(&middle, &NewImage::Qcow2(layout)).unwrap();
    workload(&middle, &raw, &mut random, 60);
    let top = directory.file("top.qcow2");
    let middle_name = middle.to_str().unwrap();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            middle_name,
        ],
        &top,
    );
    workload(&top, &raw, &mut random, 60);
    write_by_qemu(&top, &raw);
    workload(&top, &raw, &mut random, 60);
    for image in [&base, &middle, &top] {
        qemu_check(image);
        our_check(image);
    }
    equal(&top, "qcow2", &raw);
    assert!(all(&*open(&top, &readonly()).unwrap()) == fs::read(&raw).unwrap());
    // The snapshot inside is as it was.
    run("qemu-img", &["snapshot", "-a", "first"], &base);
    assert!(all(&*open(&base, &readonly()).unwrap()) == at_first);
    qemu_check(&base);
}

/// The snapshots of an image as QEMU lists them: identifiers and names.
fn listed_by_qemu(path: &Path) -> Vec<(String, String)> {
    let list = run("qemu-img", &["snapshot", "-l"], path);
    // A title and the names of the columns come first.
    let rows = list.lines().skip(2).map(|row| {
        let mut words = row.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    });
    rows.collect()
}

/// An image made by QEMU with snapshots inside, and what the disk was at each of them.
fn with_snapshots(path: &Path, full: bool, names: &[&str]) -> Vec<Vec<u8>> {
    let size = SIZE.to_string();
    let path_name = path.to_str().unwrap();
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", path_name],
        size.as_ref(),
    );
    let write = |byte: usize, at: usize, len: u64| {
        let command = format!("write -P {byte} {at} {len}");
        run("qemu-io", &["-f", "qcow2", "-c", &command], path);
    };
    if full {
        write(0x70, 0, SIZE);
    }
    let mut disks = Vec::new();
    for (number, name) in names.iter().enumerate() {
        write(number + 1, number * 0x8_0000, 0xa_0000);
        run("qemu-img", &["snapshot", "-c", name], path);
        disks.push(all(&*open(path, &readonly()).unwrap()));
    }
    write(0x7f, 0x4_0000, 0x1_0000);
    disks
}

#[test]
fn snapshots_inside_are_found_and_kept() {
    if !has_qemu("snapshots_inside_are_found_and_kept") {
        return;
    }
    let directory = Directory::new("snapshots");
    let names = ["a", "before-the-update", "third.one"];
    for (full, count) in [false, true]
        .into_iter()
        .flat_map(|full| (1..=names.len()).map(move |count| (full, count)))
    {
        let image = directory.file(&format!("{full}-{count}.qcow2"));
        let disks = with_snapshots(&image, full, &names[..count]);
        let info = images::info(&image, Format::Auto).unwrap().qcow2.unwrap();
        let found: Vec<_> = info
            .snapshots
            .into_iter()
            .map(|one| (one.id, one.name))
            .collect();
        assert_eq!(found.len(), count);
        assert_eq!(found, listed_by_qemu(&image));
        our_check(&image);
        let before = fs::read(&image).unwrap();
        let (checked, left) = images::repair(&image, Format::Auto).unwrap().unwrap();
        assert!(checked.is_clean() && left.is_clean(), "{checked:?}");
        assert!(fs::read(&image).unwrap() == before, "nothing was to mend");
        // What we write goes to where no snapshot is.
        let disk = open(&image, &Options::default()).unwrap();
        disk.write_at(&[0x55; 0x30_0000], 0x1_2000).unwrap();
        disk.flush().unwrap();
        drop(disk);
        our_check(&image);
        qemu_check(&image);
        for (name, at_the_time) in names.iter().zip(&disks) {
            run("qemu-img", &["snapshot", "-a", name], &image);
            let now = all(&*open(&image, &readonly()).unwrap());
            assert!(now == *at_the_time, "{name} of {count}, full: {full}");
        }
        qemu_check(&image);
        our_check(&image);
    }
}

#[test]
fn conversions_agree_in_all_directions() {
    if !has_qemu("conversions_agree_in_all_directions") {
        return;
    }
    let directory = Directory::new("convert");
    let (raw, plain) = (directory.file("disk.raw"), directory.file("scratch.raw"));
    create(&raw, &NewImage::Raw(SIZE)).unwrap();
    create(&plain, &NewImage::Raw(SIZE)).unwrap();
    workload(&raw, &plain, &mut Random(77), 80);
    let raw_name = raw.to_str().unwrap();
    for (kind, compress) in [("zlib", false), ("zlib", true), ("zstd", true)] {
        let ours = directory.file(&format!("ours-{kind}-{compress}.qcow2"));
        let layout = Layout {
            compression: images::compression(kind).unwrap(),
            ..Layout::of_size(0)
        };
        let conversion = Conversion::Qcow2 { layout, compress };
        convert(&raw, &Options::default(), &ours, &conversion).unwrap();
        qemu_check(&ours);
        our_check(&ours);
        equal(&ours, "qcow2", &raw);
        let theirs = directory.file(&format!("theirs-{kind}-{compress}.qcow2"));
        let option = format!("compression_type={kind}");
        let mut arguments = vec!["convert", "-O", "qcow2", "-f", "raw", "-o", &option];
        if compress {
            arguments.push("-c");
        }
        arguments.push(raw_name);
        run("qemu-img", &arguments, &theirs);
        our_check(&theirs);
        let back = directory.file(&format!("back-{kind}-{compress}.raw"));
        convert(&theirs, &Options::default(), &back, &Conversion::Raw).unwrap();
        assert!(
            fs::read(&back).unwrap() == fs::read(&raw).unwrap(),
            "{kind} {compress}"
        );
        // Compressed clusters that are written over.
        workload(&theirs, &back, &mut Random(5), 80);
        workload(&ours, &plain, &mut Random(6), 40);
        for image in [&theirs, &ours] {
            qemu_check(image);
            our_check(image);
        }
        equal(&theirs, "qcow2", &back);
        fs::copy(&raw, &plain).unwrap();
    }
}

#[test]
fn resizes_are_understood() {
    if !has_qemu("resizes_are_understood") {
        return;
    }
    let directory = Directory::new("resize");
    let image = directory.file("disk.qcow2");
    let layout = Layout {
        cluster: 512,
        ..Layout::of_size(SIZE)
    };
    create(&image, &NewImage::Qcow2(layout)).unwrap();
    let raw = directory.file("disk.raw");
    create(&raw, &NewImage::Raw(SIZE)).unwrap();
    workload(&image, &raw, &mut Random(3), 60);
    let auto = Options::default();
    let as_raw = Options {
        format: Format::Raw,
        ..Options::default()
    };
    images::resize(&image, &auto, 80 << 20, false).unwrap();
    images::resize(&raw, &auto, 80 << 20, false).unwrap();
    qemu_check(&image);
    equal(&image, "qcow2", &raw);
    assert!(images::resize(&image, &auto, 1 << 20, false).is_err());
    images::resize(&image, &auto, 1 << 20, true).unwrap();
    images::resize(&image, &auto, 3 << 20, false).unwrap();
    images::resize(&raw, &as_raw, 1 << 20, true).unwrap();
    images::resize(&raw, &as_raw, 3 << 20, false).unwrap();
    qemu_check(&image);
    equal(&image, "qcow2", &raw);
}

#[test]
fn damaged_refcounts_are_mended_so_that_qemu_agrees() {
    if !has_qemu("damaged_refcounts_are_mended_so_that_qemu_agrees") {
        return;
    }
    let directory = Directory::new("repair");
    let (image, raw) = (directory.file("disk.qcow2"), directory.file("disk.raw"));
    create(&image, &NewImage::Qcow2(Layout::of_size(SIZE))).unwrap();
    create(&raw, &NewImage::Raw(SIZE)).unwrap();
    workload(&image, &raw, &mut Random(11), 100);
    let good = fs::read(&image).unwrap();
    // The first refcount block is the third cluster.
    for (at, bytes) in [
        (0x2_0000 + 500, [0, 7]),
        (0x2_0000 + 12, [0, 0]),
        (0x1_0006, [0xff, 0]),
    ] {
        let mut bad = good.clone();
        bad[at..at + 2].copy_from_slice(&bytes);
        fs::write(&image, &bad).unwrap();
        let (found, left) = images::repair(&image, Format::Auto).unwrap().unwrap();
        assert!(
            !found.is_clean() && left.is_clean(),
            "{at:#x}: {found:?} {left:?}"
        );
        qemu_check(&image);
        equal(&image, "qcow2", &raw);
        workload(&image, &raw, &mut Random(12), 20);
        qemu_check(&image);
        equal(&image, "qcow2", &raw);
        fs::write(&image, &good).unwrap();
        let copy = directory.file("copy.raw");
        let _ = fs::remove_file(&copy);
        convert(&image, &Options::default(), &copy, &Conversion::Raw).unwrap();
        fs::rename(&copy, &raw).unwrap();
    }
}
