//! What makes a day at the shell shorter: completion, manual pages, options in files.

use std::os::unix::fs::PermissionsExt as _;

use scalems_tests::pilot::{Home, Pilot};

/// What bash offers behind these words, by what it was told.
fn offered(pilot: &Pilot, words: &[&str]) -> Vec<String> {
    let listed: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(scalems completion bash); COMP_WORDS=(scalems {}); COMP_CWORD={}; COMP_TYPE=9; \
         spec=$(complete -p scalems); name=${{spec##*-F }}; name=${{name%% *}}; $name scalems '{}' ''; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        listed.join(" "),
        words.len(),
        words.last().unwrap_or(&""),
    );
    pilot.home.write("complete.sh", &script);
    let said = pilot.sh("bash complete.sh").well();
    said.out.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_shell_offers_what_there_is() {
    let pilot = Pilot::start("--name night");
    let number = pilot.submit("--array 0-2 -- true").to_string();
    assert!(offered(&pilot, &["sub"]).contains(&"submit".to_owned()));
    let selections = offered(&pilot, &["wait", ""]);
    for one in [number.as_str(), "last", "state:failed"] {
        assert!(
            selections.iter().any(|found| found == one),
            "{one} in {selections:?}"
        );
    }
    assert_eq!(offered(&pilot, &["--pilot", "ni"]), ["night"]);
    assert!(offered(&pilot, &["worker", "info", ""]).contains(&"1".to_owned()));
    pilot.stop();
    // And nothing, at once, where there is no pilot.
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = home.sh(&format!("scalems completion {shell}")).well();
        assert!(said.out.contains("SCALEMS_COMPLETE"), "{said:?}");
    }
    let said = home.sh(
        "SCALEMS_COMPLETE=bash _CLAP_COMPLETE_INDEX=2 _CLAP_COMPLETE_COMP_TYPE=9 scalems -- scalems wait ''",
    );
    assert!(said.well().out.contains("last"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let home = Home::new();
    home.sh("scalems man --dir pages").well();
    for page in ["scalems.1", "scalems-submit.1", "scalems-pilot-submit.1"] {
        let text = home.read(&format!("pages/{page}"));
        assert!(
            text.contains(".SH NAME") && text.contains("EXAMPLE") | text.contains("Example"),
            "{text}"
        );
    }
}

#[test]
fn options_can_stand_in_the_program_itself() {
    let pilot = Pilot::start("--cores 4");
    let script = "#!/bin/sh\n#SCALEMS --cores 3 --name 'from the file'\n#SCALEMS --array 0-1\necho $GREETING\n#SCALEMS --nonsense\n";
    let path = pilot.home.write("job.sh", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    pilot
        .home
        .write("variables", "# of this job\nGREETING=from a file\n\nOTHER=1\n");
    let said = pilot
        .sh("scalems --output json submit --dry-run --env-file variables --cores 2 -- ./job.sh")
        .well()
        .json();
    assert_eq!(said["count"], 2, "{said}");
    assert_eq!(
        said["task"]["needs"]["cores_per_rank"], 2,
        "what was typed goes before: {said}"
    );
    assert_eq!(said["task"]["name"], "from the file");
    assert_eq!(said["program"]["env"]["GREETING"], "from a file");
    let human = pilot.sh("scalems submit --dry-run -- ./job.sh").well();
    assert!(
        human.out.contains("2, indices 0 to 1") && human.out.contains("3 cores"),
        "{human:?}"
    );
    assert!(
        pilot.sh("scalems --output quiet task list").well().out.is_empty(),
        "nothing was submitted"
    );
    let said = pilot
        .sh("scalems submit --env-file variables --env OTHER=2 --wait -- ./job.sh")
        .well();
    assert_eq!(said.out, "from a file\nfrom a file\n");
    let alone = pilot
        .sh("scalems --output json submit --dry-run --no-directives -- ./job.sh")
        .well()
        .json();
    assert_eq!(
        (&alone["count"], &alone["task"]["name"]),
        (&1.into(), &serde_json::Value::Null)
    );
    // What is wrong there is said with the file's name.
    pilot.home.write("wrong.sh", "#!/bin/sh\n#SCALEMS --coers 3\n");
    pilot
        .sh("scalems submit -- ./wrong.sh")
        .fails(2, &["with the #SCALEMS lines of ./wrong.sh", "--coers"]);
    pilot.home.write("wrong.sh", "#!/bin/sh\n#SCALEMS -- rm\n");
    pilot.sh("scalems submit -- ./wrong.sh").fails(
        2,
        &["./wrong.sh", "line 2", "only options that say what a task is"],
    );
    pilot.home.write("variables", "SCALEMS_INDEX=1\n");
    pilot
        .sh("scalems submit --env-file variables -- true")
        .fails(2, &["in variables SCALEMS_INDEX", "set by scalems alone"]);
    pilot.stop();
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let mut pilot = Pilot::start("--name night --restart --workers 1");
    let found = pilot.sh("scalems --output json doctor").well().json();
    let of = |found: &serde_json::Value, about: &str| {
        let all = found.as_array().unwrap();
        let one = all.iter().find(|finding| finding["about"] == about);
        one.unwrap_or_else(|| panic!("{about} in {found}")).clone()
    };
    for about in ["home", "locks", "clock", "encryption", "pilot"] {
        assert_eq!(of(&found, about)["state"], "fine", "{found}");
    }
    assert!(
        of(&found, "pilot")["said"]
            .as_str()
            .unwrap()
            .contains("night: answers; 1 workers")
    );
    let keys = pilot.directory().join("client.json");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = pilot.sh("scalems doctor");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("PROBLEM  pilot") && said.out.contains("chmod 600"),
        "{said:?}"
    );
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600)).unwrap();
    pilot.kill_all();
    let said = pilot.sh("scalems doctor").well();
    assert!(
        said.out.contains("night: its agent has died") && said.out.contains("--resume --name night"),
        "{said:?}"
    );
    let said = pilot.sh("SCALEMS_HOME=/proc/self/none scalems doctor");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("set SCALEMS_HOME"), "{said:?}");
    let nowhere = pilot.sh("touch file && SCALEMS_HOME=$PWD/file scalems --output quiet doctor");
    assert!(nowhere.out.starts_with("home"), "{nowhere:?}");
}

#[test]
fn whoever_waits_sees_how_far_it_is() {
    let pilot = Pilot::start("--name night --cores 2");
    let said = pilot
        .sh("scalems submit --wait --progress --array 0-5 -- sleep 0.3")
        .well();
    assert!(
        said.err
            .lines()
            .any(|line| line.starts_with("scalems: ") && line.contains(" of 6 ended: ")),
        "{said:?}"
    );
    assert!(said.err.ends_with("6 done\n"), "{said:?}");
    // Where nobody may look it is not shown, unless it is asked for.
    for options in ["", "--progress=never"] {
        let said = pilot.sh(&format!("scalems wait all {options}")).well();
        assert_eq!(said.err, "6 done\n", "{said:?}");
    }
    let json = pilot.sh("scalems --output json wait all --progress").well();
    assert_eq!(json.json()["done"], 6, "{json:?}");
    pilot
        .sh("scalems submit --progress -- true")
        .fails(2, &["--wait"]);
    pilot.stop();
}
