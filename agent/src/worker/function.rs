//! What a leased task becomes that calls a function: a call, or the reason why not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use scalems_core::leaseholder::TaskLease;
use scalems_protocol::function::Call as Written;
use scalems_protocol::limits::INTERPRETER_CALLS;
use scalems_protocol::program::RESERVED;
use scalems_protocol::task::Template;
use scalems_protocol::{Code, TaskError};

use super::modes::ModesError;
use super::program::memory_cap;
use crate::functions::{Body, Call, Wants};

/// The interpreter of calls that name none, unless the worker was told another one.
const PYTHON: &str = "python3";
/// Bodies that are remembered, the last ones: as many as an interpreter does.
const KNOWN: usize = 64;

/// An interpreter that a worker is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// What tasks call it; none: those that name none have it.
    pub name: Option<String>,
    /// Where it is.
    pub path: PathBuf,
}

/// An interpreter that is started before there is a call for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warm {
    /// Its program.
    pub python: String,
    /// Directories that are looked through for modules first.
    pub path: Vec<String>,
}

impl Warm {
    /// What calls have to want so that it takes them: nothing but that, and one core.
    pub(super) fn wants(&self) -> Wants {
        Wants {
            python: self.python.clone(),
            path: self.path.clone(),
            threads: 1,
            calls: INTERPRETER_CALLS,
            ..Wants::default()
        }
    }
}

/// How calls are made of leases.
#[derive(Debug)]
pub(super) struct Calls {
    pythons: BTreeMap<String, String>,
    /// Modes that users have registered.
    registered: BTreeSet<String>,
    known: VecDeque<Known>,
    bodies: u64,
}

/// A body, and what was made of it.
#[derive(Debug)]
struct Known {
    template: Arc<Template>,
    body: Arc<Body>,
    wants: Arc<Wants>,
}

impl Calls {
    /// None if there is no Python here.
    pub(super) fn new(pythons: &[Python]) -> Option<Self> {
        let mut named: BTreeMap<String, String> = pythons
            .iter()
            .map(|python| {
                (
                    python.name.clone().unwrap_or_default(),
                    python.path.to_string_lossy().into_owned(),
                )
            })
            .collect();
        if !named.contains_key("") && is_in_path(PYTHON) {
            named.insert(String::new(), PYTHON.to_owned());
        }
        (!named.is_empty()).then(|| Self {
            pythons: named,
            registered: BTreeSet::new(),
            known: VecDeque::new(),
            bodies: 0,
        })
    }

    /// The Python of tasks that name none.
    pub(super) fn own_python(&self) -> Result<&str, ModesError> {
        let own = self.pythons.get("").map(String::as_str);
        own.ok_or(ModesError::NoPython)
    }

    /// Serves these modes too, in that Python.
    pub(super) fn register(&mut self, modes: Vec<String>) {
        self.registered.extend(modes);
    }

    /// Those modes.
    pub(super) fn registered(&self) -> impl Iterator<Item = &str> {
        self.registered.iter().map(String::as_str)
    }

    /// The call of a lease.
    pub(super) fn prepare(&mut self, lease: &TaskLease) -> Result<Call, TaskError> {
        let task = lease.task;
        let mode = &lease.template.mode;
        let registered = self.registered.contains(mode);
        if registered && !lease.template.body.is_empty() {
            let message = format!(
                "task {task} has a body, for which mode {mode} has no use: what it is given is the task's data"
            );
            return Err(TaskError::new(Code::WrongData, message));
        }
        let ranks = lease.needs().ranks;
        if registered && ranks > 1 {
            let message = format!(
                "task {task} needs {ranks} ranks, and {mode} is a registered mode, which is called in one: use needs.ranks = 1"
            );
            return Err(TaskError::new(Code::ImpossibleNeeds, message));
        }
        let (body, mut wants) = if lease.template.body.is_empty() && !registered {
            (None, Arc::new(self.wants(lease, &lease.data, false)?))
        } else {
            let (body, wants) = self.known(lease)?;
            (Some(body), wants)
        };
        if !lease.gpus.is_empty() {
            Arc::make_mut(&mut wants).gpus.clone_from(&lease.gpus);
        }
        Ok(Call {
            key: lease.key,
            task,
            incarnation: lease.incarnation,
            attempt: lease.attempt,
            template: Arc::clone(&lease.template),
            body,
            data: lease.data.clone(),
            wants,
            cpus: lease.cpus.clone(),
            after: lease.after,
        })
    }

