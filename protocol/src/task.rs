//! What a task is, apart from its data (`docs/spec/2-client`, section "Envelopes").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Refusal};
use crate::{Amount, bounded, is_default, limits};

/// What all tasks of one submission share. Unknown keys are refused: people write these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// The registered function of the worker that handles the task's data.
    pub mode: String,
    /// What one task needs to run.
    #[serde(skip_serializing_if = "is_default")]
    pub needs: Needs,
    /// Retries, limits and priority.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// What has to end before.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::AFTER }>"
    )]
    pub after: Vec<After>,
    /// The client's own name for the submission, unique in its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels for people and selectors.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "bounded::map::<_, _, _, { limits::LABELS }>"
    )]
    pub labels: BTreeMap<String, String>,
    /// When more tasks than this have failed, the others are canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// Free matter of the submitter: one msgpack value, kept and given back as it is.
    #[serde(skip_serializing_if = "is_default", with = "serde_bytes")]
    pub meta: Vec<u8>,
    /// What the data of all of its tasks has in common; it belongs to the mode.
    #[serde(skip_serializing_if = "is_default", with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// What one task needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Needs {
    /// Processes of the task; more than 1 run under MPI.
    pub ranks: u32,
    /// Cores of one rank. 0 is allowed: such a task takes no room.
    pub cores_per_rank: Amount,
    /// GPUs of one rank.
    #[serde(skip_serializing_if = "is_default")]
    pub gpus_per_rank: Amount,
    /// Memory of one rank, MiB.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_per_rank: u64,
    /// Amounts of named resources of the whole task.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "bounded::map::<_, _, _, { limits::RESOURCE_KINDS }>"
    )]
    pub named: BTreeMap<String, Amount>,
    /// The least time that the worker has left when an attempt begins, milliseconds; 0: any.
    #[serde(skip_serializing_if = "is_default")]
    pub min_time_ms: u64,
    /// How its cores and GPUs lie to each other.
    #[serde(skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// What it needs instead where there is no room for what comes before, the best first; they have none of their own.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::VARIANTS }>"
    )]
    pub variants: Vec<Needs>,
}

/// Words of [`Needs`] that came later, by which older workers are told from newer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Knows(u8);

impl Knows {
    /// None of them.
    pub const NOTHING: Self = Self(0);
    /// [`Needs::placement`].
    pub const PLACEMENT: Self = Self(1);
    /// Amounts that are not whole.
    pub const FRACTIONS: Self = Self(2);
    /// [`Needs::variants`].
    pub const VARIANTS: Self = Self(4);
    /// By name, as workers say them.
    pub const NAMES: [(&str, Self); 3] = [
        ("placement", Self::PLACEMENT),
        ("fractions", Self::FRACTIONS),
        ("variants", Self::VARIANTS),
    ];

    /// The ones with these names; of others nothing is known here.
    pub fn of(words: &[String]) -> Self {
        let known = Self::NAMES.into_iter();
        let named = known.filter(|(name, _)| words.iter().any(|word| word == name));
        named.fold(Self::NOTHING, |all, (_, one)| all.and(one))
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names of what is not among these and is asked for.
    pub fn lacks(self, asked: Self) -> impl Iterator<Item = &'static str> {
        let names = Self::NAMES.into_iter();
        names.filter_map(move |(name, one)| (one.0 & asked.0 & !self.0 != 0).then_some(name))
    }
}

/// How a task's cores lie in a machine whose memory is nearer to some of them: over which NUMA nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// In as few as there is room in now.
    #[default]
    Compact,
    /// In as few as it would need if it were alone on the worker: it waits until there is room in so few.
    Strict,
    /// Over as many as there is room in.
    Scatter,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            ranks: 1,
            cores_per_rank: Amount::whole(1),
            gpus_per_rank: Amount::ZERO,
            mem_per_rank: 0,
            named: BTreeMap::new(),
            min_time_ms: 0,
            placement: Placement::Compact,
            variants: Vec::new(),
        }
    }
}

impl Needs {
    /// `cores` cores for one process.
    pub fn cores(cores: impl Into<Amount>) -> Self {
        Self {
            cores_per_rank: cores.into(),
            ..Self::default()
        }
    }

