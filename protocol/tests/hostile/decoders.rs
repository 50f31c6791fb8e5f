//! Every decoder of the protocol, fed the same bytes and watched.

use bytes::Bytes;
use scalems_protocol::client::{AgentToClient, ClientToAgent, NamedClientToAgent};
use scalems_protocol::event::{AgentToSubscriber, Topic};
use scalems_protocol::group::Place;
use scalems_protocol::program::{Program, ProgramResult};
use scalems_protocol::scan::{scan, scan_value};
use scalems_protocol::select::Selector;
use scalems_protocol::worker::{AgentToWorker, Lease, Report, WorkerToAgent};
use scalems_protocol::{PilotId, Role, TaskState, limits};

use crate::allocation::peak_of;

/// Memory that decoding `length` bytes may take: some times the bytes, and what serde takes ahead for a list.
pub(crate) const fn allowed(length: usize) -> usize {
    4 * length + (1 << 20)
}

/// Runs `decode`, and fails if it takes more memory than `bytes` may cost.
#[track_caller]
fn watch<T>(what: &str, bytes: &[u8], decode: impl FnOnce() -> T) {
    let peak = peak_of(decode);
    let allowed = allowed(bytes.len());
    assert!(
        peak <= allowed,
        "{what}: {peak} bytes for a message of {}, allowed are {allowed}",
        bytes.len()
    );
}

/// Gives a header to every decoder. Whatever they say, they say it and take little.
#[track_caller]
pub(crate) fn decode_all(header: &[u8]) {
    watch("scan", header, || {
        scan(header).map(|scanned| scanned.keys().count())
    });
    watch("a client's message", header, || after_client(header));
    watch("a message to a client", header, || AgentToClient::decode(header));
    watch("a worker's message", header, || after_worker(header));
    watch("a message to a worker", header, || after_agent(header));
    watch("an event", header, || AgentToSubscriber::decode(header));
    watch("a program", header, || program::<Program>(header));
    watch("a program's value", header, || program::<ProgramResult>(header));
    texts(header);
}

/// What an agent does at once with a client's message: it checks the template and cuts the data out.
fn after_client(header: &[u8]) -> Option<ClientToAgent> {
    let message = ClientToAgent::decode(header).ok()?;
    match &message {
        ClientToAgent::Envelope(envelope) => {
            let data = envelope.data.clone().map_or(&header[..0], |place| &header[place]);
            assert!(data.len() < header.len(), "the data lie in the header");
            drop(envelope.task.check());
        }
        ClientToAgent::Named(NamedClientToAgent::Submit(submit)) => drop(submit.task.check()),
        ClientToAgent::Named(NamedClientToAgent::Cancel(cancel)) => {
            for pick in &cancel.select.picks {
                assert!(!pick.has(pick.last.saturating_add(1)) || pick.last == u64::MAX);
            }
        }
        ClientToAgent::Named(_) => {}
    }
    if let ClientToAgent::Named(named) = &message {
        written_again(header, || ClientToAgent::decode(&named.encode()).is_ok());
    }
    Some(message)
}

/// What was read can be written again. A long message may have been shorter as it came, with structs as lists,
/// and go over a limit as we write it.
#[track_caller]
fn written_again(header: &[u8], again: impl FnOnce() -> bool) {
    assert!(
        header.len() > 2_048 || again(),
        "a header is read that cannot be written again: {header:02x?}"
    );
}

fn blobs() -> [Bytes; 3] {
    [
        Bytes::from_static(b"abbccc"),
        Bytes::new(),
        Bytes::from_static(&[0; 4_096]),
    ]
}

/// Takes the data of a run as its holder does, and looks at each task's.
fn take(place: &Place, count: u32) {
    let Ok(data) = place.clone().take(count, &blobs()) else {
        return;
    };
    if data.ends.is_empty() {
        drop(data.of(0));
        return;
    }
    let tasks = data.ends.len();
    let whole: usize = (0..tasks).map(|at| data.of(at).len()).sum();
    assert_eq!(whole, data.bytes.len(), "the tasks' data are the run's");
    let half = tasks / 2;
    assert_eq!(data.part(0, tasks), data);
    if half > 0 {
        let cut = data.part(0, half).bytes.len() + data.part(half, tasks).bytes.len();
        assert_eq!(cut, whole, "two parts are the whole");
    }
}

fn after_worker(header: &[u8]) -> Option<WorkerToAgent> {
    let message = WorkerToAgent::decode(header).ok()?;
    if let WorkerToAgent::Report(Report { results, .. }) = &message {
        for group in results.iter().filter(|group| group.run.check().is_ok()) {
            take(&group.place, group.run.count());
        }
    }
    written_again(header, || WorkerToAgent::decode(&message.encode()).is_ok());
    Some(message)
}

fn after_agent(header: &[u8]) -> Option<AgentToWorker> {
    let message = AgentToWorker::decode(header).ok()?;
    if let AgentToWorker::Lease(Lease { groups, .. }) = &message {
        for group in groups.iter().filter(|group| group.run.check().is_ok()) {
            take(&group.place, group.run.count());
        }
    }
    Some(message)
}

/// A mode's data is scanned before it is decoded, as a header is.
fn program<T: serde::de::DeserializeOwned>(data: &[u8]) -> Option<T> {
    if data.len() > limits::HEADER_BYTES || scan_value(data).is_err() {
        return None;
    }
    rmp_serde::from_slice(data).ok()
}

/// Gives the bytes to what reads texts.
#[track_caller]
pub(crate) fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    watch("a selector", bytes, || text.parse::<Selector>());
    watch("a pilot id", bytes, || text.parse::<PilotId>());
    watch("a topic", bytes, || Topic::from_name(text));
    watch("a role", bytes, || Role::from_name(text));
    watch("a state", bytes, || TaskState::from_name(text));
}
