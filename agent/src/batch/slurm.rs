//! Slurm, by its commands: sbatch, squeue, scancel, srun.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::command::{self, CommandError};
use super::script::Request;
use super::{Allocation, BatchError, BatchSystem, Holds, Job, JobPart, JobState, Kind, Launch, Share, hosts};

const SYSTEM: &str = "slurm";
/// The fields of a line: id, state, reason, start, time left, nodes.
const FORMAT: &str = "%A|%T|%r|%S|%L|%N";

/// Slurm.
#[derive(Clone, Copy, Debug)]
pub struct Slurm;

impl BatchSystem for Slurm {
    fn kind(&self) -> Kind {
        Kind::Slurm
    }

    fn answers(&self) -> Result<String, BatchError> {
        let said = command::run(SYSTEM, "scontrol", &["ping".into()])?;
        Ok(said.lines().collect::<Vec<_>>().join("; "))
    }

    fn needs_also(&self, _request: &Request<'_>) -> Option<&'static str> {
        None
    }

    fn submit(&self, script: &Path, further: &[OsString]) -> Result<String, BatchError> {
        let mut args: Vec<OsString> = vec!["--parsable".into()];
        args.extend_from_slice(further);
        args.push(script.into());
        let said = command::run(SYSTEM, "sbatch", &args)?;
        // The id, and behind a semicolon the cluster.
        let id = said.split(';').next().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BatchError::Answer {
                command: "sbatch",
                said,
            });
        }
        Ok(id.to_owned())
    }

    fn look(&self, job: &str) -> Result<Job, BatchError> {
        Ok(match shown(job)? {
            Shown::It(job) => job,
            Shown::Forgotten | Shown::Nothing => unknown(),
        })
    }

    fn cancel(&self, job: &str) -> Result<(), BatchError> {
        command::run(SYSTEM, "scancel", &[job.into()])?;
        Ok(())
    }

    fn own_job(&self) -> Option<String> {
        std::env::var("SLURM_JOB_ID").ok().filter(|id| !id.is_empty())
    }

    fn part(&self) -> Option<JobPart> {
        part(|name| std::env::var(name).ok())
    }

    fn over(&self, parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError> {
        let config = command::run(SYSTEM, "scontrol", &["show".into(), "config".into()])?;
        let cluster = cluster(&config).unwrap_or_default();
        let (mut ended, mut failed) = (Vec::new(), None);
        let own = parts.iter().filter(|part| part.cluster == cluster);
        let own: Vec<&JobPart> = own.collect();
        for group in own.chunk_by(|one, other| one.job == other.job) {
            // One that cannot be made out says nothing of the others.
            match over_of(&group[0].job, group) {
                Ok(over) => ended.extend(over),
                Err(error) => failed = Some(error),
            }
        }
        if ended.is_empty() {
            return failed.map_or(Ok(Vec::new()), Err);
        }
        if let Some(error) = failed {
            tracing::info!(%error, "cannot find out whether a job is over");
        }
        let nodes: Vec<&str> = ended.iter().map(|part| part.node.as_str()).collect();
        let args = ["-h", "-N", "-n", &nodes.join(","), "-o", "%N %T"].map(OsString::from);
        let states = command::run(SYSTEM, "sinfo", &args)?;
        let has_answered = |part: &&JobPart| {
            let mut own = states.lines().filter_map(|line| line.split_once(' '));
            own.any(|(node, state)| node == part.node && answers(state))
        };
        Ok(ended.into_iter().filter(has_answered).cloned().collect())
    }

    fn allocation(&self) -> Result<Allocation, BatchError> {
        let job = self.own_job().ok_or(BatchError::NoJob {
            system: SYSTEM,
            variable: "SLURM_JOB_ID",
        })?;
        let variable = "SLURM_JOB_NODELIST";
        let value = std::env::var(variable).unwrap_or_default();
        let nodes = hosts::expand(&value).ok_or(BatchError::Environment { variable, value })?;
        let restarts = std::env::var("SLURM_RESTART_COUNT").unwrap_or_default();
        let holds = holds(&nodes, |name| std::env::var(name).ok());
        Ok(Allocation {
            job,
            holds,
            nodes,
            here: std::env::var("SLURMD_NODENAME")
                .ok()
                .filter(|name| !name.is_empty()),
            again: !matches!(restarts.as_str(), "" | "0"),
            cores: BTreeMap::new(),
        })
    }

    fn share(&self) -> Share {
        share(|name| std::env::var(name).ok())
    }

    fn launches(&self, nodes: &[String], command: &[OsString]) -> Vec<Launch> {
        let count = nodes.len();
        let launcher = [
            "srun".to_owned(),
            format!("--nodes={count}"),
            format!("--ntasks={count}"),
            "--ntasks-per-node=1".to_owned(),
            format!("--nodelist={}", nodes.join(",")),
            // All that the job has on each node, beside whatever else runs there.
            "--overlap".to_owned(),
            "--mem=0".to_owned(),
            "--cpu-bind=none".to_owned(),
            "--mpi=none".to_owned(),
            "--no-kill".to_owned(),
            "--kill-on-bad-exit=0".to_owned(),
            "--wait=0".to_owned(),
            "--quit-on-interrupt".to_owned(),
            "--job-name=scalems-worker".to_owned(),
        ];
        let words = launcher.map(OsString::from).into_iter();
        vec![Launch {
            nodes: nodes.to_vec(),
            words: words.chain(command.iter().cloned()).collect(),
        }]
    }

    fn time_limit(&self, time: Duration) -> String {
        // Whole minutes count: less would be taken for none.
        let minutes = time.as_secs().div_ceil(60).max(1);
        let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
        format!("{days}-{hours:02}:{minutes:02}:00")
    }

    fn warns(&self) -> bool {
        true
    }

    fn hangup_ends(&self) -> bool {
        false
    }
}

