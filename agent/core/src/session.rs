//! Sessions: a client's life with the pilot, its numbered requests, and the results on their way to it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use scalems_protocol::client::{Accepted, AgentToClient, ClientToAgent, Durable, Results, SessionKind};
use scalems_protocol::group::{Gather, ResultGroup, Run};
use scalems_protocol::{Role, limits};

use crate::interface::{Micros, Peer};
use crate::record::Ended;
use crate::task::Sizes;
use crate::task::results::is_same;

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its number.
    pub number: u64,
    /// Its name; empty for an unnamed one.
    pub name: String,
    /// Its kind.
    pub kind: SessionKind,
    /// Its attachments; an exclusive one has one, for ever.
    pub attachments: Vec<u64>,
    /// The latest submission.
    pub last: Option<u64>,
    /// The client's own names.
    pub uids: BTreeMap<String, u64>,
}

/// One seat in a session. Its number is the first half of its submissions' origin.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its number.
    pub number: u64,
    /// The session.
    pub session: u64,
    /// What the peer may do.
    pub role: Role,
    /// The number that its holder's token is for.
    pub holder: u64,
    /// The connection, while there is one.
    pub peer: Option<Peer>,
    /// Whether the connection had its welcome: nothing goes before it.
    pub welcomed: bool,
    /// When the connection went.
    pub detached: Option<Micros>,
    /// Cancel its tasks when it was gone for so long, microseconds; 0: keep them.
    pub cancel_after: Micros,
    /// Changing requests.
    pub requests: Requests,
    /// Results on their way.
    pub outbox: Outbox,
    /// Streaming tasks that have not ended, and their bytes.
    pub window: (u64, u64),
    /// Reads that wait.
    pub waits: usize,
    /// Its client says requests up to this one again; none: it has not come since the agent was started again.
    pub repeats: Option<u64>,
    /// It had this seat in an earlier life of the agent, and may bring results of that back.
    pub awaited: bool,
    /// Results that came meanwhile for tasks of that life: it may have seen others.
    pub kept: Vec<Ended>,
}

/// Answers that are restored, at most: whoever waits for older ones has asked for more than it may.
pub(crate) const RESTORED_ANSWERS: usize = limits::OPEN_REQUESTS as usize / 2;

/// The numbering of changing requests.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// The highest number seen.
    pub high: u64,
    low: u64,
    answers: BTreeMap<u64, AgentToClient>,
    /// The seat was restored: numbers of requests that left no record are missing, and not all of them were
    /// answered.
    pub lenient: bool,
    /// The highest number before.
    restored: u64,
    /// The submission that each request brought, while it is known.
    pub submissions: BTreeMap<u64, u64>,
}

/// What a request's number says.
#[derive(Debug)]
pub enum Numbered {
    /// It is the next one.
    New,
    /// It was answered before.
    Again(Box<AgentToClient>),
    /// It was answered and the answer is not kept any more, or numbers were skipped.
    Wrong(String),
    /// Too many answers are kept.
    TooManyOpen,
}

impl Requests {
    /// Takes a number and a low-water mark in.
    pub fn take(&mut self, number: u64, low_water: u64) -> Numbered {
        if low_water > self.low && (low_water <= self.high + 1 || self.lenient) {
            self.low = low_water;
            self.answers = self.answers.split_off(&low_water);
        }
        let missing = number <= self.restored && number >= self.low && !self.answers.contains_key(&number);
        if number == self.high + 1 || (self.lenient && (missing || number > self.high)) {
            if self.answers.len() as u64 >= limits::OPEN_REQUESTS {
                return Numbered::TooManyOpen;
            }
            self.high = self.high.max(number);
            return Numbered::New;
        }
        match self.answers.get(&number) {
            Some(answer) => Numbered::Again(Box::new(answer.clone())),
            None => Numbered::Wrong(format!(
                "request {number} is neither the next one ({}) nor one whose answer is kept",
                self.high + 1
            )),
        }
    }

    /// A request of an earlier life brought this submission.
    pub fn restore(&mut self, number: u64, submission: u64, accepted: Accepted) {
        self.submissions.insert(number, submission);
        self.restore_answer(number, accepted.into());
    }

    /// A request of an earlier life had this answer.
    pub fn restore_answer(&mut self, number: u64, answer: AgentToClient) {
        self.high = self.high.max(number);
        self.restored = self.high;
        self.answers.insert(number, answer);
        // Before the first answer there may be requests that left no record and were not answered.
        if self.answers.len() > RESTORED_ANSWERS
            && let Some((dropped, _)) = self.answers.pop_first()
        {
            self.low = dropped + 1;
        }
    }

    /// Keeps the answer to a request.
    pub fn answer(&mut self, number: u64, answer: AgentToClient) {
        if number >= self.low {
            self.answers.insert(number, answer);
        }
    }
}

/// A result on its way, with its origin's request.
#[derive(Clone, Debug)]
struct Pending {
    group: ResultGroup,
    data: scalems_protocol::group::Data,
    weight: u64,
    /// Whether its value was spilled.
    spilled: bool,
}

