//! Headers that are refused, and with which code.

use scalems_protocol::WireError;
use scalems_protocol::client::{AgentToClient, ClientToAgent, NamedClientToAgent};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::AgentToSubscriber;
use scalems_protocol::task::Template;
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};
use serde_json::{Value, json};

use crate::file;
use crate::json::hex;

/// A header that is refused: its beginning, and a byte that follows so many times.
struct Bad {
    name: &'static str,
    direction: &'static str,
    head: Vec<u8>,
    repeat: (u8, usize),
    code: Code,
}

fn bad(name: &'static str, code: Code, head: &[u8]) -> Bad {
    Bad {
        name,
        direction: "client_to_agent",
        head: head.to_vec(),
        repeat: (0, 0),
        code,
    }
}

/// `count` entries of a map with distinct keys.
fn entries(count: usize, value: &[u8]) -> Vec<u8> {
    (0..count)
        .flat_map(|at| [b"\xa3", format!("k{at:02}").as_bytes(), value].concat())
        .collect()
}

fn not_plain_maps() -> Vec<Bad> {
    let malformed = |name, head: &[u8]| bad(name, Code::Malformed, head);
    vec![
        malformed("nothing", b""),
        malformed("not a map", b"\x93\x01\x02\x03"),
        malformed("an empty map", b"\x80"),
        malformed("a map that ends early", b"\x82\xa4type\xa3ack"),
        malformed("a string that ends early", b"\x81\xa4type\xa3ac"),
        malformed("bytes after the map", b"\x82\xa4type\xa3ack\xa8delivery\x01\x00"),
        malformed("a key that is a number", b"\x81\x01\x02"),
        malformed("a key that is binary", b"\x81\xc4\x04type\xa3ack"),
        malformed("a key that is not UTF-8", b"\x81\xa2\xc3\x28\x01"),
        malformed(
            "a key that comes twice",
            b"\x83\xa4type\xa3ack\xa8delivery\x01\xa8delivery\x02",
        ),
        malformed(
            "a key that is a number, inside",
            b"\x82\xa4mode\xa1x\xa4data\x81\x01\x02",
        ),
        malformed(
            "a blob that is no binary",
            b"\x83\xa4type\xa3ack\xa8delivery\x01\xa4blob\x05",
        ),
        malformed(
            "an amount with five digits behind the point",
            b"\x82\xa4mode\xa1x\xa5needs\x81\xadgpus_per_rank\xcb\x3f\xc0\x00\x53\xe2\xd6\x23\x8e",
        ),
        malformed(
            "an amount below nothing",
            b"\x82\xa4mode\xa1x\xa5needs\x81\xaecores_per_rank\xcb\xbf\xe0\0\0\0\0\0\0",
        ),
        malformed("an extension type", b"\x82\xa4mode\xa1x\xa4data\xd4\x00\x00"),
        malformed("the unused byte", b"\x82\xa4mode\xa1x\xa4data\xc1"),
        malformed(
            "a claim of 4 billion bytes",
            b"\x82\xa4mode\xa1x\xa4data\xc6\xff\xff\xff\xff",
        ),
        malformed(
            "a claim of 4 billion characters",
            b"\x82\xa4mode\xa1x\xa4data\xdb\xff\xff\xff\xff",
        ),
        malformed(
            "a claim of 4 billion values",
            b"\x82\xa4mode\xa1x\xa4data\xdd\xff\xff\xff\xff",
        ),
        malformed("a claim of 4 billion entries", b"\xdf\xff\xff\xff\xff"),
    ]
}