/// What squeue says of a job.
enum Shown {
    It(Job),
    /// It does not know the job any more, some minutes after its end.
    Forgotten,
    /// Nothing at all, which older versions say then, and any version if something hides the job.
    Nothing,
}

fn shown(job: &str) -> Result<Shown, BatchError> {
    let args = ["-h", "-a", "-t", "all", "-j", job, "-o", FORMAT].map(OsString::from);
    match command::run(SYSTEM, "squeue", &args) {
        Ok(said) => Ok(read(job, &said)?.map_or(Shown::Nothing, Shown::It)),
        Err(CommandError::Refused { said, .. }) if said.contains("Invalid job id") => Ok(Shown::Forgotten),
        Err(error) => Err(error.into()),
    }
}

/// Those of some parts of a job that it does not have any more.
fn over_of<'a>(id: &str, parts: &[&'a JobPart]) -> Result<Vec<&'a JobPart>, BatchError> {
    let job = match shown(id)? {
        Shown::It(job) => job,
        Shown::Forgotten => return Ok(parts.to_vec()),
        Shown::Nothing => {
            return Err(BatchError::Answer {
                command: "squeue",
                said: String::new(),
            });
        }
    };
    let run = if job.is_over() { 0 } else { run(id)? };
    let is_over = |part: &&JobPart| {
        job.is_over() || part.run < run || !job.nodes.contains(&part.node) && !job.nodes.is_empty()
    };
    let (mut over, open): (Vec<_>, Vec<_>) = parts.iter().copied().partition(is_over);
    if open.iter().any(|part| part.step.is_some()) {
        let steps = steps(id)?;
        over.extend(open.into_iter().filter(|part| is_ended_step(part, &steps)));
    }
    Ok(over)
}

/// The steps that a job has now.
fn steps(job: &str) -> Result<Vec<String>, BatchError> {
    let args = ["-h", "-a", "-s", "-j", job, "-o", "%i"].map(OsString::from);
    let said = command::run(SYSTEM, "squeue", &args)?;
    let of_job = |id: &str| id.strip_prefix(job)?.strip_prefix('.').map(str::to_owned);
    Ok(said.split_ascii_whitespace().filter_map(of_job).collect())
}

/// Whether a job had this step, and has it no more. A job that seems to have none at all may be hidden.
fn is_ended_step(part: &JobPart, steps: &[String]) -> bool {
    !steps.is_empty() && part.step.as_ref().is_some_and(|step| !steps.contains(step))
}

