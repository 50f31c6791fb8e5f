//! What scripts are written with.

use std::sync::Arc;

use scalems_client::machine::{
    Call, CallKey, Config, Dependency, Done, Input, Machine, Output, Pack, PackKey, Shape,
};
use scalems_protocol::client::{
    Acknowledge, AgentToClient, ClientToAgent, ClientWelcome, Durable, NamedClientToAgent, Results, Resume,
    Submit,
};
use scalems_protocol::group::{Data, Gather, Place, ResultGroup, Run};
use scalems_protocol::task::{Template, When};
use scalems_protocol::token::Token;
use scalems_protocol::{
    Bytes, Code, Ending, JournalMark, Origin, PilotId, Refusal, Role, TaskError, client, limits,
};

pub(crate) const PILOT: PilotId = PilotId([7; 16]);
pub(crate) const SESSION: u64 = 40;

/// A machine, its clock, and what it said.
pub(crate) struct Script {
    pub(crate) machine: Machine,
    pub(crate) now: u64,
}

impl Script {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            machine: Machine::new(config, 0),
            now: 0,
        }
    }

    /// A machine that has been let in.
    pub(crate) fn attached(config: Config) -> Self {
        let mut script = Self::new(config);
        script.step(Input::Connected);
        script.step(said(welcome(0, 1)));
        script
    }

    /// One input and a flush.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Output> {
        self.steps([input])
    }

    /// Some inputs and one flush.
    pub(crate) fn steps(&mut self, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut out = Vec::new();
        for input in inputs {
            self.machine.handle(self.now, input, &mut out);
        }
        self.machine.flush(self.now, &mut out);
        out
    }

    pub(crate) fn later(&mut self, by_us: u64) -> Vec<Output> {
        self.now += by_us;
        self.step(Input::Tick)
    }

    /// As [`Self::later`], with a clock that shows all of that time: the machine is called whenever it wants to be.
    pub(crate) fn wait(&mut self, by_us: u64) -> Vec<Output> {
        let until = self.now + by_us;
        let mut out = Vec::new();
        while let Some(at) = self.machine.deadline(self.now).filter(|at| *at < until) {
            self.now = at.max(self.now);
            out.extend(self.step(Input::Tick));
        }
        self.now = until;
        out.extend(self.step(Input::Tick));
        out
    }
}

pub(crate) fn template(mode: &str) -> Arc<Template> {
    Arc::new(Template {
        mode: mode.into(),
        ..Template::default()
    })
}

/// Individual tasks with some data each.
pub(crate) fn pack(key: u64, template: &Arc<Template>, data: &[&[u8]]) -> Pack {
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    for item in data {
        bytes.extend_from_slice(item);
        ends.push(bytes.len() as u32);
    }
    Pack {
        key: PackKey(key),
        template: Arc::clone(template),
        count: data.len() as u32,
        shape: Shape::Batch,
        data: Data {
            bytes: bytes.into(),
            ends,
        },
        after: Vec::new(),
    }
}

/// Individual tasks without data.
pub(crate) fn bare(key: u64, count: u32) -> Pack {
    Pack {
        key: PackKey(key),
        template: template("scalems.noop"),
        count,
        shape: Shape::Batch,
        data: Data::default(),
        after: Vec::new(),
    }
}

pub(crate) fn array(key: u64, first: u32, step: u32, count: u32) -> Pack {
    Pack {
        shape: Shape::Array { first, step },
        ..bare(key, count)
    }
}

pub(crate) fn after(pack: Pack, on: u64, offsets: Option<(u32, u32)>, when: When) -> Pack {
    let after = vec![Dependency {
        on: PackKey(on),
        offsets,
        when,
        each: false,
    }];
    Pack { after, ..pack }
}

pub(crate) fn said(message: impl Into<AgentToClient>) -> Input {
    Input::Message(message.into(), Vec::new())
}

