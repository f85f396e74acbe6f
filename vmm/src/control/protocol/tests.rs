//! Requests and answers, as text.

use proptest::prelude::*;

use super::*;

fn fault_of(line: &str) -> (Option<u64>, Code, String) {
    let (id, Fault { code, message }) = read_request(line.as_bytes()).unwrap_err();
    (id, code, message)
}

#[test]
fn requests_are_read() {
    let stop = |timeout, force| Command::Stop(Stop { timeout, force });
    for (line, command) in [
        (r#"{"id":1,"method":"status"}"#, Command::Status),
        (r#"{"method":"status","params":{},"id":1}"#, Command::Status),
        (r#"{"id":1,"method":"stop"}"#, stop(None, false)),
        (
            r#"{"id":1,"method":"balloon","params":{"size":5,"reclaim":true}}"#,
            Command::Balloon(Inflate {
                size: Some(5),
                reclaim: true,
            }),
        ),
        (
            r#"{"id":1,"method":"stop","params":{"timeout":5}}"#,
            stop(Some(5), false),
        ),
        (
            r#"{"id":1,"method":"stop","params":{"force":true}}"#,
            stop(None, true),
        ),
    ] {
        assert_eq!(read_request(line.as_bytes()), Ok((1, command)), "{line}");
    }
}

#[test]
fn mistakes_have_a_code_and_the_requests_number() {
    for (line, id, code, said) in [
        ("", None, Code::BadRequest, "no request: "),
        ("hello", None, Code::BadRequest, "no request: "),
        ("[]", None, Code::BadRequest, "no request: "),
        (
            r#"{"method":"status"}"#,
            None,
            Code::BadRequest,
            "missing field `id`",
        ),
        (
            r#"{"id":-1,"method":"status"}"#,
            None,
            Code::BadRequest,
            "no request: ",
        ),
        (
            r#"{"id":3}"#,
            Some(3),
            Code::BadRequest,
            "missing field `method`",
        ),
        (
            r#"{"id":3,"method":"status","x":1}"#,
            Some(3),
            Code::BadRequest,
            "unknown field `x`",
        ),
        (
            r#"{"id":4,"method":"fly"}"#,
            Some(4),
            Code::UnknownMethod,
            "unknown method 'fly'",
        ),
        (
            r#"{"id":4,"method":"st\nop\u001b"}"#,
            Some(4),
            Code::UnknownMethod,
            r"unknown method 'st\nop\u{1b}'",
        ),
        (
            r#"{"id":5,"method":"stop","params":{"ha\nrd":1}}"#,
            Some(5),
            Code::BadParams,
            r"stop: unknown field `ha\nrd`",
        ),
        (
            r#"{"id":5,"method":"stop","params":{"hard":1}}"#,
            Some(5),
            Code::BadParams,
            "stop: unknown field `hard`",
        ),
        (
            r#"{"id":6,"method":"status","params":[1]}"#,
            Some(6),
            Code::BadParams,
            "status: ",
        ),
    ] {
        let (found_id, found, message) = fault_of(line);
        assert_eq!((found_id, found), (id, code), "{line}: {message}");
        assert!(
            message.contains(said) && !message.contains('\n'),
            "{line}: {message}"
        );
    }
}

#[test]
fn deep_nesting_is_a_mistake_like_others() {
    let deep = format!(
        r#"{{"id":1,"method":"stop","params":{}"#,
        "[".repeat(60_000)
    );
    assert_eq!(fault_of(&deep).1, Code::BadRequest);
}

#[test]
fn messages_are_lines() {
    let facts = Facts {
        name: Some("web".into()),
        process: 7,
        accel: "soft".into(),
        cpu: "portable".into(),
        cpus: 2,
        memory: 1 << 30,
    };
    let condition = Condition {
        activity: Activity::Paused,
        stopping: true,
    };
    let status = Status::new(condition, facts);
    let answer = Answer {
        id: Some(1),
        outcome: Said::Result(serde_json::to_value(&status).unwrap()),
    };
    let line = to_line(&answer);
    assert!(
        line.starts_with(r#"{"id":1,"result":{"#) && line.ends_with("}\n"),
        "{line}"
    );
    assert!(
        line.contains(r#""state":"paused""#) && line.contains(r#""name":"web""#),
        "{line}"
    );
    assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    let event = Event::from(&Outcome::PoweredOff);
    let line = r#"{"event":"ended","how":"powered-off","message":"the guest powered off"}"#;
    assert_eq!(to_line(&event).trim_end(), line);
    let later = r#"{"event":"ended","how":"evaporated","message":"?","more":1}"#;
    let later = serde_json::from_str(later).unwrap();
    assert!(
        matches!(
            later,
            Event::Ended {
                how: End::Other,
                ..
            }
        ),
        "from a later version"
    );
}

#[test]
fn what_came_of_a_reclaim_is_an_event() {
    let (named, returned) = (3 << 20, 2 << 20);
    for (result, line) in [
        (
            Ok(Reclaimed { named, returned }),
            r#"{"event":"reclaimed","round":9,"named":3145728,"returned":2097152}"#,
        ),
        (
            Err(ReclaimError::TimedOut),
            r#"{"event":"not-reclaimed","round":9,"code":"refused","message":"balloon: the guest did not name its free memory within 10 s"}"#,
        ),
    ] {
        let event = Event::of_reclaim(9, result);
        assert_eq!(to_line(&event).trim_end(), line);
        assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
    }
}

proptest! {
    #[test]
    fn any_line_is_survived(line in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err((_, fault)) = read_request(&line) {
            prop_assert!(!fault.message.contains('\n'));
        }
    }
}
