//! `scalems graph`: submissions that depend on each other, from a file.

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};
use serde_json::json;

const GRAPH: &str = r#"
[defaults]
env = { BOX = 5 }
label = { study = "argon" }

[[task]]
name = "sum"
after = ["run", "report:any"]
shell = true
command = "cat out-* | sort >sum; cat sum"

[[task]]
name = "run"
array = "1-3"
cores = 2
after = "prepare"
env = { SEED = "%{INDEX}" }
shell = true
command = "test -e prepared && echo run-$BOX-$SEED >out-%{INDEX}"

[[task]]
name = "report"
array = "1-3"
after = "run:each"
command = ["sh", "-c", "test -e out-%{INDEX} && exit %{INDEX}"]
retries = 1
retry-on = [3]

[[task]]
name = "prepare"
command = "touch prepared"

[[task]]
name = "mend"
after = "report:failed"
command = "touch mended"
"#;

#[test]
fn a_file_says_what_runs_after_what() {
    let pilot = Pilot::start("--cores 2");
    pilot.home.write("graph.toml", GRAPH);
    let planned = pilot
        .sh("scalems --output json graph graph.toml --dry-run")
        .well()
        .json();
    let names: Vec<_> = planned
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(names, ["prepare", "run", "report", "mend", "sum"]);
    assert_eq!(planned[2]["after"], json!(["run:each"]));
    assert_eq!(planned[1]["task"]["needs"]["cores_per_rank"], 2);
    assert_eq!(
        planned[1]["program"]["env"],
        json!({"BOX": "5", "SEED": "%{INDEX}"})
    );
    let shown = pilot.sh("scalems graph graph.toml --dry-run").well();
    assert!(shown.out.contains("report:any"), "{shown:?}");
    let known = pilot.sh("scalems --output json task list").well().json();
    assert_eq!(known, json!([]));

    // Three tasks of one array fail, and nothing else does.
    let said = pilot
        .sh("scalems --output json graph graph.toml --wait --timeout 60")
        .fails(1, &[]);
    let said = said.json();
    assert_eq!(
        said["submissions"][2],
        json!({"name": "report", "submission": 3, "count": 3})
    );
    assert_eq!(
        (&said["tasks"]["done"], &said["tasks"]["failed"]),
        (&json!(6), &json!(3))
    );
    let sum = pilot.sh("scalems logs name:sum").well();
    assert_eq!(sum.out, "run-5-1\nrun-5-2\nrun-5-3\n");
    pilot.sh("test -e mended").well();
    let labelled = pilot
        .sh("scalems --output json task list label:study=argon,state:failed")
        .well()
        .json();
    let rows = labelled.as_array().unwrap().iter();
    // What ends with 3 is tried again, as it says.
    let attempts: Vec<_> = rows.map(|row| &row["run"]["attempt"]).collect();
    assert_eq!(attempts, [1, 1, 2]);
    pilot.stop();
}

#[test]
fn a_graph_comes_in_and_depends_on_what_there_is() {
    let pilot = Pilot::start("--cores 1");
    pilot
        .sh("scalems submit --name first -- sh -c 'echo 1 >order'")
        .well();
    let said = pilot
        .sh("printf '[[task]]\\nname = \"next\"\\nafter = 1\\ncommand = \"sh -c \\\\\"echo 2 >>order\\\\\"\"\\n' | scalems graph -")
        .well();
    assert!(said.out.contains("`scalems wait 2` waits"), "{said:?}");
    pilot.sh("scalems wait name:next --timeout 60").well();
    assert_eq!(pilot.sh("cat order").well().out, "1\n2\n");
    pilot.stop();
}

