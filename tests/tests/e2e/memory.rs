//! Tasks are kept to the memory that they ask for.

use scalems_tests::pilot::Pilot;

/// Takes so many MiB, and keeps them.
const TAKES: &str = "perl -e 'my $n = shift; my $x = \"x\" x ($n << 20); sleep 600'";

#[test]
fn a_task_that_takes_too_much_fails_and_says_so() {
    let pilot = Pilot::start("--cores 4 --memory 4000");
    for way in ["enforce", "watch"] {
        let said = pilot.sh(&format!(
            "scalems submit --wait --memory 64 --memory-limit {way} -- {TAKES} 300"
        ));
        let said = said.fails(1, &["(--memory)", "[memory_exceeded]", "64"]);
        assert!(said.err.contains("task"), "{said:?}");
        let info = pilot.sh("scalems --output json task info last").well().json();
        assert_eq!(info["result"]["signal"].as_u64(), Some(9), "{info}");
        let peak = info["result"]["peak_memory_kib"].as_u64().unwrap();
        assert!(peak > 60 << 10, "{peak}");
    }
    // What is asked for is there to be used, and what is not asked for is not limited.
    let takes = "perl -e 'my $n = shift; my $x = \"x\" x ($n << 20)'";
    for options in [
        "--memory 500",
        "--memory 500 --memory-limit watch",
        "--memory 64 --memory-limit off",
        "",
    ] {
        pilot
            .sh(&format!("scalems submit --wait {options} -- {takes} 150"))
            .well();
    }
    pilot
        .sh("scalems submit --memory-limit soft -- true")
        .fails(2, &["enforce", "watch", "off"]);
    pilot.stop();
}

#[test]
fn another_attempt_follows_if_that_is_wanted() {
    let pilot = Pilot::start("--cores 2 --memory 4000");
    let attempts = |options: &str| {
        let line = format!(
            "scalems submit --wait --memory 64 --retries 1 {options} --shell -- 'echo x >>tried; exec {{}} 300'"
        );
        let line = line.replace("{}", &TAKES.replace('\'', "'\\''"));
        pilot.sh(&line).fails(1, &["[memory_exceeded]"]);
        let count = pilot.sh("wc -l <tried; rm tried").well();
        count.text().parse::<u32>().unwrap()
    };
    assert_eq!(attempts(""), 2);
    assert_eq!(attempts("--retry-on memory"), 2);
    assert_eq!(attempts("--retry-on SIGKILL"), 2);
    assert_eq!(attempts("--retry-on 75"), 1);
    pilot.stop();
}

#[test]
fn members_of_an_array_are_limited_each_for_itself() {
    let pilot = Pilot::start("--cores 4 --memory 4000");
    // Every third takes more than it asked for, beside others that do not.
    let said = pilot
        .sh("scalems --output json submit --wait --memory 100 --array 0-8 -- perl -e 'my $n = shift() % 3 == 0 ? 300 : 10; my $x = \"x\" x ($n << 20); sleep 600 if $n > 100' %{INDEX}")
        .fails(1, &[])
        .json();
    assert_eq!(
        (said["tasks"]["failed"].as_u64(), said["tasks"]["done"].as_u64()),
        (Some(3), Some(6)),
        "{said}"
    );
    pilot.stop();
}

#[test]
fn a_task_is_limited_as_the_way_says_in_which_it_runs() {
    let pilot = Pilot::start("--cores 2 --memory 4000");
    // Nobody has a GPU there, so both run in the other way.
    pilot
        .sh("scalems submit --wait --gpus 1 --memory 64 --or cores=1,memory=500 -- perl -e 'my $x = \"x\" x (150 << 20)'")
        .well();
    pilot
        .sh(&format!(
            "scalems submit --wait --gpus 1 --memory 500 --or cores=1,memory=64 -- {TAKES} 300"
        ))
        .fails(1, &["[memory_exceeded]", "64"]);
    pilot.stop();
}
