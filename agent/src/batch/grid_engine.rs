//! Grid Engine, by its commands: qsub, qstat, qhost, qdel, qrsh.
//!
//! It is read in XML (`qstat -xml -j`, `qstat -xml -g t`, `qhost -xml`). Three things differ from other systems: a job has slots, not
//! nodes, and a parallel environment of the site says how they lie; a job that has ended is forgotten at once; and nobody says how
//! long a job has, so that it is reckoned from its start and its `h_rt`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::time::Duration;

use roxmltree::{Document, Node};

use super::command;
use super::said::{environment, not_understood, now};
use super::script::Request;
use super::{Allocation, BatchError, BatchSystem, Holds, Job, JobPart, JobState, Kind, Launch, Share};

const SYSTEM: &str = "sge";
/// What `qstat` says in the place of a state that has gone wrong.
const IN_ERROR: u64 = 0x8000;

/// Grid Engine: Sun's, Univa's, Son of, Open Cluster Scheduler.
#[derive(Clone, Copy, Debug)]
pub struct GridEngine;

impl BatchSystem for GridEngine {
    fn kind(&self) -> Kind {
        Kind::GridEngine
    }

    fn answers(&self) -> Result<String, BatchError> {
        let hosts = hosts()?;
        let well = hosts.values().filter(|answers| **answers).count();
        Ok(format!("{well} of {} hosts answer", hosts.len()))
    }

    fn needs_also(&self, request: &Request<'_>) -> Option<&'static str> {
        let several = request.nodes > 1 || request.cores.is_some_and(|cores| cores > 1);
        if request.environment.is_some() && request.cores.is_none() {
            Some("Grid Engine counts slots: say with --cores how many each node is to have")
        } else if several && request.environment.is_none() {
            Some(
                "Grid Engine gives several slots in a parallel environment only: name one that puts --cores of them on each node with \
                 --pe (`qconf -spl` lists them)",
            )
        } else {
            None
        }
    }

    fn submit(&self, script: &Path, further: &[OsString]) -> Result<String, BatchError> {
        let mut args: Vec<OsString> = vec!["-terse".into()];
        args.extend_from_slice(further);
        args.push(script.into());
        let said = command::run(SYSTEM, "qsub", &args)?;
        // Warnings come before it.
        let id = said.lines().last().unwrap_or_default().trim();
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(not_understood("qsub", &said));
        }
        Ok(id.to_owned())
    }

    fn look(&self, job: &str) -> Result<Job, BatchError> {
        let args = ["-xml", "-j", job].map(OsString::from);
        let said = command::run(SYSTEM, "qstat", &args)?;
        let mut found = read(&said, now())?;
        if found.state == JobState::Running {
            let args = ["-xml", "-g", "t", "-s", "r", "-u", "*"].map(OsString::from);
            found.nodes = nodes(job, &command::run(SYSTEM, "qstat", &args)?)?;
        }
        Ok(found)
    }

    fn cancel(&self, job: &str) -> Result<(), BatchError> {
        command::run(SYSTEM, "qdel", &[job.into()])?;
        Ok(())
    }

    fn own_job(&self) -> Option<String> {
        own_job(&environment)
    }

    fn part(&self) -> Option<JobPart> {
        part(&environment)
    }

