//! The agent's view of its workers.

pub mod belief;
pub mod since;

use std::collections::BTreeMap;
use std::sync::Arc;

use scalems_protocol::group::{Data, LeaseGroup, Run};
use scalems_protocol::hash;
use scalems_protocol::id::Incarnation;
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::{Knows, Template};
use scalems_protocol::worker::Beat;

use crate::interface::{Micros, Peer};
use crate::queue::{Class, Way};
use crate::resources::Amounts;
use crate::runs::Stretch;
use crate::task::Slot;
pub use belief::Belief;
use since::Since;

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It takes leases.
    Active,
    /// Its connection is gone or it must say hello again: it gets no new leases.
    Suspect,
    /// It ends once what runs has ended.
    Draining,
    /// It was silent for too long; its leases were taken back.
    Lost,
    /// It said goodbye.
    Gone,
}

impl Standing {
    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspect => "suspect",
            Self::Draining => "draining",
            Self::Lost => "lost",
            Self::Gone => "gone",
        }
    }
}

/// Leases that a worker holds or held: the same attempt, of one life of the agent, in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub run: Run,
    /// The agent's life that granted them.
    pub incarnation: Incarnation,
    /// Leased or running, as last reported.
    pub state: TaskState,
    /// Which of the ways to run they were given room for.
    pub variant: u8,
}

impl Held {
    /// What a stretch of a submission's slots says, whose tasks are held.
    pub fn of(submission: u64, stretch: &Stretch<Slot>) -> Self {
        let Stretch { lo, hi, value } = *stretch;
        Self {
            run: Run {
                submission,
                lo,
                hi,
                attempt: value.attempt,
            },
            incarnation: value.incarnation.into(),
            state: value.state,
            variant: value.variant,
        }
    }

    /// Those of the tasks `lo..hi`.
    pub fn part(self, lo: u32, hi: u32) -> Self {
        let run = Run { lo, hi, ..self.run };
        Self { run, ..self }
    }

    /// What they add to a state hash.
    pub fn sum(&self) -> u64 {
        let Run {
            submission,
            lo,
            hi,
            attempt,
        } = self.run;
        hash::lease_sum(self.incarnation, submission, attempt, self.state, lo, hi)
    }
}

/// A lease that is on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The group; its place and template are filled in when the message is made.
    pub group: LeaseGroup,
    /// What the tasks share.
    pub template: Arc<Template>,
    /// Their data.
    pub data: Data,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Its number.
    pub number: u32,
    /// Its name, unique among those that live.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// What that is known by on its host; empty: not known.
    pub process: String,
    /// Its connection, once its hello was answered.
    pub peer: Option<Peer>,
    /// Where it is in its life.
    pub standing: Standing,
    /// Whether its process is known to be over.
    pub over: bool,
    /// The record that says that it is here.
    pub joined: u64,
    /// Whether it is recorded that it was lost.
    pub recorded_gone: bool,
    /// Its modes, and whether each is instant.
    pub modes: BTreeMap<String, bool>,
    /// What it offers.
    pub capacity: Amounts,
    /// Which later words of needs it understands.
    pub knows: Knows,
    /// When it ends by itself, as it said; none: it has no end that it knows of.
    pub ends: Option<Micros>,
    /// What who started it knows it by; none: it was started by hand.
    pub place: Option<String>,
    /// What its leases take, those ahead included.
    pub used: Amounts,
    /// Leases of instant modes.
    pub instant: u64,
    /// Leases that have not started, and those that run.
    pub leases: (u64, u64),
    /// Since when its tasks run.
    pub since: Since,
    /// Bytes of data of its leases.
    pub bytes: u64,
    /// How many leases it holds of each submission.
    pub holds: BTreeMap<u64, u64>,
    /// Tasks that ended there.
    pub ended: u64,
    /// When it was last heard of.
    pub heard: Micros,
    /// When something was last sent to it.
    pub told: Micros,
    /// The secret of this connection.
    pub link: u64,
    /// The last numbered message sent.
    pub sent: u64,
    /// The last report received.
    pub received: u64,
    /// The last report that it was told is recorded.
    pub recorded: u64,
    /// The last report whose records are durable.
    pub durable: u64,
    /// What it should hold.
    pub belief: Belief,
    /// Until when its running tasks may go on, once it drains.
    pub drain_until: Micros,
    /// Leases that were taken back when it was lost: what it may come back with.
    pub taken: Vec<Held>,
    /// Leases that it was told to drop without a result.
    pub ghosts: Vec<Held>,
    /// Leases on their way out.
    pub outgoing: Vec<Outgoing>,
    /// Beats that were equal, and that differed.
    pub beats: (u64, u64),
    /// Beats in a row that could not be compared.
    pub uncompared: u32,
    /// The newest beat that waits for the report it names.
    pub beat: Option<Beat>,
    /// Whether its holdings were asked for.
    pub asked: bool,
    /// Bytes of results that it keeps until it is told that they are recorded.
    pub unrecorded_bytes: u64,
}

