//! What a pilot keeps when parts of its job are lost.

use scalems_tests::pilot::{until_tasks, until_workers};

use crate::cluster::{Cluster, active};

#[test]
fn an_agent_that_is_killed_is_started_again_and_nothing_is_lost() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 3 --time 10m", 3);
    let number = cluster.begin(&session, "--array 0-35 -- sh -c 'sleep 1; echo %{INDEX}'", 12);
    let (host, pid) = cluster.agent();
    cluster.tool("on", &format!("{host} kill -KILL {pid}"));
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 36, "{counts:?}");
    assert_ne!(cluster.agent().1, pid, "it is another one");
    let logs = cluster
        .sh(&format!("scalems logs {number} | sort -n | uniq -c"))
        .well()
        .out;
    assert_eq!(logs.lines().count(), 36, "{logs}");
    // What ran went on: no task ran twice.
    let attempts = cluster
        .sh(&format!("scalems --output jsonl task list {number}"))
        .well();
    assert!(
        attempts.jsonl().iter().all(|row| row["run"]["attempt"] == 1),
        "{}",
        attempts.out
    );
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn a_node_that_loses_power_and_comes_back_joins_again() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 3 --time 10m --lost-after 3s", 3);
    let lost = if cluster.agent().0 == "n2" { "n3" } else { "n2" };
    let number = cluster.begin(&session, "--on-silence rerun --array 0-35 -- sleep 1", 12);
    cluster.tool("crash", lost);
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 36, "the others ran its tasks: {counts:?}");
    cluster.tool("boot", lost);
    let rows = until_workers(&session, |rows| active(rows).len() == 3);
    assert_eq!(active(&rows), ["n1", "n2", "n3"]);
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn an_agent_whose_node_loses_power_goes_on_in_another_job() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 2 --time 10m", 2);
    // In a directory of their user's, where two attempts must never run at once, they would wait for the orphan time:
    // nobody knows yet that the job of their workers is over.
    let number = cluster.begin(&session, "--on-silence rerun --array 0-39 -- sleep 1", 8);
    let (first, host) = (cluster.job(), cluster.agent().0);
    cluster.tool("crash", &host);
    // Slurm lets the job go on with the nodes that are left, once it has seen that this one is gone.
    cluster.sh(&format!(
        "until [ $(squeue -h -j {first} -o %D) = 1 ]; do sleep 1; done"
    ));
    cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 10m --resume --no-wait")
        .well();
    // That no owner of the journal lives elsewhere is waited for a minute.
    cluster
        .sh("scalems pilot wait --pilot night --timeout 55s --workers 2")
        .well();
    assert_ne!(cluster.agent().0, host, "that node is still down");
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "the same client sees the end: {counts:?}");
    cluster.sh("scalems pilot stop").well();
    assert_eq!(cluster.until_over(&first), "CANCELLED");
}

#[test]
fn a_job_that_is_killed_without_a_word_is_not_waited_for() {
    let cluster = Cluster::with("--nodes 2");
    // Nobody would believe within this test that such an agent and its tasks are gone, but for the batch system.
    let session = cluster.pilot("--nodes 2 --time 10m --lost-after 2s --orphan-time 1h", 2);
    let number = cluster.begin(&session, "--array 0-39 -- sleep 1", 8);
    let job = cluster.job();
    // Slurm would ask before it kills. The host does not, when its memory is used up.
    for node in ["n1", "n2"] {
        cluster.tool("on", &format!("{node} pkill -KILL scalems"));
    }
    cluster.until_over(&job);
    assert!(
        cluster.pilot_directory().join("client.json").exists(),
        "it did not end in order"
    );
    cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 10m --resume --timeout 40s")
        .well();
    // In a directory of their user's, where two attempts must never run at once.
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "{counts:?}");
    cluster.sh("scalems pilot stop").well();
    cluster.home.until_empty();
    cluster.home.note_killed();
}

#[test]
fn a_job_that_has_lost_its_agent_for_good_is_ended() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 2 --time 10m --orphan-time 40s", 2);
    cluster.begin(&session, "--array 0-3999 -- sleep 1", 8);
    let (job, host) = (cluster.job(), cluster.agent().0);
    cluster.tool("crash", &host);
    cluster.sh(&format!(
        "until [ $(squeue -h -j {job} -o %D) = 1 ]; do sleep 1; done"
    ));
    assert_eq!(cluster.until_over(&job), "CANCELLED");
    cluster.home.until_empty();
    cluster.home.note_killed();
}

