//! Selectors, as every command takes them.

use scalems_tests::pilot::Pilot;

#[test]
fn selectors_find_what_they_say() {
    let pilot = Pilot::start("");
    pilot.submit("--name dock-a --label project=x --array 0-4 -- true");
    pilot.submit("--name dock-b --label project=y -- true");
    pilot.submit("--name other --label project=x --label step=2 -- false");
    pilot
        .sh("scalems wait all --timeout 60s")
        .fails(1, &["6 done", "1 failed"]);
    let tasks = |select: &str| {
        let said = pilot
            .sh(&format!("scalems --output quiet task list '{select}'"))
            .well();
        said.out.lines().collect::<Vec<_>>().join(" ")
    };
    let first = "1.0 1.1 1.2 1.3 1.4";
    for (select, expected) in [
        ("1", first.to_owned()),
        ("1.2", "1.2".to_owned()),
        ("1.0-4:2", "1.0 1.2 1.4".to_owned()),
        ("2-3", "2.0 3.0".to_owned()),
        ("1-3:2", format!("{first} 3.0")),
        ("2,3", "2.0 3.0".to_owned()),
        ("last", "3.0".to_owned()),
        ("all", format!("{first} 2.0 3.0")),
        ("name:dock*", format!("{first} 2.0")),
        ("name:other", "3.0".to_owned()),
        ("label:project=x", format!("{first} 3.0")),
        ("label:project=x state:failed", "3.0".to_owned()),
        ("state:done", format!("{first} 2.0")),
    ] {
        assert_eq!(tasks(select), expected, "{select}");
    }
    pilot
        .sh("scalems task list state:running")
        .fails(1, &["[nothing_selected]"]);
    pilot.sh("scalems wait name:dock* --timeout 60s").well();
    pilot
        .sh("scalems wait label:step=2 --timeout 60s")
        .fails(1, &["1 failed"]);
    pilot.stop();
}
