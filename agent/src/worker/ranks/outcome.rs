//! How a call in ranks went, in the words of the protocol: from what its ranks say, and else from what their launcher says.

use nix::sys::signal::Signal;
use scalems_core::leaseholder::Outcome;
use scalems_protocol::function::{Beside, LogRecord, join_ranks};
use scalems_protocol::limits::{BESIDE_BYTES, VALUE_BYTES};
use scalems_protocol::task::OUT_OF_MEMORY;
use scalems_protocol::{Bytes, Code, Ending, TaskError};

use super::Called;
use super::place::{Place, RankEnd};
use crate::executor::{Captured, Exit, ProgramOutcome, StartError, StoppedBy};
use crate::functions::{Failure, failure};
use crate::mpi::{How, Told, last_line, told};

/// Records of `logging` that are kept of all ranks together.
const RECORDS: usize = 256;

pub(super) fn outcome(called: &Called, place: &Place, launcher: &str, program: &ProgramOutcome) -> Outcome {
    let ran_us = (program.wall_seconds * 1e6) as u64;
    let stopped = match &program.stopped_by {
        Some(StoppedBy::Memory { .. }) => false,
        Some(_) => true,
        None => matches!(
            &program.exit,
            Exit::NotStarted(StartError::StoppedBefore { .. } | StartError::ShuttingDown)
        ),
    };
    let mut written = Beside::default();
    (written.stdout, written.stdout_bytes) = end_of(&program.stdout);
    (written.stderr, written.stderr_bytes) = end_of(&program.stderr);
    let (value, error) = match read(called, place) {
        Ok(mut ends) => {
            (written.log, written.dropped) = logs(&mut ends);
            match verdict(called, &ends, place, launcher, program) {
                Ok(()) => {
                    let values: Vec<_> = ends.into_iter().flatten().map(|end| end.value).collect();
                    (join_ranks(&values), None)
                }
                Err((rank, error)) => {
                    let end = rank.and_then(|rank| ends.into_iter().nth(rank as usize)?);
                    (
                        end.map(|end| end.value.into_vec()).unwrap_or_default(),
                        Some(error),
                    )
                }
            }
        }
        Err(error) => (Vec::new(), Some(error)),
    };
    let mut whole = written.head();
    whole.extend(value);
    Outcome {
        ending: if error.is_none() {
            Ending::Done
        } else {
            Ending::Failed
        },
        value: Bytes::from(whole),
        exit_code: None,
        ran_us,
        stopped: stopped && error.is_some(),
        error,
    }
}

fn read(called: &Called, place: &Place) -> Result<Vec<Option<RankEnd>>, TaskError> {
    let task = called.call.task;
    let bytes = place.bytes(called.ranks);
    if bytes > VALUE_BYTES as u64 {
        let message = format!(
            "the ranks of task {task} returned {bytes} bytes in all, and at most {VALUE_BYTES} are sent: write files and return \
             their names"
        );
        return Err(TaskError::new(Code::WrongResult, message));
    }
    place.ends(called.ranks).map_err(|problem| {
        let message = format!("what a rank of task {task} returned cannot be read: {problem}");
        TaskError::new(Code::WrongResult, message)
    })
}

/// Whether all ranks have returned; else which failed first, if one has said so, and why.
fn verdict(
    called: &Called,
    ends: &[Option<RankEnd>],
    place: &Place,
    launcher: &str,
    program: &ProgramOutcome,
) -> Result<(), (Option<u32>, TaskError)> {
    let (task, template) = (called.call.task, &called.call.template);
    let numbered = || (0_u32..).zip(ends);
    let first = numbered()
        .filter_map(|(rank, end)| Some((rank, end.as_ref().filter(|end| !end.code.is_empty())?)))
        .min_by(|(_, one), (_, other)| one.at.total_cmp(&other.at));
    if let Some((rank, end)) = first {
        let failure_of = Failure {
            code: end.code.clone(),
            class: end.class.clone(),
            message: end.message.clone(),
            trace: end.trace.clone(),
        };
        let error = failure(task, template, failure_of);
        let message = format!("rank {rank} of {}: {}", called.ranks, error.message);
        let error = TaskError {
            message: TaskError::new(error.code, message).message,
            rank: Some(rank),
            ..error
        };
        return Err((Some(rank), error));
    }
    if ends.iter().all(Option::is_some) {
        return Ok(());
    }
    let policy = &template.policy;
    if let Some(StoppedBy::Memory { limit, .. }) = &program.stopped_by {
        let message = format!(
            "the {} ranks of task {task} used more than the {} MiB that they asked for: they were ended",
            called.ranks,
            limit >> 20
        );
        let error = TaskError {
            retryable: policy.retries_on(i32::from(OUT_OF_MEMORY)),
            ..TaskError::new(Code::MemoryExceeded, message)
        };
        return Err((None, error));
    }
    if let Exit::NotStarted(why) = &program.exit {
        let error = TaskError {
            retryable: why.is_transient(),
            ..TaskError::new(Code::NotStarted, format!("task {task} was not started: {why}"))
        };
        return Err((None, error));
    }
    let words = [&program.stderr.tail[..], b"\n", &program.stdout.tail].concat();
    let words = String::from_utf8_lossy(&words);
    let pids = place.pids(called.ranks);
    let last = || last_line(&words).unwrap_or_else(|| "nothing".to_owned());
    if pids.iter().all(Option::is_none) && program.stopped_by.is_none() {
        let message = format!(
            "none of the {} ranks of task {task} began: {launcher} {}, and what it wrote ends with {:?}; {:?} has to be a Python \
             of 3.9 or later that can import scalems_pilot",
            called.ranks,
            exit(&program.exit),
            last(),
            called.call.wants.python
        );
        return Err((None, TaskError::new(Code::NoInterpreter, message)));
    }
    let missing: Vec<u32> = numbered()
        .filter_map(|(rank, end)| end.is_none().then_some(rank))
        .collect();
    let mut told = told(&words, &pids);
    if !matches!(told.how, Some(How::Aborted(_)))
        && let Some((rank, how)) = place.first_death(called.ranks)
    {
        told = Told {
            rank: Some(rank),
            how: Some(how),
        };
    }
    Err((None, ended(called, program, &missing, told, &last())))
}

