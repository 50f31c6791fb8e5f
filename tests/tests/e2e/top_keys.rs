//! Keys and clicks of the live monitor, typed in a real terminal.

use scalems_tests::pilot::until_tasks;
use scalems_tests::terminal::{Terminal, has_terminal};

use crate::top::{BROKEN, DOCKING, SMALL, Scene, row};

#[test]
fn escape_goes_up_and_never_quits() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    terminal.until("docking");
    terminal.keys(&["Enter"]);
    // A key for a row that has not come yet would be for nothing.
    terminal.until_all(&["tasks of submission 2", "running"]);
    terminal.keys(&["d"]);
    terminal.until("lines");
    terminal.keys(&["Escape"]);
    terminal.until("tasks of submission 2");
    terminal.keys(&["Escape"]);
    terminal.until_all(&["docking", "broken"]);
    // The first level has nothing above it.
    for _ in 0..3 {
        terminal.keys(&["Escape"]);
        terminal.until("allocation");
        terminal.keys(&["BSpace"]);
    }
    terminal.keys(&["?"]);
    terminal.until("Everywhere");
    terminal.keys(&["q"]);
    terminal.until_gone("Everywhere");
    terminal.keys(&["F1"]);
    terminal.until("Everywhere");
    terminal.keys(&["C-c"]);
    terminal.until_back("earlier");
    drop(terminal);
    scene.end();
}

#[test]
fn a_filter_stays_until_it_is_taken_away() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    terminal.until_all(&["docking", "broken"]);
    terminal.keys(&["/"]);
    terminal.text("failed>");
    terminal.until("a value is missing");
    terminal.text("0 and name=broken");
    terminal.keys(&["Enter"]);
    let screen = terminal.until_screen("the filter", |screen| {
        row(screen, "submissions  1 of 2").contains("failed>0 and name=broken") && screen.contains("quit")
    });
    assert!(!screen.contains("docking"), "{screen}");
    assert!(screen.contains("broken"), "{screen}");
    terminal.keys(&["1"]);
    terminal.until("allocation");
    terminal.keys(&["2"]);
    let screen = terminal.until("broken");
    assert!(!screen.contains("docking"), "{screen}");
    terminal.keys(&["DC"]);
    terminal.until("docking");
    drop(terminal);
    scene.end();
}

#[test]
fn rows_are_sorted_by_letter_menu_and_click() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    let order = |first: &'static str, second: &'static str| {
        move |screen: &str| match (screen.find(first), screen.find(second)) {
            (Some(first), Some(second)) => first < second,
            _ => false,
        }
    };
    terminal.until_screen("the newest first", order("docking", "broken"));
    terminal.click_on("tasks  ");
    terminal.until_screen("a mark in the head", |screen| {
        row(screen, "running").contains(['▼', '▲'])
    });
    terminal.keys(&["s"]);
    terminal.until("sort by");
    terminal.keys(&["Escape"]);
    terminal.until_gone("sort by");
    terminal.keys(&["F"]);
    terminal.until_screen("most failures first", order("broken", "docking"));
    terminal.keys(&["F"]);
    terminal.until_screen("fewest failures first", order("docking", "broken"));
    drop(terminal);
    scene.end();
}

#[test]
fn screens_and_rows_are_chosen_by_clicks() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings");
    terminal.click_on("5 fau");
    terminal.until("what went wrong");
    terminal.click_on("2 sub");
    terminal.until_all(&["docking", "broken"]);
    terminal.click_on("broken");
    terminal.until_screen("a chosen row", |screen| row(screen, "broken").starts_with('▌'));
    terminal.keys(&["Enter"]);
    terminal.until("tasks of submission 1");
    drop(terminal);
    scene.end();
}

