//! The thread that has the interpreters: who calls what where.
//!
//! Calls stand in *lines*, one for each seat of the worker: a call that begins after another one stands behind it. A line has an
//! interpreter while it has calls; between two that want different ones it changes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use scalems_core::leaseholder::{Input, Outcome};
use scalems_protocol::limits::INTERPRETER_IDLE_MS;
use scalems_protocol::worker::OutputRead;
use tracing::{debug, warn};

use super::ended::{self, with_beside};
use super::frames::{Failure, Frame, Heard, Said};
use super::interpreter::{Interpreter, Phase};
use super::place::{Place, pin};
use super::reading::Reader;
use super::{Call, Command, Ground, INTERPRETER, Shared, Wants};
use crate::executor::{INTERPRETER_MARK, ProgramOutcome, ProgramSpec, Stop};

/// How long an interpreter is kept that has nothing to do.
const IDLE: Duration = Duration::from_millis(INTERPRETER_IDLE_MS);
/// How long one may take to end by itself.
const END: Duration = Duration::from_secs(5);
/// The variable that says which descriptor is the interpreter's end of the socket.
const DESCRIPTOR: &str = "SCALEMS_INTERPRETER_FD";

/// A call that is not over.
#[derive(Debug)]
struct Held {
    call: Call,
    line: u64,
    /// An interpreter has it.
    sent: bool,
    /// It is to end: at once, or as it is asked to.
    stop: Option<Stop>,
    /// It is to come back if it has not begun.
    recalled: bool,
}

/// How a call went, as its interpreter says.
struct Answer {
    value: Bytes,
    ran_us: u64,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
struct Line {
    /// Calls that were not sent, in order.
    queue: VecDeque<u64>,
    interpreter: Option<u64>,
    cpus: Vec<u32>,
}

pub(super) struct Pool {
    ground: Ground,
    shared: Arc<Shared>,
    interpreters: BTreeMap<u64, Interpreter>,
    lines: BTreeMap<u64, Line>,
    calls: HashMap<u64, Held>,
    /// Lines in which something may be sent.
    touched: BTreeSet<u64>,
    events: Vec<Input>,
    pub(super) readers: Vec<Reader>,
    /// What they are told.
    pub(super) reads: Vec<OutputRead>,
    last: u64,
}

impl Pool {
    pub(super) fn new(ground: Ground, shared: Arc<Shared>) -> Self {
        Self {
            ground,
            shared,
            interpreters: BTreeMap::new(),
            lines: BTreeMap::new(),
            calls: HashMap::new(),
            touched: BTreeSet::new(),
            events: Vec::new(),
            readers: Vec::new(),
            reads: Vec::new(),
            last: 0,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let ready = self.wait();
            for command in self.shared.inbox.take() {
                match command {
                    Command::Call(call) => self.accept(*call),
                    Command::Recall { key } => self.recall(key),
                    Command::Stop { key, kill, reason } => self.stop(key, kill, &reason),
                    Command::Read(reader) => self.read_output(reader),
                    Command::Ended { number, outcome } => self.interpreter_ended(number, &outcome),
                    Command::Warm(wants) => self.warm(wants),
                    Command::Shutdown => return,
                }
            }
            for number in ready {
                self.listen(number);
            }
            self.look();
            while let Some(line) = self.touched.pop_first() {
                self.pump(line);
            }
            if !self.readers.is_empty() {
                self.tell_readers();
            }
            self.shared.push(&mut self.events, &mut self.reads);
        }
    }

