//! The worker's side of its connection: who it is to the agent, message numbers, and times.

use scalems_protocol::worker::{Beat, WorkerResume, WorkerWelcome};
use scalems_protocol::{Incarnation, limits};

use crate::interface::Micros;

pub(super) const MILLISECOND: Micros = 1_000;
/// Time after which it is asked whether the agent has the hello that it does not answer. A hello is not just
/// said again: numbers restart with each answer, and what is under way would be counted twice.
const HELLO_AGAIN: Micros = 5_000 * MILLISECOND;
/// Time in which the answer to hello comes behind a refusal of what was said before.
const ANSWER_BEHIND: Micros = 1_000 * MILLISECOND;
/// Beats without a word from the agent after which nothing is started and the worker asks: the agent pings
/// every second beat, and calls a worker lost after five.
const QUIET_BEATS: u64 = 3;

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Offline {
        /// Whether a hello is not answered. It may have gone over the next connection already, since what is
        /// said and what the transport tells are not in one order.
        greeted: bool,
    },
    /// Hello was said.
    Greeted {
        /// When something is done about its silence.
        again_at: Micros,
        /// Whether it was asked whether the agent has it.
        asked: bool,
        /// Whether the agent has said since that it does not know the worker: hello is said again, unless its
        /// answer comes behind.
        lost: bool,
    },
    /// The agent answered.
    Welcomed,
}

/// The connection.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) stage: Stage,
    /// How often hello was said.
    hellos: u64,
    pub(super) resume: Option<WorkerResume>,
    pub(super) incarnation: Incarnation,
    /// The last numbered message of the agent's that was applied.
    pub(super) applied: u64,
    /// The last report that was sent.
    pub(super) sent: u64,
    secret: u64,
    beat: u64,
    beat_every: Micros,
    orphan_after: Micros,
    lost_after: Micros,
    heard_at: Micros,
    /// From when on the agent's silence counts: when it was heard, or a pause of our own was over.
    silent_from: Micros,
    /// When the machine was last called.
    awake_at: Micros,
    beat_at: Micros,
    ask_at: Micros,
}

impl Link {
    pub(super) fn new(now: Micros, join_ms: u64) -> Self {
        Self {
            stage: Stage::Offline { greeted: false },
            hellos: 0,
            resume: None,
            incarnation: 0,
            applied: 0,
            sent: 0,
            secret: 0,
            beat: 0,
            beat_every: limits::BEAT_MS * MILLISECOND,
            orphan_after: join_ms.saturating_mul(MILLISECOND),
            lost_after: 0,
            heard_at: now,
            silent_from: now,
            awake_at: now,
            beat_at: now,
            ask_at: now,
        }
    }

    pub(super) fn heard(&mut self, now: Micros) {
        self.heard_at = now;
        self.silent_from = now;
        self.ask_at = now.saturating_add(self.quiet());
    }

    /// Hello is said, so many times by now.
    pub(super) fn greeted(&mut self, now: Micros) -> u64 {
        self.stage = Stage::Greeted {
            again_at: now.saturating_add(HELLO_AGAIN),
            asked: false,
            lost: false,
        };
        self.hellos += 1;
        self.hellos
    }

    /// Whether a welcome answers the last hello, as far as it says which one it answers.
    pub(super) const fn is_answered_by(&self, welcome: &WorkerWelcome) -> bool {
        welcome.hello == 0 || welcome.hello == self.hellos
    }

    pub(super) fn disconnected(&mut self) {
        let greeted = matches!(
            self.stage,
            Stage::Greeted { .. } | Stage::Offline { greeted: true }
        );
        self.stage = Stage::Offline { greeted };
    }

    /// A connection is there. Whether a hello has to be said; if one may be under way it is asked for first.
    pub(super) fn connected(&mut self, now: Micros) -> bool {
        let greeted = matches!(
            self.stage,
            Stage::Greeted { .. } | Stage::Offline { greeted: true }
        );
        if greeted {
            self.stage = Stage::Greeted {
                again_at: now,
                asked: false,
                lost: false,
            };
        }
        !greeted
    }

    /// It was asked whether the agent has the hello.
    pub(super) fn asked(&mut self, now: Micros) {
        self.stage = Stage::Greeted {
            again_at: now.saturating_add(HELLO_AGAIN),
            asked: true,
            lost: false,
        };
    }

