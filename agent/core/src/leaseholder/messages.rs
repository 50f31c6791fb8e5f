//! What the agent says, and what it is greeted with.

use scalems_protocol::group::Run;
use scalems_protocol::state::Strength;
use scalems_protocol::task::Knows;
use scalems_protocol::worker::{
    AgentToWorker, Lease, OutputRead, Pong, ReadOutput, Recorded, Revoke, WorkerHello, WorkerLogLevels,
    WorkerRefused, WorkerWelcome,
};
use scalems_protocol::{Bytes, Code, Ending, TaskError, TaskState};

use super::ending::Phase;
use super::grant::Grant;
use super::interface::{EndReason, Note, Output};
use super::link::Stage;
use super::outbox::Finished;
use super::table::Cause;
use super::{Leaseholder, mode, room};
use crate::interface::Micros;

impl Leaseholder {
    pub(super) fn hear(
        &mut self,
        now: Micros,
        message: AgentToWorker,
        blobs: &[Bytes],
        out: &mut Vec<Output>,
    ) {
        self.link.heard(now);
        match message {
            AgentToWorker::WorkerWelcome(welcome) => self.welcomed(now, welcome, out),
            AgentToWorker::WorkerStop(stop) => self.stop_asked(now, stop, out),
            AgentToWorker::WorkerRefused(refused) => self.refused(now, refused, out),
            AgentToWorker::WorkerLogLevels(WorkerLogLevels { levels }) => out.push(Output::LogLevels(levels)),
            // The rest belongs to a numbering that a hello has ended.
            _ if !self.link.is_welcomed() => {}
            AgentToWorker::Lease(lease) => {
                if self.in_order(now, lease.number, out) {
                    self.link.saw(lease.record);
                    self.outbox.recorded(lease.recorded);
                    self.take_in(lease, blobs, out);
                }
            }
            AgentToWorker::Revoke(revoke) => {
                if self.in_order(now, revoke.number, out) {
                    self.revoke(now, &revoke, out);
                }
            }
            AgentToWorker::Recorded(Recorded { recorded, record }) => {
                self.link.saw(record);
                self.outbox.recorded(recorded);
            }
            AgentToWorker::Ping(_) => out.push(Output::Send(Pong {}.into(), Vec::new())),
            AgentToWorker::ReadOutput(read) => self.read_output(&read, out),
            AgentToWorker::ListHoldings(list) if list.beat_only => self.asked.beat = true,
            AgentToWorker::ListHoldings(_) => self.asked.holdings = true,
        }
    }

    fn read_output(&self, read: &ReadOutput, out: &mut Vec<Output>) {
        let (id, from) = (read.id, read.from);
        if let Some(key) = self.table.keys_in(read.run).first() {
            return out.push(Output::Read { key: *key, id, from });
        }
        let over = OutputRead {
            id,
            over: true,
            ..OutputRead::default()
        };
        out.push(Output::Send(over.into(), Vec::new()));
    }

    /// Counts a numbered message, or says hello again when one is missing or repeated.
    fn in_order(&mut self, now: Micros, number: u64, out: &mut Vec<Output>) -> bool {
        let expected = self.link.applied + 1;
        if number == expected {
            self.link.applied = number;
            return true;
        }
        out.push(Output::Note(Note::Gap {
            expected,
            got: number,
        }));
        self.greet(now, out);
        false
    }

    /// Says hello, with all that is held. Numbers and hash begin again with the answer.
    pub(super) fn greet(&mut self, now: Micros, out: &mut Vec<Output>) {
        if matches!(self.reason, Some(EndReason::Refused(_))) {
            return;
        }
        let held = self.list(true);
        self.table.listed();
        self.outbox.listed();
        self.asked = super::Asked::default();
        let serving = self.phase == Phase::Serving;
        let settings = &self.settings;
        let hello = WorkerHello {
            v: 0,
            type_: String::new(),
            must: Vec::new(),
            name: settings.name.clone(),
            host: settings.host.clone(),
            pid: settings.pid,
            process: settings.process.clone(),
            software: settings.software.clone(),
            offer: if serving {
                room::offer(settings)
            } else {
                Vec::new()
            },
            modes: if serving {
                mode::offer(settings)
            } else {
                Vec::new()
            },
            resume: self.link.resume.clone(),
            held,
            hello: self.link.greeted(now),
            knows: Knows::NAMES.map(|(name, _)| name.to_owned()).into(),
            left_ms: settings.ends.map(|ends| ends.saturating_sub(now) / 1_000),
            place: settings.place.clone(),
        };
        out.push(Output::Send(hello.into(), Vec::new()));
    }

