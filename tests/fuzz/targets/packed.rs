//! Packed logs: whatever lies in a file, nothing panics, and what is taken for a record has the sums of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scalems_protocol::packed::{Look, look, next_mark, write};

fuzz_target!(|input: (u16, &[u8])| {
    let (position, bytes) = (u64::from(input.0), input.1);
    match look(position, bytes) {
        Look::Found(found) => {
            let body = bytes.get(found.body_at..found.bytes());
            if let (Some(record), Some(body)) =
                (found.record.as_ref(), body.filter(|body| found.is_body(body)))
            {
                let mut said = Vec::new();
                write(position, record, body, &mut said);
                let Look::Found(again) = look(position, &said) else {
                    panic!("{record:?} cannot be said again");
                };
                assert_eq!(again.record.as_ref(), Some(record));
            }
        }
        Look::More(more) => assert!(more > bytes.len()),
        Look::Nothing => {}
    }
    assert!(next_mark(bytes) <= bytes.len());
});
