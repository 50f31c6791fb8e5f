//! What people write (envelopes), and headers that mean the same in other bytes.

use scalems_protocol::Amount;
use scalems_protocol::client::ClientToAgent;
use scalems_protocol::error::Code;
use scalems_protocol::task::{After, Needs, Policy, Template};
use serde_json::{Value, json};

use crate::file;
use crate::json::{hex, of_msgpack};
use crate::samples::{echo, labels};

struct Written {
    name: &'static str,
    header: Vec<u8>,
    task: Template,
    /// The data's bytes, as the task gets them.
    data: Option<&'static [u8]>,
}

fn written() -> Vec<Written> {
    let bare = |name, header: &[u8], data| Written {
        name,
        header: header.to_vec(),
        task: echo(),
        data,
    };
    let full = [
        &b"\x8c\xa1v\x01\xa4mode\xaatask.shell\xa4data\x81\xa4argv\x91\xa4true"[..],
        b"\xa5needs\x82\xaecores_per_rank\x02\xa5named\x81\xa7licence\x01",
        b"\xa6policy\x81\xa7retries\x03",
        b"\xa5after\x91\x82\xaasubmission\x04\xa4when\xa3any",
        b"\xa3uid\xa4u-42\xa4name\xa5build\xa6labels\x81\xa7project\xa1a",
        b"\xacmax_failures\x03",
        b"\xa4meta\x93\x01\xc0\xa1x",
        b"\xa4body\xc4\x02\x01\x02",
    ]
    .concat();
    let task = Template {
        mode: "task.shell".into(),
        needs: Needs {
            named: [("licence".to_owned(), 1.into())].into(),
            ..Needs::cores(2)
        },
        policy: Policy {
            retries: 3,
            ..Policy::default()
        },
        after: vec![After {
            submission: Some(4),
            when: scalems_protocol::task::When::Any,
            ..After::default()
        }],
        uid: Some("u-42".into()),
        name: Some("build".into()),
        labels: labels(&[("project", "a")]),
        max_failures: Some(3),
        meta: b"\x93\x01\xc0\xa1x".to_vec(),
        body: b"\x01\x02".to_vec(),
    };
    vec![
        bare("a mode alone", b"\x81\xa4mode\xacscalems.echo", None),
        bare(
            "binary data is the task's data",
            b"\x82\xa4mode\xacscalems.echo\xa4data\xc4\x05hello",
            Some(b"hello"),
        ),
        bare(
            "of a string the encoding is the task's data",
            b"\x82\xa4mode\xacscalems.echo\xa4data\xa5hello",
            Some(b"\xa5hello"),
        ),
        bare(
            "nil is a value too",
            b"\x82\xa4mode\xacscalems.echo\xa4data\xc0",
            Some(b"\xc0"),
        ),
        bare(
            "data before mode",
            b"\x82\xa4data\xc5\x00\x02hi\xa4mode\xacscalems.echo",
            Some(b"hi"),
        ),
        Written {
            name: "amounts with fractions, in any form of a number",
            header: [
                &b"\x82\xa4mode\xacscalems.echo\xa5needs\x83\xaecores_per_rank\xca\x3e\x80\0\0"[..],
                b"\xadgpus_per_rank\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xa5named\x81\xa4fpga\xcb\x40\0\0\0\0\0\0\0",
            ]
            .concat(),
            task: Template {
                needs: Needs {
                    gpus_per_rank: Amount::from_parts(1_000),
                    named: [("fpga".to_owned(), 2.into())].into(),
                    ..Needs::cores(Amount::from_parts(2_500))
                },
                ..echo()
            },
            data: None,
        },
        Written {
            name: "everything",
            header: full,
            task,
            data: Some(b"\x81\xa4argv\x91\xa4true"),
        },
    ]
}

