//! The live monitor on a real terminal, with a real pilot that has work: each screen says what is.

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};
use scalems_tests::terminal::{Terminal, has_terminal};

/// The number of the submission that failed.
pub(crate) const BROKEN: u64 = 1;
/// The number of the submission that runs.
pub(crate) const DOCKING: u64 = 2;
/// The size that every terminal has at least.
pub(crate) const SMALL: (u16, u16) = (80, 24);
const LARGE: (u16, u16) = (200, 60);

/// A pilot that has something for every screen. Two workers have two cores each. All three tasks of `broken` failed; four
/// of the six of `docking` run, and two wait for cores.
pub(crate) struct Scene {
    pub(crate) pilot: Pilot,
    /// Lets tasks of `docking` end, one for each line.
    pub(crate) gate: Fifo,
}

impl Scene {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let pilot = Pilot::start("--name night --workers 2 --cores 2");
        let gate = Fifo::new(&pilot.home.work(), "gate");
        let session = pilot.session();
        // Submitted again they wait at the gate first, once there is a file that asks for it.
        let broken = "--name broken --array 0-2 -- sh -c \
            'test -e slow && read go <gate; echo went in; echo fell over >&2; exit 3'";
        assert_eq!(pilot.submit(broken), BROKEN);
        until_tasks(&session, BROKEN, |tasks| tasks.failed == 3);
        let docking = "--name docking --array 0-5 -- sh -c 'read go <gate'";
        assert_eq!(pilot.submit(docking), DOCKING);
        until_tasks(&session, DOCKING, |tasks| tasks.running == 4);
        Self { pilot, gate }
    }

    /// A terminal in which the monitor runs, once it shows the pilot.
    #[track_caller]
    pub(crate) fn monitor(&self, size: (u16, u16), options: &str) -> Terminal {
        let mut terminal = Terminal::start(&self.pilot.home, size, &[]);
        terminal.line(&format!("clear; echo earlier; scalems top {options}"));
        terminal.until_all(&["night", "live", "quit"]);
        terminal
    }

    /// Ends what runs, and the pilot.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.gate.release(6);
        self.end_of_rest();
    }

    /// The same, where all may have gone through the gate.
    #[track_caller]
    pub(crate) fn end_of_rest(self) {
        until_tasks(&self.pilot.session(), DOCKING, |tasks| tasks.unfinished() == 0);
        self.pilot.stop();
    }
}

/// The line of a screen that has `text`.
#[track_caller]
pub(crate) fn row<'a>(screen: &'a str, text: &str) -> &'a str {
    let found = screen.lines().find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("{text:?} is not on the screen:\n{screen}"))
}

/// Whether a line of a screen has all of these.
pub(crate) fn has_line(screen: &str, texts: &[&str]) -> bool {
    screen
        .lines()
        .any(|line| texts.iter().all(|text| line.contains(text)))
}

/// Waits until a line of the screen has all of these: a terminal shows what is half drawn, too.
#[track_caller]
pub(crate) fn until_line(terminal: &mut Terminal, texts: &[&str]) -> String {
    terminal.until_screen(&format!("a line with {texts:?}"), |screen| {
        has_line(screen, texts)
    })
}

