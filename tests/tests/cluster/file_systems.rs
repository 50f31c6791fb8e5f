//! Pilots where file systems do not take what is written.

use scalems_client::Session;
use scalems_tests::pilot::{until_tasks, until_workers};

use crate::cluster::{Cluster, active};

#[test]
fn a_home_that_is_read_only_is_named_and_can_be_done_without() {
    let cluster = Cluster::with_scratch(256, "--nodes 1");
    let home = cluster.home.path();
    let read_only = format!(
        "mount --bind {0} {0} && mount -o remount,ro,bind {0}",
        home.display()
    );
    // For this command only.
    let inside = |line: &str| format!("unshare --mount sh -c \"{read_only} && {line}\"");
    cluster
        .sh(&inside("scalems pilot submit --name night --time 5m"))
        .fails(1, &["Read-only file system", "pilots/night", "--dir"]);
    assert_eq!(
        cluster.sh("squeue -h -t all").well().out,
        "",
        "nothing was queued"
    );
    // Where nodes may not write to the home either, a pilot lives somewhere else.
    cluster.tool("on", &format!("n1 mount --bind {0} {0}", home.display()));
    cluster.tool("on", &format!("n1 mount -o remount,ro,bind {}", home.display()));
    let directory = cluster.scratch().join("night");
    let said = cluster
        .sh(&inside(&format!(
            "scalems pilot submit --name night --time 10m --dir {0} && export SCALEMS_CONNECTION={0} && \
             scalems submit --wait -- echo far from home && scalems logs last && scalems pilot stop",
            directory.display()
        )))
        .well();
    assert!(said.out.contains("far from home"), "{said:?}");
    cluster.home.until_empty();
}

#[test]
fn a_scratch_that_is_full_stops_nothing_for_good() {
    let cluster = Cluster::with_scratch(64, "--nodes 1");
    let directory = cluster.scratch().join("night");
    // Its name finds it, wherever it lies.
    let at = "export SCALEMS_PILOT=night";
    cluster
        .sh(&format!(
            "scalems pilot submit --name night --time 10m --dir {}",
            directory.display()
        ))
        .well();
    let session = Session::connect(&directory).unwrap();
    until_workers(&session, |rows| active(rows).len() == 1);
    let number: u64 = cluster
        .sh(&format!(
            "{at}; scalems --output quiet submit --array 0-39 -- sleep 1"
        ))
        .well()
        .text()
        .parse()
        .unwrap();
    until_tasks(&session, number, |counts| counts.running == 4);
    let filler = cluster.scratch().join("filler");
    // The journal has room that it does not give back: it has to run out of that, too.
    let said = cluster
        .sh(&format!(
            "cat /dev/zero >{} 2>/dev/null; {at}; while scalems submit -- true 2>refused; do :; done; cat refused",
            filler.display()
        ))
        .well();
    assert!(
        said.out.contains("there is no room for the pilot's journal"),
        "{said:?}"
    );
    session.ask_status().expect("reads go on");
    std::fs::remove_file(&filler).unwrap();
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "{counts:?}");
    let said = cluster
        .sh(&format!(
            "{at}; scalems submit --wait -- echo room again && scalems logs last && scalems pilot stop"
        ))
        .well();
    assert!(said.out.contains("room again"), "{said:?}");
    cluster.home.until_empty();
    cluster.sh("scalems pilot remove night").well();
    assert!(!directory.exists());
    assert!(
        cluster.pilot_directory().symlink_metadata().is_err(),
        "no link is left"
    );
}