    /// The agent says, after it was asked, that it does not know the worker.
    pub(super) fn lost(&mut self, now: Micros) {
        self.stage = Stage::Greeted {
            again_at: now.saturating_add(ANSWER_BEHIND),
            asked: true,
            lost: true,
        };
    }

    pub(super) fn welcomed(&mut self, now: Micros, welcome: &WorkerWelcome) {
        self.stage = Stage::Welcomed;
        let WorkerWelcome {
            pilot, worker, token, ..
        } = *welcome;
        let seen = welcome.mark;
        self.resume = Some(WorkerResume {
            pilot,
            worker,
            token,
            seen,
        });
        self.incarnation = welcome.incarnation;
        self.secret = welcome.link;
        self.applied = 0;
        self.sent = 0;
        self.beat_every = welcome.beat_ms.clamp(10, 3_600_000) * MILLISECOND;
        self.orphan_after = welcome.orphan_ms.saturating_mul(MILLISECOND);
        self.lost_after = match welcome.lost_ms {
            0 => limits::LOST_MS,
            lost => lost,
        }
        .saturating_mul(MILLISECOND);
        self.beat_at = now;
        self.heard(now);
    }

    /// The agent's journal has come so far.
    pub(super) fn saw(&mut self, record: u64) {
        if let Some(resume) = &mut self.resume {
            resume.seen.record = resume.seen.record.max(record);
        }
    }

    pub(super) fn is_welcomed(&self) -> bool {
        self.stage == Stage::Welcomed
    }

    /// Whether the agent may be taken to know what the worker does, so that something new may start.
    pub(super) fn is_live(&self, now: Micros) -> bool {
        self.is_welcomed() && now < self.heard_at.saturating_add(self.quiet())
    }

    const fn quiet(&self) -> Micros {
        QUIET_BEATS * self.beat_every
    }

    /// When the agent calls the worker lost, if it has heard no more of it than the worker of the agent; none before
    /// the first welcome.
    pub(super) fn lost_at(&self) -> Option<Micros> {
        (self.lost_after > 0).then(|| self.heard_at.saturating_add(self.lost_after))
    }

    /// Time in which what is to be over by then has to end, milliseconds.
    pub(super) const fn lost_grace_ms(&self) -> u64 {
        self.lost_after / MILLISECOND / 2
    }

    /// When the worker is on its own.
    pub(super) const fn orphaned_at(&self) -> Micros {
        self.silent_from.saturating_add(self.orphan_after)
    }

    /// The machine is called. Whether it was not for so long that this may have been a pause of our own.
    pub(super) fn wake(&mut self, now: Micros) -> bool {
        let slept = now.saturating_sub(self.awake_at);
        self.awake_at = now;
        slept > self.quiet()
    }

    /// A pause of our own is over, in which something was due `due`: the agent gets a fresh period, since what it said
    /// meanwhile is still in the socket.
    pub(super) fn forgive(&mut self, now: Micros, due: Micros) {
        if now.saturating_sub(due) > self.quiet() {
            self.silent_from = now;
        }
    }

    /// When the connection has something to do.
    pub(super) fn next_timer(&self) -> Option<Micros> {
        match self.stage {
            Stage::Offline { .. } => None,
            Stage::Greeted { again_at, .. } => Some(again_at),
            Stage::Welcomed => Some(self.beat_at.min(self.ask_at)),
        }
    }

    /// Whether it is time for a beat or a question, which speak of all that happened.
    pub(super) fn speaks(&self, now: Micros) -> bool {
        now >= self.beat_at.min(self.ask_at)
    }

    /// The beat to publish, if it is time.
    pub(super) fn due_beat(&mut self, now: Micros, hash: u64) -> Option<Beat> {
        (now >= self.beat_at).then(|| {
            self.beat_at = now + self.beat_every;
            self.next_beat(hash)
        })
    }

    /// Whether it is time to ask a silent agent for a word.
    pub(super) fn due_question(&mut self, now: Micros) -> bool {
        let due = now >= self.ask_at;
        if due {
            self.ask_at = now + self.quiet();
        }
        due
    }

    pub(super) fn next_beat(&mut self, hash: u64) -> Beat {
        self.beat += 1;
        let worker = self.resume.as_ref().map_or(0, |resume| resume.worker);
        let Self {
            secret,
            beat,
            applied,
            sent,
            ..
        } = *self;
        Beat {
            worker,
            link: secret,
            beat,
            applied,
            sent,
            hash,
        }
    }
}
