//! Tasks that come one after another: from lines, from JSON, and to a submission that is open.

use nix::sys::signal::Signal;
use serde_json::json;

use scalems_tests::pilot::{Fifo, Pilot};

#[test]
fn each_line_is_a_task() {
    let pilot = Pilot::start("--cores 2");
    pilot
        .home
        .write("in", "a b\n\n50 %{INDEX}\n'quoted' $HOME; echo no\n");
    let said = pilot
        .sh("scalems submit --each-line in --wait -- printf '%s|' one")
        .well();
    assert_eq!(said.out, "one|a b|one|50 %{INDEX}|one|'quoted' $HOME; echo no|");
    let said = pilot
        .sh("scalems submit --each-line in --wait --shell -- 'printf %s-%s, %{INDEX} %{LINE}'")
        .well();
    assert_eq!(said.out, "0-a b,1-50 %{INDEX},2-'quoted' $HOME; echo no,");
    let said = pilot
        .sh("scalems --output json submit --each-line in --dry-run -- ./dock -o '%{LINE}.out'")
        .well()
        .json();
    assert_eq!(
        (&said["count"], &said["program"]["argv"][2]),
        (&serde_json::json!(3), &serde_json::json!("a b.out"))
    );
    // What is wrong is said before anything is submitted.
    pilot.sh("printf 'a\\nb\\n\\377\\n' >bad").well();
    for (options, code, why) in [
        ("--each-line bad -- true", 2, "line 3 is no UTF-8 text"),
        ("--each-line nothing -- true", 1, "read nothing"),
        (
            "--each-line /dev/null -- true",
            2,
            "there is nothing in /dev/null",
        ),
        ("--each-line in -- echo '%{LIN}'", 2, "is no placeholder"),
        ("-- echo '%{LINE}'", 2, "is no placeholder"),
        (
            "--each-line - --stdin - -- true </dev/null",
            2,
            "both the tasks and what they read",
        ),
        ("--each-line - -- true </dev/null", 2, "nothing came in"),
    ] {
        pilot.sh(&format!("scalems submit {options}")).fails(code, &[why]);
    }
    let known = pilot.sh("scalems --output json task list").well().json();
    assert_eq!(known.as_array().unwrap().len(), 2);
    pilot.stop();
}

#[test]
fn so_many_lines_are_one_submission() {
    let pilot = Pilot::start("--cores 2");
    // With a journal they are on disk before they begin; more than go together, so that it is opened and closed.
    let said = pilot
        .sh("seq 5000 | scalems --output json submit --each-line - --wait -- true")
        .well()
        .json();
    assert_eq!(
        (&said["count"], &said["tasks"]["done"]),
        (&5000.into(), &5000.into())
    );
    let row = &pilot.sh("scalems --output json task list").well().json()[0];
    assert_eq!(
        (&row["indices"], row["open"].as_bool().unwrap_or(false)),
        (&serde_json::json!([0, 1, 5000]), false)
    );
    pilot.stop();
}

#[test]
fn lines_begin_as_they_come() {
    let pilot = Pilot::start("--cores 2");
    // The second line comes only once the first one's task has ended.
    let first = "timeout 30 sh -c 'until scalems logs 1 2>/dev/null | grep -q first; do sleep 0.1; done'";
    let said = pilot
        .sh(&format!(
            "(echo first; {first}; echo second) | scalems submit --each-line - --wait -- echo"
        ))
        .well();
    assert_eq!(said.out, "first\nsecond\n");
    pilot.stop();
}

#[test]
fn json_names_what_a_task_needs() {
    let pilot = Pilot::start("--cores 2");
    pilot.home.write(
        "table.json",
        r#"[{"ligand": "a b", "at": {"x": 1.5}}, {"ligand": "c", "at": {"x": 2}, "more": [1]}]"#,
    );
    let said = pilot
        .sh("scalems submit --from-json table.json --wait -- echo '%{ENTRY.ligand}' '%{ENTRY.at.x}' '%{INDEX}'")
        .well();
    assert_eq!(said.out, "a b 1.5 0\nc 2 1\n");
    let said = pilot
        .sh("printf '{\"a\": 1}\\n{\"a\": 2}\\n' | scalems submit --from-json - --wait -- echo")
        .well();
    assert_eq!(said.out, "{\"a\":1}\n{\"a\":2}\n");
    pilot
        .sh("scalems submit --from-json table.json -- echo '%{ENTRY.more}'")
        .fails(2, &["entry 1: there is no \"more\""]);
    for (input, why) in [("{", "this is no JSON"), ("[]", "there is nothing in -")] {
        let said = pilot
            .home
            .sh_with("scalems submit --from-json - -- echo", input.as_bytes());
        said.fails(2, &[why]);
    }
    pilot.stop();
}

