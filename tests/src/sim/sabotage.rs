//! What is wrong on purpose. The checker has to find it, or it would find nothing else either.

use scalems_core::record::Record;
use scalems_core::{Action, Peer};
use scalems_protocol::client::{Accepted, AgentToClient, Durable, Lasts};
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};

use super::plan::Sabotage;
use super::world::World;

/// Which of the actions of a kind is tampered with.
const WHICH: u64 = 3;

impl World {
    fn is_the_one(&mut self) -> bool {
        self.gone_by += 1;
        self.gone_by == WHICH
    }

    /// Whether a record does not reach the journal.
    pub(super) fn loses(&mut self, record: &Record) -> bool {
        match (self.plan.sabotage, record) {
            (Some(Sabotage::LoseEnd), Record::Ended(_)) => self.is_the_one(),
            (Some(Sabotage::LoseNumbers), Record::Numbers { .. }) => true,
            (Some(Sabotage::LoseSeat), Record::Seat { .. }) => self.is_the_one(),
            _ => false,
        }
    }

    /// What a life of the agent is given of what is on disk.
    pub(super) fn read_back(&self) -> Vec<Record> {
        let mut records = self.journal.clone();
        match self.plan.sabotage {
            Some(Sabotage::ReadShort) => drop(records.pop()),
            Some(Sabotage::ApplyTwice) => {
                let ended = records
                    .iter()
                    .rposition(|record| matches!(record, Record::Ended(_)));
                if let Some(at) = ended {
                    records.insert(at, records[at].clone());
                }
            }
            _ => {}
        }
        records
    }

    /// The answer to a submission that has just been made, sent before it is on disk.
    fn early_ack(&self, record: &Record) -> Option<Action> {
        let Record::Submitted(submitted) = record else {
            return None;
        };
        let seats = self.history.seats.iter();
        let mut peers = seats.filter(|(_, seat)| **seat == submitted.origin.session);
        let accepted = Accepted {
            request: submitted.origin.request,
            submission: submitted.submission,
            count: submitted.count,
            note: None,
            record: 0,
        };
        peers.next().map(|(peer, _)| Action::ToClient {
            peer: Peer(*peer),
            message: accepted.into(),
            blobs: Vec::new(),
        })
    }

    /// What becomes of an action of the agent.
    pub(super) fn sabotaged(&mut self, mut action: Action) -> Vec<Action> {
        let Some(sabotage) = self.plan.sabotage else {
            return vec![action];
        };
        match (&mut action, sabotage) {
            (Action::Record { record, .. }, Sabotage::AckEarly) => {
                let early = self.early_ack(record);
                early.into_iter().chain([action]).collect()
            }
            (
                Action::ToClient {
                    message: AgentToClient::Results(results),
                    ..
                },
                Sabotage::DurableEarly,
            ) => {
                results.durable = Durable::Yes;
                vec![action]
            }
            (
                Action::ToClient {
                    peer,
                    message: AgentToClient::Results(results),
                    ..
                },
                Sabotage::LastsEarly,
            ) => {
                let lasts = Lasts {
                    delivery: results.delivery,
                    record: 0,
                };
                let early = Action::ToClient {
                    peer: *peer,
                    message: lasts.into(),
                    blobs: Vec::new(),
                };
                vec![action, early]
            }
            (
                Action::ToWorker {
                    peer,
                    message: AgentToWorker::Lease(lease),
                    ..
                },
                Sabotage::RecordedEarly,
            ) => {
                lease.recorded = self.history.reported(peer.0).max(lease.recorded);
                vec![action]
            }
            (
                Action::ToClient {
                    peer,
                    message: AgentToClient::Results(results),
                    blobs,
                },
                Sabotage::RepeatResults,
            ) => {
                if !self.is_the_one() {
                    return vec![action];
                }
                let mut again = results.clone();
                again.delivery += 1;
                let again = Action::ToClient {
                    peer: *peer,
                    message: again.into(),
                    blobs: blobs.clone(),
                };
                vec![action, again]
            }
            (
                Action::ToClient {
                    message: AgentToClient::Results(results),
                    ..
                },
                Sabotage::WrongAttempt,
            ) => {
                if self.is_the_one() {
                    results.groups[0].run.attempt += 1;
                }
                vec![action]
            }
            (
                Action::ToWorker {
                    peer,
                    message: AgentToWorker::Lease(lease),
                    blobs,
                },
                Sabotage::LeaseTwice,
            ) => {
                if !self.is_the_one() {
                    return vec![action];
                }
                let mut again = lease.clone();
                again.number += 1;
                let again = Action::ToWorker {
                    peer: *peer,
                    message: again.into(),
                    blobs: blobs.clone(),
                };
                vec![action, again]
            }
            (
                Action::ToWorker {
                    message: AgentToWorker::WorkerWelcome(welcome),
                    ..
                },
                Sabotage::LongOrphans,
            ) => {
                welcome.orphan_ms *= 100;
                welcome.lost_ms *= 100;
                vec![action]
            }
            _ => vec![action],
        }
    }

    /// What becomes of a worker's message.
    pub(super) fn sabotaged_report(&mut self, mut message: WorkerToAgent) -> WorkerToAgent {
        if self.plan.sabotage == Some(Sabotage::SwapValues)
            && let WorkerToAgent::Report(report) = &mut message
        {
            let with_values =
                |at: &usize| report.results[*at].place.length > 0 && report.results[*at].run.count() == 1;
            let all: Vec<usize> = (0..report.results.len()).filter(with_values).collect();
            if let [first, second, ..] = all[..] {
                let place = report.results[first].place.clone();
                report.results[first].place = std::mem::replace(&mut report.results[second].place, place);
            }
        }
        message
    }
}
