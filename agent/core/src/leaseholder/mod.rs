//! What a worker's process knows of its leases: the pure half of the worker.
//!
//! [`interface`] says what goes in and what comes out. A round of the shell is any number of calls of
//! [`Leaseholder::handle`], then one of [`Leaseholder::flush`], which starts what may start, reports what
//! happened and does what is due. The shell then waits for events, at most until
//! [`Leaseholder::deadline`].
//!
//! Ranges and batches stay runs in here, so a lease of 16,384 tasks that end at once costs as much as one
//! of a single task. Such tasks never enter the state hash either: they come and are reported between two
//! hashes. What does enter it is said in `docs/spec/3-worker`, section "State hashes".

mod ending;
mod grant;
mod intake;
pub mod interface;
mod link;
mod listing;
mod messages;
mod mode;
mod outbox;
mod pace;
mod progress;
mod queue;
mod room;
mod running;
mod slots;
mod table;

#[cfg(test)]
mod tests;

pub use interface::{EndReason, Input, Note, NumaNode, Outcome, Output, Settings, StopOrder, TaskLease};

use scalems_protocol::TaskState;
use scalems_protocol::worker::{Holdings, Pong, WorkerToAgent};

use self::ending::Phase;
use self::grant::Grant;
use self::link::{Link, Stage};
use self::outbox::Outbox;
use self::pace::Pace;
use self::progress::Words;
use self::queue::Queue;
use self::room::Room;
use self::table::Table;
use crate::interface::Micros;

/// The machine.
#[derive(Clone, Debug)]
pub struct Leaseholder {
    settings: Settings,
    room: Room,
    link: Link,
    queue: Queue,
    table: Table,
    outbox: Outbox,
    pace: Pace,
    pace_of_functions: Pace,
    words: Words,
    /// The state hash, once all news is told.
    sum: u64,
    phase: Phase,
    /// Why the worker ends, once it does.
    reason: Option<EndReason>,
    /// Whether that was asked for on its own machine.
    asked_here: bool,
    /// What the agent asked for since the last flush.
    asked: Asked,
    /// When the agent is told the news there is, at the latest.
    report_by: Option<Micros>,
    /// Since when it has had nothing to do.
    idle_since: Option<Micros>,
}

/// Answers that are owed. They speak of the last report, so they follow it.
#[derive(Clone, Debug, Default)]
struct Asked {
    holdings: bool,
    beat: bool,
}

impl Leaseholder {
    /// A worker without a connection.
    pub fn new(settings: Settings, now: Micros) -> Self {
        Self {
            room: Room::new(&settings),
            link: Link::new(now, settings.join_ms),
            queue: Queue::default(),
            table: Table::default(),
            outbox: Outbox::default(),
            pace: Pace::default(),
            pace_of_functions: Pace::default(),
            words: Words::default(),
            sum: 0,
            phase: Phase::Serving,
            reason: None,
            asked_here: false,
            asked: Asked::default(),
            report_by: None,
            idle_since: None,
            settings,
        }
    }

    /// Takes in one thing that happened.
    pub fn handle(&mut self, now: Micros, input: Input, out: &mut Vec<Output>) {
        if self.phase == Phase::Over {
            return;
        }
        self.wake(now);
        match input {
            Input::Agent { message, blobs } => self.hear(now, message, &blobs, out),
            Input::Connected => {
                if self.link.connected(now) {
                    self.greet(now, out);
                }
            }
            Input::Disconnected => self.link.disconnected(),
            Input::Started { key } => self.task_started(now, key, out),
            Input::Ended { key, outcome } => self.task_ended(key, outcome, out),
            Input::Progress { key, fraction, text } => self.task_is_at(key, fraction, text),
            Input::Stop { drain_ms } => self.stop_here(now, drain_ms, out),
        }
    }

    /// Ends a round: starts what may start, reports what happened, does what is due.
    pub fn flush(&mut self, now: Micros, out: &mut Vec<Output>) {
        if self.phase == Phase::Over {
            return;
        }
        self.wake(now);
        self.work(now, out);
        self.end_silent(now, out);
        self.end_idle(now, out);
        match self.link.stage {
            Stage::Greeted { again_at, lost, .. } if now >= again_at => {
                if lost {
                    self.greet(now, out);
                } else {
                    // An agent that has the hello takes it as a sign of life, any other one says that it has not.
                    out.push(Output::Send(Pong {}.into(), Vec::new()));
                    self.link.asked(now);
                }
            }
            _ => {}
        }
        self.tell_progress(now, out);
        self.report(now, out);
        self.answer(now, out);
        self.advance(now, out);
    }