    fn over(&self, parts: &[JobPart]) -> Result<Vec<JobPart>, BatchError> {
        let cluster = cluster(&environment).unwrap_or_default();
        let own = parts.iter().filter(|part| part.cluster == cluster);
        let own: Vec<&JobPart> = own.collect();
        let mut ended = Vec::new();
        for group in own.chunk_by(|one, other| one.job == other.job) {
            let job = self.look(&group[0].job)?;
            // How often a job has begun anew is not told: what ran in it before counts as over once the job or the node is.
            let is_over =
                |part: &&&JobPart| job.is_over() || !job.nodes.is_empty() && !job.nodes.contains(&part.node);
            ended.extend(group.iter().filter(is_over).copied());
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
            variable: "JOB_ID",
        })?;
        let here = environment("HOSTNAME");
        let slots = match environment("PE_HOSTFILE") {
            Some(path) => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                slots(&text).ok_or(BatchError::Environment {
                    variable: "PE_HOSTFILE",
                    value: path,
                })?
            }
            None => here.iter().map(|node| (node.clone(), 1)).collect(),
        };
        Ok(Allocation {
            job,
            nodes: slots.keys().cloned().collect(),
            here: here.filter(|here| slots.contains_key(here)),
            again: environment("RESTARTED").is_some_and(|restarted| restarted != "0"),
            holds: slots
                .iter()
                .map(|(node, slots)| {
                    let cores = Some(*slots);
                    (
                        node.clone(),
                        Holds {
                            cores,
                            memory_mib: None,
                        },
                    )
                })
                .collect(),
            cores: slots,
        })
    }

    fn share(&self) -> Share {
        Share {
            node: environment("HOSTNAME"),
            ..Share::default()
        }
    }

    fn launches(&self, nodes: &[String], command: &[OsString]) -> Vec<Launch> {
        let one = |node: &String| Launch {
            nodes: vec![node.clone()],
            words: ["qrsh", "-inherit", "-V", "-nostdin", node]
                .map(OsString::from)
                .into_iter()
                .chain([for_a_shell(command)])
                .collect(),
        };
        nodes.iter().map(one).collect()
    }

    fn time_limit(&self, time: Duration) -> String {
        time.as_secs().max(1).to_string()
    }

    fn warns(&self) -> bool {
        // Its soft limit ends processes on other nodes at once (seen with 8.1.9).
        false
    }

    fn hangup_ends(&self) -> bool {
        false
    }
}

/// Other systems' jobs have no cell.
fn own_job(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    variable("SGE_CELL")?;
    variable("JOB_ID")
}

fn cluster(variable: &impl Fn(&str) -> Option<String>) -> Option<String> {
    variable("SGE_CLUSTER_NAME").or_else(|| variable("SGE_CELL"))
}

/// Where a process with these variables runs.
fn part(variable: &impl Fn(&str) -> Option<String>) -> Option<JobPart> {
    Some(JobPart {
        system: Kind::GridEngine,
        cluster: cluster(variable)?,
        job: own_job(variable)?,
        run: 0,
        node: variable("HOSTNAME")?,
        step: None,
    })
}

/// The slots on each host, as the file of a parallel environment has them: `HOST SLOTS QUEUE PROCESSORS`.
fn slots(text: &str) -> Option<BTreeMap<String, u32>> {
    let mut slots = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (host, count) = (words.next()?, words.next()?.parse::<u32>().ok()?);
        *slots.entry(host.to_owned()).or_default() += count;
    }
    (!slots.is_empty()).then_some(slots)
}

/// Words as one line, since a shell reads it on the other side.
fn for_a_shell(words: &[OsString]) -> OsString {
    let mut line = Vec::new();
    for word in words {
        if !line.is_empty() {
            line.push(b' ');
        }
        // A word cannot have a zero byte in it, which alone cannot be quoted.
        line.extend_from_slice(&shlex::bytes::try_quote(word.as_bytes()).unwrap_or_default());
    }
    OsString::from_vec(line)
}

fn parsed<'a>(command: &'static str, said: &'a str) -> Result<Document<'a>, BatchError> {
    Document::parse(said).map_err(|_| not_understood(command, said))
}

fn text_of<'a>(node: Node<'a, 'a>, name: &str) -> Option<&'a str> {
    let found = node.descendants().find(|inner| inner.has_tag_name(name))?;
    found.text().map(str::trim).filter(|text| !text.is_empty())
}