/// A rank has ended without a word.
fn ended(called: &Called, program: &ProgramOutcome, missing: &[u32], told: Told, last: &str) -> TaskError {
    let (task, ranks) = (called.call.task, called.ranks);
    let rank = told.rank.filter(|rank| *rank < ranks).or(match missing {
        [only] => Some(*only),
        _ => None,
    });
    let who = rank.map_or_else(|| "a rank".to_owned(), |rank| format!("rank {rank} of {ranks}"));
    let (how, number) = match told.how {
        Some(How::Exited(code)) => (format!("ended with exit code {code}"), code),
        Some(How::Signaled(signal)) => (format!("was ended by {}", signal_name(signal)), 128 + signal),
        Some(How::Aborted(code)) => (format!("called MPI_Abort with code {code}"), code),
        None => match program.exit {
            Exit::Exited(0) => ("ended before it had returned".to_owned(), 1),
            // So it is where a rank aborts, and its launcher does not say which.
            Exit::Exited(code) => (format!("ended the launcher of all with code {code}"), code),
            Exit::Signaled(signal) => (
                format!("ended; its launcher was by {}", signal_name(signal)),
                128 + signal,
            ),
            Exit::NotStarted(_) | Exit::StatusLost => ("ended in a way that is not known".to_owned(), 1),
        },
    };
    let message = format!(
        "task {task}: {who} {how}, and the others were ended with it; what they wrote ends with {last:?}"
    );
    TaskError {
        rank,
        retryable: called.call.template.policy.retries_on(number),
        ..TaskError::new(Code::InterpreterEnded, message)
    }
}

fn signal_name(signal: i32) -> String {
    let name = Signal::try_from(signal).map_or("unnamed", Signal::as_str);
    format!("signal {signal} ({name})")
}

fn exit(exit: &Exit) -> String {
    match exit {
        Exit::Exited(code) => format!("ended with exit code {code}"),
        Exit::Signaled(signal) => format!("was ended by {}", signal_name(*signal)),
        Exit::NotStarted(_) | Exit::StatusLost => "ended".to_owned(),
    }
}

fn end_of(captured: &Captured) -> (Vec<u8>, u64) {
    let tail = &captured.tail;
    let from = tail.len().saturating_sub(BESIDE_BYTES);
    (
        tail.get(from..).unwrap_or_default().to_vec(),
        captured.total_bytes,
    )
}

/// The last records of all ranks, in the order of their times, and how many there are beside them.
fn logs(ends: &mut [Option<RankEnd>]) -> (Vec<LogRecord>, u64) {
    let mut all: Vec<LogRecord> = Vec::new();
    let mut dropped = 0;
    for end in ends.iter_mut().flatten() {
        all.append(&mut end.log);
        dropped += end.dropped;
    }
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut room = BESIDE_BYTES;
    let kept = all
        .iter()
        .rev()
        .take(RECORDS)
        .take_while(|(_, _, logger, message)| {
            let size = logger.len() + message.len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        })
        .count();
    let cut = all.len() - kept;
    all.drain(..cut);
    (all, dropped + cut as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_all_ranks_are_in_the_order_of_their_times() {
        let record = |at: f64, size: usize| (at, "INFO".to_owned(), "root".to_owned(), "x".repeat(size));
        let end = |log| {
            Some(RankEnd {
                log,
                dropped: 1,
                ..RankEnd::default()
            })
        };
        let mut ends = [
            end(vec![record(1.0, 60_000), record(4.0, 1)]),
            None,
            end(vec![record(2.0, 60_000), record(3.0, 1)]),
        ];
        let (log, dropped) = logs(&mut ends);
        let times: Vec<f64> = log.iter().map(|(at, ..)| *at).collect();
        assert_eq!((times, dropped), (vec![2.0, 3.0, 4.0], 3));
    }
}
