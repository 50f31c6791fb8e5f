//! Describing tasks.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use scalems_protocol::program::{EXECUTABLE, Program, SHELL};
use scalems_protocol::task::{After, MemoryLimit, Needs, OnSilence, Placement, Policy, Template, When};
use scalems_protocol::{Amount, Bytes};
use serde::Serialize;

use crate::array::ArrayCell;
use crate::array::ArrayHandle;
use crate::batch::Batch;
use crate::error::ClientError;
use crate::handle::TaskHandle;
use crate::machine::{Dependency, PackKey};
use crate::shared::Shared;

/// A task to be submitted: its mode, its data, what it needs, what it waits for.
///
/// Clones share everything until one is changed, so many tasks alike are best made from one:
///
/// ```
/// use std::time::Duration;
/// use scalems_client::Task;
///
/// let dock = Task::new("task.function").cores(2).gpus(1).retries(3).time_limit(Duration::from_secs(600));
/// let tasks: Vec<Task> = (0..1_000_u32).map(|i| dock.with_data(i.to_le_bytes().to_vec())).collect();
/// assert_eq!(tasks[7].template().needs.cores_per_rank.to_string(), "2");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a task does nothing until it is submitted"]
pub struct Task {
    template: Arc<Template>,
    data: Bytes,
    after: Vec<Dependency>,
    /// What is depended on, kept so that the session does not forget it before this is submitted.
    kept: Vec<Kept>,
}

#[derive(Clone)]
enum Kept {
    Batch(Arc<Batch>),
    Array(Arc<ArrayCell>),
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("dependency")
    }
}

impl Kept {
    fn shared(&self) -> &Arc<Shared> {
        match self {
            Self::Batch(batch) => &batch.shared,
            Self::Array(cell) => &cell.shared,
        }
    }
}

impl Task {
    /// A task of this mode: the name under which the workers know what handles its data.
    pub fn new(mode: impl Into<String>) -> Self {
        Self::from_template(Template {
            mode: mode.into(),
            ..Template::default()
        })
    }

    /// A task of which everything but the data is written down already.
    pub fn from_template(template: Template) -> Self {
        Self {
            template: Arc::new(template),
            ..Self::default()
        }
    }

