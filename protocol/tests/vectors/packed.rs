//! A packed log.

use scalems_protocol::packed::{
    Attempt, Begin, End, FORMAT, FileStart, Look, Lost, Piece, Record, Stream, Why, look, write,
};
use scalems_protocol::{PilotId, TaskId};
use serde_json::{Value, json};

use crate::file;
use crate::json::{hex, of_msgpack};

fn records() -> Vec<(Record, &'static [u8])> {
    let of = Attempt {
        task: TaskId {
            submission: 5,
            index: 7,
        },
        incarnation: 1,
        attempt: 2,
    };
    let time_us = 1_790_000_000_000_000;
    vec![
        (
            Record::File(FileStart {
                format: FORMAT,
                pilot: Some(PilotId([7; 16])),
                pilot_name: "night".into(),
                worker: "node-17".into(),
                host: "node-17".into(),
                pid: 4_711,
                software: "scalems 0.1.0".into(),
                part: 1,
                time_us,
            }),
            b"",
        ),
        (Record::Begin(Begin { of, time_us }), b""),
        (
            Record::Bytes(Piece {
                of,
                stream: Stream::Stdout,
                from: 0,
                time_us,
            }),
            b"-7.25\n",
        ),
        (
            Record::Lost(Lost {
                of,
                stream: Stream::Stderr,
                from: 0,
                bytes: 90_000,
                why: Why::Rate,
                time_us,
            }),
            b"",
        ),
        (
            Record::End(End {
                of,
                time_us,
                exit_code: Some(0),
                signal: None,
                stdout: 6,
                stderr: 90_000,
            }),
            b"",
        ),
    ]
}

#[test]
fn packed() {
    let (mut bytes, mut made): (Vec<u8>, Vec<Value>) = (Vec::new(), Vec::new());
    for (record, body) in records() {
        let position = bytes.len();
        write(position as u64, &record, body, &mut bytes);
        let Look::Found(found) = look(position as u64, &bytes[position..]) else {
            panic!("{record:?} is not found")
        };
        assert_eq!(found.record, Some(record));
        let head = &bytes[position + scalems_protocol::packed::PREFIX_BYTES..position + found.body_at];
        made.push(json!({ "position": position, "head": of_msgpack(head), "body": hex(body) }));
    }
    let about = "A packed log: the bytes of a file, and its records.";
    let vector = json!({ "name": "one attempt", "bytes": hex(&bytes), "records": made });
    file::check("packed", about, &[vector]);
}
