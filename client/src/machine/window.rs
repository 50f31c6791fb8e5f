//! How much may be unfinished at the agent, and what is.

use std::collections::BTreeMap;

use scalems_protocol::limits;

use super::interface::{Micros, PackKey};

/// The longest wait after the agent said that its window is full.
const LONGEST_HOLD: Micros = 1_000_000;
/// The shortest.
const SHORTEST_HOLD: Micros = 10_000;

/// Submissions whose results are pushed, with unfinished tasks, and what of the window they take.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Tasks that may be unfinished.
    pub(super) tasks: u64,
    /// Bytes that may be unfinished.
    pub(super) bytes: u64,
    /// By request.
    live: BTreeMap<u64, Live>,
    taken_tasks: u64,
    taken_bytes: u64,
    held_until: Option<Micros>,
    hold: Micros,
}

/// A submission with unfinished tasks.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// What it consists of, rising from offset 0 without gaps.
    pub(super) segments: Vec<Segment>,
    /// How many tasks it has.
    pub(super) count: u32,
    /// How many of them have not ended.
    pub(super) left: u32,
    /// Whether its submission number is known.
    pub(super) named: bool,
    bytes: u64,
    windowed: bool,
}

/// Tasks of a pack in a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The pack.
    pub(super) pack: PackKey,
    /// The first place in the pack.
    pub(super) lo: u32,
    /// How many.
    pub(super) count: u32,
    /// The first offset in the submission.
    pub(super) at: u32,
}

impl Window {
    pub(super) fn new(tasks: u64, bytes: u64) -> Self {
        Self {
            tasks,
            bytes,
            live: BTreeMap::new(),
            taken_tasks: 0,
            taken_bytes: 0,
            held_until: None,
            hold: SHORTEST_HOLD,
        }
    }

    /// Takes the agent's word for how much it allows.
    pub(super) fn bound(&mut self, tasks: u64, bytes: u64) {
        self.tasks = tasks.max(1);
        self.bytes = bytes.max(1);
    }

    /// How many more tasks and bytes may be sent now. One item larger than the window goes alone.
    pub(super) fn room(&self) -> (u64, u64) {
        if self.taken_tasks == 0 {
            return (self.tasks, u64::MAX);
        }
        (
            self.tasks.saturating_sub(self.taken_tasks),
            self.bytes.saturating_sub(self.taken_bytes),
        )
    }

    /// The most tasks of one batch.
    pub(super) fn batch_tasks(&self) -> u64 {
        self.tasks.min(limits::BATCH_TASKS as u64)
    }

    /// Room for fewer tasks than this is not worth a message, if there are more to send.
    pub(super) fn worth_tasks(&self) -> u64 {
        (self.tasks / 16).clamp(1, limits::BATCH_TASKS as u64)
    }

    /// Bytes that one batch gathers.
    pub(super) fn batch_bytes(&self) -> u64 {
        (self.bytes / 4).clamp(1, limits::MESSAGE_BYTES as u64)
    }

    /// A submission is sent.
    pub(super) fn open(
        &mut self,
        request: u64,
        segments: Vec<Segment>,
        count: u32,
        bytes: u64,
        windowed: bool,
    ) {
        if windowed {
            self.taken_tasks += u64::from(count);
            self.taken_bytes += bytes;
        }
        let live = Live {
            segments,
            count,
            left: count,
            named: false,
            bytes,
            windowed,
        };
        self.live.insert(request, live);
    }

    pub(super) fn get_mut(&mut self, request: u64) -> Option<&mut Live> {
        self.live.get_mut(&request)
    }

    /// So many tasks of a submission have ended. Its bytes count until all have: the agent gives no more room
    /// than that.
    pub(super) fn ended(&mut self, request: u64, tasks: u32) {
        let Some(live) = self.live.get_mut(&request) else {
            return;
        };
        live.left -= tasks;
        if live.windowed {
            self.taken_tasks -= u64::from(tasks);
        }
        if live.left == 0 {
            self.close(request);
        }
        self.held_until = None;
    }

    /// A submission counts no more.
    pub(super) fn close(&mut self, request: u64) -> Option<Live> {
        let live = self.live.remove(&request)?;
        if live.windowed {
            self.taken_tasks -= u64::from(live.left);
            self.taken_bytes -= live.bytes;
        }
        Some(live)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.tasks, self.bytes);
    }

    /// The agent said that the window is full, by tasks of an earlier life of the session: waits for results,
    /// or a time that doubles.
    pub(super) fn hold(&mut self, now: Micros) {
        self.held_until = Some(now + self.hold);
        self.hold = (2 * self.hold).min(LONGEST_HOLD);
    }

    /// A submission was accepted: the next hold is short again.
    pub(super) fn relax(&mut self) {
        self.hold = SHORTEST_HOLD;
    }

    /// Until when nothing is sent.
    pub(super) fn held_until(&self, now: Micros) -> Option<Micros> {
        self.held_until.filter(|until| *until > now)
    }

    /// Whether nothing is unfinished at the agent.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Tasks and bytes that are taken.
    pub(super) fn taken(&self) -> (u64, u64) {
        (self.taken_tasks, self.taken_bytes)
    }
}
