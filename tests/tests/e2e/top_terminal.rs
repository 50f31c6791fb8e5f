//! The live monitor and its terminal: given back however it ends, and safe from what others write.

use std::time::Instant;

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Home, PATIENCE, process};
use scalems_tests::terminal::{Modes, PROMPT, Terminal, has_terminal};

use crate::top::{SMALL, Scene, row};

const DRAWN_ON: Modes = Modes {
    alternate: true,
    cursor: false,
    mouse: true,
    raw: true,
};

/// The monitor's process.
#[track_caller]
fn monitor_of(home: &Home) -> u32 {
    let found = process::of_home(&home.temporary());
    let monitor = found.iter().find(|(_, line)| line.starts_with("scalems top"));
    monitor.unwrap_or_else(|| panic!("no monitor runs: {found:?}")).0
}

/// Ends it in a way, and checks the exit code and what it leaves.
#[track_caller]
fn ends(terminal: &mut Terminal, end: impl FnOnce(&mut Terminal), code: i32) {
    terminal.line("clear; echo earlier; scalems top --no-settings");
    terminal.until("allocation");
    assert_eq!(terminal.modes(), DRAWN_ON);
    end(terminal);
    terminal.until_back("earlier");
    terminal.line("echo \"code $?\"");
    terminal.until(&format!("code {code}\n"));
}

#[test]
fn the_terminal_is_given_back_however_the_monitor_ends() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let home = &scene.pilot.home;
    let mut terminal = Terminal::start(home, SMALL, &[]);
    ends(&mut terminal, |terminal| terminal.keys(&["q"]), 0);
    ends(&mut terminal, |terminal| terminal.keys(&["C-c"]), 0);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        let code = 128 + signal as i32;
        ends(&mut terminal, |_| process::signal(monitor_of(home), signal), code);
    }
    drop(terminal);
    scene.end();
}

#[test]
fn the_terminal_is_given_back_after_a_panic_which_can_be_read() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let variables = [("SCALEMS_TOP_PANIC", "1"), ("RUST_BACKTRACE", "0")];
    let mut terminal = Terminal::start(&scene.pilot.home, SMALL, &variables);
    let panic = |terminal: &mut Terminal| {
        terminal.keys(&["j"]);
        terminal.until("a key was typed");
    };
    ends(&mut terminal, panic, 101);
    drop(terminal);
    scene.end();
}

#[test]
fn the_shell_has_the_terminal_while_the_monitor_stands() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let home = &scene.pilot.home;
    let mut terminal = Terminal::start(home, SMALL, &[]);
    terminal.line("clear; echo earlier; scalems top --no-settings");
    terminal.until("allocation");
    terminal.keys(&["C-z"]);
    terminal.until_back("Stopped");
    terminal.line("clear; echo earlier; fg");
    terminal.until("allocation");
    assert_eq!(terminal.modes(), DRAWN_ON);
    // Asked by a signal it does the same.
    process::signal(monitor_of(home), Signal::SIGTSTP);
    terminal.until_back("Stopped");
    // It does not come to the front by itself.
    terminal.line("clear; echo earlier; bg");
    terminal.until_back("--no-settings &");
    terminal.line("fg");
    terminal.until("allocation");
    // Nobody is asked about this one, so what is there afterwards is the shell's to clean; but it comes back.
    process::signal(monitor_of(home), Signal::SIGSTOP);
    terminal.until("Stopped");
    terminal.line("fg");
    terminal.until_screen("the monitor again", |screen| {
        screen.starts_with("scalems-top") && screen.contains("allocation") && !screen.contains(PROMPT)
    });
    assert_eq!(terminal.modes(), DRAWN_ON);
    terminal.keys(&["q"]);
    terminal.until_screen("the shell", |screen| screen.contains("earlier"));
    terminal.until_back("earlier");
    drop(terminal);
    scene.end();
}

#[test]
fn nothing_is_left_where_the_terminal_is_closed() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let home = &scene.pilot.home;
    for ignores in ["", "trap '' HUP; "] {
        let mut terminal = Terminal::start(home, SMALL, &[]);
        terminal.line(&format!("{ignores}scalems top --no-settings"));
        terminal.until("allocation");
        let monitor = monitor_of(home);
        drop(terminal);
        let gone = process::wait_gone(monitor, Instant::now() + PATIENCE);
        assert!(gone, "the monitor lives on without a terminal; {ignores:?}");
    }
    scene.end();
}

#[test]
fn what_others_write_does_not_reach_the_terminal() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = scene.monitor(SMALL, "--no-settings --screen submissions");
    terminal.until("docking");
    let before = terminal.title();
    // A title, a cleared screen, red for all that follows, a bell, an answer that would be typed, and the other direction.
    let evil = "\\033]0;owned\\007\\033[2J\\033[31mred\\033[6n\\302\\233\\342\\200\\256x";
    let line = format!("--name \"$(printf 'evil{evil}')\" -- printf 'says{evil}\\nnext line\\n'");
    let number = scene.pilot.submit(&line);
    terminal.until_screen("the name", |screen| screen.contains("evil\\e]0;"));
    terminal.resize(200, 60);
    let screen = terminal.until("\\e[2J");
    assert!(!row(&screen, "evil").contains('\u{202e}'), "{screen}");
    scene.pilot.sh("scalems task cancel 2 --kill").well();
    scene.pilot.sh(&format!("scalems wait {number}")).well();
    terminal.keys(&["Enter"]);
    terminal.until_all(&["tasks of submission 3", "3.0 ", "done"]);
    terminal.keys(&["l"]);
    terminal.until_all(&["says", "next line"]);
    terminal.keys(&["6"]);
    terminal.until_all(&["what happened", "evil"]);
    terminal.keys(&["q"]);
    terminal.until_back("earlier");
    terminal.line("echo over");
    let written = terminal.written_until("over\r\n");
    for raw in [
        "\u{1b}]0;",
        "\u{1b}[31mred",
        "\u{1b}[6n",
        "\u{7}",
        "\u{202e}",
        "\u{9b}",
    ] {
        assert!(!written.contains(raw), "{raw:?} was written: {written:?}");
    }
    assert_eq!(terminal.title(), before);
    drop(terminal);
    scene.pilot.stop();
}

#[test]
fn colours_and_letters_are_those_that_were_asked_for() {
    if !has_terminal() {
        return;
    }
    let scene = Scene::new();
    let mut terminal = Terminal::start(&scene.pilot.home, SMALL, &[]);
    terminal.line("scalems top --no-settings");
    terminal.until("4/4 used");
    assert!(terminal.painted().contains("\u{1b}[3"), "{}", terminal.painted());
    terminal.keys(&["q"]);
    terminal.until_back("");
    terminal.line("clear; NO_COLOR=1 scalems top --no-settings --ascii");
    let screen = terminal.until("4/4 used");
    assert!(screen.is_ascii(), "{screen}");
    let painted = terminal.painted();
    // What is bold is no colour, and neither is the one that the terminal has by itself.
    let plain = painted.replace("\u{1b}[39m", "").replace("\u{1b}[49m", "");
    let coloured = ["\u{1b}[3", "\u{1b}[4", "\u{1b}[9", "\u{1b}[10"];
    let coloured = coloured.iter().any(|colour| {
        let next = |at: usize| plain.as_bytes().get(at + colour.len());
        plain
            .match_indices(colour)
            .any(|(at, _)| next(at).is_some_and(u8::is_ascii_digit))
    });
    assert!(!coloured, "{painted:?}");
    drop(terminal);
    scene.end();
}
