//! Arbitrary bytes, and headers that are almost right.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use crate::corpus;
use crate::decoders::{decode_all, texts};

/// Every header of the test vectors and of the corpus.
static VALID: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let files = fs::read_dir(folder).expect("tests/vectors is there");
    let mut paths: Vec<_> = files.map(|entry| entry.expect("a folder lists").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut headers: Vec<Vec<u8>> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a vector file reads");
        let file: serde_json::Value = serde_json::from_str(&text).expect("a vector file is JSON");
        for vector in file["vectors"].as_array().expect("a vector file has vectors") {
            let bytes = vector["header"].as_str().or_else(|| vector["bytes"].as_str());
            headers.extend(bytes.map(corpus::parse));
        }
    }
    headers.extend(corpus::all().into_iter().map(|(_, header)| header));
    headers.retain(|header| header.len() < 16 << 10);
    assert!(headers.len() > 100, "the vectors have {} headers", headers.len());
    headers
});

/// One change to a header; places are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    /// Takes a part of another header in.
    Splice(usize, usize, usize, usize),
    Extend(Vec<u8>),
    /// Puts a list, map or string marker with a claim there.
    Claim(usize, u8, u32),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0..4_096_usize;
    let bytes = proptest::collection::vec(any::<u8>(), 0..32);
    let marker = prop::sample::select(vec![0xc6_u8, 0xdb, 0xdd, 0xdf]);
    prop_oneof![
        4 => (place.clone(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => place.clone().prop_map(Change::Cut),
        2 => (place.clone(), 1..16_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => (place.clone(), bytes.clone()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (place.clone(), place.clone(), place.clone(), 1..64_usize)
            .prop_map(|(at, other, from, count)| Change::Splice(at, other, from, count)),
        1 => bytes.prop_map(Change::Extend),
        1 => (place, marker, any::<u32>()).prop_map(|(at, marker, count)| Change::Claim(at, marker, count)),
    ]
}

fn apply(header: &mut Vec<u8>, change: Change) {
    let length = header.len();
    let within = |at: usize| at % length.max(1);
    match change {
        Change::Extend(bytes) => header.extend(bytes),
        Change::Insert(at, bytes) => drop(header.splice(within(at)..within(at), bytes)),
        _ if length == 0 => {}
        Change::Flip(at, bit) => header[within(at)] ^= 1 << bit,
        Change::Set(at, byte) => header[within(at)] = byte,
        Change::Cut(at) => header.truncate(within(at)),
        Change::Remove(at, count) => drop(header.drain(within(at)..length.min(within(at) + count))),
        Change::Splice(at, other, from, count) => {
            let other = &VALID[other % VALID.len()];
            let from = from % other.len().max(1);
            let part = other[from..other.len().min(from + count)].to_vec();
            header.splice(within(at)..within(at), part);
        }
        Change::Claim(at, marker, count) => {
            let claim = [&[marker][..], &count.to_be_bytes()].concat();
            header.splice(within(at)..=within(at), claim);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_048)) {
        decode_all(&bytes);
    }

    #[test]
    fn arbitrary_texts(text in ".{0,64}") {
        texts(text.as_bytes());
    }

    #[test]
    fn almost_selectors(text in "[0-9.:,* +-]{0,24}|(all|last|name:|label:|state:|[0-9]+)([-.:=,][0-9a-z]{0,6}){0,4}") {
        texts(text.as_bytes());
    }

    #[test]
    fn headers_that_are_almost_right(
        start in any::<prop::sample::Index>(),
        changes in proptest::collection::vec(change(), 1..6),
    ) {
        let mut header = VALID[start.index(VALID.len())].clone();
        for change in changes {
            apply(&mut header, change);
        }
        decode_all(&header);
    }
}

#[test]
fn every_valid_header_cut_and_flipped_everywhere() {
    for header in VALID.iter().filter(|header| header.len() <= 256) {
        let mut changed = header.clone();
        for at in 0..header.len() {
            decode_all(&header[..at]);
            for bit in 0..8 {
                changed[at] ^= 1 << bit;
                decode_all(&changed);
                changed[at] ^= 1 << bit;
            }
        }
    }
}
