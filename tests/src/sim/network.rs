//! Connections: in order and reliable as long as they live, and then gone with all that was on its way.

use std::collections::BTreeMap;

use scalems_core::Micros;

use super::random::Random;

/// Who is at the other end of a connection to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A worker.
    Worker(usize),
    /// A client.
    Client(usize),
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// Who is at the other end.
    pub party: Party,
    /// Whether it lives.
    pub open: bool,
    /// Whether the agent's transport has noticed that it does not.
    pub noticed: bool,
    /// Extra time that everything takes until then.
    slow_until: Micros,
    /// What is sent to the agent, and to the party, waits until then.
    blocked_until: [Micros; 2],
    last_to_agent: Micros,
    last_to_party: Micros,
}

/// All connections that ever were, by the number that the agent knows them by.
#[derive(Debug)]
pub struct Network {
    links: BTreeMap<u32, Link>,
    last: u32,
    random: Random,
}

impl Network {
    /// A network without connections.
    pub fn new(seed: u64) -> Self {
        Self {
            links: BTreeMap::new(),
            last: 0,
            random: Random::new(seed, 2),
        }
    }

    /// A new connection.
    pub fn connect(&mut self, party: Party) -> u32 {
        self.last += 1;
        let link = Link {
            party,
            open: true,
            noticed: false,
            slow_until: 0,
            blocked_until: [0; 2],
            last_to_agent: 0,
            last_to_party: 0,
        };
        self.links.insert(self.last, link);
        self.last
    }

    /// A connection.
    pub fn link(&self, number: u32) -> &Link {
        &self.links[&number]
    }

    /// The living connections.
    pub fn open(&self) -> Vec<u32> {
        self.links
            .iter()
            .filter(|(_, link)| link.open)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Breaks a connection.
    pub fn cut(&mut self, number: u32) {
        if let Some(link) = self.links.get_mut(&number) {
            link.open = false;
        }
    }

    /// The agent's transport notices that a connection is gone.
    pub fn notice(&mut self, number: u32) {
        if let Some(link) = self.links.get_mut(&number) {
            link.noticed = true;
        }
    }

    /// Everything on a connection takes long until then.
    pub fn slow(&mut self, number: u32, until: Micros) {
        if let Some(link) = self.links.get_mut(&number) {
            link.slow_until = until;
        }
    }

    /// Nothing goes in one direction until then.
    pub fn block(&mut self, number: u32, to_agent: bool, until: Micros) {
        if let Some(link) = self.links.get_mut(&number) {
            link.blocked_until[usize::from(!to_agent)] = until;
        }
    }

    /// When something that is sent now arrives; never, if the connection is gone.
    pub fn arrival(&mut self, now: Micros, number: u32, to_agent: bool) -> Option<Micros> {
        let link = self.links.get_mut(&number).filter(|link| link.open)?;
        let slow = now < link.slow_until;
        let takes = if slow {
            self.random.within(100_000, 4_000_000)
        } else {
            self.random.within(40, 400)
        };
        let last = if to_agent {
            &mut link.last_to_agent
        } else {
            &mut link.last_to_party
        };
        let blocked = link.blocked_until[usize::from(!to_agent)];
        *last = (now.max(blocked) + takes).max(*last);
        Some(*last)
    }

    /// When something that is published now arrives; never, if it is lost.
    pub fn publication(&mut self, now: Micros, lossy: bool) -> Option<Micros> {
        if lossy && self.random.percent(25) {
            return None;
        }
        let most = if lossy { 3_000_000 } else { 1_000 };
        Some(now + self.random.within(50, most))
    }
}
