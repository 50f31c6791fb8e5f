//! Deadlines: every state that waits on another process or on time has one (R7).

use std::collections::BTreeMap;

use scalems_protocol::client::Detached;
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::worker::WorkerStop;

use super::Agent;
use crate::interface::{Action, Micros};
use crate::worker::Standing;

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// A submission's deadline.
    Deadline(u64),
    /// Tasks whose back-off ends.
    Retry { submission: u64, lo: u32, hi: u32 },
    /// A wait times out.
    Wait,
    /// A session was left for too long.
    Abandoned(u64),
    /// Workers are looked at: pings, losses.
    Workers,
    /// A task may have been passed over for too long.
    Reserve,
    /// The end of draining.
    Stop,
}

/// Timers by time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeMap<(Micros, u64), Timer>,
    added: u64,
    workers: bool,
}

impl Timers {
    pub(super) fn add(&mut self, at: Micros, timer: Timer) {
        self.added += 1;
        self.by_time.insert((at, self.added), timer);
    }

    pub(super) fn next(&self) -> Option<Micros> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    fn due(&mut self, now: Micros) -> Option<Timer> {
        let first = self.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

impl Agent {
    pub(super) fn run_timers(&mut self, out: &mut Vec<Action>) {
        while let Some(timer) = self.timers.due(self.now) {
            match timer {
                Timer::Deadline(submission) => self.deadline_passed(submission, out),
                Timer::Retry { submission, lo, hi } => self.make_ready(submission, lo, hi),
                Timer::Wait => {}
                Timer::Abandoned(attachment) => self.abandoned(attachment, out),
                Timer::Workers => {
                    self.timers.workers = false;
                    self.check_workers(out);
                    self.watch_workers();
                }
                Timer::Reserve => self.schedule = true,
                Timer::Stop => {}
            }
        }
    }

    /// Looks at the workers once a beat, as long as there are any.
    pub(super) fn watch_workers(&mut self) {
        if !self.timers.workers && self.workers.values().any(crate::worker::Worker::lives) {
            self.timers.workers = true;
            self.timers.add(self.now + self.config.beat_ms * 1_000, Timer::Workers);
        }
    }

    /// Ends in order: no new work, workers drain, results go out, everybody is told.
    pub(super) fn advance_stop(&mut self, out: &mut Vec<Action>) {
        /// How long results may take to be collected once the workers are gone, and workers to say goodbye.
        const LINGER: Micros = 2_000_000;
        let Some(stopping) = self.stopping else { return };
        if self.exited {
            return;
        }
        if !stopping.workers_told {
            let drain_ms = stopping.until.saturating_sub(self.now) / 1_000;
            for worker in self.workers.values_mut().filter(|worker| worker.lives()) {
                worker.standing = Standing::Draining;
                if let Some(peer) = worker.peer {
                    let reason = "the pilot stops".to_owned();
                    let message = WorkerStop { drain_ms, reason }.into();
                    out.push(Action::ToWorker { peer, message, blobs: Vec::new() });
                }
            }
            self.stopping = Some(super::Stopping { workers_told: true, ..stopping });
            for at in [stopping.until + LINGER, stopping.until + 2 * LINGER] {
                self.timers.add(at, Timer::Stop);
            }
        }
        let workers = self.workers.values().any(crate::worker::Worker::lives);
        let results = self
            .attachments
            .values()
            .any(|attachment| attachment.peer.is_some() && !attachment.outbox.is_empty());
        let patience = stopping.until + if workers { LINGER } else { 2 * LINGER };
        if (workers || results || !self.held.is_empty()) && self.now < patience {
            return;
        }
        for peer in self.clients.keys() {
            let refusal = Refusal::new(Code::Stopping, format!("pilot {} has ended", self.config.pilot_name));
            out.push(Action::ToClient { peer: *peer, message: Detached { refusal }.into(), blobs: Vec::new() });
        }
        self.exited = true;
        out.push(Action::Exit);
    }
}
