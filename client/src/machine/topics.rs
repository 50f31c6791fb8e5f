//! Following topics of events: open, snapshot, then event by event; a gap leads to another snapshot.

use std::collections::BTreeMap;

use scalems_protocol::Incarnation;
use scalems_protocol::client::Reply;
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::event::{Body, Event, Topic};

use super::interface::{Output, Update};

/// Events that are kept while a snapshot is on its way. More of them are a gap, which leads to another one.
const BUFFER: usize = 1_024;

/// The topics that the user listens to.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    followed: BTreeMap<Topic, State>,
}

#[derive(Clone, Debug)]
enum State {
    /// The agent has not said yet that it heard of us.
    Quiet,
    /// A snapshot is on its way; what comes meanwhile is kept.
    Asked(Vec<Event>),
    /// Everything up to this event is known.
    Live(Incarnation, u64),
}

impl Topics {
    pub(super) fn listen(&mut self, topic: Topic, out: &mut Vec<Output>) {
        self.followed.entry(topic.clone()).or_insert_with(|| {
            out.push(Output::Subscribe(topic));
            State::Quiet
        });
    }

    pub(super) fn unlisten(&mut self, topic: Topic, out: &mut Vec<Output>) {
        if self.followed.remove(&topic).is_some() {
            out.push(Output::Unsubscribe(topic));
        }
    }

    /// Whether the topic's state is to be asked for again.
    pub(super) fn refresh(&mut self, topic: &Topic) -> bool {
        let Some(state) = self.followed.get_mut(topic) else {
            return false;
        };
        match state {
            State::Quiet => false,
            // It may have been lost or come too late: the one who asked decides that.
            State::Asked(_) => true,
            State::Live(..) => {
                *state = State::Asked(Vec::new());
                true
            }
        }
    }

    /// Takes in an event. Returns the topic if its state is to be asked for.
    pub(super) fn event(&mut self, event: Event, out: &mut Vec<Output>) -> Option<Topic> {
        let topic = Topic::from_name(&event.topic)?;
        let state = self.followed.get_mut(&topic)?;
        match state {
            State::Asked(kept) => {
                if kept.len() == BUFFER {
                    kept.clear();
                }
                if event.body != Body::Open {
                    kept.push(event);
                }
                return None;
            }
            State::Live(incarnation, seq) if event.body != Body::Open => {
                if event.incarnation == *incarnation && event.seq <= *seq {
                    return None;
                }
                if event.incarnation == *incarnation && event.seq == *seq + 1 {
                    *seq = event.seq;
                    out.push(Output::Update(topic, Update::Event(event.body)));
                    return None;
                }
                *state = State::Asked(vec![event]);
            }
            State::Quiet if event.body != Body::Open => return None,
            State::Quiet | State::Live(..) => *state = State::Asked(Vec::new()),
        }
        Some(topic)
    }

    /// Takes in the answer to the question for a topic's state. Returns whether to ask again.
    pub(super) fn answer(
        &mut self,
        topic: &Topic,
        answer: Result<Reply, Refusal>,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(State::Asked(kept)) = self.followed.get_mut(topic) else {
            return false;
        };
        let (incarnation, mut last, state) = match answer {
            Ok(Reply::Snapshot {
                incarnation,
                seq,
                state,
                ..
            }) => (incarnation, seq, state),
            other => {
                let message = "the agent answered something else than the topic's state";
                let refusal = other
                    .err()
                    .unwrap_or_else(|| Refusal::new(Code::Malformed, message));
                out.push(Output::Update(topic.clone(), Update::Refused(refusal)));
                self.unlisten(topic.clone(), out);
                return false;
            }
        };
        let mut kept = std::mem::take(kept).into_iter().peekable();
        out.push(Output::Update(topic.clone(), Update::Snapshot(*state)));
        while let Some(event) =
            kept.next_if(|event| (event.incarnation, event.seq) <= (incarnation, last + 1))
        {
            if event.incarnation == incarnation && event.seq == last + 1 {
                last = event.seq;
                out.push(Output::Update(topic.clone(), Update::Event(event.body)));
            }
        }
        let gap = kept.peek().is_some();
        let state = if gap {
            State::Asked(kept.collect())
        } else {
            State::Live(incarnation, last)
        };
        self.followed.insert(topic.clone(), state);
        gap
    }
}