pub(crate) fn welcome(request_high: u64, delivery_next: u64) -> ClientWelcome {
    ClientWelcome {
        pilot_name: "demo".into(),
        pilot: PILOT,
        incarnation: 1,
        session: SESSION,
        resume: resume(),
        request_high,
        delivery_next,
        window: (limits::WINDOW_TASKS, limits::WINDOW_BYTES),
        modes: vec!["scalems.noop".into()],
        software: "model".into(),
        journal: false,
        mark: JournalMark::default(),
    }
}

pub(crate) fn resume() -> Resume {
    Resume {
        peer: 9,
        token: Token::derive(&[1; 32], Role::Client, 9),
    }
}

pub(crate) fn accepted(request: u64, submission: u64, count: u32) -> Input {
    said(client::Accepted {
        request,
        submission,
        count,
        note: None,
        record: 0,
    })
}

pub(crate) fn refused(request: Option<u64>, code: Code) -> Input {
    said(client::Refused {
        request,
        id: None,
        refusal: Refusal::new(code, "no"),
    })
}

/// Results of one run without values.
pub(crate) fn results(delivery: u64, request: u64, lo: u32, hi: u32, ending: Ending) -> Input {
    said(Results {
        delivery,
        durable: Durable::None,
        groups: vec![group(request, lo, hi, ending)],
        accepted: Vec::new(),
    })
}

pub(crate) fn group(request: u64, lo: u32, hi: u32, ending: Ending) -> ResultGroup {
    let error = (ending != Ending::Done).then(|| TaskError::new(Code::TaskFailed, "it failed"));
    ResultGroup {
        run: Run {
            submission: 100 + request,
            lo,
            hi,
            attempt: 1,
        },
        origin: Origin {
            session: SESSION,
            request,
        },
        incarnation: 1,
        ending,
        place: Place::default(),
        exit_code: None,
        ran_us: 0,
        error,
    }
}

/// Results of one run with a value each.
pub(crate) fn values(delivery: u64, request: u64, lo: u32, values: &[&[u8]]) -> Input {
    let mut gather = Gather::default();
    let mut ends = Vec::new();
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(value);
        ends.push(bytes.len() as u32);
    }
    let place = gather.add(&Data {
        bytes: bytes.into(),
        ends,
    });
    let group = ResultGroup {
        place,
        ..group(request, lo, lo + values.len() as u32, Ending::Done)
    };
    let results = Results {
        delivery,
        durable: Durable::None,
        groups: vec![group],
        accepted: Vec::new(),
    };
    Input::Message(results.into(), gather.finish())
}

pub(crate) fn call(key: u64, call: Call) -> Input {
    Input::Call(CallKey(key), call)
}

pub(crate) fn ack(delivery: u64) -> Output {
    Output::Send(Acknowledge { delivery }.into(), Vec::new())
}

/// What was sent, by name.
pub(crate) fn sent(out: &[Output]) -> Vec<&'static str> {
    let sent = out.iter().filter_map(|output| match output {
        Output::Send(ClientToAgent::Named(named), _) => Some(named.name()),
        _ => None,
    });
    sent.collect()
}

/// The submissions that were sent.
pub(crate) fn submits(out: &[Output]) -> Vec<(&Submit, &[Bytes])> {
    let submits = out.iter().filter_map(|output| match output {
        Output::Send(ClientToAgent::Named(NamedClientToAgent::Submit(submit)), blobs) => {
            Some((submit, &blobs[..]))
        }
        _ => None,
    });
    submits.collect()
}

/// Request numbers and counts of what was submitted.
pub(crate) fn batches(out: &[Output]) -> Vec<(u64, u32)> {
    submits(out)
        .iter()
        .map(|(submit, _)| (submit.request, submit.count))
        .collect()
}

/// What was resolved: pack, places, ending or `None` without a result.
pub(crate) fn resolved(out: &[Output]) -> Vec<(u64, u32, u32, Option<Ending>)> {
    let resolved = out.iter().filter_map(|output| match output {
        Output::Resolve { pack, lo, hi, done } => {
            let ending = match done {
                Done::Ended { group, .. } => Some(group.ending),
                Done::Failed(_) => None,
            };
            Some((pack.0, *lo, *hi, ending))
        }
        _ => None,
    });
    resolved.collect()
}