    /// A task that runs a program. No shell is involved.
    ///
    /// ```
    /// let task = scalems_client::Task::program(["gmx", "mdrun", "-s", "topol.tpr"]).cores(8);
    /// assert_eq!(task.template().mode, "task.executable");
    /// ```
    pub fn program<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let argv = argv.into_iter().map(Into::into).collect();
        Self::new(EXECUTABLE).program_data(&Program {
            argv,
            ..Program::default()
        })
    }

    /// A task that runs a command line in `/bin/sh`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::new(SHELL).program_data(&Program {
            argv: vec![line.into()],
            ..Program::default()
        })
    }

    /// What a program's mode is given: command line, environment, directory, files.
    pub fn program_data(self, program: &Program) -> Self {
        let data = rmp_serde::to_vec_named(program).expect("our own structs serialize into memory");
        self.data(data)
    }

    /// The task's data, which its mode takes and nobody else looks into.
    pub fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.data = data.into();
        self
    }

    /// The task's data as msgpack.
    pub fn encode(self, data: &impl Serialize) -> Result<Self, ClientError> {
        let data = rmp_serde::to_vec_named(data);
        let data = data.map_err(|error| ClientError::Encode {
            what: "the task's data",
            problem: error.to_string(),
        })?;
        Ok(self.data(data))
    }

    /// The same task with other data.
    pub fn with_data(&self, data: impl Into<Bytes>) -> Self {
        self.clone().data(data)
    }

    /// Everything but the data and the dependencies on handles.
    pub fn template(&self) -> &Template {
        &self.template
    }

    fn edit(mut self, change: impl FnOnce(&mut Template)) -> Self {
        change(Arc::make_mut(&mut self.template));
        self
    }

    /// Cores of each rank: a number, or an [`Amount`] with a fraction. 0 is allowed: such a task takes no room.
    pub fn cores(self, cores: impl Into<Amount>) -> Self {
        self.edit(|template| template.needs.cores_per_rank = cores.into())
    }

    /// Processes of the task; more than one run under MPI.
    pub fn ranks(self, ranks: u32) -> Self {
        self.edit(|template| template.needs.ranks = ranks)
    }

    /// GPUs of each rank.
    pub fn gpus(self, gpus: impl Into<Amount>) -> Self {
        self.edit(|template| template.needs.gpus_per_rank = gpus.into())
    }

    /// Memory of each rank, MiB.
    pub fn memory_mib(self, mib: u64) -> Self {
        self.edit(|template| template.needs.mem_per_rank = mib)
    }

    /// An amount of a named resource, for the whole task.
    pub fn resource(self, kind: impl Into<String>, amount: impl Into<Amount>) -> Self {
        self.edit(|template| {
            template.needs.named.insert(kind.into(), amount.into());
        })
    }

    /// The least time that the worker has left when an attempt begins.
    pub fn min_time(self, time: Duration) -> Self {
        self.edit(|template| template.needs.min_time_ms = millis(time))
    }

    /// How its cores and GPUs lie over NUMA nodes.
    pub fn placement(self, placement: Placement) -> Self {
        self.edit(|template| template.needs.placement = placement)
    }

    /// What it needs instead where there is no room for what was said before, at most three times: the first that fits is
    /// taken.
    pub fn or_else(self, needs: Needs) -> Self {
        self.edit(|template| template.needs.variants.push(needs))
    }

    /// All that one task needs, its variants too, at once.
    pub fn needs(self, needs: Needs) -> Self {
        self.edit(|template| template.needs = needs)
    }

    /// Higher goes first.
    pub fn priority(self, priority: i32) -> Self {
        self.edit(|template| template.policy.priority = priority)
    }

    /// How many more attempts a task gets after failures of its own.
    pub fn retries(self, retries: u32) -> Self {
        self.edit(|template| template.policy.retries = retries)
    }

    /// Only failures with one of these are followed by another attempt: exit codes, 128 and the number of a signal, 124 for
    /// the time limit, 125 for too much memory. Without it, all are.
    pub fn retry_on(self, codes: impl IntoIterator<Item = u8>) -> Self {
        let codes = codes.into_iter().collect();
        self.edit(|template| template.policy.retry_on = codes)
    }

    /// When more tasks than this have failed, the others are canceled.
    pub fn max_failures(self, most: u32) -> Self {
        self.edit(|template| template.max_failures = Some(most))
    }

    /// The wait before the first retry; it doubles for each further one.
    pub fn backoff(self, wait: Duration) -> Self {
        self.edit(|template| template.policy.backoff_ms = millis(wait))
    }

    /// The longest that one attempt may run.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.edit(|template| template.policy.time_limit_ms = millis(limit))
    }

    /// The longest from submission to the end.
    pub fn deadline(self, limit: Duration) -> Self {
        self.edit(|template| template.policy.deadline_ms = millis(limit))
    }

    /// From being asked to end until being killed.
    pub fn grace(self, grace: Duration) -> Self {
        self.edit(|template| template.policy.grace_ms = millis(grace))
    }

    /// What becomes of an attempt whose worker is not heard of any more. Without it another attempt begins elsewhere
    /// once the worker is lost, though the first may still run: say [`OnSilence::Continue`] or [`OnSilence::Stop`] where
    /// two of them must not write to one directory.
    pub fn on_silence(self, on_silence: OnSilence) -> Self {
        self.edit(|template| template.policy.on_silence = on_silence)
    }

    /// How an attempt is kept to the memory that it needs, if it says how much. Without it, by the kernel where the worker may have
    /// it do so, else watched.
    pub fn memory_limit(self, how: MemoryLimit) -> Self {
        self.edit(|template| template.policy.memory_limit = how)
    }

    /// All of retries, limits and priority at once.
    pub fn policy(self, policy: Policy) -> Self {
        self.edit(|template| template.policy = policy)
    }

    /// A name for people.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.edit(|template| template.name = Some(name.into()))
    }

    /// The client's own name for the task, unique in its session. A task with one travels alone.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.edit(|template| template.uid = Some(uid.into()))
    }

    /// A label for people and selectors.
    pub fn label(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.edit(|template| {
            template.labels.insert(key.into(), value.into());
        })
    }

    /// All labels at once.
    pub fn labels(self, labels: BTreeMap<String, String>) -> Self {
        self.edit(|template| template.labels = labels)
    }

    /// Free matter as msgpack, kept and given back as it is.
    pub fn meta(self, meta: &impl Serialize) -> Result<Self, ClientError> {
        let meta = rmp_serde::to_vec_named(meta);
        let meta = meta.map_err(|error| ClientError::Encode {
            what: "meta",
            problem: error.to_string(),
        })?;
        Ok(self.edit(|template| template.meta = meta))
    }

    /// What the data of all tasks made from this one has in common, at most 256 KiB: sent and kept once for all of them. Modes of
    /// functions have the function there (`docs/spec/10-functions`).
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.edit(|template| template.body = body.into())
    }

    /// Runs after another task of the same session has ended well; if that one does not, this one is canceled.
    ///
    /// ```no_run
    /// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
    /// use scalems_client::Task;
    ///
    /// let prepared = session.submit(Task::shell("gmx grompp -o run.tpr"))?;
    /// let run = session.submit(Task::shell("gmx mdrun -s run.tpr").cores(8).after(&prepared))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(self, task: &TaskHandle) -> Self {
        self.after_when(task, When::Ok)
    }

    /// Runs after another task of the same session has ended in the way asked for.
    pub fn after_when(mut self, task: &TaskHandle, when: When) -> Self {
        let (on, place) = (task.batch().key(), task.place());
        if let Some(last) = self.after.last_mut()
            && (last.on, last.when, last.each) == (on, when, false)
            && let Some((lo, hi)) = last.offsets
            && place == hi
        {
            last.offsets = Some((lo, hi + 1));
            return self;
        }
        self.depend(
            on,
            Some((place, place + 1)),
            when,
            false,
            Kept::Batch(Arc::clone(task.batch())),
        )
    }

    /// Runs after all of these have ended well.
    pub fn after_all<'a>(self, tasks: impl IntoIterator<Item = &'a TaskHandle>) -> Self {
        tasks.into_iter().fold(self, Self::after)
    }

    /// Runs after a whole array of the same session has ended in the way asked for.
    pub fn after_array(self, array: &ArrayHandle, when: When) -> Self {
        self.depend(
            array.key(),
            None,
            when,
            false,
            Kept::Array(Arc::clone(array.cell())),
        )
    }

    /// For arrays: each task runs after the one at its place in an array with equally many tasks.
    pub fn after_each(self, array: &ArrayHandle, when: When) -> Self {
        self.depend(
            array.key(),
            None,
            when,
            true,
            Kept::Array(Arc::clone(array.cell())),
        )
    }

    /// Runs after a submission of anybody's has ended in the way asked for.
    pub fn after_submission(self, submission: u64, when: When) -> Self {
        let after = After {
            submission: Some(submission),
            when,
            ..After::default()
        };
        self.edit(|template| template.after.push(after))
    }

    fn depend(
        mut self,
        on: PackKey,
        offsets: Option<(u32, u32)>,
        when: When,
        each: bool,
        kept: Kept,
    ) -> Self {
        self.after.push(Dependency {
            on,
            offsets,
            when,
            each,
        });
        self.kept.push(kept);
        self
    }

    /// What is handed to the session: fails if it depends on another session's task.
    pub(crate) fn parts(&self, shared: &Arc<Shared>) -> Result<(&Arc<Template>, &[Dependency]), ClientError> {
        if self.kept.iter().any(|kept| !Arc::ptr_eq(kept.shared(), shared)) {
            return Err(ClientError::OtherSession);
        }
        Ok((&self.template, &self.after))
    }

    /// Its data.
    pub fn data_bytes(&self) -> &Bytes {
        self.bytes()
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.data
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The indices of an array: `first`, `first + step`, …
///
/// ```
/// use scalems_client::Indices;
///
/// assert_eq!(Indices::from(0..10), Indices { first: 0, step: 1, count: 10 });
/// assert_eq!(Indices::from(1..=10), Indices { first: 1, step: 1, count: 10 });
/// let even = Indices::stepped(2, 10, 2);
/// assert_eq!(even.count, 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices {
    /// The first index.
    pub first: u32,
    /// From one index to the next, at least 1.
    pub step: u32,
    /// How many.
    pub count: u32,
}

impl Indices {
    /// From `first` to at most `last`, with a step.
    pub fn stepped(first: u32, last: u32, step: u32) -> Self {
        let count = if step == 0 || last < first {
            0
        } else {
            (last - first) / step + 1
        };
        Self { first, step, count }
    }

    /// One task, with index 0.
    pub const ONE: Self = Self {
        first: 0,
        step: 1,
        count: 1,
    };
}

impl From<Range<u32>> for Indices {
    fn from(range: Range<u32>) -> Self {
        Self {
            first: range.start,
            step: 1,
            count: range.end.saturating_sub(range.start),
        }
    }
}

impl From<RangeInclusive<u32>> for Indices {
    fn from(range: RangeInclusive<u32>) -> Self {
        Self::stepped(*range.start(), *range.end(), 1)
    }
}