#[test]
fn a_job_that_is_queued_again_goes_on() {
    let cluster = Cluster::with("--nodes 1");
    let session = cluster.pilot("--time 10m", 1);
    let number = cluster.begin(&session, "--array 0-23 -- sleep 1", 4);
    let job = cluster.job();
    let first = cluster.agent();
    cluster.sh(&format!("scontrol requeue {job}")).well();
    // The agent ends in order, and takes its connection file along.
    cluster.until_gone("client.json");
    // Slurm waits two minutes with it unless it is told not to; and a node does not take a job that it ended within the same second.
    cluster.sh(&format!(
        "until scontrol update JobId={job} StartTime=now+3seconds 2>/dev/null; do sleep 0.5; done"
    ));
    cluster
        .sh("scalems pilot wait --pilot night --timeout 50s")
        .well();
    let session = cluster.session(1);
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 24, "{counts:?}");
    assert_ne!(cluster.agent(), first);
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn a_job_that_is_canceled_lets_end_what_it_can_and_goes_on_in_another() {
    let cluster = Cluster::with("--nodes 2 --kill-wait 15");
    let session = cluster.pilot("--nodes 2 --time 10m", 2);
    let number = cluster.begin(&session, "--array 0-39 -- sleep 1", 8);
    let job = cluster.job();
    cluster.sh(&format!("scancel {job}")).well();
    assert_eq!(cluster.until_over(&job), "CANCELLED");
    cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 10m")
        .fails(1, &["unfinished tasks from before", "--resume"]);
    cluster.home.until_empty();
    let log = std::fs::read_to_string(cluster.pilot_directory().join("job.log")).unwrap();
    assert!(
        !cluster.pilot_directory().join("client.json").exists(),
        "it ended in order: {log}"
    );
    cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 10m --resume")
        .well();
    let session = cluster.session(2);
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "{counts:?}");
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn a_step_that_is_canceled_gets_other_workers() {
    let cluster = Cluster::with("--nodes 2");
    let session = cluster.pilot("--nodes 2 --time 10m", 2);
    // What tasks write comes here while they run, from nodes whose files nobody else sees.
    let said = cluster
        .sh("scalems submit --array 0-7 -- sh -c 'echo begun; sleep 1; echo over' && scalems logs last -f")
        .well()
        .out;
    let lines = |word: &str| said.lines().filter(|line| line.ends_with(word)).count();
    assert_eq!((lines("begun"), lines("over")), (8, 8), "{said}");
    // In a directory that both nodes may write to nothing runs twice: the agent asks whether the step's processes are over.
    let number = cluster.begin(&session, "--array 0-39 -- sleep 1", 8);
    cluster.sh(&format!("scancel {}.0", cluster.job())).well();
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!(counts.done, 40, "{counts:?}");
    cluster.sh("scalems pilot stop").well();
}

#[test]
fn at_the_jobs_time_limit_what_runs_ends_and_the_rest_is_kept() {
    let cluster = Cluster::with("--nodes 2");
    // Slurm looks at limits every half minute, and may warn as much too early.
    let session = cluster.pilot("--nodes 2 --time 1m --warning 30s", 2);
    let number = cluster.begin(&session, "--array 0-999 -- sleep 1", 8);
    let job = cluster.job();
    let how = cluster.until_over(&job);
    assert_eq!(
        how, "COMPLETED",
        "it was over before the batch system had to end it"
    );
    cluster.home.until_empty();
    let left = cluster
        .sh("scalems journal export --pilot night --format csv")
        .well()
        .out;
    assert!(left.lines().any(|line| line.contains(",done,")), "{left}");
    cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 10m --resume")
        .well();
    let session = cluster.session(2);
    let counts = until_tasks(&session, number, |counts| counts.done > 600);
    assert_eq!((counts.failed, counts.canceled), (0, 0), "{counts:?}");
    cluster
        .sh("scalems task cancel all --kill && scalems pilot stop")
        .well();
}
