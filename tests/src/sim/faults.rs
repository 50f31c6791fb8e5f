//! What goes wrong, and how it becomes right again.

use scalems_client::machine::{self, SessionEnd};
use scalems_core::leaseholder;
use scalems_protocol::Code;
use scalems_protocol::worker::AgentToWorker;

use super::network::Party;
use super::plan::Fault;
use super::world::{Actor, Event, World};

impl World {
    pub(super) fn incident(&mut self, fault: Fault) {
        self.incidents += 1;
        let worker = self.random.within(0, self.workers.len() as u64) as usize;
        let client = self.random.within(0, self.clients.len() as u64) as usize;
        let long = self.random.within(100_000, 14_000_000);
        match fault {
            Fault::Cut => {
                let open = self.network.open();
                if !open.is_empty() {
                    let link = self.random.pick(&open);
                    self.cut(link);
                }
            }
            Fault::KillWorker => self.kill(Party::Worker(worker)),
            Fault::KillClient => self.kill(Party::Client(client)),
            Fault::PauseWorker => self.pause(Actor::Party(Party::Worker(worker)), long),
            Fault::PauseClient => self.pause(Actor::Party(Party::Client(client)), long),
            Fault::PauseAgent => self.pause(Actor::Agent, long),
            Fault::Delay => {
                let open = self.network.open();
                if !open.is_empty() {
                    let link = self.random.pick(&open);
                    self.network.slow(link, self.now + long);
                }
            }
            Fault::LossyBeats => self.lossy_until = self.now + 2 * long,
            Fault::StopWorker => {
                let drain_ms = long / 4_000;
                self.workers[worker].stop(drain_ms);
                self.wake(Actor::Party(Party::Worker(worker)), self.now + 10);
            }
            Fault::LostLease => self.lose_lease = true,
            Fault::KillAgent => self.kill_agent(),
            Fault::KillAll => {
                (0..self.workers.len()).for_each(|at| self.kill(Party::Worker(at)));
                (0..self.clients.len()).for_each(|at| self.kill(Party::Client(at)));
                self.kill_agent();
            }
        }
    }

    fn pause(&mut self, actor: Actor, long: u64) {
        let until = self.now + long;
        let paused = self.paused.entry(actor).or_default();
        *paused = (*paused).max(until);
    }

    /// A connection breaks. Both ends notice in their own time, and the party comes back.
    fn cut(&mut self, link: u32) {
        self.network.cut(link);
        let party = self.network.link(link).party;
        let process = match party {
            Party::Worker(at) => self.workers[at].process,
            Party::Client(at) => self.clients[at].process,
        };
        let [agent, other, back] = [0; 3].map(|_: u32| self.random.within(0, 2_000_000));
        // Most often a new connection is there soon, sometimes before the party knows of it.
        let back = if self.random.percent(30) {
            back * 4
        } else {
            back / 2
        };
        self.at(self.now + agent, Event::AgentNotices(link));
        self.at(self.now + other, Event::PartyNotices { party, process });
        self.at(self.now + back, Event::Reconnect { party, process });
    }

    /// The party's transport says how it is with its connection.
    pub(super) fn tell(&mut self, party: Party, connected: bool) {
        let link = match party {
            Party::Worker(at) => self.workers[at].link,
            Party::Client(at) => self.clients[at].link,
        };
        let open = link.is_some_and(|link| self.network.link(link).open);
        match party {
            Party::Worker(at) => {
                let worker = &mut self.workers[at];
                worker.told = true;
                if !connected {
                    worker.inbox.push_back(leaseholder::Input::Disconnected);
                }
                if open {
                    worker.told = false;
                    worker.inbox.push_back(leaseholder::Input::Connected);
                }
            }
            Party::Client(at) => {
                let client = &mut self.clients[at];
                client.told = true;
                if !connected {
                    client.inbox.push_back(machine::Input::Disconnected);
                }
                if open {
                    client.told = false;
                    client.inbox.push_back(machine::Input::Connected);
                }
            }
        }
        self.wake(Actor::Party(party), self.now + 10);
    }