    /// The ways to run the task, the best first: this one, and its variants.
    pub fn ways(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.variants)
    }

    /// The way of this number, counted from 0; the first if there is no such way.
    pub fn way(&self, variant: u8) -> &Self {
        self.ways().nth(usize::from(variant)).unwrap_or(self)
    }

    /// What a worker has to know of so that it understands all of this.
    pub fn asks(&self) -> Knows {
        let mut asks = Knows::NOTHING;
        for way in self.ways() {
            let fraction = way.totals().any(|(_, amount)| !amount.is_whole());
            let parts = [way.cores_per_rank, way.gpus_per_rank];
            if fraction || parts.iter().any(|part| !part.is_whole()) {
                asks = asks.and(Knows::FRACTIONS);
            }
            if way.placement != Placement::Compact {
                asks = asks.and(Knows::PLACEMENT);
            }
        }
        if self.variants.is_empty() {
            asks
        } else {
            asks.and(Knows::VARIANTS)
        }
    }

    /// The whole task's amounts by kind, zero amounts left out.
    pub fn totals(&self) -> impl Iterator<Item = (&str, Amount)> {
        [
            (CORES, self.cores_per_rank),
            (GPUS, self.gpus_per_rank),
            (MEMORY, Amount::whole(self.mem_per_rank)),
        ]
        .map(|(kind, amount)| (kind, amount.times(self.ranks)))
        .into_iter()
        .chain(self.named.iter().map(|(kind, amount)| (kind.as_str(), *amount)))
        .filter(|(_, amount)| !amount.is_zero())
    }
}

/// The kind of resource that cores are.
pub const CORES: &str = "cores";
/// The kind of resource that GPUs are.
pub const GPUS: &str = "gpus";
/// The kind of resource that memory is, in MiB.
pub const MEMORY: &str = "memory";

/// What all attempts take, whatever they need: no kind of resource.
pub const TIME: &str = "time";

/// Retries, limits and priority of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Higher goes first.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: i32,
    /// How many more attempts a task gets after one of its own failures.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Which failures of a program are followed by another attempt: exit codes, 128 and the number of a signal, [`TIMED_OUT`],
    /// [`OUT_OF_MEMORY`]; empty: all.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::RETRY_ON }>"
    )]
    pub retry_on: Vec<u8>,
    /// The wait before the first retry, doubled for each further one up to 5 minutes, milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub backoff_ms: u64,
    /// How many workers may be lost under a running task before it fails.
    pub crash_limit: u32,
    /// The longest that one attempt may run, milliseconds; 0 is without limit.
    #[serde(skip_serializing_if = "is_default")]
    pub time_limit_ms: u64,
    /// The longest from submission to the end, milliseconds; 0 is without limit.
    #[serde(skip_serializing_if = "is_default")]
    pub deadline_ms: u64,
    /// From being asked to end until being killed, milliseconds.
    pub grace_ms: u64,
    /// What becomes of an attempt whose worker is not heard of any more.
    #[serde(skip_serializing_if = "is_default")]
    pub on_silence: OnSilence,
    /// What becomes of an attempt that uses more memory than the needs say, if they say how much.
    #[serde(skip_serializing_if = "is_default")]
    pub memory_limit: MemoryLimit,
}

/// How an attempt is kept to the memory that its needs say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLimit {
    /// By the kernel where the worker may make control groups, else watched.
    #[default]
    Enforce,
    /// Its processes are looked at, and ended when they use more. A look may come late.
    Watch,
    /// Not at all: memory is counted when room is given, and that is all.
    Off,
}

/// What becomes of an attempt whose worker is not heard of any more, while its end is not known (R11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    /// Once the worker is lost, another attempt begins; the first may still run. For tasks whose attempts have
    /// directories of their own.
    #[default]
    Rerun,
    /// It may go on. Another attempt begins once this one is known to be over, or after the orphan time.
    Continue,
    /// Its worker ends it when it has not heard of the agent for as long as the agent takes to call a worker lost.
    /// Another attempt begins after three times that time.
    Stop,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            priority: 0,
            retries: 0,
            retry_on: Vec::new(),
            backoff_ms: 0,
            crash_limit: 5,
            time_limit_ms: 0,
            deadline_ms: 0,
            grace_ms: 5_000,
            on_silence: OnSilence::Rerun,
            memory_limit: MemoryLimit::Enforce,
        }
    }
}

/// How a dependency has to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All of its tasks end well.
    #[default]
    Ok,
    /// All of its tasks end, well or badly.
    Any,
    /// All of its tasks end, and at least one of them badly.
    Failed,
}

/// One dependency: tasks that have to end before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct After {
    /// The submission's short number; or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submission: Option<u64>,
    /// the request of this numbering that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Only the tasks with these offsets, `[lo, hi)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offsets: Option<(u32, u32)>,
    /// How they have to end.
    #[serde(skip_serializing_if = "is_default")]
    pub when: When,
    /// Task by task: offset i waits for offset i alone. Both submissions have as many tasks.
    #[serde(skip_serializing_if = "is_default")]
    pub each: bool,
}

