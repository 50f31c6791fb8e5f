//! How to connect.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scalems_protocol::client::SessionKind;
use scalems_transport::{TransportError, Waker};

use crate::carrier::Carrier;
use crate::driver::Driver;
use crate::error::ClientError;
use crate::helm::Helm;
use crate::locate::{self, LocateError, Located};
use crate::machine::{Config, SessionEnd};
use crate::session::Session;
use crate::shared::Shared;

/// How long an answer may take unless said.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an acknowledgement may wait for something to go with: the agent keeps what is not acknowledged.
const PATIENCE_US: u64 = 5_000;

/// How to connect, before it is done. Made by [`Session::options`].
///
/// ```no_run
/// use std::time::Duration;
/// use scalems_client::Session;
///
/// let session = Session::options()
///     .name("docking")
///     .takeover(true)
///     .connect_timeout(Duration::from_secs(30))
///     .connect("/home/me/.scalems/pilots/night/client.json")?;
/// # Ok::<(), scalems_client::ClientError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected yet"]
pub struct SessionOptions {
    config: Config,
    answer_timeout: Duration,
}

impl SessionOptions {
    pub(crate) fn new() -> Self {
        Self {
            config: Config {
                patience_us: PATIENCE_US,
                ..Config::default()
            },
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// The session's name. By it another process can come back to the session's tasks and results once this
    /// one is gone. Without a name the session ends with this process, and its tasks are canceled.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.session = name.into();
        self
    }

    /// Any number of processes are in the session at once, as the shells of one user are; the agent keeps
    /// their requests apart. Otherwise a session has one.
    pub fn shared(mut self) -> Self {
        self.config.kind = SessionKind::Shared;
        self
    }

    /// Ends another process's attachment to the session, if there is one.
    pub fn takeover(mut self, takeover: bool) -> Self {
        self.config.takeover = takeover;
        self
    }

    /// Software and version, for people.
    pub fn software(mut self, software: impl Into<String>) -> Self {
        self.config.software = software.into();
        self
    }

    /// The agent cancels the session's tasks when nobody was attached for so long.
    pub fn cancel_after(mut self, away: Duration) -> Self {
        self.config.cancel_after_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX).max(1);
        self
    }

    /// How long connecting may take; 10 s unless said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_us = micros(timeout);
        self
    }

    /// How long the agent may be away before everything unfinished fails; 10 min unless said.
    pub fn give_up_after(mut self, away: Duration) -> Self {
        self.config.give_up_us = micros(away);
        self
    }

    /// How long the agent may take for an answer to what is asked of it; 30 s unless said. Waiting for tasks
    /// does not count.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// At most so many tasks and bytes are unfinished at the agent; the rest waits in this process. The agent
    /// may allow less.
    pub fn window(mut self, tasks: u64, bytes: u64) -> Self {
        (self.config.window_tasks, self.config.window_bytes) = (tasks, bytes);
        self
    }

    /// At most so many bytes of tasks wait in this process; over it submitting fails.
    pub fn backlog(mut self, bytes: u64) -> Self {
        self.config.backlog_bytes = bytes;
        self
    }

    /// Connects by a connection file, or by the directory that has `client.json`.
    pub fn connect(self, path: impl AsRef<Path>) -> Result<Session, ClientError> {
        self.connect_located(Located::read(path.as_ref())?)
    }

    /// Connects to the pilot called `name`, or, without a name, to the only one that runs.
    pub fn find(self, name: Option<&str>) -> Result<Session, ClientError> {
        self.connect_located(locate::find(name)?)
    }

    /// Connects to a pilot that was found.
    pub fn connect_located(mut self, pilot: Located) -> Result<Session, ClientError> {
        pilot.check_alive()?;
        let here = pilot.file.host == locate::host_name();
        let endpoints = pilot
            .file
            .requests
            .nearest(here)
            .zip(pilot.file.stream.nearest(here));
        let endpoints = endpoints.ok_or_else(|| LocateError::OtherHost {
            pilot: pilot.file.pilot.clone(),
            host: pilot.file.host.clone(),
            file: pilot.path.clone(),
        })?;
        self.config.pilot = Some(pilot.file.pilot_id);
        let (waker, wake) = Waker::pair()?;
        let shared = Shared::with_sockets(self.config.backlog_bytes);
        let began = Instant::now();
        let carrier = Carrier::new(Arc::clone(&shared), self.config, 0);
        let driver = Driver::new(carrier, &pilot, endpoints, wake, began)?;
        shared.set_helm(Helm::new(driver, waker));
        let helmsman = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("scalems-session".into())
            .spawn(move || helmsman.helm().into_iter().for_each(|helm| helm.run(&helmsman)));
        let thread = thread.map_err(|source| TransportError::Start {
            what: "the thread of a session",
            source,
        })?;
        let session = Session::new(
            shared,
            Some(thread),
            self.answer_timeout,
            Some(pilot.path.clone()),
        );
        let let_in = || {
            let over = session.shared().over().map(Err);
            over.or_else(|| session.shared().attached().map(|_| Ok(())))
        };
        // The machine has the deadline, so this has an end.
        match session.shared().wait(None, "a welcome", let_in)? {
            Ok(()) => Ok(session),
            Err(SessionEnd::Unreachable { after_us }) => Err(ClientError::Unreachable {
                pilot: pilot.file.pilot,
                host: pilot.file.host,
                pid: pilot.file.pid,
                file: pilot.path,
                waited: Duration::from_micros(after_us),
            }),
            Err(end) => Err(ClientError::Over(end)),
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    // Far below where adding to a time overflows.
    u64::try_from(time.as_micros())
        .unwrap_or(u64::MAX)
        .min(u64::MAX / 4)
}
