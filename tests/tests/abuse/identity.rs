//! Peers that are not who they say.

use scalems_client::protocol::client::{ClientHello, Resume};
use scalems_client::protocol::token::Token;
use scalems_client::protocol::{Code, Role};
use scalems_tests::pilot::Pilot;
use scalems_transport::{CurveClient, Endpoint, KeyPair};
use serde_json::json;

use crate::wire::{Raw, expect, file, header, undisturbed};

fn tcp(pilot: &Pilot, role: Role) -> (Endpoint, CurveClient) {
    let file = file(pilot, role);
    (file.requests.tcp.clone().unwrap(), file.curve.unwrap())
}

#[test]
fn only_the_right_key_opens_a_socket() {
    let pilot = Pilot::start("--tcp");
    let (frontend, client) = tcp(&pilot, Role::Client);
    let (backend, worker) = tcp(&pilot, Role::Worker);
    let (_, observer) = tcp(&pilot, Role::Observer);
    assert!(!Raw::is_denied(&frontend, Some(&client)));
    assert!(!Raw::is_denied(&frontend, Some(&observer)));
    assert!(!Raw::is_denied(&backend, Some(&worker)));
    // The server's key is known, but not this one to it.
    let strange = CurveClient {
        server: client.server,
        keys: KeyPair::generate().unwrap(),
    };
    for endpoint in [&frontend, &backend] {
        assert!(Raw::is_denied(endpoint, Some(&strange)), "{endpoint}");
    }
    // A key that is right elsewhere.
    assert!(Raw::is_denied(&backend, Some(&client)));
    assert!(Raw::is_denied(&backend, Some(&observer)));
    assert!(Raw::is_denied(&frontend, Some(&worker)));
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn without_a_key_nothing_is_heard() {
    use std::io::{Read as _, Write as _};
    let pilot = Pilot::start("--tcp");
    let (frontend, _) = tcp(&pilot, Role::Client);
    let address = frontend.to_string().trim_start_matches("tcp://").to_owned();
    // A greeting as ZMTP 3 has it, with the NULL mechanism.
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend_from_slice(b"NULL");
    greeting.resize(64, 0);
    for bytes in [&greeting[..], b"GET / HTTP/1.0\r\n\r\n", &[0; 1000]] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream
            .set_read_timeout(Some(scalems_tests::pilot::PATIENCE))
            .unwrap();
        stream.write_all(bytes).unwrap();
        // Nothing but the agent's own greeting comes, and then the end.
        let mut heard = Vec::new();
        // A reset is an end as well.
        let _ended = stream.read_to_end(&mut heard);
        assert!(heard.len() <= 64 + 64, "{heard:?}");
    }
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn an_observer_only_looks() {
    let pilot = Pilot::start("");
    let mut raw = Raw::open(&pilot, Role::Observer);
    raw.hello(&ClientHello::default()).unwrap();
    for message in [
        json!({"mode": "scalems.noop"}),
        json!({"v": 1, "type": "submit", "request": 1, "task": {"mode": "scalems.noop"}}),
        json!({"v": 1, "type": "cancel", "request": 1, "select": {"all": true}, "strength": "kill"}),
        json!({"v": 1, "type": "forget", "request": 1, "select": {"all": true}}),
        json!({"v": 1, "type": "stop", "id": 1}),
    ] {
        expect(&raw.refusal(&header(&message), &[]), Code::NotAllowed, "");
    }
    raw.still_served();
    drop(raw);
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn nobody_claims_the_session_of_another() {
    let pilot = Pilot::start("");
    let mut mine = Raw::open(&pilot, Role::Client);
    let hello = ClientHello {
        session: "mine".into(),
        ..ClientHello::default()
    };
    let welcome = mine.hello(&hello).unwrap();
    let mut other = Raw::open(&pilot, Role::Client);
    expect(&other.hello(&hello).unwrap_err(), Code::SessionInUse, "");
    let stolen = Resume {
        peer: welcome.resume.peer,
        token: Token::derive(&[0; 32], Role::Client, welcome.resume.peer),
    };
    let claim = ClientHello {
        resume: Some(stolen),
        ..hello.clone()
    };
    expect(&other.hello(&claim).unwrap_err(), Code::WrongToken, "");
    let elsewhere = ClientHello {
        pilot: Some("00112233445566778899aabbccddeeff".parse().unwrap()),
        ..hello
    };
    expect(&other.hello(&elsewhere).unwrap_err(), Code::OtherPilot, "");
    mine.still_served();
    drop((mine, other));
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn nobody_is_a_worker_without_its_token() {
    use scalems_client::protocol::worker::{AgentToWorker, WorkerHello, WorkerResume, WorkerToAgent};
    let pilot = Pilot::start("");
    let status = pilot.session();
    let pilot_id = status.pilot().unwrap().pilot;
    let mut raw = Raw::open(&pilot, Role::Worker);
    let hello = WorkerHello {
        v: 1,
        type_: String::new(),
        must: Vec::new(),
        name: "false".into(),
        host: "elsewhere".into(),
        pid: 1,
        process: String::new(),
        software: "none".into(),
        offer: scalems_client::protocol::worker::Offer::default(),
        modes: Vec::new(),
        resume: Some(WorkerResume {
            pilot: pilot_id,
            worker: 1,
            token: Token::derive(&[0; 32], Role::Worker, 1),
            seen: scalems_client::protocol::JournalMark::default(),
        }),
        held: Vec::new(),
        hello: 1,
        left_ms: None,
        knows: Vec::new(),
        place: None,
    };
    raw.send(&WorkerToAgent::from(hello).encode(), &[]);
    match AgentToWorker::decode(&raw.raw_answer()).unwrap() {
        AgentToWorker::WorkerRefused(refused) => expect(&refused.refusal, Code::WrongToken, ""),
        // Or it is taken for a new one.
        AgentToWorker::WorkerWelcome(welcome) => assert_ne!(welcome.worker, 1),
        other => panic!("{other:?}"),
    }
    drop((raw, status));
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo well").well().text(),
        "well"
    );
    let rows = pilot.sh("scalems --output json worker list").well().json();
    assert!(
        rows.as_array()
            .unwrap()
            .iter()
            .any(|row| row["worker"] == 1 && row["state"] == "active"),
        "{rows}"
    );
    pilot.stop();
}
