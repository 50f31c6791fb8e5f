//! A small agent that runs its tasks itself, at once, unless their mode is `hold`.

use std::collections::{BTreeMap, VecDeque};

use scalems_client::machine::{Config, Input};
use scalems_client::{Carried, Carrier, Session};
use scalems_protocol::client::{
    Accepted, AgentToClient, Answer, CancelDone, ClientToAgent, ClientWelcome, Counts, Durable, ForgetDone,
    Listing, NamedClientToAgent as Named, Question, Refused, Reply, Results, Resume, Status, Submit,
};
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::event::{Alarm, Body};
use scalems_protocol::group::{Data, Gather, ResultGroup, Run};
use scalems_protocol::token::Token;
use scalems_protocol::{Bytes, Ending, JournalMark, Origin, PilotId, Role, limits};

pub(crate) const SESSION: u64 = 7;
pub(crate) type Said = (AgentToClient, Vec<Bytes>);

/// The agent of one client.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) pilot: PilotId,
    attached: bool,
    high: u64,
    answers: BTreeMap<u64, AgentToClient>,
    /// Tasks that do not end by themselves.
    pub(crate) held: Vec<(u64, u32, u32)>,
    delivered: u64,
    unacknowledged: VecDeque<(u64, Said)>,
    /// Names of what was said to it.
    pub(crate) heard: Vec<&'static str>,
    /// Whether results are kept back until they are asked for by an ask.
    kept: BTreeMap<u64, (Submit, Vec<Bytes>)>,
    /// How many alarms there were: the state of the topic.
    pub(crate) alarms: u64,
    out: Vec<Said>,
}

impl Fake {
    pub(crate) fn new(pilot: u8) -> Self {
        Self {
            pilot: PilotId([pilot; 16]),
            attached: false,
            high: 0,
            answers: BTreeMap::new(),
            held: Vec::new(),
            delivered: 0,
            unacknowledged: VecDeque::new(),
            heard: Vec::new(),
            kept: BTreeMap::new(),
            alarms: 0,
            out: Vec::new(),
        }
    }

    /// A connection has gone.
    pub(crate) fn detach(&mut self) {
        self.attached = false;
    }

    pub(crate) fn take(&mut self, message: &ClientToAgent, blobs: &[Bytes]) -> Vec<Said> {
        let ClientToAgent::Named(named) = message else {
            panic!("a client of ours names its messages")
        };
        self.heard.push(named.name());
        match named {
            Named::ClientHello(hello) if hello.pilot.is_some_and(|pilot| pilot != self.pilot) => {
                self.refuse(None, None, Code::OtherPilot);
            }
            Named::ClientHello(hello) => {
                self.attached = true;
                self.unacknowledged
                    .retain(|(delivery, _)| *delivery > hello.deliveries);
                let next = self
                    .unacknowledged
                    .front()
                    .map_or(self.delivered + 1, |(delivery, _)| *delivery);
                let welcome = ClientWelcome {
                    pilot_name: "fake".into(),
                    pilot: self.pilot,
                    incarnation: 1,
                    session: SESSION,
                    resume: Resume {
                        peer: 1,
                        token: Token::derive(&[0; 32], Role::Client, 1),
                    },
                    request_high: self.high,
                    delivery_next: next,
                    window: (limits::WINDOW_TASKS, limits::WINDOW_BYTES),
                    modes: vec!["scalems.echo".into()],
                    software: "fake".into(),
                    journal: false,
                    mark: JournalMark::default(),
                };
                self.out.push((welcome.into(), Vec::new()));
                self.out
                    .extend(self.unacknowledged.iter().map(|(_, said)| said.clone()));
            }
            Named::LogLevels(_) => panic!("no client of these tests says this"),
            _ if !self.attached => self.refuse(None, None, Code::HelloFirst),
            Named::Submit(submit) => self.numbered(submit.request, |fake| fake.submit(submit, blobs)),
            Named::Cancel(cancel) => self.numbered(cancel.request, |fake| {
                let held = std::mem::take(&mut fake.held);
                let withdrawn = held.iter().map(|(_, lo, hi)| u64::from(hi - lo)).sum();
                for (request, lo, hi) in held {
                    fake.end(request, lo, hi, Ending::Canceled, &Data::default());
                }
                CancelDone {
                    request: cancel.request,
                    withdrawn,
                    ..CancelDone::default()
                }
                .into()
            }),
            Named::Forget(forget) => self.numbered(forget.request, |fake| {
                let forgotten = fake.kept.len() as u64;
                fake.kept.clear();
                ForgetDone {
                    request: forget.request,
                    forgotten,
                    kept: 0,
                    record: 0,
                }
                .into()
            }),
            Named::Acknowledge(ack) => self
                .unacknowledged
                .retain(|(delivery, _)| *delivery > ack.delivery),
            Named::Ask(ask) => self.ask(ask.id, &ask.question),
            Named::Stop(stop) => self.out.push((
                Answer {
                    id: stop.id,
                    reply: Reply::Stopping,
                }
                .into(),
                Vec::new(),
            )),
            Named::Goodbye(_) => self.attached = false,
            Named::Append(_) | Named::Close(_) => panic!("nothing is open"),
            Named::Retry(_) => panic!("nothing has failed"),
            Named::RequestWorkers(_) | Named::Starter(_) => panic!("nobody starts workers"),
            Named::BringBack(_) => panic!("without a journal nothing is brought back"),
            Named::Version(_) => panic!("nobody asks for it"),
        }
        std::mem::take(&mut self.out)
    }

