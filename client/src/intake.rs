//! Where the user's threads leave what the session's thread takes up, a round at a time.
//!
//! A task costs one push here: its data is appended to that of the tasks before it which have the same
//! template, and its handle is a place in their batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use scalems_protocol::event::Topic;
use scalems_protocol::group::Data;
use scalems_protocol::task::Template;
use scalems_protocol::{Bytes, limits};

use crate::array::ArrayCell;
use crate::batch::Batch;
use crate::error::ClientError;
use crate::events::EventQueue;
use crate::machine::{Call, CallKey, Dependency, Pack, PackKey, SessionEnd, Shape};
use crate::pending::ReplyCell;
use crate::shared::{Shared, lock};

/// The first batch has places for so many tasks; each next one for twice as many as were used of the last.
const FIRST_CAPACITY: u32 = 8;
/// How many batches are looked at for one that the next task can join.
const OPEN_BATCHES: usize = 8;
/// Bytes that a task is counted with beside its data, as the machine does.
const TASK_BYTES: u64 = 32;

/// What has gathered since the last round.
#[derive(Default)]
pub(crate) struct Intake {
    items: Vec<Item>,
    topics: Vec<TopicChange>,
    goodbye: Option<String>,
    over: Option<SessionEnd>,
    last_pack: u64,
    last_call: u64,
    capacity: u32,
    bytes: u64,
    woken: bool,
}

/// One thing that was put in; their order is kept.
enum Item {
    Tasks(Filling),
    Array(Pack, Arc<ArrayCell>),
    Call(CallKey, Call, Arc<ReplyCell>),
}

/// One thing that is taken up.
pub(crate) enum TakenItem {
    Tasks(Pack, Arc<Batch>),
    Array(Pack, Arc<ArrayCell>),
    Call(CallKey, Call, Arc<ReplyCell>),
}

/// A change in what is listened to.
pub(crate) enum TopicChange {
    /// Somebody listens.
    Listen(Topic, Arc<EventQueue>),
    /// Somebody stopped.
    Unlisten(Topic),
}

/// Tasks that go together.
struct Filling {
    batch: Arc<Batch>,
    template: Arc<Template>,
    after: Vec<Dependency>,
    data: Vec<u8>,
    ends: Vec<u32>,
    large: Option<Bytes>,
    count: u32,
}

/// What a round takes up.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) items: Vec<TakenItem>,
    pub(crate) topics: Vec<TopicChange>,
    pub(crate) released: Vec<PackKey>,
    pub(crate) goodbye: Option<String>,
}

/// A task's data on its way in.
pub(crate) enum TaskData<'a> {
    /// To be copied.
    Borrowed(&'a [u8]),
    /// To be kept, if it is large.
    Owned(Bytes),
}

impl TaskData<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Filling {
    /// Tasks that have perhaps `bytes` bytes each.
    fn new(batch: Arc<Batch>, template: Arc<Template>, after: Vec<Dependency>, bytes: usize) -> Self {
        let count = batch.capacity() as usize;
        let data = Vec::with_capacity((count * bytes).min(limits::MESSAGE_BYTES));
        Self {
            batch,
            template,
            after,
            data,
            ends: Vec::with_capacity(count),
            large: None,
            count: 0,
        }
    }

    fn takes(&self, template: &Arc<Template>, after: &[Dependency], bytes: usize) -> bool {
        self.large.is_none()
            && self.count < self.batch.capacity()
            && self.data.len() + bytes <= limits::MESSAGE_BYTES
            && (Arc::ptr_eq(&self.template, template) || self.template == *template)
            && self.template.uid.is_none()
            && self.after == after
    }

    fn into_pack(self) -> (Pack, Arc<Batch>) {
        let data = match self.large {
            Some(bytes) => Data::shared(bytes),
            None if self.data.is_empty() => Data::default(),
            None => Data {
                bytes: self.data.into(),
                ends: self.ends,
            },
        };
        let pack = Pack {
            key: self.batch.key(),
            template: self.template,
            count: self.count,
            shape: Shape::Batch,
            data,
            after: self.after,
        };
        (pack, self.batch)
    }
}

impl Intake {
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of tasks that have gathered.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many tasks have gathered, counted as long as they are few.
    pub(crate) fn tasks(&self, few: u64) -> u64 {
        let mut count = 0;
        for item in &self.items {
            count += match item {
                Item::Tasks(filling) => u64::from(filling.count),
                Item::Array(pack, _) => u64::from(pack.count),
                Item::Call(..) => 0,
            };
            if count > few {
                break;
            }
        }
        count
    }

    /// Whether the session's thread has to be woken for what was put in.
    pub(crate) fn must_wake(&mut self) -> bool {
        !std::mem::replace(&mut self.woken, true)
    }

