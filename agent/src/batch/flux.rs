//! Flux, by its commands: flux batch, jobs, cancel, exec, getattr, resource.
//!
//! A batch job of Flux is a Flux instance of its own. What is asked of the job's place in the machine is asked of the *parent* instance;
//! what runs on the job's nodes is started by the job's own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::command::{self, CommandError};
use super::said::{environment, not_understood, now};
use super::script::Request;
use super::{
    Allocation, BatchError, BatchSystem, JOB_NODE, Job, JobPart, JobState, Kind, Launch, Share, hosts,
};

const SYSTEM: &str = "flux";
/// The variable that has the id of the job whose instance a process runs in.
const ENCLOSING: &str = "FLUX_ENCLOSING_ID";
/// What a worker begins with: the name of its node as its own broker has it, which is the one in lists of hosts.
const BEGIN: &str = "export SCALEMS_JOB_NODE=\"$(flux getattr hostname || hostname)\"; exec \"$@\"";

/// Flux.
#[derive(Clone, Copy, Debug)]
pub struct Flux;

impl BatchSystem for Flux {
    fn kind(&self) -> Kind {
        Kind::Flux
    }

    fn answers(&self) -> Result<String, BatchError> {
        Ok(flux(&["uptime"])?)
    }

    fn needs_also(&self, request: &Request<'_>) -> Option<&'static str> {
        request
            .memory_mib
            .is_some()
            .then_some("Flux gives jobs no memory by amount: leave out --memory")
    }

    fn submit(&self, script: &Path, further: &[OsString]) -> Result<String, BatchError> {
        let mut args: Vec<OsString> = vec!["batch".into()];
        args.extend_from_slice(further);
        args.push(script.into());
        let said = command::run(SYSTEM, "flux", &args)?;
        let id = plain(said.lines().last().unwrap_or_default().trim());
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(not_understood("flux batch", &said));
        }
        Ok(id)
    }

    fn look(&self, job: &str) -> Result<Job, BatchError> {
        match above(job, &["jobs", "--json", job]) {
            Ok(said) => read(&said, now()),
            Err(CommandError::Refused { said, .. }) if said.contains("unknown") => Ok(unknown()),
            Err(error) => Err(error.into()),
        }
    }

    fn cancel(&self, job: &str) -> Result<(), BatchError> {
        above(job, &["cancel", job])?;
        Ok(())
    }

    fn own_job(&self) -> Option<String> {
        own_job(&environment)
    }

    fn part(&self) -> Option<JobPart> {
        let job = self.own_job()?;
        let cluster = cluster(&job).inspect_err(|error| {
            tracing::info!(%error, "cannot find out where this job is one");
        });
        Some(JobPart {
            system: Kind::Flux,
            cluster: cluster.ok()?,
            job,
            run: 0,
            node: node(),
            step: None,
        })
    }

