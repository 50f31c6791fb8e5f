//! What never becomes a pilot, and that its user hears why.

use crate::cluster::Cluster;

#[test]
fn what_the_batch_system_refuses_is_said_in_its_words() {
    let cluster = Cluster::with("--nodes 1");
    cluster
        .sh("scalems pilot submit --name night --time 5m --partition nowhere")
        .fails(1, &["sbatch", "invalid partition specified: nowhere"]);
    cluster
        .sh("scalems pilot submit --name night --time 5m -- --constraint=warp")
        .fails(1, &["sbatch", "Invalid feature specification"]);
    assert!(
        !cluster.pilot_directory().join("job.json").exists(),
        "nothing was queued"
    );
}

#[test]
fn a_job_that_would_never_start_is_taken_back() {
    let cluster = Cluster::with("--nodes 1");
    // Slurm takes it, and never starts it.
    cluster
        .sh("scalems pilot submit --name night --time 2h --partition short")
        .fails(
            1,
            &[
                "would never start and was taken out of the queue",
                "the partition does not allow so much --time (PartitionTimeLimit)",
            ],
        );
    assert_eq!(cluster.sh("squeue -h -t pending,running").well().out, "");
}

#[test]
fn a_job_that_waits_says_why() {
    let cluster = Cluster::with("--nodes 1");
    cluster
        .sh("sbatch --exclusive --time=1 --wrap 'sleep 600'")
        .well();
    cluster
        .sh("scalems pilot submit --name night --time 5m --timeout 5s")
        .fails(
            4,
            &[
                "is pending: Resources (no nodes are free for it yet)",
                "estimated start",
                "does not serve yet",
            ],
        );
    let job = cluster.job();
    cluster.sh("scalems pilot submit --name night --time 5m").fails(
        1,
        &[&format!("pilot night is job {job} already, which is pending")],
    );
    cluster
        .sh("scalems pilot submit --name wide --time 2m --nodes 9 --timeout 5s")
        .fails(
            4,
            &["is pending: PartitionConfig (the partition cannot give so much as it is now)"],
        );
    // From anywhere where its directory is seen.
    let rows = cluster.sh("scalems --output json pilot list").well().json();
    let names: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| row["pilot"].as_str())
        .collect();
    assert_eq!(names, ["night", "wide"]);
    assert_eq!(rows[0]["job"], job.as_str());
    assert!(
        rows[0]["state"]
            .as_str()
            .unwrap()
            .starts_with("its job is pending: Resources"),
        "{rows}"
    );
    let info = cluster.sh("scalems pilot info --pilot night");
    assert_eq!(info.code, 3, "{info:?}");
    assert!(
        info.out.contains("is pending: Resources") && info.out.contains("does not serve"),
        "{info:?}"
    );
    cluster
        .sh("scalems pilot wait --pilot night --timeout 2s")
        .fails(4, &["is pending: Resources", "does not serve yet"]);
    cluster
        .sh("scalems pilot remove night")
        .fails(1, &[&format!("pilot night is job {job}, which has not ended")]);
    for name in ["night", "wide"] {
        let said = cluster.sh(&format!("scalems pilot stop --pilot {name}")).well();
        assert!(said.out.contains("is out of the queue"), "{said:?}");
        cluster.sh(&format!("scalems pilot remove {name}")).well();
    }
    assert!(!cluster.pilot_directory().exists());
    assert_eq!(cluster.sh("squeue -h -t pending -o %i").well().out, "");
}

#[test]
fn a_job_that_ends_before_it_serves_shows_what_it_wrote() {
    let cluster = Cluster::with("--nodes 1");
    cluster
        .sh("scalems pilot submit --name night --time 5m --interface nope0")
        .fails(
            1,
            &[
                "has ended (FAILED) before the pilot served",
                "no network interface nope0",
            ],
        );
}

#[test]
fn what_could_not_be_a_pilot_is_refused_before_it_is_queued() {
    let home = scalems_tests::pilot::Home::new();
    for (options, code, why) in [
        ("--name ../x --time 5m", 1, "../x"),
        (
            "--time 1m",
            2,
            "--time has to be at least 30s more than --warning",
        ),
        ("--time 5m --journal none", 2, "leave out --journal none"),
        (
            "--time 5m --partition 'a --nodes=9'",
            1,
            "cannot stand in a directive",
        ),
    ] {
        home.sh(&format!("scalems pilot submit --batch slurm {options}"))
            .fails(code, &[why]);
        assert!(!home.path().join("pilots").exists(), "nothing was made");
    }
}

#[test]
fn without_a_batch_system_it_is_named() {
    let home = scalems_tests::pilot::Home::new();
    home.sh("PATH=${PATH%%:*}; scalems pilot submit --time 5m").fails(
        2,
        &["no batch system is found here (looked for sbatch, qconf, pbs_rsub, flux)"],
    );
    home.sh("PATH=${PATH%%:*}; scalems pilot submit --time 5m --batch slurm")
        .fails(1, &["there is no command sbatch: is slurm installed here"]);
    home.sh("scalems pilot start --batch slurm")
        .fails(1, &["this process is in no slurm job: SLURM_JOB_ID is not set"]);
}
