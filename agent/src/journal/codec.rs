//! Records as bytes: each one msgpack array, whose first element says which it is.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use scalems_core::record::{Again, Appended, Ended, Record, Submitted};
use scalems_core::task::Indices;
use scalems_protocol::client::SessionKind;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, Strength};
use scalems_protocol::task::Template;
use scalems_protocol::{Role, TaskError};
use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use super::values::Spot;

const NUMBERS: u8 = 1;
const SESSION: u8 = 2;
const SEAT: u8 = 3;
const SEAT_GONE: u8 = 4;
const SESSION_GONE: u8 = 5;
const SUBMITTED: u8 = 6;
const ENDED: u8 = 7;
const FAULT: u8 = 8;
const CANCEL_ASKED: u8 = 9;
const COLLECTED: u8 = 10;
const FORGOTTEN: u8 = 11;
const WORKER: u8 = 12;
const WORKER_GONE: u8 = 13;
const APPENDED: u8 = 14;
const CLOSED: u8 = 15;
const WASTED: u8 = 16;

/// A run as it is stored: submission, first offset, one past the last, attempt.
type Place = (u64, u32, u32, u32);

/// Adds `record` to `bytes`; its value, if it is a large one, lies at `spot`.
pub(super) fn encode(record: &Record, spot: Option<Spot>, bytes: &mut Vec<u8>) {
    let mut serializer = rmp_serde::Serializer::new(bytes);
    Written(record, spot)
        .serialize(&mut serializer)
        .expect("records serialize into memory");
}

/// Reads the records that `bytes` consist of, and where the values are that are not in them.
pub(super) fn decode(
    bytes: &[u8],
    mut each: impl FnMut(Record, Option<Spot>),
) -> Result<u64, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let mut count = 0;
    while deserializer.get_ref().position() < bytes.len() as u64 {
        let Read(record, spot) = Read::deserialize(&mut deserializer)?;
        each(record, spot);
        count += 1;
    }
    Ok(count)
}

/// What has a form of its own on the wire keeps it, as bytes inside.
fn named(value: &impl Serialize) -> ByteBuf {
    let bytes = rmp_serde::to_vec_named(value);
    ByteBuf::from(bytes.expect("what came in a message goes into memory"))
}

fn read_named<T: DeserializeOwned, E: serde::de::Error>(bytes: &[u8]) -> Result<T, E> {
    rmp_serde::from_slice(bytes).map_err(E::custom)
}

fn place(run: Run) -> Place {
    (run.submission, run.lo, run.hi, run.attempt)
}

fn run((submission, lo, hi, attempt): Place) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt,
    }
}

struct Written<'a>(&'a Record, Option<Spot>);

/// A value, or where it lies.
struct Value<'a>(&'a [u8], Option<Spot>);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.1 {
            Some(spot) => spot.serialize(serializer),
            None => Bytes::new(self.0).serialize(serializer),
        }
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// An array of the kind and these fields.
        macro_rules! array {
            ($($field:expr),+ $(,)?) => {{
                let mut array = serializer.serialize_tuple([$(stringify!($field)),+].len())?;
                $(array.serialize_element(&$field)?;)+
                array.end()
            }};
        }
        match self.0 {
            Record::Numbers { submissions } => array!(NUMBERS, submissions),
            Record::Session { session, name, kind } => array!(SESSION, session, name, kind),
            Record::Seat {
                seat,
                session,
                role,
                holder,
                cancel_after,
            } => array!(SEAT, seat, session, role, holder, cancel_after),
            Record::SeatGone { seat } => array!(SEAT_GONE, seat),
            Record::SessionGone { session } => array!(SESSION_GONE, session),
            Record::Submitted(submitted) => array!(
                SUBMITTED,
                submitted.submission,
                (submitted.origin.session, submitted.origin.request),
                named(&*submitted.template),
                submitted.count,
                (submitted.indices.first(), submitted.indices.step()),
                Value(&submitted.data.bytes, self.1),
                submitted.data.ends,
                submitted.push,
                submitted.at,
                submitted.open,
                submitted.indices.jumps(),
                submitted
                    .again
                    .as_ref()
                    .map(|again| (again.submission, &again.offsets)),
            ),
            Record::Appended(appended) => array!(
                APPENDED,
                appended.submission,
                (appended.origin.session, appended.origin.request),
                appended.first,
                appended.count,
                Value(&appended.data.bytes, self.1),
                appended.data.ends,
            ),
            Record::Closed { submission, at } => array!(CLOSED, submission, at),
            Record::Ended(ended) => array!(
                ENDED,
                place(ended.run),
                ended.ending,
                Value(&ended.data.bytes, self.1),
                ended.data.ends,
                ended.exit_code,
                ended.ran_us,
                ended.error.as_ref().map(named),
                ended.worker,
                ended.at,
                ended.variant,
            ),
            Record::Fault {
                run,
                crash,
                ran_us,
                variant,
            } => array!(FAULT, place(*run), crash, ran_us, variant),
            Record::Wasted {
                submission,
                ran_us,
                variant,
            } => array!(WASTED, submission, ran_us, variant),
            Record::CancelAsked {
                submission,
                lo,
                hi,
                strength,
            } => array!(CANCEL_ASKED, submission, lo, hi, strength),
            Record::Collected { runs } => {
                array!(COLLECTED, runs.iter().copied().map(place).collect::<Vec<Place>>())
            }
            Record::Forgotten { submission } => array!(FORGOTTEN, submission),
            Record::Worker {
                worker,
                name,
                host,
                pid,
                process,
            } => array!(WORKER, worker, name, host, pid, process),
            Record::WorkerGone { worker } => array!(WORKER_GONE, worker),
        }
    }
}

