//! The worker's bus: one thread that owns its sockets, steps its machine and starts what that says (R1).
//!
//! Each round it waits for sockets, programs and deadlines, hands what is there to the machine up to a cap,
//! lets the machine decide once, and does what it decided. What needs no program is answered in the round in
//! which it came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scalems_core::Micros;
use scalems_core::leaseholder::{
    EndReason, Input, Leaseholder, Note, Output, Settings, StopOrder, TaskLease,
};
use scalems_protocol::state::Strength;
use scalems_protocol::worker::{AgentToWorker, OutputRead, WorkerToAgent};
use scalems_protocol::{Code, TaskError};
use scalems_transport::{ConnectionEvent, Message, SendError, Source, poll};
use tracing::{debug, error, info, warn};

use super::WorkerError;
use super::deputy::DeputyOrder;
use super::function::Calls;
use super::program::{self, Begun, Site};
use super::ranks::{Ranks, Wanted};
use super::reach::Reach;
use super::result;
use super::stopper::StopSignal;
use crate::executor::{Executor, Exit, ProgramEvent, Stop};
use crate::functions::{Functions, is_interpreter};

/// Messages that one round takes: enough for batches to form, few enough that programs do not wait long.
const ROUND: usize = 128;
/// Where a program ends badly it may have been asked to by somebody who asks the worker too, within so long. That is waited for
/// once in a while only: programs that fail by themselves cost no more time than that.
const ALL_ASKED: Duration = Duration::from_millis(30);
const AWAIT_AGAIN: Duration = Duration::from_secs(1);

/// All that a worker's process is made of.
pub(super) struct Bus {
    pub(super) reach: Reach,
    pub(super) stop: StopSignal,
    /// Its thread ends before the executor.
    functions: Option<(Calls, Functions)>,
    pub(super) executor: Arc<Executor>,
    pub(super) site: Site,
    pub(super) begun: Instant,
    machine: Leaseholder,
    programs: HashMap<u64, Begun>,
    /// What runs in several ranks, calls and programs.
    ranks: Ranks,
    /// Keys of calls that are not over.
    called: HashSet<u64>,
    events: Vec<ProgramEvent>,
    out: Vec<Output>,
    /// A connection is there, and hello is due as soon as something can be sent.
    greet: bool,
    joined: bool,
    /// The pilot has ended without a word to this worker.
    pilot_gone: bool,
    /// From when on an end of a program is waited with once more, whether the worker is asked to end as well.
    await_again_at: Instant,
    end: Option<EndReason>,
}

impl Bus {
    pub(super) fn new(
        settings: Settings,
        reach: Reach,
        stop: StopSignal,
        executor: Arc<Executor>,
        functions: Option<(Calls, Functions)>,
        ranks: Ranks,
        site: Site,
    ) -> Self {
        Self {
            reach,
            stop,
            functions,
            executor,
            site,
            begun: Instant::now(),
            machine: Leaseholder::new(settings, 0),
            programs: HashMap::new(),
            ranks,
            called: HashSet::new(),
            events: Vec::new(),
            out: Vec::new(),
            greet: false,
            joined: false,
            pilot_gone: false,
            await_again_at: Instant::now(),
            end: None,
        }
    }

    /// Serves until the machine says that the worker ends.
    pub(super) fn run(&mut self) -> Result<EndReason, WorkerError> {
        loop {
            self.wait()?;
            // What a connection brought comes before its end.
            self.messages()?;
            self.connections()?;
            if !self.reach.look(Instant::now())? && !std::mem::replace(&mut self.pilot_gone, true) {
                info!("the pilot's connection file is gone: it has ended, and this worker does");
                self.input(Input::Stop { drain_ms: 0 });
            }
            self.stop_if_asked();
            self.programs()?;
            self.flush()?;
            if let Some(reason) = self.end.take() {
                return Ok(reason);
            }
        }
    }

    /// Whether the worker is asked to end.
    fn stop_if_asked(&mut self) -> bool {
        let asked = self.stop.take();
        if let Some(drain) = asked {
            self.input(Input::Stop {
                drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            });
        }
        asked.is_some()
    }