fn over_limits() -> Vec<Bad> {
    let large = |name, parts: &[&[u8]]| bad(name, Code::TooLarge, &parts.concat());
    let data = b"\x82\xa4mode\xa1x\xa4data";
    vec![
        Bad {
            repeat: (0, 1 << 20),
            ..large("a header of more than 1 MiB", &[data, b"\xc6\x00\x10\x00\x00"])
        },
        Bad {
            repeat: (0, 65_536),
            ..large("more than 65,536 values", &[data, b"\xdd\x00\x01\x00\x00"])
        },
        Bad {
            repeat: (0x91, 17),
            ..large("17 levels", &[data])
        },
        large(
            "a blob of 1,025 bytes in a header",
            &[
                b"\x83\xa4type\xa3ack\xa8delivery\x01\xa4blob\xc5\x04\x01",
                &[0; 1_025],
            ],
        ),
        large("33 keys", &[b"\xde\x00\x21\xa4mode\xa1x", &entries(32, b"\x01")]),
        large(
            "a key of 65 bytes",
            &[b"\x82\xa4mode\xa1x\xd9\x41", &[b'k'; 65], b"\x01"],
        ),
        large(
            "33 labels",
            &[b"\x82\xa4mode\xa1x\xa6labels\xde\x00\x21", &entries(33, b"\xa1v")],
        ),
        large(
            "65 named resources",
            &[
                b"\x82\xa4mode\xa1x\xa5needs\x81\xa5named\xde\x00\x41",
                &entries(65, b"\x01"),
            ],
        ),
        large(
            "a uid of 257 bytes",
            &[b"\x82\xa4mode\xa1x\xa3uid\xda\x01\x01", &[b'u'; 257]],
        ),
        large(
            "meta of more than 16 KiB",
            &[b"\x82\xa4mode\xa1x\xa4meta\xc5\x40\x00", &[0; 0x4000]],
        ),
        large(
            "a body of more than 256 KiB",
            &[b"\x82\xa4mode\xa1x\xa4body\xc6\x00\x04\x00\x01", &[0; 0x4_0001]],
        ),
    ]
}

fn not_messages() -> Vec<Bad> {
    vec![
        bad(
            "another version",
            Code::UnsupportedVersion,
            b"\x83\xa1v\x02\xa4type\xa3ack\xa8delivery\x01",
        ),
        bad(
            "a version that is text",
            Code::Malformed,
            b"\x83\xa1v\xa11\xa4type\xa3ack\xa8delivery\x01",
        ),
        bad(
            "a version below zero",
            Code::Malformed,
            b"\x83\xa1v\xff\xa4type\xa3ack\xa8delivery\x01",
        ),
        bad(
            "a type that is a number",
            Code::Malformed,
            b"\x82\xa4type\x01\xa8delivery\x01",
        ),
        bad(
            "neither type nor mode",
            Code::Malformed,
            b"\x82\xa1v\x01\xa4data\x01",
        ),
        bad(
            "a type that is not known",
            Code::UnknownType,
            b"\x82\xa1v\x01\xa4type\xa4lend",
        ),
        bad(
            "a type of another direction",
            Code::UnknownType,
            b"\x82\xa1v\x01\xa4type\xa6report",
        ),
        bad(
            "something that must be understood",
            Code::UnknownRequiredField,
            b"\x84\xa1v\x01\xa4type\xa3ack\xa8delivery\x01\xa4must\x91\xa6colour",
        ),
        bad(
            "must is not a list",
            Code::Malformed,
            b"\x83\xa4type\xa3ack\xa8delivery\x01\xa4must\xa1x",
        ),
        bad(
            "hello with an unknown key",
            Code::UnknownField,
            b"\x82\xa4type\xa5hello\xa6colour\x01",
        ),
        bad(
            "an envelope with an unknown key",
            Code::UnknownField,
            b"\x82\xa4mode\xa1x\xa6colour\x01",
        ),
        bad(
            "needs with an unknown key",
            Code::UnknownField,
            b"\x82\xa4mode\xa1x\xa5needs\x81\xa5cores\x01",
        ),
        bad(
            "a policy with an unknown key",
            Code::UnknownField,
            b"\x82\xa4mode\xa1x\xa6policy\x81\xa5retry\x01",
        ),
        bad(
            "a missing field",
            Code::Malformed,
            b"\x82\xa1v\x01\xa4type\xa3ack",
        ),
        bad(
            "a number below zero",
            Code::Malformed,
            b"\x82\xa4type\xa3ack\xa8delivery\xff",
        ),
        bad(
            "text for a number",
            Code::Malformed,
            b"\x82\xa4type\xa3ack\xa8delivery\xa11",
        ),
        bad(
            "a strength that is not known",
            Code::Malformed,
            b"\x84\xa4type\xa6cancel\xa7request\x01\xa6select\x81\xa3all\xc3\xa8strength\xa4beat",
        ),
        Bad {
            direction: "worker_to_agent",
            ..bad(
                "a client's message at the workers' socket",
                Code::UnknownType,
                b"\x82\xa4type\xa3ack\xa8delivery\x01",
            )
        },
        Bad {
            direction: "worker_to_agent",
            ..bad(
                "an envelope at the workers' socket",
                Code::UnknownType,
                b"\x81\xa4mode\xa1x",
            )
        },
        Bad {
            direction: "agent_to_worker",
            ..bad(
                "a lease without a run",
                Code::Malformed,
                b"\x82\xa4type\xa5lease\xa6groups\x91\x81\xa8template\x00",
            )
        },
        Bad {
            direction: "agent_to_client",
            ..bad(
                "groups that are a number",
                Code::Malformed,
                b"\x83\xa4type\xa7results\xa8delivery\x01\xa6groups\x01",
            )
        },
        Bad {
            direction: "agent_to_subscriber",
            ..bad(
                "an event without a body",
                Code::Malformed,
                b"\x84\xa4type\xa5event\xabincarnation\x01\xa5topic\xa7summary\xa3seq\x01",
            )
        },
    ]
}