    fn over(&self, parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError> {
        let mut ended = Vec::new();
        for group in parts.chunk_by(|one, other| one.job == other.job) {
            let id = &group[0].job;
            let cluster = cluster(id)?;
            let job = self.look(id)?;
            let is_over = |part: &&JobPart| {
                part.cluster == cluster
                    && (job.is_over() || !job.nodes.is_empty() && !job.nodes.contains(&part.node))
            };
            let over: Vec<JobPart> = group.iter().filter(is_over).cloned().collect();
            if over.is_empty() {
                continue;
            }
            // Those that are up, whether they are in use or not.
            let up = above(
                id,
                &[
                    "resource",
                    "list",
                    "--no-header",
                    "--states=up",
                    "--format={nodelist}",
                ],
            )?;
            let up = up_of(&up).ok_or_else(|| not_understood("flux resource list", &up))?;
            ended.extend(over.into_iter().filter(|part| up.contains(&part.node)));
        }
        Ok(ended)
    }

    fn allocation(&self) -> Result<Allocation, BatchError> {
        let job = self.own_job().ok_or(BatchError::NoJob {
            system: SYSTEM,
            variable: ENCLOSING,
        })?;
        let nodes = own_nodes()?;
        let here = node();
        Ok(Allocation {
            job,
            here: Some(here).filter(|here| nodes.contains(here)),
            nodes,
            again: false,
            cores: BTreeMap::new(),
            holds: BTreeMap::new(),
        })
    }

    fn share(&self) -> Share {
        Share {
            node: self.own_job().map(|_| node()),
            ..Share::default()
        }
    }

    fn launches(&self, nodes: &[String], command: &[OsString]) -> Vec<Launch> {
        let ranks = match own_nodes() {
            Ok(all) => ranks(&all, nodes),
            Err(error) => {
                tracing::error!(%error, "cannot find out which broker is on which node");
                return Vec::new();
            }
        };
        let rank = format!("--rank={ranks}");
        // Ranks that are gone are an error of the launch, not its end.
        let words = [
            "flux",
            "exec",
            "--noinput",
            "--dir=/",
            &rank,
            "/bin/sh",
            "-c",
            BEGIN,
            "sh",
        ];
        vec![Launch {
            nodes: nodes.to_vec(),
            words: words
                .map(OsString::from)
                .into_iter()
                .chain(command.iter().cloned())
                .collect(),
        }]
    }

    fn time_limit(&self, time: Duration) -> String {
        format!("{}s", time.as_secs().max(1))
    }

    fn warns(&self) -> bool {
        false
    }

    fn hangup_ends(&self) -> bool {
        true
    }
}

fn flux(words: &[&str]) -> Result<String, CommandError> {
    let args: Vec<OsString> = words.iter().map(OsString::from).collect();
    command::run(SYSTEM, "flux", &args)
}

/// Asks the instance that a job is one of: from inside the job that is the parent of the one at hand.
fn above(job: &str, words: &[&str]) -> Result<String, CommandError> {
    let inside = own_job(&environment).is_some_and(|own| own == job);
    flux(&[if inside { &["--parent"][..] } else { &[] }, words].concat())
}

/// An id with an `f` in the place of the `ƒ`, which Flux takes as well.
fn plain(id: &str) -> String {
    id.replacen('ƒ', "f", 1)
}

fn own_job(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    variable("FLUX_URI")?;
    variable(ENCLOSING).map(|id| plain(&id))
}

/// The name of this host in lists of hosts.
fn node() -> String {
    environment(JOB_NODE).unwrap_or_else(crate::host_name)
}

/// What an instance is known by: the host of its first broker. Ids of jobs have the time in them, and so are not given twice.
fn cluster(job: &str) -> Result<String, BatchError> {
    let said = above(job, &["getattr", "hostlist"])?;
    let first = hosts::expand(said.trim()).and_then(|all| all.into_iter().next());
    first.ok_or_else(|| not_understood("flux getattr", &said))
}

/// The nodes of the job, by the ranks of their brokers.
fn own_nodes() -> Result<Vec<String>, BatchError> {
    let said = flux(&["getattr", "hostlist"])?;
    hosts::expand(said.trim()).ok_or_else(|| not_understood("flux getattr", &said))
}

/// The ranks of some nodes: `0,2`.
fn ranks(all: &[String], nodes: &[String]) -> String {
    let of = |(rank, node): (usize, &String)| nodes.contains(node).then(|| rank.to_string());
    all.iter()
        .enumerate()
        .filter_map(of)
        .collect::<Vec<_>>()
        .join(",")
}

fn up_of(said: &str) -> Option<BTreeSet<String>> {
    let lists = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let all: Option<Vec<Vec<String>>> = lists.map(hosts::expand).collect();
    Some(all?.into_iter().flatten().collect())
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

fn text(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A time in seconds, of which zero stands for none.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Reads what `flux jobs --json` says of one job.
fn read(said: &str, now: Duration) -> Result<Job, BatchError> {
    let wrong = || not_understood("flux jobs", said);
    let answer: Value = serde_json::from_str(said).map_err(|_| wrong())?;
    // Some versions wrap the only one.
    let job = answer.get("jobs").and_then(|jobs| jobs.get(0)).unwrap_or(&answer);
    let exception = &job["exception"];
    let state = match text(&job["state"]).ok_or_else(wrong)? {
        "NEW" | "DEPEND" | "PRIORITY" | "SCHED" => JobState::Pending,
        "RUN" | "CLEANUP" => JobState::Running,
        "INACTIVE" => JobState::Ended {
            how: [
                text(&job["result"]),
                text(&exception["type"]),
                text(&exception["note"]),
            ]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": "),
        },
        _ => return Err(wrong()),
    };
    let pending = state == JobState::Pending;
    let nodes = match text(&job["nodelist"]).filter(|_| !pending) {
        Some(list) => hosts::expand(list).ok_or_else(wrong)?,
        None => Vec::new(),
    };
    let scheduler = &job["annotations"]["sched"];
    let reason = match text(&scheduler["reason_pending"]) {
        Some(reason) => reason.to_owned(),
        None if job["dependencies"].as_array().is_some_and(|all| !all.is_empty()) => {
            "other jobs come before it".to_owned()
        }
        None => String::new(),
    };
    let wait = seconds(&scheduler["t_estimate"]).map(|at| at.saturating_sub(now));
    Ok(Job {
        reason: if pending { reason } else { String::new() },
        start: wait
            .filter(|_| pending)
            .map(|wait| format!("in {} min", wait.as_secs().div_ceil(60))),
        left: seconds(&job["expiration"])
            .filter(|_| state == JobState::Running)
            .map(|end| end.saturating_sub(now)),
        state,
        nodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_795_478_138);

    #[test]
    fn a_running_job_says_where_and_how_long() {
        let said = r#"{"id":1,"state":"RUN","nodelist":"n[1-2,7]","expiration":1795478238.0,"t_run":1795478038.5,
            "annotations":{},"exception":{"occurred":false}}"#;
        let job = read(said, NOW).unwrap();
        assert_eq!(job.state, JobState::Running);
        assert_eq!(job.nodes, ["n1", "n2", "n7"]);
        assert_eq!(job.left, Some(Duration::from_secs(100)));
        assert_eq!(read(&format!("{{\"jobs\":[{said}]}}"), NOW).unwrap(), job);
        assert_eq!(
            read(&said.replace("1795478238.0", "0.0"), NOW).unwrap().left,
            None,
            "no limit"
        );
    }

    #[test]
    fn a_waiting_job_says_why_and_when() {
        let job = read(
            r#"{"state":"SCHED","annotations":{"sched":{"t_estimate":1795478258.0,"reason_pending":"no cores"}}}"#,
            NOW,
        )
        .unwrap();
        assert_eq!(job.state, JobState::Pending);
        assert_eq!(
            (job.reason.as_str(), job.start.as_deref()),
            ("no cores", Some("in 2 min"))
        );
        let job = read(r#"{"state":"DEPEND","dependencies":["after-start:f1"]}"#, NOW).unwrap();
        assert_eq!(
            (job.reason.as_str(), job.start),
            ("other jobs come before it", None)
        );
    }

    #[test]
    fn an_ended_job_says_how() {
        let said = r#"{"state":"INACTIVE","result":"CANCELED","nodelist":"n1","expiration":1795478238.0,
            "exception":{"occurred":true,"severity":0,"type":"cancel","note":"enough"}}"#;
        let job = read(said, NOW).unwrap();
        let how = "CANCELED: cancel: enough".to_owned();
        assert_eq!((job.state, job.left), (JobState::Ended { how }, None));
        for wrong in [
            "",
            "{}",
            "flux-jobs: ERROR",
            r#"{"state":"WONDERING"}"#,
            r#"{"state":"RUN","nodelist":"n["}"#,
        ] {
            assert!(read(wrong, NOW).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_are_plain_words() {
        assert_eq!(plain("ƒM7Zq9AKHno"), "fM7Zq9AKHno");
        let of = |known: &'static [(&'static str, &'static str)]| {
            own_job(&move |name: &str| {
                let found = known.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let uri = ("FLUX_URI", "local:///tmp/flux-x/local-0");
        assert_eq!(
            of(Box::leak(Box::new([uri, (ENCLOSING, "ƒab")]))),
            Some("fab".to_owned())
        );
        assert_eq!(of(&[(ENCLOSING, "ƒab")]), None, "what it left behind is no job");
        assert_eq!(
            of(Box::leak(Box::new([uri]))),
            None,
            "the machine's own instance is no job"
        );
    }

    #[test]
    fn nodes_are_reached_by_rank() {
        let all = ["n1", "n2", "n3"].map(str::to_owned);
        assert_eq!(ranks(&all, &["n3".to_owned(), "n1".to_owned()]), "0,2");
        let up = up_of("n[1-2]\n\nn7\n").unwrap();
        assert_eq!(up.into_iter().collect::<Vec<_>>(), ["n1", "n2", "n7"]);
        assert_eq!(up_of("n[1"), None);
    }

    #[test]
    fn time_limits_are_seconds() {
        assert_eq!(Flux.time_limit(Duration::from_hours(2)), "7200s");
    }
}
