//! Pilots whose agent runs on the login node, and whose jobs have workers only.

use scalems_tests::pilot::{until_tasks, until_workers};

use crate::cluster::{Cluster, active};

#[test]
fn an_agent_on_the_login_node_serves_one_job_after_another() {
    let cluster = Cluster::new();
    let interface = cluster.interface();
    let options = format!("--agent here --interface {interface} --nodes 3");
    let session = cluster.pilot(&format!("{options} --time 10m"), 3);
    let (host, pid) = cluster.agent();
    // Who starts workers is the job's first process.
    let said = cluster
        .sh("scalems worker replace 2 --count 2 --cores 2 --wait")
        .well();
    assert_eq!(said.out.matches(" on n").count(), 2, "{said:?}");
    until_workers(&session, |rows| active(rows).len() == 4);
    let number = cluster.begin(&session, "--retries 0 --array 0-47 -- sleep 1", 12);
    // A job that somebody ends takes its workers along, in order, and no task's attempt is charged for it.
    let first = cluster.job();
    cluster.sh(&format!("scancel {first}")).well();
    cluster.until_over(&first);
    until_workers(&session, |rows| active(rows).is_empty());
    let listed = cluster.sh("scalems pilot list").well();
    assert!(listed.out.contains("serves; its job"), "{listed:?}");
    let asked = cluster.sh("scalems worker request --wait --deadline 2s");
    asked.fails(1, &["nobody who starts workers"]);
    // Another one goes on, until its time is nearly over.
    cluster
        .sh(&format!(
            "scalems pilot submit --name night {options} --time 1m --warning 25s"
        ))
        .well();
    let second = cluster.job();
    assert_ne!(second, first);
    let rows = until_workers(&session, |rows| active(rows).len() == 3);
    assert!(rows.iter().all(|row| row.left_ms.is_some()), "{rows:?}");
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!((counts.done, counts.failed), (48, 0), "{counts:?}");
    let how = cluster.until_over(&second);
    assert_eq!(how, "COMPLETED", "its workers ended in time");
    assert_eq!(cluster.agent(), (host, pid), "it is still the same agent");
    // The pilot's end is its job's.
    cluster
        .sh(&format!("scalems pilot submit --name night {options} --time 10m"))
        .well();
    let third = cluster.job();
    drop(session);
    cluster.sh("scalems pilot stop").well();
    assert_eq!(cluster.until_over(&third), "COMPLETED");
    cluster.home.until_empty();
    for node in ["n1", "n2", "n3"] {
        assert!(cluster.left_in_tmp(node).is_empty(), "{node} is left clean");
    }
}