    /// Waits for something to do. Returns whose descriptors have something.
    fn wait(&self) -> Vec<u64> {
        let now = Instant::now();
        let due = self.interpreters.values().filter_map(|one| one.due(IDLE)).min();
        let timeout = due.map_or(PollTimeout::NONE, |at| {
            // Rounded up, so that what is due is due.
            let left = at.saturating_duration_since(now) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = vec![PollFd::new(self.shared.inbox.as_fd(), PollFlags::POLLIN)];
        let mut whose = Vec::new();
        for (number, one) in self.interpreters.iter().filter(|(_, one)| !one.closed) {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, one.has_unsent());
            sources.push(PollFd::new(one.socket.as_fd(), flags));
            whose.push(*number);
            if one.is_read(now) {
                for pipe in one.outputs.pipes() {
                    sources.push(PollFd::new(pipe.as_fd(), PollFlags::POLLIN));
                    whose.push(*number);
                }
            }
        }
        if let Err(errno) = poll(&mut sources, timeout) {
            debug!(%errno, "waiting for interpreters was interrupted");
            return Vec::new();
        }
        let mut ready: Vec<u64> = sources
            .iter()
            .skip(1)
            .zip(whose)
            .filter(|(source, _)| source.any() == Some(true))
            .map(|(_, number)| number)
            .collect();
        ready.dedup();
        ready
    }

    /// Starts an interpreter before there is a call for it. If it fails to, the first call says why.
    fn warm(&mut self, wants: Wants) {
        match self.start(&Arc::new(wants), Vec::new()) {
            Ok((number, interpreter)) => {
                self.interpreters.insert(number, interpreter);
            }
            Err(why) => debug!(why, "an interpreter for calls to come"),
        }
    }

    fn accept(&mut self, call: Call) {
        let leader = call
            .after
            .and_then(|after| self.calls.get(&after))
            .map(|held| held.line);
        let line = leader.unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        let standing = self.lines.entry(line).or_default();
        standing.cpus.clone_from(&call.cpus);
        standing.queue.push_back(call.key);
        let held = Held {
            line,
            sent: false,
            stop: None,
            recalled: false,
            call,
        };
        self.calls.insert(held.call.key, held);
        self.touched.insert(line);
    }

    /// A call is over.
    fn end(&mut self, key: u64, outcome: Outcome) {
        if let Some(held) = self.calls.remove(&key) {
            self.touched.insert(held.line);
            self.events.push(Input::Ended { key, outcome });
        }
    }

    /// Takes a call out that was not sent. Returns whether it was such a one.
    fn take_unsent(&mut self, key: u64) -> bool {
        let Some(held) = self.calls.get(&key).filter(|held| !held.sent) else {
            return false;
        };
        if let Some(line) = self.lines.get_mut(&held.line) {
            line.queue.retain(|other| *other != key);
        }
        self.end(key, ended::stopped());
        true
    }

    pub(super) fn is_held(&self, key: u64) -> bool {
        self.calls.contains_key(&key)
    }

    pub(super) fn interpreter_of(&mut self, key: u64) -> Option<(u64, &mut Interpreter)> {
        let number = self.lines.get(&self.calls.get(&key)?.line)?.interpreter?;
        Some((number, self.interpreters.get_mut(&number)?))
    }

    fn recall(&mut self, key: u64) {
        if self.take_unsent(key) {
            return;
        }
        if let Some(held) = self.calls.get_mut(&key) {
            held.recalled = true;
        }
        if let Some((_, interpreter)) = self.interpreter_of(key) {
            let mut frame = Frame::default();
            frame.add(&("recall", key));
            interpreter.send(frame);
        }
    }

    fn stop(&mut self, key: u64, kill: bool, reason: &str) {
        if self.take_unsent(key) {
            return;
        }
        if let Some(held) = self.calls.get_mut(&key) {
            held.stop = Some(if kill { Stop::Kill } else { Stop::Request });
        }
        let Some((number, interpreter)) = self.interpreter_of(key) else {
            return;
        };
        if !kill {
            let mut frame = Frame::default();
            frame.add(&("cancel", key));
            return interpreter.send(frame);
        }
        // It may be over by now.
        self.hear_kept(number);
        self.kill_if_due(number, reason);
    }

    /// Kills an interpreter whose call at the front is to be killed.
    fn kill_if_due(&mut self, number: u64, reason: &str) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        let front = interpreter.calls.front().and_then(|key| self.calls.get(key));
        let Some(held) = front.filter(|held| held.stop == Some(Stop::Kill)) else {
            return;
        };
        interpreter.killed_for = Some(held.call.key);
        self.kill(number, reason);
    }

    /// Takes in what an interpreter has answered and not sent.
    fn hear_kept(&mut self, number: u64) {
        if let Some(interpreter) = self.interpreters.get(&number) {
            let kept = interpreter.kept();
            self.hear(number, kept);
        }
    }

