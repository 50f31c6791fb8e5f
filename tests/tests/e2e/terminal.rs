//! The terminal that other tests use sees what they rely on it to see.

use scalems_tests::pilot::{Fifo, Home};
use scalems_tests::terminal::{Modes, Terminal, has_terminal};

#[test]
fn a_terminal_tells_what_programs_have_made_of_it() {
    if !has_terminal() {
        return;
    }
    let home = Home::new();
    let mut gate = Fifo::new(&home.work(), "gate");
    let mut terminal = Terminal::start(&home, (60, 12), &[]);
    terminal.line("echo earlier");
    terminal.until_back("earlier");
    let take = "stty raw -echo; printf '\\033[?1049h\\033[?25l\\033[?1000hdra''wn'";
    let give = "stty sane; printf '\\033[?1049l\\033[?25h\\033[?1000l'";
    terminal.line(&format!("{take}; read go <gate; {give}"));
    let screen = terminal.until("drawn");
    assert!(!screen.contains("earlier"), "{screen}");
    let taken = Modes {
        alternate: true,
        cursor: false,
        mouse: true,
        raw: true,
    };
    assert_eq!(terminal.modes(), taken);
    gate.release(1);
    terminal.until_back("earlier");
    terminal.written_until("\u{1b}[?1049l");
}

#[test]
fn a_terminal_has_the_size_that_it_is_given() {
    if !has_terminal() {
        return;
    }
    let home = Home::new();
    let mut terminal = Terminal::start(&home, (80, 24), &[]);
    terminal.line("stty size");
    terminal.until("24 80");
    terminal.resize(200, 60);
    terminal.line("stty size");
    terminal.until("60 200");
}

#[test]
fn what_is_typed_and_clicked_comes_to_the_program() {
    if !has_terminal() {
        return;
    }
    let home = Home::new();
    let mut terminal = Terminal::start(&home, (100, 12), &[]);
    // What a program that draws reads: bytes, of which the click on column 2 and row 1 is nine, twice.
    terminal.line("stty -icanon -echo; echo re''ady; head -c 20 | od -An -c -w20; stty sane");
    terminal.until("ready");
    terminal.text("é");
    terminal.click(2, 1);
    let screen = terminal.until_back("ready");
    let read: Vec<_> = screen.split_whitespace().collect();
    let typed = "303 251 033 [ < 0 ; 3 ; 2 M 033 [ < 0 ; 3 ; 2 m";
    assert!(read.join(" ").contains(typed), "{screen}");
}
