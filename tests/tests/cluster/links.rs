//! What becomes of a pilot whose nodes cannot reach each other.

use scalems_tests::pilot::{until_tasks, until_workers};

use crate::cluster::{Cluster, active};

/// A node that the agent is not on.
fn other(cluster: &Cluster) -> &'static str {
    if cluster.agent().0 == "n2" { "n1" } else { "n2" }
}

#[test]
fn a_link_that_is_cut_for_six_seconds_costs_nothing() {
    let cluster = Cluster::with("--nodes 2");
    let session = cluster.pilot("--nodes 2 --time 10m", 2);
    let number = cluster.begin(&session, "--array 0-79 -- sleep 1", 8);
    let node = other(&cluster);
    cluster.tool("link", &format!("{node} down"));
    until_workers(&session, |rows| {
        rows.iter().any(|row| row.name == node && row.silent_ms >= 6_000)
    });
    cluster.tool("link", &format!("{node} up"));
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 80, "{counts:?}");
    let rows = session.ask_workers().unwrap();
    assert_eq!(active(&rows), ["n1", "n2"]);
    assert!(rows.iter().all(|row| row.worker <= 2), "the same two: {rows:?}");
    let tasks = cluster
        .sh(&format!("scalems --output jsonl task list {number}"))
        .well()
        .jsonl();
    assert!(
        tasks.iter().all(|row| row["run"]["attempt"] == 1),
        "none ran twice: {tasks:?}"
    );
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn a_node_that_is_cut_off_for_good_is_done_without() {
    let cluster = Cluster::with("--nodes 2");
    let session = cluster.pilot("--nodes 2 --time 10m --lost-after 2s --orphan-time 10s", 2);
    // In a directory of their user's: what the node has begun begins elsewhere once it has ended it for sure.
    let number = cluster.begin(
        &session,
        "--array 0-19 -- sh -c 'echo %{INDEX} >>begun; sleep 1; echo %{INDEX} >>ended'",
        8,
    );
    let (node, job) = (other(&cluster), cluster.job());
    cluster.tool("link", &format!("{node} down"));
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 20, "{counts:?}");
    until_workers(&session, |rows| active(rows).len() == 1);
    cluster.sh("scalems pilot stop").well();
    // Slurm believes the node to be lost, and so ends the job without it.
    assert_eq!(cluster.until_over(&job), "COMPLETED");
    // The worker there gives up by itself, has ended what it ran, and asks for its job in vain.
    let home = cluster.home.path();
    let own = home.display();
    cluster
        .sh(&format!(
            "while pgrep -f '[s]calems worker start .*{own}' >/dev/null; do sleep 0.2; done"
        ))
        .well();
    cluster.home.until_empty();
    let begun = cluster.home.read("begun").lines().count();
    assert_eq!(begun, 24, "the four that it had begun were run once more");
}
