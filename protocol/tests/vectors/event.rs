//! From the agent to whoever listens.

use scalems_protocol::client::Counts;
use scalems_protocol::event::{AgentToSubscriber, Alarm, Body, Event, FaultGroup, Health, JournalHealth};
use scalems_protocol::{Amount, TaskState};

use crate::answers::{submission_row, worker_row};
use crate::samples::{progress, run};
use crate::{Sample, check_direction, plain};

fn event(name: &'static str, topic: &str, seq: u64, body: Body) -> Sample<AgentToSubscriber> {
    plain(
        name,
        Event {
            incarnation: 1,
            topic: topic.into(),
            seq,
            body,
        },
    )
}

pub(crate) fn alarm() -> Alarm {
    Alarm {
        alarm: "worker_lost".into(),
        about: "node-17".into(),
        message: "nothing was heard of worker node-17 for 10 s; its 4 tasks are leased again".into(),
        at_ms: 73_500,
    }
}

fn health() -> Health {
    Health {
        at_ms: 60_000,
        span_ms: 1_000,
        rounds: 2_400,
        round_us: (38, 210, 4_096),
        queues: vec![
            ("unfinished_tasks".into(), 16, 4_000_000),
            ("clients".into(), 3, 0),
        ],
        journal: Some(JournalHealth {
            waiting_records: 12,
            waiting_bytes: 4_096,
            full: false,
            commit_us: (900, 2_100, 2_200),
            size_bytes: 1 << 20,
        }),
        events_dropped: 1,
        rss_bytes: 48 << 20,
        cpu_us: 1_250_000,
        ended: 84,
        start_wait_us: (150, 90_000, 120_000),
        ran_us: (2_000, 9_000, 9_500),
        left_ms: Some(3_540_000),
        warning_ms: Some(60_000),
    }
}

fn samples() -> Vec<Sample<AgentToSubscriber>> {
    let counts = Counts {
        ready: 10,
        running: 6,
        done: 84,
        ..Counts::default()
    };
    vec![
        event("a topic begins", "summary", 41, Body::Open),
        event(
            "counts of everything",
            "summary",
            42,
            Body::Summary {
                tasks: counts,
                workers: (2, 0, 1, 0),
                resources: vec![("cores".into(), 64, 24), ("gpus".into(), 8, 0)],
                fractions: vec![("cores".into(), 64.into(), Amount::from_parts(235_000))],
            },
        ),
        event(
            "tasks of a submission",
            "submission/5",
            1,
            Body::Tasks {
                runs: vec![
                    (run(5, 0, 84, 1), TaskState::Done),
                    (run(5, 84, 90, 2), TaskState::Running),
                    (run(5, 90, 100, 0), TaskState::Ready),
                ],
                counts,
            },
        ),
        event(
            "how far tasks of a submission are",
            "submission/5",
            18,
            Body::Progress {
                tasks: vec![progress()],
            },
        ),
        event(
            "workers",
            "workers",
            3,
            Body::Workers {
                rows: vec![worker_row()],
            },
        ),
        event(
            "alarms",
            "alarms",
            1,
            Body::Alarms {
                alarms: vec![alarm()],
            },
        ),
        event(
            "submissions",
            "submissions",
            7,
            Body::Submissions {
                rows: vec![submission_row()],
                gone: vec![3],
                total: 12,
            },
        ),
        event(
            "what went wrong",
            "faults",
            4,
            Body::Faults {
                groups: vec![
                    FaultGroup {
                        code: "exception".into(),
                        what: "builtins.ValueError".into(),
                        host: "node-17".into(),
                        worker: "node-17".into(),
                        message: "negative mass".into(),
                        failed: 3,
                        retried: 6,
                        last: (5, 90),
                        at_ms: 73_500,
                    },
                    FaultGroup {
                        code: "dependency_failed".into(),
                        message: "submission 4 did not end well".into(),
                        failed: 10,
                        last: (6, 9),
                        at_ms: 73_600,
                        ..FaultGroup::default()
                    },
                ],
            },
        ),
        event("how the agent is", "health", 60, Body::Health(Box::new(health()))),
        event(
            "how an agent without a journal is",
            "health",
            61,
            Body::Health(Box::default()),
        ),
    ]
}

#[test]
fn agent_to_subscriber() {
    check_direction(
        "agent_to_subscriber",
        &["event"],
        &samples(),
        AgentToSubscriber::encode,
        AgentToSubscriber::decode,
    );
}
