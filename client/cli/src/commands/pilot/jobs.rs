//! Pilots that were submitted to a batch system: what their jobs do, as long as they do not serve.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use scalems_agent::batch::{BatchSystem, Job, JobState, Leading, Submitted};
use scalems_client::{Session, locate};
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;

use crate::{Context, interrupt, print};

/// How often it is looked whether the pilot serves.
const LOOK: Duration = Duration::from_millis(100);
/// How often the batch system is asked, at first; each time a half later, up to the longest.
const ASK: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// So often in a row the batch system may not answer while a pilot is waited for.
const UNHEARD: u32 = 10;
/// How much of what the job wrote is shown when it ends before it serves.
const TAIL: usize = 2_000;

/// A pilot that was submitted.
pub(super) struct Queued {
    pub(super) name: String,
    directory: PathBuf,
    pub(super) submitted: Submitted,
    system: Box<dyn BatchSystem>,
}

/// How a wait for a pilot ended.
pub(super) enum Waited {
    Serves(ConnectionFile),
    TimedOut,
    Interrupted,
}

/// Tells one agent of a pilot from another.
#[derive(PartialEq, Eq)]
pub(super) struct AgentsLife(String, u32, Option<u64>, u64);

impl AgentsLife {
    /// That of the agent that wrote the connection file in a pilot's directory last; none if it has ended in order.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let file = ConnectionFile::read(&client_file(directory)).ok()?;
        Some(Self(file.host, file.pid, file.start_time, file.incarnation))
    }
}

fn client_file(directory: &Path) -> PathBuf {
    directory.join(ConnectionFile::file_name(Role::Client))
}

