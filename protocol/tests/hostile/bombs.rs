//! Headers that claim much, nest deep or are wide: made here, since they would be long to keep.

use scalems_protocol::client::ClientToAgent;
use scalems_protocol::error::Code;
use scalems_protocol::limits;
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};

use crate::decoders::decode_all;

/// A msgpack list or map marker with a claim of `count`.
fn claim(marker: u8, count: usize) -> Vec<u8> {
    [&[marker][..], &(count as u32).to_be_bytes()].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0xd9, text.len() as u8][..], text.as_bytes()].concat()
}

/// `{"type": name, ...path: {... value}}`: a value, some maps deep, in a message.
fn message(name: &str, path: &[&str], value: &[u8]) -> Vec<u8> {
    let mut header = vec![0x82];
    header.extend(text("type"));
    header.extend(text(name));
    for (depth, key) in path.iter().enumerate() {
        if depth > 0 {
            header.push(0x81);
        }
        header.extend(text(key));
    }
    header.extend_from_slice(value);
    header
}

/// As many of `item`, with `values` values each, as the limits on values and bytes take.
fn wide(marker: u8, item: &[u8], values: usize) -> Vec<u8> {
    let count = ((limits::ELEMENTS - 32) / values).min((limits::HEADER_BYTES - 256) / item.len());
    [claim(marker, count), item.repeat(count)].concat()
}

/// The same for a map: keys that differ.
fn wide_map(value: &[u8]) -> Vec<u8> {
    let count = (limits::ELEMENTS - 32) / 2;
    let keys = (0..count).flat_map(|at| [text(&format!("{at:x}")), value.to_vec()].concat());
    claim(0xdf, count).into_iter().chain(keys).collect()
}

/// Every list and map in a message, with the smallest item that it takes.
fn places_to_fill() -> Vec<Vec<u8>> {
    let list = |name, path: &[&str], item: &[u8], values| message(name, path, &wide(0xdd, item, values));
    let map = |name, path: &[&str], value: &[u8]| message(name, path, &wide_map(value));
    let mut all = Vec::new();
    // Structs may come as lists of their fields, which is the shortest way to write many.
    let run: &[u8] = b"\x94\x01\x00\x01\x01";
    let group: &[u8] = b"\x93\x94\x01\x00\x01\x01\x92\x01\x01\x00";
    let result: &[u8] = b"\x94\x94\x01\x00\x01\x01\x92\x01\x01\x01\xa4done";
    let held: &[u8] = b"\x94\x94\x01\x00\x01\x01\x92\x01\x01\x01\xa6leased";
    for name in ["hello", "submit", "ask", "welcome", "lease", "report", "event"] {
        all.push(list(name, &["must"], b"\xa0", 1));
    }
    for name in ["hello", "welcome"] {
        all.push(list(name, &["modes"], b"\x91\xa0", 2));
        all.push(list(name, &["modes"], b"\xa0", 1));
        all.push(list(name, &["offer"], b"\x92\xa0\x00", 3));
        all.push(list(name, &["held"], held, 11));
        all.push(list(name, &["drop"], run, 5));
    }
    for (name, item) in [
        ("after", &b"\x80"[..]),
        ("after", b"\x90"),
        ("after", b"\x91\x01"),
    ] {
        all.push(list("submit", &["task", name], item, 1 + item.len() - 1));
    }
    all.push(list("submit", &["ends"], b"\x00", 1));
    all.push(map("submit", &["task", "labels"], b"\xa0"));
    all.push(map("submit", &["task", "needs", "named"], b"\x00"));
    all.push(list("cancel", &["select", "picks"], b"\x93\x01\x01\x01", 4));
    all.push(list("lease", &["templates"], b"\x80", 1));
    all.push(list("lease", &["templates"], b"\x90", 1));
    all.push(list("lease", &["groups"], group, 10));
    all.push(list("revoke", &["runs"], run, 5));
    all.push(list("report", &["started"], run, 5));
    all.push(list("report", &["returned"], run, 5));
    all.push(list("report", &["results"], result, 11));
    all.push(list("results", &["groups"], result, 11));
    all.push(list("holdings", &["held"], held, 11));
    for (reply, item) in [
        ("tasks", result),
        ("results", result),
        ("submissions", b"\x80"),
        ("workers", b"\x80"),
    ] {
        all.push(list(
            "answer",
            &["reply", reply, "rows"],
            item,
            item.len().min(11),
        ));
        all.push(list("answer", &["reply", reply], item, item.len().min(11)));
    }
    for (field, item, values) in [("modes", &b"\xa0"[..], 1), ("counters", b"\x92\xa0\x00", 3)] {
        all.push(list("answer", &["reply", "status", field], item, values));
    }
    all.push(list("answer", &["reply", "explain", "reasons"], b"\xa0", 1));
    all.push(list(
        "event",
        &["body", "tasks", "runs"],
        b"\x92\x94\x01\x00\x01\x01\xa4done",
        7,
    ));
    all.push(list(
        "event",
        &["body", "alarms", "alarms"],
        b"\x94\xa0\xa0\xa0\x00",
        5,
    ));
    all.push(list(
        "event",
        &["body", "summary", "resources"],
        b"\x93\xa0\x00\x00",
        4,
    ));
    all
}

