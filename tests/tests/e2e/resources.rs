//! What tasks need and workers have.

use serde_json::{Value, json};

use scalems_tests::pilot::{Fifo, Pilot, until_tasks, until_workers};

#[test]
fn resources_of_ones_own_are_counted() {
    let pilot = Pilot::start("--cores 4 --resource licence=2 --resource fpga/a=1");
    let listed = pilot.sh("scalems worker list").well().out;
    assert!(
        listed.contains("licence") && listed.contains("fpga/a"),
        "{listed}"
    );
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot
        .sh("scalems submit --array 0-2 --resource licence=1 --shell -- 'read line <gate'")
        .well();
    let session = pilot.session();
    until_tasks(&session, 1, |counts| counts.running == 2);
    let why = pilot.sh("scalems task explain 1.2").well().out;
    assert!(why.contains("2 of 2 licence in use, one task needs 1"), "{why}");
    // Others do not wait for them.
    pilot
        .sh("scalems submit --resource fpga/a=1 --wait -- true")
        .well();
    gate.release(3);
    pilot.sh("scalems wait 1").well();
    pilot
        .sh("scalems submit --resource licence=3 -- true")
        .fails(1, &["needs 3 licence", "no worker has more than 2"]);
    for (options, said) in [
        ("--resource licence", "NAME=AMOUNT"),
        ("--resource licence=0", "NAME=AMOUNT"),
        ("--resource 'a b=1'", "no name of a resource"),
        ("--resource cores=2", "has an option of its own: --cores"),
        ("--resource a=1 --resource a=2", "says twice"),
    ] {
        pilot
            .sh(&format!("scalems submit {options} -- true"))
            .fails(2, &[said]);
    }
    drop(session);
    pilot.stop();
}

#[test]
fn parts_of_things_are_shared() {
    let pilot = Pilot::start("--cores 4 --gpus 2 --resource fpga=0.5");
    let listed = pilot.sh("scalems worker list").well().out;
    assert!(listed.contains("fpga 0/0.5"), "{listed}");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot
        .sh(
            "scalems submit --array 0-3 --gpus 0.5 --cores 0.25 --resource fpga=0.1 --shell -- \
             'echo $CUDA_VISIBLE_DEVICES $SCALEMS_GPUS $OMP_NUM_THREADS; read line <gate'",
        )
        .well();
    let session = pilot.session();
    until_tasks(&session, 1, |counts| counts.running == 4);
    let listed = pilot.sh("scalems worker list").well().out;
    assert!(
        listed.contains("cores 1/4") && listed.contains("gpus 2/2") && listed.contains("fpga 0.4/0.5"),
        "{listed}"
    );
    let rows = pilot.sh("scalems worker list --output json").well().json();
    assert_eq!(rows[0]["fractions"], json!([["fpga", 0.5, 0.4]]));
    pilot.sh("scalems submit --gpus 0.0001 -- true").well();
    let why = pilot.sh("scalems task explain 2").well().out;
    assert!(why.contains("2 of 2 gpus in use, one task needs 0.0001"), "{why}");
    gate.release(4);
    pilot.sh("scalems wait 1-2").well();
    let wrote = pilot.sh("scalems logs 1").well().out;
    for said in ["0 0 1", "1 1 1"] {
        let lines = wrote.lines().filter(|line| line.ends_with(said));
        assert_eq!(lines.count(), 2, "two share each: {wrote}");
    }
    pilot
        .sh("scalems submit --gpus 1.5 --shell --wait -- 'cat $SCALEMS_SELF'")
        .well();
    let own = pilot.sh("scalems logs last").well().json();
    assert_eq!(
        (&own["gpus"], &own["gpu_shares"], &own["needs"]["gpus_per_rank"]),
        (&json!([0, 1]), &json!([1, 0.5]), &json!(1.5))
    );
    for (options, said) in [
        ("--gpus 0.00001", "four digits"),
        ("--cores -1", "four digits"),
        ("--resource fpga=0.12345", "NAME=AMOUNT"),
    ] {
        pilot
            .sh(&format!(
                "scalems submit {} -- true",
                options.replacen(' ', "=", 1)
            ))
            .fails(2, &[said]);
    }
    pilot
        .sh("scalems submit --resource fpga=0.6 -- true")
        .fails(1, &["needs 0.6 fpga", "no worker has more than 0.5"]);
    drop(session);
    pilot.stop();
}

