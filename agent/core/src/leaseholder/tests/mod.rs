//! Scripts of inputs and exact outputs, and a model with random ones.

mod ending;
mod following;
mod joining;
mod model;
mod progress;
mod revoking;
mod running;
mod slots;

use bytes::Bytes;
use scalems_protocol::group::{HeldRun, LeaseGroup, Place, ResultGroup, Run};
use scalems_protocol::state::Strength;
use scalems_protocol::task::{Needs, Placement, Policy, Template};
use scalems_protocol::token::Token;
use scalems_protocol::worker::{
    AgentToWorker, Beat, Lease, Recorded, Report, Revoke, WorkerHello, WorkerToAgent, WorkerWelcome,
};
use scalems_protocol::{Amount, Ending, JournalMark, Origin, PilotId, Role, TaskState, hash};

use super::{EndReason, Input, Leaseholder, Note, NumaNode, Outcome, Output, Settings, StopOrder, TaskLease};
use crate::interface::Micros;

const SECOND: Micros = 1_000_000;
const MODE: &str = "task.executable";

fn settings(cores: u32) -> Settings {
    Settings {
        name: "w".into(),
        host: "node".into(),
        pid: 7,
        process: String::new(),
        software: "test".into(),
        cpus: (0..cores).collect(),
        gpus: vec![0, 1],
        memory_mib: 1_000,
        named: vec![("licence".into(), 1.into())],
        modes: vec![MODE.into()],
        ends: None,
        place: None,
        join_ms: 60_000,
        patience_us: 0,
        idle_us: None,
        nodes: Vec::new(),
        quick_us: 0,
    }
}

/// A worker and the agent's side of its numbers.
struct Rig {
    machine: Leaseholder,
    now: Micros,
    number: u64,
    notes: Vec<Note>,
}

impl Rig {
    /// A worker without a connection.
    fn alone(cores: u32) -> Self {
        Self::with(settings(cores))
    }

    fn with(settings: Settings) -> Self {
        let machine = Leaseholder::new(settings, 0);
        Self {
            machine,
            now: 0,
            number: 0,
            notes: Vec::new(),
        }
    }

    /// A worker that was welcomed, and whose first beat is out.
    fn joined(cores: u32) -> Self {
        Self::alone(cores).join()
    }

    fn join(self) -> Self {
        let mut rig = self;
        let [Output::Send(WorkerToAgent::WorkerHello(_), _)] = &rig.round([Input::Connected])[..] else {
            panic!("a connection is greeted");
        };
        let [Output::PublishBeat(_)] = &rig.say(welcome(1, Vec::new()))[..] else {
            panic!("a welcome is followed by a beat");
        };
        rig
    }

    /// One round: inputs, then a flush. Notes are put aside.
    fn round(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            self.machine.handle(self.now, input, &mut out);
        }
        self.machine.flush(self.now, &mut out);
        self.notes.extend(
            out.extract_if(.., |output| matches!(output, Output::Note(_)))
                .map(|output| {
                    let Output::Note(note) = output else {
                        unreachable!()
                    };
                    note
                }),
        );
        out
    }

    /// A round at a later time.
    fn at(&mut self, now: Micros, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        self.now = now;
        self.round(inputs)
    }

    /// A round in which the agent says something.
    fn say(&mut self, message: impl Into<AgentToWorker>) -> Vec<Output> {
        self.tell(message, Vec::new())
    }

    fn tell(&mut self, message: impl Into<AgentToWorker>, blobs: Vec<Bytes>) -> Vec<Output> {
        let mut message = message.into();
        match &mut message {
            AgentToWorker::WorkerWelcome(_) => self.number = 0,
            AgentToWorker::Lease(Lease { number, .. }) | AgentToWorker::Revoke(Revoke { number, .. }) => {
                self.number += 1;
                *number = self.number;
            }
            _ => {}
        }
        self.round([Input::Agent { message, blobs }])
    }

    /// What the worker's hash is, as it answers when asked.
    fn hash(&mut self) -> u64 {
        let ask = scalems_protocol::worker::ListHoldings { beat_only: true };
        let out = self.say(ask);
        let Some(Output::Send(WorkerToAgent::Beat(beat), _)) = out.last() else {
            panic!("asked for a beat: {out:?}")
        };
        beat.hash
    }
}

