//! Frames that are no messages, and messages that are not for here.

use scalems_client::protocol::{Bytes, Code, Role, limits};
use scalems_tests::pilot::Pilot;
use serde_json::json;

use crate::wire::{Raw, expect, header, undisturbed};

#[test]
fn what_is_no_message_is_refused_by_name() {
    let pilot = Pilot::start("");
    let mut raw = Raw::client(&pilot);
    let cases: &[(Vec<u8>, Code)] = &[
        (b"".to_vec(), Code::Malformed),
        (b"\xc1".to_vec(), Code::Malformed),
        (b"hello".to_vec(), Code::Malformed),
        (b"\x93\x01\x02\x03".to_vec(), Code::Malformed),
        (header(&json!({})), Code::Malformed),
        (header(&json!({"v": 1, "type": 5})), Code::Malformed),
        (header(&json!({"v": 1, "type": "nonsense"})), Code::UnknownType),
        (header(&json!({"v": 1, "type": "lease"})), Code::UnknownType),
        (header(&json!({"v": 99, "type": "ask"})), Code::UnsupportedVersion),
        (
            header(&json!({"v": 1, "type": "ask", "must": ["fly"]})),
            Code::UnknownRequiredField,
        ),
        (
            header(&json!({"v": 1, "type": "ask", "id": "one", "question": "status"})),
            Code::Malformed,
        ),
        (
            header(&json!({"v": 1, "type": "ask", "id": 1, "question": "everything"})),
            Code::Malformed,
        ),
    ];
    for (header, code) in cases {
        let refusal = raw.refusal(header, &[]);
        assert!(
            refusal.code == *code && !refusal.message.is_empty(),
            "{header:?}: {refusal:?}"
        );
        raw.still_served();
    }
    // The same, cut off at every byte.
    let whole = header(&json!({"v": 1, "type": "ask", "id": 5, "question": "status"}));
    for length in 0..whole.len() {
        expect(&raw.refusal(&whole[..length], &[]), Code::Malformed, "");
    }
    raw.still_served();
    drop(raw);
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn what_is_too_large_or_too_deep_is_refused_by_name() {
    let pilot = Pilot::start("");
    let mut raw = Raw::client(&pilot);
    let long = header(&json!({"mode": "scalems.noop", "name": "x".repeat(limits::HEADER_BYTES)}));
    expect(&raw.refusal(&long, &[]), Code::TooLarge, "");
    let name = header(&json!({"mode": "scalems.noop", "name": "x".repeat(limits::NAME_BYTES + 1)}));
    expect(&raw.refusal(&name, &[]), Code::TooLarge, "");
    let mut deep = json!(1);
    for _ in 0..=limits::DEPTH {
        deep = json!([deep]);
    }
    expect(
        &raw.refusal(&header(&json!({"mode": "scalems.noop", "meta": deep})), &[]),
        Code::TooLarge,
        "",
    );
    let many = json!({"mode": "scalems.noop", "meta": vec![1; limits::ELEMENTS]});
    expect(&raw.refusal(&header(&many), &[]), Code::TooLarge, "");
    let ask = |reason: &str, step: u32| {
        let select = json!({"picks": [{"first": 1, "last": 9, "step": step}]});
        header(
            &json!({"v": 1, "type": "cancel", "request": 1, "select": select, "strength": "request", "reason": reason}),
        )
    };
    let reason = "x".repeat(limits::STRING_BYTES + 1);
    expect(
        &Raw::client(&pilot).refusal(&ask(&reason, 1), &[]),
        Code::TooLarge,
        "4096 bytes",
    );
    expect(
        &Raw::client(&pilot).refusal(&ask("", 0), &[]),
        Code::WrongSelector,
        "1-9:0",
    );
    // A list that says that it has 4,294,967,295 entries, and has none.
    let lies = b"\x82\xa4mode\xa1x\xa4meta\xdd\xff\xff\xff\xff";
    let code = raw.refusal(lies, &[]).code;
    assert!(matches!(code, Code::TooLarge | Code::Malformed), "{code}");
    // Data that fits the wire, and not the protocol.
    let blob = Bytes::from(vec![0; limits::BLOB_BYTES + 1]);
    let submit = header(&json!({"v": 1, "type": "submit", "request": 1}));
    expect(&Raw::client(&pilot).refusal(&submit, &[blob]), Code::TooLarge, "");
    raw.still_served();
    drop(raw);
    undisturbed(&pilot);
    pilot.stop();
}

/// A frame that nobody has memory for is refused by its announced size, at the socket itself.
#[test]
fn a_frame_without_end_ends_its_own_connection() {
    use std::io::{Read as _, Write as _};
    let pilot = Pilot::start("");
    let mut other = Raw::client(&pilot);
    let endpoint = crate::wire::file(&pilot, Role::Client)
        .requests
        .ipc
        .unwrap()
        .to_string();
    let mut stream = std::os::unix::net::UnixStream::connect(endpoint.trim_start_matches("ipc://")).unwrap();
    stream
        .set_read_timeout(Some(scalems_tests::pilot::PATIENCE))
        .unwrap();
    // ZMTP 3: the greeting with the NULL mechanism, the READY command, and a frame of 1 TiB.
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    bytes.extend_from_slice(b"NULL");
    bytes.resize(64, 0);
    let ready = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER";
    bytes.extend([0x04, ready.len() as u8]);
    bytes.extend_from_slice(ready);
    stream.write_all(&bytes).unwrap();
    let mut heard = Vec::new();
    while !heard.windows(5).any(|word| word == b"READY") {
        let mut some = [0; 512];
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "the agent ended the handshake: {heard:?}");
        heard.extend_from_slice(&some[..count]);
    }
    let mut frame = vec![0x02];
    frame.extend((1_u64 << 40).to_be_bytes());
    stream.write_all(&frame).unwrap();
    // A reset is an end as well; a time-out is not.
    if let Err(error) = stream.read_to_end(&mut heard) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    other.still_served();
    drop(other);
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn before_hello_nothing_is_done() {
    let pilot = Pilot::start("");
    let mut raw = Raw::open(&pilot, Role::Client);
    for message in [
        json!({"mode": "scalems.noop"}),
        json!({"v": 1, "type": "ask", "id": 1, "question": "status"}),
        json!({"v": 1, "type": "cancel", "request": 1, "select": {"all": true}, "strength": "kill"}),
        json!({"v": 1, "type": "stop", "id": 1}),
    ] {
        expect(&raw.refusal(&header(&message), &[]), Code::HelloFirst, "hello");
    }
    drop(raw);
    undisturbed(&pilot);
    pilot.stop();
}

/// Everything that the decoders are tested with, to both sockets, before and after a hello.
#[test]
fn the_whole_corpus() {
    let pilot = Pilot::start("");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let mut headers = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "hex") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let digits: String = text.lines().map(|line| line.split('#').next().unwrap()).collect();
            let digits: Vec<_> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
            let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
            headers.push(digits.chunks(2).map(byte).collect::<Vec<u8>>());
        }
    }
    assert!(headers.len() > 40, "the corpus is in {directory}");
    let mut strangers = [Raw::open(&pilot, Role::Client), Raw::open(&pilot, Role::Worker)];
    let mut client = Raw::client(&pilot);
    for header in &headers {
        for stranger in &mut strangers {
            stranger.send(header, &[Bytes::from_static(b"data")]);
        }
        client.send(header, &[]);
    }
    // The agent takes them in order: by the time it answers this it has had all of the client's.
    client.still_served();
    drop((strangers, client));
    undisturbed(&pilot);
    pilot.stop();
}