    fn kill(&self, number: u64, reason: &str) {
        // If it has gone, its end is on its way.
        let _known = self
            .ground
            .executor
            .stop_program(INTERPRETER | number, Stop::Kill, reason);
    }

    // What interpreters say

    fn listen(&mut self, number: u64) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        interpreter.flush();
        let mut frames = Vec::new();
        let read = interpreter.read(&mut frames);
        // While one is slow, what it writes is its own; what it had written when it ended is told with that.
        if frames.is_empty() && interpreter.is_read(Instant::now()) {
            interpreter.outputs.read();
        }
        if interpreter.closed {
            // Mostly it has ended, and why is on its way. If only its socket has, it is of no use.
            let until = Instant::now() + END;
            interpreter.phase = match interpreter.phase {
                Phase::Starting { .. } => Phase::Starting { until },
                Phase::Ready | Phase::Ending { .. } => Phase::Ending { until },
            };
        }
        self.hear(number, frames);
        if let Err(problem) = read {
            warn!(number, problem, "an interpreter is ended");
            self.kill(number, "it does not speak as it should");
        }
    }

    fn hear(&mut self, number: u64, frames: Vec<Heard>) {
        for Heard { messages, blobs } in frames {
            let blob = |at: usize| blobs.get(at).cloned().unwrap_or_default();
            for said in messages {
                match said {
                    Said::Ready(pid) => self.ready(number, pid),
                    Said::Began(key) => self.began(number, key),
                    Said::Done {
                        key,
                        ran_us,
                        wrote,
                        blob: at,
                    } => {
                        let value = blob(at);
                        self.answered(
                            number,
                            key,
                            wrote,
                            Answer {
                                value,
                                ran_us,
                                failure: None,
                            },
                        );
                    }
                    Said::Failed {
                        key,
                        ran_us,
                        wrote,
                        failure,
                        blob: at,
                    } => {
                        let (value, failure) = (at.map(blob).unwrap_or_default(), Some(failure));
                        self.answered(
                            number,
                            key,
                            wrote,
                            Answer {
                                value,
                                ran_us,
                                failure,
                            },
                        );
                    }
                    Said::Dropped(key) => self.dropped(number, key),
                    Said::Progress { key, fraction, text } => self.progress(number, key, fraction, text),
                    Said::Retire(why) => {
                        debug!(number, why, "an interpreter takes no further call");
                        if let Some(interpreter) = self.interpreters.get_mut(&number) {
                            interpreter.retired = true;
                            self.touched.extend(interpreter.line);
                        }
                    }
                    Said::Other => debug!(number, "an interpreter said what is not known here"),
                }
            }
        }
    }

    fn ready(&mut self, number: u64, pid: i32) {
        // One that was dismissed before it was ready ends all the same.
        let starting = |one: &&mut Interpreter| matches!(one.phase, Phase::Starting { .. });
        if let Some(interpreter) = self.interpreters.get_mut(&number).filter(starting) {
            interpreter.phase = Phase::Ready;
            interpreter.pid = Some(pid);
            interpreter.since = Instant::now();
            self.touched.extend(interpreter.line);
            // It may have got other CPUs than it was started on.
            if self.ground.pins {
                pin(pid, &interpreter.cpus);
            }
            let mut frame = Frame::default();
            frame.add(&(
                "place",
                Place::new(&self.ground, &interpreter.cpus, &interpreter.wants),
            ));
            interpreter.send(frame);
        }
    }

