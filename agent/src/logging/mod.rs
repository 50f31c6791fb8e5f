//! What a process of ours says of itself: to standard error, or to files that never take more than their part of a disk.
//!
//! One process has one log. It begins at standard error with [`begin`]; a process that knows its pilot's directory and
//! runs where nobody looks goes on in files with [`into_files`]. Which part of what is said is logged may be changed at
//! any time with [`set_levels`].

mod files;
mod queue;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{OnceLock, RwLock};

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

pub use self::files::{Limit, keep_small};
use self::queue::Queue;

/// The directory of these files in a pilot's directory.
pub const DIRECTORY: &str = "own-logs";

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line: `timestamp`, `level`, `target`, `threadName`, `message`, and what else the line says.
    Json,
}

/// Why a log cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The levels are not such.
    #[error(
        "{levels:?} does not say what to log: {source}; write for instance warn,scalems_agent::bus=debug"
    )]
    Levels {
        /// The text.
        levels: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is one.
    #[error("this process has a log already")]
    Begun,
    /// The files cannot be written.
    #[error("cannot log to {}: {source}", path.display())]
    Files {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The log of this process.
struct Log {
    levels: reload::Handle<EnvFilter, Registry>,
    /// What it was started with.
    first: String,
    files: RwLock<Option<Queue>>,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Begins the log of this process, at standard error, which may be a terminal that colours.
pub fn begin(levels: &str, format: Format, colours: bool) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(levels).map_err(|source| LogError::Levels {
        levels: levels.to_owned(),
        source,
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    let log = Log {
        levels: handle,
        first: levels.to_owned(),
        files: RwLock::new(None),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Lines)
        .with_thread_names(true);
    let lines = match format {
        Format::Human => lines.with_ansi(colours).boxed(),
        Format::Json => lines
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    LOG.set(log).map_err(|_| LogError::Begun)?;
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|_| LogError::Begun)
}

/// From now on lines go to the files `NAME.log` and `NAME.log.1` to `.N` in this directory, the newest in the first; when another
/// process has those, to `NAME-PID.log`. A thread writes them, so that a disk that hangs holds up nothing else. What has been said when
/// [`Files`] is dropped is written first.
pub fn into_files(directory: &Path, name: &str, limit: Limit) -> Result<Files, LogError> {
    let failed = |source| LogError::Files {
        path: directory.to_owned(),
        source,
    };
    let rolling = files::Rolling::open(directory, name, limit).map_err(failed)?;
    let queue = Queue::start(rolling).map_err(failed)?;
    if let Some(log) = LOG.get() {
        *write(&log.files) = Some(queue);
    }
    Ok(Files(()))
}

/// The files of a log, as long as they are written to.
#[must_use = "dropped, what is said goes to standard error again"]
pub struct Files(());

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(queue) = LOG.get().and_then(|log| write(&log.files).take()) {
            queue.end();
        }
    }
}

/// Logs these levels from now on, as [`scalems_protocol::log_levels::check`] takes them; with none, what [`begin`] was told. What is no
/// levels changes nothing.
pub fn set_levels(levels: &str) {
    let Some(log) = LOG.get() else { return };
    let levels = if levels.is_empty() { &log.first } else { levels };
    // Whatever they are, it is seen why there are more lines from here on, or fewer.
    let filter = EnvFilter::try_new(format!("{levels},{}=info", module_path!()));
    let set = filter.map_err(|error| error.to_string());
    let set = set.and_then(|filter| log.levels.reload(filter).map_err(|error| error.to_string()));
    match set {
        Ok(()) => tracing::info!(levels, "this log has other levels now"),
        Err(error) => tracing::warn!(levels, error, "the levels of this log stay: these are none"),
    }
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Where a line goes: to the files if there are any.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// One line; it is written at once.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(log) = LOG.get() {
            let files = log
                .files
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(queue) = &*files {
                queue.put(bytes);
                return Ok(bytes.len());
            }
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
