//! `scalems connect`: a pilot of another machine, as if it were here.

mod far;
mod near;

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_client::{Session, locate};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};

use self::far::Far;
use self::near::{Near, Ports};
use super::pilot::start::{own_program, own_words};
use crate::Context;
use crate::args::{ConnectArgs, Output};
use crate::exit::Exit;
use crate::print;
use crate::ssh::Master;

/// How often it is looked whether the agent listens elsewhere: it was started again, or the pilot goes on in another job.
const LOOK: Duration = Duration::from_secs(3);
/// How long a look may take.
const ANSWER: Duration = Duration::from_secs(30);
/// So often in a row the pilot's file is not there before the pilot has ended.
const MISSED: u32 = 2;
/// Ctrl-C reaches ssh as well, which may be faster.
const BREATH: Duration = Duration::from_millis(200);

pub(crate) fn run(context: &Context, args: &ConnectArgs) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if args.detach {
        runtime.block_on(behind(context, args))
    } else {
        runtime.block_on(in_front(context, args))
    }
}

async fn in_front(context: &Context, args: &ConnectArgs) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let until = Instant::now() + args.timeout;
    let asked_to = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                // Behind there is no terminal whose end would mean anything.
                _ = hangup.recv() => if !args.behind { return },
            }
        }
    };
    tokio::pin!(asked_to);
    let mut tunnel = tokio::select! {
        biased;
        () = &mut asked_to => return Ok(Exit::Interrupted),
        tunnel = Tunnel::open(context, args, until) => tunnel?,
    };
    tell(context, args, &tunnel);
    let ended = tokio::select! {
        biased;
        () = &mut asked_to => Ok(()),
        ended = tunnel.keep() => ended,
    };
    let ended = match ended {
        Err(error) if tokio::time::timeout(BREATH, &mut asked_to).await.is_err() => Err(error),
        _ => Ok(Exit::Well),
    };
    tunnel.master.end().await;
    ended
}

/// A pilot that is there, as it looks from here.
struct Tunnel {
    master: Master,
    far: Far,
    near: Near,
}

impl Tunnel {
    async fn open(context: &Context, args: &ConnectArgs, until: Instant) -> anyhow::Result<Self> {
        let left = || until.saturating_duration_since(Instant::now());
        let master = Master::connect(&args.host, &args.further, !args.behind, left()).await?;
        let far = Far::find(&master, args.dir.as_deref(), context.pilot.as_deref(), left()).await?;
        let name = args.name.clone().unwrap_or_else(|| far.client.pilot.clone());
        scalems_agent::pilot::check_name(&name)?;
        let directory = near::place(&name)?;
        let ports = Ports::open(&master, &far, left()).await?;
        let near = Near::write(&directory, &far, ports)?;
        let tunnel = Self { master, far, near };
        tunnel.check(left()).await?;
        Ok(tunnel)
    }

    /// Whether the pilot answers.
    async fn check(&self, within: Duration) -> anyhow::Result<()> {
        let directory = self.near.directory().to_owned();
        let ask = move || {
            let options = Session::options().name("connect").shared();
            options.connect_timeout(within).connect(directory)?.ask_status()
        };
        let (name, place) = (&self.far.client.pilot, &self.far.directory);
        tokio::task::spawn_blocking(ask).await?.with_context(|| {
            format!("pilot {name} does not answer through the tunnel: does it still run? Its directory there is {place}")
        })?;
        Ok(())
    }