impl Template {
    /// Checks what can be checked without knowing the pilot.
    pub fn check(&self) -> Result<(), Refusal> {
        let too_large = |what: &str, limit: usize| {
            Err(Refusal::new(
                Code::TooLarge,
                format!("{what} may have at most {limit} bytes"),
            ))
        };
        if self.mode.is_empty() {
            return Err(Refusal::new(Code::InvalidValue, "the envelope names no mode"));
        }
        if self.mode.len() > limits::NAME_BYTES {
            return too_large("a mode's name", limits::NAME_BYTES);
        }
        for (what, text) in [("the uid", &self.uid), ("the name", &self.name)] {
            if text.as_ref().is_some_and(|text| text.len() > limits::NAME_BYTES) {
                return too_large(what, limits::NAME_BYTES);
            }
        }
        if self.labels.len() > limits::LABELS {
            return Err(Refusal::new(
                Code::TooLarge,
                format!("at most {} labels", limits::LABELS),
            ));
        }
        if self
            .labels
            .iter()
            .any(|(key, value)| key.len().max(value.len()) > limits::NAME_BYTES)
        {
            return too_large("a label", limits::NAME_BYTES);
        }
        if self.meta.len() > limits::META_BYTES {
            return too_large("meta", limits::META_BYTES);
        }
        if self.body.len() > limits::BODY_BYTES {
            return too_large("a body", limits::BODY_BYTES);
        }
        if self.after.len() > limits::AFTER {
            return Err(Refusal::new(
                Code::TooLarge,
                format!("at most {} dependencies", limits::AFTER),
            ));
        }
        for after in &self.after {
            if after.submission.is_some() == after.request.is_some() {
                let message = "a dependency names either a submission or a request";
                return Err(Refusal::new(Code::InvalidValue, message));
            }
            if after.offsets.is_some_and(|(lo, hi)| lo >= hi) || (after.each && after.offsets.is_some()) {
                let message = "a dependency's offsets are [lo, hi) with lo < hi, and go without each";
                return Err(Refusal::new(Code::InvalidValue, message));
            }
        }
        self.needs.check()?;
        self.policy.check()
    }
}

impl Needs {
    fn check(&self) -> Result<(), Refusal> {
        if self.variants.len() > limits::VARIANTS
            || self.variants.iter().any(|variant| !variant.variants.is_empty())
        {
            let message = format!(
                "needs.variants has at most {} variants, and these have none of their own",
                limits::VARIANTS
            );
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        self.ways().try_for_each(Self::check_way)
    }

    fn check_way(&self) -> Result<(), Refusal> {
        if self.ranks == 0 {
            return Err(Refusal::new(Code::InvalidValue, "needs.ranks is at least 1"));
        }
        let over = self.totals().any(|(_, amount)| amount > Amount::MOST);
        let slots = self.cores_per_rank.max(self.gpus_per_rank).times(self.ranks);
        if over || slots > Amount::from(u32::MAX) || self.mem_per_rank > 1 << 40 {
            return Err(Refusal::new(
                Code::InvalidValue,
                "the amounts in needs are beyond any machine",
            ));
        }
        if self.min_time_ms > YEAR_MS {
            return Err(Refusal::new(
                Code::InvalidValue,
                "needs.min_time_ms is longer than a year",
            ));
        }
        if self.named.len() > limits::RESOURCE_KINDS
            || self
                .named
                .keys()
                .any(|kind| kind.is_empty() || kind.len() > limits::KEY_BYTES)
        {
            let message = format!(
                "at most {} named resources with short names",
                limits::RESOURCE_KINDS
            );
            return Err(Refusal::new(Code::TooLarge, message));
        }
        if let Some(kind) = [CORES, GPUS, MEMORY, TIME]
            .into_iter()
            .find(|kind| self.named.contains_key(*kind))
        {
            let message = format!("needs.named may not have {kind:?}: that name is taken");
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        Ok(())
    }
}

/// No time in a template is longer.
const YEAR_MS: u64 = 366 * 86_400_000;

/// What stands for an attempt that took too long in [`Policy::retry_on`], as with timeout(1).
pub const TIMED_OUT: u8 = 124;

/// What stands there for an attempt that used more memory than its needs say: Slurm's number for it.
pub const OUT_OF_MEMORY: u8 = 125;

impl Policy {
    /// Whether an attempt that ended so may be followed by another one: by an exit code, 128 and a signal's number, [`TIMED_OUT`], or
    /// [`OUT_OF_MEMORY`].
    pub fn retries_on(&self, how: i32) -> bool {
        self.retry_on.is_empty() || self.retry_on.iter().any(|code| i32::from(*code) == how)
    }

    fn check(&self) -> Result<(), Refusal> {
        let longest = self
            .backoff_ms
            .max(self.time_limit_ms)
            .max(self.deadline_ms)
            .max(self.grace_ms);
        if longest > YEAR_MS {
            return Err(Refusal::new(
                Code::InvalidValue,
                "a time in policy is longer than a year",
            ));
        }
        if self.retry_on.contains(&0) {
            return Err(Refusal::new(
                Code::InvalidValue,
                "policy.retry_on has exit codes from 1 to 255: 0 is no failure",
            ));
        }
        if self.crash_limit == 0 {
            return Err(Refusal::new(
                Code::InvalidValue,
                "policy.crash_limit is at least 1",
            ));
        }
        Ok(())
    }
}