/// Reads what `qstat -xml -j` says of one job, but for its nodes.
fn read(said: &str, now: Duration) -> Result<Job, BatchError> {
    let document = parsed("qstat", said)?;
    let root = document.root_element();
    let mut job = Job {
        state: JobState::Unknown,
        reason: String::new(),
        start: None,
        left: None,
        nodes: Vec::new(),
    };
    if root.has_tag_name("unknown_jobs") {
        return Ok(job);
    }
    if text_of(root, "JB_job_number").is_none() {
        return Err(not_understood("qstat", said));
    }
    let tasks = root.descendants().find(|node| node.has_tag_name("JB_ja_tasks"));
    let number = |name| tasks.and_then(|tasks| text_of(tasks, name)?.parse::<u64>().ok());
    let in_error = number("JAT_state").is_some_and(|state| state & IN_ERROR != 0);
    let begun = number("JAT_start_time").filter(|time| *time > 0 && !in_error);
    let Some(begun) = begun else {
        job.state = JobState::Pending;
        // Why it went wrong says more than why it waits.
        let wrong = tasks.and_then(|tasks| text_of(tasks, "QIM_message"));
        let why = || {
            let messages = root.descendants().filter(|node| node.has_tag_name("MES_message"));
            messages.filter_map(|node| node.text()).next_back()
        };
        wrong
            .or_else(why)
            .unwrap_or_default()
            .trim()
            .clone_into(&mut job.reason);
        return Ok(job);
    };
    job.state = JobState::Running;
    let requests = root
        .descendants()
        .filter(|node| node.has_tag_name("qstat_l_requests"));
    let limit = requests
        .filter(|request| text_of(*request, "CE_name") == Some("h_rt"))
        .find_map(|request| text_of(request, "CE_doubleval")?.parse::<f64>().ok());
    if let Some(limit) = limit.and_then(|limit| Duration::try_from_secs_f64(limit).ok()) {
        // Some versions tell milliseconds.
        let begun = if begun > 100_000_000_000 {
            begun / 1_000
        } else {
            begun
        };
        job.left = Some((Duration::from_secs(begun) + limit).saturating_sub(now));
    }
    Ok(job)
}

/// The hosts of a job in what `qstat -xml -g t` says, which has a line for each slot.
fn nodes(job: &str, said: &str) -> Result<Vec<String>, BatchError> {
    let document = parsed("qstat", said)?;
    let lines = document
        .descendants()
        .filter(|node| node.has_tag_name("job_list"));
    let own = lines.filter(|line| text_of(*line, "JB_job_number") == Some(job));
    let hosts = own.filter_map(|line| text_of(line, "queue_name")?.split_once('@'));
    let hosts: BTreeSet<String> = hosts.map(|(_, host)| host.to_owned()).collect();
    Ok(hosts.into_iter().collect())
}

/// The hosts, and whether each has been heard of.
fn hosts() -> Result<BTreeMap<String, bool>, BatchError> {
    read_hosts(&command::run(SYSTEM, "qhost", &["-xml".into()])?)
}