    /// Looks after it until the pilot has ended, or the connection has.
    async fn keep(&mut self) -> anyhow::Result<()> {
        let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            tokio::select! {
                error = self.master.ended() => return Err(error),
                _ = look.tick() => {}
            }
            let name = self.far.client.pilot.clone();
            match self.far.again(&self.master, ANSWER).await {
                Ok(None) => {
                    missed += 1;
                    if missed >= MISSED {
                        eprintln!("scalems: pilot {name} has ended");
                        return Ok(());
                    }
                }
                Ok(Some(found)) => {
                    missed = 0;
                    if let Err(error) = self.follow(found).await {
                        eprintln!("scalems: {}", print::error(&error));
                    }
                }
                // The connection's own end is said by itself.
                Err(error) => tracing::warn!("cannot look after pilot {name}: {error:#}"),
            }
        }
    }

    /// Leads to where the agent is now, by the same ports here.
    async fn follow(&mut self, found: Far) -> anyhow::Result<()> {
        if found.is_at(&self.far) {
            return Ok(());
        }
        self.near
            .ports
            .lead(&self.master, &self.far, &found, ANSWER)
            .await?;
        self.near.rewrite(&found)?;
        if found.addresses()? != self.far.addresses()? {
            let (name, host) = (&found.client.pilot, &found.client.host);
            eprintln!(
                "scalems: the agent of pilot {name} was started again on {host}: the tunnel leads there now"
            );
        }
        self.far = found;
        Ok(())
    }
}

fn tell(context: &Context, args: &ConnectArgs, tunnel: &Tunnel) {
    let name = tunnel.near.name();
    let (host, directory) = (&args.host, tunnel.near.directory());
    let text = match context.output {
        Output::Human => format!(
            "pilot {name} on {host} is reached; its directory here is {}\n\
             submit with: scalems submit --pilot {name} --wait -- echo hello\n\
             end the tunnel with Ctrl-C; the pilot goes on\n",
            directory.display()
        ),
        Output::Quiet => format!("{name}\n"),
        Output::Json | Output::Jsonl => format!(
            "{}\n",
            serde_json::json!({
                "pilot": name, "host": host, "directory": directory, "pid": std::process::id()
            })
        ),
    };
    let mut out = std::io::stdout();
    // Whoever wanted to read it may be gone; the tunnel is there all the same.
    let _said = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Starts the same command without `--detach`, and waits until it says that the pilot is reached.
async fn behind(context: &Context, args: &ConnectArgs) -> anyhow::Result<Exit> {
    let home = locate::home()?;
    std::fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    let log = home.join(format!("connect-{}.log", args.host));
    let file = std::fs::File::create(&log).with_context(|| format!("open {}", log.display()))?;
    let words = own_words(&[("--detach", false), ("--output", true)]);
    let mut child = tokio::process::Command::new(own_program()?)
        .args(["--output", "jsonl"])
        .args(near::before_dashes(words, "--behind"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        // What ends the command's own process group does not end it.
        .process_group(0)
        .spawn()
        .context("start the tunnel")?;
    let out = child.stdout.take().context("its output is piped")?;
    let mut line = String::new();
    let mut lines = BufReader::new(out);
    tokio::select! {
        // It has a time of its own.
        read = lines.read_line(&mut line) => drop(read?),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            // It removes what it has written.
            if let Some(pid) = child.id() {
                let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
            }
            child.wait().await?;
            return Ok(Exit::Interrupted);
        }
    }
    let Ok(said) = serde_json::from_str::<serde_json::Value>(&line) else {
        let status = child.wait().await?;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let text = text.trim().trim_start_matches("scalems: ");
        anyhow::bail!(
            "{}",
            if text.is_empty() {
                format!("the tunnel ended at once ({status})")
            } else {
                text.to_owned()
            }
        );
    };
    match context.output {
        Output::Json | Output::Jsonl => print::out(&line)?,
        Output::Quiet => print::out(&format!("{}\n", said["pilot"].as_str().unwrap_or_default()))?,
        Output::Human => print::out(&format!(
            "pilot {} on {} is reached; the tunnel runs behind, as process {pid}: `kill {pid}` ends it; log: {}\n",
            said["pilot"].as_str().unwrap_or_default(),
            args.host,
            log.display(),
            pid = said["pid"],
        ))?,
    }
    Ok(Exit::Well)
}
