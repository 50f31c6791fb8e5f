//! The live monitor while its agent is away, and when it is there again.

use scalems_tests::pilot::{PATIENCE, Pilot, until_tasks};
use scalems_tests::terminal::{Terminal, has_terminal};

use crate::top::{SMALL, row};

#[test]
fn a_lost_agent_is_told_and_its_next_life_is_shown() {
    if !has_terminal() {
        return;
    }
    let options = "--name night --cores 2 --orphan-time 10m";
    let mut pilot = Pilot::start(options);
    let session = pilot.session();
    pilot.submit("--name before -- true");
    until_tasks(&session, 1, |tasks| tasks.done == 1);
    session.wait_durable(PATIENCE).unwrap();
    drop(session);
    let mut terminal = Terminal::start(&pilot.home, SMALL, &[]);
    terminal.line("scalems top --no-settings --screen submissions");
    terminal.until_all(&["before", "live"]);
    pilot.kill_agent();
    let screen = terminal.until("agent lost");
    // What was known is still shown, with its age, which grows.
    assert!(row(&screen, "before").contains("done"), "{screen}");
    let age = |screen: &str| -> Option<u32> {
        let (minutes, seconds) = screen
            .split("this is ")
            .nth(1)?
            .split(" old")
            .next()?
            .split_once(':')?;
        Some(minutes.parse::<u32>().ok()? * 60 + seconds.parse::<u32>().ok()?)
    };
    let first = age(row(&screen, "agent lost"));
    terminal.until_screen("its age", |screen| {
        let now = age(row(screen, "agent lost"));
        now.is_some() && now >= first.map(|first| first + 2).or(Some(3))
    });
    // What is asked for meanwhile is refused with a reason, and the program goes on.
    terminal.keys(&["6"]);
    terminal.until_all(&["what happened", "not heard of"]);
    pilot.resume(options);
    terminal.until_screen("live again", |screen| {
        !screen.contains("agent lost") && screen.contains("heard of again")
    });
    pilot.submit("--name after -- true");
    terminal.keys(&["2"]);
    let screen = terminal.until_all(&["after", "before"]);
    assert!(row(&screen, "night").contains("live"), "{screen}");
    terminal.keys(&["q"]);
    drop(terminal);
    pilot.stop();
}

#[test]
fn a_pilot_that_ended_is_told() {
    if !has_terminal() {
        return;
    }
    let pilot = Pilot::start("--name night");
    let mut terminal = Terminal::start(&pilot.home, SMALL, &[]);
    terminal.line("clear; echo earlier; scalems top --no-settings");
    terminal.until("allocation");
    terminal.keys(&["C-x"]);
    terminal.until("Stop the pilot?");
    terminal.keys(&["y"]);
    terminal.until_screen("the end", |screen| row(screen, "scalems-top").contains("over"));
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    drop(terminal);
    let mut pilot = pilot;
    pilot.expect_end();
}
