//! How a call went, in the words of the protocol.

use bytes::Bytes;
use scalems_core::leaseholder::Outcome;
use scalems_protocol::function::Beside;
use scalems_protocol::task::{OUT_OF_MEMORY, Template};
use scalems_protocol::{Code, Ending, TaskError, TaskId};

use super::frames::Failure;
use crate::executor::{Exit, ProgramOutcome, StoppedBy};

/// How much of the last line of an interpreter's messages an error repeats.
const LAST_LINE_BYTES: usize = 300;
/// What stands for an exit code where a function raised: retries are asked for by it.
const RAISED: i32 = 1;

/// A value with what was written beside it, as few copies as there can be.
pub(super) fn with_beside(written: Beside, value: Bytes) -> Bytes {
    if written == Beside::default() {
        return value;
    }
    let (beside, inner) = match Beside::split(&value) {
        // Only log records come from there.
        Ok((told, inner)) => (
            Beside {
                log: told.log,
                dropped: told.dropped,
                ..written
            },
            inner,
        ),
        Err(_) => (written, &value[..]),
    };
    let mut whole = beside.head();
    whole.extend_from_slice(inner);
    whole.into()
}

/// It returned.
pub(super) fn done(value: Bytes, ran_us: u64) -> Outcome {
    Outcome {
        ending: Ending::Done,
        value,
        exit_code: None,
        ran_us,
        error: None,
        stopped: false,
    }
}

/// It failed; `asked` if it had been asked to end.
pub(super) fn failed(value: Bytes, ran_us: u64, error: TaskError, asked: bool) -> Outcome {
    Outcome {
        ending: Ending::Failed,
        value,
        exit_code: None,
        ran_us,
        error: Some(error),
        stopped: asked,
    }
}

/// It was stopped before it began.
pub(super) fn stopped() -> Outcome {
    Outcome {
        ending: Ending::Done,
        stopped: true,
        ..done(Bytes::new(), 0)
    }
}

/// What an interpreter says went wrong.
pub(crate) fn failure(task: TaskId, template: &Template, failure: Failure) -> TaskError {
    let Failure {
        code,
        class,
        message,
        trace,
    } = failure;
    let text = match code.as_str() {
        "exception" if message.is_empty() => format!("task {task} raised {class}"),
        "exception" => format!("task {task} raised {class}: {message}"),
        _ => format!("task {task}: {message}"),
    };
    let (code, retryable) = match code.as_str() {
        "exception" => (Code::Exception, template.policy.retries_on(RAISED)),
        "wrong_result" => (Code::WrongResult, false),
        "wrong_call" => (Code::WrongCall, false),
        _ => (Code::TaskFailed, false),
    };
    TaskError {
        class: Some(class),
        trace: Some(trace).filter(|trace| !trace.is_empty()),
        retryable,
        ..TaskError::new(code, text)
    }
}

/// It ended its interpreter.
pub(super) fn interpreter_ended(
    task: TaskId,
    template: &Template,
    outcome: &ProgramOutcome,
    written: &Beside,
) -> TaskError {
    let policy = &template.policy;
    if let Some(StoppedBy::Memory { limit, .. }) = &outcome.stopped_by {
        let message = format!(
            "task {task} used more than the {} MiB that it asked for: its interpreter was ended",
            limit >> 20
        );
        return TaskError {
            retryable: policy.retries_on(i32::from(OUT_OF_MEMORY)),
            ..TaskError::new(Code::MemoryExceeded, message)
        };
    }
    let (how, number) = match outcome.exit {
        Exit::Exited(code) => (format!("with exit code {code}"), code),
        Exit::Signaled(signal) => {
            let name = nix::sys::signal::Signal::try_from(signal).map_or("unnamed", |signal| signal.as_str());
            (format!("by signal {signal} ({name})"), 128 + signal)
        }
        Exit::NotStarted(_) | Exit::StatusLost => ("in a way that is not known".to_owned(), RAISED),
    };
    let last = last_line(&written.stderr).or_else(|| last_line(&written.stdout));
    let last = last.map_or_else(String::new, |line| format!("; what it wrote ends with {line:?}"));
    TaskError {
        retryable: policy.retries_on(number),
        ..TaskError::new(
            Code::InterpreterEnded,
            format!("task {task} ended the interpreter that it ran in, {how}{last}"),
        )
    }
}

/// No interpreter could be started for it.
pub(super) fn no_interpreter(task: TaskId, python: &str, why: &str) -> TaskError {
    TaskError::new(
        Code::NoInterpreter,
        format!("task {task} has no interpreter: {python:?} {why}"),
    )
}

/// Why an interpreter never was ready.
pub(super) fn never_ready(outcome: &ProgramOutcome) -> String {
    let how = match &outcome.exit {
        Exit::NotStarted(why) => return format!("was not started: {why}"),
        Exit::Exited(code) => format!("ended with exit code {code}"),
        Exit::Signaled(signal) => format!("was ended by signal {signal}"),
        Exit::StatusLost => "ended".to_owned(),
    };
    let last = last_line(&outcome.stderr.tail);
    let last = last.unwrap_or_else(|| "it wrote nothing that would say why".to_owned());
    format!(
        "{how} before it was ready: {last}; it has to be a Python of 3.9 or later that can import scalems_pilot"
    )
}

fn last_line(text: &[u8]) -> Option<String> {
    let mut lines = text.rsplit(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let line = lines.find(|line| !line.is_empty())?;
    let mut line = String::from_utf8_lossy(line).into_owned();
    line.truncate(line.floor_char_boundary(LAST_LINE_BYTES));
    Some(line)
}
