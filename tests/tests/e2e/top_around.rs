//! Getting around in the live monitor on a real terminal: the wheel, why a task waits, and from one pilot to another.

use scalems_tests::pilot::{PATIENCE, until_tasks};
use scalems_tests::terminal::has_terminal;

use crate::top::{SMALL, Scene, row, until_line};

#[test]
fn the_wheel_turns_a_list() {
    if !has_terminal() {
        return;
    }
    let mut scene = Scene::new();
    let session = scene.pilot.session();
    let mut last = 0;
    for number in 0..40 {
        last = scene.pilot.submit(&format!("--name many{number:02} -- true"));
    }
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    let screen = terminal.until("many39");
    assert!(
        !screen.contains("broken"),
        "it is not below the screen:\n{screen}"
    );
    // As far as it goes, and not beyond.
    for _ in 0..40 {
        terminal.wheel_down(20, 10);
    }
    let screen = terminal.until("broken");
    assert!(!screen.contains("many39"), "{screen}");
    // A click chooses what is there now.
    terminal.click_on("docking");
    terminal.keys(&["Enter"]);
    terminal.until("tasks of submission 2");
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    drop(terminal);
    scene.gate.release(6);
    until_tasks(&session, last, |tasks| tasks.unfinished() == 0);
    drop(session);
    scene.end_of_rest();
}

#[test]
fn why_a_task_waits_is_explained() {
    if !has_terminal() {
        return;
    }
    let mut scene = Scene::new();
    // Both cores of a worker: there is one at most once others have ended.
    let wide = scene.pilot.submit("--name wide --cores 2 -- true");
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    until_line(&mut terminal, &["wide"]);
    terminal.keys(&["Enter"]);
    terminal.until_all(&[&format!("tasks of submission {wide}"), "ready"]);
    terminal.keys(&["e"]);
    let screen = terminal.until_all(&["state", "why"]);
    assert!(row(&screen, "why").contains("core"), "{screen}");
    // What it says changes with what is.
    scene.gate.release(6);
    let session = scene.pilot.session();
    until_tasks(&session, wide, |tasks| tasks.done == 1);
    drop(session);
    terminal.keys(&["e"]);
    terminal.until_screen("that it is done", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("state") && line.contains("done"))
    });
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    drop(terminal);
    scene.end_of_rest();
}

#[test]
fn another_pilot_is_opened_and_left() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let start = "scalems pilot start --detach --name day --cores 1";
    scene.pilot.sh(start).well();
    let wait = format!(
        "scalems pilot wait --pilot day --workers 1 --timeout {}s",
        PATIENCE.as_secs()
    );
    scene.pilot.sh(&wait).well();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen pilots --pilot night");
    // By name.
    until_line(&mut terminal, &["▌", "day", "pilots/day"]);
    terminal.keys(&["Enter"]);
    let screen = terminal.until_screen("the other pilot", |screen| {
        screen.contains("allocation") && row(screen, "scalems-top").contains("day")
    });
    // Where one has come from is said.
    assert!(row(&screen, "scalems-top").contains("night"), "{screen}");
    until_line(&mut terminal, &["cores", "0/1 used"]);
    terminal.keys(&["2"]);
    terminal.until("submissions  0");
    // And back.
    terminal.keys(&["8"]);
    until_line(&mut terminal, &["▌", "day"]);
    terminal.keys(&["Down"]);
    until_line(&mut terminal, &["▌", "night", "pilots/night"]);
    terminal.keys(&["Enter"]);
    until_line(&mut terminal, &["cores", "4/4 used"]);
    terminal.keys(&["2"]);
    terminal.until_all(&["docking", "broken"]);
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    drop(terminal);
    scene.pilot.sh("scalems pilot stop --pilot day").well();
    scene.end();
}