fn welcome(incarnation: u64, drop: Vec<Run>) -> WorkerWelcome {
    WorkerWelcome {
        pilot: PilotId([9; 16]),
        pilot_name: "p".into(),
        incarnation,
        worker: 3,
        name: "w".into(),
        token: Token::derive(&[0; 32], Role::Worker, 3),
        link: 99,
        beat_ms: 2_000,
        orphan_ms: 600_000,
        lost_ms: 10_000,
        mark: JournalMark::default(),
        drop,
        hello: 0,
    }
}

const ORIGIN: Origin = Origin {
    session: 4,
    request: 5,
};

fn run(submission: u64, lo: u32, hi: u32) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt: 1,
    }
}

fn template(mode: &str) -> Template {
    Template {
        mode: mode.into(),
        ..Template::default()
    }
}

fn program(cores: u32) -> Template {
    Template {
        needs: Needs::cores(cores),
        ..template(MODE)
    }
}

fn group(run: Run, place: Place) -> LeaseGroup {
    LeaseGroup {
        run,
        origin: ORIGIN,
        template: 0,
        first: 10,
        step: 2,
        place,
        variant: 0,
    }
}

fn lease(template: Template, run: Run) -> Lease {
    Lease {
        templates: vec![template],
        groups: vec![group(run, Place::default())],
        ..Lease::default()
    }
}

fn lease_with(template: Template, run: Run, data: &'static [u8], ends: Vec<u32>) -> (Lease, Vec<Bytes>) {
    let place = Place {
        blob: Some(0),
        at: 0,
        length: data.len() as u32,
        ends,
    };
    let lease = Lease {
        templates: vec![template],
        groups: vec![group(run, place)],
        ..Lease::default()
    };
    (lease, vec![Bytes::from_static(data)])
}

fn result(run: Run, ending: Ending) -> ResultGroup {
    ResultGroup {
        run,
        origin: ORIGIN,
        incarnation: 1,
        ending,
        place: Place::default(),
        exit_code: None,
        ran_us: 0,
        error: None,
    }
}

fn revoke(runs: Vec<Run>, strength: Strength) -> Revoke {
    Revoke {
        number: 0,
        runs,
        strength,
        silent: false,
        reason: "so".into(),
    }
}

fn held(run: Run, state: TaskState) -> HeldRun {
    HeldRun {
        run,
        origin: ORIGIN,
        incarnation: 1,
        state,
        variant: 0,
    }
}

fn done() -> Outcome {
    Outcome {
        ending: Ending::Done,
        value: Bytes::from_static(b"value"),
        exit_code: Some(0),
        ran_us: 5,
        error: None,
        stopped: false,
    }
}

fn stopped() -> Outcome {
    Outcome {
        ending: Ending::Failed,
        exit_code: None,
        stopped: true,
        ..done()
    }
}

fn term(run: Run, state: TaskState) -> u64 {
    hash::lease_sum(1, run.submission, run.attempt, state, run.lo, run.hi)
}

/// The only report of a round, with its blobs.
fn report(out: &[Output]) -> (&Report, &[Bytes]) {
    let [Output::Send(WorkerToAgent::Report(report), blobs)] = out else {
        panic!("one report: {out:?}")
    };
    (report, blobs)
}

/// The tasks that a round starts.
fn starts(out: &[Output]) -> Vec<&TaskLease> {
    out.iter()
        .filter_map(|output| match output {
            Output::Start(lease) => Some(lease),
            _ => None,
        })
        .collect()
}

/// The stops that a round orders.
fn stops(out: &[Output]) -> Vec<&StopOrder> {
    out.iter()
        .filter_map(|output| match output {
            Output::Stop(order) => Some(order),
            _ => None,
        })
        .collect()
}

fn hello(out: &[Output]) -> &WorkerHello {
    let [Output::Send(WorkerToAgent::WorkerHello(hello), _)] = out else {
        panic!("one hello: {out:?}")
    };
    hello
}

fn beat(out: &[Output]) -> &Beat {
    let [Output::PublishBeat(beat)] = out else {
        panic!("one beat: {out:?}")
    };
    beat
}

fn end(out: &[Output]) -> Option<&EndReason> {
    out.iter().find_map(|output| match output {
        Output::End(reason) => Some(reason),
        _ => None,
    })
}
