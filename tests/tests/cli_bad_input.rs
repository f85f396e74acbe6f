//! Bad input to `armlet run`: one clear line that names the thing, status 2, nothing else.

use armlet_tests::or_skip;
use armlet_tests::program::{Outcome, Scratch, armlet, run};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Usage or input errors end with this.
const BAD_INPUT: i32 = 2;

/// Where the magic number of an arm64 Image stands, and what it is (Linux's
/// Documentation/arch/arm64/booting.rst).
const MAGIC_AT: usize = 56;
const MAGIC: &[u8; 4] = b"ARM\x64";
const HEADER_BYTES: usize = 64;

/// The header of an arm64 Image with `flags`, that wants `image_size` bytes of memory.
fn image_header(image_size: u64, flags: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    // `b .`, so that a guest that starts by mistake does nothing.
    header[..4].copy_from_slice(&0x1400_0000_u32.to_le_bytes());
    header[16..24].copy_from_slice(&image_size.to_le_bytes());
    header[24..32].copy_from_slice(&flags.to_le_bytes());
    header[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
    header
}

/// A small Image that loads: little-endian, 4K pages.
fn good_image() -> Vec<u8> {
    let mut image = image_header(0x1000, 0b1010).to_vec();
    image.resize(0x1000, 0);
    image
}

/// Runs `armlet run` with `arguments` and checks that it is refused in one line with each of
/// `named` in it.
fn refused(test: &str, arguments: &[&str], named: &[&str]) {
    let program = or_skip!(test, armlet());
    let Outcome {
        status,
        stopped: _,
        stdout,
        stderr,
    } = run(
        &program,
        &[&["run", "--accel", "soft"], arguments].concat(),
        LIMIT,
    );
    let context = format!("{arguments:?}: status {status:?}\nstdout: {stdout}\nstderr: {stderr}");
    assert_eq!(status, Some(BAD_INPUT), "{context}");
    assert_eq!(
        stderr
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count(),
        1,
        "{context}"
    );
    for word in named {
        assert!(stderr.contains(word), "no {word:?}: {context}");
    }
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!stderr.contains(word), "{context}");
    }
    assert!(stdout.is_empty(), "{context}");
}

/// As [`refused`], for a kernel file with this content.
fn kernel_refused(test: &str, content: &[u8], named: &[&str]) {
    let scratch = Scratch::new(test);
    let kernel = scratch.file("kernel", content);
    refused(
        test,
        &["--kernel", &kernel],
        &[&[kernel.as_str()], named].concat(),
    );
}

/// As [`refused`], for other arguments beside a good kernel.
fn arguments_refused(test: &str, arguments: &[&str], named: &[&str]) {
    let scratch = Scratch::new(test);
    let kernel = scratch.file("kernel", &good_image());
    refused(test, &[&["--kernel", &kernel], arguments].concat(), named);
}

#[test]
fn a_missing_kernel() {
    refused(
        "missing-kernel",
        &["--kernel", "/no/such/kernel"],
        &["/no/such/kernel"],
    );
}

#[test]
fn no_kernel_at_all() {
    refused("no-kernel", &[], &["--kernel"]);
}

#[test]
fn a_directory_as_kernel() {
    refused("directory", &["--kernel", "/"], &["/"]);
}

#[test]
fn an_empty_kernel() {
    kernel_refused("empty", b"", &["empty"]);
}

#[test]
fn a_truncated_header() {
    kernel_refused(
        "truncated-header",
        &image_header(0x10_0000, 0b1010)[..60],
        &[],
    );
}

#[test]
fn half_of_a_real_kernel() {
    let store = guests::Store::of_checkout();
    let image = or_skip!("half a kernel", store.kernel(guests::Kernel::V6_12Cloud));
    let whole = std::fs::read(image).expect("the kernel can be read");
    kernel_refused("half-kernel", &whole[..whole.len() / 2], &[]);
}

#[test]
fn a_truncated_compressed_kernel() {
    let mut zipped = guests::initramfs::gzip(&[good_image(), vec![7; 100_000]].concat());
    zipped.truncate(zipped.len() - 20);
    kernel_refused("truncated-gzip", &zipped, &[]);
}

#[test]
fn a_compressed_file_that_is_no_kernel() {
    kernel_refused(
        "gzip-text",
        &guests::initramfs::gzip(b"Dear kernel,\nthis is no kernel.\n"),
        &[],
    );
}