    /// Puts a task in and says where its result will be.
    pub(crate) fn task(
        &mut self,
        shared: &Arc<Shared>,
        template: &Arc<Template>,
        after: &[Dependency],
        data: TaskData<'_>,
    ) -> Result<(Arc<Batch>, u32), ClientError> {
        let bytes = data.bytes().len();
        self.check(shared, bytes)?;
        self.bytes += bytes as u64 + TASK_BYTES;
        let large = bytes > limits::INLINE_BYTES;
        // What was put in before a call stays before it, and what comes after it does not join that.
        let open = self
            .items
            .iter_mut()
            .rev()
            .take(OPEN_BATCHES)
            .map_while(|item| match item {
                Item::Tasks(filling) => Some(Some(filling)),
                Item::Array(..) => Some(None),
                Item::Call(..) => None,
            });
        let joined = open
            .flatten()
            .filter(|_| !large)
            .find(|filling| filling.takes(template, after, bytes));
        let filling = if let Some(filling) = joined {
            filling
        } else {
            let alone = large || template.uid.is_some();
            let capacity = if alone { 1 } else { self.next_capacity() };
            let batch = Batch::new(self.new_pack(), capacity, Arc::clone(shared));
            let reserved = if large { 0 } else { bytes };
            self.items.push(Item::Tasks(Filling::new(
                batch,
                Arc::clone(template),
                after.to_vec(),
                reserved,
            )));
            let Some(Item::Tasks(filling)) = self.items.last_mut() else {
                unreachable!("it was pushed just now")
            };
            filling
        };
        let place = filling.count;
        filling.count += 1;
        if large {
            filling.large = Some(data.into_bytes());
        } else {
            filling.data.extend_from_slice(data.bytes());
            filling.ends.push(filling.data.len() as u32);
        }
        Ok((Arc::clone(&filling.batch), place))
    }

    /// Places of the next batch. Those that come while it is still here are many: the one after gets more.
    fn next_capacity(&mut self) -> u32 {
        let most = limits::BATCH_TASKS as u32;
        let capacity = self.capacity.clamp(FIRST_CAPACITY, most);
        self.capacity = (2 * capacity).min(most);
        capacity
    }

    /// Puts an array in.
    pub(crate) fn array(
        &mut self,
        shared: &Arc<Shared>,
        make: impl FnOnce(PackKey) -> (Pack, Arc<ArrayCell>),
    ) -> Result<Arc<ArrayCell>, ClientError> {
        self.check(shared, 0)?;
        let (pack, cell) = make(self.new_pack());
        self.items.push(Item::Array(pack, Arc::clone(&cell)));
        Ok(cell)
    }

    /// Puts a call in.
    pub(crate) fn call(&mut self, call: Call) -> Result<Arc<ReplyCell>, ClientError> {
        if let Some(end) = &self.over {
            return Err(ClientError::Over(end.clone()));
        }
        self.last_call += 1;
        let reply = Arc::new(ReplyCell::default());
        self.items
            .push(Item::Call(CallKey(self.last_call), call, Arc::clone(&reply)));
        Ok(reply)
    }

    pub(crate) fn topic(&mut self, change: TopicChange) {
        self.topics.push(change);
    }

    pub(crate) fn goodbye(&mut self, reason: &str) {
        self.goodbye.get_or_insert_with(|| reason.to_owned());
    }

    /// A key for a pack that never gets in, so that its handle is like others.
    pub(crate) fn new_pack(&mut self) -> PackKey {
        self.last_pack += 1;
        PackKey(self.last_pack)
    }

    fn check(&self, shared: &Shared, bytes: usize) -> Result<(), ClientError> {
        if let Some(end) = &self.over {
            return Err(ClientError::Over(end.clone()));
        }
        let waiting_bytes = self.bytes + shared.backlog_bytes.load(Ordering::Relaxed);
        if waiting_bytes > 0 && waiting_bytes + bytes as u64 > shared.backlog_limit {
            return Err(ClientError::BacklogFull {
                waiting_bytes,
                limit_bytes: shared.backlog_limit,
            });
        }
        Ok(())
    }

    /// From now on nothing gets in.
    pub(crate) fn end(&mut self, end: &SessionEnd) {
        self.over.get_or_insert_with(|| end.clone());
    }
}

impl Shared {
    /// Takes up what has gathered. What is released is taken first and handed on last: whoever depends on it
    /// was put in before it was released.
    pub(crate) fn take(&self) -> Taken {
        let released = std::mem::take(&mut *lock(&self.released));
        let mut intake = lock(&self.intake);
        intake.woken = false;
        intake.bytes = 0;
        if intake.is_empty() && intake.topics.is_empty() && intake.goodbye.is_none() {
            return Taken {
                released,
                ..Taken::default()
            };
        }
        self.set_settled(false);
        let items = std::mem::take(&mut intake.items);
        if let Some(Item::Tasks(last)) = items.last() {
            let used = last.count.next_power_of_two();
            intake.capacity = if last.count == last.batch.capacity() {
                2 * used
            } else {
                used
            };
        }
        let (topics, goodbye) = (std::mem::take(&mut intake.topics), intake.goodbye.take());
        drop(intake);
        let items = items.into_iter().map(|item| match item {
            Item::Tasks(filling) => {
                let (pack, batch) = filling.into_pack();
                TakenItem::Tasks(pack, batch)
            }
            Item::Array(pack, cell) => TakenItem::Array(pack, cell),
            Item::Call(key, call, reply) => TakenItem::Call(key, call, reply),
        });
        Taken {
            items: items.collect(),
            topics,
            released,
            goodbye,
        }
    }
}