/// What a result on its way takes in memory beside its value: without it results that have none would be
/// kept without bound for a client that never acknowledges.
const GROUP_BYTES: u64 = 256;

/// Results on their way to one attachment, in numbered deliveries that are kept until acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pending: VecDeque<Pending>,
    /// How many were taken from there: what is pending is numbered on from here.
    taken: u64,
    /// Those before this number were spilled, or have no values.
    looked: u64,
    /// Values that are pending in memory, and that were spilled, in bytes.
    values: (u64, u64),
    unacknowledged: VecDeque<(Results, Vec<Bytes>, u64)>,
    unacknowledged_bytes: u64,
    /// What all of it takes, spilled or not.
    bytes: u64,
    last: u64,
    /// Deliveries that went out before their records were on disk, and the last of those records.
    undurable: VecDeque<(u64, u64)>,
    /// The last delivery whose records are on disk, and the last that the peer knows to be so.
    lasting: (u64, u64),
}

impl Outbox {
    /// What all of it takes in memory.
    pub const fn memory(&self) -> u64 {
        self.bytes - self.values.1
    }

    /// What it takes in memory, and what was spilled, counted one by one.
    pub fn recounted(&self) -> (u64, u64) {
        let weights = self.pending.iter().map(|pending| pending.weight).sum::<u64>();
        let sent = self
            .unacknowledged
            .iter()
            .map(|(_, _, weight)| weight)
            .sum::<u64>();
        let spilled = self.pending.iter().filter(|pending| pending.spilled);
        let spilled = spilled
            .map(|pending| pending.data.bytes.len() as u64)
            .sum::<u64>();
        (weights + sent - spilled, spilled)
    }

    /// Bytes of values that are pending: in memory, and spilled.
    pub const fn values(&self) -> (u64, u64) {
        self.values
    }

    /// Pending values that are in memory, oldest first, each with its number.
    pub fn in_memory(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let skip = self.looked.saturating_sub(self.taken) as usize;
        let from = self.taken + skip as u64;
        let pending = self.pending.iter().skip(skip).zip(from..);
        pending
            .filter(|(pending, _)| !pending.spilled && !pending.data.bytes.is_empty())
            .map(|(pending, number)| (number, pending.data.bytes.clone()))
    }

    /// A pending value that was in memory lies elsewhere now. Whether it is still pending.
    pub fn spilled(&mut self, number: u64, before: &Bytes, value: Bytes) -> bool {
        let at = number.checked_sub(self.taken).map(|at| at as usize);
        let pending = at.and_then(|at| self.pending.get_mut(at));
        let pending = pending.filter(|pending| !pending.spilled && is_same(&pending.data.bytes, before));
        let Some(pending) = pending else {
            return false;
        };
        pending.data.bytes = value;
        pending.spilled = true;
        let bytes = before.len() as u64;
        self.values = (self.values.0 - bytes, self.values.1 + bytes);
        self.looked = number + 1;
        true
    }

    /// Adds a result, whose value may have been spilled.
    pub fn push(&mut self, ended: &Ended, spilled: bool, origin: scalems_protocol::Origin, incarnation: u64) {
        let sizes = Sizes::of(ended, spilled);
        let weight = GROUP_BYTES + sizes.memory() + sizes.spilled;
        self.bytes += weight;
        self.values = (self.values.0 + sizes.values, self.values.1 + sizes.spilled);
        let group = ResultGroup {
            run: ended.run,
            origin,
            incarnation,
            ending: ended.ending,
            place: scalems_protocol::group::Place::default(),
            exit_code: ended.exit_code,
            ran_us: ended.ran_us,
            error: ended.error.clone(),
        };
        self.pending.push_back(Pending {
            group,
            data: ended.data.clone(),
            weight,
            spilled,
        });
    }

