//! PBS Pro and `OpenPBS`, by their commands: qsub, qstat, pbsnodes, qdel and `pbs_tmrsh`.
//!
//! It is read in JSON (`qstat -f -F json`, `pbsnodes -a -F json`). Three things differ from other systems: what a job writes is kept on
//! its first host until its end, so that the script sends it to the log itself; processes on other hosts are told neither their host's
//! name in the job nor how many of its cores the job has; and nobody tells a job that its time is nearly over.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::command::{self, CommandError};
use super::said::{environment, not_understood};
use super::script::Request;
use super::{
    Allocation, BatchError, BatchSystem, Holds, JOB_LOG, JOB_NODE, Job, JobPart, JobState, Kind, Launch,
    Share,
};

const SYSTEM: &str = "pbs";
/// What a task of a job begins with: its host's name in the job and the job's log are told in the command line, since it has none of
/// the environment of who launches it, and what it writes would go nowhere. The log is `$0`.
const BEGIN: &str = "export SCALEMS_JOB_NODE=\"$1\"; shift; exec \"$@\" >>\"$0\" 2>&1";

/// PBS Pro, and `OpenPBS`.
#[derive(Clone, Copy, Debug)]
pub struct PbsPro;

impl BatchSystem for PbsPro {
    fn kind(&self) -> Kind {
        Kind::PbsPro
    }

    fn answers(&self) -> Result<String, BatchError> {
        let hosts = hosts()?;
        let well = hosts.values().filter(|answers| **answers).count();
        Ok(format!("{well} of {} hosts answer", hosts.len()))
    }

