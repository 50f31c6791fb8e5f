//! How a program went, in the words of the protocol.

use scalems_core::leaseholder::Outcome;
use scalems_protocol::program::ProgramResult;
use scalems_protocol::task::OUT_OF_MEMORY;
use scalems_protocol::{Bytes, Code, Ending, TaskError};
use tracing::warn;

use super::program::Begun;
use crate::executor::{Captured, Exit, LogFileState, ProgramOutcome, StartError, StoppedBy};

/// How much of the last line of a program's messages an error repeats.
const LAST_LINE_BYTES: usize = 200;

/// The outcome of a task that never became a program.
pub(super) fn not_begun(error: TaskError) -> Outcome {
    Outcome {
        ending: Ending::Failed,
        value: Bytes::new(),
        exit_code: None,
        ran_us: 0,
        error: Some(error),
        stopped: false,
    }
}

/// The outcome of a program.
pub(super) fn outcome(begun: &Begun, host: &str, outcome: ProgramOutcome) -> Outcome {
    let error = error(begun, &outcome);
    let never_ran = matches!(outcome.exit, Exit::NotStarted(_));
    // What has too much memory is ended by us, and fails by itself all the same.
    let for_memory = matches!(outcome.stopped_by, Some(StoppedBy::Memory { .. }));
    let stopped = (outcome.stopped_by.is_some() && !for_memory)
        || matches!(
            outcome.exit,
            Exit::NotStarted(StartError::StoppedBefore { .. } | StartError::ShuttingDown)
        );
    let (exit_code, signal) = match outcome.exit {
        Exit::Exited(code) => (Some(code), None),
        Exit::Signaled(signal) => (None, Some(signal)),
        Exit::NotStarted(_) | Exit::StatusLost => (None, None),
    };
    if outcome.leftovers.remaining > 0 {
        warn!(
            task = begun.task,
            processes = outcome.leftovers.remaining,
            "processes of a task outlive their kill"
        );
    }
    let result = ProgramResult {
        exit_code,
        signal,
        stdout: outcome.stdout.tail,
        stdout_bytes: outcome.stdout.total_bytes,
        stderr: outcome.stderr.tail,
        stderr_bytes: outcome.stderr.total_bytes,
        host: host.to_owned(),
        cwd: begun.cwd.to_string_lossy().into_owned(),
        cpu_s: outcome.cpu_seconds,
        wall_s: outcome.wall_seconds,
        peak_rss_kib: outcome.peak_rss_bytes >> 10,
        peak_memory_kib: outcome.peak_memory_bytes >> 10,
        log: outcome.log,
    };
    let value = if never_ran {
        Bytes::new()
    } else {
        rmp_serde::to_vec_named(&result)
            .expect("our own structs serialize into memory")
            .into()
    };
    Outcome {
        ending: if error.is_none() {
            Ending::Done
        } else {
            Ending::Failed
        },
        value,
        exit_code,
        ran_us: (outcome.wall_seconds * 1e6) as u64,
        error,
        stopped,
    }
}

/// Why it did not end well: what, which, and what to do.
fn error(begun: &Begun, outcome: &ProgramOutcome) -> Option<TaskError> {
    let Begun { task, program, .. } = begun;
    let failed = |code, how, message| TaskError {
        retryable: begun.template.policy.retries_on(how),
        ..TaskError::new(code, message)
    };
    let program = shown(program.as_bytes());
    if let Some(StoppedBy::Memory { limit, used }) = &outcome.stopped_by {
        let asked = mib(*limit);
        let how = match used {
            Some(used) => {
                let used = mib(used.next_multiple_of(1 << 20));
                format!("task {task} used {used} MiB and asked for {asked} (--memory): it was ended")
            }
            None => format!(
                "task {task} needs more than the {asked} MiB that it asked for (--memory): the kernel has ended it"
            ),
        };
        let message = last_words(outcome).map_or(how.clone(), |last| format!("{how}; {last}"));
        let policy = &begun.template.policy;
        let killed = 128 + nix::libc::SIGKILL;
        return Some(TaskError {
            retryable: policy.retries_on(i32::from(OUT_OF_MEMORY)) || policy.retries_on(killed),
            ..TaskError::new(Code::MemoryExceeded, message)
        });
    }
    match &outcome.exit {
        Exit::Exited(0) => lost_output(begun, outcome),
        Exit::Exited(code) => {
            let message = format!(
                "task {task}: {program:?} ended with exit code {code}; {}",
                messages(outcome)
            );
            Some(failed(Code::ExitCode, *code, message))
        }
        Exit::Signaled(signal) => {
            let name =
                nix::sys::signal::Signal::try_from(*signal).map_or("unnamed", |signal| signal.as_str());
            let message = format!(
                "task {task}: {program:?} was ended by signal {signal} ({name}); {}",
                messages(outcome)
            );
            Some(failed(Code::Signal, 128 + signal, message))
        }
        Exit::NotStarted(why) => {
            let message = format!("task {task} was not started: {why}");
            Some(TaskError {
                retryable: why.is_transient(),
                ..TaskError::new(Code::NotStarted, message)
            })
        }
        Exit::StatusLost => {
            let message = format!("task {task}: how {program:?} ended was lost in the worker; run it again");
            Some(TaskError::retryable(Code::Internal, message))
        }
    }
}

/// A program may have ended well, and yet what it wrote did not get to where it was wanted.
fn lost_output(begun: &Begun, outcome: &ProgramOutcome) -> Option<TaskError> {
    let failed = |captured: &Captured| match captured.file {
        Some(LogFileState::Failed { bytes, errno }) => Some((bytes, errno)),
        _ => None,
    };
    let (which, (bytes, errno)) = [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)]
        .into_iter()
        .find_map(|(which, captured)| failed(captured).map(|how| (which, how)))?;
    let message = format!(
        "task {}: the file for {which} could be written only up to byte {bytes}: {errno}; see that its file system has room",
        begun.task
    );
    Some(TaskError::retryable(Code::TaskFailed, message))
}

/// Whole MiB, as people write them: `2,048`.
fn mib(bytes: u64) -> String {
    let digits = (bytes >> 20).to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Where to look for the reason.
fn messages(outcome: &ProgramOutcome) -> String {
    last_words(outcome).unwrap_or_else(|| "it wrote nothing that would say why".to_owned())
}

fn last_words(outcome: &ProgramOutcome) -> Option<String> {
    let streams = [("stderr", &outcome.stderr), ("stdout", &outcome.stdout)];
    let (which, line) = streams
        .into_iter()
        .find_map(|(which, captured)| Some((which, last_line(&captured.tail)?)))?;
    Some(format!("its {which} ends with {line:?}"))
}

fn last_line(tail: &[u8]) -> Option<String> {
    tail.rsplit(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty())
        .map(shown)
}

fn shown(text: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(text).into_owned();
    if text.len() > LAST_LINE_BYTES {
        text.truncate(text.floor_char_boundary(LAST_LINE_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::mib;

    #[test]
    fn large_numbers_are_written_in_threes() {
        let texts = [0, 5, 999, 1_000, 2_130, 1_234_567].map(|mebibytes| mib(mebibytes << 20));
        assert_eq!(texts, ["0", "5", "999", "1,000", "2,130", "1,234,567"]);
    }
}