fn each_screen(size: (u16, u16)) {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(size, "--no-settings");
    // What there is of it, by numbers.
    until_line(&mut terminal, &["cores", "4/4 used"]);
    until_line(&mut terminal, &["workers", "2/2 used"]);
    until_line(&mut terminal, &["running", " 4"]);
    terminal.until_all(&["tasks 9", "alarms 0", "walltime"]);

    terminal.keys(&["2"]);
    until_line(&mut terminal, &["broken", "failed"]);
    until_line(&mut terminal, &["docking", "running"]);

    // The newest is first, and is gone into. What is granted to a worker may wait there.
    terminal.keys(&["Enter"]);
    terminal.until("tasks of submission 2");
    terminal.until_screen("tasks that run and wait", |screen| {
        has_line(screen, &["2.", "running"])
            && (has_line(screen, &["2.", "leased"]) || has_line(screen, &["2.", "ready"]))
    });
    terminal.keys(&["Escape"]);
    terminal.until_all(&["broken", "docking"]);

    terminal.keys(&["4"]);
    terminal.until_all(&["cores of", "docking"]);
    terminal.until_screen("two workers at work", |screen| {
        let busy = screen
            .lines()
            .filter(|line| line.contains("active") && line.contains("2/2"));
        busy.count() == 2
    });

    terminal.keys(&["5"]);
    until_line(&mut terminal, &["exit_code", "exit 3", " 3 "]);
    terminal.keys(&["Enter"]);
    terminal.until("ended with exit code 3");
    terminal.keys(&["l"]);
    terminal.until_all(&["went in", "errors", "fell over"]);
    // Output, then errors, then both again.
    terminal.keys(&["o"]);
    terminal.until_screen("output alone", |screen| {
        screen.contains("went in") && !screen.contains("fell over")
    });
    terminal.keys(&["o"]);
    terminal.until_screen("errors alone", |screen| {
        !screen.contains("went in") && screen.contains("fell over")
    });

    terminal.keys(&["6"]);
    terminal.until("what happened");
    scene.pilot.submit("--name late -- sh -c 'read go <gate'");
    until_line(&mut terminal, &["submission 3", "late"]);
    scene.pilot.sh("scalems task cancel 3").well();

    terminal.keys(&["8"]);
    terminal.until("your pilots");
    until_line(&mut terminal, &["night", "pilots/night"]);

    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    drop(terminal);
    scene.end();
}

#[test]
fn each_screen_says_what_is_where_there_is_little_room() {
    each_screen(SMALL);
}

#[test]
fn each_screen_says_what_is_where_there_is_much_room() {
    each_screen(LARGE);
}

#[test]
fn what_changes_is_seen() {
    if !has_terminal() {
        return;
    }
    let mut scene = Scene::new();
    let gate = &mut scene.gate;
    let mut terminal = Terminal::start(&scene.pilot.home, SMALL, &[]);
    terminal.line("scalems top --no-settings --screen submissions");
    let numbers = |screen: &str, name: &str| {
        let line = screen
            .lines()
            .find(|line| line.contains(name))
            .unwrap_or_default();
        let words = line.split_whitespace();
        words
            .filter_map(|word| word.parse::<u64>().ok())
            .collect::<Vec<_>>()
    };
    // Its number, tasks, waiting, running, done, failed.
    terminal.until_screen("four that run", |screen| {
        numbers(screen, "docking").starts_with(&[DOCKING, 6, 2, 4, 0, 0])
    });
    gate.release(3);
    terminal.until_screen("three that ended", |screen| {
        matches!(numbers(screen, "docking")[..], [DOCKING, 6, _, _, 3, 0, ..])
    });
    // The size is the terminal's, at any time.
    terminal.resize(LARGE.0, LARGE.1);
    let wide = |screen: &str| screen.lines().any(|line| line.chars().count() > 190);
    terminal.until_screen("a wide screen", wide);
    terminal.resize(12, 4);
    terminal.until("too small");
    terminal.resize(SMALL.0, SMALL.1);
    terminal.until_all(&["docking", "broken", "quit"]);
    drop(terminal);
    scene.end();
}

#[test]
fn it_says_what_to_do_where_there_is_no_terminal() {
    let pilot = Pilot::start("");
    let said = pilot.sh("scalems top </dev/null");
    said.fails(2, &["--once", "terminal"]);
    let shown = pilot.sh("scalems top --once --output json").well().json();
    assert_eq!(shown["schema"], 1);
    assert_eq!(shown["workers"].as_array().unwrap().len(), 1, "{shown}");
    pilot.stop();
}