#[test]
fn a_graph_is_submitted_whole_or_not_at_all() {
    let pilot = Pilot::start("--cores 1");
    let known = || pilot.sh("scalems --output json task list").well().json();
    let file = |text: &str| pilot.home.write("graph.toml", text);
    for (text, why) in [
        (
            "[[task]]\nname = 'a'\ncommand = 'true'\n[[task]]\nname = 'b'\ncommand = 'echo %{LINE}'\n",
            "task \"b\": %{LINE}",
        ),
        (
            "[[task]]\nname = 'a'\ncommand = 'true'\narray = '0-4'\n[[task]]\nname = 'b'\narray = '0-3'\nafter = 'a:each'\ncommand = 'true'\n",
            "after each of \"a\": that has 5, and this 4",
        ),
        (
            "[[task]]\nname = 'a'\ncommand = 'true'\nafter = 'b'\n[[task]]\nname = 'b'\nafter = 'a'\ncommand = 'true'\n",
            "wait for each other: \"a\" after \"b\" after \"a\"",
        ),
        (
            "[[task]]\nname = 'a'\ncommand = 'true'\ncores = -1\n",
            "invalid value '-1' for '--cores",
        ),
        ("name = 'a'\n", "line 1"),
    ] {
        file(text);
        pilot
            .sh("scalems graph graph.toml")
            .fails(2, &["graph.toml", why]);
    }
    pilot.sh("scalems graph nothing.toml").fails(1, &["nothing.toml"]);
    assert_eq!(known(), json!([]));
    // The pilot refuses the second: the first does not go on.
    file("[[task]]\nname = 'a'\ncommand = 'sleep 60'\n[[task]]\nname = 'b'\ncommand = 'true'\nafter = 77\n");
    pilot.sh("scalems graph graph.toml").fails(
        1,
        &[
            "task \"b\"",
            "77",
            "what was submitted of the graph before, 1, was canceled",
        ],
    );
    pilot.sh("scalems wait 1 --timeout 60").fails(1, &[]);
    assert_eq!(known()[0]["tasks"]["canceled"], 1);
    pilot.stop();
}

#[test]
fn each_of_many_lines_runs_after_its_own() {
    let mut pilot = Pilot::start("--cores 2");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    // Both of more tasks than go together; the first that holds up the others waits.
    pilot.sh("seq 1500 >in").well();
    pilot.home.write(
        "graph.toml",
        "[[task]]\nname = 'a'\neach-line = 'in'\nshell = true\n\
         command = 'test %{LINE} -ne 1500 || read go <gate; test %{LINE} -ne 1400'\n\
         [[task]]\nname = 'b'\nafter = 'a:each'\neach-line = 'in'\nshell = true\ncommand = 'touch b-%{LINE}'\n",
    );
    pilot.sh("scalems graph graph.toml --dry-run").well();
    pilot.sh("scalems graph graph.toml").well();
    let session = pilot.session();
    // One after a failure is canceled, and one waits for what waits.
    until_tasks(&session, 2, |counts| {
        (counts.done, counts.canceled, counts.waiting) == (1498, 1, 1)
    });
    let why = pilot.sh("scalems task explain 2.1499").well().out;
    assert!(why.contains("waits for submission 1"), "{why}");
    drop(session);
    // That lasts.
    pilot.kill_all();
    pilot.resume("--cores 2");
    let session = pilot.session();
    until_tasks(&session, 2, |counts| counts.waiting == 1);
    gate.release(2);
    pilot
        .sh("scalems wait 1-2 --timeout 60s")
        .fails(1, &["2998 done, 1 failed, 1 canceled"]);
    drop(session);
    // What is not as many is refused before anything of it begins, and so is what may always become more.
    for (lines, code, why) in [
        ("--each-line more", 1, "submission 1 has 1500, this one 1501"),
        ("--each-line - <more", 1, "submission 1 has 1500, this one 1501"),
        ("--open", 2, "cannot come after each of others"),
    ] {
        pilot
            .sh(&format!(
                "seq 1501 >more; scalems submit --after 1:each {lines} --shell -- true"
            ))
            .fails(code, &[why]);
    }
    pilot
        .sh("scalems submit --after 1:each --each-line - --wait --shell -- 'touch c-%{LINE}' <in")
        .fails(1, &["1 canceled"]);
    assert_eq!(pilot.sh("ls | grep -c ^c-").well().out, "1499\n");
    pilot.stop();
}
