//! From what a journal tells to what a replay shows.

use scalems_agent::journal::history::{self, Reading};
use scalems_client::protocol::Code;
use scalems_top::replay::{Outcome, Reason, Recording, Span, Submission, Tail, Worker};

/// The recording of the run of pilot `pilot`.
pub(super) fn of(reading: Reading, pilot: String) -> Recording {
    let history = reading.history;
    let submissions: Vec<Submission> = history.submissions().map(submission).collect();
    let place = |number: u64| {
        let found = submissions.binary_search_by_key(&number, |submission| submission.number);
        found.ok().map(|place| place as u32)
    };
    let waited = history.waited_us();
    let spans = history.spans().iter().zip(&waited).map(|(of, waited)| Span {
        // One without its submission is left out when the recording is taken.
        submission: place(of.submission).unwrap_or(u32::MAX),
        lo: of.lo,
        hi: of.hi,
        attempt: of.attempt,
        begin_us: of.begin_us,
        end_us: of.end_us,
        ran_us: of.ran_us,
        waited_us: waited.unwrap_or(0),
        worker: of.worker,
        reason: of.reason,
        exit_code: of.exit_code,
        way: of.way,
        outcome: outcome(of.outcome),
    });
    let spans = spans.collect();
    Recording {
        pilot,
        begin_us: history.begin_us(),
        end_us: history.end_us(),
        ended_in_order: history.ended_in_order(),
        workers: history.workers().iter().map(worker).collect(),
        reasons: history.reasons().iter().map(reason).collect(),
        tails: history.tails().iter().map(tail).collect(),
        submissions,
        spans,
    }
}

fn submission(of: &history::Submission) -> Submission {
    Submission {
        number: of.submission,
        template: of.template.clone(),
        session: of.session.clone().unwrap_or_default(),
        count: of.count,
        indices: (of.indices.first(), of.indices.step()),
        jumps: of.indices.jumps().to_vec(),
        at_us: of.at_us,
    }
}

/// A journal says of a worker only between what it joined: what it ran tells more.
fn worker(of: &history::Worker) -> Worker {
    let first = of.busy.map_or(of.joined_us, |(from, _)| of.joined_us.min(from));
    Worker {
        number: of.number.into(),
        name: of.name.clone(),
        host: of.host.clone(),
        pid: of.pid,
        joined_us: first,
        gone_us: of.gone_us,
    }
}

fn reason(of: &history::Reason) -> Reason {
    let known = Code::ALL.iter().copied().find(|code| code.text() == of.code);
    Reason {
        code: known.unwrap_or(Code::Unknown),
        class: of.class.clone(),
        message: of.message.clone(),
    }
}

fn tail(of: &history::Tail) -> Tail {
    Tail {
        span: of.span,
        is_output: of.of == "stdout",
        text: of.text.clone(),
        before: of.before,
    }
}

const fn outcome(of: history::Outcome) -> Outcome {
    match of {
        history::Outcome::Done => Outcome::Done,
        history::Outcome::Failed => Outcome::Failed,
        history::Outcome::Retried => Outcome::Retried,
        history::Outcome::Lost => Outcome::Lost,
        history::Outcome::Canceled => Outcome::Canceled,
    }
}