/// Where a process with these variables runs.
fn part(variable: impl Fn(&str) -> Option<String>) -> Option<JobPart> {
    let known = |name: &str| variable(name).filter(|value| !value.is_empty());
    // Inside `salloc` on a login node there is no node, and in one that was begun inside another job it is not the job's: the job's end
    // is not the end of what runs there.
    let node = known("SLURMD_NODENAME")?;
    if !hosts::expand(&known("SLURM_JOB_NODELIST")?)?.contains(&node) {
        return None;
    }
    Some(JobPart {
        system: Kind::Slurm,
        cluster: known("SLURM_CLUSTER_NAME")?,
        job: known("SLURM_JOB_ID")?,
        run: known("SLURM_RESTART_COUNT").map_or(Some(0), |count| count.parse().ok())?,
        node,
        step: known("SLURM_STEP_ID").filter(|step| step.bytes().all(|byte| byte.is_ascii_digit())),
    })
}

/// The name of the cluster in what `scontrol show config` says.
fn cluster(config: &str) -> Option<&str> {
    config.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "ClusterName").then(|| value.trim())
    })
}

/// How often a job that is not over has been put back into the queue.
fn run(job: &str) -> Result<u32, BatchError> {
    let args = ["-h", "-a", "-t", "all", "-j", job, "-O", "JobID:32,RestartCnt:16"].map(OsString::from);
    let said = command::run(SYSTEM, "squeue", &args)?;
    // The id of an array, or of a job of several parts, has several lines.
    let own = said.lines().find_map(|line| {
        let (id, count) = line.split_once(' ')?;
        (id == job).then(|| count.trim().parse().ok())?
    });
    own.ok_or(BatchError::Answer {
        command: "squeue",
        said,
    })
}

/// Whether a node in this state runs what the batch system says that it runs. One that does not respond, or that was down, may run what
/// should be over.
fn answers(state: &str) -> bool {
    let word = state.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    let marks = &state[word.len()..];
    // One that is drained may be so because it could not kill something.
    let works = ["idle", "allocated", "mixed", "completing", "reserved", "planned"];
    works.contains(&word) && !marks.contains(['*', '~', '#', '%', '^', '@', '!'])
}

fn unknown() -> Job {
    Job {
        state: JobState::Unknown,
        reason: String::new(),
        start: None,
        left: None,
        nodes: Vec::new(),
    }
}

/// Reads what squeue says of one job; the id of an array, or of a job of several parts, has several lines. None: it says nothing.
fn read(id: &str, said: &str) -> Result<Option<Job>, BatchError> {
    let wrong = || BatchError::Answer {
        command: "squeue",
        said: said.to_owned(),
    };
    if said.trim().is_empty() {
        return Ok(None);
    }
    let lines = said.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let own = lines.into_iter().find(|fields| fields[0] == id);
    let [_, state, reason, start, left, nodes] = own.ok_or_else(wrong)?[..] else {
        return Err(wrong());
    };
    let state = match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT" | "RESV_DEL_HOLD" => {
            JobState::Pending
        }
        "BOOT_FAIL" | "CANCELLED" | "COMPLETED" | "DEADLINE" | "FAILED" | "NODE_FAIL" | "OUT_OF_MEMORY"
        | "PREEMPTED" | "REVOKED" | "TIMEOUT" => JobState::Ended {
            how: state.to_owned(),
        },
        "" => return Err(wrong()),
        // It has nodes, also while it gets them or gives them back.
        _ => JobState::Running,
    };
    let nodes = match nodes {
        "" | "(null)" => Vec::new(),
        list => hosts::expand(list).ok_or_else(wrong)?,
    };
    let known = |text: &str| !["", "None", "N/A", "(null)"].contains(&text);
    Ok(Some(Job {
        reason: Some(reason)
            .filter(|text| known(text))
            .unwrap_or_default()
            .to_owned(),
        start: Some(start)
            .filter(|text| known(text) && state == JobState::Pending)
            .map(str::to_owned),
        left: time(left),
        state,
        nodes,
    }))
}

/// `MM:SS`, `HH:MM:SS`, `D-HH:MM:SS`; none for `UNLIMITED`, `INVALID` and `NOT_SET`.
fn time(text: &str) -> Option<Duration> {
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let days: u64 = days.parse().ok()?;
    let parts: Option<Vec<u64>> = rest.split(':').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|parts| (2..=3).contains(&parts.len()))?;
    let seconds = parts.iter().fold(0, |sum, part| 60 * sum + part);
    Some(Duration::from_secs(86_400 * days + seconds))
}