    fn now(&self) -> Micros {
        self.begun.elapsed().as_micros() as Micros
    }

    fn wait(&mut self) -> Result<(), WorkerError> {
        let machine = self
            .machine
            .deadline()
            .map(|at| self.begun + Duration::from_micros(at));
        let next = [machine, self.reach.look_at].into_iter().flatten().min();
        let wait = next.map(|at| at.saturating_duration_since(Instant::now()));
        let dealer = &self.reach.dealer;
        let messages = if self.greet {
            Source::readable_or_writable(dealer)
        } else {
            Source::readable(dealer)
        };
        let sources = [
            messages,
            Source::connections(dealer),
            Source::wake(&self.stop.wake),
        ];
        let [messages, _, wake] = poll(sources, wait)?;
        if wake.any() {
            self.stop.wake.reset();
        }
        if self.greet && messages.writable {
            self.greet = false;
            self.input(Input::Connected);
        }
        Ok(())
    }

    fn input(&mut self, input: Input) {
        self.machine.handle(self.now(), input, &mut self.out);
    }

    fn connections(&mut self) -> Result<(), WorkerError> {
        while let Some(event) = self.reach.dealer.connection_event()? {
            match event {
                // The socket learns of the connection a moment later than we do.
                ConnectionEvent::Opened => {
                    self.greet = true;
                    self.reach.opened();
                }
                ConnectionEvent::Closed | ConnectionEvent::Failed => self.lost(),
                ConnectionEvent::Denied { status } if self.joined => {
                    warn!(status, "the agent does not know this worker's key any more");
                    self.lost();
                }
                ConnectionEvent::Denied { status } => {
                    let agent = self.reach.agents_host().to_owned();
                    return Err(WorkerError::Denied { agent, status });
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self) {
        self.greet = false;
        self.reach.closed();
        self.input(Input::Disconnected);
    }

    fn messages(&mut self) -> Result<(), WorkerError> {
        for _ in 0..ROUND {
            let Some(Message { header, blobs }) = self.reach.dealer.recv()? else {
                break;
            };
            match AgentToWorker::decode_frames(&header, blobs) {
                Ok((message, blobs)) => self.input(Input::Agent { message, blobs }),
                // If it had a number, the next one shows that it is missing.
                Err(problem) => warn!(%problem, "a message of the agent cannot be read and is dropped"),
            }
        }
        Ok(())
    }

    fn programs(&mut self) -> Result<(), WorkerError> {
        self.executor.drain(&mut self.events);
        let now = Instant::now();
        if now >= self.await_again_at && self.events.iter().any(failed_by_itself) {
            self.await_again_at = now + AWAIT_AGAIN;
            self.await_own_end()?;
        }
        for event in std::mem::take(&mut self.events) {
            match event {
                ProgramEvent::Started { key, .. } if is_interpreter(key) || Ranks::is_look(key) => {}
                ProgramEvent::Ended { key, outcome } if Ranks::is_look(key) => {
                    for input in self.ranks.looked(&outcome, &self.executor) {
                        if let Input::Ended { key, .. } = &input {
                            self.programs.remove(key);
                        }
                        self.input(input);
                    }
                }
                ProgramEvent::Ended { key, outcome } if is_interpreter(key) => {
                    if let Some((_, functions)) = &self.functions {
                        functions.take_end(key, outcome);
                    }
                }
                ProgramEvent::Started { key, .. } => self.input(Input::Started { key }),
                ProgramEvent::Stuck { key, pid } => {
                    let task = self.programs.get(&key).map_or("?", |begun| &begun.task);
                    warn!(
                        task,
                        pid, "a program was killed and does not die; mostly its file system hangs"
                    );
                }
                ProgramEvent::Output {
                    id,
                    stdout,
                    stderr,
                    over,
                } => {
                    let read = OutputRead {
                        id,
                        stdout,
                        stderr,
                        over,
                    };
                    self.out.push(Output::Send(read.into(), Vec::new()));
                }
                ProgramEvent::Ended { key, outcome } => {
                    let outcome = match self.ranks.ended(key, outcome) {
                        Ok(input) => {
                            self.input(input);
                            continue;
                        }
                        Err(outcome) => outcome,
                    };
                    let Some(begun) = self.programs.remove(&key) else {
                        error!(key, "a program ended that was not begun");
                        continue;
                    };
                    let outcome = result::outcome(&begun, &self.site.host, *outcome);
                    self.input(Input::Ended { key, outcome });
                }
            }
        }
        let (mut inputs, mut reads) = (Vec::new(), Vec::new());
        if let Some((_, functions)) = &self.functions {
            functions.drain(&mut inputs, &mut reads);
        }
        self.out.extend(
            reads
                .into_iter()
                .map(|read| Output::Send(read.into(), Vec::new())),
        );
        if let Some(deputy) = &self.site.deputy {
            deputy.drain(&mut inputs);
        }
        for input in inputs {
            if let Input::Ended { key, .. } = input {
                self.called.remove(&key);
            }
            self.input(input);
        }
        Ok(())
    }

    /// Whoever asks all processes of a job to end asks one after another: this one may be next.
    fn await_own_end(&mut self) -> Result<(), WorkerError> {
        let until = Instant::now() + ALL_ASKED;
        while !self.stop_if_asked() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // Programs that end meanwhile wake it too.
            poll([Source::wake(&self.stop.wake)], Some(left))?;
            self.stop.wake.reset();
            self.executor.drain(&mut self.events);
        }
        Ok(())
    }

    /// Lets the machine decide, and does what it decided. What cannot even be begun is decided on again.
    fn flush(&mut self) -> Result<(), WorkerError> {
        loop {
            let now = self.now();
            self.machine.flush(now, &mut self.out);
            let mut at_once = Vec::new();
            for output in std::mem::take(&mut self.out) {
                at_once.extend(self.act(output)?);
            }
            if at_once.is_empty() {
                return Ok(());
            }
            for input in at_once {
                self.input(input);
            }
        }
    }

    /// Does one thing. What it leads to at once is an input of its own.
    fn act(&mut self, output: Output) -> Result<Option<Input>, WorkerError> {
        match output {
            Output::Send(message, blobs) => {
                let (header, blobs) = message.encode_frames(&blobs);
                match self.reach.dealer.send(&header, blobs) {
                    Ok(()) => {}
                    Err(SendError::Full | SendError::Gone) => {
                        debug!(message = message.name(), "the connection is gone");
                        self.greet = false;
                        return Ok(Some(Input::Disconnected));
                    }
                    Err(source) => {
                        return Err(WorkerError::Send {
                            what: message.name(),
                            source,
                        });
                    }
                }
            }
            Output::PublishBeat(beat) => {
                if let Err(problem) = self.reach.beats.send(&WorkerToAgent::Beat(beat).encode(), &[]) {
                    debug!(%problem, "a beat was not published");
                }
            }
            Output::Start(lease) => return Ok(self.start(&lease)),
            Output::Recall { key } => match self.functions_of(key) {
                Some(functions) => functions.recall(key),
                None => match self.withdraw(key) {
                    Some(input) => return Ok(Some(input)),
                    None => self.executor.recall(key),
                },
            },
            Output::Stop(order) => match self.withdraw(order.key) {
                Some(input) => return Ok(Some(input)),
                None => self.stop_program(order),
            },
            Output::Read { key, id, from } => {
                if let Some(functions) = self.functions_of(key) {
                    functions.read_output(key, id, from);
                } else if !self.executor.read_output(key, id, from) {
                    let over = OutputRead {
                        id,
                        over: true,
                        ..OutputRead::default()
                    };
                    return self.act(Output::Send(over.into(), Vec::new()));
                }
            }
            Output::Note(note) => self.note(&note),
            Output::LogLevels(levels) => crate::logging::set_levels(&levels),
            Output::End(reason) => self.end = Some(reason),
        }
        Ok(None)
    }

    fn start(&mut self, lease: &TaskLease) -> Option<Input> {
        let key = lease.key;
        let ended = |error| {
            Some(Input::Ended {
                key,
                outcome: result::not_begun(error),
            })
        };
        if let Some(deputy) = &self.site.deputy {
            deputy.tell(DeputyOrder::Begin(Box::new(lease.clone())));
            return Some(Input::Started { key });
        }
        if !program::MODES.contains(&lease.template.mode.as_str()) {
            let Some((calls, functions)) = &mut self.functions else {
                let message = format!(
                    "task {} calls a function, and this worker has no Python",
                    lease.task
                );
                return ended(TaskError::new(Code::NoInterpreter, message));
            };
            return match calls.prepare(lease) {
                Ok(call) if call.wants.comm || lease.needs().ranks > 1 => {
                    match Wanted::call(lease, call, &self.site) {
                        Ok(wanted) => self.ranks.start(wanted, &self.executor, &self.site.surroundings),
                        Err(error) => ended(error),
                    }
                }
                Ok(call) => {
                    self.called.insert(key);
                    functions.call(call);
                    None
                }
                Err(error) => ended(error),
            };
        }
        let (spec, begun) = match program::prepare(lease, &self.site) {
            Ok(prepared) => prepared,
            Err(error) => return ended(error),
        };
        if lease.needs().ranks > 1 {
            let wanted = match Wanted::program(lease, spec) {
                Ok(wanted) => wanted,
                Err(error) => return ended(error),
            };
            let not_begun = self.ranks.start(wanted, &self.executor, &self.site.surroundings);
            if not_begun.is_none() {
                self.programs.insert(key, begun);
            }
            return not_begun;
        }
        let started = match lease.after {
            None => self.executor.start_program(key, spec),
            Some(after) => self.executor.start_program_after(key, spec, after),
        };
        if let Err(problem) = started {
            let message = format!("task {} was not started: {problem}", lease.task);
            return ended(TaskError::retryable(Code::NotStarted, message));
        }
        debug!(task = begun.task, program = begun.program, "starting");
        self.programs.insert(key, begun);
        None
    }

    /// Takes back what waits for the launcher of ranks, if it does.
    fn withdraw(&mut self, key: u64) -> Option<Input> {
        let input = self.ranks.withdraw(key)?;
        self.programs.remove(&key);
        Some(input)
    }

    /// Who calls, if the key is that of a call.
    fn functions_of(&self, key: u64) -> Option<&Functions> {
        let (_, functions) = self.functions.as_ref()?;
        self.called.contains(&key).then_some(functions)
    }

    fn stop_program(&mut self, order: StopOrder) {
        if let Some(deputy) = &self.site.deputy {
            return deputy.tell(DeputyOrder::Stop(order));
        }
        if let Some(functions) = self.functions_of(order.key) {
            return functions.stop(order.key, order.strength == Strength::Kill, order.reason);
        }
        let stop = if order.strength == Strength::Kill {
            Stop::Kill
        } else {
            self.ranks.ask(order.key);
            Stop::Request
        };
        // If there is nothing to stop any more, its end is among the events.
        let _stopped = self.executor.stop_program(order.key, stop, order.reason);
    }

    fn note(&mut self, note: &Note) {
        match note {
            Note::Welcomed { .. } | Note::Stopping(_) => info!("{note}"),
            Note::UnknownKey(_) | Note::WrongLease(_) => error!("{note}"),
            Note::Gap { .. } | Note::HelloAgain | Note::Refused(_) | Note::Orphaned => warn!("{note}"),
        }
        self.joined |= matches!(note, Note::Welcomed { .. });
    }
}

/// Whether a program ended badly and not by us.
fn failed_by_itself(event: &ProgramEvent) -> bool {
    matches!(event, ProgramEvent::Ended { outcome, .. }
        if outcome.stopped_by.is_none() && matches!(outcome.exit, Exit::Signaled(_) | Exit::Exited(1..)))
}
