//! Deadlines: every state that waits on another process or on time has one (R7).

use std::collections::BTreeMap;

use scalems_protocol::client::Detached;
use scalems_protocol::error::{Code, Refusal};

use super::Agent;
use crate::interface::{Action, Micros};

/// What happens at a time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// A submission's deadline.
    Deadline(u64),
    /// Tasks whose back-off ends.
    Retry { submission: u64, lo: u32, hi: u32 },
    /// Clients of the life before have had the time to bring results back.
    Awaited,
    /// A session was left for too long.
    Abandoned(u64),
    /// Workers are looked at: pings, losses.
    Workers,
    /// Processes of workers that are away are looked at.
    Processes,
    /// What ended first may be forgotten.
    Retain,
    /// A task may have been passed over for too long.
    Reserve,
    /// There may be room for results that are moved out.
    Spill,
    /// The end of draining.
    Stop,
}

/// Timers by time.
#[derive(Clone, Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeMap<(Micros, u64), Timer>,
    added: u64,
    workers: bool,
    pub(super) retain: bool,
    pub(super) processes: bool,
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
                Timer::Retry { submission, lo, hi } => self.make_ready_again(submission, lo, hi, out),
                Timer::Awaited => {
                    // What they have said and what waited for workers is not late.
                    self.take_returned(out);
                    self.await_no_longer(out);
                    self.all_accounted(out);
                }
                Timer::Abandoned(attachment) => self.abandoned(attachment, out),
                Timer::Workers => {
                    self.timers.workers = false;
                    self.check_workers(out);
                    self.watch_workers();
                }
                Timer::Processes => {
                    self.timers.processes = false;
                    self.look_at_processes(out);
                }
                Timer::Retain => {
                    self.timers.retain = false;
                    self.forget_old(out);
                }
                Timer::Reserve => self.schedule = true,
                Timer::Spill => self.spill_again(),
                Timer::Stop => {}
            }
        }
    }

    /// Looks at the workers once a beat, as long as there are any.
    pub(super) fn watch_workers(&mut self) {
        let busy = |worker: &crate::worker::Worker| worker.lives() || !worker.holds.is_empty();
        if !self.timers.workers && (self.workers.values().any(busy) || !self.absent.is_empty()) {
            self.timers.workers = true;
            self.timers.add(self.now + self.beat_every(), Timer::Workers);
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
            let living = self
                .workers
                .values()
                .filter(|worker| worker.lives())
                .map(|worker| worker.number);
            for number in living.collect::<Vec<u32>>() {
                self.drain(number, stopping.until, "the pilot stops", out);
            }
            self.stopping = Some(super::Stopping {
                workers_told: true,
                ..stopping
            });
            for linger in [LINGER, 2 * LINGER] {
                self.timers
                    .add(stopping.until.saturating_add(linger), Timer::Stop);
            }
        }
        let workers = self.workers.values().any(crate::worker::Worker::lives);
        let results = self
            .attachments
            .values()
            .any(|attachment| attachment.peer.is_some() && !attachment.outbox.is_empty());
        let patience = stopping
            .until
            .saturating_add(if workers { LINGER } else { 2 * LINGER });
        if (workers || results || !self.answers.is_empty()) && self.now < patience {
            return;
        }
        if self.clients_have_left(stopping, out) {
            self.exited = true;
            self.return_numbers(out);
            out.push(Action::Exit);
        }
    }

    /// Tells the clients that the pilot ends. A client's libzmq drops what it has not read when the connection ends, so
    /// they go first.
    pub(super) fn clients_have_left(&mut self, stopping: super::Stopping, out: &mut Vec<Action>) -> bool {
        /// How long clients that were told have to leave by themselves.
        const FAREWELL: Micros = 250_000;
        let leave_at = stopping.leave_at.unwrap_or(self.now + FAREWELL);
        if stopping.leave_at.is_none() {
            self.stopping = Some(super::Stopping {
                leave_at: Some(leave_at),
                workers_told: true,
                ..stopping
            });
            self.timers.add(leave_at, Timer::Stop);
            for peer in self.clients.keys() {
                let refusal = Refusal::new(
                    Code::Stopping,
                    format!("pilot {} has ended", self.config.pilot_name),
                );
                out.push(Action::ToClient {
                    peer: *peer,
                    message: Detached { refusal }.into(),
                    blobs: Vec::new(),
                });
            }
        }
        self.clients.is_empty() || self.now >= leave_at
    }
}