#[test]
fn tasks_are_added_to_what_is_open() {
    let mut pilot = Pilot::start("--cores 2");
    let said = pilot
        .sh("scalems submit --open --name day --cores 1 -- echo one")
        .well();
    assert!(said.out.contains("adds to it"), "{said:?}");
    // From any terminal, by any selector that names one.
    let said = pilot.sh("scalems submit --to name:day -- echo two").well();
    assert_eq!(said.out, "submission 1: 1 task more\n");
    pilot
        .sh("printf 'three\\nfour\\n' | scalems --output json submit --to 1 --each-line - -- echo")
        .well();
    pilot.sh("scalems wait 1.0-3 --timeout 30s").well();
    assert_eq!(pilot.sh("scalems logs 1").well().out, "one\ntwo\nthree\nfour\n");
    // It is not over, and says so.
    let said = pilot.sh("scalems wait 1 --timeout 1s");
    assert_eq!(said.code, 4, "{said:?}");
    let listed = pilot.sh("scalems task list").well().out;
    assert!(listed.contains("4+"), "{listed}");
    // It outlives the agent's process.
    pilot.kill_all();
    pilot.resume("--cores 2");
    pilot.sh("scalems submit --to last -- echo five").well();
    for (options, code, why) in [
        ("--to 1 --cores 2 -- true", 2, "cannot be used with"),
        ("--to 1 --shell -- true", 2, "leave out --shell"),
        ("--to 9 -- true", 1, "no task that is known"),
        ("--open --array 0-4:2 -- true", 2, "leave out the step"),
        ("--open --wait -- true", 2, "cannot be used with"),
    ] {
        pilot.sh(&format!("scalems submit {options}")).fails(code, &[why]);
    }
    let said = pilot.sh("scalems --output json task close 1").well().json();
    assert_eq!(said, serde_json::json!({"closed": 1, "before": 0}));
    let said = pilot
        .sh("scalems --output json wait 1 --timeout 30s")
        .well()
        .json();
    assert_eq!(said["done"], 5);
    pilot
        .sh("scalems submit --to 1 -- true")
        .fails(1, &["submission 1 is closed: it takes no more tasks"]);
    pilot.stop();
}

#[test]
fn a_refused_addition_leaves_nothing_open() {
    let pilot = Pilot::start("--cores 2");
    // The last line is larger than what may go together, and is sent when all the others were.
    pilot
        .sh("(seq 2000; head -c 70000000 /dev/zero | tr '\\0' x; echo) >in")
        .well();
    pilot.sh("scalems submit --each-line in -- true").fails(
        1,
        &[
            "submission 1 has the tasks that came before",
            "`scalems task cancel 1` ends them",
            "items go together",
        ],
    );
    let said = pilot.sh("scalems --output json wait 1 --timeout 60s").well();
    assert_eq!(said.json()["done"], 2000);
    // Where all are wanted or none, they are canceled.
    pilot.home.write(
        "graph.toml",
        "[[task]]\nname = 'a'\ncommand = 'sleep 600'\n\
         [[task]]\nname = 'b'\neach-line = 'in'\ncommand = 'sleep 600'\n",
    );
    pilot.sh("scalems graph graph.toml").fails(
        1,
        &[
            "task \"b\"",
            "what was submitted of the graph before, 2-3, was canceled",
        ],
    );
    let said = pilot
        .sh("scalems --output json wait 2-3 --timeout 60s")
        .fails(1, &[]);
    assert_eq!(said.json()["canceled"], 2001);
    pilot.stop();
}

#[test]
fn who_is_ended_while_it_submits_leaves_nothing_open() {
    let pilot = Pilot::start("--cores 1");
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    // The first begins long before so many are submitted.
    pilot.sh("seq 100000 >in").well();
    let line = "echo %{SUBMISSION} >ready; exec sleep 600 # %{LINE}";
    pilot.home.write(
        "graph.toml",
        &format!("[[task]]\nname = 'a'\neach-line = 'in'\nshell = true\ncommand = '{line}'\n"),
    );
    let submit = format!("submit --each-line in --shell -- '{line}'");
    for (number, signal, command, said) in [
        (1, Signal::SIGINT, submit.as_str(), "submission 1 has the tasks"),
        (2, Signal::SIGTERM, &submit, "submission 2 has the tasks"),
        (3, Signal::SIGHUP, &submit, "submission 3 has the tasks"),
        (
            4,
            Signal::SIGTERM,
            "graph graph.toml",
            "graph before, 4, was canceled",
        ),
    ] {
        let submitter = pilot.home.spawn(&format!("scalems {command}"));
        while ready.line() != number.to_string() {}
        submitter.signal(signal);
        submitter.output().fails(130, &[said, "interrupted"]);
        let closed = pilot.sh(&format!("scalems --output json task close {number}"));
        assert_eq!(closed.well().json(), json!({"closed": 0, "before": 1}));
        pilot.sh(&format!("scalems task cancel {number}")).well();
        pilot
            .sh(&format!("scalems wait {number} --timeout 60s"))
            .fails(1, &["canceled"]);
    }
    pilot.stop();
}
