//! Tasks in several ranks: programs of the executor that the launcher of an MPI starts.
//!
//! Which launcher there is, and whose, is found out with the first such task, by a program too; tasks that come meanwhile wait for
//! it. Each has a directory of its own, in memory where that can be, for what its ranks are told and what they say.

mod outcome;
mod place;

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use scalems_core::leaseholder::{Input, TaskLease};
use scalems_protocol::limits::RANKS;
use scalems_protocol::{Code, TaskError, TaskId};
use tracing::{info, warn};

use self::place::Place;
use super::environment::{self, Surroundings};
use super::program::Site;
use super::result;
use crate::executor::{Executor, Exit, ProgramOutcome, ProgramSpec};
use crate::functions::Call;
use crate::mpi::{self, Launcher};

/// The executor's key of the program that says whose launcher it is; tasks and interpreters have others.
const LOOK: u64 = 1 << 62;
/// How long that may take: a file system that a thousand nodes read at once.
const LOOK_TIME: Duration = Duration::from_secs(60);
/// How a rank is told its number by each launcher, and by us.
const NUMBERED: &str = "SCALEMS_RANK=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-${PMIX_RANK:-${SLURM_PROCID:-0}}}}; \
    export SCALEMS_RANK; exec \"$@\"";

/// What is to run in ranks.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: u64,
    task: TaskId,
    after: Option<u64>,
    ranks: u32,
    /// One rank of it.
    spec: ProgramSpec,
    call: Option<Box<Called>>,
}

/// A call that all ranks make.
#[derive(Debug)]
struct Called {
    call: Call,
    ranks: u32,
    /// Directories of attempts are made in here.
    directory: PathBuf,
    pins: bool,
}

/// What is remembered of one that runs.
#[derive(Debug)]
struct Begun {
    place: Place,
    call: Option<Box<Called>>,
}

#[derive(Debug)]
enum State {
    /// Nobody has asked yet.
    Unknown,
    /// It was asked what it is; these wait for the answer.
    Asked(PathBuf, Vec<Wanted>),
    Known(Launcher),
    /// Why nothing can run in ranks here.
    Missing(String),
}

/// All of it.
#[derive(Debug)]
pub(super) struct Ranks {
    given: Option<PathBuf>,
    state: State,
    begun: HashMap<u64, Begun>,
}

impl Wanted {
    /// A call, of which each rank returns a value.
    pub(super) fn call(lease: &TaskLease, call: Call, site: &Site) -> Result<Self, TaskError> {
        let ranks = count(lease)?;
        let mut env = site
            .surroundings
            .of(lease, call.wants.env.clone(), vec![ranks_variable(ranks)]);
        environment::add_modules(&mut env, &call.wants.path);
        let pins = site.surroundings.pins;
        let spec = ProgramSpec {
            env,
            cwd: Some(site.directory.clone()),
            create_cwd: true,
            cpus: lease
                .cpus
                .iter()
                .filter(|_| pins)
                .map(|cpu| *cpu as usize)
                .collect(),
            memory: call.wants.memory,
            grace: Duration::from_millis(lease.template.policy.grace_ms),
            // Launchers would kill ranks at once.
            hears_term: false,
            ..ProgramSpec::new([
                call.wants.python.as_str(),
                "-m",
                "scalems_pilot.interpreter.ranks",
            ])
        };
        let called = Called {
            call,
            ranks,
            directory: site.directory.clone(),
            pins,
        };
        Ok(Self {
            call: Some(Box::new(called)),
            ..Self::new(lease, ranks, spec)
        })
    }

    /// A program, as the one of a task in one rank would be.
    pub(super) fn program(lease: &TaskLease, mut spec: ProgramSpec) -> Result<Self, TaskError> {
        let ranks = count(lease)?;
        spec.env.push(own(ranks_variable(ranks)));
        let words = ["/bin/sh", "-c", NUMBERED, "rank"].map(OsString::from);
        spec.argv.splice(0..0, words);
        Ok(Self::new(lease, ranks, spec))
    }