    /// What is known of a lease's body; it is read once.
    fn known(&mut self, lease: &TaskLease) -> Result<(Arc<Body>, Arc<Wants>), TaskError> {
        let template = &lease.template;
        let is_same = |known: &&Known| Arc::ptr_eq(&known.template, template);
        let is_equal = |known: &&Known| {
            let other = &known.template;
            other.body == template.body
                && other.mode == template.mode
                && other.needs == template.needs
                && other.policy.memory_limit == template.policy.memory_limit
        };
        let found = self
            .known
            .iter()
            .find(is_same)
            .or_else(|| self.known.iter().find(is_equal));
        if let Some(Known { body, wants, .. }) = found {
            return Ok((Arc::clone(body), Arc::clone(wants)));
        }
        // Of a registered mode nothing more is said: its body is empty.
        let wants = if template.body.is_empty() {
            self.wants_of(lease, Written::default())?
        } else {
            self.wants(lease, &template.body, true)?
        };
        let wants = Arc::new(wants);
        self.bodies += 1;
        let body = Arc::new(Body {
            id: self.bodies,
            bytes: Bytes::copy_from_slice(&template.body),
        });
        if self.known.len() == KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known {
            template: Arc::clone(template),
            body: Arc::clone(&body),
            wants: Arc::clone(&wants),
        });
        Ok((body, wants))
    }

    fn wants(&self, lease: &TaskLease, call: &[u8], is_body: bool) -> Result<Wants, TaskError> {
        let written: Written =
            rmp_serde::from_slice(call).map_err(|problem| wrong(lease, &problem.to_string()))?;
        if let Some(complaint) = written.complaint(is_body) {
            return Err(wrong(lease, complaint));
        }
        self.wants_of(lease, written)
    }

    fn wants_of(&self, lease: &TaskLease, written: Written) -> Result<Wants, TaskError> {
        if let Some(name) = written.env.keys().find(|name| name.starts_with(RESERVED)) {
            let message = format!(
                "task {} sets {name}: variables that begin with {RESERVED} are set by scalems alone",
                lease.task
            );
            return Err(TaskError::new(Code::InvalidValue, message));
        }
        Ok(Wants {
            python: self.python(lease, written.python)?,
            env: written.env,
            path: written.path,
            gpus: Vec::new(),
            threads: lease.needs().cores_per_rank.ceil().max(1),
            memory: memory_cap(lease),
            comm: written.comm.is_some(),
            calls: if written.after == 0 {
                INTERPRETER_CALLS
            } else {
                written.after
            },
        })
    }

    /// The program of an interpreter that a call names.
    fn python(&self, lease: &TaskLease, name: String) -> Result<String, TaskError> {
        if let Some(python) = self.pythons.get(&name) {
            return Ok(python.clone());
        }
        if name.contains('/') {
            return Ok(name);
        }
        let named: Vec<&str> = self
            .pythons
            .keys()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        let message = format!(
            "task {} has no interpreter: this worker knows none called {name:?}, but {named:?}; give a whole path, or start \
             the worker with --python {name}=PATH",
            lease.task
        );
        Err(TaskError::new(Code::NoInterpreter, message))
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn wrong(lease: &TaskLease, problem: &str) -> TaskError {
    let mode = &lease.template.mode;
    let message = format!(
        "the data of task {} is not what {mode} takes: {problem}; it is a map with function, pickle or code, and if wanted \
         args, kwargs, name, python, env, path, cwd, comm, after",
        lease.task
    );
    TaskError::new(Code::WrongData, message)
}