impl Worker {
    /// One that has not said hello, at `now`.
    pub fn new(number: u32, name: String, now: Micros) -> Self {
        Self {
            number,
            name,
            host: String::new(),
            pid: 0,
            process: String::new(),
            peer: None,
            standing: Standing::Suspect,
            over: false,
            joined: 0,
            recorded_gone: false,
            modes: BTreeMap::new(),
            capacity: Amounts::default(),
            knows: Knows::NOTHING,
            ends: None,
            place: None,
            used: Amounts::default(),
            instant: 0,
            leases: (0, 0),
            since: Since::default(),
            bytes: 0,
            holds: BTreeMap::new(),
            ended: 0,
            heard: now,
            told: now,
            link: 0,
            sent: 0,
            received: 0,
            recorded: 0,
            durable: 0,
            belief: Belief::default(),
            drain_until: 0,
            taken: Vec::new(),
            ghosts: Vec::new(),
            outgoing: Vec::new(),
            beats: (0, 0),
            uncompared: 0,
            beat: None,
            asked: false,
            unrecorded_bytes: 0,
        }
    }

    /// Whether it may get leases. While its holdings are awaited it gets none: they are compared with nothing
    /// in flight.
    pub fn takes_leases(&self) -> bool {
        self.standing == Standing::Active && self.peer.is_some() && !self.asked
    }

    /// How long it will still be there.
    pub fn left(&self, now: Micros) -> Option<Micros> {
        self.ends.map(|ends| ends.saturating_sub(now))
    }

    /// Whether it could run a task of a class, in some way, if it had nothing else to do.
    pub fn could_run(&self, class: &Class, now: Micros) -> bool {
        self.understands(class) && class.ways.iter().any(|way| self.could_run_so(way, now))
    }

    /// Whether it serves the mode of a class, and knows all words of its needs.
    pub fn understands(&self, class: &Class) -> bool {
        self.modes.contains_key(&class.mode) && self.knows.lacks(class.asks).next().is_none()
    }

    /// Whether it could run a task this way if it had nothing else to do.
    pub fn could_run_so(&self, way: &Way, now: Micros) -> bool {
        let short = self.capacity.short_of(&Amounts::default(), &way.needs);
        short.is_none() && self.left(now).is_none_or(|left| left >= way.min_time)
    }

    /// Whether it lives, as far as is known.
    pub const fn lives(&self) -> bool {
        matches!(
            self.standing,
            Standing::Active | Standing::Suspect | Standing::Draining
        )
    }

    /// Counts leases of one submission that it holds now.
    pub fn occupy(
        &mut self,
        submission: u64,
        mode: &str,
        needs: &Amounts,
        bytes: u64,
        tasks: u64,
        state: TaskState,
    ) {
        if self.modes.get(mode).copied().unwrap_or(false) {
            self.instant += tasks;
        } else {
            self.used.add(needs, tasks);
        }
        self.bytes += bytes;
        *self.holds.entry(submission).or_default() += tasks;
        *if state == TaskState::Running {
            &mut self.leases.1
        } else {
            &mut self.leases.0
        } += tasks;
    }

    /// Counts leases of one submission that it holds no more.
    pub fn vacate(
        &mut self,
        submission: u64,
        mode: &str,
        needs: &Amounts,
        bytes: u64,
        tasks: u64,
        state: TaskState,
    ) {
        if self.modes.get(mode).copied().unwrap_or(false) {
            self.instant -= tasks;
        } else {
            self.used.sub(needs, tasks);
        }
        self.bytes -= bytes;
        let held = self
            .holds
            .get_mut(&submission)
            .expect("leases that end were held");
        *held -= tasks;
        if *held == 0 {
            self.holds.remove(&submission);
        }
        *if state == TaskState::Running {
            &mut self.leases.1
        } else {
            &mut self.leases.0
        } -= tasks;
    }

    /// Whether its process is worth a look: it is away, and could be known to be over.
    pub fn is_looked_at(&self) -> bool {
        self.peer.is_none() && !self.over && !self.process.is_empty()
    }

    /// Forgets all leases: they are counted anew.
    pub fn empty(&mut self) {
        self.used = Amounts::default();
        self.instant = 0;
        self.leases = (0, 0);
        self.bytes = 0;
        self.holds.clear();
        self.outgoing.clear();
    }

    /// How many more instant tasks it may be granted; arrays cost less and may go further ahead.
    pub fn instant_room(&self, array: bool) -> u64 {
        if self.bytes >= limits::CREDIT_BYTES {
            return 0;
        }
        let credit = if array {
            limits::CREDIT_RANGE_TASKS
        } else {
            limits::CREDIT_TASKS
        };
        u64::from(credit).saturating_sub(self.instant)
    }
}