    fn new(lease: &TaskLease, ranks: u32, spec: ProgramSpec) -> Self {
        Self {
            key: lease.key,
            task: lease.task,
            after: lease.after,
            ranks,
            spec,
            call: None,
        }
    }

    fn fails(&self, error: TaskError) -> Input {
        Input::Ended {
            key: self.key,
            outcome: result::not_begun(error),
        }
    }
}

fn ranks_variable(ranks: u32) -> (&'static str, OsString) {
    ("SCALEMS_RANKS", ranks.to_string().into())
}

fn own((name, value): (&'static str, OsString)) -> (OsString, OsString) {
    (name.into(), value)
}

fn count(lease: &TaskLease) -> Result<u32, TaskError> {
    let ranks = lease.needs().ranks;
    if ranks <= RANKS {
        return Ok(ranks);
    }
    let message = format!(
        "task {} needs {ranks} ranks, and at most {RANKS} run on one host: all of a task do",
        lease.task
    );
    Err(TaskError::new(Code::ImpossibleNeeds, message))
}

impl Ranks {
    /// `given` is the launcher that the worker was started with.
    pub(super) fn new(given: Option<PathBuf>) -> Self {
        Self {
            given,
            state: State::Unknown,
            begun: HashMap::new(),
        }
    }

    /// Whether an executor's key is that of the look at the launcher.
    pub(super) const fn is_look(key: u64) -> bool {
        key == LOOK
    }

    /// Starts one. What cannot even be begun is an end at once.
    pub(super) fn start(
        &mut self,
        wanted: Wanted,
        executor: &Executor,
        surroundings: &Surroundings,
    ) -> Option<Input> {
        if matches!(self.state, State::Unknown) {
            self.state = self.look(executor, surroundings);
        }
        match &mut self.state {
            State::Known(launcher) => {
                let launcher = launcher.clone();
                self.launch(&launcher, wanted, executor)
            }
            State::Missing(why) => Some(wanted.fails(missing(&wanted, why))),
            State::Asked(_, waiting) => {
                waiting.push(wanted);
                None
            }
            State::Unknown => unreachable!("invariant: it was looked for"),
        }
    }

    fn look(&self, executor: &Executor, surroundings: &Surroundings) -> State {
        let Some(program) = mpi::find(self.given.as_deref()) else {
            return State::Missing("no mpiexec is in its PATH".to_owned());
        };
        Place::sweep();
        let spec = ProgramSpec {
            env: surroundings.plain(),
            time_limit: Some(LOOK_TIME),
            ..ProgramSpec::new([program.as_os_str(), "--version".as_ref()])
        };
        match executor.start_program(LOOK, spec) {
            Ok(()) => State::Asked(program, Vec::new()),
            Err(problem) => State::Missing(problem.to_string()),
        }
    }

    /// The launcher has said what it is: those that waited start, or end.
    pub(super) fn looked(&mut self, outcome: &ProgramOutcome, executor: &Executor) -> Vec<Input> {
        let State::Asked(program, waiting) = std::mem::replace(&mut self.state, State::Unknown) else {
            return Vec::new();
        };
        let words = [&outcome.stdout.tail[..], b"\n", &outcome.stderr.tail].concat();
        let words = String::from_utf8_lossy(&words);
        self.state = match &outcome.exit {
            Exit::NotStarted(why) => State::Missing(why.to_string()),
            Exit::Exited(0) => match Launcher::recognised(program, &words) {
                Ok(launcher) => {
                    info!("ranks are started by {}", launcher.name());
                    State::Known(launcher)
                }
                Err(why) => State::Missing(why),
            },
            _ => {
                let last = mpi::last_line(&words).unwrap_or_else(|| "nothing".to_owned());
                State::Missing(format!("`{} --version` failed: {last}", program.display()))
            }
        };
        let inputs = match &self.state {
            State::Known(launcher) => {
                let launcher = launcher.clone();
                waiting
                    .into_iter()
                    .filter_map(|wanted| self.launch(&launcher, wanted, executor))
                    .collect()
            }
            State::Missing(why) => waiting
                .iter()
                .map(|wanted| wanted.fails(missing(wanted, why)))
                .collect(),
            State::Unknown | State::Asked(..) => unreachable!("invariant: it was just set"),
        };
        if matches!(&outcome.exit, Exit::NotStarted(why) if why.is_transient()) {
            self.state = State::Unknown;
        }
        inputs
    }

    fn launch(&mut self, launcher: &Launcher, wanted: Wanted, executor: &Executor) -> Option<Input> {
        let not_started = |task: TaskId, why: &dyn std::fmt::Display| {
            let message = format!("task {task} was not started: {why}");
            TaskError::retryable(Code::NotStarted, message)
        };
        let place = match Place::make() {
            Ok(place) => place,
            Err(error) => return Some(wanted.fails(not_started(wanted.task, &error))),
        };
        let Wanted {
            key,
            task,
            after,
            ranks,
            mut spec,
            call,
        } = wanted;
        let fails = |error| {
            Some(Input::Ended {
                key,
                outcome: result::not_begun(error),
            })
        };
        if let Some(called) = &call {
            if let Err(error) = place.write_call(called) {
                return fails(not_started(task, &error));
            }
            spec.argv.push(place.path().into());
        }
        spec.argv.splice(0..0, launcher.words(ranks));
        spec.env.retain(|(name, _)| !launcher.is_surrounding(name));
        for (name, value) in launcher.variables(place.path()) {
            if !spec.env.iter().any(|(known, _)| known == name) {
                spec.env.push((name.into(), value));
            }
        }
        let started = match after {
            None => executor.start_program(key, spec),
            Some(after) => executor.start_program_after(key, spec, after),
        };
        if let Err(problem) = started {
            return fails(not_started(task, &problem));
        }
        self.begun.insert(key, Begun { place, call });
        None
    }

    /// Takes one back that waits for the launcher to be known.
    pub(super) fn withdraw(&mut self, key: u64) -> Option<Input> {
        let State::Asked(_, waiting) = &mut self.state else {
            return None;
        };
        let at = waiting.iter().position(|wanted| wanted.key == key)?;
        let wanted = waiting.remove(at);
        let error = TaskError::new(Code::Canceled, format!("task {} was not started", wanted.task));
        let mut outcome = result::not_begun(error);
        outcome.stopped = true;
        Some(Input::Ended { key, outcome })
    }

    /// Lets the ranks of a call know that they are asked to end.
    pub(super) fn ask(&self, key: u64) {
        if let Some(begun) = self.begun.get(&key)
            && let Err(error) = begun.place.ask()
        {
            warn!(key, %error, "ranks cannot be told that they are asked to end");
        }
    }

    /// One has ended: what came of it if it is a call. What a program came to is read as of any other.
    pub(super) fn ended(
        &mut self,
        key: u64,
        program: Box<ProgramOutcome>,
    ) -> Result<Input, Box<ProgramOutcome>> {
        match self.begun.remove(&key) {
            Some(Begun {
                place,
                call: Some(called),
            }) => {
                let name = match &self.state {
                    State::Known(launcher) => launcher.name(),
                    _ => "its launcher".to_owned(),
                };
                let outcome = outcome::outcome(&called, &place, &name, &program);
                Ok(Input::Ended { key, outcome })
            }
            Some(_) | None => Err(program),
        }
    }
}

fn missing(wanted: &Wanted, why: &str) -> TaskError {
    let message = format!(
        "task {} needs {} ranks, and this worker cannot start any: {why}; install Open MPI or MPICH on its host, or start the \
         worker with --mpi PATH",
        wanted.task, wanted.ranks
    );
    TaskError::new(Code::ImpossibleNeeds, message)
}
