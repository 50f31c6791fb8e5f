//! Batch systems: how a pilot becomes a job, and what it learns of the allocation that the job has.
//!
//! Everything that differs between systems is behind [`BatchSystem`]; [`script`] writes a job's script from a
//! template that a site can change.

mod command;
mod flux;
mod grid_engine;
pub mod hosts;
pub mod interface;
pub mod part;
mod pbs_pro;
mod said;
pub mod script;
pub mod site;
mod slurm;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use command::CommandError;
pub(crate) use command::{end_within, run_within};
pub use flux::Flux;
pub use grid_engine::GridEngine;
pub use part::JobPart;
pub use pbs_pro::PbsPro;
pub use slurm::Slurm;

/// The variable by which a launch tells a process its node's name in the job, where the batch system does not.
const JOB_NODE: &str = "SCALEMS_JOB_NODE";
/// The variable by which a job's script tells its log, where what processes on other nodes write would not come there.
const JOB_LOG: &str = "SCALEMS_JOB_LOG";

/// Which batch system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Slurm.
    Slurm,
    /// Grid Engine.
    #[serde(rename = "sge")]
    GridEngine,
    /// PBS Pro.
    #[serde(rename = "pbs")]
    PbsPro,
    /// Flux.
    Flux,
}

impl Kind {
    /// All that there are; of several that are installed, the first is the one that looks after the machine: Flux runs inside jobs of
    /// others as well.
    pub const ALL: [Self; 4] = [Self::Slurm, Self::GridEngine, Self::PbsPro, Self::Flux];

    /// That of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The one whose commands are here.
    pub fn here() -> Option<Self> {
        Self::all_here().first().copied()
    }

    /// All whose commands are here.
    pub fn all_here() -> Vec<Self> {
        Self::all_in(&std::env::var_os("PATH").unwrap_or_default())
    }

    fn all_in(path: &OsStr) -> Vec<Self> {
        let here = |command: &str| std::env::split_paths(path).any(|folder| folder.join(command).is_file());
        let all = Self::ALL.into_iter();
        all.filter(|kind| here(kind.sign())).collect()
    }

    /// A command that this system has and no other.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Slurm => "sbatch",
            Self::GridEngine => "qconf",
            // Torque, which has the same names for most others, has no reservations.
            Self::PbsPro => "pbs_rsub",
            Self::Flux => "flux",
        }
    }

    /// Its name in options, templates and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slurm => "slurm",
            Self::GridEngine => "sge",
            Self::PbsPro => "pbs",
            Self::Flux => "flux",
        }
    }

    /// The system itself.
    pub fn system(self) -> Box<dyn BatchSystem> {
        match self {
            Self::Slurm => Box::new(Slurm),
            Self::GridEngine => Box::new(GridEngine),
            Self::PbsPro => Box::new(PbsPro),
            Self::Flux => Box::new(Flux),
        }
    }
}

/// Why a batch system did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A command of it failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It said something that is not understood.
    #[error("{command} said {said:?}, which is not understood")]
    Answer {
        /// The command.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// This process is in no job of it.
    #[error("this process is in no {system} job: {variable} is not set")]
    NoJob {
        /// Its name.
        system: &'static str,
        /// What a job would have.
        variable: &'static str,
    },
    /// The job's environment says something that is not understood.
    #[error("the job's {variable} is {value:?}, which is not understood")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// What it is.
        value: String,
    },
}

/// A batch system's commands. Each of them may take a while and is given up after half a minute.
pub trait BatchSystem: Debug + Send + Sync {
    /// Which it is.
    fn kind(&self) -> Kind;

    /// Whether the system answers, in its own words.
    fn answers(&self) -> Result<String, BatchError>;

    /// What has to be said besides, before a job such as this can be asked for.
    fn needs_also(&self, request: &script::Request<'_>) -> Option<&'static str>;

    /// Queues a script, with further words for the command that does it, and gives the job's id.
    fn submit(&self, script: &Path, further: &[OsString]) -> Result<String, BatchError>;

    /// What the system knows of a job.
    fn look(&self, job: &str) -> Result<Job, BatchError>;

    /// Takes a job out of the queue, or ends it.
    fn cancel(&self, job: &str) -> Result<(), BatchError>;

    /// The id of the job that this process runs in.
    fn own_job(&self) -> Option<String>;

    /// Where in this system's jobs this process runs; none outside of them.
    fn part(&self) -> Option<JobPart>;

    /// Those parts of jobs of this system of which nothing runs any more, for all that it knows: the job, or the node's part in it, is
    /// over, and the node has answered since.
    fn over(&self, parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError>;

    /// What the job that this process runs in has.
    fn allocation(&self) -> Result<Allocation, BatchError>;

    /// What of this node is for the job that this process runs in, as far as its environment says so; nothing without a job.
    fn share(&self) -> Share;

    /// Command lines that run a command once on each of the nodes. Each ends when all that it has begun have ended, and the loss of
    /// one node does not end the others.
    fn launches(&self, nodes: &[String], command: &[OsString]) -> Vec<Launch>;

    /// A time limit as the system's scripts have it.
    fn time_limit(&self, time: Duration) -> String;

    /// Whether its jobs are told by SIGUSR1 when their time is nearly over. Others look at the time themselves.
    fn warns(&self) -> bool;

    /// Whether a hang-up tells a job's first process that the job is about to be ended.
    fn hangup_ends(&self) -> bool;
}

/// A command line that runs something on nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The nodes.
    pub nodes: Vec<String>,
    /// The program, and its arguments.
    pub words: Vec<OsString>,
}

/// What a batch system knows of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Where it is in its life.
    pub state: JobState,
    /// Why it is there, in the system's word; empty if there is none.
    pub reason: String,
    /// When it may start, for people.
    pub start: Option<String>,
    /// How long it may still run.
    pub left: Option<Duration>,
    /// The nodes that it has now.
    pub nodes: Vec<String>,
}