#[test]
fn a_task_takes_the_first_way_that_there_is_room_for() {
    let mut pilot = Pilot::start("--cores 4 --gpus 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let program = "echo way $SCALEMS_VARIANT with $OMP_NUM_THREADS cores, GPU $SCALEMS_GPUS; cat $SCALEMS_SELF >self.$SCALEMS_INDEX; read line <gate";
    pilot
        .sh(&format!(
            "scalems submit --array 0-2 --gpus 1 --or cores=3,memory=100 --or cores=4 --shell -- '{program}'"
        ))
        .well();
    let session = pilot.session();
    until_tasks(&session, 1, |counts| counts.running == 2);
    let why = pilot.sh("scalems task explain 1.1").well().out;
    assert!(why.contains("room for variant 1: 3 cores, 100 memory"), "{why}");
    let why = pilot.sh("scalems task explain 1.2").well().out;
    assert!(
        why.contains("variant 0: ") && why.contains("variant 2: ") && why.contains("4 of 4 cores in use"),
        "{why}"
    );
    let row = pilot.sh("scalems task info 1.1 --output json").well().json();
    assert_eq!(row["task"]["row"]["variant"], 1, "{row}");
    drop(session);
    gate.release(3);
    pilot.sh("scalems wait 1").well();
    let wrote = pilot.sh("scalems logs 1.0-1").well().out;
    assert!(
        wrote.contains("way 0 with 1 cores, GPU 0") && wrote.contains("way 1 with 3 cores, GPU"),
        "{wrote}"
    );
    let own = std::fs::read(pilot.home.work().join("self.1")).unwrap();
    let own: Value = serde_json::from_slice(&own).unwrap();
    assert_eq!(
        (
            &own["variant"],
            &own["needs"]["cores_per_rank"],
            &own["memory_mib"]
        ),
        (&json!(1), &json!(3), &json!(100))
    );
    let planned = pilot
        .sh("scalems submit --dry-run --gpus 2 --or cores=16,placement=strict,min-time=1h -- true")
        .well()
        .out;
    assert!(
        planned.contains("or else") && planned.contains("16 cores, placement strict"),
        "{planned}"
    );
    pilot.sh("scalems submit --gpus 2 --or cores=16 -- true").fails(
        1,
        &["needs 2 gpus", "or else 16 cores", "no worker has more than 4"],
    );
    for (way, said) in [
        ("cores", "cores="),
        ("cores=2,cores=3", "says cores twice"),
        ("memory=x", "no number of MiB"),
        ("placement=near", "compact, strict or scatter"),
        ("a b=1", "no name of a resource"),
    ] {
        pilot
            .sh(&format!("scalems submit --or \"{way}\" -- true"))
            .fails(2, &[said]);
    }
    pilot
        .sh("scalems submit --or cores=1 --or cores=1 --or cores=1 --or cores=1 -- true")
        .fails(2, &["--or can be said 3 times"]);
    std::fs::write(
        pilot.home.work().join("graph.toml"),
        "[[task]]\nname = 'a'\ngpus = 2\nor = ['cores=2']\ncommand = 'printenv SCALEMS_VARIANT'\n",
    )
    .unwrap();
    pilot.sh("scalems graph graph.toml").well();
    pilot.sh("scalems wait last").well();
    assert_eq!(pilot.sh("scalems logs last").well().out.trim(), "1");
    std::fs::write(
        pilot.home.work().join("graph.toml"),
        "[[task]]\nname = 'a'\nor = {cores=2, memory=3}\ncommand = 'true'\n",
    )
    .unwrap();
    pilot
        .sh("scalems graph graph.toml")
        .fails(2, &["for each amount"]);
    // What a task had is told of the way in which it ran.
    pilot.kill_all();
    let rows = pilot.sh("scalems journal export --pilot default").well().jsonl();
    let had = rows.last().map(|row| (&row["cores"], &row["gpus"]));
    assert_eq!(had, Some((&json!(2), &json!(0))), "{rows:?}");
}

#[test]
fn tasks_say_how_their_cores_are_to_lie() {
    let pilot = Pilot::start("--cores 2");
    for how in ["compact", "strict", "scatter"] {
        pilot
            .sh(&format!(
                "scalems submit --cores 2 --placement {how} --shell --wait -- 'cat $SCALEMS_SELF'"
            ))
            .well();
        let said = pilot.sh("scalems logs last").well().json();
        let expected = if how == "compact" { Value::Null } else { how.into() };
        assert_eq!(said["needs"]["placement"], expected, "what is usual is not said");
        assert_eq!(said["cpus"].as_array().map(Vec::len), Some(2));
    }
    let planned = pilot
        .sh("scalems submit --dry-run --placement strict -- true")
        .well()
        .out;
    assert!(planned.contains("strict"), "{planned}");
    pilot
        .sh("scalems submit --placement near -- true")
        .fails(2, &["compact, strict, scatter"]);
    // A first task has one of two cores: the strict one waits for two, and says for what.
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.sh("scalems submit --shell -- 'read line <gate'").well();
    let session = pilot.session();
    until_tasks(&session, 4, |counts| counts.running == 1);
    pilot
        .sh("scalems submit --cores 2 --placement strict -- true")
        .well();
    let why = pilot.sh("scalems task explain last").well().out;
    assert!(why.contains("1 of 2 cores in use, one task needs 2"), "{why}");
    gate.release(1);
    pilot.sh("scalems wait last").well();
    drop(session);
    pilot.stop();
}

#[test]
fn a_worker_with_nothing_to_do_ends() {
    let pilot = Pilot::start("--no-workers");
    let worker = pilot
        .home
        .spawn("scalems worker start --cores 1 --resource licence=1 --idle-timeout 1s");
    let session = pilot.session();
    until_workers(&session, |rows| rows.len() == 1);
    pilot
        .sh("scalems submit --resource licence=1 --wait -- sleep 1.5")
        .well();
    let ended = worker.output().well();
    assert!(ended.err.contains("nothing to do"), "{ended:?}");
    let left = until_workers(&session, |rows| rows.iter().all(|row| row.state != "active"));
    assert!(left.is_empty(), "{left:?}");
    drop(session);
    pilot.stop();
}
