//! `scalems pilot submit`: a pilot as a job of a batch system.

mod here;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_agent::batch::script::{self, Request};
use scalems_agent::batch::site::Site;
use scalems_agent::batch::{BatchSystem, Kind, Submitted};
use scalems_client::locate;
use scalems_transport::{ConnectionFile, PrivateDir};

use super::jobs::{AgentsLife, Queued, Waited, said};
use super::place;
use super::start::{DEFAULT_NAME, own_program};
use crate::Context;
use crate::args::{Output, PilotSubmitArgs, Place};
use crate::commands::filter::FilterFile;
use crate::exit::{Exit, Misuse};
use crate::on_event::OnEvent;
use crate::print;

/// A job has so long before it is told that its time is nearly over, at least. Batch systems look at times every half minute.
const LEAST: Duration = Duration::from_secs(30);

pub(crate) fn run(context: &Context, args: &PilotSubmitArgs) -> anyhow::Result<Exit> {
    let name = args.name.as_deref().or(context.pilot.as_deref());
    let name = name.unwrap_or(DEFAULT_NAME);
    scalems_agent::pilot::check_name(name)?;
    let site = site(args)?;
    let of_site = site.directory(name).map_err(|error| Misuse(error.to_string()));
    let directory = match args.dir.clone().map_or(of_site, |dir| Ok(Some(dir)))? {
        Some(dir) => std::path::absolute(dir)?,
        None => locate::pilot_directory(name)?,
    };
    if args.time < args.warning + LEAST {
        return Err(Misuse(format!(
            "--time has to be at least {LEAST:?} more than --warning ({:?}): else the job would be told to end as it begins",
            args.warning
        ))
        .into());
    }
    if args
        .agent
        .journal
        .as_deref()
        .is_some_and(|path| path.as_os_str() == "none")
    {
        return Err(
            Misuse("a pilot that is submitted has a journal: leave out --journal none".to_owned()).into(),
        );
    }
    let of_site = site_commands(&site)?;
    for command in of_site.iter().chain(&args.agent.on_event) {
        command.check().map_err(Misuse)?;
    }
    let here = args.place == Place::Here;
    if args.ends_with_job && !here {
        return Err(Misuse(
            "--ends-with-job is for --agent here: an agent in the job ends with it anyway".to_owned(),
        )
        .into());
    }
    let kind = args.batch.map(Kind::from).or(site.batch);
    let kind = kind.map_or_else(found, Ok)?;
    let system = kind.system();
    let script = script_of(args, &site, &*system, name, &directory)?;
    if args.dry_run {
        print::out(&script)?;
        return Ok(Exit::Well);
    }
    let goes_on = here && here::may_run(&directory);
    if !(args.agent.resume || args.agent.fresh || goes_on) && args.agent.journal.is_none() {
        // Else the job would find it out, hours later.
        scalems_agent::pilot::check_finished(name, &directory)?;
    }
    let directory = PrivateDir::ensure(&directory).with_context(|| {
        format!("pilot {name} needs a directory that can be written to here and on all nodes, and --dir names another one")
    })?;
    let directory = directory.path().to_owned();
    if let Some(earlier) = Queued::read(name, &directory)? {
        let (id, job) = (&earlier.submitted.job, earlier.look()?);
        let over = job.is_over();
        if !over && args.agent.resume && earlier.has_lost_its_agent(&job) {
            eprintln!("scalems: job {id} has lost the node of its agent: what it still has is given back");
            earlier.cancel()?;
        } else {
            anyhow::ensure!(
                over,
                "pilot {name} is job {id} already, which {}: `scalems pilot stop --pilot {name}` ends it",
                said(&job)
            );
        }
    }
    let named = locate::pilot_directory(name)?;
    if named != directory
        && let Some(other) = Queued::read(name, &named)?
    {
        let job = other.look()?;
        anyhow::ensure!(
            job.is_over(),
            "pilot {name} is job {} in {} already, which {}: choose another name, or end that one",
            other.submitted.job,
            named.display(),
            said(&job)
        );
    }
    let before = AgentsLife::read(&directory);
    let interface = args.interface.as_deref().or(site.interface.as_deref());
    let find = || here::Agent::find(args, interface, name, &directory, &of_site);
    let agent = here.then(find).transpose()?;
    let path = directory.join("job.sh");
    std::fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
    let further: Vec<OsString> = site.options.iter().map(OsString::from).collect();
    let job = system.submit(&path, &[further, args.further.clone()].concat());
    let job = job.inspect_err(|_| agent.iter().for_each(here::Agent::give_up))?;
    let submitted = Submitted {
        system: kind,
        job,
        script: path,
        log: log(&directory),
        only_workers: here,
    };
    submitted.write(&directory).with_context(|| {
        format!(
            "job {} is queued, and that cannot be noted in {}",
            submitted.job,
            directory.display()
        )
    })?;
    if let Err(error) = place::link(name, &directory) {
        eprintln!(
            "scalems: other commands find pilot {name} by SCALEMS_CONNECTION={} only: {}",
            directory.display(),
            print::error(&error)
        );
    }
    if args.no_wait {
        tell(context, name, &directory, &submitted, None)?;
        return Ok(Exit::Well);
    }
    let until = args.timeout.map(|time| Instant::now() + time);
    let queued = Queued::new(name, &directory, submitted);
    let waited = match &agent {
        Some(agent) => queued.until_joined(&agent.session, agent.last, until)?,
        None => queued.until_served(before.as_ref(), until)?,
    };
    Ok(match waited {
        Waited::Serves(file) => {
            tell(context, name, &directory, &queued.submitted, Some(&file))?;
            Exit::Well
        }
        Waited::TimedOut => Exit::TimedOut,
        Waited::Interrupted => Exit::Interrupted,
    })
}