impl Job {
    /// Whether it will not run any more, as far as its batch system knows.
    pub fn is_over(&self) -> bool {
        matches!(self.state, JobState::Ended { .. } | JobState::Unknown)
    }

    /// Whether it has not begun.
    pub fn is_to_come(&self) -> bool {
        self.state == JobState::Pending
    }
}

/// Where a job is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits to run.
    Pending,
    /// It runs, or is about to, or is about to end.
    Running,
    /// It is over.
    Ended {
        /// How, in the system's word.
        how: String,
    },
    /// The system does not know it, or not any more.
    Unknown,
}

/// What the job that a process runs in has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// The job's id.
    pub job: String,
    /// Its nodes, by name.
    pub nodes: Vec<String>,
    /// Which of them this is; none if the job's process runs on another host, as inside `salloc`.
    pub here: Option<String>,
    /// Whether the job had begun before, and the batch system has put it into the queue again.
    pub again: bool,
    /// The cores that the job has on a node, where only its first process is told; workers find out the others themselves.
    pub cores: BTreeMap<String, u32>,
    /// What the job has on its nodes, where that is known.
    pub holds: BTreeMap<String, Holds>,
}

/// What a job has on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Cores.
    pub cores: Option<u32>,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
}

/// What of this node is for this job, as far as the batch system says so in the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The batch system's name for this node.
    pub node: Option<String>,
    /// Cores.
    pub cores: Option<u32>,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
}

/// Which job a pilot's agent runs in, and on which of its nodes: kept in the pilot's directory by the job itself. What it says holds
/// for that job alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leading {
    /// The job's id.
    pub job: String,
    /// The batch system's name for the agent's node.
    pub node: String,
}

impl Leading {
    /// The name of its file in a pilot's directory.
    pub const FILE: &str = "job.node.json";

    /// Reads it; none if there is none that can be read.
    pub fn read(directory: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(directory.join(Self::FILE)).ok()?).ok()
    }

    /// Writes it to a pilot's directory, in the place of one of before.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        replace(&directory.join(Self::FILE), &serde_json::to_vec(self)?)
    }

    /// Whether this is the agent's job, and its node is none of the job's any more.
    pub fn is_lost(&self, job: &str, found: &Job) -> bool {
        self.job == job && found.state == JobState::Running && !found.nodes.contains(&self.node)
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)
}

/// The job that a pilot was submitted as, kept in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The batch system.
    pub system: Kind,
    /// The job's id.
    pub job: String,
    /// Its script.
    pub script: PathBuf,
    /// What it writes.
    pub log: PathBuf,
    /// Whether the pilot's agent runs outside of it, and the job has its workers only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_workers: bool,
}

impl Submitted {
    /// The name of its file in a pilot's directory.
    pub const FILE: &str = "job.json";

    /// Reads it from a pilot's directory; none if the pilot was not submitted.
    pub fn read(directory: &Path) -> std::io::Result<Option<Self>> {
        let text = match std::fs::read(directory.join(Self::FILE)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        Ok(Some(serde_json::from_slice(&text)?))
    }

    /// Writes it to a pilot's directory, in the place of one of before.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        replace(&directory.join(Self::FILE), &serde_json::to_vec_pretty(self)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_known_by_a_command_that_no_other_has() {
        let folder = tempfile::tempdir().unwrap();
        let make = |command: &str| std::fs::write(folder.path().join(command), "").unwrap();
        let found = || Kind::all_in(folder.path().as_os_str());
        // Grid Engine, PBS Pro and Torque have these.
        make("qsub");
        make("qstat");
        assert_eq!(found(), []);
        make("flux");
        make("pbs_rsub");
        assert_eq!(found(), [Kind::PbsPro, Kind::Flux]);
        make("sbatch");
        assert_eq!(found()[0], Kind::Slurm, "Flux runs inside jobs of others as well");
    }

    #[test]
    fn a_system_has_one_name_in_options_and_in_files() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(kind.system().kind(), kind);
        }
    }

    #[test]
    fn what_was_submitted_before_there_were_agents_elsewhere_is_read() {
        let text = r#"{"system":"slurm","job":"7","script":"/p/job.sh","log":"/p/job.log"}"#;
        let submitted: Submitted = serde_json::from_str(text).unwrap();
        assert!(!submitted.only_workers);
        assert_eq!(serde_json::to_string(&submitted).unwrap(), text);
    }
}
