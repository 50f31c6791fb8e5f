//! The agent dies, and another life of it begins with the records that were on disk.

use scalems_core::compaction::compacted;
use scalems_core::record::Record;
use scalems_core::{Input, Restore};
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;

use super::network::Party;
use super::plan::Sabotage;
use super::world::{Actor, Event, World};

impl World {
    /// Whether the agent's process lives, and another one could follow it.
    pub(super) fn may_die(&self) -> bool {
        self.plan.journal && !self.down
    }

    /// The agent's process ends without a word. What was not on disk for sure is there, or is not, from some record on.
    pub(super) fn kill_agent(&mut self) {
        if !self.may_die() {
            return;
        }
        self.check_rebirth();
        self.down = true;
        self.brought_back += self.agent_count("brought_back");
        self.known_again += self.agent_count("known_again");
        self.spilled_before += self.agent_count("spilled");
        self.inbox.clear();
        self.rounds.remove(&Actor::Agent);
        self.paused.remove(&Actor::Agent);
        self.disk.abandon();
        self.looked = false;
        let (durable, all) = (self.disk.durable as u64, self.journal.len() as u64);
        let left = self.random.within(durable, all + 1) as usize;
        self.journal.truncate(left);
        for link in self.network.open() {
            self.network.cut(link);
            let party = self.network.link(link).party;
            let process = match party {
                Party::Worker(at) => self.workers[at].process,
                Party::Client(at) => self.clients[at].process,
            };
            let [other, back] = [0; 2].map(|_: u32| self.random.within(0, 2_000_000));
            self.at(self.now + other, Event::PartyNotices { party, process });
            self.at(self.now + back, Event::Reconnect { party, process });
        }
        let again = self.now + self.random.within(10_000, 8_000_000);
        self.at(again, Event::AgentBegins);
    }

    /// It is started again.
    pub(super) fn agent_begins(&mut self) {
        // That another life begins has to be on disk.
        if self.now < self.disk.full_until {
            return self.at(self.disk.full_until, Event::AgentBegins);
        }
        self.life += 1;
        self.down = false;
        let age = self.age();
        let incarnation = if self.plan.sabotage == Some(Sabotage::SameLife) {
            1
        } else {
            self.life
        };
        let mut restore = Restore::new(Self::config(&self.plan, incarnation), age);
        let read = self.read_back();
        for record in &self.shortened(read) {
            restore.take(record);
            restore.spill(super::spill::moved);
        }
        self.records = self.journal.len() as u64;
        restore.numbered(self.records);
        self.disk.durable = self.journal.len();
        self.history.reborn(&self.journal);
        let (agent, mut first) = restore.finish();
        self.agent = agent;
        self.act(&mut first);
        for topic in self.topics() {
            self.to_agent(Input::Subscribed(topic));
        }
        self.wake(Actor::Agent, self.now);
    }

    /// A journal may have been shortened, more than once; what is left leads to the same.
    fn shortened(&mut self, read: Vec<Record>) -> Vec<Record> {
        if self.random.percent(50) {
            return read;
        }
        let cut = self.random.within(0, read.len() as u64 + 1) as usize;
        let (before, after) = read.split_at(cut);
        let snapshot = compacted(before);
        compacted(&[&snapshot, after].concat())
    }

    /// Another life knows every submission, and every end; what had not ended has not, or is canceled as was asked.
    pub(super) fn check_rebirth(&mut self) {
        if !self.may_die() {
            return;
        }
        let living = self.tasks(&Selector::all());
        let mut restore = Restore::new(Self::config(&self.plan, self.life + 1), self.clock(Actor::Agent));
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