    /// Whether nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.unacknowledged.is_empty()
    }

    /// The number of the next delivery that the peer has not taken in.
    pub fn next(&self) -> u64 {
        self.unacknowledged
            .front()
            .map_or(self.last + 1, |(first, _, _)| first.delivery)
    }

    /// Records up to `durable` are on disk. Whether the peer does not know that of all of its deliveries.
    pub fn lasts(&mut self, durable: u64) -> bool {
        while let Some((delivery, _)) = self.undurable.pop_front_if(|(_, record)| *record <= durable) {
            self.lasting.0 = delivery;
        }
        self.lasting.0 > self.lasting.1
    }

    /// The last delivery that is on disk, if the peer has not been told; now it is.
    pub fn tell_lasting(&mut self) -> Option<u64> {
        let news = self.lasting.0 > self.lasting.1;
        self.lasting.1 = self.lasting.0;
        news.then_some(self.lasting.0)
    }

    /// Whether the records of some deliveries are not on disk.
    pub fn is_undurable(&self) -> bool {
        !self.undurable.is_empty()
    }

    /// The connection is a new one: what was told last may not have come.
    pub fn begin_again(&mut self) {
        self.lasting.1 = 0;
    }

    /// Makes the next delivery, if there is something to deliver and room for it. `record` is the last one there is.
    pub fn deliver(&mut self, durable: Durable, record: u64) -> Option<(Results, Vec<Bytes>)> {
        if self.pending.is_empty() || self.unacknowledged_bytes >= limits::WINDOW_BYTES {
            return None;
        }
        let mut gather = Gather::default();
        let mut groups = Vec::new();
        let (mut values, mut words, mut bytes) = (0, 0, 0);
        while let Some(next) = self.pending.front() {
            values += next.data.ends.len();
            words += error_bytes(next.group.error.as_ref());
            let full = gather.bytes() + next.data.bytes.len() > limits::MESSAGE_BYTES
                || groups.len() == limits::GROUPS
                || values > 4 * limits::BATCH_TASKS
                || words > limits::HEADER_BYTES / 4;
            if full && !groups.is_empty() {
                break;
            }
            let Some(Pending {
                mut group,
                data,
                weight,
                spilled,
            }) = self.pending.pop_front()
            else {
                break;
            };
            self.taken += 1;
            // On its way it is in memory.
            let value = data.bytes.len() as u64;
            *(if spilled {
                &mut self.values.1
            } else {
                &mut self.values.0
            }) -= value;
            group.place = gather.add(&data);
            bytes += weight;
            groups.push(group);
        }
        self.last += 1;
        match durable {
            Durable::Pending => self.undurable.push_back((self.last, record)),
            Durable::Yes | Durable::None => {
                self.undurable.clear();
                self.lasting = (self.last, self.last);
            }
        }
        let results = Results {
            delivery: self.last,
            durable,
            groups,
            accepted: Vec::new(),
        };
        let blobs = gather.finish();
        self.unacknowledged_bytes += bytes;
        self.unacknowledged
            .push_back((results.clone(), blobs.clone(), bytes));
        Some((results, blobs))
    }

    /// Deliveries up to `delivery` were taken in. Gives the tasks whose results were in them.
    pub fn acknowledge(&mut self, delivery: u64) -> Vec<Run> {
        let mut taken: Vec<Run> = Vec::new();
        while let Some((results, _, bytes)) = self
            .unacknowledged
            .pop_front_if(|(results, _, _)| results.delivery <= delivery)
        {
            self.unacknowledged_bytes -= bytes;
            self.bytes -= bytes;
            for run in results.groups.iter().map(|group| group.run) {
                match taken.last_mut() {
                    Some(last) if last.submission == run.submission && last.hi == run.lo => last.hi = run.hi,
                    _ => taken.push(run),
                }
            }
        }
        taken
    }

    /// What was sent and not acknowledged, to be sent again.
    pub fn again(&self) -> impl Iterator<Item = (Results, Vec<Bytes>)> + '_ {
        self.unacknowledged
            .iter()
            .map(|(results, blobs, _)| (results.clone(), blobs.clone()))
    }
}

/// The bytes of text that an error takes in a header.
pub fn error_bytes(error: Option<&scalems_protocol::TaskError>) -> usize {
    error.map_or(0, scalems_protocol::TaskError::text_bytes)
}

/// The numbers that an answer to a message has to bear: the request's, or the read's.
pub fn numbers(message: &ClientToAgent) -> (Option<u64>, Option<u64>) {
    use scalems_protocol::client::NamedClientToAgent as Named;
    let ClientToAgent::Named(named) = message else {
        return (None, None);
    };
    match named {
        Named::Submit(submit) => (Some(submit.request), None),
        Named::Append(append) => (Some(append.request), None),
        Named::Close(close) => (Some(close.request), None),
        Named::Retry(retry) => (Some(retry.request), None),
        Named::Cancel(cancel) => (Some(cancel.request), None),
        Named::Forget(forget) => (Some(forget.request), None),
        Named::RequestWorkers(asked) => (Some(asked.request), None),
        Named::Starter(said) => (None, Some(said.id)),
        Named::Ask(ask) => (None, Some(ask.id)),
        Named::Stop(stop) => (None, Some(stop.id)),
        Named::LogLevels(asked) => (None, Some(asked.id)),
        Named::Version(version) => (None, Some(version.id)),
        Named::ClientHello(_) | Named::Acknowledge(_) | Named::BringBack(_) | Named::Goodbye(_) => {
            (None, None)
        }
    }
}

/// Whether a message changes something, and so is not for observers.
pub fn changes(message: &ClientToAgent) -> bool {
    use scalems_protocol::client::NamedClientToAgent as Named;
    match message {
        ClientToAgent::Envelope(_) => true,
        ClientToAgent::Named(named) => {
            matches!(
                named,
                Named::Submit(_)
                    | Named::Append(_)
                    | Named::Close(_)
                    | Named::Retry(_)
                    | Named::Cancel(_)
                    | Named::Forget(_)
                    | Named::BringBack(_)
                    | Named::RequestWorkers(_)
                    | Named::Starter(_)
                    | Named::Stop(_)
                    | Named::LogLevels(_)
            )
        }
    }
}
