//! GPUs that a job was given by the batch system, of nodes that have more of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cluster::Cluster;

/// Says what the maker's tool does of a node with four GPUs.
const TOOL: &str = "#!/bin/sh\ncat <<'E'\n\
    0, GPU-aaaaaaaa-0000, 00000000:07:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    1, GPU-bbbbbbbb-0000, 00000000:0F:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    2, GPU-cccccccc-0000, 00000000:47:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    3, GPU-dddddddd-0000, 00000000:4E:00.0, NVIDIA A100-SXM4-40GB, 40960\nE\n";

#[test]
fn a_job_uses_the_gpus_that_slurm_gave_it_and_no_others() {
    let cluster = Cluster::with("--nodes 2 --gpus 4");
    let tool = cluster.home.path().with_file_name("bin").join("nvidia-smi");
    fs::write(&tool, TOOL).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    // Somebody else has the first two of one node.
    let other = cluster.sh(
        "sbatch --parsable --nodelist=n1 --gpus-per-node=2 --cpus-per-task=1 --mem=100 --output=/dev/null --wrap 'sleep 600' && \
         until squeue -h -t running | grep -q n1; do sleep 0.1; done",
    );
    let other = other.well().text().to_owned();
    let session = cluster.pilot("--nodes 2 --cores 2 --gpus 2 --memory 500 --time 10m", 2);
    let rows = session.ask_workers().unwrap();
    for row in &rows {
        let gpus = row.resources.iter().find(|(kind, ..)| kind == "gpus");
        assert_eq!(gpus.map(|(_, count, ..)| *count), Some(2), "{rows:#?}");
    }
    let task = "sh -c 'echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES:$SLURM_JOB_ID; while test ! -e together; do sleep 0.1; done'";
    let number = cluster.begin(
        &session,
        &format!("--array 0-3 --cores 0.5 --gpus 1 -- {task}"),
        4,
    );
    cluster.sh("touch together").well();
    let said = cluster
        .sh(&format!(
            "scalems wait {number} --timeout 60s && scalems logs {number}"
        ))
        .well()
        .out;
    let job = cluster.job();
    let mut had: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_suffix(&format!(":{job}")))
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    had.sort_unstable();
    assert_eq!(had, ["n1:2", "n1:3", "n2:0", "n2:1"], "{said}");
    // A whole one is no one else's, and more than the job was given no task gets.
    cluster.sh("scalems submit --gpus 3 -- true").fails(1, &["gpus"]);
    cluster.sh(&format!("scancel {other}; scalems pilot stop")).well();
}
