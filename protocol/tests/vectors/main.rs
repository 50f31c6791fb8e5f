//! The test vectors in `tests/vectors/` say what the types say: bytes, content as JSON, hashes, tokens.
//!
//! `tests/peer/vectors.py` reads the same files without any code of ours. With `SCALEMS_WRITE_VECTORS=1` in
//! the environment the tests write the files; without it, a difference fails them.

mod accepted;
mod answers;
mod client;
mod event;
mod file;
mod frames;
mod json;
mod modes;
mod numbers;
mod packed;
mod refused;
mod samples;
mod worker;

use std::fmt::Debug;

use bytes::Bytes;
use scalems_protocol::WireError;
use serde_json::{Value, json};

use json::{hex, unhex};

/// One message as it is built in code.
pub(crate) struct Sample<M> {
    name: &'static str,
    message: M,
    blobs: Vec<Bytes>,
}

pub(crate) fn plain<M>(name: &'static str, message: impl Into<M>) -> Sample<M> {
    Sample {
        name,
        message: message.into(),
        blobs: Vec::new(),
    }
}

pub(crate) fn with_blobs<M>(name: &'static str, message: impl Into<M>, blobs: &[&[u8]]) -> Sample<M> {
    let blobs = blobs.iter().map(|blob| Bytes::copy_from_slice(blob)).collect();
    Sample {
        name,
        message: message.into(),
        blobs,
    }
}

/// Checks the messages of one direction, both ways, against its file.
pub(crate) fn check_direction<M: Debug + PartialEq>(
    direction: &str,
    names: &[&str],
    samples: &[Sample<M>],
    encode: impl Fn(&M) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<M, WireError>,
) {
    let made: Vec<Value> = samples
        .iter()
        .map(|sample| {
            let header = encode(&sample.message);
            let blobs: Vec<String> = sample.blobs.iter().map(|blob| hex(blob)).collect();
            json!({
                "name": sample.name,
                "direction": direction,
                "header": hex(&header),
                "json": json::of_msgpack(&header),
                "blobs": blobs,
            })
        })
        .collect();
    let about = "Messages: the header's bytes, its content, and the data frames that follow it. \
                 Sending the content gives these bytes where keys keep their order.";
    file::check(direction, about, &made);
    for (kept, sample) in file::read(direction).iter().zip(samples) {
        let header = unhex(kept["header"].as_str().expect("a header is text"));
        assert_eq!(
            decode(&header).as_ref(),
            Ok(&sample.message),
            "{direction}: {}",
            sample.name
        );
    }
    for name in names {
        let has = made.iter().any(|vector| vector["json"]["type"] == *name);
        assert!(has, "{direction}: no vector for {name}");
    }
    for (at, sample) in samples.iter().enumerate() {
        let again = samples[..at].iter().any(|before| before.name == sample.name);
        assert!(!again, "{direction}: two vectors are called {}", sample.name);
    }
}
