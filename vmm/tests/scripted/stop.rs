//! Machines that are asked to stop, and what their control socket says meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Harness, call, now, power_off};
use crate::machine::Files;
use aarch64::{Gpa, Size, machine};
use hv_backend::api::Exit;
use hv_backend::scripted::{Script, Scripted, Step};
use vmm::control::Address;
use vmm::control::client::{Client, ClientError};
use vmm::control::protocol::{Code, End, Inflate, State, Status, Stop};
use vmm::coordinator::{Activity, Control};
use vmm::machine::Machine;
use vmm::outcome::Outcome;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(50);

fn deaf() -> Script {
    Script::new()
        .then(Step::UntilKicked)
        .then(Step::UntilKicked)
}

/// Kicks the vCPU out of the guest until the machine is over.
fn kick_to_the_end(control: &Control) {
    while control.pause() {
        control.resume();
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stop_presses_the_key_and_the_guests_power_off_ends_it() {
    let h = Harness::new(vec![power_off(Script::new().then(Step::UntilKicked))]).started();
    h.wait(|h| h.control().condition().activity == Activity::Running);
    assert!(h.control().stop(LONG, Outcome::Left));
    h.wait(|h| h.board.keys() == 1);
    h.wait(|h| h.control().condition().stopping);
    kick_to_the_end(h.control());
    assert_eq!(h.finish(), Outcome::PoweredOff);
    assert_eq!(h.control().condition().activity, Activity::Over);
    assert!(
        !h.control().stop(LONG, Outcome::Left),
        "the machine is over"
    );
}

#[test]
fn a_deaf_guest_is_cut_when_its_time_is_up() {
    let h = Harness::new(vec![deaf()]).started();
    assert!(h.control().stop(SHORT, Outcome::StopTimedOut(SHORT)));
    assert_eq!(h.finish(), Outcome::StopTimedOut(SHORT));
    assert_eq!(h.board.keys(), 1);
}

#[test]
fn a_second_stop_presses_again_and_may_be_more_urgent() {
    let h = Harness::new(vec![deaf()]).started();
    assert!(h.control().stop(LONG, Outcome::Signal(15)));
    h.wait(|h| h.board.keys() == 1);
    assert!(h.control().stop(SHORT, Outcome::StopTimedOut(SHORT)));
    assert_eq!(h.finish(), Outcome::StopTimedOut(SHORT));
    assert_eq!(h.board.keys(), 2);
}

#[test]
fn a_paused_machine_goes_on_to_be_stopped() {
    // The first ends by the pause, if it has begun by then.
    let script = Script::new()
        .then(Step::UntilKicked)
        .then(Step::UntilKicked);
    let h = Harness::new(vec![power_off(script)]).started();
    assert!(h.control().pause());
    assert_eq!(h.control().condition().activity, Activity::Paused);
    assert!(h.control().stop(LONG, Outcome::Left));
    h.wait(|h| h.board.keys() == 1);
    assert_eq!(h.control().condition().activity, Activity::Running);
    kick_to_the_end(h.control());
    assert_eq!(h.finish(), Outcome::PoweredOff);
}

#[test]
fn a_machine_paused_while_it_stops_is_cut_in_time_and_no_key_is_pressed() {
    let h = Harness::new(vec![deaf()]).started();
    assert!(h.control().stop(Duration::from_millis(300), Outcome::Left));
    assert!(h.control().pause());
    let keys = h.board.keys();
    assert_eq!(h.finish(), Outcome::Left);
    assert_eq!(h.board.keys(), keys);
}

/// A machine with a control socket, whose guest has its power key's interrupt on, waits and then
/// goes on as `script` does.
fn with_socket(test: &str, script: impl FnOnce(Script) -> Script) -> (PathBuf, Machine) {
    let files = Files::new(test);
    let mut config = files.config(true);
    config.serial = vmm::config::Serial::None;
    config.name = Some("scripted".parse().unwrap());
    let folder = std::env::temp_dir();
    let path = folder.join(format!("armlet-{test}-{}", std::process::id()));
    config.control = Some(path.clone());
    let enable = Exit::MmioWrite {
        // PL061's GPIOIE.
        gpa: Gpa(machine::GPIO.base.0 + 0x410),
        size: Size::W,
        data: 1 << machine::POWER_BUTTON_LINE,
    };
    let script = script(Script::new().exit(enable).then(Step::UntilKicked));
    let scripted = Scripted::new(vec![script], now);
    (path, Machine::on(&scripted, config).unwrap())
}

fn connect(path: &std::path::Path) -> Client {
    Client::connect(&Address::Path(path.to_owned())).unwrap()
}

fn status(path: &std::path::Path) -> Status {
    connect(path).status().unwrap()
}

#[test]
fn the_socket_answers_while_the_machine_runs_and_while_it_is_paused() {
    let (path, machine) = with_socket("socket-status", |script| {
        script.then(Step::UntilKicked).then(Step::UntilKicked)
    });
    let control = machine.control();
    let run = std::thread::spawn(move || machine.run());
    let mut client = connect(&path);
    while client.status().unwrap().state != State::Running {}
    assert!(control.pause());
    let Status {
        state,
        stopping,
        facts,
    } = status(&path);
    assert_eq!((state, stopping), (State::Paused, false));
    assert_eq!(facts.name.as_deref(), Some("scripted"));
    assert_eq!((facts.cpus, facts.memory), (1, 32 << 20));
    assert_eq!(facts.process, std::process::id());
    let stopping = client.stop(Stop {
        timeout: Some(60),
        force: false,
    });
    assert_eq!(stopping.unwrap().timeout, 60);
    while !status(&path).stopping {}
    let cut = client.stop(Stop {
        timeout: None,
        force: true,
    });
    assert_eq!(cut.unwrap().timeout, 0);
    assert_eq!(client.wait_for_end(Some(LONG)).unwrap().0, End::Cut);
    assert_eq!(run.join().unwrap(), Ok(Outcome::Cut));
    assert!(!path.exists());
}

#[test]
fn everybody_hears_of_the_end() {
    let (path, machine) = with_socket("socket-end", |script| call(script, [0x8400_0009, 0, 0, 0]));
    let control = machine.control();
    let run = std::thread::spawn(move || machine.run());
    let mut clients: Vec<Client> = (0..5).map(|_| connect(&path)).collect();
    while clients[0].status().unwrap().state != State::Running {}
    // The guest asks for a reset, which ends it.
    kick_to_the_end(&control);
    assert_eq!(run.join().unwrap(), Ok(Outcome::ResetRefused));
    for mut client in clients {
        let (how, message) = client.wait_for_end(Some(LONG)).unwrap();
        assert_eq!(
            (how, &*message),
            (End::Reset, "the guest asked for a reset")
        );
    }
    let gone = Client::connect(&Address::Path(path)).unwrap_err();
    assert!(matches!(gone, ClientError::Nobody(_)), "{gone}");
}

#[test]
fn bad_requests_have_answers_and_harm_nothing() {
    let (path, machine) = with_socket("socket-bad", |script| script.then(Step::UntilKicked));
    let control = machine.control();
    let run = std::thread::spawn(move || machine.run());
    let mut stream = UnixStream::connect(&path).unwrap();
    let requests = [
        "nonsense",
        r#"{"id":1,"method":"fly"}"#,
        r#"{"id":2,"method":"stop","params":{"timeout":100000}}"#,
        r#"{"id":3,"method":"stop","params":{"timeout":1,"force":true}}"#,
        r#"{"id":4,"method":"status"}"#,
    ];
    stream
        .write_all((requests.join("\n") + "\n").as_bytes())
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let lines: Vec<String> = BufReader::new(stream).lines().map(Result::unwrap).collect();
    let [greeting, nonsense, fly, late, both, status] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert!(greeting.contains(r#""protocol":1"#), "{greeting}");
    for (line, id, code) in [
        (nonsense, "null", "bad-request"),
        (fly, "1", "unknown-method"),
        (late, "2", "bad-params"),
        (both, "3", "bad-params"),
    ] {
        let begin = format!(r#"{{"id":{id},"error":{{"code":"{code}","message":""#);
        assert!(line.starts_with(&begin), "{line}");
    }
    assert!(status.starts_with(r#"{"id":4,"result":{"#), "{status}");
    let refused = connect(&path).stop(Stop {
        timeout: Some(u64::MAX),
        force: false,
    });
    let Err(ClientError::Fault(_, fault)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(fault.code, Code::BadParams);
    assert!(control.end(Outcome::Left));
    assert_eq!(run.join().unwrap(), Ok(Outcome::Left));
}

#[test]
fn more_connections_than_there_may_be_push_out_the_silent_ones() {
    let (path, machine) = with_socket("socket-many", |script| script.then(Step::UntilKicked));
    let control = machine.control();
    let run = std::thread::spawn(move || machine.run());
    let mut first = connect(&path);
    let mut talker = connect(&path);
    let rest: Vec<Client> = (0..40)
        .map(|_| {
            assert!(talker.status().is_ok(), "who talks stays");
            connect(&path)
        })
        .collect();
    assert!(matches!(first.status(), Err(ClientError::Lost(_))));
    drop(rest);
    assert!(talker.status().is_ok());
    assert!(control.end(Outcome::Left));
    assert_eq!(run.join().unwrap(), Ok(Outcome::Left));
}

#[test]
fn a_socket_that_cannot_be_made_is_bad_input() {
    let files = Files::new("socket-nowhere");
    let mut config = files.config(true);
    config.control = Some("/nowhere/socket".into());
    let scripted = Scripted::new(vec![Script::new()], now);
    let line = Machine::on(&scripted, config).unwrap_err().to_string();
    assert!(
        line.starts_with("--control /nowhere/socket: cannot listen"),
        "{line}"
    );
}

#[test]
fn a_balloon_that_no_driver_hears_of_says_so() {
    let (path, machine) = with_socket("socket-balloon", |script| script.then(Step::UntilKicked));
    let run = std::thread::spawn(move || machine.run());
    let mut client = connect(&path);
    while client.status().unwrap().state != State::Running {}
    let mut ask = |size, reclaim| client.balloon(Inflate { size, reclaim });
    let asked = ask(Some(5 << 20), false).unwrap();
    assert_eq!(
        (asked.target, asked.driver, asked.guest),
        (5 << 20, false, None)
    );
    for (size, reclaim, code, said) in [
        (
            Some(1 << 40),
            false,
            Code::BadParams,
            "balloon: size 1T: the guest has only 32M of memory",
        ),
        (
            None,
            true,
            Code::Refused,
            "balloon: the guest has no driver for its balloon, at least not yet",
        ),
    ] {
        let Err(ClientError::Fault(_, fault)) = ask(size, reclaim) else {
            panic!("accepted")
        };
        assert_eq!((fault.code, &*fault.message), (code, said));
    }
    let force = true;
    let timeout = None;
    client.stop(Stop { timeout, force }).unwrap();
    assert_eq!(run.join().unwrap(), Ok(Outcome::Cut));
}