struct Read(Record, Option<Spot>);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Read;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a record")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Read, A::Error> {
                let kind: u8 = next(&mut fields)?;
                let mut spot = None;
                let record = record(kind, &mut fields, &mut spot)?;
                Ok(Read(record, spot))
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields
        .next_element()?
        .ok_or_else(|| A::Error::custom("a record has fewer fields than its kind"))
}

fn record<'de, A: SeqAccess<'de>>(
    kind: u8,
    fields: &mut A,
    spot: &mut Option<Spot>,
) -> Result<Record, A::Error> {
    Ok(match kind {
        NUMBERS => Record::Numbers {
            submissions: next(fields)?,
        },
        SESSION => Record::Session {
            session: next(fields)?,
            name: next(fields)?,
            kind: next::<SessionKind, A>(fields)?,
        },
        SEAT => Record::Seat {
            seat: next(fields)?,
            session: next(fields)?,
            role: next::<Role, A>(fields)?,
            holder: next(fields)?,
            cancel_after: next(fields)?,
        },
        SEAT_GONE => Record::SeatGone { seat: next(fields)? },
        SESSION_GONE => Record::SessionGone {
            session: next(fields)?,
        },
        SUBMITTED => Record::Submitted({
            let mut submitted = Submitted {
                submission: next(fields)?,
                origin: {
                    let (session, request) = next(fields)?;
                    Origin { session, request }
                },
                template: Arc::new(read_named::<Template, A::Error>(&next::<ByteBuf, A>(fields)?)?),
                count: next(fields)?,
                indices: {
                    let (first, step) = next(fields)?;
                    Indices::even(first, step)
                },
                data: data(fields, spot)?,
                push: next(fields)?,
                at: next(fields)?,
                // The first two schemas have none.
                open: fields.next_element()?.unwrap_or_default(),
                again: None,
            };
            // The first three have no more.
            if let Some(jumps) = fields.next_element()? {
                let (first, step) = (submitted.indices.first(), submitted.indices.step());
                submitted.indices = Indices::with_jumps(first, step, jumps)
                    .ok_or_else(|| A::Error::custom("indices that do not rise"))?;
                let again: Option<(u64, Vec<(u32, u32)>)> = next(fields)?;
                submitted.again = again.map(|(submission, offsets)| Again { submission, offsets });
            }
            submitted
        }),
        APPENDED => Record::Appended(Appended {
            submission: next(fields)?,
            origin: {
                let (session, request) = next(fields)?;
                Origin { session, request }
            },
            first: next(fields)?,
            count: next(fields)?,
            data: data(fields, spot)?,
        }),
        CLOSED => Record::Closed {
            submission: next(fields)?,
            at: next(fields)?,
        },
        ENDED => Record::Ended(Ended {
            run: run(next(fields)?),
            ending: next::<Ending, A>(fields)?,
            data: data(fields, spot)?,
            exit_code: next(fields)?,
            ran_us: next(fields)?,
            error: {
                let error: Option<ByteBuf> = next(fields)?;
                error
                    .map(|error| read_named::<TaskError, A::Error>(&error))
                    .transpose()?
            },
            worker: next(fields)?,
            at: next(fields)?,
            // The first four schemas have none.
            variant: fields.next_element()?.unwrap_or_default(),
        }),
        FAULT => Record::Fault {
            run: run(next(fields)?),
            crash: next(fields)?,
            // The first four schemas have neither.
            ran_us: fields.next_element()?.unwrap_or_default(),
            variant: fields.next_element()?.unwrap_or_default(),
        },
        WASTED => Record::Wasted {
            submission: next(fields)?,
            ran_us: next(fields)?,
            variant: next(fields)?,
        },
        CANCEL_ASKED => Record::CancelAsked {
            submission: next(fields)?,
            lo: next(fields)?,
            hi: next(fields)?,
            strength: next::<Strength, A>(fields)?,
        },
        COLLECTED => Record::Collected {
            runs: next::<Vec<Place>, A>(fields)?.into_iter().map(run).collect(),
        },
        FORGOTTEN => Record::Forgotten {
            submission: next(fields)?,
        },
        WORKER => Record::Worker {
            worker: next(fields)?,
            name: next(fields)?,
            host: next(fields)?,
            pid: next(fields)?,
            // The first schema has none.
            process: fields.next_element()?.unwrap_or_default(),
        },
        WORKER_GONE => Record::WorkerGone {
            worker: next(fields)?,
        },
        kind => return Err(A::Error::custom(format_args!("{kind} is no kind of record"))),
    })
}

fn data<'de, A: SeqAccess<'de>>(fields: &mut A, spot: &mut Option<Spot>) -> Result<Data, A::Error> {
    let bytes = match next(fields)? {
        Found::Here(bytes) => bytes.into_vec(),
        Found::Beside(place) => {
            *spot = Some(place);
            Vec::new()
        }
    };
    let ends: Vec<u32> = next(fields)?;
    Ok(Data {
        bytes: bytes.into(),
        ends,
    })
}

/// A value as it is read.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    // First: bytes may also be read from a list of small numbers.
    Beside(Spot),
    Here(ByteBuf),
}
