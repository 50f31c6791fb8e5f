//! How a worker ends: what runs may go on for a time, then it is ended, then the agent is told.

use scalems_protocol::TaskState;
use scalems_protocol::state::Strength;
use scalems_protocol::worker::{WorkerGoodbye, WorkerStop};

use super::Leaseholder;
use super::interface::{EndReason, Note, Output};
use super::link::{MILLISECOND, Stage};
use super::table::Cause;
use crate::interface::Micros;

/// From being asked to end until being killed, at most, for tasks that outlast the drain time.
const GRACE_MS: u64 = 5_000;
/// Time for the shell to end what was killed: beyond it, something hangs in the kernel.
const KILL_TIME: Micros = 5_000 * MILLISECOND;
/// Time for the agent to record what is still to be recorded.
const SETTLE_TIME: Micros = 5_000 * MILLISECOND;

/// Where the worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes work.
    Serving,
    /// It takes none; what runs may go on until then.
    Draining(Micros),
    /// What ran is being ended; no longer than until then.
    Killing(Micros),
    /// Nothing runs; until then the agent may still record what it was told.
    Settling(Micros),
    /// It has ended.
    Over,
}

impl Leaseholder {
    /// The agent asks the worker to end.
    pub(super) fn stop_asked(&mut self, now: Micros, stop: WorkerStop, out: &mut Vec<Output>) {
        self.drain(now, stop.drain_ms, EndReason::Stopped(stop.reason), out);
        self.return_queue();
    }

    /// The worker is asked on its own machine to end.
    ///
    /// The agent has no other way to learn it than a hello that offers nothing; else it would lease again
    /// what is given back.
    pub(super) fn stop_here(&mut self, now: Micros, drain_ms: u64, out: &mut Vec<Output>) {
        let first = self.phase == Phase::Serving;
        self.asked_here = true;
        self.drain(now, drain_ms, EndReason::Asked, out);
        if first && self.link.is_welcomed() && !self.table.is_empty() {
            self.queue.take_all();
            self.greet(now, out);
        }
        self.return_queue();
    }

    /// Ends when there was nothing to do for as long as it may be.
    pub(super) fn end_idle(&mut self, now: Micros, out: &mut Vec<Output>) {
        let busy = !self.table.is_empty() || self.queue.grants().next().is_some() || !self.outbox.is_empty();
        if busy || !self.link.is_welcomed() {
            self.idle_since = None;
            return;
        }
        self.idle_since.get_or_insert(now);
        if self.idle_timer().is_some_and(|at| now >= at) {
            self.drain(now, 0, EndReason::Idle, out);
        }
    }

    /// When it has had nothing to do for as long as it may.
    pub(super) fn idle_timer(&self) -> Option<Micros> {
        let since = self.idle_since.filter(|_| self.phase == Phase::Serving)?;
        Some(since.saturating_add(self.settings.idle_us?))
    }

    fn drain(&mut self, now: Micros, drain_ms: u64, reason: EndReason, out: &mut Vec<Output>) {
        let until = now.saturating_add(drain_ms.saturating_mul(MILLISECOND));
        match self.phase {
            Phase::Serving => {
                self.phase = Phase::Draining(until);
                out.push(Output::Note(Note::Stopping(reason.to_string())));
                self.reason = Some(reason);
                // Nothing starts any more.
                self.recall_followers(out);
            }
            Phase::Draining(before) => self.phase = Phase::Draining(before.min(until)),
            Phase::Killing(_) | Phase::Settling(_) | Phase::Over => {}
        }
    }

    fn return_queue(&mut self) {
        for waiting in self.queue.take_all() {
            self.give_back(waiting.grant, TaskState::Leased);
        }
    }

    /// Ends at once, without the agent: it is gone, or wants the worker no more.
    pub(super) fn abandon(&mut self, now: Micros, reason: EndReason, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Serving | Phase::Draining(_)) {
            self.return_queue();
            self.kill_all(now, 0, out);
            self.phase = Phase::Killing(now + KILL_TIME);
        }
        self.reason = Some(reason);
    }

    fn kill_all(&mut self, now: Micros, most_grace_ms: u64, out: &mut Vec<Output>) {
        let strength = if most_grace_ms == 0 {
            Strength::Kill
        } else {
            Strength::Request
        };
        for key in self.table.keys() {
            self.stop_task(now, key, (Cause::WorkerEnds, strength), most_grace_ms, out);
        }
    }

    /// Ends tasks that are to end when the agent is silent for too long (R11).
    pub(super) fn end_silent(&mut self, now: Micros, out: &mut Vec<Output>) {
        if self.link.lost_at().is_some_and(|at| now >= at) {
            let grace_ms = self.link.lost_grace_ms();
            for key in self.table.keys_that_stop() {
                self.stop_task(now, key, (Cause::Silence, Strength::Request), grace_ms, out);
            }
        }
    }

    /// When there is something that is to end then.
    pub(super) fn silence_timer(&self) -> Option<Micros> {
        let at = self.link.lost_at()?;
        (!self.table.keys_that_stop().is_empty()).then_some(at)
    }

    /// Moves from phase to phase, as far as it can.
    pub(super) fn advance(&mut self, now: Micros, out: &mut Vec<Output>) {
        if matches!(self.phase, Phase::Serving | Phase::Draining(_)) && now >= self.link.orphaned_at() {
            let joined = self.link.resume.is_some();
            out.push(Output::Note(Note::Orphaned));
            self.abandon(
                now,
                if joined {
                    EndReason::Orphaned
                } else {
                    EndReason::NotWelcomed
                },
                out,
            );
        }
        if let Phase::Draining(until) = self.phase {
            if self.table.is_empty() {
                self.phase = Phase::Settling(now + SETTLE_TIME);
            } else if now >= until {
                self.phase = Phase::Killing(now + GRACE_MS * MILLISECOND + KILL_TIME);
                self.kill_all(now, GRACE_MS, out);
            }
        }
        if let Phase::Killing(until) = self.phase
            && (self.table.is_empty() || now >= until)
        {
            self.phase = Phase::Settling(now + SETTLE_TIME);
        }
        if let Phase::Settling(until) = self.phase {
            // What ended just now is told first.
            self.report(now, out);
            let alone = matches!(
                self.reason,
                Some(EndReason::Orphaned | EndReason::NotWelcomed | EndReason::Refused(_))
            );
            // While a hello is under way the agent takes the worker in, and is owed a goodbye.
            let done = match self.link.stage {
                Stage::Welcomed => self.outbox.is_empty(),
                Stage::Greeted { .. } => alone,
                Stage::Offline { .. } => alone || self.outbox.is_empty(),
            };
            if done || now >= until {
                self.end(out);
            }
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        self.phase = Phase::Over;
        let reason = self.reason.take().expect("a worker ends for a reason");
        if self.link.stage == Stage::Welcomed {
            out.push(Output::Send(
                WorkerGoodbye {
                    reason: reason.to_string(),
                }
                .into(),
                Vec::new(),
            ));
        }
        out.push(Output::End(reason));
    }

    /// When the phase has something to do.
    pub(super) fn phase_timer(&self) -> Option<Micros> {
        match self.phase {
            Phase::Serving => Some(self.link.orphaned_at()),
            Phase::Draining(until) => Some(until.min(self.link.orphaned_at())),
            Phase::Killing(until) | Phase::Settling(until) => Some(until),
            Phase::Over => None,
        }
    }
}
