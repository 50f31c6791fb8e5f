//! `scalems pilot submit --agent here`: the agent on this host, which serves one job after another.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use scalems_agent::batch::interface;
use scalems_client::Session;
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use scalems_transport::connection_file::Writer;

use crate::args::PilotSubmitArgs;
use crate::commands::pilot::start::own_program;
use crate::on_event::OnEvent;

/// An agent that runs answers within this.
const ANSWERS: Duration = Duration::from_secs(10);

/// The agent that the job's workers are for.
pub(super) struct Agent {
    pub(super) session: Session,
    /// The number of the worker that joined last before the job.
    pub(super) last: u64,
    /// Whether it was started for this job.
    started: bool,
}

/// Whether an agent of this pilot may run: then what its journal has is its own affair.
pub(super) fn may_run(directory: &Path) -> bool {
    let file = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Client)));
    file.is_ok_and(|file| file.writer(&scalems_agent::host_name()) != Writer::Gone)
}

impl Agent {
    /// The one that runs, or a new one on this host, behind.
    pub(super) fn find(
        args: &PilotSubmitArgs,
        interface: Option<&str>,
        name: &str,
        directory: &Path,
        of_site: &[OnEvent],
    ) -> anyhow::Result<Self> {
        let connect = || {
            let options = Session::options().name("submit").shared();
            options.connect_timeout(ANSWERS).connect(directory)
        };
        let running = may_run(directory).then(connect).and_then(Result::ok);
        let started = running.is_none();
        let session = if let Some(session) = running {
            session
        } else {
            start(args, interface, name, directory, of_site)?;
            connect()?
        };
        let worker = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Worker)))?;
        anyhow::ensure!(
            worker.requests.tcp.is_some(),
            "the agent of pilot {name} listens on socket files only, which nodes do not reach: stop it, and submit again"
        );
        let last = session.ask_workers()?.iter().map(|row| row.worker).max();
        Ok(Self {
            session,
            last: last.unwrap_or_default(),
            started,
        })
    }

    /// Without a job there is nothing for it to do, if it was not there before.
    pub(super) fn give_up(&self) {
        if self.started
            && let Err(error) = self.session.stop(None, Duration::ZERO)
        {
            tracing::warn!("the agent that was started for the job stays: {error}");
        }
    }
}

fn start(
    args: &PilotSubmitArgs,
    interface: Option<&str>,
    name: &str,
    directory: &Path,
    of_site: &[OnEvent],
) -> anyhow::Result<()> {
    let mut command = Command::new(own_program()?);
    command.args([
        "pilot",
        "start",
        "--detach",
        "--restart",
        "--no-workers",
        "--starts-elsewhere",
    ]);
    command.args(["--name", name, "--dir"]).arg(directory);
    command.arg(format!("--tcp={}", interface::address(interface)?));
    if args.ends_with_job {
        command.arg("--ends-with-job");
    }
    command.args(args.agent.words());
    command.args(of_site.iter().map(|own| format!("--on-event={}", own.text())));
    command.args(args.each.log.words());
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let status = status.context("start the agent")?;
    anyhow::ensure!(
        status.success(),
        "the agent of pilot {name} cannot be started here, and no job was submitted"
    );
    Ok(())
}
