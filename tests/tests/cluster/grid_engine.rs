//! The same pilots as jobs of Grid Engine.

use scalems_client::Session;
use scalems_tests::pilot::{Output, until_tasks};

use crate::cluster::{Cluster, active};

/// A cluster that Grid Engine looks after.
struct Engine {
    cluster: Cluster,
    environment: String,
}

impl Engine {
    #[track_caller]
    fn new() -> Self {
        let cluster = Cluster::with("--nodes 2");
        let environment = cluster.start_grid_engine();
        Self { cluster, environment }
    }

    #[track_caller]
    fn sh(&self, line: &str) -> Output {
        self.cluster.on_ctl(&self.environment, line)
    }

    /// Submits a pilot of two nodes, and connects to it.
    #[track_caller]
    fn pilot(&self, options: &str) -> Session {
        self.sh(&format!(
            "scalems pilot submit --name night --batch sge --nodes 2 --cores 4 --pe nodes {options}"
        ))
        .well();
        self.cluster.session(2)
    }

    /// Waits until the engine has forgotten a job, which it does at its end.
    #[track_caller]
    fn until_over(&self, job: &str) {
        self.sh(&format!(
            "while qstat -j {job} >/dev/null 2>&1; do sleep 0.2; done"
        ))
        .well();
    }
}

#[test]
fn a_pilot_is_a_job_of_grid_engine_too() {
    let engine = Engine::new();
    for (options, code, said) in [
        (
            "--nodes 2",
            2,
            "name one that puts --cores of them on each node with --pe",
        ),
        ("--pe nodes", 2, "say with --cores how many"),
        (
            "--pe nosuch --cores 2",
            1,
            "the requested parallel environment \"nosuch\" does not exist",
        ),
        ("--partition nosuch", 1, "unknown queue \"nosuch\""),
    ] {
        engine
            .sh(&format!(
                "scalems pilot submit --name night --batch sge --time 5m {options}"
            ))
            .fails(code, &[said]);
    }
    // More than there is: it is told why it waits, and taken out of the queue.
    let waits = engine.sh(
        "scalems pilot submit --name wide --batch sge --nodes 9 --cores 4 --pe nodes --time 5m --timeout 5s",
    );
    assert_eq!(waits.code, 4, "{waits:?}");
    assert!(waits.err.contains("is pending: "), "{waits:?}");
    engine.sh("scalems pilot stop --pilot wide").well();
    // One that the engine could not start, and will not try again, says what was wrong.
    let stuck = engine
        .sh("scalems pilot submit --name stuck --batch sge --time 5m --timeout 8s -- -o /no/such/place/log");
    assert_eq!(stuck.code, 4, "{stuck:?}");
    assert!(stuck.err.contains("/no/such/place"), "{stuck:?}");
    engine.sh("scalems pilot stop --pilot stuck").well();

    let session = engine.pilot("--time 10m");
    let rows = session.ask_workers().unwrap();
    assert_eq!(active(&rows), ["n1", "n2"]);
    for row in &rows {
        assert_eq!(row.host, row.name);
        let cores = row.resources.iter().find(|(kind, ..)| kind == "cores");
        assert_eq!(
            cores.map(|(_, total, _)| *total),
            Some(4),
            "the slots there: {row:?}"
        );
        assert!(
            row.left_ms
                .is_some_and(|left| (400_000..=600_000).contains(&left)),
            "it knows when its job ends: {row:?}"
        );
    }
    let number = engine.cluster.begin(&session, "--array 0-15 -- sleep 1", 8);
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 16, "{counts:?}");
    let job = engine.cluster.job();
    let listed = engine.sh("scalems pilot list").well();
    assert!(
        listed.out.contains(&job) && listed.out.contains("serves"),
        "{listed:?}"
    );
    engine.sh("scalems pilot stop").well();
    engine.until_over(&job);
    engine.cluster.home.until_empty();
    for node in ["n1", "n2"] {
        assert!(
            engine.cluster.left_in_tmp(node).is_empty(),
            "{node} is left clean"
        );
    }
}

#[test]
fn a_job_that_is_deleted_ends_in_order_and_goes_on_in_another() {
    let engine = Engine::new();
    let session = engine.pilot("--time 10m");
    let number = engine.cluster.begin(&session, "--array 0-39 -- sleep 1", 8);
    let job = engine.cluster.job();
    engine.sh(&format!("qdel {job}")).well();
    engine.until_over(&job);
    engine.cluster.home.until_empty();
    assert!(
        !engine.cluster.pilot_directory().join("client.json").exists(),
        "it ended in order"
    );
    let session = engine.pilot("--time 10m --resume");
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "{counts:?}");
    engine.sh("scalems pilot stop").well();
}

#[test]
fn before_the_time_of_a_job_of_grid_engine_is_over_it_ends_in_order() {
    let engine = Engine::new();
    let session = engine.pilot("--time 50s --warning 20s");
    let number = engine.cluster.begin(&session, "--array 0-999 -- sleep 1", 8);
    let job = engine.cluster.job();
    engine.until_over(&job);
    engine.cluster.home.until_empty();
    assert!(
        !engine.cluster.pilot_directory().join("client.json").exists(),
        "it was over before the engine had to end it"
    );
    let session = engine.pilot("--time 10m --resume");
    let counts = until_tasks(&session, number, |counts| counts.done > 200);
    assert_eq!((counts.failed, counts.canceled), (0, 0), "{counts:?}");
    engine
        .sh("scalems task cancel all --kill && scalems pilot stop")
        .well();
}
