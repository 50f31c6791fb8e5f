//! What the agent and its workers log, changed while they run (`docs/spec/2-client`, section "Logging").
//!
//! Soft: an agent that is started again begins with the levels of its start, and says nothing to its workers.

use scalems_protocol::client::{LogLevels, Reply};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::log_levels;
use scalems_protocol::worker::WorkerLogLevels;

use super::Agent;
use crate::interface::{Action, Peer};

impl Agent {
    /// A client wants other levels.
    pub(super) fn log_levels(&mut self, peer: Peer, asked: LogLevels, out: &mut Vec<Action>) {
        let LogLevels { id, levels, worker } = asked;
        if !levels.is_empty()
            && let Err(message) = log_levels::check(&levels)
        {
            let refusal = Refusal::new(Code::InvalidValue, message);
            return self.refuse(peer, None, Some(id), refusal, out);
        }
        let those = self
            .workers
            .values()
            .filter(|one| one.lives() && worker.is_none_or(|number| u64::from(one.number) == number))
            .filter_map(|worker| worker.peer);
        let peers: Vec<Peer> = those.collect();
        match worker {
            Some(number) if peers.is_empty() => {
                let message = format!(
                    "no worker {number} can be told: none of that number is connected; `scalems worker list` shows them"
                );
                let refusal = Refusal::new(Code::NothingSelected, message);
                return self.refuse(peer, None, Some(id), refusal, out);
            }
            Some(_) => {}
            None => {
                self.log_levels.clone_from(&levels);
                out.push(Action::LogLevels {
                    levels: levels.clone(),
                });
            }
        }
        let workers = peers.len() as u64;
        out.extend(peers.into_iter().map(|peer| to(peer, &levels)));
        self.reply(peer, id, Reply::LogLevels { workers }, Vec::new(), out);
    }

    /// Tells a worker that joins, unless what it was started with holds.
    pub(super) fn tell_log_levels(&self, peer: Peer, out: &mut Vec<Action>) {
        if !self.log_levels.is_empty() {
            out.push(to(peer, &self.log_levels));
        }
    }
}

fn to(peer: Peer, levels: &str) -> Action {
    let levels = levels.to_owned();
    Action::ToWorker {
        peer,
        message: WorkerLogLevels { levels }.into(),
        blobs: Vec::new(),
    }
}
