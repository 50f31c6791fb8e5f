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
        let worker = Party::Worker(self.random.within(0, self.workers.len() as u64) as usize);
        let client = Party::Client(self.random.within(0, self.clients.len() as u64) as usize);
        let long = self.random.within(100_000, 14_000_000);
        let either = if self.random.percent(50) { worker } else { client };
        match fault {
            Fault::Cut | Fault::Delay | Fault::WayInBlocked | Fault::WayOutBlocked => {
                let open = self.network.open();
                if open.is_empty() {
                    return;
                }
                let link = self.random.pick(&open);
                match fault {
                    Fault::Cut => self.cut(link),
                    Fault::Delay => self.network.slow(link, self.now + long),
                    _ => self.block(link, fault == Fault::WayInBlocked, long),
                }
            }
            Fault::KillWorker if self.is_alive(worker) => self.kill(worker),
            Fault::KillClient if self.is_alive(client) => self.kill(client),
            Fault::PauseWorker if self.is_alive(worker) => self.pause(Actor::Party(worker), long),
            Fault::PauseClient if self.is_alive(client) => self.pause(Actor::Party(client), long),
            Fault::PauseAgent if !self.down => self.pause(Actor::Agent, long),
            Fault::LossyBeats => self.lossy_until = self.now + 2 * long,
            Fault::StopWorker if self.is_alive(worker) => {
                let Party::Worker(at) = worker else { return };
                let drain_ms = long / 4_000;
                self.workers[at].stop(drain_ms);
                self.wake(Actor::Party(worker), self.now + 10);
            }
            // It takes place with the next lease.
            Fault::LostLease => {
                self.lose_lease = true;
                return;
            }
            Fault::KillAgent if self.may_die() => self.kill_agent(),
            Fault::KillAll => {
                (0..self.workers.len()).for_each(|at| self.kill(Party::Worker(at)));
                (0..self.clients.len()).for_each(|at| self.kill(Party::Client(at)));
                self.kill_agent();
            }
            Fault::DiskFull if self.may_die() => self.disk.full_until = self.now + long,
            Fault::SlowDisk if self.may_die() => self.disk.slow_until = self.now + 2 * long,
            // It takes place with the next commit.
            Fault::DiskError => {
                self.disk.breaks = self.may_die();
                return;
            }
            // These count themselves.
            Fault::WallLeap => return self.leap_wall(),
            Fault::ClockLeap => {
                let actor = if self.random.percent(40) && !self.down {
                    Actor::Agent
                } else {
                    Actor::Party(either)
                };
                return self.leap(actor);
            }
            Fault::Suspend => {
                let all = self.random.percent(50);
                let others = all.then(|| self.everybody()).into_iter().flatten();
                let mut actors: Vec<Actor> = others.collect();
                if actors.is_empty() {
                    actors.push(Actor::Party(either));
                }
                return self.suspend(&actors);
            }
            Fault::KillWorker
            | Fault::KillClient
            | Fault::PauseWorker
            | Fault::PauseClient
            | Fault::PauseAgent
            | Fault::StopWorker
            | Fault::KillAgent
            | Fault::DiskFull
            | Fault::SlowDisk => return,
        }
        self.happened(fault);
    }

    fn is_alive(&self, party: Party) -> bool {
        match party {
            Party::Worker(at) => self.workers[at].lives(),
            Party::Client(at) => self.clients[at].lives(),
        }
    }

    fn everybody(&self) -> Vec<Actor> {
        let workers = (0..self.workers.len()).map(Party::Worker);
        let parties = workers.chain((0..self.clients.len()).map(Party::Client));
        let agent = (!self.down).then_some(Actor::Agent);
        agent.into_iter().chain(parties.map(Actor::Party)).collect()
    }

    pub(super) fn pause(&mut self, actor: Actor, long: u64) {
        let until = self.now + long;
        let paused = self.paused.entry(actor).or_default();
        *paused = (*paused).max(until);
        self.calm_from = self.calm_from.max(until);
    }

    /// Nothing goes in one direction for a time. Often one end gives the connection up before that is over; whether
    /// the other hears of it goes the same way as everything else.
    fn block(&mut self, link: u32, to_agent: bool, long: u64) {
        let until = self.now + long;
        self.network.block(link, to_agent, until);
        if self.random.percent(40) {
            return;
        }
        let by_agent = self.random.percent(50);
        let given_up = self.now + self.random.within(0, long);
        let heard = if by_agent == to_agent { given_up } else { until };
        let event = Event::GiveUp {
            link,
            by_agent,
            heard,
        };
        self.at(given_up, event);
    }

    /// One end gives a connection up.
    pub(super) fn give_up(&mut self, link: u32, by_agent: bool, heard: u64) {
        if !self.network.link(link).open {
            return;
        }
        let (agent, other) = if by_agent {
            (self.now, heard)
        } else {
            (heard, self.now)
        };
        let back = other + self.random.within(0, 1_000_000);
        self.part(link, agent, other, back);
    }

    /// A connection breaks. Both ends notice in their own time, and the party comes back.
    fn cut(&mut self, link: u32) {
        let [agent, other, back] = [0; 3].map(|_: u32| self.random.within(0, 2_000_000));
        // Most often a new connection is there soon, sometimes before the party knows of it; now and then not before
        // a worker was lost, or gave up.
        let worker = matches!(self.network.link(link).party, Party::Worker(_));
        let back = match self.random.within(0, 100) {
            0..60 => back / 2,
            60..90 => back * 4,
            _ if worker => self.random.within(5_000_000, 100_000_000),
            _ => back,
        };
        self.part(link, self.now + agent, self.now + other, self.now + back);
    }

    /// A connection is no more. The agent notices at a time, the party at another, and it is back at a third.
    fn part(&mut self, link: u32, agent: u64, other: u64, back: u64) {
        self.network.cut(link);
        let party = self.network.link(link).party;
        let (process, ..) = self.process(party);
        self.at(agent, Event::AgentNotices(link));
        self.at(other, Event::PartyNotices { party, process });
        self.at(back, Event::Reconnect { party, process });
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
        let clock = self.clock(Actor::Party(party));
        match party {
            Party::Worker(at) => self.workers[at].begin(clock),
            Party::Client(at) => self.clients[at].begin(clock),
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
            SessionEnd::Lost { .. } | SessionEnd::Unreachable { .. } | SessionEnd::Replaced => {
                self.plan.silences()
            }
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
            self.happened(Fault::LostLease);
            let at = self.random.within(0, lease.groups.len() as u64) as usize;
            lease.groups.remove(at);
        }
    }
}
