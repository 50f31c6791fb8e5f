//! Programs that are not there, that die, and that mean no good. Their neighbours end well.

use scalems_tests::pilot::{Pilot, process};
use std::time::Instant;

use crate::wire::undisturbed;

#[test]
fn programs_that_cannot_run() {
    let pilot = Pilot::start("");
    pilot.home.write("plain.txt", "no program");
    pilot.home.write("noexec.sh", "#!/no/such/interpreter\n");
    pilot.sh("chmod +x noexec.sh").well();
    for (rest, texts) in [
        (
            "-- no-such-program",
            &["no-such-program", "PATH", "[not_started]"][..],
        ),
        ("-- ./plain.txt", &["plain.txt", "chmod +x", "[not_started]"]),
        ("-- ./noexec.sh", &["noexec.sh", "[not_started]"]),
        ("-- /tmp", &["/tmp", "[not_started]"]),
        (
            "--cwd /no/such/directory -- true",
            &["/no/such/directory", "[not_started]"],
        ),
        ("--stdin no-such-file -- cat", &["no-such-file", "[not_started]"]),
        ("--stdout no/such/out -- true", &["no/such/out", "[not_started]"]),
        ("-- sh -c 'kill -9 $$'", &["signal 9", "SIGKILL", "[signal]"]),
        ("-- sh -c 'kill -SEGV $$'", &["signal 11", "SIGSEGV", "[signal]"]),
        ("-- sh -c 'exit 255'", &["exit code 255", "[exit_code]"]),
    ] {
        pilot.sh(&format!("scalems submit --wait {rest}")).fails(1, texts);
    }
    // By our variables its processes are known.
    pilot
        .sh("scalems submit --env SCALEMS_WORKER=other -- true")
        .fails(2, &["SCALEMS_WORKER", "by scalems alone"]);
    undisturbed(&pilot);
    pilot.stop();
}

/// Runs a program beside ten that are well, and returns the number of its submission once all have ended.
fn beside_neighbours(pilot: &Pilot, bad: &str) -> u64 {
    let bad = pilot.submit(bad);
    let said = pilot
        .sh("scalems submit --array 0-9 --wait --timeout 60s -- echo 'well %{INDEX}'")
        .well();
    let expected: String = (0..10).map(|index| format!("well {index}\n")).collect();
    assert_eq!(said.out, expected);
    bad
}

#[test]
fn a_program_that_leaves_others_behind() {
    let pilot = Pilot::start("--cores 2");
    let line = "-- sh -c 'sleep 601 & setsid sleep 602 & (setsid sleep 603 &) ; echo $! > pids'";
    let number = beside_neighbours(&pilot, line);
    pilot.sh(&format!("scalems wait {number} --timeout 60s"));
    let pid: u32 = pilot.home.read("pids").trim().parse().unwrap();
    // What a task started ends with it, and has ended at the latest when the pilot has.
    pilot.stop();
    assert!(process::wait_gone(pid, Instant::now()));
}

#[test]
fn a_program_that_ignores_being_asked() {
    let pilot = Pilot::start("--cores 2");
    let line = "--time-limit 300ms -- sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1; done'";
    let number = beside_neighbours(&pilot, line);
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &["[time_limit]"]);
    let mut ready = scalems_tests::pilot::Fifo::new(&pilot.home.work(), "ready");
    let number = pilot.submit("-- sh -c 'trap \"\" TERM; echo up > ready; while :; do sleep 1; done'");
    ready.line();
    pilot.sh(&format!("scalems task cancel {number} --kill")).well();
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &["1 canceled"]);
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn a_program_that_floods() {
    let pilot = Pilot::start("--cores 2");
    let number = beside_neighbours(&pilot, "-- sh -c 'head -c 200000000 /dev/zero; echo the end'");
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    let info = pilot
        .sh(&format!("scalems --output json task info {number}"))
        .well()
        .json();
    assert_eq!(info["result"]["stdout_bytes"], 200_000_008_u64);
    let log = pilot
        .sh(&format!("scalems logs {number} | wc -c"))
        .well()
        .text()
        .parse::<u64>()
        .unwrap();
    assert!(
        (8..=16 << 20).contains(&log),
        "the tail is kept, and no more: {log}"
    );
    assert!(
        pilot
            .sh(&format!("scalems logs {number} | tail -n 1 | tr -d '\\000'"))
            .well()
            .out
            .ends_with("the end\n")
    );
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn a_program_that_closes_everything() {
    let pilot = Pilot::start("--cores 2");
    let closes = "-- sh -c 'for fd in 0 1 2 3 4 5 6 7 8 9; do eval \"exec $fd>&-\"; done; touch closed; exec sleep 0.2'";
    let number = beside_neighbours(&pilot, closes);
    pilot.sh(&format!("scalems wait {number} --timeout 60s")).well();
    assert!(pilot.home.work().join("closed").exists());
    undisturbed(&pilot);
    pilot.stop();
}

#[test]
fn a_program_that_forks_without_end() {
    let pilot = Pilot::start("--cores 2");
    // As many as a test may: each starts two, five deep, and all of them stay.
    pilot.home.write(
        "fork.sh",
        "#!/bin/sh\n[ \"$1\" -gt 0 ] && { sh fork.sh $(($1 - 1)) & sh fork.sh $(($1 - 1)) & }\nexec sleep 600\n",
    );
    let number = beside_neighbours(&pilot, "--time-limit 1s -- sh fork.sh 5");
    pilot
        .sh(&format!("scalems wait {number} --timeout 60s"))
        .fails(1, &["[time_limit]"]);
    undisturbed(&pilot);
    pilot.stop();
}
