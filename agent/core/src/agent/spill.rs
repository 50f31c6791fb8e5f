//! Results that nobody has collected are moved out of memory (R10): the oldest values are handed to the shell in
//! parts, which puts each into a file and gives back values that lie there. In between they are where they were.

use bytes::Bytes;
use scalems_protocol::limits;

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Micros};
use crate::task::Sizes;

/// How long after a part found no room the next one is tried.
const AGAIN: Micros = 10_000_000;
/// A part is so much of what may stay in memory: 16 MiB of 128.
const PARTS: u64 = 8;

/// Where a value is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Until it is asked for: its submission and the first offset of its run.
    Held(u64, u32),
    /// On its way to a seat, and its number there.
    Pending(u64, u64),
}

/// What is being moved out.
#[derive(Clone, Debug, Default)]
pub(super) struct Spilling {
    /// The values that the shell has, as they are in memory.
    part: Option<Vec<(Place, Bytes)>>,
    /// Whether what is in memory may be too much since it was last looked at.
    pub(super) look: bool,
    /// There was no room: until a timer says so nothing is tried.
    paused: bool,
    /// Whether an alarm has said that nothing new starts.
    alarmed: bool,
}

impl Agent {
    /// What results take in memory, and what was spilled of them, in bytes.
    pub fn results_taken(&self) -> (u64, u64) {
        let outboxes = self.attachments.values().map(|attachment| &attachment.outbox);
        let (memory, spilled) = outboxes.fold((0, 0), |(memory, spilled), outbox| {
            (memory + outbox.memory(), spilled + outbox.values().1)
        });
        let held = self.tasks.results;
        (held.memory() + memory, held.spilled + spilled)
    }

    /// The same, counted anew one by one: for tests and the simulator.
    pub fn results_recounted(&self) -> (u64, u64) {
        let held = self.tasks.iter().map(|submission| submission.results.recounted());
        let held = held.fold(Sizes::default(), |all, sizes| all + sizes);
        let outboxes = self.attachments.values().map(|attachment| &attachment.outbox);
        let (memory, spilled) = outboxes.fold((0, 0), |(memory, spilled), outbox| {
            let counted = outbox.recounted();
            (memory + counted.0, spilled + counted.1)
        });
        (held.memory() + memory, held.spilled + spilled)
    }

    /// Whether results take as much memory as they may: then nothing new starts until there are fewer.
    pub(super) fn results_full(&self) -> bool {
        self.results_taken().0 > limits::RESULT_BYTES
    }

    /// Whether nothing may start for that reason. It is told once, if it does not pass by itself.
    pub(super) fn results_stop(&mut self) -> bool {
        let full = self.results_full();
        if !full {
            self.spilling.alarmed = false;
        } else if !self.is_spilling() && !self.spilling.alarmed {
            self.spilling.alarmed = true;
            let message = self.why_full();
            self.alarm("agent_full", self.config.pilot_name.clone(), message);
        }
        full
    }

    /// Why nothing starts while results take as much as they may.
    pub(super) fn why_full(&self) -> String {
        let (memory, spilled) = self.results_taken();
        let (memory, spilled, most) = (memory >> 20, spilled >> 20, limits::SPILL_BYTES >> 20);
        let may = limits::RESULT_BYTES >> 20;
        let held =
            format!("results that nobody has collected take {memory} MiB of memory, and may take {may}");
        if self.is_spilling() {
            return format!("{held}: some are being moved to the pilot's directory, and then it goes on");
        }
        let no_room = if self.spilling.paused {
            format!(
                ", and there is no room for more than these in the pilot's directory (at most {most} MiB, less if its \
                 disk is full, which the agent's log says)"
            )
        } else {
            String::new()
        };
        format!(
            "{held}; {spilled} MiB more lie in the pilot's directory{no_room}: nothing new starts before some are \
             collected or dropped (`scalems task forget SEL` drops submissions of which all tasks have ended)"
        )
    }

