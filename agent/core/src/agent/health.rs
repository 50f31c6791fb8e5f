//! How the agent itself is: what the shell measures, and what is known here. Nothing is measured that nobody listens to.

use scalems_protocol::event::{Body, Health, Topic};
use scalems_protocol::limits;

use super::Agent;
use crate::interface::{Action, Micros};
use crate::spread::Spread;

/// What is measured, as long as somebody listens, and what was last told.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub(super) listened: bool,
    /// Since when it is.
    since: Micros,
    start_wait: Spread,
    ran: Spread,
    last: Health,
}

impl Measured {
    /// Attempts were given to a worker, so long after they were submitted.
    pub(super) fn started(&mut self, wait: Micros, count: u64) {
        if self.listened {
            self.start_wait.add(wait, count);
        }
    }

    /// Tasks have ended that ran for so long together.
    pub(super) fn ended(&mut self, ran: Micros, count: u64) {
        if self.listened && ran > 0 {
            self.ran.add(ran / count.max(1), count);
        }
    }
}

impl Agent {
    /// Whether the shell is to tell how it is ([`crate::Input::Health`]).
    pub fn is_watched(&self) -> bool {
        self.measured.listened
    }

    pub(super) fn measure(&mut self, listened: bool) {
        let last = std::mem::take(&mut self.measured.last);
        self.measured = Measured {
            listened,
            since: self.now,
            last,
            ..Measured::default()
        };
    }

    /// The shell has told how it is: with what is known here that is published.
    pub(super) fn publish_health(&mut self, mut health: Health, out: &mut Vec<Action>) {
        if !self.measured.listened {
            return;
        }
        let span = self.now - std::mem::replace(&mut self.measured.since, self.now);
        health.at_ms = (self.now - self.begun) / 1_000;
        health.span_ms = span / 1_000;
        health.queues = self.queues();
        health.events_dropped = self.counters.get("events_dropped").copied().unwrap_or_default();
        health.ended = self.ended_here;
        health.start_wait_us = self.measured.start_wait.take();
        health.ran_us = self.measured.ran.take();
        health.left_ms = self.left_ms();
        self.measured.last = health.clone();
        self.publish_one(Topic::Health, Body::Health(Box::new(health)), out);
    }

    pub(super) fn health_body(&self) -> Body {
        Body::Health(Box::new(Health {
            queues: self.queues(),
            ended: self.ended_here,
            left_ms: self.left_ms(),
            ..self.measured.last.clone()
        }))
    }

    /// What is kept in bounds: what, how much, the bound.
    fn queues(&self) -> Vec<(String, u64, u64)> {
        let waits = self.waiting.len() as u64;
        [
            (
                "unfinished_tasks",
                self.tasks.counts.unfinished(),
                limits::PILOT_TASKS,
            ),
            ("task_data_bytes", self.tasks.data_bytes, limits::PILOT_BYTES),
            ("result_bytes", self.results_taken().0, limits::RESULT_BYTES),
            ("spilled_bytes", self.results_taken().1, limits::SPILL_BYTES),
            ("workers", self.worker_peers.len() as u64, limits::WORKERS as u64),
            ("sessions", self.sessions.len() as u64, limits::SESSIONS as u64),
            ("clients", self.clients.len() as u64, 0),
            ("waits", waits, 0),
        ]
        .map(|(what, much, bound)| (what.to_owned(), much, bound))
        .to_vec()
    }

    /// How long the last worker that knows its end will be there; none: one of those there knows of no end.
    fn left_ms(&self) -> Option<u64> {
        let living = self.workers.values().filter(|worker| worker.lives());
        let ends: Option<Vec<Micros>> = living.map(|worker| worker.ends).collect();
        let last = ends?.into_iter().max()?;
        Some(last.saturating_sub(self.now) / 1_000)
    }
}
