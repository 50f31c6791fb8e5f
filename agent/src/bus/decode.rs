//! Frames to messages, at the edge: what does not fit the specification is answered with its code.

use bytes::Bytes;
use scalems_protocol::client::{ClientToAgent, Refused};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::worker::{Beat, WorkerRefused, WorkerToAgent};
use scalems_protocol::{WireError, scan};
use scalems_transport::Message;

/// A client's message; an envelope's data becomes its only blob.
pub(super) fn client(message: Message) -> Result<(ClientToAgent, Vec<Bytes>), Refused> {
    match ClientToAgent::decode_frames(&message.header, message.blobs) {
        Ok((ClientToAgent::Envelope(envelope), blobs)) => {
            if !blobs.is_empty() {
                let refusal = Refusal::new(
                    Code::Malformed,
                    "an envelope carries its data in itself, not in frames",
                );
                return Err(Refused {
                    request: None,
                    id: None,
                    refusal,
                });
            }
            let blobs = envelope
                .data
                .clone()
                .map(|place| message.header.slice(place))
                .into_iter()
                .collect();
            Ok((ClientToAgent::Envelope(envelope), blobs))
        }
        Ok(decoded) => Ok(decoded),
        Err(error) => Err(refused(&message.header, error)),
    }
}

/// A refusal that names the request or read it is about, if the header lets that be read at all.
fn refused(header: &[u8], error: WireError) -> Refused {
    let scanned = scan::scan(header).ok();
    let number = |key| scanned.as_ref().and_then(|scanned| scanned.number(key));
    Refused {
        request: number("request"),
        id: number("id"),
        refusal: error.into(),
    }
}

/// A worker's message.
pub(super) fn worker(message: Message) -> Result<(WorkerToAgent, Vec<Bytes>), WorkerRefused> {
    WorkerToAgent::decode_frames(&message.header, message.blobs).map_err(|error| WorkerRefused {
        refusal: error.into(),
    })
}

/// A published beat, if it is one.
pub(super) fn beat(message: &Message) -> Option<Beat> {
    match WorkerToAgent::decode(&message.header) {
        Ok(WorkerToAgent::Beat(beat)) if message.blobs.is_empty() => Some(beat),
        _ => None,
    }
}
