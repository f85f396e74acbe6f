//! A port's socket, from both ends.

use std::path::PathBuf;
use std::time::Instant;

use super::*;

struct Rig {
    end: SocketEnd,
    path: PathBuf,
    board: Switchboard,
}

fn rig(name: &str) -> Rig {
    let path = std::env::temp_dir().join(format!("armlet-port-{name}-{}", std::process::id()));
    let mut board = Switchboard::default();
    let end = board.bind(&path).unwrap();
    let board = board.start().unwrap().unwrap();
    Rig { end, path, board }
}

impl Rig {
    fn client(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }
}

/// Waits until it is so.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clients_come_one_after_another_and_the_device_learns_of_each() {
    let Rig { end, path, board } = rig("turns");
    assert!(!end.is_open());
    assert_eq!(end.read(&mut [0; 4]), Flow::Gone);
    let mut first = UnixStream::connect(&path).unwrap();
    until("the first is there", || end.is_open());
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(b"later").unwrap();
    first.write_all(b"hello").unwrap();
    drop(first);
    let mut bytes = [0; 16];
    until("its bytes are there", || {
        end.read(&mut bytes) == Flow::Bytes(5)
    });
    assert_eq!(&bytes[..5], b"hello");
    until("its end is found", || end.read(&mut bytes) == Flow::Gone);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(
        end.read(&mut bytes),
        Flow::Gone,
        "the device has not noted it"
    );
    assert!(!end.is_open());
    until("the second is there", || end.is_open());
    until("its bytes are there", || {
        end.read(&mut bytes) == Flow::Bytes(5)
    });
    assert_eq!(&bytes[..5], b"later");
    assert_eq!(end.write(b"thanks"), Flow::Bytes(6));
    second.read_exact(&mut bytes[..6]).unwrap();
    assert_eq!(&bytes[..6], b"thanks");
    drop((end, board));
    assert!(!path.exists());
}

#[test]
fn a_client_that_does_not_read_holds_up_nobody() {
    let rig = rig("still");
    let mut client = rig.client();
    until("it is there", || rig.end.is_open());
    let mut sent = 0;
    while let Flow::Bytes(count) = rig.end.write(&[5; 4096]) {
        sent += count;
    }
    assert_eq!(rig.end.write(&[5; 1]), Flow::Later);
    let mut got = vec![0; sent];
    client.read_exact(&mut got).unwrap();
    until("there is room", || rig.end.write(b"x") == Flow::Bytes(1));
}

#[test]
fn a_client_that_leaves_unread_is_noticed_at_once() {
    let rig = rig("leaves");
    for _ in 0..3 {
        let client = rig.client();
        until("it is there", || rig.end.is_open());
        drop(client);
        until("it is gone", || !rig.end.is_open());
    }
    // What it said is kept for a guest that reads late.
    let mut client = rig.client();
    client.write_all(b"note").unwrap();
    drop(client);
    until("it is there", || rig.end.is_open());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(rig.end.read(&mut [0; 9]), Flow::Bytes(4));
    assert_eq!(rig.end.read(&mut [0; 9]), Flow::Gone);
}