/// What of this node is for the job, by the variables of a step.
fn share(variable: impl Fn(&str) -> Option<String>) -> Share {
    let number = |name: &str| variable(name)?.parse::<u64>().ok().filter(|number| *number > 0);
    let cores = number("SLURM_CPUS_ON_NODE");
    let by_core = || Some(number("SLURM_MEM_PER_CPU")? * cores?);
    Share {
        node: variable("SLURMD_NODENAME").filter(|name| !name.is_empty()),
        cores: cores.map(|cores| cores as u32),
        memory_mib: number("SLURM_MEM_PER_NODE").or_else(by_core),
    }
}

/// What a job has on its nodes: `SLURM_JOB_CPUS_PER_NODE` is like `4(x2),8`, in the nodes' order.
fn holds(nodes: &[String], variable: impl Fn(&str) -> Option<String>) -> BTreeMap<String, Holds> {
    let number = |name: &str| variable(name)?.parse::<u64>().ok().filter(|number| *number > 0);
    let cores = variable("SLURM_JOB_CPUS_PER_NODE").and_then(|text| each(&text));
    // Another number than of nodes says nothing of any.
    let cores = cores
        .filter(|cores| cores.len() == nodes.len())
        .unwrap_or_default();
    let of = |(at, node): (usize, &String)| {
        let cores = cores.get(at).copied();
        let by_core = || Some(number("SLURM_MEM_PER_CPU")? * u64::from(cores?));
        let memory_mib = number("SLURM_MEM_PER_NODE").or_else(by_core);
        (node.clone(), Holds { cores, memory_mib })
    };
    nodes.iter().enumerate().map(of).collect()
}