    /// A new connection. What is sent before the party is told of it goes over it as well.
    pub(super) fn reconnect(&mut self, party: Party) {
        let (link, told, lives) = match party {
            Party::Worker(at) => (
                self.workers[at].link,
                self.workers[at].told,
                self.workers[at].lives(),
            ),
            Party::Client(at) => (
                self.clients[at].link,
                self.clients[at].told,
                self.clients[at].lives(),
            ),
        };
        if self.down {
            return self.reconnect_later(party);
        }
        if !lives || link.is_some_and(|link| self.network.link(link).open) {
            return;
        }
        let link = Some(self.network.connect(party));
        match party {
            Party::Worker(at) => self.workers[at].link = link,
            Party::Client(at) => self.clients[at].link = link,
        }
        if told {
            self.tell(party, true);
        }
    }

    /// A worker's process ends in order: what it said last is still sent.
    pub(super) fn end_worker(&mut self, at: usize) {
        if let Some(link) = self.workers[at].link.take() {
            self.at(self.now + 500_000, Event::Close(link));
        }
        self.kill(Party::Worker(at));
    }

    /// A process ends; another one begins after a while.
    pub(super) fn kill(&mut self, party: Party) {
        let link = match party {
            Party::Worker(at) => self.workers[at].link,
            Party::Client(at) => self.clients[at].link,
        };
        if let Some(link) = link.filter(|link| self.network.link(*link).open) {
            self.network.cut(link);
            let notices = self.now + self.random.within(0, 2_000_000);
            self.at(notices, Event::AgentNotices(link));
        }
        let lived = match party {
            Party::Worker(at) => {
                let lived = self.workers[at].lives();
                self.workers[at].die();
                lived
            }
            Party::Client(at) => {
                let lived = self.clients[at].lives();
                self.clients[at].die();
                for topic in self.topics() {
                    self.unlisten(at, &topic);
                }
                lived
            }
        };
        if lived {
            self.paused.remove(&Actor::Party(party));
            let back = self.now + self.random.within(100_000, 8_000_000);
            self.at(back, Event::Restart(party));
        }
    }

    pub(super) fn restart(&mut self, party: Party) {
        match party {
            Party::Worker(at) => self.workers[at].begin(self.now),
            Party::Client(at) => self.clients[at].begin(self.now),
        }
        if self.down {
            self.tell(party, true);
            return self.reconnect_later(party);
        }
        let link = Some(self.network.connect(party));
        match party {
            Party::Worker(at) => self.workers[at].link = link,
            Party::Client(at) => self.clients[at].link = link,
        }
        self.tell(party, true);
    }

    /// Tries again when the agent may be there.
    fn reconnect_later(&mut self, party: Party) {
        let process = match party {
            Party::Worker(at) => self.workers[at].process,
            Party::Client(at) => self.clients[at].process,
        };
        let again = self.now + self.random.within(100_000, 1_000_000);
        self.at(again, Event::Reconnect { party, process });
    }

    /// A session is over for a client's process, which may be only as it should be after what happened.
    pub(super) fn session_over(&mut self, at: usize, end: &SessionEnd) {
        let expected = match end {
            SessionEnd::Refused(refusal) => matches!(refusal.code, Code::SessionInUse | Code::TakenOver),
            SessionEnd::Detached(refusal) => refusal.code == Code::TakenOver,
            SessionEnd::Lost { .. } | SessionEnd::Unreachable { .. } | SessionEnd::Replaced => true,
            _ => false,
        };
        if !expected || self.plan.faults.is_empty() {
            self.history.violation(format!("client {at}: {end}"));
        }
        if let Some(open) = self.clients[at].open() {
            self.history
                .violation(format!("after the end of its session, {open}"));
        }
        self.kill(Party::Client(at));
    }

    /// A group of a lease vanishes, if one is to.
    pub(super) fn lose_part(&mut self, message: &mut AgentToWorker) {
        if let AgentToWorker::Lease(lease) = message
            && self.lose_lease
            && !lease.groups.is_empty()
        {
            self.lose_lease = false;
            let at = self.random.within(0, lease.groups.len() as u64) as usize;
            lease.groups.remove(at);
        }
    }
}