    /// Ends what is held well.
    pub(crate) fn release(&mut self) -> Vec<Said> {
        for (request, lo, hi) in std::mem::take(&mut self.held) {
            self.end(request, lo, hi, Ending::Done, &Data::default());
        }
        std::mem::take(&mut self.out)
    }

    fn refuse(&mut self, request: Option<u64>, id: Option<u64>, code: Code) {
        let refusal = Refusal::new(code, code.meaning().trim());
        self.out
            .push((Refused { request, id, refusal }.into(), Vec::new()));
    }

    fn numbered(&mut self, request: u64, make: impl FnOnce(&mut Self) -> AgentToClient) {
        if request > self.high {
            assert_eq!(request, self.high + 1);
            self.high = request;
            let answer = make(self);
            self.answers.insert(request, answer);
        }
        self.out.push((self.answers[&request].clone(), Vec::new()));
    }

    fn submit(&mut self, submit: &Submit, blobs: &[Bytes]) -> AgentToClient {
        let (request, count) = (submit.request, submit.count);
        if submit.task.mode == "unknown" {
            let refusal = Refusal::new(Code::UnknownMode, "no worker serves it");
            return Refused {
                request: Some(request),
                id: None,
                refusal,
            }
            .into();
        }
        let bytes = blobs.first().cloned().unwrap_or_default();
        let data = Data {
            bytes,
            ends: submit.ends.clone(),
        };
        match submit.task.mode.as_str() {
            _ if !submit.streaming => {
                self.kept.insert(request, (submit.clone(), blobs.to_vec()));
            }
            "hold" => self.held.push((request, 0, count)),
            "scalems.fail" => self.end(request, 0, count, Ending::Failed, &Data::default()),
            "scalems.noop" => self.end(request, 0, count, Ending::Done, &Data::default()),
            _ => self.end(request, 0, count, Ending::Done, &data),
        }
        let note = (submit.task.mode == "hold").then(|| "waiting_for_worker: none".to_owned());
        Accepted {
            request,
            submission: 100 + request,
            count,
            note,
            record: 0,
        }
        .into()
    }

