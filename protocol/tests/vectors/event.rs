//! From the agent to whoever listens.

use scalems_protocol::client::Counts;
use scalems_protocol::event::{AgentToSubscriber, Alarm, Body, Event};
use scalems_protocol::{Amount, TaskState};

use crate::answers::worker_row;
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
