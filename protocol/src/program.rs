//! The data and the result of the modes that run programs (`docs/spec/3-worker`, section "Modes").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::packed::Why;
use crate::{bounded, is_default, limits};

/// Runs a program: `argv[0]` is looked up in `PATH`, no shell is involved.
pub const EXECUTABLE: &str = "task.executable";
/// Runs a command line in `/bin/sh`.
pub const SHELL: &str = "task.shell";
/// The lineage's name for a program that is run from a worker; the same as `task.executable`.
pub const PROC: &str = "task.proc";
/// Ends at once without a value.
pub const NOOP: &str = "scalems.noop";
/// Ends at once with its data as value.
pub const ECHO: &str = "scalems.echo";
/// Ends well after the seconds that its data says.
pub const SLEEP: &str = "scalems.sleep";
/// Ends badly at once, with its data as message.
pub const FAIL: &str = "scalems.fail";

/// Data of `task.executable`, `task.proc` and `task.shell`, as a msgpack map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Program {
    /// The program and its arguments; `task.shell` takes one: the command line.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::WORDS }>")]
    pub argv: Vec<String>,
    /// Variables to set over those that the worker passes on.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "bounded::map::<_, _, _, { limits::NAMES }>"
    )]
    pub env: BTreeMap<String, String>,
    /// The directory to run in; none: a directory of the attempt's own.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub cwd: Option<String>,
    /// What the program reads.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Stdin,
    /// A file for what it writes, capped; the tail is in the result besides.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub stdout: Option<String>,
    /// A file for its errors.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub stderr: Option<String>,
    /// Whether those two files stay.
    #[serde(skip_serializing_if = "is_default")]
    pub keep_output: Keep,
    /// All that it writes goes into the worker's packed log as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// Of which attempts something is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Of all.
    #[default]
    All,
    /// Of those that did not end with exit code 0.
    Failed,
}

/// What of a program's output goes into the worker's packed log (`docs/spec/9-packed-logs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Of which attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub keep: Keep,
    /// No more than this many bytes of each stream of an attempt.
    pub cap: u64,
    /// No more than this many bytes a second of each stream; nothing: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            keep: Keep::All,
            cap: limits::LOG_STREAM_BYTES,
            rate: None,
        }
    }
}

/// Where in the worker's packed log an attempt's output is, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logged {
    /// The file that has its first record, with its whole path; empty: nothing of it was kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// Where in there that record begins.
    #[serde(skip_serializing_if = "is_default")]
    pub from: u64,
    /// The name of the file beside it that has its last record, if it is another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last: String,
    /// Where its last record ends.
    #[serde(skip_serializing_if = "is_default")]
    pub upto: u64,
    /// Bytes of its standard output that are there.
    #[serde(skip_serializing_if = "is_default")]
    pub stdout: u64,
    /// Bytes of its errors.
    #[serde(skip_serializing_if = "is_default")]
    pub stderr: u64,
    /// How many bytes are not there, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lost: BTreeMap<Why, u64>,
    /// What the system said, where it refused to write.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// How variables begin that no task may set: by some of them its processes are known.
pub const RESERVED: &str = "SCALEMS_";

impl Program {
    /// The first variable that a task may not set.
    pub fn reserved_variable(&self) -> Option<&str> {
        self.env
            .keys()
            .find(|name| name.starts_with(RESERVED))
            .map(String::as_str)
    }
}

/// What a program reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// Nothing.
    #[default]
    Null,
    /// These bytes.
    Data(serde_bytes::ByteBuf),
    /// A file.
    File(String),
}

/// What a program wrote on one of its streams, from some place on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// Where the bytes begin in the stream: later than was asked for if what was there is not kept any more.
    pub from: u64,
    /// The bytes.
    #[serde(with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<u8>,
    /// How many bytes were written altogether.
    pub total: u64,
}

/// The value of a program's result, as a msgpack map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgramResult {
    /// The exit code, if it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last of what it wrote.
    #[serde(with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub stdout: Vec<u8>,
    /// How many bytes it wrote.
    #[serde(skip_serializing_if = "is_default")]
    pub stdout_bytes: u64,
    /// The last of its errors.
    #[serde(with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub stderr: Vec<u8>,
    /// How many bytes of errors it wrote.
    #[serde(skip_serializing_if = "is_default")]
    pub stderr_bytes: u64,
    /// Where it ran: host and directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The directory it ran in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cwd: String,
    /// CPU time of the program and what it started, seconds.
    pub cpu_s: f64,
    /// From start to end, seconds.
    pub wall_s: f64,
    /// The largest resident set, KiB.
    pub peak_rss_kib: u64,
    /// The most memory that all of its processes had together, KiB, where it was limited; 0: that is not known.
    #[serde(skip_serializing_if = "is_default")]
    pub peak_memory_kib: u64,
    /// What the packed log has of it, if it was to go there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Logged>,
}