    fn end(&mut self, request: u64, lo: u32, hi: u32, ending: Ending, data: &Data) {
        let mut gather = Gather::default();
        let error = (ending != Ending::Done).then(|| TaskError::new(Code::TaskFailed, "it is so"));
        let group = ResultGroup {
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
            place: gather.add(data),
            exit_code: None,
            ran_us: 3 * u64::from(hi - lo),
            error,
        };
        self.delivered += 1;
        let results = Results {
            delivery: self.delivered,
            durable: Durable::None,
            groups: vec![group],
            accepted: Vec::new(),
        };
        let said: Said = (results.into(), gather.finish());
        self.unacknowledged.push_back((self.delivered, said.clone()));
        self.out.push(said);
    }

    fn ask(&mut self, id: u64, question: &Question) {
        let mut blobs = Vec::new();
        let reply = match question {
            Question::Status => Reply::Status(Box::new(Status {
                pilot_name: "fake".into(),
                ..Status::default()
            })),
            Question::Wait { .. } => Reply::Ended(Counts {
                done: 3,
                ..Counts::default()
            }),
            Question::Snapshot(topic) if topic == "alarms" => Reply::Snapshot {
                incarnation: 1,
                topic: topic.clone(),
                seq: self.alarms,
                state: Box::new(Body::Alarms {
                    alarms: (1..=self.alarms).map(alarm).collect(),
                }),
            },
            Question::Results(_) => {
                let mut gather = Gather::default();
                let mut rows = Vec::new();
                for (request, (submit, data)) in &self.kept {
                    let bytes = data.first().cloned().unwrap_or_default();
                    let place = gather.add(&Data {
                        bytes,
                        ends: submit.ends.clone(),
                    });
                    rows.push(ResultGroup {
                        run: Run {
                            submission: 100 + request,
                            lo: 0,
                            hi: submit.count,
                            attempt: 1,
                        },
                        origin: Origin {
                            session: SESSION,
                            request: *request,
                        },
                        incarnation: 1,
                        ending: Ending::Done,
                        place,
                        exit_code: Some(0),
                        ran_us: 0,
                        error: None,
                    });
                }
                blobs = gather.finish();
                Reply::Results(Listing { rows, next: None })
            }
            _ => return self.refuse(None, Some(id), Code::NothingSelected),
        };
        self.out.push((Answer { id, reply }.into(), blobs));
    }
}

pub(crate) fn alarm(number: u64) -> Alarm {
    Alarm {
        alarm: "worker_lost".into(),
        about: number.to_string(),
        message: String::new(),
        at_ms: 0,
    }
}

/// A session, its carrier and the agent in one thread.
pub(crate) struct Bench {
    pub(crate) session: Session,
    pub(crate) carrier: Carrier,
    pub(crate) fake: Fake,
    pub(crate) now: u64,
    pub(crate) carried: Vec<Carried>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// A session that has been let in.
    pub(crate) fn with(config: Config) -> Self {
        let mut bench = Self::absent(config);
        bench.inputs([Input::Connected]);
        bench.run();
        assert!(bench.session.is_connected());
        bench
    }

    pub(crate) fn absent(config: Config) -> Self {
        let (session, carrier) = Session::carried(config);
        Self {
            session,
            carrier,
            fake: Fake::new(1),
            now: 0,
            carried: Vec::new(),
        }
    }

    pub(crate) fn inputs(&mut self, inputs: impl IntoIterator<Item = Input>) {
        self.carrier.step(self.now, inputs, &mut self.carried);
    }

    /// Carries messages until there are none.
    pub(crate) fn run(&mut self) {
        self.inputs([]);
        loop {
            let mut said = Vec::new();
            for carried in std::mem::take(&mut self.carried) {
                if let Carried::Send(message, blobs) = carried {
                    said.extend(self.fake.take(&message, &blobs));
                }
            }
            if said.is_empty() {
                return;
            }
            self.inputs(
                said.into_iter()
                    .map(|(message, blobs)| Input::Message(message, blobs)),
            );
        }
    }

    pub(crate) fn release(&mut self) {
        let said = self.fake.release();
        self.inputs(
            said.into_iter()
                .map(|(message, blobs)| Input::Message(message, blobs)),
        );
        self.run();
    }
}