#[test]
fn envelopes() {
    let made: Vec<Value> = written()
        .iter()
        .map(|written| {
            let meta = (!written.task.meta.is_empty()).then(|| hex(&written.task.meta));
            let body = (!written.task.body.is_empty()).then(|| hex(&written.task.body));
            json!({
                "name": written.name,
                "direction": "client_to_agent",
                "header": hex(&written.header),
                "json": of_msgpack(&written.header),
                "data": written.data.map(hex),
                "meta": meta,
                "body": body,
            })
        })
        .collect();
    let about = "Single envelopes: maps with a mode and no type. `data` are the bytes that the task gets, \
                 `meta` the bytes that are kept, `body` those that its mode gets with the data.";
    file::check("envelopes", about, &made);
    for written in written() {
        let decoded = ClientToAgent::decode(&written.header);
        let Ok(ClientToAgent::Envelope(envelope)) = decoded else {
            panic!("{}: {decoded:?}", written.name);
        };
        assert_eq!(envelope.task, written.task, "{}", written.name);
        let data = envelope.data.clone().map(|place| &written.header[place]);
        assert_eq!(data, written.data, "{}", written.name);
    }
}

/// Bytes that no one of ours writes, and the name of the vector that they mean; the first are as ours writes.
const LENIENT: &[(&str, &[u8], &str)] = &[
    (
        "an ack as it is written",
        b"\x83\xa1v\x01\xa4type\xa3ack\xa8delivery\x39",
        "an ack as it is written",
    ),
    (
        "keys in another order",
        b"\x83\xa4type\xa3ack\xa8delivery\x39\xa1v\x01",
        "an ack as it is written",
    ),
    ("without a version", b"\x82\xa4type\xa3ack\xa8delivery\x39", "an ack as it is written"),
    (
        "a key that is not known",
        b"\x84\xa1v\x01\xa4type\xa3ack\xa8delivery\x39\xa6colour\x81\xa1a\xc0",
        "an ack as it is written",
    ),
    (
        "nothing that must be understood",
        b"\x84\xa1v\x01\xa4type\xa3ack\xa8delivery\x39\xa4must\x90",
        "an ack as it is written",
    ),
    (
        "longer encodings than needed",
        b"\xdf\x00\x00\x00\x03\xd9\x01v\xcf\0\0\0\0\0\0\0\x01\xda\x00\x04type\xdb\x00\x00\x00\x03ack\
          \xa8delivery\xd3\0\0\0\0\0\0\0\x39",
        "an ack as it is written",
    ),
    (
        "defaults left out",
        b"\x83\xa4type\xa6submit\xa7request\x01\xa4task\x81\xa4mode\xacscalems.echo",
        "defaults written",
    ),
    (
        "defaults written",
        b"\x88\xa4type\xa6submit\xa7request\x01\xa9low_water\x00\xa5count\x01\xa5first\x00\xa4step\x01\xa4ends\x90\
          \xa4task\x83\xa4mode\xacscalems.echo\xa5needs\x80\xa6policy\x83\xa7retries\x00\xabcrash_limit\x05\xa8grace_ms\
          \xcd\x13\x88",
        "defaults left out",
    ),
];

#[test]
fn lenient() {
    let made: Vec<Value> = LENIENT
        .iter()
        .map(|(name, header, same_as)| {
            json!({
                "name": name,
                "direction": "client_to_agent",
                "header": hex(header),
                "json": of_msgpack(header),
                "same_as": same_as,
            })
        })
        .collect();
    let about = "Headers that a receiver takes though no sender of ours writes them so; \
                 `same_as` names the one in this file that means the same.";
    file::check("lenient", about, &made);
    for (name, header, same_as) in LENIENT {
        let (_, same, _) = LENIENT
            .iter()
            .find(|(name, ..)| name == same_as)
            .expect("the same one is there");
        let (decoded, same) = (ClientToAgent::decode(header), ClientToAgent::decode(same));
        assert!(decoded.is_ok(), "{name}: {decoded:?}");
        assert_eq!(decoded, same, "{name}");
    }
}

#[test]
fn codes_of_newer_versions_are_read_as_unknown() {
    use scalems_protocol::client::AgentToClient;
    let header = b"\x82\xa4type\xa7refused\xa7refusal\x82\xa4code\xa7newborn\xa7message\xa0";
    let Ok(AgentToClient::Refused(refused)) = AgentToClient::decode(header) else {
        panic!("a refusal with a new code is a refusal");
    };
    assert_eq!(refused.refusal.code, Code::Unknown);
}
