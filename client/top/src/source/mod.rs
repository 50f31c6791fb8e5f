//! Where news come from: a pilot that lives, or the journal of one that has ended.

mod live;

use std::time::Duration;

use scalems_client::Update;
use scalems_protocol::client::{OutputPart, Question, Reply};
use scalems_protocol::event::Topic;

pub use live::{Everything, Live, Where};

/// How the pilot is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Nothing was heard of it yet.
    Connecting,
    /// What is shown is what is.
    Live,
    /// The agent is not heard of; what is shown is what was. It is looked for all the time.
    Lost,
    /// It will not come back: why.
    Over(String),
    /// A journal is read.
    Replay(Cursor),
}

/// Where a replay is in its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cursor {
    /// When the first of it happened, since the pilot was created.
    pub begin: Duration,
    /// Since the pilot was created.
    pub at: Duration,
    /// When the last of it happened.
    pub end: Duration,
    /// How much of the pilot's time goes by in a second.
    pub speed: f64,
    /// Whether it does.
    pub playing: bool,
}

/// What a question is asked for. Of each there is one under way at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum For {
    /// The pilot as a whole.
    Status,
    /// Tasks of the screen of tasks.
    Tasks,
    /// Workers: what changes on them without another state is not published.
    Workers,
    /// What runs on workers.
    Running,
    /// One task: everything.
    Explain,
    /// What a task writes.
    Output,
    /// What a task has written that has ended.
    Result,
}

/// What was found out.
#[derive(Clone, Debug)]
pub enum News {
    /// Something was published.
    Update(Topic, Update),
    /// A question is answered, or not: why.
    Answer(For, Result<Answer, String>),
    /// An action is done, or not: what happened, for people.
    Done(Result<String, String>),
    /// It is this time now: only a replay says so, whose time is not the clock's.
    At(Duration),
    /// What was known is of another time: what comes from here on is so.
    Anew,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As it came.
    Reply(Box<Reply>),
    /// What a program has written.
    Output(OutputPart),
    /// What a task that has ended wrote: output and errors.
    Ended(Vec<u8>, Vec<u8>),
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A question of the protocol.
    Question(Question),
    /// What the task has written, from its result: submission and offset.
    Result(u64, u32),
}

/// What can be done to a pilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tasks are to end.
    Cancel(Vec<scalems_protocol::select::Selector>),
    /// What failed of them is submitted again.
    Retry(Vec<scalems_protocol::select::Selector>),
    /// Workers end what runs on them and go; with what strength: how long that may take.
    StopWorkers(Vec<u64>, Duration),
    /// The pilot ends.
    StopPilot(Duration),
}

/// Where news come from.
pub trait Source {
    /// What has come since the last time. Does not wait.
    fn news(&mut self) -> Vec<News>;

    /// How the pilot is reached.
    fn link(&self) -> Link;

    /// The pilot's name.
    fn pilot(&self) -> String;

    /// Asks; the answer comes with the news. A question that is under way for the same is given up.
    fn ask(&mut self, what: For, asked: Asked);

    /// Whether a question is under way for this.
    fn is_asked(&self, what: For) -> bool;

    /// Does something to the pilot. What becomes of it comes with the news.
    fn act(&mut self, action: Action);

    /// In which of so many parts of a replay's time something went wrong; what lives has none.
    fn marks(&self, _parts: usize) -> Vec<bool> {
        Vec::new()
    }

    /// Moves the cursor of a replay; what lives has none.
    fn step(&mut self, _step: Step) {}
}

/// How a replay is moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Goes on by itself, or stands.
    Toggle,
    /// So many steps on, or back.
    By(i32),
    /// Twice as fast, or half as fast.
    Speed(f64),
    /// To the next fault, or the one before.
    Fault(bool),
    /// To the beginning, or the end.
    To(bool),
}
