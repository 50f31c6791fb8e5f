//! What a pilot does for its user when all goes well.

use crate::cluster::{Cluster, active};

#[test]
fn a_pilot_runs_tasks_on_all_nodes_of_its_job_and_leaves_nothing() {
    let cluster = Cluster::new();
    let session = cluster.pilot("--nodes 3 --time 10m", 3);
    let rows = session.ask_workers().unwrap();
    assert_eq!(active(&rows), ["n1", "n2", "n3"]);
    for row in &rows {
        assert_eq!(row.host, row.name);
        let cores = row.resources.iter().find(|(kind, ..)| kind == "cores");
        assert_eq!(
            cores.map(|(_, total, _)| *total),
            Some(4),
            "what the job has there: {row:?}"
        );
    }
    assert!(
        rows.iter().all(|row| row
            .left_ms
            .is_some_and(|left| (400_000..=600_000).contains(&left))),
        "each knows when its job ends: {rows:?}"
    );
    // What takes longer than that waits for another job.
    let long = cluster
        .sh("scalems --output quiet submit --min-time 1h -- true")
        .well();
    let why = cluster
        .sh(&format!("scalems task explain {}", long.text()))
        .well();
    assert!(why.out.contains("one task needs 3600 s"), "{why:?}");
    cluster.sh(&format!("scalems task cancel {}", long.text())).well();
    let well = cluster.sh("scalems doctor").well();
    assert!(
        well.out.contains("slurm: Slurmctld(primary) at ctl is UP")
            && well.out.contains("night: answers; 3 workers"),
        "{well:?}"
    );
    // A second worker of the pilot's job on a node finds the first one, and ends well.
    let directory = cluster.pilot_directory();
    let program = cluster.home.path().with_file_name("bin").join("scalems");
    let second = format!(
        "n1 timeout 20 {} worker start --connection {} --batch=slurm",
        program.display(),
        directory.join("worker.json").display()
    );
    cluster.tool("on", &second);
    assert_eq!(active(&session.ask_workers().unwrap()), ["n1", "n2", "n3"]);
    // Each task names its node: all are used.
    let said = cluster
        .sh("scalems submit --array 0-2999 --wait -- hostname && scalems logs last | sort | uniq -c")
        .well();
    let by_node: Vec<(u64, &str)> = said
        .out
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(count, node)| Some((count.parse().ok()?, node)))
        .collect();
    let nodes: Vec<&str> = by_node.iter().map(|(_, node)| *node).collect();
    assert_eq!(nodes, ["n1", "n2", "n3"], "{}", said.out);
    assert_eq!(by_node.iter().map(|(count, _)| count).sum::<u64>(), 3_000);
    let job = cluster.job();
    // What a user has squeue show in a terminal is of no matter.
    let rows = cluster
        .sh("SQUEUE_PARTITION=short scalems --output json pilot list")
        .well()
        .json();
    assert_eq!(rows[0]["job"], job.as_str(), "{rows}");
    let left = rows[0]["left_s"].as_u64().unwrap();
    assert!((400..=600).contains(&left), "of ten minutes: {rows}");
    drop(session);
    cluster.sh("scalems pilot stop").well();
    assert_eq!(cluster.until_over(&job), "COMPLETED");
    cluster.home.until_empty();
    for node in ["n1", "n2", "n3"] {
        let left = cluster.left_in_tmp(node);
        assert!(left.is_empty(), "{node}: {left:?}");
    }
}

#[test]
fn the_script_can_be_seen_and_changed() {
    let cluster = Cluster::with("--nodes 1");
    let script = cluster
        .sh("scalems pilot submit --name night --nodes 2 --time 1h30m --partition batch --setup 'module load x' --dry-run")
        .well()
        .out;
    for line in [
        "#SBATCH --nodes=2",
        "#SBATCH --time=0-01:30:00",
        "#SBATCH --partition=batch",
        "module load x",
    ] {
        assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
    }
    assert!(!cluster.pilot_directory().exists(), "nothing was made");
    cluster.home.write(
        "own.sh",
        "#!/bin/bash\n#SBATCH --nodes={{ nodes }} --ntasks-per-node=1 --time={{ time }} --output=\"{{ log }}\"\n\
         echo of our own\nexec {{ command }}\n",
    );
    cluster.pilot("--time 5m --template own.sh -- --comment=mine", 1);
    let job = cluster.job();
    assert_eq!(
        cluster.sh(&format!("squeue -h -j {job} -o %k")).well().text(),
        "mine"
    );
    cluster.sh("scalems pilot stop").well();
    cluster.until_over(&job);
    let log = std::fs::read_to_string(cluster.pilot_directory().join("job.log")).unwrap();
    assert!(log.contains("of our own"), "{log}");
}

#[test]
fn a_site_says_what_its_pilots_have_in_common() {
    let cluster = Cluster::with_scratch(256, "--nodes 1");
    let sites = cluster.home.path().join("sites");
    std::fs::create_dir(&sites).unwrap();
    let text = "about = \"here\"\nbatch = \"slurm\"\npartition = \"short\"\nsetup = [\"export OF_THE_SITE=yes\"]\n\
                options = [\"--comment=of-the-site\"]\ndirectory = \"{{ env.SCRATCH }}/{{ name }}\"\n";
    std::fs::write(sites.join("here.toml"), text).unwrap();
    let scratch = format!("export SCRATCH={}", cluster.scratch().display());
    cluster
        .sh("scalems pilot submit --site here --time 5m")
        .fails(2, &["directory \"{{ env.SCRATCH }}", "SCRATCH"]);
    cluster
        .sh("scalems pilot submit --site there --time 5m")
        .fails(2, &["no site \"there\" is known", "there.toml", "perlmutter-cpu"]);
    cluster
        .sh(&format!(
            "{scratch}; scalems pilot submit --name night --site here --time 5m"
        ))
        .well();
    let session = cluster.session(1);
    let said = cluster
        .sh("scalems submit --wait -- sh -c 'echo $OF_THE_SITE' && squeue -h -o '%P %k'")
        .well();
    assert_eq!(said.out, "yes\nshort of-the-site\n");
    cluster
        .sh(&format!(
            "{scratch}/other; mkdir $SCRATCH; scalems pilot submit --name night --site here --time 5m"
        ))
        .fails(1, &["pilot night is job", "choose another name"]);
    drop(session);
    cluster.sh("scalems pilot stop").well();
}