fn read_hosts(said: &str) -> Result<BTreeMap<String, bool>, BatchError> {
    let document = parsed("qhost", said)?;
    let hosts = document.descendants().filter(|node| node.has_tag_name("host"));
    let one = |host: Node<'_, '_>| {
        let name = host.attribute("name").filter(|name| *name != "global")?;
        let mut values = host.children();
        let load = values.find(|value| value.attribute("name") == Some("load_avg"))?;
        Some((name.to_owned(), load.text() != Some("-")))
    };
    Ok(hosts.filter_map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Shortened from what 8.1.9 said.
    const RUNS: &str = "<?xml version='1.0'?>
        <detailed_job_info xmlns:xsd=\"http://example.org\"><djob_info><element><JB_job_number>3</JB_job_number>
        <JB_hard_resource_list><qstat_l_requests><CE_name>h_rt</CE_name><CE_stringval>600</CE_stringval>
        <CE_doubleval>600.000000</CE_doubleval></qstat_l_requests></JB_hard_resource_list>
        <JB_ja_tasks><ulong_sublist><JAT_status>128</JAT_status><JAT_start_time>1795478138</JAT_start_time>
        </ulong_sublist></JB_ja_tasks></element></djob_info></detailed_job_info>";
    const WAITS: &str = "<?xml version='1.0'?><detailed_job_info><djob_info><element><JB_job_number>4</JB_job_number>
        </element></djob_info><messages><element><SME_global_message_list>
        <element><MES_message>queue instance &quot;batch.q@n2&quot; dropped because it is full</MES_message></element>
        <element><MES_message>All queues dropped because of overload or full</MES_message></element>
        </SME_global_message_list></element></messages></detailed_job_info>";

    #[test]
    fn a_job_says_where_it_is_in_its_life() {
        let job = read(RUNS, Duration::from_secs(1_795_478_238)).unwrap();
        assert_eq!(job.state, JobState::Running);
        assert_eq!(job.left, Some(Duration::from_secs(500)));
        let job = read(RUNS, Duration::from_secs(1_795_479_000)).unwrap();
        assert_eq!(job.left, Some(Duration::ZERO), "its time is over");
        let job = read(WAITS, now()).unwrap();
        assert_eq!(job.state, JobState::Pending);
        assert_eq!(job.reason, "All queues dropped because of overload or full");
        let unknown = "<?xml version='1.0'?>\n<unknown_jobs >\n<ST_name>1</ST_name>\n</unknown_jobs>";
        assert!(read(unknown, now()).unwrap().is_over());
        for wrong in ["", "job 4", "<a/>"] {
            assert!(read(wrong, now()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_jobs_hosts_are_those_of_its_slots() {
        let line = |job: u32, host: &str| {
            format!(
                "<job_list state=\"running\"><JB_job_number>{job}</JB_job_number><queue_name>b.q@{host}</queue_name></job_list>"
            )
        };
        let lines = [line(3, "n2"), line(3, "n1"), line(3, "n2"), line(4, "n5")].concat();
        let said = format!("<job_info><queue_info>{lines}</queue_info></job_info>");
        assert_eq!(nodes("3", &said).unwrap(), ["n1", "n2"]);
        assert!(nodes("9", &said).unwrap().is_empty());
    }

    #[test]
    fn a_host_without_a_load_has_not_been_heard_of() {
        let host = |name: &str, load: &str| {
            format!("<host name='{name}'><hostvalue name='load_avg'>{load}</hostvalue></host>")
        };
        let all = [host("global", "-"), host("n1", "0.02"), host("n2", "-")].concat();
        let hosts = read_hosts(&format!("<qhost>{all}</qhost>")).unwrap();
        assert_eq!(
            hosts.into_iter().collect::<Vec<_>>(),
            [("n1".to_owned(), true), ("n2".to_owned(), false)]
        );
    }

    #[test]
    fn slots_are_added_up_for_each_host() {
        let text = "n2 4 batch.q@n2 UNDEFINED\nn1 4 batch.q@n1 UNDEFINED\nn1 2 long.q@n1 UNDEFINED\n";
        let slots = slots(text).unwrap();
        assert_eq!(
            slots.into_iter().collect::<Vec<_>>(),
            [("n1".to_owned(), 6), ("n2".to_owned(), 4)]
        );
        for wrong in ["", "n1", "n1 many"] {
            assert_eq!(super::slots(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_node_has_a_launch_of_its_own_whose_words_a_shell_reads() {
        let command = ["/opt/a b/scalems", "worker", "--name", "it's"].map(OsString::from);
        let launches = GridEngine.launches(&["n1".into(), "n2".into()], &command);
        let nodes: Vec<&str> = launches.iter().map(|launch| launch.nodes[0].as_str()).collect();
        assert_eq!(nodes, ["n1", "n2"]);
        let last = launches[1].words.last().unwrap().to_str().unwrap();
        assert_eq!(
            shlex::split(last).unwrap(),
            ["/opt/a b/scalems", "worker", "--name", "it's"]
        );
    }

    #[test]
    fn a_part_is_a_host_of_a_job_of_a_cell() {
        let all = [("SGE_CELL", "default"), ("JOB_ID", "12"), ("HOSTNAME", "n1")];
        let of = |known: &'static [(&'static str, &'static str)]| {
            part(&move |name: &str| {
                let found = known.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let all: &'static [_] = Box::leak(Box::new(all));
        assert_eq!(of(all).unwrap().to_string(), "sge:default:12:0:n1");
        assert_eq!(of(&all[1..]), None, "a job of another system");
    }
}