    /// Who was not called when it was due has stood still itself.
    fn wake(&mut self, now: Micros) {
        if self.link.wake(now)
            && let Some(due) = self.deadline()
        {
            self.link.forgive(now, due);
        }
    }

    /// When [`Leaseholder::flush`] has to be called if nothing happens before; none: the worker has ended.
    pub fn deadline(&self) -> Option<Micros> {
        let phase = self.phase_timer()?;
        let news = self.report_by.filter(|_| self.link.is_welcomed());
        let silence = self.silence_timer();
        let idle = self.idle_timer();
        [
            self.link.next_timer(),
            self.table.next_timer(),
            news,
            silence,
            idle,
            self.progress_timer(),
        ]
        .into_iter()
        .flatten()
        .chain([phase])
        .min()
    }

    /// Sends all news in numbered reports. As long as there is more to start here, the agent is not woken for
    /// each task that ends, nor for a quick one that has only begun: news waits a moment for company.
    fn report(&mut self, now: Micros, out: &mut Vec<Output>) {
        if !self.link.is_welcomed() {
            return;
        }
        if !self.outbox.has_news() {
            self.report_by = None;
            return;
        }
        let patience = now.saturating_add(self.settings.patience_us);
        let due = now >= *self.report_by.get_or_insert(patience);
        let idle = self.queue.grants().next().is_none() && self.outbox.has_ends();
        let asked = self.asked.holdings || self.asked.beat || self.link.speaks(now);
        if self.phase == Phase::Serving && !(idle || asked || due) {
            return;
        }
        self.report_by = None;
        while let Some((report, blobs)) = self
            .outbox
            .pack(self.link.sent + 1, &mut self.table, &mut self.sum)
        {
            self.link.sent += 1;
            out.push(Output::Send(report.into(), blobs));
        }
    }

    /// Says what the agent asked for, and beats.
    fn answer(&mut self, now: Micros, out: &mut Vec<Output>) {
        if !self.link.is_welcomed() {
            return;
        }
        let asked = std::mem::take(&mut self.asked);
        if asked.holdings {
            let held = self.list(false);
            let holdings = Holdings {
                applied: self.link.applied,
                sent: self.link.sent,
                held,
            };
            out.push(Output::Send(holdings.into(), Vec::new()));
        }
        // A silent agent may have forgotten the worker: only over this way would it say so.
        if self.link.due_question(now) || asked.beat {
            let beat = self.link.next_beat(self.sum);
            out.push(Output::Send(WorkerToAgent::Beat(beat), Vec::new()));
        }
        if let Some(beat) = self.link.due_beat(now, self.sum) {
            out.push(Output::PublishBeat(beat));
        }
    }

    /// Leases end that the hash counts in `state`.
    fn discount(&mut self, grant: &Grant, state: TaskState) {
        self.sum = self.sum.wrapping_sub(grant.term(state));
    }

    /// Hands leases back that the hash counts in `state`.
    fn give_back(&mut self, grant: Grant, state: TaskState) {
        self.discount(&grant, state);
        self.outbox.give_back(grant);
    }

    /// The hash of all that it counts, made anew.
    fn recount(&self) -> u64 {
        self.queue.term().wrapping_add(self.table.term())
    }

    /// All leases, as a list for the agent, with or without those that ended and are not recorded. What does
    /// not fit into a message is given up: the agent leases again what it does not find in the list.
    fn list(&mut self, ended: bool) -> Vec<scalems_protocol::group::HeldRun> {
        let mut listing = listing::Listing::default();
        for state in [TaskState::Running, TaskState::Leased] {
            let tasks = self
                .table
                .held()
                .filter(|task| (task.started.is_some()) == (state == TaskState::Running));
            listing.add(tasks.map(|task| task.grant), state);
        }
        if ended {
            listing.add(self.outbox.ended().copied(), TaskState::Done);
        }
        listing.add(self.queue.grants().copied(), TaskState::Leased);
        let (held, rest) = listing.finish();
        for run in rest.into_iter().filter(|held| held.state == TaskState::Leased) {
            for waiting in self.queue.take_out(run.run) {
                self.discount(&waiting.grant, TaskState::Leased);
            }
        }
        held
    }
}