/// Reads `4(x2),8` as 4, 4, 8.
fn each(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (number, times) = match part.split_once("(x") {
            Some((number, times)) => (number, times.strip_suffix(')')?.parse().ok()?),
            None => (part, 1),
        };
        let number: u32 = number.parse().ok()?;
        // More nodes than that no list of theirs has.
        if times > 1_000_000 {
            return None;
        }
        all.extend(std::iter::repeat_n(number, times));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_job_says_why_and_when() {
        let job = read("7", "7|PENDING|Priority|2026-11-24T01:02:03|1:00:00|\n")
            .unwrap()
            .unwrap();
        assert_eq!(job.state, JobState::Pending);
        assert_eq!(job.reason, "Priority");
        assert_eq!(job.start.as_deref(), Some("2026-11-24T01:02:03"));
        assert_eq!(job.left, Some(Duration::from_secs(3_600)));
        assert!(job.nodes.is_empty());
        let job = read("7", "7|PENDING|None|N/A|INVALID|").unwrap().unwrap();
        assert_eq!((job.reason.as_str(), job.start, job.left), ("", None, None));
    }

    #[test]
    fn a_running_job_says_where_and_how_long() {
        // The id of an array has a line for each of its jobs.
        let job = read(
            "7",
            "8|PENDING|None|N/A|INVALID|\n7|RUNNING|None|2026-11-24T01:02:03|1-02:03:04|n[1,3]",
        )
        .unwrap()
        .unwrap();
        assert_eq!(job.state, JobState::Running);
        assert_eq!(job.nodes, ["n1", "n3"]);
        assert_eq!(job.left, Some(Duration::from_secs(93_784)));
        assert_eq!(job.start, None);
    }

    #[test]
    fn what_is_over_or_not_known_is_told_apart() {
        let how = |text: &str| JobState::Ended { how: text.to_owned() };
        assert_eq!(
            read("7", "7|TIMEOUT|TimeLimit|x|0:00|n1").unwrap().unwrap().state,
            how("TIMEOUT")
        );
        assert_eq!(read("7", "").unwrap(), None);
        assert!(read("7", "8|RUNNING|None|x|0:10|n1").is_err(), "it is another's");
        assert!(read("7", "7|RUNNING|x").is_err());
        assert!(read("7", "7|RUNNING|None|x|0:10|n[1").is_err());
    }

    #[test]
    fn what_the_job_has_on_each_node_is_known() {
        let nodes = ["n1", "n2", "n3"].map(str::to_owned);
        let of = |pairs: &'static [(&str, &str)]| {
            holds(&nodes, move |name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let found = of(&[
            ("SLURM_JOB_CPUS_PER_NODE", "4(x2),8"),
            ("SLURM_MEM_PER_CPU", "100"),
        ]);
        let cores: Vec<_> = found
            .values()
            .map(|holds| (holds.cores, holds.memory_mib))
            .collect();
        assert_eq!(
            cores,
            [(Some(4), Some(400)), (Some(4), Some(400)), (Some(8), Some(800))]
        );
        for wrong in ["4", "4(x3", "four(x3)", "4(x99999999)"] {
            assert_eq!(each(wrong).filter(|cores| cores.len() == 3), None, "{wrong}");
        }
        assert_eq!(of(&[])["n1"], Holds::default());
    }

    #[test]
    fn time_limits_are_rounded_up_to_minutes() {
        for (seconds, text) in [
            (1, "0-00:01:00"),
            (60, "0-00:01:00"),
            (61, "0-00:02:00"),
            (7_200, "0-02:00:00"),
            (90_000, "1-01:00:00"),
        ] {
            assert_eq!(Slurm.time_limit(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_part_is_a_node_of_a_job_of_a_cluster() {
        let of = |pairs: &'static [(&str, &str)]| {
            part(move |name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let all = [
            ("SLURM_CLUSTER_NAME", "hpc"),
            ("SLURM_JOB_ID", "4711"),
            ("SLURMD_NODENAME", "n17"),
            ("SLURM_JOB_NODELIST", "n[16-17]"),
            ("SLURM_RESTART_COUNT", "2"),
        ];
        let all: &'static [_] = Box::leak(Box::new(all));
        assert_eq!(of(all).unwrap().to_string(), "slurm:hpc:4711:2:n17");
        assert_eq!(of(&all[..4]).unwrap().run, 0);
        for (step, text) in [("3", "slurm:hpc:4711:2:n17:3"), ("batch", "slurm:hpc:4711:2:n17")] {
            let step: &'static [_] = Box::leak(Box::new([all, &[("SLURM_STEP_ID", step)]].concat()));
            assert_eq!(of(step).unwrap().to_string(), text);
        }
        let inner: &'static [_] =
            Box::leak(Box::new([all[0], all[1], all[2], ("SLURM_JOB_NODELIST", "n18")]));
        assert_eq!(of(inner), None, "the job was begun inside another one");
        assert_eq!(of(&all[..2]), None, "a terminal of salloc is on no node");
        assert_eq!(of(&[]), None);
        assert_eq!(cluster("x = 1\nClusterName             = hpc\n"), Some("hpc"));
        assert_eq!(cluster(""), None);
    }

    #[test]
    fn a_step_is_over_once_its_job_has_only_others() {
        let part = |step: Option<&str>| JobPart {
            system: Kind::Slurm,
            cluster: "hpc".into(),
            job: "4711".into(),
            run: 0,
            node: "n17".into(),
            step: step.map(str::to_owned),
        };
        let steps = ["batch".to_owned(), "3".to_owned()];
        assert!(is_ended_step(&part(Some("0")), &steps));
        assert!(!is_ended_step(&part(Some("3")), &steps));
        assert!(!is_ended_step(&part(None), &steps), "it is not known by its step");
        assert!(
            !is_ended_step(&part(Some("0")), &[]),
            "nothing is said of the job"
        );
    }

    #[test]
    fn a_node_that_is_away_does_not_answer() {
        for state in ["idle", "mixed", "allocated+", "completing-"] {
            assert!(answers(state), "{state}");
        }
        for state in [
            "drained", "idle*", "down", "down*", "unknown", "idle~", "rebooted", "fail", "",
        ] {
            assert!(!answers(state), "{state}");
        }
    }

    #[test]
    fn a_share_is_what_the_step_says() {
        let of = |pairs: &'static [(&str, &str)]| {
            share(move |name| {
                let found = pairs.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), Share::default());
        let whole = of(&[("SLURM_CPUS_ON_NODE", "4"), ("SLURM_MEM_PER_NODE", "4000")]);
        assert_eq!((whole.cores, whole.memory_mib), (Some(4), Some(4_000)));
        let part = of(&[("SLURM_CPUS_ON_NODE", "4"), ("SLURM_MEM_PER_CPU", "500")]);
        assert_eq!((part.cores, part.memory_mib), (Some(4), Some(2_000)));
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", "0")]).memory_mib, None);
    }
}
