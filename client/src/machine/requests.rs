//! The numbered requests: kept until they are answered, sent again after each break, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{Append, Cancel, ClientToAgent, Close, Forget, RequestWorkers, Retry, Submit};
use scalems_protocol::group::Data;
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::Template;

use super::interface::CallKey;

/// A changing request.
#[derive(Clone, Debug)]
pub(super) enum Request {
    /// Tasks.
    Submit(Submission),
    /// Tasks are to be added.
    Append {
        /// The submission's number.
        submission: u64,
        /// One entry for each.
        data: Data,
        /// Who asked.
        call: CallKey,
    },
    /// No more tasks will be added.
    Close {
        /// To which.
        select: Selector,
        /// Who asked.
        call: CallKey,
    },
    /// Tasks are to be submitted again.
    Retry {
        /// Which.
        select: Selector,
        /// Also those that were before.
        repeat: bool,
        /// Who asked.
        call: CallKey,
    },
    /// Tasks are to end.
    Cancel {
        /// Which.
        select: Selector,
        /// How hard.
        strength: Strength,
        /// Why.
        reason: String,
        /// Who asked.
        call: CallKey,
        /// How many tasks of this session are selected, when they were chosen here.
        chosen: Option<u64>,
    },
    /// Workers are to be started.
    Workers {
        /// What is asked for.
        asked: RequestWorkers,
        /// Who asked.
        call: CallKey,
    },
    /// Entries are to be dropped.
    Forget {
        /// Which.
        select: Selector,
        /// Who asked.
        call: CallKey,
    },
}

/// What a submit request says.
#[derive(Clone, Debug)]
pub(super) struct Submission {
    /// What the tasks share, dependencies included.
    pub(super) template: Arc<Template>,
    /// How many.
    pub(super) count: u32,
    /// The index of the first.
    pub(super) first: u32,
    /// From one index to the next.
    pub(super) step: u32,
    /// Their data.
    pub(super) data: Data,
    /// Who asked, when the agent is to hold the results; else they are pushed.
    pub(super) held: Option<CallKey>,
    /// Whether tasks may be added.
    pub(super) open: bool,
    /// How many there will be in the end, if that was said.
    pub(super) total: Option<u32>,
}

/// The requests that are not answered, with the numbers `low`, `low + 1`, ….
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    /// The lowest number that is not answered.
    low: u64,
    /// `None` is answered. The first is not.
    open: VecDeque<Option<Request>>,
    base: u64,
}

impl Requests {
    /// The agent knows requests up to `high` of an earlier life: ours begin after it.
    pub(super) fn begin(&mut self, high: u64) {
        assert!(
            self.open.is_empty(),
            "numbers are given only once it is known where they begin"
        );
        self.low = high + 1;
        self.base = high + 1;
    }

    /// The first number that was ours to give.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// The number that the next request gets.
    pub(super) fn next(&self) -> u64 {
        self.low + self.open.len() as u64
    }

    /// Whether the agent keeps enough answers for one more.
    pub(super) fn has_room(&self) -> bool {
        (self.open.len() as u64) < limits::OPEN_REQUESTS
    }

    /// Whether everything is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Numbers a request and says how it is sent.
    pub(super) fn push(&mut self, request: Request) -> (ClientToAgent, Vec<Bytes>) {
        let message = self.message(self.next(), &request);
        self.open.push_back(Some(request));
        message
    }

    /// The highest number that is not answered; 0: there is none.
    pub(super) fn last_open(&self) -> u64 {
        let place = self.open.iter().rposition(Option::is_some);
        place.map_or(0, |place| self.low + place as u64)
    }

    /// All that is not answered, by number, to be sent again.
    pub(super) fn again(&self) -> impl Iterator<Item = (u64, (ClientToAgent, Vec<Bytes>))> + '_ {
        let numbered = (self.low..).zip(&self.open);
        numbered.filter_map(|(number, request)| Some((number, self.message(number, request.as_ref()?))))
    }

    /// The request `number`, if it is not answered.
    pub(super) fn get(&self, number: u64) -> Option<&Request> {
        self.open
            .get(usize::try_from(number.checked_sub(self.low)?).ok()?)?
            .as_ref()
    }

    /// The request `number` is answered.
    pub(super) fn answer(&mut self, number: u64) -> Option<Request> {
        let place = usize::try_from(number.checked_sub(self.low)?).ok()?;
        let request = self.open.get_mut(place)?.take();
        while let Some(None) = self.open.front() {
            self.open.pop_front();
            self.low += 1;
        }
        request
    }

    /// Everything that is not answered, when nothing will be any more.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Request> + '_ {
        self.low += self.open.len() as u64;
        self.open.drain(..).flatten()
    }

    fn message(&self, request: u64, what: &Request) -> (ClientToAgent, Vec<Bytes>) {
        let low_water = self.low;
        match what {
            Request::Submit(submission) => {
                let data = &submission.data;
                let message = Submit {
                    request,
                    low_water,
                    count: submission.count,
                    task: Template::clone(&submission.template),
                    first: submission.first,
                    step: submission.step,
                    ends: data.ends.clone(),
                    streaming: submission.held.is_none(),
                    open: submission.open,
                    total: submission.total,
                };
                (message.into(), blobs_of(data))
            }
            Request::Append { submission, data, .. } => {
                let message = Append {
                    request,
                    low_water,
                    submission: *submission,
                    count: data.ends.len() as u32,
                    ends: data.ends.clone(),
                };
                (message.into(), blobs_of(data))
            }
            Request::Close { select, .. } => {
                let select = select.clone();
                let message = Close {
                    request,
                    low_water,
                    select,
                };
                (message.into(), Vec::new())
            }
            Request::Retry { select, repeat, .. } => {
                let message = Retry {
                    request,
                    low_water,
                    select: select.clone(),
                    repeat: *repeat,
                };
                (message.into(), Vec::new())
            }
            Request::Cancel {
                select,
                strength,
                reason,
                ..
            } => {
                let message = Cancel {
                    request,
                    low_water,
                    select: select.clone(),
                    strength: *strength,
                    reason: reason.clone(),
                };
                (message.into(), Vec::new())
            }
            Request::Workers { asked, .. } => {
                let message = RequestWorkers {
                    request,
                    low_water,
                    ..asked.clone()
                };
                (message.into(), Vec::new())
            }
            Request::Forget { select, .. } => (
                Forget {
                    request,
                    low_water,
                    select: select.clone(),
                }
                .into(),
                Vec::new(),
            ),
        }
    }
}

/// The blobs of a message with this data.
fn blobs_of(data: &Data) -> Vec<Bytes> {
    if data.bytes.is_empty() {
        Vec::new()
    } else {
        vec![data.bytes.clone()]
    }
}
