//! What tasks took, and how much of that for nothing.

use scalems_tests::pilot::Pilot;

#[test]
fn used_and_wasted_by_label() {
    let mut pilot = Pilot::start("--cores 4");
    assert_eq!(
        pilot.sh("scalems --output json report").well().json(),
        serde_json::json!([])
    );
    pilot
        .sh("scalems submit --wait --label project=a --cores 2 --array 0-1 -- sleep 0.5")
        .well();
    pilot
        .sh("scalems submit --wait --label project=b --retries 1 -- sh -c 'sleep 0.3; test $SCALEMS_ATTEMPT = 2'")
        .well();
    pilot
        .sh("scalems submit --wait --label project=b -- sh -c 'sleep 0.3; exit 1'")
        .fails(1, &[]);
    let check = |pilot: &Pilot| {
        let rows = pilot
            .sh("scalems --output json report --by label:project")
            .well()
            .json();
        let of = |row: usize, what: &str, kind: &str| rows[row][what][kind].as_f64().unwrap();
        // Each task ran for as long as it slept, and for some milliseconds.
        let about = |found: f64, wanted: f64| {
            assert!(
                found >= wanted && found < wanted + 30.0,
                "{found} for {wanted}: {rows}"
            );
        };
        assert_eq!(
            (rows[0]["group"].as_str(), rows[1]["group"].as_str()),
            (Some("a"), Some("b"))
        );
        about(of(0, "used", "time"), 1.0);
        about(of(0, "used", "cores"), 2.0);
        assert!(
            (of(0, "used", "cores") - 2.0 * of(0, "used", "time")).abs() < 1e-3,
            "{rows}"
        );
        assert!(of(0, "wasted", "time") == 0.0, "{rows}");
        about(of(1, "used", "time"), 0.3);
        about(of(1, "wasted", "time"), 0.6);
        rows
    };
    let before = check(&pilot);
    let table = pilot.sh("scalems report --by label:project").well().out;
    assert!(
        table.starts_with("project") && table.contains("core-h wasted") && table.contains("\nall "),
        "{table}"
    );
    pilot.sh("scalems report --by user").fails(2, &["label:KEY"]);
    pilot.sh("scalems report 99").fails(1, &["nothing_selected"]);
    // All of it is in the journal.
    pilot.kill_all();
    let wasted: f64 = pilot
        .sh("scalems journal export --pilot default")
        .well()
        .jsonl()
        .iter()
        .map(|row| row["wasted_s"].as_f64().unwrap() * row["cores"].as_f64().unwrap())
        .sum();
    assert!(
        (wasted - before[1]["wasted"]["cores"].as_f64().unwrap()).abs() < 1e-3,
        "{wasted}"
    );
    pilot.resume("");
    assert_eq!(check(&pilot), before);
    pilot.stop();
}
