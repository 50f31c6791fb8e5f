//! Values that many messages have in them.

use std::collections::BTreeMap;

use scalems_protocol::group::{HeldRun, Place, ResultGroup, Run};
use scalems_protocol::program::Written;
use scalems_protocol::task::{After, MemoryLimit, Needs, OnSilence, Placement, Policy, Template, When};
use scalems_protocol::token::Token;
use scalems_protocol::{
    Amount, Code, Ending, JournalMark, Origin, PilotId, Progress, Role, TaskError, TaskState,
};

pub(crate) const SECRET: [u8; 32] = *b"a secret of thirty-two bytes ...";
pub(crate) const PILOT: PilotId = PilotId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xb, 0xc, 0xd, 0xe, 0xff]);
pub(crate) const ORIGIN: Origin = Origin {
    session: 3,
    request: 7,
};

/// How far a journal goes.
pub(crate) fn mark(record: u64) -> JournalMark {
    JournalMark {
        incarnation: 1,
        life: 0x1122_3344_5566_7788,
        record,
    }
}

pub(crate) fn token(role: Role, peer: u64) -> Token {
    Token::derive(&SECRET, role, peer)
}

pub(crate) fn run(submission: u64, lo: u32, hi: u32, attempt: u32) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt,
    }
}

/// How far a task says that it is.
pub(crate) fn progress() -> Progress {
    Progress {
        run: run(5, 84, 85, 2),
        fraction: 0.5,
        text: "step 500 of 1000".into(),
    }
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn echo() -> Template {
    Template {
        mode: "scalems.echo".into(),
        ..Template::default()
    }
}

/// A template with everything in it.
pub(crate) fn full_template() -> Template {
    Template {
        mode: "task.executable".into(),
        needs: Needs {
            ranks: 4,
            cores_per_rank: 2.into(),
            gpus_per_rank: Amount::from_parts(2_500),
            mem_per_rank: 2_048,
            named: [
                ("fpga".to_owned(), Amount::from_parts(15_000)),
                ("licence".to_owned(), 1.into()),
            ]
            .into(),
            min_time_ms: 600_000,
            placement: Placement::Strict,
            variants: vec![
                Needs::cores(16),
                Needs {
                    placement: Placement::Scatter,
                    min_time_ms: 60_000,
                    ..Needs::cores(Amount::from_parts(5_000))
                },
            ],
        },
        policy: Policy {
            priority: -5,
            retries: 3,
            backoff_ms: 1_000,
            crash_limit: 2,
            time_limit_ms: 3_600_000,
            retry_on: vec![75, 137],
            deadline_ms: 86_400_000,
            grace_ms: 10_000,
            on_silence: OnSilence::Continue,
            memory_limit: MemoryLimit::Watch,
        },
        after: vec![
            After {
                submission: Some(4),
                each: true,
                ..After::default()
            },
            After {
                request: Some(6),
                offsets: Some((0, 100)),
                when: When::Failed,
                ..After::default()
            },
            After {
                submission: Some(2),
                when: When::Any,
                ..After::default()
            },
        ],
        uid: Some("dock-0042".into()),
        name: Some("docking of ligands".into()),
        max_failures: Some(10),
        labels: labels(&[("campaign", "spring"), ("project", "naïve")]),
        // The msgpack value {"a": 1}.
        meta: b"\x81\xa1a\x01".to_vec(),
        // {"function": "math:sqrt"}.
        body: b"\x81\xa8function\xa9math:sqrt".to_vec(),
    }
}

pub(crate) fn done(run: Run, place: Place) -> ResultGroup {
    ResultGroup {
        run,
        origin: ORIGIN,
        incarnation: 1,
        ending: Ending::Done,
        place,
        exit_code: None,
        ran_us: 0,
        error: None,
    }
}

/// A program that ended with exit code 2.
pub(crate) fn failed(run: Run, place: Place) -> ResultGroup {
    let error = TaskError::retryable(Code::ExitCode, "the program ended with exit code 2");
    ResultGroup {
        ending: Ending::Failed,
        exit_code: Some(2),
        ran_us: 1_500_000,
        error: Some(error),
        ..done(run, place)
    }
}

/// A function that raised, with all that an error can say.
pub(crate) fn raised(run: Run) -> ResultGroup {
    let error = TaskError {
        class: Some("ValueError".into()),
        trace: Some("Traceback (most recent call last):\n  …\nValueError: 7".into()),
        rank: Some(3),
        ..TaskError::new(Code::TaskFailed, "ValueError: 7")
    };
    ResultGroup {
        ending: Ending::Failed,
        error: Some(error),
        ..done(run, Place::default())
    }
}

pub(crate) fn place(blob: u32, at: u32, length: u32, ends: &[u32]) -> Place {
    Place {
        blob: Some(blob),
        at,
        length,
        ends: ends.to_vec(),
    }
}

pub(crate) fn held(run: Run, state: TaskState) -> HeldRun {
    HeldRun {
        run,
        origin: ORIGIN,
        incarnation: 1,
        state,
        variant: 0,
    }
}

/// What a program wrote behind `from`.
pub(crate) fn written(from: u64, bytes: &[u8]) -> Written {
    Written {
        from,
        bytes: bytes.to_vec(),
        total: from + bytes.len() as u64,
    }
}
