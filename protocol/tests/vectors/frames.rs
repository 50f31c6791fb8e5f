//! A message as frames: a lone small blob goes inside its header.

use bytes::Bytes;
use scalems_protocol::group::Place;
use scalems_protocol::limits::EMBEDDED_BYTES;
use scalems_protocol::worker::{Report, WorkerToAgent};
use serde_json::{Value, json};

use crate::file;
use crate::json::hex;
use crate::samples::{done, place, run};

fn report(place: Place) -> WorkerToAgent {
    Report {
        number: 2,
        results: vec![done(run(5, 0, 1, 1), place)],
        ..Report::default()
    }
    .into()
}

#[test]
fn frames() {
    let blobs = |lengths: &[usize]| lengths.iter().map(|n| Bytes::from(vec![b'x'; *n])).collect();
    let cases: [(&str, Place, Vec<Bytes>); 6] = [
        ("no blob", Place::default(), blobs(&[])),
        ("a small blob alone", place(0, 1, 5, &[]), blobs(&[6])),
        ("a blob without a byte", Place::default(), blobs(&[0])),
        (
            "the largest that goes inside",
            place(0, 0, 1_024, &[]),
            blobs(&[EMBEDDED_BYTES]),
        ),
        (
            "one byte more",
            place(0, 0, 1_025, &[]),
            blobs(&[EMBEDDED_BYTES + 1]),
        ),
        ("two blobs", place(1, 0, 2, &[]), blobs(&[0, 2])),
    ];
    let made: Vec<Value> = cases
        .iter()
        .map(|(name, place, blobs)| {
            let message = report(place.clone());
            let (header, rest) = message.encode_frames(blobs);
            assert_eq!(
                WorkerToAgent::decode_frames(&header, rest.to_vec()),
                Ok((message.clone(), blobs.clone())),
                "{name}"
            );
            // Who puts it into a frame all the same is understood too.
            assert_eq!(
                WorkerToAgent::decode_frames(&message.encode(), blobs.clone()),
                Ok((message, blobs.clone())),
                "{name}"
            );
            json!({
                "name": name,
                "direction": "worker_to_agent",
                "header": hex(&header),
                "frames": rest.iter().map(|frame| hex(frame)).collect::<Vec<_>>(),
                "blobs": blobs.iter().map(|blob| hex(blob)).collect::<Vec<_>>(),
            })
        })
        .collect();
    let about =
        "Messages as they are sent: the header, the frames after it, and the blobs that the receiver finds.";
    file::check("frames", about, &made);
}

#[test]
fn a_blob_is_in_the_header_or_in_frames() {
    let message = report(place(0, 0, 2, &[]));
    let blob = Bytes::from_static(b"ab");
    let (header, rest) = message.encode_frames(std::slice::from_ref(&blob));
    assert!(rest.is_empty());
    let both = WorkerToAgent::decode_frames(&header, vec![blob]).expect_err("one too many");
    assert_eq!(both.code(), scalems_protocol::Code::Malformed);
}