    fn needs_also(&self, request: &Request<'_>) -> Option<&'static str> {
        request
            .cores
            .is_none()
            .then_some("PBS counts cores, and gives one where none are asked for: say with --cores how many each node is to have")
    }

    fn submit(&self, script: &Path, further: &[OsString]) -> Result<String, BatchError> {
        let mut args = further.to_vec();
        args.push(script.into());
        let said = command::run(SYSTEM, "qsub", &args)?;
        // Warnings come before it.
        let id = said.lines().last().unwrap_or_default().trim();
        if !is_id(id) {
            return Err(not_understood("qsub", &said));
        }
        Ok(id.to_owned())
    }

    fn look(&self, job: &str) -> Result<Job, BatchError> {
        let Some(said) = shown(job)? else {
            return Ok(unknown());
        };
        let mut found = read(job, &said)?;
        if found.job.state == JobState::Running {
            let used = found.begun.as_deref().and_then(since).max(found.used);
            found.job.left = found
                .limit
                .map(|limit| limit.saturating_sub(used.unwrap_or_default()));
        }
        Ok(found.job)
    }

    fn cancel(&self, job: &str) -> Result<(), BatchError> {
        command::run(SYSTEM, "qdel", &[job.into()])?;
        Ok(())
    }

    fn own_job(&self) -> Option<String> {
        own_job(&environment)
    }

    fn part(&self) -> Option<JobPart> {
        part(&environment, &crate::host_name())
    }

    fn over(&self, parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError> {
        // A job's id has the name of its server in it.
        let mut ended = Vec::new();
        for group in parts.chunk_by(|one, other| one.job == other.job) {
            let job = self.look(&group[0].job)?;
            // How often a job has begun anew is not told: what ran in it before counts as over once the job or the node is.
            let is_over =
                |part: &&JobPart| job.is_over() || !job.nodes.is_empty() && !job.nodes.contains(&part.node);
            ended.extend(group.iter().filter(is_over));
        }
        if ended.is_empty() {
            return Ok(Vec::new());
        }
        let hosts = hosts()?;
        let answers = |part: &&JobPart| hosts.get(&part.node).copied().unwrap_or_default();
        Ok(ended.into_iter().filter(answers).cloned().collect())
    }

    fn allocation(&self) -> Result<Allocation, BatchError> {
        let job = self.own_job().ok_or(BatchError::NoJob {
            system: SYSTEM,
            variable: "PBS_JOBID",
        })?;
        let nodes: Vec<String> = node_file()?.into_iter().map(|(node, _)| node).collect();
        let found = shown(&job)?.map(|said| read(&job, &said)).transpose()?;
        let here = node(&environment, &crate::host_name());
        let again = found.as_ref().is_some_and(|found| found.runs > 1);
        let cores: BTreeMap<String, u32> = found.map(|found| found.cores).unwrap_or_default();
        Ok(Allocation {
            job,
            here: Some(here).filter(|here| nodes.contains(here)),
            nodes,
            again,
            holds: cores
                .iter()
                .map(|(node, cores)| {
                    let holds = Holds {
                        cores: Some(*cores),
                        memory_mib: None,
                    };
                    (node.clone(), holds)
                })
                .collect(),
            cores,
        })
    }

    fn share(&self) -> Share {
        Share {
            node: self.own_job().map(|_| node(&environment, &crate::host_name())),
            ..Share::default()
        }
    }

    fn launches(&self, nodes: &[String], command: &[OsString]) -> Vec<Launch> {
        let log = environment(JOB_LOG).unwrap_or_else(|| "/dev/null".to_owned());
        // Its names for hosts are those of the file, to the letter.
        let known: BTreeMap<String, String> = node_file().unwrap_or_default().into_iter().collect();
        let one = |node: &String| {
            let host = known.get(node).unwrap_or(node);
            let words = ["pbs_tmrsh", host, "/bin/sh", "-c", BEGIN, &log, node];
            Launch {
                nodes: vec![node.clone()],
                words: words
                    .map(OsString::from)
                    .into_iter()
                    .chain(command.iter().cloned())
                    .collect(),
            }
        };
        nodes.iter().map(one).collect()
    }

    fn time_limit(&self, time: Duration) -> String {
        let seconds = time.as_secs().max(1);
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    fn warns(&self) -> bool {
        false
    }

    fn hangup_ends(&self) -> bool {
        false
    }
}

/// `12.server.example.org`.
fn is_id(id: &str) -> bool {
    let number = id.split('.').next().unwrap_or_default();
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && id.bytes().all(fine)
}

/// Jobs of Torque have such an id as well, but its commands are others.
fn own_job(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    variable("PBS_ENVIRONMENT")?;
    variable("PBS_JOBID")
}

/// The name of this host in the job: as who launched this process told it, or the host's own.
fn node(variable: &impl Fn(&str) -> Option<String>, host: &str) -> String {
    variable(JOB_NODE).unwrap_or_else(|| short(host).to_owned())
}

/// Where a process with these variables runs, on a host of this name.
fn part(variable: &impl Fn(&str) -> Option<String>, host: &str) -> Option<JobPart> {
    let job = own_job(variable)?;
    let cluster = job.split_once('.').map(|(_, server)| server.to_owned());
    Some(JobPart {
        system: Kind::PbsPro,
        cluster: cluster.filter(|server| !server.is_empty())?,
        job,
        run: 0,
        node: node(variable, host),
        step: None,
    })
}

/// A host's name without its domain, which some answers have and others do not.
fn short(host: &str) -> &str {
    host.split('.').next().unwrap_or(host)
}

/// The hosts of the job, each once, as its file has them.
fn node_file() -> Result<Vec<(String, String)>, BatchError> {
    let variable = "PBS_NODEFILE";
    let path = environment(variable).ok_or(BatchError::NoJob {
        system: SYSTEM,
        variable,
    })?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let nodes = nodes_of(&text);
    if nodes.is_empty() {
        return Err(BatchError::Environment {
            variable,
            value: path,
        });
    }
    Ok(nodes)
}

fn nodes_of(text: &str) -> Vec<(String, String)> {
    let mut nodes: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let name = short(line);
        if nodes.iter().all(|(known, _)| known != name) {
            nodes.push((name.to_owned(), line.to_owned()));
        }
    }
    nodes
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

/// What qstat says of a job, also of one that has ended where the server keeps those. None: it does not know it.
fn shown(job: &str) -> Result<Option<String>, BatchError> {
    let ask = |history: bool| {
        let words = ["-x", "-f", "-F", "json", job];
        let args: Vec<OsString> = words[usize::from(!history)..]
            .iter()
            .map(OsString::from)
            .collect();
        command::run(SYSTEM, "qstat", &args)
    };
    let answer = match ask(true) {
        Err(CommandError::Refused { said, .. }) if said.contains("job history") => ask(false),
        answer => answer,
    };
    match answer {
        Ok(said) => Ok(Some(said)),
        Err(CommandError::Refused { said, .. }) if said.contains("Unknown Job Id") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What an answer says of a job.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// But for the time that is left.
    job: Job,
    /// The time that it may take.
    limit: Option<Duration>,
    /// The time that it has taken, as far as the server has heard.
    used: Option<Duration>,
    /// When it began, in words.
    begun: Option<String>,
    /// How often it has begun.
    runs: u64,
    /// Its cores on each host, unless it has whole hosts.
    cores: BTreeMap<String, u32>,
}

/// Numbers in what were strings become numbers in the answer.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn read(id: &str, said: &str) -> Result<Found, BatchError> {
    let wrong = || not_understood("qstat", said);
    let answer: Value = serde_json::from_str(said).map_err(|_| wrong())?;
    let jobs = answer["Jobs"].as_object().ok_or_else(wrong)?;
    // Asked for `12`, it says `12.server`.
    let own = jobs
        .iter()
        .find(|(known, _)| *known == id || known.split('.').next() == Some(id));
    let (_, job) = own.ok_or_else(wrong)?;
    let state = text(&job["job_state"]).ok_or_else(wrong)?;
    let comment = text(&job["comment"]).unwrap_or_default();
    let state = match state.as_str() {
        "Q" | "H" | "W" | "T" | "M" => JobState::Pending,
        "F" | "X" => JobState::Ended { how: how(job) },
        // It has nodes, also while it ends, or is suspended.
        "R" | "E" | "S" | "U" | "B" => JobState::Running,
        _ => return Err(wrong()),
    };
    let pending = state == JobState::Pending;
    let cores = hosts_of(&text(&job["exec_host"]).unwrap_or_default()).ok_or_else(wrong)?;
    let nodes = if pending {
        Vec::new()
    } else {
        cores.keys().cloned().collect()
    };
    let whole = text(&job["Resource_List"]["place"]).is_some_and(|place| place.contains("excl"));
    let time_of = |list: &str| clock(&text(&job[list]["walltime"])?);
    Ok(Found {
        limit: time_of("Resource_List"),
        used: time_of("resources_used"),
        begun: text(&job["stime"]),
        runs: job["run_count"].as_u64().unwrap_or_default(),
        cores: if whole { BTreeMap::new() } else { cores },
        job: Job {
            reason: if pending { comment } else { String::new() },
            start: text(&job["estimated"]["start_time"]).filter(|_| pending),
            left: None,
            state,
            nodes,
        },
    })
}

/// How a job has ended; without an exit status it never ran.
fn how(job: &Value) -> String {
    match job["Exit_status"].as_i64() {
        None => "deleted before it ran".to_owned(),
        // Its shell's status, or that of the signal that ended it.
        Some(status) if status > 256 => format!("by signal {}", status - 256),
        Some(status) => format!("exit status {status}"),
    }
}

/// The cores on each host in `n1/0*4+n2/1*4`; none if it is no such list.
fn hosts_of(list: &str) -> Option<BTreeMap<String, u32>> {
    let mut cores = BTreeMap::new();
    for part in list.split('+').filter(|part| !part.is_empty()) {
        let (host, place) = part.split_once('/')?;
        let count = place
            .split_once('*')
            .map_or(Some(1), |(_, count)| count.parse().ok())?;
        *cores.entry(short(host).to_owned()).or_default() += count;
    }
    Some(cores)
}

/// `HH:MM:SS`.
fn clock(text: &str) -> Option<Duration> {
    let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    let seconds = parts?.iter().fold(0, |sum, part| 60 * sum + part);
    Some(Duration::from_secs(seconds))
}

/// The time since a date as PBS writes it. What the server says that a job has used is minutes old; its start is exact.
fn since(date: &str) -> Option<Duration> {
    let said = command::run(SYSTEM, "date", &["-d", date, "+%s"].map(OsString::from));
    let begun = match said {
        Ok(said) => Duration::from_secs(said.parse().ok()?),
        Err(error) => {
            tracing::info!(%error, "cannot make out when a job began");
            return None;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(now.saturating_sub(begun))
}

/// The hosts, and whether each answers.
fn hosts() -> Result<BTreeMap<String, bool>, BatchError> {
    let args = ["-a", "-F", "json"].map(OsString::from);
    read_hosts(&command::run(SYSTEM, "pbsnodes", &args)?)
}

fn read_hosts(said: &str) -> Result<BTreeMap<String, bool>, BatchError> {
    let wrong = || not_understood("pbsnodes", said);
    let answer: Value = serde_json::from_str(said).map_err(|_| wrong())?;
    let nodes = answer["nodes"].as_object().ok_or_else(wrong)?;
    let mut hosts = BTreeMap::new();
    for (name, node) in nodes {
        let host = text(&node["resources_available"]["host"]).unwrap_or_else(|| name.clone());
        let state = text(&node["state"]).ok_or_else(wrong)?;
        // A host may be several nodes.
        let all = hosts.entry(short(&host).to_owned()).or_insert(true);
        *all &= answers(&state);
    }
    Ok(hosts)
}

/// Whether a node in this state runs what the server says that it runs.
fn answers(state: &str) -> bool {
    let away = [
        "down",
        "stale",
        "unknown",
        "unresolvable",
        "sleep",
        "provisioning",
    ];
    !away.iter().any(|word| state.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = r#"{"timestamp":1795478138,"pbs_version":"23.06","pbs_server":"head","Jobs":{"12.head":{
        "Job_Name":"scalems-night","job_state":"R","exec_host":"n1/0*4+n2.hpc/1*4+n2.hpc/2",
        "Resource_List":{"ncpus":8,"place":"scatter","select":"2:ncpus=4","walltime":"02:00:00"},
        "resources_used":{"walltime":"00:30:00"},"run_count":2,"comment":"Job run at Mon Nov 30"}}}"#;

    fn state_of(more: &str) -> Found {
        read("7", &format!("{{\"Jobs\":{{\"7.head\":{{{more}}}}}}}")).unwrap()
    }

    #[test]
    fn a_running_job_says_where_and_how_much() {
        let found = read("12.head", RUNS).unwrap();
        assert_eq!(found.job.state, JobState::Running);
        assert_eq!(found.job.nodes, ["n1", "n2"]);
        assert_eq!(found.limit, Some(Duration::from_hours(2)));
        assert_eq!(found.used, Some(Duration::from_mins(30)));
        assert_eq!(found.runs, 2);
        assert_eq!(
            found.cores.into_iter().collect::<Vec<_>>(),
            [("n1".to_owned(), 4), ("n2".to_owned(), 5)]
        );
        let whole = RUNS.replace("scatter", "scatter:exclhost");
        assert!(
            read("12.head", &whole).unwrap().cores.is_empty(),
            "it has all there are"
        );
    }

    #[test]
    fn a_waiting_job_says_why_and_when() {
        let found = state_of(
            r#""job_state":"Q","comment":"Not Running: Insufficient amount of resource: ncpus",
            "estimated":{"start_time":"Mon Nov 30 22:00:00 2026"}"#,
        );
        assert_eq!(found.job.state, JobState::Pending);
        assert_eq!(
            found.job.reason,
            "Not Running: Insufficient amount of resource: ncpus"
        );
        assert_eq!(found.job.start.as_deref(), Some("Mon Nov 30 22:00:00 2026"));
        assert!(found.job.nodes.is_empty());
    }

    #[test]
    fn an_ended_job_says_how() {
        let how = |more: &str| match state_of(more).job.state {
            JobState::Ended { how } => how,
            other => panic!("{other:?}"),
        };
        assert_eq!(how(r#""job_state":"F","Exit_status":1"#), "exit status 1");
        assert_eq!(how(r#""job_state":"F","Exit_status":271"#), "by signal 15");
        assert_eq!(how(r#""job_state":"F""#), "deleted before it ran");
        for wrong in [
            "",
            "{}",
            "[]",
            r#"{"Jobs":{"8.head":{"job_state":"R"}}}"#,
            r#"{"Jobs":{"7.head":{}}}"#,
        ] {
            assert!(read("7", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_job_has_used_is_reckoned_from_its_start() {
        assert_eq!(clock("01:02:03"), Some(Duration::from_secs(3_723)));
        assert_eq!(clock("many"), None);
        let long_ago = since("Thu Jan  1 00:00:10 2026").unwrap();
        assert!(long_ago > Duration::from_hours(24), "{long_ago:?}");
        assert_eq!(since("in the beginning"), None);
    }

    #[test]
    fn ids_are_those_of_jobs() {
        for id in ["12.head", "12", "12.head.example.org"] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".head", "head.12", "12.he ad", "qsub: no"] {
            assert!(!is_id(id), "{id}");
        }
    }

    #[test]
    fn a_host_answers_if_all_of_its_nodes_do() {
        let hosts = read_hosts(
            r#"{"nodes":{"n1":{"state":"job-exclusive"},"n2":{"state":"state-unknown,down"},
            "a[0]":{"state":"free","resources_available":{"host":"a.hpc"}},
            "a[1]":{"state":"stale","resources_available":{"host":"a.hpc"}}}}"#,
        )
        .unwrap();
        assert_eq!(
            hosts.into_iter().collect::<Vec<_>>(),
            [
                ("a".to_owned(), false),
                ("n1".to_owned(), true),
                ("n2".to_owned(), false)
            ]
        );
        assert!(read_hosts("{}").is_err());
    }

    #[test]
    fn hosts_are_told_once_and_by_their_short_names() {
        let pair = |name: &str, line: &str| (name.to_owned(), line.to_owned());
        assert_eq!(
            nodes_of("n1.hpc\nn1.hpc\nn2\n\n"),
            [pair("n1", "n1.hpc"), pair("n2", "n2")]
        );
    }

    #[test]
    fn a_task_is_told_its_host_and_its_log() {
        let command = ["/opt/a b/scalems", "worker"].map(OsString::from);
        let launches = PbsPro.launches(&["n1".into(), "n2".into()], &command);
        assert_eq!(launches.len(), 2);
        let words: Vec<&str> = launches[1]
            .words
            .iter()
            .filter_map(|word| word.to_str())
            .collect();
        assert_eq!(words[..4], ["pbs_tmrsh", "n2", "/bin/sh", "-c"]);
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        // What the other side runs, with something that says what it was given.
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", BEGIN])
            .arg(&log)
            .args([
                "n2",
                "/bin/sh",
                "-c",
                "echo $SCALEMS_JOB_NODE \"$@\"",
                "sh",
                "a  b",
            ])
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(std::fs::read_to_string(log).unwrap(), "n2 a  b\n");
    }

    #[test]
    fn a_part_is_a_host_of_a_job_of_a_server() {
        let of = |known: &'static [(&'static str, &'static str)]| {
            let found = move |name: &str| {
                let found = known.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            part(&found, "n1.hpc")
        };
        let job: &[_] = &[("PBS_ENVIRONMENT", "PBS_BATCH"), ("PBS_JOBID", "12.head")];
        assert_eq!(of(job).unwrap().to_string(), "pbs:head:12.head:0:n1");
        let told: &[_] = &[job[0], job[1], (JOB_NODE, "n7")];
        assert_eq!(
            of(Box::leak(told.to_vec().into_boxed_slice())).unwrap().node,
            "n7"
        );
        assert_eq!(of(&job[1..]), None);
    }

    #[test]
    fn time_limits_are_hours_minutes_seconds() {
        assert_eq!(PbsPro.time_limit(Duration::from_secs(90_061)), "25:01:01");
        assert_eq!(PbsPro.time_limit(Duration::ZERO), "00:00:01");
    }
}