    /// Whether there will be fewer results in memory soon.
    fn is_spilling(&self) -> bool {
        !self.spilling.paused && (self.spilling.part.is_some() || self.may_spill())
    }

    /// Hands the next part out, if more is in memory than is to stay there.
    pub(super) fn spill(&mut self, out: &mut Vec<Action>) {
        if !self.spilling.look || self.spilling.paused || self.spilling.part.is_some() {
            return;
        }
        self.spilling.look = false;
        if let Some(part) = self.next_part() {
            let values = part.iter().map(|(_, value)| value.clone()).collect();
            self.spilling.part = Some(part);
            out.push(Action::Spill { values });
        }
    }

    /// The shell has moved a part out, or had no room for it.
    pub(super) fn spilled(&mut self, values: Option<Vec<Bytes>>) {
        let Some(part) = self.spilling.part.take() else {
            return;
        };
        self.spilling.look = true;
        // There may be room for tasks again, or there is none for long.
        self.schedule = true;
        let Some(values) = values else {
            self.count("spill_failed", 1);
            self.spilling.paused = true;
            return self.timers.add(self.now + AGAIN, Timer::Spill);
        };
        self.put(part, values);
    }

    /// Parts may find room again.
    pub(super) const fn spill_again(&mut self) {
        self.spilling.paused = false;
        self.spilling.look = true;
    }

    /// Bytes of values that make a part.
    const fn least(&self) -> u64 {
        self.config.spill_over / PARTS
    }

    /// Whether more is in memory than is to stay there, and enough of it values. Small parts would make many files, and
    /// gain little.
    fn may_spill(&self) -> bool {
        let pending = self.attachments.values();
        let pending: u64 = pending.map(|attachment| attachment.outbox.values().0).sum();
        self.results_taken().0 > self.config.spill_over && self.tasks.results.values + pending >= self.least()
    }

    /// The oldest values in memory, if more is there than is to stay: as many as make a part.
    fn next_part(&self) -> Option<Vec<(Place, Bytes)>> {
        if !self.may_spill() {
            return None;
        }
        let held = self.tasks.in_memory();
        let held = held.map(|((number, offset), value)| (Place::Held(number, offset), value));
        let pending = self.attachments.iter().flat_map(|(seat, attachment)| {
            let values = attachment.outbox.in_memory();
            values.map(|(number, value)| (Place::Pending(*seat, number), value))
        });
        let (mut part, mut bytes) = (Vec::new(), 0);
        for (place, value) in held.chain(pending) {
            bytes += value.len() as u64;
            part.push((place, value));
            if bytes >= self.least() {
                break;
            }
        }
        (!part.is_empty()).then_some(part)
    }

    /// Puts values that were moved out where they were. What was collected, cut or forgotten meanwhile stays so.
    fn put(&mut self, part: Vec<(Place, Bytes)>, values: Vec<Bytes>) {
        assert_eq!(part.len(), values.len(), "the shell gives each value back");
        let mut count = 0;
        for ((place, before), value) in part.into_iter().zip(values) {
            assert_eq!(before.len(), value.len(), "the shell gives the same values back");
            let put = match place {
                Place::Held(number, offset) => self.tasks.spilled((number, offset), &before, value),
                Place::Pending(seat, number) => self
                    .attachments
                    .get_mut(&seat)
                    .is_some_and(|attachment| attachment.outbox.spilled(number, &before, value)),
            };
            count += u64::from(put);
        }
        self.count("spilled", count);
    }

    /// Moves values out at once, part by part, while records of an earlier life are taken in. `spill` gives them back, or
    /// nothing if there is no room. Whether there was room for all.
    pub(super) fn spill_now(&mut self, mut spill: impl FnMut(&[Bytes]) -> Option<Vec<Bytes>>) -> bool {
        while let Some(part) = self.next_part() {
            let values: Vec<Bytes> = part.iter().map(|(_, value)| value.clone()).collect();
            let Some(values) = spill(&values) else {
                return false;
            };
            self.put(part, values);
        }
        true
    }
}
