//! Results that are too many for the agent's memory: where they are moved takes its time, or has no room.

use bytes::Bytes;
use scalems_core::{Input, Micros};

use super::plan::Plan;
use super::random::Random;
use super::world::{Event, World};

/// What is moved out, and has been.
#[derive(Debug)]
pub(super) struct Spills {
    random: Random,
    /// The life of the agent that has asked and was not answered.
    asked: Option<u64>,
}

impl Spills {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, 6),
            asked: None,
        }
    }
}

/// What may stay in memory: in some worlds so little that nearly everything is moved.
pub(super) fn over(plan: &Plan) -> u64 {
    [u64::MAX, 60, 20_000][(plan.seed % 3) as usize]
}

/// The same values, somewhere else.
#[allow(clippy::unnecessary_wraps, reason = "as where there may be no room")]
pub(super) fn moved(values: &[Bytes]) -> Option<Vec<Bytes>> {
    Some(values.iter().map(|value| Bytes::copy_from_slice(value)).collect())
}

impl World {
    /// The agent hands values out.
    pub(super) fn spill(&mut self, values: &[Bytes]) {
        if self.spills.asked.replace(self.life) == Some(self.life) {
            self.history
                .violation("values are handed out before the last ones are back".into());
        }
        let random = &mut self.spills.random;
        let takes: Micros = random.within(100, 2_000_000);
        let values = if random.percent(90) { moved(values) } else { None };
        let life = self.life;
        self.at(self.now + takes, Event::Spilled { life, values });
    }

    /// They lie elsewhere, if the agent that asked still lives.
    pub(super) fn spilled(&mut self, life: u64, values: Option<Vec<Bytes>>) {
        if life == self.life && !self.down {
            self.spills.asked = None;
            self.to_agent(Input::Spilled(values));
        }
    }

    /// What is counted is what there is.
    pub(super) fn check_accounts(&mut self) {
        let (counted, there) = (self.agent.results_taken(), self.agent.results_recounted());
        if counted != there {
            self.history.violation(format!(
                "the agent counts {counted:?} bytes of results in memory and elsewhere, and has {there:?}"
            ));
        }
    }
}
