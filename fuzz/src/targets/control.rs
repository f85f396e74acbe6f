//! What other programs say to a running machine.

use std::sync::Arc;

use vmm::control::protocol::{Answer, Code, Facts, Fault, Said};
use vmm::control::server::{Herald, Service};
use vmm::coordinator::controls;

/// Lines of any kind are answered, each with one line of JSON; what is refused has a reason.
pub fn control(data: &[u8]) {
    // Held, so that the machine seems to be there; what it is told waits in it.
    let (control, _inbox) = controls();
    let facts = Facts {
        name: Some("fuzz".to_owned()),
        process: 1,
        accel: "soft".to_owned(),
        cpu: "portable".to_owned(),
        cpus: 1,
        memory: 16 << 20,
    };
    let service = Service {
        control,
        facts,
        stop_timeout: Default::default(),
        balloon: None,
    };
    let herald: Herald = Arc::new(|event| unreachable!("nothing was begun: {event:?}"));
    for line in data.split(|byte| *byte == b'\n') {
        let said = service.answer(line, &herald);
        let answer = said.strip_suffix('\n').expect("a whole line");
        assert!(!answer.contains('\n'), "{answer}");
        let answer: Answer = serde_json::from_str(answer).expect("an answer");
        match answer.outcome {
            Said::Result(value) => assert!(answer.id.is_some() && value.is_object(), "{value}"),
            Said::Error(Fault { code, message }) => {
                assert!(!message.is_empty() && !message.contains('\n'), "{message}");
                assert!(
                    !matches!(code, Code::Other | Code::Over | Code::TooLong),
                    "{code:?}"
                );
            }
        }
    }
}

/// Requests, good and nearly so.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    [
        r#"{"id":1,"method":"status"}"#,
        r#"{"id":18446744073709551615,"method":"stop","params":{"timeout":30,"force":false}}"#,
        r#"{"method":"stop","params":{"force":true},"id":0}"#,
        r#"{"id":2,"method":"balloon","params":{"size":1048576,"reclaim":true}}"#,
        r#"{"id":3,"method":"ba\nlloon"}"#,
        "{\"id\":1,\"method\":\"fly\"}\n[[[[{\"id\":\"\\u0000\"}]]]]\n\n{}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
