//! The commands for disk images, from words to files.

use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    disk: Disk,
}

fn disk(line: &str) -> Result<Done, String> {
    let words = std::iter::once("disk").chain(line.split(' '));
    run(Line::try_parse_from(words).unwrap().disk)
}

#[test]
fn sizes_read_well() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (65536, "64 KiB"),
        (1536 << 20, "1.5 GiB"),
        (u64::MAX, "16383.9 PiB"),
    ] {
        assert_eq!(human(bytes), text);
    }
}

#[test]
fn an_image_is_made_described_copied_resized_and_checked() {
    let directory = std::env::temp_dir().join(format!("armlet-disk-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    let (a, b, c) = (path("a.qcow2"), path("b.raw"), path("c.qcow2"));
    assert_eq!(
        disk(&format!("create {a} 3M")),
        Ok(Done::well(String::new()))
    );
    assert!(
        disk(&format!("create {a} 3M"))
            .unwrap_err()
            .contains("not overwritten")
    );
    assert!(
        disk(&format!("info {a}"))
            .unwrap()
            .text
            .contains("disk size: 3 MiB")
    );
    let info: Value =
        serde_json::from_str(&disk(&format!("info {a} --json")).unwrap().text).unwrap();
    assert_eq!(
        (&info["size"], &info["format"]),
        (&json!(3 << 20), &json!("qcow2"))
    );
    disk(&format!("convert {a} {b} --format raw")).unwrap();
    assert_eq!(std::fs::metadata(&b).unwrap().len(), 3 << 20);
    disk(&format!("create {c} --backing b.raw --backing-format raw")).unwrap();
    assert!(
        disk(&format!("info {c}"))
            .unwrap()
            .text
            .contains("backing file: b.raw (format: raw)")
    );
    disk(&format!("resize {c} 5M")).unwrap();
    assert!(
        disk(&format!("resize {c} 4M"))
            .unwrap_err()
            .contains("--shrink")
    );
    disk(&format!("resize {c} 4M --shrink")).unwrap();
    let done = disk(&format!("check {c} --repair")).unwrap();
    assert!(
        done.bad.is_none() && done.text.ends_with("nothing is wrong"),
        "{done:?}"
    );
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn an_image_over_a_file_elsewhere_says_what_it_needs() {
    let folder = images::testing::Folder::new("cli-disk-elsewhere").unwrap();
    let [here, there] = ["here", "there"].map(|name| folder.join(name));
    for directory in [&here, &there] {
        std::fs::create_dir_all(directory).unwrap();
    }
    let (base, top) = (there.join("base"), here.join("top"));
    let (base, top, there) = (base.display(), top.display(), there.display());
    disk(&format!("create {base} 1M")).unwrap();
    let said = disk(&format!("create {top} --backing {base}"))
        .unwrap()
        .text;
    let option = format!("--disk path={top},allow-backing={there}");
    assert!(said.ends_with(&option), "{said}");
    let refused = disk(&format!("resize {top} 2M")).unwrap_err();
    assert!(
        refused.contains(&format!("--allow-backing {there}")),
        "{refused}"
    );
    disk(&format!("resize {top} 2M --allow-backing {there}")).unwrap();
    let higher = format!("create {top}2 --backing {top}");
    assert!(disk(&higher).unwrap_err().contains("--allow-backing"));
    disk(&format!("{higher} --allow-backing {there}")).unwrap();
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    for (line, said) in [
        ("create /nowhere/x 1M", "/nowhere/x: cannot make it"),
        ("create x -1", "no size"),
        ("create x 100", "multiple of 512"),
        ("create x", "give the disk's size"),
        ("create x 1M --cluster-size 3K", "power of two"),
        ("create x --backing /nowhere/y", "no such file"),
        ("create x 1M --backing y --format raw", "no backing file"),
        (
            "create x.vmdk 1M",
            "x.vmdk: the name says vmdk, which is not",
        ),
        (
            "create x.RAW 1M",
            "x.RAW: the name says raw; add --format raw",
        ),
        ("convert /tmp/x y.qcow2 --format raw", "add --format qcow2"),
        (
            "info Cargo.toml --format qcow2",
            "give the format raw or auto",
        ),
        ("info /nowhere/x", "no such file"),
        ("check /tmp", "a directory"),
        ("resize /dev/null 1M", "a character device"),
        ("convert /tmp/x y --format raw -c", "cannot be compressed"),
    ] {
        let error = disk(line).unwrap_err();
        assert!(
            error.contains(said) && !error.contains('\n'),
            "{line}: {error}"
        );
    }
}

#[test]
fn what_an_image_says_of_itself_is_one_line_each() {
    let directory = std::env::temp_dir().join(format!("armlet-disk-names-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("a.qcow2");
    std::fs::write(directory.join("b\nit is fine\u{1b}[31m"), [0; 512]).unwrap();
    let backing = "b\nit is fine\u{1b}[31m".into();
    let layout = Layout::on(&path, backing, &Options::default(), None).unwrap();
    images::create(&path, &NewImage::Qcow2(layout)).unwrap();
    let info = disk(&format!("info {}", path.display())).unwrap().text;
    let line = info.lines().find(|line| line.starts_with("backing file:"));
    let line = line.unwrap_or_default();
    assert!(line.contains(r"b\nit is fine\u{1b}[31m"), "{info}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_size_is_refused_for_what_is_wrong_with_it() {
    for (size, why) in [
        ("99999999999999G", "too much"),
        ("12X", "no size"),
        ("3MB", "no size"),
        ("100", "multiple of 512"),
    ] {
        let line = disk(&format!("create /nowhere/a.qcow2 {size}")).unwrap_err();
        assert!(line.contains(size) && line.contains(why), "{line}");
    }
}
