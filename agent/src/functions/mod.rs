//! Calls functions in warm interpreters, and reports what became of each.
//!
//! ```text
//! worker's bus ── call, recall, stop ──► inbox ──► one thread ── frames ──► interpreter ── calls
//!              ◄── began, ended, wake ── queue ◄──┘     │                    (a program of the executor)
//!                                                       └── pipes: what functions write
//! ```
//!
//! What is promised:
//! - Every call that was accepted gets exactly one `Ended`, whatever becomes of it and of its interpreter.
//! - An interpreter that ends is the fault of the call that it was at. Those that were sent ahead are sent to another one.
//! - Interpreters are programs of the executor: they die with the worker, inherit nothing, and have their CPUs and memory.
//! - What a call writes reaches its own result and no other.
//! - Nothing here waits for an interpreter; each has a time to start in, and a time to be idle.

mod ended;
mod frames;
mod interpreter;
mod outputs;
mod place;
mod pool;
mod reading;
mod tray;
mod unsent;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use scalems_core::leaseholder::Input;
use scalems_protocol::task::Template;
use scalems_protocol::worker::OutputRead;
use scalems_protocol::{Incarnation, TaskId};

pub(crate) use ended::failure;
pub(crate) use frames::Failure;

use self::reading::Reader;
use crate::executor::inbox::Inbox;
use crate::executor::{Executor, ExecutorError, MemoryCap, ProgramOutcome, Wake};

/// Keys of interpreters in the executor have this bit, and keys of tasks have not.
const INTERPRETER: u64 = 1 << 63;

/// What tasks have to have in common to run in one interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// A path, or a program in `PATH`.
    pub(crate) python: String,
    /// Variables.
    pub(crate) env: BTreeMap<String, String>,
    /// Directories of modules.
    pub(crate) path: Vec<String>,
    /// The GPUs: a library that has seen some does not see others later.
    pub(crate) gpus: Vec<u32>,
    /// Threads for numerical libraries, which are made once.
    pub(crate) threads: u64,
    /// The memory that it is kept to.
    pub(crate) memory: Option<MemoryCap>,
    /// It is called in ranks, also in one, with the communicator of them.
    pub(crate) comm: bool,
    /// It ends after so many calls.
    pub(crate) calls: u32,
}

/// What many calls have in common.
#[derive(Debug)]
pub(crate) struct Body {
    /// Its number with the interpreters.
    pub(crate) id: u64,
    pub(crate) bytes: Bytes,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: u64,
    pub(crate) task: TaskId,
    pub(crate) incarnation: Incarnation,
    pub(crate) attempt: u32,
    pub(crate) template: Arc<Template>,
    /// The data is arguments then.
    pub(crate) body: Option<Arc<Body>>,
    pub(crate) data: Bytes,
    pub(crate) wants: Arc<Wants>,
    pub(crate) cpus: Vec<u32>,
    /// It begins once the one with this key is over, in its place.
    pub(crate) after: Option<u64>,
}

/// What the thread is told.
#[derive(Debug)]
enum Command {
    Call(Box<Call>),
    Recall {
        key: u64,
    },
    Stop {
        key: u64,
        kill: bool,
        reason: String,
    },
    Read(Reader),
    Ended {
        number: u64,
        outcome: Box<ProgramOutcome>,
    },
    Warm(Wants),
    Shutdown,
}

/// Makes the environment of an interpreter.
type Environment = Box<dyn Fn(&Wants) -> Vec<(OsString, OsString)> + Send>;

/// What the thread needs of the worker.
pub(crate) struct Ground {
    pub(crate) executor: Arc<Executor>,
    /// Interpreters begin here, and directories of attempts are made in here.
    pub(crate) directory: PathBuf,
    /// Directories that all attempts at a task share are made in here.
    pub(crate) checkpoints: PathBuf,
    /// Whether CPU numbers are those of CPUs.
    pub(crate) pins: bool,
    /// The environment of an interpreter, beside `PYTHONPATH`.
    pub(crate) environment: Environment,
    /// Interpreters without work that are kept, at most.
    pub(crate) idle: usize,
}

/// Calls functions. Dropping it ends the thread; the interpreters are the executor's to end.
#[derive(Debug)]
pub(crate) struct Functions {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inbox: Inbox<Command>,
    /// Bounded as the executor's events are: two for each call.
    events: Mutex<Told>,
    wake: Wake,
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Told {
    inputs: Vec<Input>,
    reads: Vec<OutputRead>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    fn push(&self, inputs: &mut Vec<Input>, reads: &mut Vec<OutputRead>) {
        if inputs.is_empty() && reads.is_empty() {
            return;
        }
        let mut waiting = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.inputs.is_empty() && waiting.reads.is_empty();
        waiting.inputs.append(inputs);
        waiting.reads.append(reads);
        drop(waiting);
        if was_empty {
            (self.wake)();
        }
    }
}

impl Functions {
    /// Starts the thread. No interpreter is started before there is a call for it.
    pub(crate) fn start(ground: Ground, wake: Wake) -> Result<Self, ExecutorError> {
        let setup = |what| move |source| ExecutorError::Setup { what, source };
        let shared = Arc::new(Shared {
            inbox: Inbox::new().map_err(setup("make an eventfd"))?,
            events: Mutex::default(),
            wake,
        });
        let pool = pool::Pool::new(ground, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("scalems-calls".to_owned())
            .spawn(move || pool.run())
            .map_err(setup("start a thread"))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Starts an interpreter for calls to come.
    pub(crate) fn warm(&self, wants: Wants) {
        self.shared.inbox.send(Command::Warm(wants));
    }

    /// Accepts a call. All else comes as events.
    pub(crate) fn call(&self, call: Call) {
        self.shared.inbox.send(Command::Call(Box::new(call)));
    }

    /// Takes a call back that has not begun: it ends as one that was stopped. If it has begun, nothing happens.
    pub(crate) fn recall(&self, key: u64) {
        self.shared.inbox.send(Command::Recall { key });
    }

    /// Asks a call to end, or has its interpreter killed.
    pub(crate) fn stop(&self, key: u64, kill: bool, reason: String) {
        self.shared.inbox.send(Command::Stop { key, kill, reason });
    }

    /// Reads what a call writes from these places on: the answer comes once there is something, or the call is over.
    pub(crate) fn read_output(&self, key: u64, id: u64, from: (u64, u64)) {
        self.shared.inbox.send(Command::Read(Reader { key, id, from }));
    }

    /// Whether what ended is an interpreter: then it is taken in.
    pub(crate) fn take_end(&self, key: u64, outcome: Box<ProgramOutcome>) {
        let number = key & !INTERPRETER;
        self.shared.inbox.send(Command::Ended { number, outcome });
    }

    /// Moves all events that wait to the end of `into`, and what is told of outputs to that of `reads`.
    pub(crate) fn drain(&self, into: &mut Vec<Input>, reads: &mut Vec<OutputRead>) {
        let mut told = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        into.append(&mut told.inputs);
        reads.append(&mut told.reads);
    }
}

impl Drop for Functions {
    fn drop(&mut self) {
        self.shared.inbox.send(Command::Shutdown);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("invariant: a thread that panics aborts");
        }
    }
}

/// Whether an executor's key is that of an interpreter.
pub(crate) const fn is_interpreter(key: u64) -> bool {
    key & INTERPRETER != 0
}
