//! All workers of a large pilot come back at once, to an agent that was started again.

use std::time::{Duration, Instant};

use scalems_client::Task;
use scalems_tests::pilot::{PATIENCE, Pilot, until_workers};

use crate::measure;

/// How soon all are back.
const BACK: Duration = Duration::from_secs(10);

#[test]
fn all_workers_come_back_to_a_restarted_agent() {
    let count = super::rounds(200, 1_000);
    // They are on one machine: losses are none of this.
    let options = "--no-workers --tcp --tcp-only --lost-after 60s";
    let mut pilot = Pilot::start_alone(options);
    let mut workers = pilot.home.spawn(&format!(
        "sh -c 'for at in $(seq {count}); do scalems worker start --name w$at --cores 1 2>/dev/null & done; wait'"
    ));
    let session = pilot.session();
    let here = |rows: &[scalems_client::protocol::client::WorkerRow]| {
        rows.iter().filter(|row| row.state == "active").count() == count as usize
    };
    let begin = Instant::now();
    let rows = until_workers(&session, here);
    let memory: u64 = rows.iter().map(|row| measure::resident(row.pid)).sum();
    println!(
        "{count} workers joined within {:?}; each takes {} KiB",
        begin.elapsed(),
        (memory / u64::from(count)) >> 10
    );
    let task = Task::new("scalems.noop");
    let before: Vec<_> = (0..2_000).map(|_| session.submit(&task).unwrap()).collect();
    pilot.kill_agent();
    let begin = Instant::now();
    pilot.resume(options);
    let serves = begin.elapsed();
    until_workers(&session, here);
    let took = begin.elapsed();
    let cost = measure::processor(pilot.pid());
    println!(
        "{count} workers were back {took:?} after the agent's start, which took {serves:?}; it used {cost:?}"
    );
    assert!(took < BACK, "{took:?}");
    let after: Vec<_> = (0..2_000).map(|_| session.submit(&task).unwrap()).collect();
    for handle in before.iter().chain(&after) {
        assert!(handle.wait(PATIENCE).unwrap().is_done());
    }
    // Nobody came as another.
    assert_eq!(session.ask_workers().unwrap().len(), count as usize);
    drop(session);
    pilot.sh("scalems pilot stop").well();
    workers.status();
    pilot.expect_end();
}