    fn began(&mut self, number: u64, key: u64) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        if interpreter.calls.front() == Some(&key) && !interpreter.began {
            interpreter.began = true;
            self.events.push(Input::Started { key });
        }
    }

    fn progress(&mut self, number: u64, key: u64, fraction: f64, text: String) {
        let interpreter = self.interpreters.get(&number);
        if interpreter.is_some_and(|one| one.calls.front() == Some(&key)) {
            self.events.push(Input::Progress { key, fraction, text });
        }
    }

    fn answered(&mut self, number: u64, key: u64, wrote: bool, answer: Answer) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        // What was read in the tray may come by the socket too.
        if interpreter.calls.front() != Some(&key) && !interpreter.calls.contains(&key) {
            return;
        }
        if wrote {
            interpreter.outputs.read();
            let mut frame = Frame::default();
            frame.add(&("drained", key));
            interpreter.send(frame);
        }
        self.tell_last(key);
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        let written = interpreter.outputs.take();
        self.advance(number, key);
        let Some(held) = self.calls.get(&key) else {
            return warn!(number, key, "an interpreter answered what it was not asked");
        };
        let asked = held.stop.is_some();
        let Answer {
            value,
            ran_us,
            failure,
        } = answer;
        let value = with_beside(written, value);
        let outcome = match failure {
            None => ended::done(value, ran_us),
            Some(failure) => {
                let error = ended::failure(held.call.task, &held.call.template, failure);
                ended::failed(value, ran_us, error, asked)
            }
        };
        self.end(key, outcome);
    }

    /// A call is no more the interpreter's.
    fn advance(&mut self, number: u64, key: u64) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        if interpreter.calls.front() == Some(&key) {
            interpreter.calls.pop_front();
            interpreter.began = false;
            interpreter.since = Instant::now();
        } else {
            interpreter.calls.retain(|other| *other != key);
        }
        self.touched.extend(interpreter.line);
        self.kill_if_due(number, "the task is ended");
    }

    fn dropped(&mut self, number: u64, key: u64) {
        self.advance(number, key);
        match self.calls.get(&key) {
            Some(held) if held.recalled || held.stop.is_some() => self.end(key, ended::stopped()),
            Some(_) => self.put_back(key),
            None => {}
        }
    }

    /// A call that was sent has not begun, and is sent to another interpreter.
    fn put_back(&mut self, key: u64) {
        let Some(held) = self.calls.get_mut(&key) else {
            return;
        };
        held.sent = false;
        if held.recalled || held.stop.is_some() {
            return self.end(key, ended::stopped());
        }
        if let Some(line) = self.lines.get_mut(&held.line) {
            // Keys rise along a line.
            let at = line.queue.partition_point(|other| *other < key);
            line.queue.insert(at, key);
        }
        self.touched.insert(held.line);
    }

    fn interpreter_ended(&mut self, number: u64, outcome: &ProgramOutcome) {
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        // What it said last counts.
        let mut frames = Vec::new();
        if let Err(problem) = interpreter.read(&mut frames) {
            debug!(number, problem, "an interpreter ended in the middle of a word");
        }
        frames.extend(interpreter.kept());
        self.hear(number, frames);
        let Some(mut interpreter) = self.interpreters.remove(&number) else {
            return;
        };
        interpreter.outputs.read();
        let written = interpreter.outputs.take();
        let line = interpreter.line.and_then(|line| self.lines.get_mut(&line));
        let mut queue = Vec::new();
        if let Some(line) = line {
            line.interpreter = None;
            queue.extend(line.queue.iter().copied());
        }
        self.touched.extend(interpreter.line);
        let mut calls = interpreter.calls;
        // The one that it was killed for was over by then: what it was at has not ended it.
        let innocent = interpreter.killed_for.is_some() && interpreter.killed_for.as_ref() != calls.front();
        let guilty = if innocent { None } else { calls.pop_front() };
        if let Some(held) = guilty.and_then(|key| self.calls.get(&key)) {
            let Call {
                key,
                task,
                ref template,
                ..
            } = held.call;
            let error = ended::interpreter_ended(task, template, outcome, &written);
            let ran_us = u64::try_from(interpreter.since.elapsed().as_micros()).unwrap_or(u64::MAX);
            let value = with_beside(written, Bytes::new());
            let outcome = ended::failed(value, ran_us, error, held.stop.is_some());
            self.end(key, outcome);
        }
        for key in calls {
            self.put_back(key);
        }
        if matches!(interpreter.phase, Phase::Starting { .. }) {
            let why = ended::never_ready(outcome);
            self.refuse(&queue, &interpreter.wants, &why);
        }
    }

    /// No interpreter can be had for these.
    fn refuse(&mut self, queue: &[u64], wants: &Wants, why: &str) {
        for key in queue {
            let Some(held) = self.calls.get(key).filter(|held| *held.call.wants == *wants) else {
                continue;
            };
            if let Some(line) = self.lines.get_mut(&held.line) {
                line.queue.retain(|other| other != key);
            }
            let error = ended::no_interpreter(held.call.task, &wants.python, why);
            self.end(*key, ended::failed(Bytes::new(), 0, error, false));
        }
    }

    /// What is due without a word.
    fn look(&mut self) {
        let now = Instant::now();
        let due = |one: &Interpreter| one.due(IDLE).is_some_and(|at| at <= now);
        let due: Vec<u64> = self
            .interpreters
            .iter()
            .filter(|(_, one)| due(one))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            let Some(interpreter) = self.interpreters.get_mut(&number) else {
                continue;
            };
            match interpreter.phase {
                Phase::Starting { until } => {
                    interpreter.phase = Phase::Starting { until: until + END };
                    self.kill(number, "it did not start in time");
                }
                Phase::Ending { .. } => {
                    interpreter.phase = Phase::Ending { until: now + END };
                    self.kill(number, "it did not end in time");
                }
                Phase::Ready if interpreter.line.is_none() => self.dismiss(number),
                // It holds back what would say that it has begun: a library that keeps Python's lock.
                Phase::Ready => {
                    let front = interpreter.calls.front().copied();
                    self.hear_kept(number);
                    if let Some(key) = front {
                        self.began(number, key);
                    }
                }
            }
        }
    }

    // Who calls where

    fn pump(&mut self, number: u64) {
        loop {
            let Some(line) = self.lines.get(&number) else {
                return;
            };
            let front = line.queue.front().and_then(|key| self.calls.get(key));
            let wants = front.map(|held| Arc::clone(&held.call.wants));
            let Some(at) = line.interpreter else {
                match wants {
                    None => {
                        self.lines.remove(&number);
                        return;
                    }
                    Some(wants) if self.acquire(number, &wants) => continue,
                    Some(_) => return,
                }
            };
            let Some(interpreter) = self.interpreters.get(&at) else {
                return;
            };
            let fits = wants.is_some_and(|wants| same(&wants, &interpreter.wants)) && !interpreter.is_spent();
            if fits {
                return self.send_calls(number, at);
            }
            if !interpreter.calls.is_empty() || interpreter.closed {
                return;
            }
            self.release(number, at);
        }
    }

    fn send_calls(&mut self, line: u64, number: u64) {
        let (Some(line), Some(interpreter)) = (self.lines.get_mut(&line), self.interpreters.get_mut(&number))
        else {
            return;
        };
        let mut frame = Frame::default();
        while interpreter.has_room()
            && let Some(held) = line.queue.front().and_then(|key| self.calls.get_mut(key))
            && same(&held.call.wants, &interpreter.wants)
            && frame.bytes() < 1 << 20
        {
            line.queue.pop_front();
            held.sent = true;
            let call = &held.call;
            let (mode, policy) = (&call.template.mode, &call.template.policy);
            let body = call.body.as_ref().map_or(0, |body| {
                interpreter.introduce(body, mode, &mut frame);
                body.id
            });
            let blob = frame.blob(call.data.clone());
            let task = (
                call.task.submission,
                call.task.index,
                call.incarnation,
                call.attempt,
                policy.time_limit_ms,
            );
            frame.add(&("call", call.key, body, mode, blob, task));
            if interpreter.calls.is_empty() {
                interpreter.since = Instant::now();
            }
            interpreter.calls.push_back(call.key);
            interpreter.made += 1;
        }
        let more = frame.bytes() >= 1 << 20;
        interpreter.send(frame);
        // Those behind large arguments go once these have.
        if more && interpreter.has_room() {
            self.touched.extend(interpreter.line);
        }
    }

    /// Finds the line an interpreter, or starts one. Otherwise its calls that want such a one have ended.
    fn acquire(&mut self, number: u64, wants: &Arc<Wants>) -> bool {
        let Some(line) = self.lines.get_mut(&number) else {
            return false;
        };
        let pins = self.ground.pins;
        let free = |one: &Interpreter| {
            one.line.is_none() && !one.is_spent() && !one.closed && same(&one.wants, wants)
        };
        let found = self
            .interpreters
            .iter()
            .filter(|(_, one)| free(one))
            .min_by_key(|(_, one)| one.cpus != line.cpus);
        // One that is starting is moved once it is ready, if it has no place of its own.
        let is_free = |one: &Interpreter| one.phase == Phase::Ready || one.cpus.is_empty();
        let usable = |one: &Interpreter| !pins || one.cpus == line.cpus || is_free(one);
        if let Some(at) = found.filter(|(_, one)| usable(one)).map(|(at, _)| *at) {
            line.interpreter = Some(at);
            let Some(interpreter) = self.interpreters.get_mut(&at) else {
                return false;
            };
            interpreter.line = Some(number);
            interpreter.since = Instant::now();
            if interpreter.cpus != line.cpus {
                interpreter.cpus.clone_from(&line.cpus);
                if pins && let Some(pid) = interpreter.pid {
                    pin(pid, &line.cpus);
                }
                let mut frame = Frame::default();
                frame.add(&("place", Place::new(&self.ground, &interpreter.cpus, wants)));
                interpreter.send(frame);
            }
            return true;
        }
        let cpus = line.cpus.clone();
        let started = self.start(wants, cpus);
        let Some(line) = self.lines.get_mut(&number) else {
            return false;
        };
        match started {
            Ok((at, mut interpreter)) => {
                line.interpreter = Some(at);
                interpreter.line = Some(number);
                self.interpreters.insert(at, interpreter);
                true
            }
            Err(why) => {
                let queue: Vec<u64> = line.queue.iter().copied().collect();
                self.refuse(&queue, wants, &why);
                false
            }
        }
    }

    fn start(&mut self, wants: &Arc<Wants>, cpus: Vec<u32>) -> Result<(u64, Interpreter), String> {
        let problem = |problem: &dyn std::fmt::Display| format!("was not started: {problem}");
        let (interpreter, child) =
            Interpreter::new(Arc::clone(wants), cpus, Instant::now()).map_err(|error| problem(&error))?;
        self.last += 1;
        let number = self.last;
        let spec = self.spec(wants, &interpreter.cpus, number, child);
        let started = self.ground.executor.start_program(INTERPRETER | number, spec);
        started.map_err(|error| problem(&error))?;
        Ok((number, interpreter))
    }

    fn spec(&self, wants: &Wants, cpus: &[u32], number: u64, child: OwnedFd) -> ProgramSpec {
        let mut env = (self.ground.environment)(wants);
        env.push((DESCRIPTOR.into(), child.as_raw_fd().to_string().into()));
        // Processes that it leaves behind are found by this, whatever task they are of.
        env.push((INTERPRETER_MARK.into(), number.to_string().into()));
        let pinned = self.ground.pins;
        ProgramSpec {
            env,
            cwd: Some(self.ground.directory.clone()),
            create_cwd: true,
            cpus: cpus.iter().filter(|_| pinned).map(|cpu| *cpu as usize).collect(),
            memory: wants.memory,
            inherit: Some(child),
            ..ProgramSpec::new([wants.python.as_str(), "-m", "scalems_pilot.interpreter"])
        }
    }

    /// A line has no use for its interpreter.
    fn release(&mut self, line: u64, number: u64) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.interpreter = None;
        }
        let Some(interpreter) = self.interpreters.get_mut(&number) else {
            return;
        };
        interpreter.line = None;
        interpreter.since = Instant::now();
        if interpreter.is_spent() {
            return self.dismiss(number);
        }
        let idle = self
            .interpreters
            .iter()
            .filter(|(_, one)| one.line.is_none() && !one.is_spent());
        let idle: Vec<(Instant, u64)> = idle.map(|(number, one)| (one.since, *number)).collect();
        if idle.len() > self.ground.idle
            && let Some((_, oldest)) = idle.into_iter().min()
        {
            self.dismiss(oldest);
        }
    }

    /// An interpreter without calls ends.
    fn dismiss(&mut self, number: u64) {
        if let Some(interpreter) = self.interpreters.get_mut(&number) {
            interpreter.phase = Phase::Ending {
                until: Instant::now() + END,
            };
            let mut frame = Frame::default();
            frame.add(&("end",));
            interpreter.send(frame);
        }
    }
}

fn same(one: &Arc<Wants>, other: &Arc<Wants>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