#[test]
fn a_truncated_zboot_kernel() {
    // The header of Linux's drivers/firmware/efi/libstub/zboot-header.S, whose payload is missing.
    let mut header = vec![0; 0x40];
    header[..8].copy_from_slice(b"MZ\0\0zimg");
    header[8..12].copy_from_slice(&0x1000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    header[24..28].copy_from_slice(b"gzip");
    header[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(MAGIC);
    kernel_refused("truncated-zboot", &header, &[]);
}

#[test]
fn a_text_file_as_kernel() {
    kernel_refused(
        "text",
        "Dear kernel,\nthis is no kernel.\n".repeat(50).as_bytes(),
        &[],
    );
}

#[test]
fn an_x86_kernel() {
    let mut bz_image = vec![0; 0x8000];
    bz_image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bz_image[0x202..0x206].copy_from_slice(b"HdrS");
    kernel_refused("x86", &bz_image, &["x86"]);
}

#[test]
fn an_elf_file_for_another_machine() {
    let mut elf = vec![0; 0x1000];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[18..20].copy_from_slice(&62_u16.to_le_bytes());
    kernel_refused("elf", &elf, &["ELF"]);
}

#[test]
fn a_big_endian_kernel() {
    let mut image = image_header(0x1000, 0b1011).to_vec();
    image.resize(0x1000, 0);
    kernel_refused("big-endian", &image, &["big-endian"]);
}

#[test]
fn a_kernel_larger_than_memory() {
    let mut image = image_header(1 << 32, 0b1010).to_vec();
    image.resize(0x1000, 0);
    kernel_refused("large-kernel", &image, &["memory"]);
}

#[test]
fn an_initrd_larger_than_memory() {
    let scratch = Scratch::new("large-initrd");
    let initrd = scratch.file("initrd", &vec![0; 80 << 20]);
    let arguments = ["--memory", "64M", "--initrd", &initrd];
    arguments_refused("large-initrd", &arguments, &[&initrd]);
}

#[test]
fn a_missing_initrd() {
    arguments_refused(
        "missing-initrd",
        &["--initrd", "/no/initrd"],
        &["/no/initrd"],
    );
}

#[test]
fn memory_of_no_or_too_little_or_too_much_or_odd_size() {
    for size in [
        "0",
        "1M",
        "1P",
        "1024T",
        "256M1",
        "100000001",
        "4097K",
        "-1",
        "lots",
        "",
        "99999999999999999999G",
    ] {
        arguments_refused("memory", &[&format!("--memory={size}")], &["memory"]);
    }
}

#[test]
fn no_or_too_many_cpus() {
    for count in ["0", "124", "4294967297", "-1", "two", ""] {
        arguments_refused("cpus", &[&format!("--cpus={count}")], &["cpus"]);
    }
}

#[test]
fn an_unknown_accelerator() {
    let program = or_skip!("accel", armlet());
    let outcome = run(&program, &["run", "--accel", "xen", "--kernel", "k"], LIMIT);
    assert_eq!(outcome.status, Some(BAD_INPUT), "{outcome:?}");
    assert!(outcome.stderr.contains("xen"), "{outcome:?}");
}

#[test]
fn an_unavailable_accelerator() {
    let program = or_skip!("unavailable accel", armlet());
    let scratch = Scratch::new("unavailable");
    let kernel = scratch.file("kernel", &good_image());
    // No host has both.
    let tried: Vec<Outcome> = ["kvm", "hvf"]
        .map(|accel| {
            run(
                &program,
                &["run", "--accel", accel, "--kernel", &kernel],
                Duration::from_secs(5),
            )
        })
        .into_iter()
        .filter(|outcome| outcome.status.is_some())
        .collect();
    assert!(!tried.is_empty(), "one of them is not available");
    for outcome in tried {
        assert_eq!(outcome.status, Some(BAD_INPUT), "{outcome:?}");
        assert_eq!(outcome.stderr.trim().lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn an_unwritable_serial_file() {
    let file = "/no/such/directory/log";
    arguments_refused("serial", &["--serial", &format!("file:{file}")], &[file]);
}

#[test]
fn an_unknown_serial_kind() {
    arguments_refused(
        "serial-kind",
        &["--serial", "carrier-pigeon"],
        &["carrier-pigeon"],
    );
}

#[test]
fn an_unwritable_device_tree_dump() {
    let file = "/no/such/directory/dtb";
    arguments_refused("dump-dtb", &["--dump-dtb", file], &[file]);
}

#[test]
fn a_device_tree_dump_over_the_kernel() {
    let scratch = Scratch::new("dump-over-kernel");
    let kernel = scratch.file("kernel", &good_image());
    let arguments = ["--kernel", &kernel, "--dump-dtb", &kernel];
    refused("dump-over-kernel", &arguments, &["--dump-dtb", &kernel]);
    assert_eq!(std::fs::read(&kernel).expect("it is there"), good_image());
}

#[test]
fn a_machine_file_that_is_no_file() {
    let scratch = Scratch::new("odd-machine-file");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    let (pipe, directory, device) = (path("p.toml"), path("d.toml"), path("z.toml"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    std::fs::create_dir_all(&directory).expect("a directory");
    std::os::unix::fs::symlink("/dev/zero", &device).expect("a link");
    for (path, named) in [
        (&pipe, "a pipe"),
        (&directory, "a directory"),
        (&device, "a device"),
    ] {
        arguments_refused("machine-file", &[path], &[path, named, "a regular file"]);
    }
}

#[test]
fn an_output_over_a_file_of_the_machine_s_own() {
    let scratch = Scratch::new("output-over-input");
    let kernel = scratch.file("kernel", &good_image());
    let disk = scratch.file("disk.img", &[7; 4096]);
    let machine = scratch.file("vm.toml", b"cpus = 1\n");
    let log = scratch.path().join("log").display().to_string();
    let link = scratch.path().join("link").display().to_string();
    std::os::unix::fs::symlink(&disk, &link).expect("a link");
    let before = [&kernel, &disk, &machine].map(|path| std::fs::read(path).expect("it is there"));
    let disk_option = format!("path={disk}");
    for (output, named) in [
        (&kernel, "--kernel"),
        (&disk, "--disk"),
        (&link, "--disk"),
        (&machine, "the machine file"),
        (&log, "--console"),
    ] {
        let (serial, port) = (format!("file:{output}"), format!("port=a,file={output}"));
        let other = format!("port=b,file={log}");
        let arguments = [&machine, "--kernel", &kernel, "--disk", &disk_option];
        for flags in [
            &["--serial", &serial, "--console", &other][..],
            &["--serial", "none", "--console", &other, "--console", &port],
            &["--dump-dtb", output, "--console", &other],
        ] {
            let arguments = [&arguments[..], flags].concat();
            refused("output-over-input", &arguments, &[output, named]);
        }
    }
    let after = [&kernel, &disk, &machine].map(|path| std::fs::read(path).expect("it is there"));
    assert!(before == after, "a file was written");
    assert!(!std::path::Path::new(&log).exists(), "refused too late");
}

#[test]
fn an_unknown_option() {
    refused("option", &["--kernle", "k"], &["--kernle"]);
}

#[test]
fn a_command_line_too_long() {
    arguments_refused(
        "cmdline",
        &["--cmdline", &"x".repeat(100_000)],
        &["cmdline"],
    );
}

/// Files that look like something, and are damaged.
fn damaged_file(random: &mut impl FnMut() -> usize) -> Vec<u8> {
    let start: &[u8] = match random() % 6 {
        0 => &image_header(0x1000, 0b1010),
        1 => b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        2 => b"\x28\xb5\x2f\xfd\x04\x00",
        3 => b"MZ\0\0zimg\x40\0\0\0\xff\0\0\0",
        4 => b"\x7fELF\x02\x01\x01",
        _ => b"",
    };
    let mut file = start.to_vec();
    file.extend((0..random() % 5000).map(|_| random() as u8));
    for _ in 0..random() % 4 {
        let at = random() % file.len().max(1);
        if let Some(byte) = file.get_mut(at) {
            *byte = random() as u8;
        }
    }
    file
}

#[test]
fn damaged_files_end_in_good_order() {
    let program = or_skip!("damaged files", armlet());
    let scratch = Scratch::new("damaged");
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize
    };
    for round in 0..40 {
        let kernel = scratch.file("kernel", &damaged_file(&mut random));
        let initrd = scratch.file("initrd", &damaged_file(&mut random));
        let arguments = ["run", "--accel", "soft", "--memory", "16M", "--no-reboot"];
        let files = ["--kernel", &kernel, "--initrd", &initrd];
        let limit = Duration::from_millis(500);
        let outcome = run(&program, &[&arguments[..], &files].concat(), limit);
        // What looks like code runs, perhaps for ever.
        let good = matches!(outcome.status, Some(0 | BAD_INPUT | 3)) || outcome.stopped;
        assert!(
            good && !outcome.stderr.contains("panicked"),
            "round {round}: {outcome:?}"
        );
    }
}

#[test]
fn disks_that_cannot_be() {
    let scratch = Scratch::new("bad-disks");
    let disk = scratch.file("disk.img", &[0; 4096]);
    let foreign = scratch.file("foreign.img", b"KDMV");
    let twice = format!("path={disk}");
    for (options, named) in [
        (
            vec!["path=/no/such/disk"],
            vec!["/no/such/disk", "no such file"],
        ),
        (vec!["path=/"], vec!["--disk", "a directory"]),
        (vec!["serial=1"], vec!["--disk", "path is missing"]),
        (vec!["path=a,sound=on"], vec!["unknown option 'sound'"]),
        (vec!["path=a,bw=fast"], vec!["bw=fast", "write a size"]),
        (
            vec!["path=a,iops=x"],
            vec!["iops=x", "operations per second"],
        ),
        (vec![&twice, &twice], vec!["a disk can be given once"]),
        (
            vec![&format!("{twice},format=qcow2")],
            vec!["no qcow2 image"],
        ),
        (vec![&format!("path={foreign}")], vec!["not supported"]),
    ] {
        let arguments: Vec<&str> = options.iter().flat_map(|o| ["--disk", *o]).collect();
        arguments_refused("bad-disk", &arguments, &named);
    }
}

#[test]
fn a_backing_file_elsewhere_has_to_be_allowed() {
    let program = or_skip!("backing", armlet());
    let scratch = Scratch::new("backing-elsewhere");
    let path = |name: &str| scratch.path().join(name).display().to_string();
    for directory in ["here", "there"] {
        std::fs::create_dir_all(path(directory)).expect("a directory");
    }
    let (base, top, there) = (path("there/base"), path("here/top"), path("there"));
    let allowed = format!("path={top},allow-backing={there}");
    for (arguments, said) in [
        (vec!["disk", "create", &base, "1M"], ""),
        (vec!["disk", "create", &top, "--backing", &base], &allowed),
    ] {
        let made = run(&program, &arguments, LIMIT);
        assert_eq!((made.status, made.stderr.as_str()), (Some(0), ""));
        assert!(made.stdout.contains(said), "{made:?}");
    }
    let disk = format!("path={top}");
    let named = ["--disk", &top, &base, "is refused", "allow-backing="];
    arguments_refused("bad-backing", &["--disk", &disk], &named);
    let lower = format!("path={base}");
    let named = [&*lower, "a backing file of", &top, "readonly"];
    let both = ["--disk", &lower, "--disk", &allowed];
    arguments_refused("bad-backing", &both, &named);
    // The next mistake is told: there is none in the disks.
    let lower = format!("path={base},readonly");
    let arguments = [
        "--disk",
        &lower,
        "--disk",
        &allowed,
        "--serial",
        "file:/no/log",
    ];
    arguments_refused("bad-backing", &arguments, &["/no/log"]);
    let arguments = ["--disk", &allowed, "--serial", "file:/no/such/log"];
    arguments_refused("bad-backing", &arguments, &["/no/such/log"]);
    let machine = "[[disk]]\npath = 'here/top'\nallow-backing = ['there']\n";
    let machine = scratch.file("vm.toml", machine.as_bytes());
    let arguments = [&machine, "--serial", "file:/no/such/log"];
    arguments_refused("bad-backing", &arguments, &["/no/such/log"]);
    let wrong = format!("{disk},allow-backing=/no/such/place");
    let named = ["allow-backing=/no/such/place", "cannot find it"];
    arguments_refused("bad-backing", &["--disk", &wrong], &named);
}

#[test]
fn more_devices_than_a_machine_has() {
    let scratch = Scratch::new("many-devices");
    let files: Vec<String> = (0..30)
        .map(|number| scratch.file(&format!("disk{number}"), &[0; 4096]))
        .collect();
    let disks: Vec<String> = files.iter().map(|file| format!("path={file}")).collect();
    let disks = |count| disks.iter().take(count).flat_map(|disk| ["--disk", disk]);
    for transport in ["pci", "mmio"] {
        let others = ["--transport", transport, "--serial", "file:/no/such/log"];
        // Beside the disks there are a source of entropy and a balloon.
        for (count, named) in [
            (30, "32 virtio devices: a machine has 31 at most"),
            // The next mistake is told: 31 are well.
            (29, "/no/such/log"),
        ] {
            let arguments: Vec<&str> = disks(count).chain(others).collect();
            arguments_refused("many-devices", &arguments, &[named]);
        }
    }
}

#[test]
fn consoles_that_cannot_be() {
    let scratch = Scratch::new("bad-consoles");
    let file = scratch.file("precious", b"");
    for (options, named) in [
        (vec!["stdio"], vec!["port=hvc0,stdio", "add --serial none"]),
        (vec!["port=a"], vec!["port=a", "say where it goes"]),
        (vec!["port=a/b,none"], vec!["port=a/b", "a name has"]),
        (vec!["none", "none"], vec!["port=hvc0", "given twice"]),
        (vec!["port=a,pty"], vec!["unknown option 'pty'"]),
    ] {
        let arguments: Vec<&str> = options.iter().flat_map(|o| ["--console", *o]).collect();
        arguments_refused("bad-console", &arguments, &named);
    }
    let image = scratch.file("Image", &good_image());
    for (end, named) in [
        (format!("socket={file}"), "no socket"),
        ("socket=/no/such/s".to_owned(), "No such file"),
        ("file=/no/such/f".to_owned(), "No such file"),
    ] {
        let console = format!("port=a,{end}");
        let arguments = ["--kernel", &image, "--console", &console];
        refused("bad-console", &arguments, &["--console", &console, named]);
    }
}
