//! The virtio console as a guest has it: a terminal, and a port that programs on both sides talk by.

use armlet_tests::guest::{Guest, Setup, Transport, trouble_in};
use armlet_tests::or_skip;
use armlet_tests::program::Scratch;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Says which ports there are, and answers each line that comes by the port `agent` until there is
/// `bye`; a client that leaves is no reason to stop.
const AGENT: &str = r#"
    for port in /sys/class/virtio-ports/*; do
        echo "ARMLET-PORT $(cat "$port/name" 2>/dev/null) ${port##*/}"
        [ "$(cat "$port/name")" = agent ] && device=/dev/${port##*/}
    done
    await "$device" || return 1
    exec 3<> "$device"
    echo "ARMLET-OPEN"
    line=
    while [ "$line" != bye ]; do
        if read -r line <&3; then
            echo "echo $line" >&3
        else
            sleep 0.1
        fi
    done
    exec 3>&-
"#;

/// Reads a line from the terminal and answers it there, and does the same once more.
const TERMINAL: &str = r#"
    await /dev/hvc0 || return 1
    exec 3<> /dev/hvc0
    stty -echo <&3
    for turn in 1 2; do
        echo "ARMLET-HVC $turn" >&3
        read -r line <&3
        echo "ARMLET-READ $line"
    done
    dd if=/dev/zero bs=1000 count=300 2>/dev/null | tr '\0' x >&3
    echo "ARMLET-END" >&3
    exec 3>&-
"#;

fn setup(action: &str) -> Result<Setup, String> {
    let extras = Extras::new()
        .modules(&["virtio_mmio", "virtio_pci", "virtio_console"])
        .action("agent", AGENT)
        .action("terminal", TERMINAL);
    let initrd = Store::of_checkout().initramfs_for(Kernel::V6_12Cloud, "console", &extras);
    let initrd = initrd.map_err(|error| error.to_string())?;
    Setup::with_initrd(Kernel::V6_12Cloud, initrd, action)
}

/// A client of a port.
struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn connect(path: &Path) -> Self {
        let start = Instant::now();
        let stream = loop {
            let connected = UnixStream::connect(path);
            let over = start.elapsed() > Duration::from_secs(60);
            if over || connected.is_ok() {
                break connected.expect("the machine listens");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let limit = Some(Duration::from_secs(200));
        stream.set_read_timeout(limit).expect("a limit");
        let reader = BufReader::new(stream.try_clone().expect("a clone"));
        Self { stream, reader }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stream, "{line}").expect("the port takes it");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}

fn end_well(guest: Guest) {
    let lines = guest.end_well();
    assert_eq!(trouble_in(&lines.join("\n")), None);
}

#[test]
fn a_named_port_serves_one_client_after_another() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let setup = or_skip!("console ports", setup("agent"));
        let scratch = Scratch::new("console-agent");
        let socket = scratch.path().join("agent.sock");
        let log = scratch.path().join("log");
        let agent = format!("port=agent,socket={}", socket.display());
        let log = format!("port=log,file={}", log.display());
        let setup = setup.transport(transport);
        let setup = setup.options(&["--console", &agent, "--console", &log]);
        let mut guest = setup.start();
        let ports = [guest.expect("ARMLET-PORT"), guest.expect("ARMLET-PORT")];
        let is_there = |name: &str| ports.iter().any(|line| line.contains(name));
        assert!(is_there("PORT agent") && is_there("PORT log"), "{ports:?}");
        guest.expect("ARMLET-OPEN");
        for turn in 0..3 {
            let mut client = Client::connect(&socket);
            for line in 0..10 {
                client.say(&format!("{turn}.{line}"));
                assert_eq!(client.hear(), format!("echo {turn}.{line}"));
            }
        }
        let mut client = Client::connect(&socket);
        client.say("bye");
        assert_eq!(client.hear(), "echo bye");
        guest.expect("ARMLET-DONE agent");
        end_well(guest);
        assert!(!socket.exists(), "the socket goes with the machine");
    }
}

#[test]
fn the_terminal_prints_and_reads() {
    let setup = or_skip!("console terminal", setup("terminal"));
    let scratch = Scratch::new("console-terminal");
    let socket = scratch.path().join("hvc0.sock");
    let terminal = format!("port=hvc0,socket={}", socket.display());
    let mut guest = setup.options(&["--console", &terminal]).start();
    let mut client = Client::connect(&socket);
    assert_eq!(client.hear(), "ARMLET-HVC 1");
    client.say("first");
    guest.expect("ARMLET-READ first");
    assert_eq!(client.hear(), "ARMLET-HVC 2");
    client.say("second");
    guest.expect("ARMLET-READ second");
    // Much more than the socket holds, and its reader is slow: nothing is lost.
    std::thread::sleep(Duration::from_secs(1));
    let line = client.hear();
    let (many, end) = line.split_at(line.len() - "ARMLET-END".len());
    assert_eq!((many.len(), end), (300_000, "ARMLET-END"));
    assert!(many.bytes().all(|byte| byte == b'x'));
    guest.expect("ARMLET-DONE terminal");
    end_well(guest);
}