fn wrong_values() -> Vec<Bad> {
    let invalid = |name, head: &[u8]| bad(name, Code::InvalidValue, head);
    vec![
        invalid("an empty mode", b"\x81\xa4mode\xa0"),
        invalid("no ranks", b"\x82\xa4mode\xa1x\xa5needs\x81\xa5ranks\x00"),
        invalid(
            "cores under another name",
            b"\x82\xa4mode\xa1x\xa5needs\x81\xa5named\x81\xa5cores\x01",
        ),
        invalid(
            "a crash limit of 0",
            b"\x82\xa4mode\xa1x\xa6policy\x81\xabcrash_limit\x00",
        ),
        invalid(
            "a time of more than a year",
            b"\x82\xa4mode\xa1x\xa6policy\x81\xabdeadline_ms\xcf\x00\x00\x00\x08\x00\x00\x00\x00",
        ),
        invalid("a dependency on nothing", b"\x82\xa4mode\xa1x\xa5after\x91\x80"),
        invalid(
            "a dependency on no tasks",
            b"\x82\xa4mode\xa1x\xa5after\x91\x82\xaasubmission\x01\xa7offsets\x92\x05\x05",
        ),
        invalid(
            "a dependency both each and in part",
            b"\x82\xa4mode\xa1x\xa5after\x91\x83\xaasubmission\x01\xa7offsets\x92\x00\x05\xa4each\xc3",
        ),
    ]
}

fn checked(template: &Template) -> Result<(), Code> {
    template.check().map_err(|refusal: Refusal| refusal.code)
}

/// What a receiver makes of a header: it decodes it, and checks a template that is in it.
fn receive(direction: &str, header: &[u8]) -> Result<(), Code> {
    let code = |error: WireError| error.code();
    match direction {
        "client_to_agent" => match ClientToAgent::decode(header).map_err(code)? {
            ClientToAgent::Envelope(envelope) => checked(&envelope.task),
            ClientToAgent::Named(NamedClientToAgent::Submit(submit)) => checked(&submit.task),
            ClientToAgent::Named(_) => Ok(()),
        },
        "agent_to_client" => AgentToClient::decode(header).map(drop).map_err(code),
        "worker_to_agent" => WorkerToAgent::decode(header).map(drop).map_err(code),
        "agent_to_worker" => AgentToWorker::decode(header).map(drop).map_err(code),
        "agent_to_subscriber" => AgentToSubscriber::decode(header).map(drop).map_err(code),
        other => panic!("no direction is called {other}"),
    }
}

#[test]
fn refusals() {
    let all: Vec<Bad> = [not_plain_maps(), over_limits(), not_messages(), wrong_values()]
        .into_iter()
        .flatten()
        .collect();
    let made: Vec<Value> = all
        .iter()
        .map(|bad| {
            json!({
                "name": bad.name,
                "direction": bad.direction,
                "header": hex(&bad.head),
                "then": hex(&[bad.repeat.0]),
                "times": bad.repeat.1,
                "code": bad.code.text(),
            })
        })
        .collect();
    let about = "Headers that are refused, with the code. The header is `header` followed by `times` times the \
                 byte `then`.";
    file::check("refusals", about, &made);
    for bad in &all {
        let header = [bad.head.clone(), vec![bad.repeat.0; bad.repeat.1]].concat();
        assert_eq!(receive(bad.direction, &header), Err(bad.code), "{}", bad.name);
    }
}
