//! Listening to what happens in a pilot.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scalems_protocol::event::Topic;

use crate::error::ClientError;
use crate::intake::TopicChange;
use crate::machine::Update;
use crate::shared::{Shared, lock};

/// Updates that are kept for a listener. One that falls behind gets the state anew instead of all of them.
const KEPT: usize = 4_096;

/// Where a listener's updates come to lie.
pub(crate) struct EventQueue {
    state: Mutex<State>,
    callback: Option<Mutex<Callback>>,
}

type Callback = Box<dyn FnMut(Update) + Send>;

#[derive(Default)]
struct State {
    updates: VecDeque<Update>,
    /// Some were dropped: nothing counts before the next snapshot.
    behind: bool,
    ended: bool,
}

impl EventQueue {
    fn new(callback: Option<Callback>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::default()),
            callback: callback.map(Mutex::new),
        })
    }

    pub(crate) fn calls_back(&self) -> bool {
        self.callback.is_some()
    }

    /// Calls the listener back, if it still listens.
    pub(crate) fn call(&self, update: Update) {
        if let Some(callback) = &self.callback
            && !self.is_ended()
        {
            lock(callback)(update);
        }
    }

    /// Adds an update. Returns whether the listener fell behind with it, so that it needs the state anew.
    pub(crate) fn push(&self, update: Update) -> bool {
        let mut state = lock(&self.state);
        match update {
            // Whatever came before does not count any more.
            Update::Snapshot(_) => {
                state.updates.clear();
                state.behind = false;
            }
            Update::Event(_) if state.behind => return false,
            Update::Event(_) if state.updates.len() >= KEPT => {
                state.updates.clear();
                state.behind = true;
                return true;
            }
            Update::Event(_) => {}
            Update::Refused(_) => state.ended = true,
        }
        state.updates.push_back(update);
        false
    }

    pub(crate) fn end(&self) {
        lock(&self.state).ended = true;
    }

    pub(crate) fn is_ended(&self) -> bool {
        lock(&self.state).ended
    }
}

/// What happens in one topic, as it happens: first its state, then update by update. After a gap the state
/// comes again.
///
/// As an iterator it waits as long as the session lives and the agent does not refuse the topic.
///
/// ```no_run
/// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
/// use std::time::Duration;
/// use scalems_client::protocol::event::Topic;
///
/// let mut events = session.events(Topic::Summary);
/// while let Some(update) = events.next_within(Duration::from_secs(5))? {
///     println!("{update:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Events {
    topic: Topic,
    queue: Arc<EventQueue>,
    shared: Arc<Shared>,
}

impl Events {
    pub(crate) fn new(topic: Topic, shared: &Arc<Shared>) -> Self {
        let queue = EventQueue::new(None);
        change(shared, TopicChange::Listen(topic.clone(), Arc::clone(&queue)));
        Self {
            topic,
            queue,
            shared: Arc::clone(shared),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The next update, if there is one.
    pub fn try_next(&mut self) -> Option<Update> {
        lock(&self.queue.state).updates.pop_front()
    }

    /// The next update, waited for so long. `None` if no more will come: the session is over, or the topic
    /// was refused, which was the last update.
    pub fn next_within(
        &mut self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Option<Update>, ClientError> {
        self.shared.wait(timeout.into(), "an event", || {
            let mut state = lock(&self.queue.state);
            let next = state.updates.pop_front();
            let over = state.ended || self.shared.over().is_some();
            (next.is_some() || over).then_some(next)
        })
    }
}

/// A callback that is called with what happens in one topic. Dropped, it is called no more.
#[must_use = "dropped, it is called no more"]
pub struct Listening {
    topic: Topic,
    queue: Arc<EventQueue>,
    shared: Arc<Shared>,
}

impl Listening {
    pub(crate) fn new(topic: Topic, shared: &Arc<Shared>, callback: Callback) -> Self {
        let queue = EventQueue::new(Some(callback));
        shared.set_calls_back();
        change(shared, TopicChange::Listen(topic.clone(), Arc::clone(&queue)));
        Self {
            topic,
            queue,
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.queue.end();
        change(&self.shared, TopicChange::Unlisten(self.topic.clone()));
    }
}

impl Iterator for Events {
    type Item = Update;

    fn next(&mut self) -> Option<Update> {
        self.next_within(None).ok().flatten()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.end();
        change(&self.shared, TopicChange::Unlisten(self.topic.clone()));
    }
}

pub(crate) fn change(shared: &Shared, change: TopicChange) {
    let wake = {
        let mut intake = lock(&shared.intake);
        intake.topic(change);
        intake.must_wake()
    };
    if wake {
        shared.wake();
    }
}
