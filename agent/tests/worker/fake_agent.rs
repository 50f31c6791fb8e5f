//! An agent that says what a test tells it to.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scalems_agent::worker::{self, Connection, EndReason, Stopper, WorkerError, WorkerOptions};
use scalems_protocol::group::{LeaseGroup, Place, ResultGroup, Run};
use scalems_protocol::program::{Program, ProgramResult};
use scalems_protocol::state::Strength;
use scalems_protocol::task::Template;
use scalems_protocol::token::Token;
use scalems_protocol::worker::{
    AgentToWorker, Beat, Lease, Recorded, Report, Revoke, WorkerHello, WorkerToAgent, WorkerWelcome,
};
use scalems_protocol::{Bytes, JournalMark, Origin, PilotId, Role};
use scalems_transport::connection_file::Addresses;
use scalems_transport::{
    ConnectionFile, Context, Incoming, IpcDomain, Message, PeerId, PrivateDir, Router, Source, Subscriber,
    Zap, poll,
};

/// No step of a test takes longer on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ORIGIN: Origin = Origin {
    session: 4,
    request: 5,
};

/// Sockets of an agent, and the one worker that speaks to it.
pub(crate) struct FakeAgent {
    router: Router,
    beats: Subscriber,
    _zap: Zap,
    worker: Option<PeerId>,
    number: u64,
    pub(crate) beat_ms: u64,
    pub(crate) incarnation: u64,
}

impl FakeAgent {
    /// An agent whose sockets lie in `directory/sockets` and whose connection file in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_in(directory, "sockets")
    }

    pub(crate) fn start_in(directory: &Path, sockets: &str) -> Self {
        let private = PrivateDir::ensure(directory).unwrap();
        let place = PrivateDir::ensure(&directory.join(sockets)).unwrap();
        let context = Context::new().unwrap();
        let zap = Zap::start(&context).unwrap();
        let mut router = Router::new(&context).unwrap();
        let mut beats = Subscriber::for_publishers(&context).unwrap();
        let requests = router.bind_ipc(&zap, IpcDomain::Worker, &place).unwrap();
        let stream = beats.bind_ipc(&zap, IpcDomain::Beats, &place).unwrap();
        let file = ConnectionFile {
            pilot: "p".into(),
            pilot_id: PilotId([9; 16]),
            incarnation: 1,
            host: scalems_agent::host_name(),
            pid: std::process::id(),
            start_time: None,
            role: Role::Worker,
            requests: Addresses {
                ipc: Some(requests),
                tcp: None,
            },
            stream: Addresses {
                ipc: Some(stream),
                tcp: None,
            },
            curve: None,
        };
        file.write(&private).unwrap();
        Self {
            router,
            beats,
            _zap: zap,
            worker: None,
            number: 0,
            beat_ms: 60_000,
            incarnation: 1,
        }
    }

    /// What a worker says next, pongs and hellos included.
    pub(crate) fn hear(&mut self) -> (WorkerToAgent, Vec<Bytes>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(incoming) = self.router.recv().unwrap() {
                let Incoming::Message(received) = incoming else {
                    panic!("{incoming:?}")
                };
                assert_eq!(received.role, Role::Worker);
                self.worker = Some(received.peer);
                let Message { header, blobs } = received.message;
                return WorkerToAgent::decode_frames(&header, blobs).unwrap();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the worker says nothing");
            poll([Source::readable(&self.router)], Some(left)).unwrap();
        }
    }

    pub(crate) fn hear_hello(&mut self) -> WorkerHello {
        match self.hear() {
            (WorkerToAgent::WorkerHello(hello), _) => hello,
            other => panic!("a hello was due: {other:?}"),
        }
    }

    pub(crate) fn hear_report(&mut self) -> (Report, Vec<Bytes>) {
        match self.hear() {
            (WorkerToAgent::Report(report), blobs) => (report, blobs),
            other => panic!("a report was due: {other:?}"),
        }
    }

    /// The next result, with its value; reports of starts are passed over.
    pub(crate) fn hear_result(&mut self) -> (ResultGroup, Bytes) {
        loop {
            let (mut report, blobs) = self.hear_report();
            assert!(
                report.returned.is_empty() && report.results.len() <= 1,
                "{report:?}"
            );
            if let Some(group) = report.results.pop() {
                self.say(Recorded {
                    recorded: report.number,
                    ..Recorded::default()
                });
                let data = group.place.clone().take(group.run.count(), &blobs).unwrap();
                return (group, data.of(0));
            }
        }
    }

    pub(crate) fn hear_beat(&mut self) -> Beat {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.beats.recv().unwrap() {
                match WorkerToAgent::decode(&message.header).unwrap() {
                    WorkerToAgent::Beat(beat) => return beat,
                    other => panic!("{other:?}"),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the worker does not beat");
            poll([Source::readable(&self.beats)], Some(left)).unwrap();
        }
    }

    pub(crate) fn say(&mut self, message: impl Into<AgentToWorker>) {
        self.tell(message, &[]);
    }

    fn tell(&mut self, message: impl Into<AgentToWorker>, blobs: &[Bytes]) {
        let mut message = message.into();
        match &mut message {
            AgentToWorker::WorkerWelcome(_) => self.number = 0,
            AgentToWorker::Lease(Lease { number, .. }) | AgentToWorker::Revoke(Revoke { number, .. }) => {
                self.number += 1;
                *number = self.number;
            }
            _ => {}
        }
        let worker = self.worker.expect("a worker has spoken");
        let (header, blobs) = message.encode_frames(blobs);
        self.router.send(worker, &header, blobs).unwrap();
    }

    /// The next numbered message comes as if one before it had been lost.
    pub(crate) fn skip_a_number(&mut self) {
        self.number += 1;
    }

    /// Takes the worker in.
    pub(crate) fn welcome(&mut self) -> WorkerHello {
        let hello = self.hear_hello();
        self.say(WorkerWelcome {
            pilot: PilotId([9; 16]),
            pilot_name: "p".into(),
            incarnation: self.incarnation,
            worker: 3,
            name: "w".into(),
            token: Token::derive(&[0; 32], Role::Worker, 3),
            link: 99,
            beat_ms: self.beat_ms,
            orphan_ms: 600_000,
            lost_ms: 10_000,
            drop: Vec::new(),
            mark: JournalMark::default(),
            hello: hello.hello,
        });
        hello
    }

    /// Leases `run` with the same data for all.
    pub(crate) fn lease(&mut self, template: Template, run: Run, data: impl Into<Bytes>) {
        let data = data.into();
        let place = Place {
            blob: Some(0),
            at: 0,
            length: data.len() as u32,
            ends: Vec::new(),
        };
        let group = LeaseGroup {
            run,
            origin: ORIGIN,
            template: 0,
            first: 0,
            step: 1,
            place,
            variant: 0,
        };
        let lease = Lease {
            templates: vec![template],
            groups: vec![group],
            ..Lease::default()
        };
        self.tell(lease, &[data]);
    }

    /// Leases one task that runs `program`.
    pub(crate) fn lease_program(&mut self, template: Template, submission: u64, program: &Program) {
        self.lease(
            template,
            run(submission, 0, 1),
            rmp_serde::to_vec_named(program).unwrap(),
        );
    }

    /// Runs `program` as `task.executable`, and gives what came of it.
    pub(crate) fn run(&mut self, submission: u64, program: &Program) -> (ResultGroup, ProgramResult) {
        self.lease_program(
            template(scalems_protocol::program::EXECUTABLE),
            submission,
            program,
        );
        let (group, value) = self.hear_result();
        assert_eq!(group.run, run(submission, 0, 1));
        let result = if value.is_empty() {
            ProgramResult::default()
        } else {
            rmp_serde::from_slice(&value).unwrap()
        };
        (group, result)
    }

    pub(crate) fn revoke(&mut self, run: Run, strength: Strength) {
        self.say(Revoke {
            number: 0,
            runs: vec![run],
            strength,
            silent: false,
            reason: "so".into(),
        });
    }
}

