//! Many workers in one process, each with sockets of its own and nothing to run: what an agent sees of a large allocation.
//!
//! They are for measuring. A real worker is [`super::run`].

use std::time::{Duration, Instant};

use scalems_core::Micros;
use scalems_core::leaseholder::{Input, Leaseholder, Note, Output, Settings};
use scalems_protocol::Role;
use scalems_protocol::error::{Code, TaskError};
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};
use scalems_transport::{
    ConnectionEvent, ConnectionFile, Context, Dealer, Message, Publisher, Source, WakeReceiver, Waker, poll,
};

use super::{JOIN, PATIENCE_US, QUICK_US, WorkerError, reach, result};

/// How often each of them is looked after.
const ROUND: Duration = Duration::from_millis(2);
/// Workers of one libzmq context: it has room for a thousand sockets, and a worker has a few.
const OF_A_CONTEXT: usize = 100;
/// Cores that each offers.
const CORES: u32 = 4;

/// The workers. One that the agent has ended is not among them any more; dropped, they are gone without a word.
pub struct Crowd {
    members: Vec<Member>,
    begun: Instant,
    wake: WakeReceiver,
    _waker: Waker,
}

struct Member {
    machine: Leaseholder,
    dealer: Dealer,
    beats: Publisher,
    /// A connection was opened, and the agent not greeted yet.
    greet: bool,
    joined: bool,
    leaves: bool,
    over: bool,
}

impl Crowd {
    /// Connects so many workers to the agent of a worker's connection file.
    pub fn connect(file: &ConnectionFile, count: usize) -> Result<Self, WorkerError> {
        if file.role != Role::Worker {
            return Err(WorkerError::Role { role: file.role });
        }
        let host = crate::host_name();
        let (waker, wake) = Waker::pair()?;
        let mut members = Vec::with_capacity(count);
        let mut context = Context::new()?;
        for number in 1..=count {
            if number % OF_A_CONTEXT == 0 {
                context = Context::new()?;
            }
            let (dealer, beats) = reach::connect(&context, file, &host)?;
            members.push(Member {
                machine: Leaseholder::new(settings(&host, number), 0),
                dealer,
                beats,
                greet: false,
                joined: false,
                leaves: false,
                over: false,
            });
        }
        Ok(Self {
            members,
            begun: Instant::now(),
            wake,
            _waker: waker,
        })
    }

    /// How many the agent has welcomed.
    pub fn joined(&self) -> usize {
        self.members.iter().filter(|member| member.joined).count()
    }

    /// Has all of them end by themselves, as if each was asked to; they say so as they are driven.
    pub fn leave(&mut self) {
        for member in &mut self.members {
            member.leaves = true;
        }
    }

    /// How many have not ended.
    pub fn left(&self) -> usize {
        self.members.len()
    }

    /// Has them do what is due for so long.
    pub fn drive(&mut self, time: Duration) -> Result<(), WorkerError> {
        let until = Instant::now() + time;
        loop {
            let now = self.begun.elapsed().as_micros() as Micros;
            for member in &mut self.members {
                member.drive(now)?;
            }
            self.members.retain(|member| !member.over);
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            poll([Source::wake(&self.wake)], Some(left.min(ROUND)))?;
        }
    }
}

impl Member {
    fn drive(&mut self, now: Micros) -> Result<(), WorkerError> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.leaves) {
            self.machine.handle(now, Input::Stop { drain_ms: 0 }, &mut out);
            self.machine.flush(now, &mut out);
        }
        // The socket learns of its connection a moment after its end was told of it: the next round greets.
        if std::mem::take(&mut self.greet) {
            self.machine.handle(now, Input::Connected, &mut out);
        }
        while let Some(event) = self.dealer.connection_event()? {
            match event {
                ConnectionEvent::Opened => self.greet = true,
                ConnectionEvent::Closed | ConnectionEvent::Failed | ConnectionEvent::Denied { .. } => {
                    self.machine.handle(now, Input::Disconnected, &mut out);
                }
            }
        }
        while let Some(Message { header, blobs }) = self.dealer.recv()? {
            if let Ok((message, blobs)) = AgentToWorker::decode_frames(&header, blobs) {
                self.machine
                    .handle(now, Input::Agent { message, blobs }, &mut out);
            }
        }
        if self.machine.deadline().is_some_and(|at| at <= now) || !out.is_empty() {
            self.machine.flush(now, &mut out);
        }
        while !out.is_empty() {
            for output in std::mem::take(&mut out) {
                if let Some(input) = self.act(output) {
                    self.machine.handle(now, input, &mut out);
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Send(message, blobs) => {
                let (header, blobs) = message.encode_frames(&blobs);
                self.dealer
                    .send(&header, blobs)
                    .is_err()
                    .then_some(Input::Disconnected)
            }
            Output::PublishBeat(beat) => {
                // The next one says the same.
                let _lost = self.beats.send(&WorkerToAgent::Beat(beat).encode(), &[]);
                None
            }
            Output::Start(lease) => Some(Input::Ended {
                key: lease.key,
                outcome: result::not_begun(TaskError::new(Code::NotStarted, "nothing runs here")),
            }),
            Output::Note(note) => {
                self.joined |= matches!(note, Note::Welcomed { .. });
                None
            }
            Output::End(_) => {
                self.over = true;
                None
            }
            Output::Recall { .. } | Output::Stop(_) | Output::Read { .. } | Output::LogLevels(_) => None,
        }
    }
}

fn settings(host: &str, number: usize) -> Settings {
    Settings {
        name: format!("{host}-{number}"),
        host: host.to_owned(),
        pid: std::process::id(),
        process: String::new(),
        software: format!("scalems {} (one of many)", env!("CARGO_PKG_VERSION")),
        cpus: (0..CORES).collect(),
        gpus: Vec::new(),
        memory_mib: 1_000,
        named: Vec::new(),
        modes: Vec::new(),
        ends: None,
        place: None,
        join_ms: u64::try_from(JOIN.as_millis()).unwrap_or(u64::MAX),
        patience_us: PATIENCE_US,
        idle_us: None,
        nodes: Vec::new(),
        quick_us: QUICK_US,
    }
}