impl Queued {
    pub(super) fn new(name: &str, directory: &Path, submitted: Submitted) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            system: submitted.system.system(),
            submitted,
        }
    }

    /// The pilot of this name and directory, if it was submitted.
    pub(super) fn read(name: &str, directory: &Path) -> anyhow::Result<Option<Self>> {
        let submitted = Submitted::read(directory)
            .with_context(|| format!("read {}", directory.join(Submitted::FILE).display()))?;
        Ok(submitted.map(|submitted| Self::new(name, directory, submitted)))
    }

    /// All that were submitted, by name. What cannot be read of one hides no other.
    pub(super) fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for name in locate::names()? {
            match Self::read(&name, &locate::pilot_directory(&name)?) {
                Ok(queued) => all.extend(queued),
                Err(error) => eprintln!("scalems: {}", print::error(&error)),
            }
        }
        Ok(all)
    }

    /// Who wrote the connection files of those that were submitted, by name.
    pub(super) fn lives() -> anyhow::Result<BTreeMap<String, AgentsLife>> {
        let life = |queued: Self| Some((queued.name, AgentsLife::read(&queued.directory)?));
        Ok(Self::all()?.into_iter().filter_map(life).collect())
    }

    /// The pilot that is meant, if it has a job that has not ended: the named one, or the only one.
    pub(super) fn meant(context: &Context) -> anyhow::Result<Option<(Self, Job)>> {
        let all = match context.pilot.as_deref() {
            Some(name) => Self::read(name, &locate::pilot_directory(name)?)?
                .into_iter()
                .collect(),
            None => Self::all()?,
        };
        let mut found = Vec::new();
        for queued in all {
            let job = queued.look()?;
            if !job.is_over() {
                found.push((queued, job));
            }
        }
        Ok(found.pop().filter(|_| found.is_empty()))
    }

    /// What the batch system says of its job.
    pub(super) fn look(&self) -> anyhow::Result<Job> {
        Ok(self.system.look(&self.submitted.job)?)
    }

    /// Whether the node that its agent was on is none of the job's any more.
    pub(super) fn has_lost_its_agent(&self, job: &Job) -> bool {
        let leading = Leading::read(&self.directory);
        leading.is_some_and(|leading| leading.is_lost(&self.submitted.job, job))
    }

    /// Takes its job out of the queue.
    pub(super) fn cancel(&self) -> anyhow::Result<()> {
        Ok(self.system.cancel(&self.submitted.job)?)
    }

    /// Waits until another agent serves than `before`, and says meanwhile why none does.
    pub(super) fn until_served(
        &self,
        before: Option<&AgentsLife>,
        until: Option<Instant>,
    ) -> anyhow::Result<Waited> {
        self.until("does not serve yet", until, || {
            let life = AgentsLife::read(&self.directory);
            if life.is_none() || life.as_ref() == before {
                return Ok(None);
            }
            Ok(Some(ConnectionFile::read(&client_file(&self.directory))?))
        })
    }

    /// Waits until a worker has joined that was not there before, and says meanwhile why none does. The agent serves.
    pub(super) fn until_joined(
        &self,
        session: &Session,
        before: u64,
        until: Option<Instant>,
    ) -> anyhow::Result<Waited> {
        self.until("has no workers of its job yet", until, || {
            let rows = session.ask_workers()?;
            if !rows
                .iter()
                .any(|row| row.worker > before && row.state == "active")
            {
                return Ok(None);
            }
            Ok(Some(ConnectionFile::read(&client_file(&self.directory))?))
        })
    }

    fn until(
        &self,
        not_yet: &str,
        until: Option<Instant>,
        mut look: impl FnMut() -> anyhow::Result<Option<ConnectionFile>>,
    ) -> anyhow::Result<Waited> {
        let job = &self.submitted.job;
        interrupt::install(&[Signal::SIGINT])?;
        let (mut ask_at, mut wait) = (Instant::now(), ASK);
        let (mut said, mut unheard) = (String::new(), 0);
        loop {
            if let Some(file) = look()? {
                return Ok(Waited::Serves(file));
            }
            let now = Instant::now();
            let over = until.is_some_and(|until| now >= until);
            if interrupt::seen() || over {
                let name = &self.name;
                eprintln!(
                    "scalems: pilot {name} {not_yet}; job {job} stays as it is: `scalems pilot wait --pilot \
                     {name}` waits, `scalems pilot stop --pilot {name}` ends it"
                );
                return Ok(if over {
                    Waited::TimedOut
                } else {
                    Waited::Interrupted
                });
            }
            if now >= ask_at {
                match self.look() {
                    Ok(found) => {
                        unheard = 0;
                        let what = self.going(&found)?;
                        if what != said {
                            eprintln!("scalems: job {job} {what}");
                            said = what;
                        }
                    }
                    // A controller may be away for a while.
                    Err(error) if unheard < UNHEARD => {
                        unheard += 1;
                        tracing::warn!(job, "{error:#}");
                    }
                    Err(error) => {
                        return Err(error.context(format!(
                            "job {job} stays as it is, but what it does cannot be found out"
                        )));
                    }
                }
                (ask_at, wait) = (Instant::now() + wait, (wait * 3 / 2).min(LONGEST));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What its job does; an error if that is nothing any more.
    fn going(&self, job: &Job) -> anyhow::Result<String> {
        let Submitted { job: id, log, .. } = &self.submitted;
        let ended = |how: &str| {
            let text = std::fs::read(log).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(TAIL)..];
            let tail = String::from_utf8_lossy(tail).trim().to_owned();
            anyhow::anyhow!(
                "job {id} {how} before the pilot served; the end of {}:\n{}",
                log.display(),
                if tail.is_empty() { "(nothing)" } else { &tail }
            )
        };
        match &job.state {
            JobState::Ended { how } => return Err(ended(&format!("has ended ({how})"))),
            JobState::Unknown => return Err(ended("is not known to the batch system any more")),
            JobState::Pending => {
                if let Some(why) = never(&job.reason) {
                    self.cancel()?;
                    anyhow::bail!(
                        "job {id} would never start and was taken out of the queue: {why} ({})",
                        job.reason
                    );
                }
            }
            JobState::Running => {}
        }
        Ok(said(job))
    }
}

/// What a job does, for people.
pub(super) fn said(job: &Job) -> String {
    match &job.state {
        JobState::Running => format!("runs on {}", job.nodes.join(",")),
        JobState::Ended { how } => format!("has ended ({how})"),
        JobState::Unknown => "is not known to the batch system any more".to_owned(),
        JobState::Pending => {
            let reason = match (job.reason.as_str(), meaning(&job.reason)) {
                ("", _) => String::new(),
                (reason, None) => format!(": {reason}"),
                (reason, Some(means)) => format!(": {reason} ({means})"),
            };
            let start = job
                .start
                .as_ref()
                .map(|start| format!("; estimated start {start}"));
            format!("is pending{reason}{}", start.unwrap_or_default())
        }
    }
}

/// Why a job like this will never start; none if it may.
fn never(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "PartitionTimeLimit" => "the partition does not allow so much --time",
        "BadConstraints" => "no node is what it asks for",
        "AssocMaxWallDurationPerJobLimit" | "QOSMaxWallDurationPerJobLimit" => {
            "your account does not allow so much --time"
        }
        "InvalidAccount" | "InvalidQOS" => "your account may not do this",
        _ => return None,
    })
}

/// What a reason means for who waits, where its name does not say it.
fn meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "Priority" => "others are before it",
        "Resources" => "no nodes are free for it yet",
        "PartitionNodeLimit" => "the partition does not allow so many --nodes as it is now",
        "PartitionConfig" => "the partition cannot give so much as it is now",
        "ReqNodeNotAvail" => "nodes that it needs are down or reserved",
        "PartitionDown" | "PartitionInactive" => "the partition does not start jobs now",
        "JobHeldUser" => "it is held: `scontrol release` lets it go",
        "JobHeldAdmin" => "the site's administrators hold it",
        "AssocGrpCpuLimit"
        | "AssocGrpNodeLimit"
        | "AssocMaxJobsLimit"
        | "QOSMaxJobsPerUserLimit"
        | "QOSMaxCpuPerUserLimit"
        | "QOSMaxNodePerUserLimit" => "your account's limit is reached",
        _ => return None,
    })
}