pub(crate) fn run(submission: u64, lo: u32, hi: u32) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt: 1,
    }
}

pub(crate) fn template(mode: &str) -> Template {
    Template {
        mode: mode.into(),
        ..Template::default()
    }
}

pub(crate) fn argv<const N: usize>(argv: [&str; N]) -> Program {
    Program {
        argv: argv.map(str::to_owned).into(),
        ..Program::default()
    }
}

/// A worker on a thread of its own.
pub(crate) struct Worker {
    pub(crate) stopper: Stopper,
    thread: JoinHandle<Result<EndReason, WorkerError>>,
}

impl Worker {
    /// A worker with two cores for the agent whose connection file lies in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(WorkerOptions {
            cores: Some(2),
            ..options(directory)
        })
    }

    pub(crate) fn start_with(options: WorkerOptions) -> Self {
        let (stopper, stop) = Stopper::pair().unwrap();
        let thread = std::thread::spawn(move || worker::run(&options, stop));
        Self { stopper, thread }
    }

    pub(crate) fn ended(self) -> Result<EndReason, WorkerError> {
        self.thread.join().expect("a worker does not panic")
    }
}

pub(crate) fn options(directory: &Path) -> WorkerOptions {
    let file = directory.join(ConnectionFile::file_name(Role::Worker));
    WorkerOptions::new(Connection::File(file), directory.join("tasks"))
}

/// A worker that was taken in by its agent, in a directory that goes with the test.
pub(crate) fn joined() -> (tempfile::TempDir, FakeAgent, Worker) {
    let directory = directory();
    let mut agent = FakeAgent::start(directory.path());
    let worker = Worker::start(directory.path());
    agent.welcome();
    (directory, agent, worker)
}

/// Ends a worker that has nothing to do.
pub(crate) fn leave(mut agent: FakeAgent, worker: Worker) {
    agent.say(Recorded {
        recorded: u64::MAX,
        ..Recorded::default()
    });
    worker.stopper.stop(Duration::ZERO);
    while !matches!(agent.hear(), (WorkerToAgent::WorkerGoodbye(_), _)) {}
    assert_eq!(worker.ended().unwrap(), EndReason::Asked);
}

/// A directory that only we can enter, as a pilot's is. It goes with the test.
pub(crate) fn directory() -> tempfile::TempDir {
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new()
        .permissions(permissions)
        .tempdir()
        .unwrap()
}