#[test]
fn a_view_that_stands_still_says_so() {
    if !has_terminal() {
        return;
    }
    let mut scene = Scene::new();
    let home = &scene.pilot.home;
    let mut terminal = Terminal::start(home, SMALL, &[]);
    terminal.line("scalems top --no-settings");
    terminal.until("4/4 used");
    terminal.keys(&["f"]);
    terminal.until("PAUSED");
    scene.gate.release(6);
    until_tasks(&scene.pilot.session(), DOCKING, |tasks| tasks.done == 6);
    // The clock beside it runs on; the numbers do not.
    let screen = terminal.until_screen("a second of it", |screen| row(screen, "PAUSED").contains("0:01"));
    assert!(screen.contains("4/4 used"), "{screen}");
    terminal.keys(&["r"]);
    terminal.until("0/4 used");
    terminal.until_gone("PAUSED");
    drop(terminal);
    scene.pilot.stop();
}

#[test]
fn what_harms_is_asked_about_first() {
    if !has_terminal() {
        return;
    }
    let mut scene = Scene::new();
    scene.pilot.home.write("slow", "");
    let session = scene.pilot.session();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    terminal.until("docking");
    terminal.keys(&["c"]);
    terminal.until_all(&["Cancel 6 tasks?", "2 docking"]);
    terminal.keys(&["n"]);
    terminal.until_gone("Cancel 6 tasks?");
    assert_eq!(until_tasks(&session, DOCKING, |_| true).running, 4);
    // Marked rows are meant, wherever the chosen one is.
    terminal.keys(&["Space", "j", "Space", "c"]);
    terminal.until_all(&["2 docking", "1 broken", "cancel"]);
    terminal.keys(&["y"]);
    until_tasks(&session, DOCKING, |tasks| tasks.canceled == 6);
    terminal.until_screen("what became of it", |screen| {
        row(screen, "docking").contains("canc")
    });
    // What failed is submitted again.
    terminal.keys(&["u", "t"]);
    terminal.until_all(&["again?", "1 broken"]);
    terminal.keys(&["y"]);
    terminal.until("submitted again as 3");
    // It goes on without the session that submitted it.
    until_tasks(&session, 3, |tasks| tasks.running == 3 || tasks.canceled > 0);
    scene.gate.release(3);
    let again = until_tasks(&session, 3, |tasks| tasks.unfinished() == 0);
    assert_eq!(again.failed, 3, "{again:?}");
    assert_eq!(until_tasks(&session, BROKEN, |_| true).failed, 3);
    drop(terminal);
    scene.pilot.stop();
}

#[test]
fn a_worker_is_drained_by_a_key() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen workers");
    terminal.until("2/2");
    terminal.keys(&["x"]);
    terminal.until("Drain 1 worker?");
    terminal.keys(&["Enter"]);
    terminal.until("drain");
    drop(terminal);
    scene.end();
}

#[test]
fn read_only_has_no_keys_that_harm() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let session = scene.pilot.session();
    let mut terminal = scene.monitor(SMALL, "--no-settings --readonly --screen submissions");
    let screen = terminal.until_all(&["docking", "read only"]);
    assert!(!screen.contains("cancel  "), "{screen}");
    // Nothing of it asks, so what is typed after it is what is seen next.
    terminal.keys(&["c", "t", "C-x", "?"]);
    let screen = terminal.until("Everywhere");
    assert!(!screen.contains("Cancel 6"), "{screen}");
    terminal.keys(&["G"]);
    let screen = terminal.until_gone("Everywhere");
    assert!(!screen.contains("Cancel the task"), "{screen}");
    assert_eq!(until_tasks(&session, DOCKING, |_| true).running, 4);
    drop(terminal);
    scene.end();
}

#[test]
fn what_was_chosen_is_kept() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "");
    terminal.keys(&["4"]);
    terminal.until("cores of");
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    terminal.line("scalems top");
    terminal.until("cores of");
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    terminal.line("scalems top --no-settings");
    terminal.until("allocation");
    drop(terminal);
    scene.end();
}
