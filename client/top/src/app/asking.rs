//! What a screen has to ask for, beside what is published: one page for what is seen, one question at a time.

use std::time::Duration;

use scalems_client::Update;
use scalems_protocol::client::{OutputPage, Page, Question, Reply, WorkersPage};
use scalems_protocol::event::{Body, Topic};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;

use super::{App, Of, Stream};
use crate::kit::keys::Screen;
use crate::source::{Asked, For, Link};

/// How often what a screen shows is asked for again.
const AGAIN: Duration = Duration::from_millis(1_500);
/// How often the user's pilots are looked for, while they are shown.
const LOOK: Duration = Duration::from_secs(5);
/// Rows of tasks that are asked for.
const TASKS: u32 = 1_000;
/// How long the agent keeps a question for output that is not there yet.
const OUTPUT_WAIT_MS: u64 = 2_000;

impl App {
    pub(super) fn ask_for_screen(&mut self) {
        if matches!(self.model.link, Link::Over(_)) || self.frozen.is_some() {
            return;
        }
        match self.screen {
            Screen::Overview => {
                self.ask_again(For::Status, || Asked::Question(Question::Status));
                self.ask_workers();
            }
            Screen::Tasks => {
                let question = self.question_of_tasks();
                self.ask_again(For::Tasks, || Asked::Question(question));
            }
            Screen::Workers => {
                let select = Selector {
                    state: Some(TaskState::Running),
                    ..Selector::all()
                };
                self.ask_again(For::Running, || page(select));
                self.ask_workers();
            }
            Screen::Logs => self.ask_output(),
            Screen::Pilots => self.look_for_pilots(),
            Screen::Submissions | Screen::Faults | Screen::Events => {}
        }
        if let Some(Of::Task(submission, _, index)) = self.details.as_ref().map(|details| &details.of) {
            let question = Question::Explain(Selector::task(*submission, *index));
            self.ask_again(For::Explain, || Asked::Question(question));
        }
    }

    /// Of the tasks that are shown: those that a filter such as `state=failed` means are asked for by that, since a page has not all.
    fn question_of_tasks(&self) -> Question {
        let scope = self.scope.map_or_else(Selector::all, Selector::submission);
        let filter = self.tables.tasks.filter();
        let state = TaskState::ALL
            .into_iter()
            .find(|state| filter.trim() == format!("state={}", state.name()));
        Question::Tasks(Page {
            select: Selector { state, ..scope },
            after: None,
            rows: TASKS,
        })
    }

    /// Asks, if it was not asked for a while and no answer is awaited.
    fn ask_again(&mut self, what: For, asked: impl FnOnce() -> Asked) {
        let now = self.clock;
        self.asked.retain(|(_, at)| now.saturating_sub(*at) < AGAIN);
        let lately = self.asked.iter().any(|(other, _)| *other == what);
        if lately || self.source.is_asked(what) {
            return;
        }
        self.asked.push_back((what, now));
        self.source.ask(what, asked());
    }

    /// What is shown next has not been asked for.
    pub(super) fn ask_at_once(&mut self) {
        self.asked.clear();
    }

    /// Page by page; from the beginning again once all have come.
    fn ask_workers(&mut self) {
        let after = self.workers_after;
        let question = Question::Workers(WorkersPage { after, rows: 0 });
        self.ask_again(For::Workers, || Asked::Question(question));
    }

    fn ask_output(&mut self) {
        let Some(log) = &self.logs else { return };
        if self.source.is_asked(For::Output) || self.source.is_asked(For::Result) {
            return;
        }
        let (submission, offset) = (log.submission, log.offset);
        if log.ended {
            if !log.has_result {
                self.ask_again(For::Result, || Asked::Result(submission, offset));
            }
            return;
        }
        let question = Question::Output(OutputPage {
            submission,
            offset,
            attempt: log.attempt,
            from: (log.stdout.next(), log.stderr.next()),
            timeout_ms: OUTPUT_WAIT_MS,
        });
        let waits = log.attempt > 0;
        if waits {
            // The agent answers once there is something.
            self.source.ask(For::Output, Asked::Question(question));
        } else {
            self.ask_again(For::Output, || Asked::Question(question));
        }
    }

    fn look_for_pilots(&mut self) {
        let now = self.clock;
        if self
            .looked
            .is_some_and(|looked| now.saturating_sub(looked) < LOOK)
        {
            return;
        }
        self.looked = Some(now);
        let found = (self.find)();
        self.dirty |= found != self.pilots;
        self.pilots = found;
    }

    pub(super) fn take_reply(&mut self, what: For, reply: Reply) {
        match (what, reply) {
            (For::Status, Reply::Status(status)) => self.model.status = Some(*status),
            (For::Tasks, Reply::Tasks(listing)) => {
                self.model.more_tasks = listing.next.is_some();
                self.model.tasks = listing.rows;
            }
            (For::Workers, Reply::Workers(listing)) => {
                // Forwards in any case: whatever the agent says, this ends.
                self.workers_after = listing.next.filter(|next| Some(*next) > self.workers_after);
                let rows = listing.rows;
                self.model
                    .update(&Topic::Workers, Update::Event(Body::Workers { rows }));
            }
            (For::Running, Reply::Tasks(listing)) => self.model.running = listing.rows,
            // An answer to what is not asked here any more.
            _ => {}
        }
    }
}

impl Stream {
    /// The next of the three.
    pub fn next(self) -> Self {
        match self {
            Self::Both => Self::Out,
            Self::Out => Self::Err,
            Self::Err => Self::Both,
        }
    }
}

fn page(select: Selector) -> Asked {
    Asked::Question(Question::Tasks(Page {
        select,
        after: None,
        rows: TASKS,
    }))
}