    fn welcomed(&mut self, now: Micros, welcome: WorkerWelcome, out: &mut Vec<Output>) {
        // It speaks of a list that is not what is held, and of a numbering that is over.
        if !self.link.is_answered_by(&welcome) {
            return;
        }
        if self
            .link
            .resume
            .as_ref()
            .is_some_and(|resume| resume.pilot != welcome.pilot)
        {
            self.drop_all(now, out);
        }
        self.link.welcomed(now, &welcome);
        self.outbox.tell_again();
        for run in &welcome.drop {
            self.drop_run(now, *run, out);
        }
        self.sum = self.recount();
        let WorkerWelcome {
            pilot_name,
            worker,
            name,
            ..
        } = welcome;
        out.push(Output::Note(Note::Welcomed {
            pilot: pilot_name,
            worker,
            name,
        }));
    }

    fn refused(&mut self, now: Micros, refused: WorkerRefused, out: &mut Vec<Output>) {
        let WorkerRefused { refusal } = refused;
        match (refusal.code, self.link.stage) {
            (Code::HelloFirst, Stage::Welcomed) => {
                out.push(Output::Note(Note::HelloAgain));
                self.greet(now, out);
            }
            (
                Code::HelloFirst,
                Stage::Greeted {
                    asked: true,
                    lost: false,
                    ..
                },
            ) => self.link.lost(now),
            // It answers what was said before the hello that is under way.
            (Code::HelloFirst, _) => {}
            _ => {
                out.push(Output::Note(Note::Refused(refusal.clone())));
                self.link.stage = Stage::Offline { greeted: false };
                self.abandon(now, EndReason::Refused(refusal), out);
            }
        }
    }

    fn revoke(&mut self, now: Micros, revoke: &Revoke, out: &mut Vec<Output>) {
        for run in &revoke.runs {
            for waiting in self.queue.take_out(*run) {
                if revoke.silent || revoke.strength == Strength::Withdraw {
                    self.give_back(waiting.grant, TaskState::Leased);
                } else {
                    self.discount(&waiting.grant, TaskState::Leased);
                    let canceled = Finished::empty(waiting.grant, Ending::Canceled);
                    self.outbox.finish(Finished {
                        error: Some(canceled_because(&revoke.reason)),
                        ..canceled
                    });
                }
            }
            if revoke.strength == Strength::Withdraw {
                continue;
            }
            for key in self.table.keys_in(*run) {
                if revoke.silent {
                    // It leaves the hash by a report, like all others.
                    if let Some((grant, told)) = self.drop_task(now, key, out) {
                        self.give_back(grant, told);
                    }
                } else {
                    let cause = Cause::Canceled(revoke.reason.clone());
                    self.stop_task(now, key, (cause, revoke.strength), u64::MAX, out);
                }
            }
        }
    }

    /// Gives leases up without a word, as a welcome asks: the hash that begins with it does not count them.
    fn drop_run(&mut self, now: Micros, run: Run, out: &mut Vec<Output>) {
        self.queue.take_out(run);
        self.outbox.forget(run);
        for key in self.table.keys_in(run) {
            self.drop_task(now, key, out);
        }
    }

    fn drop_task(&mut self, now: Micros, key: u64, out: &mut Vec<Output>) -> Option<(Grant, TaskState)> {
        let task = self.table.get_mut(key).filter(|task| !task.is_dropped())?;
        let dropped = (task.grant, task.told());
        self.table.forget_lease(&dropped.0);
        self.stop_task(now, key, (Cause::Dropped, Strength::Kill), 0, out);
        Some(dropped)
    }

    /// The agent serves another pilot: nothing that is held is of use to it.
    fn drop_all(&mut self, now: Micros, out: &mut Vec<Output>) {
        self.queue.take_all();
        self.outbox.clear();
        for key in self.table.keys() {
            self.drop_task(now, key, out);
        }
    }

    fn take_in(&mut self, lease: Lease, blobs: &[Bytes], out: &mut Vec<Output>) {
        let templates: Vec<_> = lease
            .templates
            .into_iter()
            .map(|template| self.prepare(template))
            .collect();
        for group in lease.groups {
            if let Err(problem) = self.take_group(group, &templates, blobs) {
                out.push(Output::Note(Note::WrongLease(problem)));
            }
        }
    }
}

/// The error of a task that was canceled.
pub(super) fn canceled_because(reason: &str) -> TaskError {
    let message = match reason {
        "" => "the task was canceled".to_owned(),
        reason => format!("the task was canceled: {reason}"),
    };
    TaskError::new(Code::Canceled, message)
}
