//! How a worker ends.

use std::time::Duration;

use scalems_agent::worker::EndReason;
use scalems_protocol::group::Run;
use scalems_protocol::program;
use scalems_protocol::worker::{Recorded, WorkerStop, WorkerToAgent};

use crate::fake_agent::{argv, joined, run, template};

#[test]
fn a_stopped_worker_hands_back_what_waits_and_lets_run_what_runs() {
    let (_directory, mut agent, worker) = joined();
    let data = rmp_serde::to_vec_named(&argv(["/bin/sh", "-c", "sleep 0.2"])).unwrap();
    agent.lease(template(program::EXECUTABLE), run(1, 0, 5), data);
    while agent.hear_report().0.started.is_empty() {}
    agent.say(WorkerStop {
        drain_ms: 20_000,
        reason: "enough".into(),
    });
    let (mut returned, mut ended) = (0, 0);
    loop {
        match agent.hear() {
            (WorkerToAgent::Report(report), _) => {
                returned += report.returned.iter().map(Run::count).sum::<u32>();
                ended += report.results.len();
                agent.say(Recorded {
                    recorded: report.number,
                    ..Recorded::default()
                });
            }
            (WorkerToAgent::WorkerGoodbye(goodbye), _) => {
                assert!(goodbye.reason.contains("enough"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((returned, ended), (3, 2));
    assert_eq!(worker.ended().unwrap(), EndReason::Stopped("enough".into()));
}

#[test]
fn a_signal_on_the_node_ends_what_outlasts_its_time() {
    let (_directory, mut agent, worker) = joined();
    let data = rmp_serde::to_vec_named(&argv(["/bin/sh", "-c", "sleep 60"])).unwrap();
    agent.lease(template(program::EXECUTABLE), run(1, 0, 3), data);
    let mut started = 0;
    while started < 2 {
        started += agent.hear_report().0.started.iter().map(Run::count).sum::<u32>();
    }
    worker.stopper.stop(Duration::from_millis(100));
    let hello = agent.welcome();
    assert!(hello.offer.is_empty() && hello.modes.is_empty());
    assert_eq!(
        hello.held.iter().map(|held| held.run).collect::<Vec<_>>(),
        [run(1, 0, 2)]
    );
    let mut returned = 0;
    while returned < 2 {
        returned += agent.hear_report().0.returned.iter().map(Run::count).sum::<u32>();
    }
    assert!(matches!(agent.hear(), (WorkerToAgent::WorkerGoodbye(_), _)));
    assert_eq!(worker.ended().unwrap(), EndReason::Asked);
}
