//! Workers of other layouts than the job began with.

use scalems_client::protocol::client::WorkerRow;
use scalems_tests::pilot::until_workers;

use crate::cluster::{Cluster, active};

/// What those offer that are on a host.
fn cores_on(rows: &[WorkerRow], host: &str) -> Vec<u64> {
    let own = rows
        .iter()
        .filter(|row| row.state == "active" && row.host == host);
    own.filter_map(|row| Some(row.resources.iter().find(|(kind, ..)| kind == "cores")?.1))
        .collect()
}

#[test]
fn two_workers_come_in_the_place_of_one_on_its_node() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 3 --time 10m", 3);
    let rows = session.ask_workers().unwrap();
    let host = rows.iter().find(|row| row.worker == 2).unwrap().host.clone();
    cluster
        .sh("scalems worker request")
        .fails(1, &["no_room", "0 of 4 cores", "scalems worker replace"]);
    let said = cluster
        .sh("scalems worker replace 2 --count 2 --cores 2 --wait")
        .well();
    assert_eq!(said.out.matches(&format!(" on {host}\n")).count(), 2, "{said:?}");
    let rows = until_workers(&session, |rows| active(rows).len() == 4);
    assert_eq!(cores_on(&rows, &host), [2, 2], "{rows:#?}");
    assert!(
        rows.iter().all(|row| row.left_ms.is_some()),
        "each knows when its job ends: {rows:?}"
    );
    // All of them work, on all cores of the job.
    let all = cluster.begin(&session, "--array 0-11 -- sleep 600", 12);
    let rows = session.ask_workers().unwrap();
    let busy = rows.iter().filter(|row| row.host == host).map(|row| row.leases.1);
    assert_eq!(busy.collect::<Vec<_>>(), [2, 2], "{rows:#?}");
    cluster.sh(&format!("scalems task cancel {all} --kill")).well();
    // One that is stopped stays so, and its room is free again.
    let stopped = rows.iter().rfind(|row| row.host == host).unwrap().worker;
    cluster.sh(&format!("scalems worker stop {stopped}")).well();
    until_workers(&session, |rows| cores_on(rows, &host) == [2]);
    cluster.sh("scalems worker request --count 2 --wait").well();
    let rows = until_workers(&session, |rows| active(rows).len() == 5);
    assert_eq!(cores_on(&rows, &host), [2, 1, 1], "{rows:#?}");
    let job = cluster.job();
    drop(session);
    cluster.sh("scalems pilot stop").well();
    assert_eq!(cluster.until_over(&job), "COMPLETED");
    cluster.home.until_empty();
    for node in ["n1", "n2", "n3"] {
        let left = cluster.left_in_tmp(node);
        assert!(left.is_empty(), "{node}: {left:?}");
    }
}
