//! What a worker finds on its machine. The makers' tools are stand-ins, first in PATH, that write what the real ones do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use scalems_tests::pilot::{Fifo, Home, Pilot, until_tasks};
use serde_json::Value;
use tempfile::TempDir;

const NVIDIA: &str = "cat <<'E'\n\
    0, GPU-aaaaaaaa-0000, 00000000:07:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    1, GPU-bbbbbbbb-0000, 00000000:0F:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    2, GPU-cccccccc-0000, 00000000:47:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
    3, GPU-dddddddd-0000, 00000000:4E:00.0, NVIDIA A100-SXM4-40GB, 40960\nE\n";
const AMD: &str = "cat <<'E'\n\
    {\"card0\": {\"PCI Bus\": \"0000:C1:00.0\", \"VRAM Total Memory (B)\": \"68702699520\", \"Card Series\": \"AMD INSTINCT MI250\"}}\nE\n";
const INTEL: &str = "cat <<'E'\n\
    {\"device_list\": [{\"device_id\": 0, \"device_name\": \"Intel(R) Data Center GPU Max 1100\", \"pci_bdf_address\": \"0000:29:00.0\"}]}\nE\n";

/// A directory of tools.
fn tools(tools: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in tools {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    directory
}

/// An environment with these tools, of no job and with no GPU named.
fn with(tools: &Path) -> String {
    let cleared = [
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "SLURM_JOB_ID",
    ];
    let unset: Vec<_> = cleared.iter().map(|name| format!("-u {name}")).collect();
    format!("env {} PATH={}:$PATH", unset.join(" "), tools.display())
}

fn ids(found: &Value) -> Vec<String> {
    let gpus = found["gpus"].as_array().unwrap();
    gpus.iter()
        .map(|gpu| {
            format!(
                "{}:{}:{}",
                gpu["number"],
                gpu["maker"].as_str().unwrap_or("?"),
                gpu["id"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn gpus_of_three_makers_are_found() {
    let home = Home::new();
    let all = tools(&[("nvidia-smi", NVIDIA), ("rocm-smi", AMD), ("xpu-smi", INTEL)]);
    let env = with(all.path());
    let detect = |more: &str| {
        let line = format!("{env} {more} scalems --output json worker detect");
        home.sh(&line).well().json()
    };
    let found = detect("");
    assert_eq!(
        ids(&found),
        [
            "0:nvidia:0",
            "1:nvidia:1",
            "2:nvidia:2",
            "3:nvidia:3",
            "4:amd:0",
            "5:intel:0"
        ]
    );
    assert_eq!(found["gpus"][4]["memory_mib"].as_u64(), Some(65_520));
    assert_eq!(found["gpus"][0]["bus"].as_str(), Some("0000:07:00.0"));
    // Which of these are near a NUMA node is this machine's.
    let keys = |gpu: &Value| {
        let keys = gpu.as_object().unwrap().keys().filter(|key| *key != "node");
        keys.cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (keys(&found["gpus"][0]), keys(&found["gpus"][5])),
        (
            "bus id maker memory_mib model number uuid".into(),
            "bus id maker model number".into()
        )
    );
    assert!(found["cpus"].as_array().is_some_and(|cpus| !cpus.is_empty()));
    assert!(found["memory_mib"].as_u64().unwrap() > 0);
    assert_eq!(found["named"][0][0].as_str(), Some("disk"), "{found}");
    // What it may use is said by whoever started it, and by the job that it is part of.
    let found = detect("CUDA_VISIBLE_DEVICES=1,9,2 ROCR_VISIBLE_DEVICES=-1 ZE_AFFINITY_MASK=");
    assert_eq!(ids(&found), ["0:nvidia:1"], "as for CUDA");
    let found = detect("CUDA_VISIBLE_DEVICES=GPU-cccccccc,1 ROCR_VISIBLE_DEVICES=-1 ZE_AFFINITY_MASK=");
    assert_eq!(ids(&found), ["0:nvidia:GPU-cccccccc", "1:nvidia:1"]);
    assert!(found["notes"][0].as_str().unwrap().contains("4 of 6"), "{found}");
    assert_eq!(ids(&detect("SLURM_JOB_ID=7")), [""; 0]);
    assert_eq!(
        ids(&detect("SLURM_JOB_ID=7 SLURM_JOB_GPUS=1,3")),
        ["0:nvidia:1", "1:nvidia:3"]
    );
    let said = home.sh(&format!("{env} scalems worker detect")).well().out;
    assert!(
        said.contains("NVIDIA A100-SXM4-40GB") && said.contains("ROCR_VISIBLE_DEVICES=0"),
        "{said}"
    );
    let doctor = home.sh(&format!("{env} scalems doctor")).out;
    assert!(
        doctor.contains("4 × NVIDIA A100-SXM4-40GB") && doctor.contains("memory limits"),
        "{doctor}"
    );
}

#[test]
fn a_tool_that_fails_is_no_obstacle() {
    let home = Home::new();
    let broken = tools(&[
        (
            "nvidia-smi",
            "echo 'could not communicate with the NVIDIA driver'; exit 9",
        ),
        ("rocm-smi", "echo 'no JSON'"),
        ("amd-smi", "echo '[{\"gpu\": 0, \"bdf\": \"0000:0b:00.0\"}]'"),
        ("xpu-smi", "echo '{\"error\": \"level zero\"}'"),
    ]);
    let line = format!("{} scalems --output json worker detect", with(broken.path()));
    let found = home.sh(&line).well().json();
    assert_eq!(ids(&found), ["0:amd:0"]);
    assert!(
        found["notes"][0].as_str().unwrap().starts_with("nvidia-smi"),
        "{found}"
    );
}

#[test]
fn workers_of_one_host_share_what_is_found() {
    let all = tools(&[("nvidia-smi", NVIDIA)]);
    let pilot = Pilot::start_under(&with(all.path()), "--workers 2 --disk 100");
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let rows = pilot.sh("scalems --output json worker list").well().json();
    for row in rows.as_array().unwrap() {
        let resources = row["resources"].to_string();
        assert!(
            resources.contains("[\"gpus\",2,0]") && resources.contains("[\"disk\",100,0]"),
            "{resources}"
        );
    }
    // Four tasks that run at once have four devices.
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot
        .sh("scalems submit --array 0-3 --cores 0 --gpus 1 --shell -- 'echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER $ROCR_VISIBLE_DEVICES >>devices; read line <gate'")
        .well();
    let session = pilot.session();
    until_tasks(&session, 1, |counts| counts.running == 4);
    gate.release(4);
    pilot.sh("scalems wait 1").well();
    drop(session);
    let mut devices: Vec<_> = pilot.home.read("devices").lines().map(str::to_owned).collect();
    devices.sort_unstable();
    let told = ["0", "1", "2", "3"].map(|id| format!("{id} PCI_BUS_ID"));
    assert_eq!(devices, told);
    pilot.stop();
}

#[test]
fn what_is_said_goes_before_what_is_found() {
    let all = tools(&[("nvidia-smi", NVIDIA)]);
    let pilot = Pilot::start_under(&with(all.path()), "--workers 2 --gpus 1 --disk 0");
    pilot.sh("scalems pilot wait --workers 2 --timeout 60s").well();
    let rows = pilot.sh("scalems --output json worker list").well().json();
    for row in rows.as_array().unwrap() {
        let resources = row["resources"].to_string();
        assert!(
            resources.contains("[\"gpus\",1,0]") && !resources.contains("disk"),
            "{resources}"
        );
    }
    pilot
        .sh("scalems submit --gpus 2 -- true")
        .fails(1, &["needs 2 gpus"]);
    pilot.stop();
}

#[test]
fn the_memory_of_a_control_group_is_what_is_found() {
    let home = Home::new();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| {
        let (kind, path) = line.split_once(':')?.1.split_once(':')?;
        (kind == "memory").then(|| format!("/sys/fs/cgroup/memory{path}"))
    });
    let Some(own) = own.filter(|own| std::path::Path::new(own).is_dir()) else {
        return eprintln!("there are no control groups of version 1 for memory here: skipped");
    };
    let group = std::path::Path::new(&own).join(format!("scalems-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        return eprintln!("no control group can be made here: {error}: skipped");
    }
    let limited = std::fs::write(group.join("memory.limit_in_bytes"), "300M");
    let said = home.sh(&format!(
        "sh -c 'echo $$ >{0}/cgroup.procs; exec scalems --output json worker detect'",
        group.display()
    ));
    std::fs::remove_dir(&group).unwrap();
    limited.unwrap();
    assert_eq!(said.well().json()["memory_mib"], 300);
}
