//! What an agent would know that is started again from the records so far.

use scalems_core::{Config, Restore};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;

use super::world::World;

impl World {
    /// Another life knows every submission, and every end; what had not ended has not, or is canceled as was asked.
    pub(super) fn check_rebirth(&mut self) {
        if !self.plan.journal {
            return;
        }
        let living = self.tasks(&Selector::all());
        let config = Config {
            incarnation: 2,
            ..Self::config(&self.plan)
        };
        let mut restore = Restore::new(config, self.now);
        for record in &self.journal {
            restore.take(record);
        }
        let (reborn, _) = restore.finish();
        let agent = std::mem::replace(&mut self.agent, reborn);
        self.reborn = true;
        let reborn = self.tasks(&Selector::all());
        self.reborn = false;
        self.agent = agent;
        let numbers = |tasks: &super::inspect::Tasks| tasks.keys().copied().collect::<Vec<u64>>();
        if numbers(&living) != numbers(&reborn) {
            let (has, knows) = (numbers(&living), numbers(&reborn));
            self.history.violation(format!(
                "an agent that is started again knows submissions {knows:?} of {has:?}"
            ));
            return;
        }
        for ((number, was), is) in living.iter().zip(reborn.values()) {
            for (offset, ((was, _), (is, _))) in was.iter().zip(is).enumerate() {
                let fine = if was.is_final() {
                    was == is
                } else {
                    !is.is_final() || *is == TaskState::Canceled
                };
                if !fine {
                    self.history.violation(format!(
                        "{number}.{offset} is {was:?}, and {is:?} for an agent that is started again"
                    ));
                }
            }
        }
    }
}
