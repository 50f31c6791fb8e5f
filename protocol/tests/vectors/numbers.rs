//! What is computed: state hashes, tokens, the places of data, and texts that people write.

use bytes::Bytes;
use scalems_protocol::event::Topic;
use scalems_protocol::group::Place;
use scalems_protocol::hash::{lease_sum, lease_term};
use scalems_protocol::select::Selector;
use scalems_protocol::{Role, TaskState};
use serde_json::{Value, json};

use crate::file;
use crate::json::{hex, of_msgpack};
use crate::samples::{SECRET, place, token};

#[test]
fn hashes() {
    let cases = [
        (1, 1, 1, TaskState::Leased, 0, 1),
        (1, 1, 1, TaskState::Running, 0, 1),
        (1, 1, 2, TaskState::Leased, 0, 1),
        (1, 2, 1, TaskState::Leased, 0, 1),
        (2, 1, 1, TaskState::Leased, 0, 1),
        (1, 1, 1, TaskState::Leased, 1, 2),
        (1, 5, 1, TaskState::Leased, 7, 7),
        (1, 5, 1, TaskState::Leased, 0, 16_384),
        (3, 5, 2, TaskState::Running, 100, 164),
        (
            u64::MAX,
            u64::MAX,
            u32::MAX,
            TaskState::Running,
            u32::MAX - 3,
            u32::MAX,
        ),
    ];
    let made: Vec<Value> = cases
        .iter()
        .map(|&(incarnation, submission, attempt, state, lo, hi)| {
            let terms = (lo..hi).map(|offset| lease_term(incarnation, submission, attempt, state, offset));
            let sum = lease_sum(incarnation, submission, attempt, state, lo, hi);
            assert_eq!(terms.fold(0, u64::wrapping_add), sum);
            json!({
                "incarnation": incarnation, "submission": submission, "attempt": attempt,
                "state": state.name(), "lo": lo, "hi": hi, "sum": format!("{sum:016x}"),
            })
        })
        .collect();
    let about = "State hashes: the sum over the leases lo..hi, as 16 hexadecimal digits.";
    file::check("hashes", about, &made);
}

#[test]
fn tokens() {
    let cases = [
        (Role::Client, 12),
        (Role::Worker, 12),
        (Role::Worker, 9),
        (Role::Observer, u64::MAX),
    ];
    let made: Vec<Value> = cases
        .iter()
        .map(|&(role, peer)| {
            let bytes: serde_bytes::ByteBuf = token(role, peer).into();
            json!({ "secret": hex(&SECRET), "role": role.name(), "peer": peer, "token": hex(&bytes) })
        })
        .collect();
    file::check("tokens", "Resume tokens, made from a pilot's secret.", &made);
}

#[test]
fn selectors() {
    let texts = [
        "5",
        "5.7",
        "5.0-9",
        "5.0-90:10",
        "1-100",
        "2-10:2",
        "1,3,5-8",
        "1 3",
        "all",
        "last",
        "name:dock*",
        "label:project=a",
        "label:project=a=b",
        "label:project=",
        "state:failed",
        "last state:running",
        "5,state:failed",
        "name:",
        "",
        " ",
        ",",
        "x",
        "5-1",
        "1:2",
        "5-9:0",
        "-1",
        "5.",
        ".5",
        "5.7:2",
        "+5",
        "+5.7",
        "5.-7",
        "0x5",
        "state:odd",
        "label:project",
        "ALL",
        "99999999999999999999",
        "5.4294967296",
        "5-6.7",
    ];
    let made: Vec<Value> = texts
        .iter()
        .map(|text| match text.parse::<Selector>() {
            Ok(selector) => {
                let encoded = rmp_serde::to_vec_named(&selector).expect("a selector is written");
                json!({ "text": text, "select": of_msgpack(&encoded) })
            }
            Err(refusal) => json!({ "text": text, "error": refusal.code.text() }),
        })
        .collect();
    let about = "Selectors as people write them, and as they go into a message.";
    file::check("selectors", about, &made);
}

#[test]
fn topics() {
    let names = [
        "summary",
        "workers",
        "alarms",
        "submissions",
        "faults",
        "health",
        "submission/0",
        "submission/5",
        "submission/18446744073709551615",
        "",
        "sum",
        "summary/",
        "submission",
        "submission/",
        "submission/05",
        "submission/+5",
        "submission/x",
        "submission/5/6",
        "submission/18446744073709551616",
        "Summary",
    ];
    let made: Vec<Value> = names
        .iter()
        .map(|name| json!({ "topic": name, "exists": Topic::from_name(name).is_some() }))
        .collect();
    file::check("topics", "Names of topics: the list is closed.", &made);
}

#[test]
fn places() {
    let blobs: [&[u8]; 2] = [b"abbccc", b"large"];
    let blobs = blobs.map(Bytes::from_static);
    let cases = [
        ("no data", Place::default(), 3),
        ("one frame cut up", place(0, 0, 6, &[1, 3, 6]), 3),
        ("a part of a frame cut up", place(0, 1, 5, &[2, 5]), 2),
        ("empty items", place(0, 1, 2, &[0, 2, 2]), 3),
        ("the whole is every task's", place(1, 0, 5, &[]), 1_000),
        ("nothing, but there", place(0, 6, 0, &[]), 2),
        ("nothing cut up", place(0, 0, 0, &[0, 0]), 2),
        ("no such frame", place(2, 0, 1, &[]), 1),
        ("past the end", place(1, 1, 5, &[]), 1),
        ("far past the end", place(1, u32::MAX, u32::MAX, &[]), 1),
        ("too few ends", place(0, 0, 6, &[3, 6]), 3),
        ("ends that fall", place(0, 0, 6, &[3, 1, 6]), 3),
        ("ends short of the length", place(0, 0, 6, &[1, 3, 5]), 3),
        ("ends past the length", place(0, 0, 5, &[1, 3, 6]), 3),
        (
            "ends without a frame",
            Place {
                ends: vec![0],
                ..Place::default()
            },
            1,
        ),
        (
            "a length without a frame",
            Place {
                length: 1,
                ..Place::default()
            },
            1,
        ),
    ];
    let made: Vec<Value> = cases
        .into_iter()
        .map(|(name, place, count)| {
            let encoded = rmp_serde::to_vec_named(&place).expect("a place is written");
            let mut vector = json!({
                "name": name,
                "place": of_msgpack(&encoded),
                "count": count,
                "blobs": blobs.iter().map(|blob| hex(blob)).collect::<Vec<_>>(),
            });
            match place.take(count, &blobs) {
                // Three tasks show where the data lies; a thousand would show no more.
                Ok(data) => {
                    let first = (0..count.min(3) as usize).map(|at| hex(&data.of(at)));
                    vector["data"] = first.collect::<Vec<_>>().into();
                }
                Err(error) => vector["error"] = error.code().text().into(),
            }
            vector
        })
        .collect();
    let about = "Where the data of a run of `count` tasks lies in a message's data frames: `data` is that of the \
                 first tasks, at most three.";
    file::check("places", about, &made);
}
