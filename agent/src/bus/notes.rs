//! What the agent says of its life in its log. It costs the ways of work nothing: a look at a message's kind, and a
//! flag where that is one that comes often.

use scalems_core::{Agent, Peer};
use scalems_protocol::client::AgentToClient;
use scalems_protocol::error::Code;
use scalems_protocol::event::Alarm;
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};
use tracing::{debug, info, trace, warn};

pub(super) fn to_worker(peer: Peer, message: &AgentToWorker) {
    let peer = peer.0;
    match message {
        AgentToWorker::WorkerWelcome(welcome) => {
            info!(
                worker = welcome.worker,
                name = welcome.name,
                peer,
                "a worker has joined, or has come back"
            );
        }
        AgentToWorker::WorkerRefused(refused) => {
            info!(peer, refusal = %refused.refusal, "a worker's message is refused");
        }
        AgentToWorker::WorkerStop(stop) => {
            info!(
                peer,
                drain_ms = stop.drain_ms,
                reason = stop.reason,
                "a worker is told to end"
            );
        }
        AgentToWorker::Lease(lease) => trace!(
            peer,
            number = lease.number,
            groups = lease.groups.len(),
            "leases are granted"
        ),
        AgentToWorker::Revoke(revoke) => {
            debug!(
                peer,
                number = revoke.number,
                runs = revoke.runs.len(),
                reason = revoke.reason,
                "leases are revoked"
            );
        }
        _ => {}
    }
}

pub(super) fn of_worker(peer: Peer, message: &WorkerToAgent) {
    let peer = peer.0;
    match message {
        WorkerToAgent::WorkerHello(hello) => {
            debug!(
                peer,
                name = hello.name,
                host = hello.host,
                pid = hello.pid,
                "a worker says hello"
            );
        }
        WorkerToAgent::WorkerGoodbye(goodbye) => info!(peer, reason = goodbye.reason, "a worker leaves"),
        WorkerToAgent::Report(report) => {
            trace!(
                peer,
                number = report.number,
                results = report.results.len(),
                "a worker reports"
            );
        }
        _ => {}
    }
}

pub(super) fn to_client(peer: Peer, message: &AgentToClient) {
    let peer = peer.0;
    match message {
        AgentToClient::ClientWelcome(welcome) => {
            debug!(peer, session = welcome.session, "a client has attached");
        }
        AgentToClient::Accepted(accepted) => debug!(peer, ?accepted, "a submission is accepted"),
        // A wait whose time is over is asked again: that is how clients wait.
        AgentToClient::Refused(refused) if refused.refusal.code == Code::TimedOut => {
            trace!(peer, refusal = %refused.refusal, "a wait is over");
        }
        AgentToClient::Refused(refused) => {
            info!(peer, refusal = %refused.refusal, "a client's message is refused");
        }
        AgentToClient::Detached(detached) => {
            debug!(peer, refusal = %detached.refusal, "a client is detached");
        }
        _ => {}
    }
}

/// Says which alarms have been raised since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    said: u64,
}

impl Alarms {
    pub(super) fn say(&mut self, core: &Agent) {
        for Alarm {
            alarm,
            about,
            message,
            ..
        } in core.alarms_after(self.said)
        {
            warn!(alarm, about, "{message}");
        }
        self.said = core.alarms_raised();
    }
}