#[test]
fn wide_messages_cost_little() {
    for header in places_to_fill() {
        assert!(header.len() <= limits::HEADER_BYTES);
        decode_all(&header);
    }
}

#[test]
fn wide_envelopes_cost_little() {
    let envelope = |key: &str, value: &[u8]| [&b"\x82\xa4mode\xa1x"[..], &text(key), value].concat();
    for (key, value) in [
        ("after", wide(0xdd, b"\x80", 1)),
        ("labels", wide_map(b"\xa0")),
        ("data", wide(0xdd, b"\xc0", 1)),
        ("meta", wide_map(b"\xc0")),
    ] {
        decode_all(&envelope(key, &value));
    }
}

#[test]
fn wide_programs_cost_little() {
    for value in [
        [&b"\x81"[..], &text("argv"), &wide(0xdd, b"\xa0", 1)].concat(),
        [&b"\x81"[..], &text("env"), &wide_map(b"\xa0")].concat(),
    ] {
        decode_all(&value);
    }
}

#[test]
fn deep_messages_are_refused() {
    for piece in [&b"\x91"[..], b"\x81\xa1a", b"\xdd\x00\x00\x00\x01"] {
        let header = message("submit", &["task"], &piece.repeat(100_000));
        decode_all(&header);
        let error = ClientToAgent::decode(&header).unwrap_err();
        assert_eq!(error.code(), Code::TooLarge);
    }
}

#[test]
fn claims_take_nothing() {
    for marker in [0xc6, 0xdb, 0xdd, 0xdf] {
        for count in [1 << 16, 1 << 24, u32::MAX as usize] {
            for key in ["must", "held", "modes", "templates", "groups", "session", "task"] {
                for name in ["hello", "lease", "submit", "report"] {
                    let header = message(name, &[key], &claim(marker, count));
                    decode_all(&header);
                    assert!(ClientToAgent::decode(&header).is_err());
                    assert!(WorkerToAgent::decode(&header).is_err());
                    assert!(AgentToWorker::decode(&header).is_err());
                }
            }
        }
    }
}

#[test]
fn a_full_header_costs_little() {
    let strings = message(
        "hello",
        &["session"],
        &[claim(0xdb, 1_000_000), vec![b'x'; 1_000_000]].concat(),
    );
    decode_all(&strings);
    let data = [
        &b"\x82\xa4mode\xa1x\xa4data"[..],
        &claim(0xc6, 1_000_000),
        &vec![0; 1_000_000],
    ]
    .concat();
    decode_all(&data);
}
