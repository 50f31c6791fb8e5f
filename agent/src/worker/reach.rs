//! The worker's two sockets, and where they connect to.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use scalems_core::leaseholder::Settings;
use scalems_protocol::Role;
use scalems_protocol::limits::NAME_BYTES;
use scalems_protocol::packed::FileStart;
use scalems_transport::{ConnectionFile, ConnectionFileError, Context, Dealer, Publisher};
use tracing::{debug, info, warn};

use super::{Connection, WorkerError};

/// How often the connection file is looked at while the agent cannot be reached: a restarted agent may have
/// other ports.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// So often it is missing before that is believed.
const MISSED: u32 = 2;

/// The way to the agent.
pub(super) struct Reach {
    context: Context,
    host: String,
    path: Option<PathBuf>,
    file: ConnectionFile,
    pub(super) dealer: Dealer,
    pub(super) beats: Publisher,
    /// When to look at the connection file again; none while there is a connection.
    pub(super) look_at: Option<Instant>,
    /// How often in a row the connection file was not there.
    missed: u32,
}

impl Reach {
    pub(super) fn open(connection: &Connection, host: &str) -> Result<Self, WorkerError> {
        let (path, file) = match connection {
            Connection::File(path) => (Some(path.clone()), ConnectionFile::read(path)?),
            Connection::Known(file) => (None, (**file).clone()),
        };
        if file.role != Role::Worker {
            return Err(WorkerError::Role { role: file.role });
        }
        let context = Context::new()?;
        let (dealer, beats) = connect(&context, &file, host)?;
        let look_at = path.as_ref().map(|_| Instant::now() + LOOK_AGAIN);
        Ok(Self {
            context,
            host: host.to_owned(),
            path,
            file,
            dealer,
            beats,
            look_at,
            missed: 0,
        })
    }

    /// Where the agent runs, for people.
    pub(super) fn agents_host(&self) -> &str {
        &self.file.host
    }

    /// Which pilot it is: enough of that to tell it from others before and after it.
    pub(super) fn pilot(&self) -> String {
        let mut id = self.file.pilot_id.to_string();
        id.truncate(16);
        id
    }

    /// What files of the worker's packed log say of it.
    pub(super) fn file_start(&self, settings: &Settings) -> FileStart {
        let short = |text: &str| text[..text.floor_char_boundary(NAME_BYTES)].to_owned();
        FileStart {
            pilot: Some(self.file.pilot_id),
            pilot_name: short(&self.file.pilot),
            worker: short(&settings.name),
            host: short(&settings.host),
            pid: settings.pid,
            software: short(&settings.software),
            ..FileStart::default()
        }
    }

    /// The client's connection file beside the worker's: with it a task can submit more.
    pub(super) fn client_file(&self) -> Option<PathBuf> {
        let beside = self
            .path
            .as_ref()?
            .with_file_name(ConnectionFile::file_name(Role::Client));
        std::path::absolute(beside).ok().filter(|file| file.is_file())
    }

    pub(super) fn opened(&mut self) {
        self.missed = 0;
        self.look_at = None;
    }

    pub(super) fn closed(&mut self) {
        if self.path.is_some() && self.look_at.is_none() {
            self.look_at = Some(Instant::now() + LOOK_AGAIN);
        }
    }

    /// Connects to where the connection file says now, if that is due and it says something new. False: the file is
    /// gone, as it is when a pilot has ended in order, also for who did not hear it say so.
    pub(super) fn look(&mut self, now: Instant) -> Result<bool, WorkerError> {
        let Some(path) = self
            .path
            .as_ref()
            .filter(|_| self.look_at.is_some_and(|at| now >= at))
        else {
            return Ok(true);
        };
        self.look_at = Some(now + LOOK_AGAIN);
        let file = match ConnectionFile::read(path) {
            Ok(file) => file,
            // It is written anew in one step, so it is not missing while that happens; but other hosts may be late.
            Err(ConnectionFileError::Missing { .. }) => {
                self.missed += 1;
                return Ok(self.missed < MISSED);
            }
            Err(error) => {
                debug!(%error, "the connection file cannot be read now");
                return Ok(true);
            }
        };
        self.missed = 0;
        let same = |a: &ConnectionFile, b: &ConnectionFile| {
            (&a.requests, &a.stream, &a.curve) == (&b.requests, &b.stream, &b.curve)
        };
        if file.role != Role::Worker || same(&file, &self.file) {
            return Ok(true);
        }
        match connect(&self.context, &file, &self.host) {
            Ok((dealer, beats)) => {
                info!(host = file.host, "the agent is reached at another address now");
                (self.dealer, self.beats, self.file) = (dealer, beats, file);
                Ok(true)
            }
            Err(error @ WorkerError::NoAddress { .. }) => {
                warn!(%error, "the new connection file is of no use here");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

pub(super) fn connect(
    context: &Context,
    file: &ConnectionFile,
    host: &str,
) -> Result<(Dealer, Publisher), WorkerError> {
    let here = file.host == host;
    let (Some(requests), Some(stream)) = (file.requests.nearest(here), file.stream.nearest(here)) else {
        return Err(WorkerError::NoAddress {
            agent: file.host.clone(),
            here: host.to_owned(),
        });
    };
    let dealer = Dealer::connect(context, requests, file.curve.as_ref())?;
    let beats = Publisher::connect(context, stream, file.curve.as_ref())?;
    Ok((dealer, beats))
}
