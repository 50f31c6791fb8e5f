//! Where in a batch system a process runs: what others can ask the system about, to learn whether it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{BatchError, Kind};

/// Time between questions about the same parts.
const LOOK: Duration = Duration::from_secs(10);
/// A job that is over is so when it is asked twice, so long apart: a node that was out of reach may still be ending what it ran.
const AGAIN: Duration = Duration::from_secs(3);
/// The longest time between questions while the batch system does not answer.
const LONGEST: Duration = Duration::from_mins(5);
/// Nobody wants to know about a part any more after so long.
const FORGET: Duration = Duration::from_mins(1);

/// A job's run on one node, or what one launch in it has there. Its text is `SYSTEM:CLUSTER:JOB:RUN:NODE`, and `:STEP` if that is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobPart {
    /// The batch system.
    pub system: Kind,
    /// The name of what it looks after: ids of jobs are unique there.
    pub cluster: String,
    /// The job's id.
    pub job: String,
    /// How often the job had been put back into the queue before.
    pub run: u32,
    /// The batch system's name for the node.
    pub node: String,
    /// The batch system's name for the launch, where it has one and tells when all of it is over.
    pub step: Option<String>,
}

impl JobPart {
    /// That of this process; none outside of jobs.
    pub fn own() -> Option<Self> {
        Kind::ALL.iter().find_map(|kind| kind.system().part())
    }
}

impl fmt::Display for JobPart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system,
            cluster,
            job,
            run,
            node,
            step,
        } = self;
        write!(out, "{}:{cluster}:{job}:{run}:{node}", system.name())?;
        step.iter().try_for_each(|step| write!(out, ":{step}"))
    }
}

impl FromStr for JobPart {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.split(':').collect();
        let (system, cluster, job, run, node, step) = match parts[..] {
            [system, cluster, job, run, node] => (system, cluster, job, run, node, None),
            [system, cluster, job, run, node, step] => (system, cluster, job, run, node, Some(step)),
            _ => return Err(()),
        };
        // They become words of the batch system's commands.
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = |name: &str| !name.is_empty() && !name.starts_with('-') && name.chars().all(fine);
        if ![cluster, job, node].into_iter().chain(step).all(is_name) {
            return Err(());
        }
        Ok(Self {
            system: Kind::from_name(system).ok_or(())?,
            cluster: cluster.to_owned(),
            job: job.to_owned(),
            run: run.parse().map_err(|_| ())?,
            node: node.to_owned(),
            step: step.map(str::to_owned),
        })
    }
}

/// Finds out whether parts are over, on the side: whoever asks never waits for the batch system.
#[derive(Debug, Default)]
pub struct Watch {
    wanted: Arc<Mutex<Wanted>>,
}

/// What somebody wants to know about, and whether a thread is finding it out.
#[derive(Debug, Default)]
struct Wanted {
    parts: BTreeMap<JobPart, Known>,
    asking: bool,
}

/// What is known of a part.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When somebody last wanted to know.
    wanted: Instant,
    /// In how many answers in a row it was over.
    over: u32,
}

impl Known {
    const fn is_over(self) -> bool {
        self.over >= 2
    }
}

impl Watch {
    /// Whether nothing that ran at a part runs any more, as far as is known by now. Ask again: whatever is asked about is looked
    /// after for a minute.
    pub fn is_over(&self, part: &JobPart) -> bool {
        let now = Instant::now();
        let mut wanted = lock(&self.wanted);
        let known = wanted
            .parts
            .entry(part.clone())
            .or_insert(Known { wanted: now, over: 0 });
        known.wanted = now;
        let over = known.is_over();
        if !over && !wanted.asking {
            let shared = Arc::downgrade(&self.wanted);
            let started = std::thread::Builder::new()
                .name("scalems-batch".into())
                .spawn(move || find_out(&shared));
            match started {
                Ok(_) => wanted.asking = true,
                Err(error) => tracing::warn!(%error, "cannot ask the batch system whether jobs are over"),
            }
        }
        over
    }
}

fn lock(wanted: &Mutex<Wanted>) -> std::sync::MutexGuard<'_, Wanted> {
    // What is in it is complete at any time.
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks until there is nothing to ask for, or nobody to.
fn find_out(shared: &Weak<Mutex<Wanted>>) {
    let mut failures = 0;
    while let Some(parts) = next(shared) {
        let answer = ask(&parts);
        let Some(wanted) = shared.upgrade() else {
            return;
        };
        let wait = match answer {
            Ok(over) => {
                failures = 0;
                let mut wanted = lock(&wanted);
                let mut maybe = false;
                for part in &parts {
                    if let Some(known) = wanted.parts.get_mut(part) {
                        known.over = if over.contains(part) { known.over + 1 } else { 0 };
                        maybe |= known.over == 1;
                    }
                }
                if maybe { AGAIN } else { LOOK }
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!("cannot find out whether jobs are over, and tries again: {error}");
                }
                failures += 1;
                (LOOK * (1 << failures.min(6))).min(LONGEST)
            }
        };
        drop(wanted);
        std::thread::sleep(wait);
    }
}

/// What is to be asked about now. None: nothing, and this thread is to end.
fn next(shared: &Weak<Mutex<Wanted>>) -> Option<Vec<JobPart>> {
    let wanted = shared.upgrade()?;
    let mut wanted = lock(&wanted);
    wanted.parts.retain(|_, known| known.wanted.elapsed() < FORGET);
    let open: Vec<JobPart> = wanted
        .parts
        .iter()
        .filter(|(_, known)| !known.is_over())
        .map(|(part, _)| part.clone())
        .collect();
    if open.is_empty() {
        wanted.asking = false;
        return None;
    }
    Some(open)
}

/// Those of the parts that are over.
fn ask(parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError> {
    let mut over = Vec::new();
    for group in parts.chunk_by(|one, other| one.system == other.system) {
        over.extend(group[0].system.system().over(group)?);
    }
    Ok(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written() {
        let part = JobPart {
            system: Kind::Slurm,
            cluster: "hpc".into(),
            job: "4711".into(),
            run: 1,
            node: "n17".into(),
            step: None,
        };
        assert_eq!(part.to_string(), "slurm:hpc:4711:1:n17");
        assert_eq!(part.to_string().parse(), Ok(part.clone()));
        let step = JobPart {
            step: Some("3".into()),
            ..part
        };
        assert_eq!(step.to_string(), "slurm:hpc:4711:1:n17:3");
        assert_eq!(step.to_string().parse(), Ok(step));
        for wrong in [
            "",
            "slurm",
            "slurm:hpc:4711:1:",
            "slurm:hpc:4711:1:n17:",
            "slurm:hpc:4711:1:n17:3:4",
            "slurm:hpc:4711:x:n17",
            "at:hpc:4711:1:n17",
            "slurm:a b:1:1:n",
        ] {
            assert_eq!(wrong.parse::<JobPart>(), Err(()), "{wrong}");
        }
    }
}