/// What the site says, if one is named: the user's own files go before the system's, and those before what comes with us.
fn site(args: &PilotSubmitArgs) -> anyhow::Result<Site> {
    let Some(name) = args.site.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(Site::default());
    };
    let directories = [locate::home()?.join("sites"), PathBuf::from("/etc/scalems/sites")];
    Site::find(name, &directories).map_err(|error| Misuse(error.to_string()).into())
}

/// The commands that the site wants run when something happens to a pilot.
fn site_commands(site: &Site) -> anyhow::Result<Vec<OnEvent>> {
    let commands = site.on_event.iter().map(|text| OnEvent::read(text));
    let commands: Result<_, _> = commands.collect();
    commands.map_err(|error| Misuse(format!("on_event of the site: {error}")).into())
}

/// The batch system whose commands are here.
fn found() -> anyhow::Result<Kind> {
    Kind::here().ok_or_else(|| {
        let looked: Vec<&str> = Kind::ALL.iter().map(|kind| kind.sign()).collect();
        let looked = looked.join(", ");
        Misuse(format!(
            "no batch system is found here (looked for {looked}): run this on a login node, or name it with --batch"
        ))
        .into()
    })
}

fn log(directory: &Path) -> PathBuf {
    directory.join("job.log")
}

fn script_of(
    args: &PilotSubmitArgs,
    site: &Site,
    system: &dyn BatchSystem,
    name: &str,
    directory: &Path,
) -> anyhow::Result<String> {
    let template = match args.template.as_ref().or(site.template.as_ref()) {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("read the template {}", path.display()))?
        }
        None => script::template(system.kind()).to_owned(),
    };
    let text = |path: &Path| {
        let text = path.to_str().map(str::to_owned);
        text.with_context(|| format!("{} is no text, as a job script must be", path.display()))
    };
    let mut command = vec![
        text(&own_program()?)?,
        "pilot".to_owned(),
        "start".to_owned(),
        format!("--batch={}", system.kind().name()),
        "--name".to_owned(),
        name.to_owned(),
        "--dir".to_owned(),
        text(directory)?,
        "--warning".to_owned(),
        format!("{}ms", args.warning.as_millis()),
    ];
    if let Some(gpus) = args.gpus {
        command.extend(["--gpus".to_owned(), gpus.to_string()]);
    }
    for (name, amount) in &args.resource {
        command.extend(["--resource".to_owned(), format!("{name}={amount}")]);
    }
    // What is wrong with a filter is told here and not in the job.
    FilterFile::read_all(&args.agent.filter)?;
    for word in args.each.words()? {
        command.push(text(Path::new(&word))?);
    }
    if args.place == Place::Here {
        command.push("--only-workers".to_owned());
    } else {
        if let Some(interface) = args.interface.as_ref().or(site.interface.as_ref()) {
            command.extend(["--interface".to_owned(), interface.clone()]);
        }
        command.extend(args.agent.words());
        let of_site = site_commands(site)?;
        command.extend(of_site.iter().map(|own| format!("--on-event={}", own.text())));
    }
    let time = system.time_limit(args.time);
    let request = Request {
        name,
        nodes: args.nodes,
        cores: args.cores,
        gpus: args.gpus,
        memory_mib: args.memory,
        time: &time,
        warning_s: args.warning.as_secs(),
        partition: args.partition.as_deref().or(site.partition.as_deref()),
        environment: args
            .environment
            .as_deref()
            .or(site.parallel_environment.as_deref()),
        log: &log(directory),
        setup: &[site.setup.clone(), args.setup.clone()].concat(),
        command: &command,
    };
    if let Some(also) = system.needs_also(&request) {
        return Err(Misuse(also.to_owned()).into());
    }
    Ok(script::write(&template, &request)?)
}

fn tell(
    context: &Context,
    name: &str,
    directory: &Path,
    submitted: &Submitted,
    file: Option<&ConnectionFile>,
) -> anyhow::Result<()> {
    let job = &submitted.job;
    match context.output {
        Output::Human => {
            let waits = format!("`scalems pilot wait --pilot {name}` waits for");
            let what = match (file, submitted.only_workers) {
                (Some(file), false) => format!("pilot {name} serves on {} as job {job}", file.host),
                (Some(file), true) => {
                    format!("pilot {name} serves on {}, with workers of job {job}", file.host)
                }
                (None, false) => format!("pilot {name} is queued as job {job}; {waits} it"),
                (None, true) => {
                    format!("pilot {name} serves, and job {job} is queued for its workers; {waits} them")
                }
            };
            print::out(&format!("{what}; its log is {}\n", submitted.log.display()))
        }
        Output::Quiet => print::out(&format!("{job}\n")),
        Output::Json | Output::Jsonl => {
            let mut said = serde_json::json!({
                "pilot": name,
                "directory": directory,
                "job": job,
                "script": submitted.script,
                "log": submitted.log,
            });
            if let Some(file) = file {
                said["host"] = file.host.as_str().into();
            }
            print::out(&format!("{said}\n"))
        }
    }
}
