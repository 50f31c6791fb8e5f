use std::fmt::Write as _;

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Position, Rect};

use super::*;
use crate::kit::keys::{Command, Context, Place};
use crate::kit::query::{Field, Kind, QUERY_BYTES, Query};
use crate::kit::{THEMES, text_of};

fn drawn(width: u16, height: u16, draw: impl FnOnce(Rect, &mut Buffer)) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(area, &mut buffer);
    text_of(&buffer)
}

fn typed(input: &mut Input, text: &str) {
    for character in text.chars() {
        input.key(KeyEvent::new(KeyCode::Char(character), KeyModifiers::NONE));
    }
}

fn press(input: &mut Input, code: KeyCode, modifiers: KeyModifiers) -> bool {
    input.key(KeyEvent::new(code, modifiers))
}

#[test]
fn a_question_names_what_it_is_about() {
    let names = (0..12).map(|number| format!("1.{number} relax")).collect();
    let few = vec!["2.7 \x1b[2Jevil".to_owned()];
    let mut many =
        Confirm::new("Cancel 1024 tasks?", names, 1_024, "cancel").note("Those that run are ended; 512 do.");
    let mut one = Confirm::new("Cancel 1 task?", few, 1, "cancel");
    let mut shown = String::new();
    for (theme, width, height) in [
        (THEMES[0], 60, 16),
        (THEMES[1], 60, 16),
        (THEMES[0], 24, 8),
        (THEMES[0], 8, 3),
    ] {
        let text = drawn(width, height, |area, buffer| many.draw(theme, area, buffer));
        let _ = writeln!(shown, "{text}\n");
    }
    let text = drawn(60, 7, |area, buffer| one.draw(THEMES[0], area, buffer));
    let _ = writeln!(shown, "{text}");
    insta::assert_snapshot!(shown);
    // Where the answers are is where they can be clicked.
    let line = text
        .lines()
        .position(|line| line.contains("Enter, y: cancel"))
        .unwrap();
    let row = text.lines().nth(line).unwrap();
    let column = |of: &str| row[..row.find(of).unwrap()].chars().count() as u16;
    assert_eq!(one.click(Position::new(column("Enter"), line as u16)), Some(true));
    assert_eq!(one.click(Position::new(column("Esc"), line as u16)), Some(false));
    assert_eq!(one.click(Position::new(0, 0)), None);
    assert_eq!(one.command(Command::Yes), Some(true));
    assert_eq!(one.command(Command::No), Some(false));
    assert_eq!(one.command(Command::Down), None);
}

#[test]
fn menus_are_gone_through_and_taken() {
    let items = ["Task", "State", "Retries", "Host", "Runtime"]
        .iter()
        .zip("TSRHU".chars());
    let items: Vec<Item> = items
        .map(|(label, letter)| Item {
            label: (*label).to_owned(),
            letter: Some(letter),
            is_on: *label == "Retries",
        })
        .collect();
    let mut menu = Menu::new("Sort by", items);
    let shown = drawn(40, 9, |area, buffer| menu.draw(THEMES[0], area, buffer));
    let small = drawn(12, 5, |area, buffer| menu.draw(THEMES[1], area, buffer));
    insta::assert_snapshot!(format!("{shown}\n{small}"));
    drawn(40, 9, |area, buffer| menu.draw(THEMES[0], area, buffer));
    assert_eq!(menu.command(Command::Open), Some(2));
    for (command, then) in [
        (Command::Down, 3),
        (Command::Last, 4),
        (Command::Down, 0),
        (Command::Up, 4),
        (Command::First, 0),
        (Command::PageDown, 4),
        (Command::PageUp, 0),
    ] {
        assert_eq!(menu.command(command), None);
        assert_eq!(menu.command(Command::Open), Some(then), "{command:?}");
    }
    assert_eq!(menu.letter('h'), Some(3));
    assert_eq!(menu.letter('z'), None);
    assert_eq!(menu.command(Command::Open), Some(3));
    let row = shown.lines().position(|line| line.contains("State")).unwrap();
    assert_eq!(menu.click(Position::new(15, row as u16)), Some(1));
    assert_eq!(menu.click(Position::new(0, row as u16)), None);
    let mut none = Menu::new("Nothing", Vec::new());
    assert_eq!(none.command(Command::Down), None);
    assert_eq!(none.command(Command::Open), None);
    drawn(10, 4, |area, buffer| none.draw(THEMES[0], area, buffer));
}

#[test]
fn a_line_is_typed_and_edited() {
    let mut input = Input::new("/", "state=failed", 64);
    typed(&mut input, " and x");
    assert_eq!(input.text(), "state=failed and x");
    press(&mut input, KeyCode::Char('w'), KeyModifiers::CONTROL);
    press(&mut input, KeyCode::Backspace, KeyModifiers::ALT);
    assert_eq!(input.text(), "state=failed ");
    press(&mut input, KeyCode::Home, KeyModifiers::NONE);
    typed(&mut input, "日e\u{301}");
    assert_eq!(input.text(), "日e\u{301}state=failed ");
    assert!(press(&mut input, KeyCode::Backspace, KeyModifiers::NONE));
    assert_eq!(input.text(), "日state=failed ");
    assert!(!press(&mut input, KeyCode::Left, KeyModifiers::NONE));
    press(&mut input, KeyCode::Delete, KeyModifiers::NONE);
    assert_eq!(input.text(), "state=failed ");
    press(&mut input, KeyCode::End, KeyModifiers::NONE);
    press(&mut input, KeyCode::Char('u'), KeyModifiers::CONTROL);
    assert_eq!(input.text(), "");
    input.insert("pasted\x1b[2J\ntext");
    assert_eq!(input.text(), "pasted[2Jtext");
    input.insert(&"x".repeat(100));
    assert_eq!(input.text().len(), 64);
}

#[test]
fn what_was_typed_before_comes_back() {
    let history = ["a".to_owned(), "b".to_owned()];
    let mut input = Input::new("/", "", 64).history(&history);
    typed(&mut input, "draft");
    assert!(!input.command(Command::Down));
    for (command, text) in [
        (Command::Up, "b"),
        (Command::Up, "a"),
        (Command::Up, "a"),
        (Command::Down, "b"),
        (Command::Down, "draft"),
    ] {
        assert!(input.command(command));
        assert_eq!(input.text(), text);
    }
    assert!(!Input::new("/", "", 64).command(Command::Up));
}

#[test]
fn an_error_stands_under_its_place() {
    const FIELDS: &[Field] = &[Field {
        name: "state",
        kind: Kind::Word(&["done", "failed"]),
    }];
    let mut shown = String::new();
    for (text, theme, width) in [
        ("state=faulty", THEMES[0], 60),
        ("state=faulty", THEMES[1], 60),
        ("state=done and state=don", THEMES[0], 40),
        ("日本語 or state=\x1bx", THEMES[0], 40),
        ("state=done and state=done and state=faulty", THEMES[0], 24),
        ("", THEMES[0], 3),
    ] {
        let mut input = Input::new("/", text, QUERY_BYTES);
        let error = Query::parse(input.text(), FIELDS).err();
        input.set_error(error.map(|error| (error.at, error.message)));
        let text = drawn(width, 2, |area, buffer| input.draw(theme, area, buffer));
        let _ = writeln!(shown, "{text}\n");
    }
    insta::assert_snapshot!(shown);
    let mut input = Input::new("/", "state=x", QUERY_BYTES);
    input.set_error(Some((6, "wrong".into())));
    assert!(input.has_error());
    typed(&mut input, "y");
    assert!(!input.has_error());
}

fn tasks() -> Context {
    Context {
        place: Place::Tasks,
        readonly: true,
        replay: false,
    }
}

#[test]
fn the_help_scrolls_and_is_searched() {
    let mut help = Help::new(tasks());
    let first = drawn(80, 24, |area, buffer| help.draw(THEMES[0], area, buffer));
    assert!(help.command(Command::Last));
    let last = drawn(80, 24, |area, buffer| help.draw(THEMES[0], area, buffer));
    help.command(Command::First);
    help.command(Command::Filter);
    assert!(help.is_searching());
    typed(help.search(), "logs");
    let found = drawn(44, 12, |area, buffer| help.draw(THEMES[1], area, buffer));
    insta::assert_snapshot!(format!("{first}\n\n{last}\n\n{found}"));
    assert!(help.command(Command::Open));
    assert!(!help.is_searching());
    assert!(help.command(Command::Back), "out of the search first");
    assert!(!help.command(Command::Back));
    typed(help.search(), "no such thing");
    assert!(drawn(40, 9, |area, buffer| help.draw(THEMES[0], area, buffer)).contains("No key does that."));
}

proptest! {
    #[test]
    fn no_size_breaks_a_dialog(width in 0_u16..50, height in 0_u16..20, steps in prop::collection::vec(0_usize..8, 0..12)) {
        let mut confirm = Confirm::new("Stop the pilot?", vec!["a\u{202e}b".into(), "日本語".into()], 7, "stop").note("All goes.");
        let mut menu = Menu::new("Sort", (0..9).map(|n| Item { label: format!("column {n}"), letter: None, is_on: n == 4 }).collect());
        let mut help = Help::new(tasks());
        let commands = [
            Command::Up, Command::Down, Command::PageUp, Command::PageDown, Command::First, Command::Last, Command::Filter,
            Command::Open,
        ];
        for step in steps {
            menu.command(commands[step]);
            help.command(commands[step]);
            for theme in THEMES {
                drawn(width, height, |area, buffer| confirm.draw(theme, area, buffer));
                drawn(width, height, |area, buffer| menu.draw(theme, area, buffer));
                drawn(width, height, |area, buffer| help.draw(theme, area, buffer));
            }
        }
    }

    #[test]
    fn no_key_breaks_a_line(
        text in "\\PC{0,20}",
        keys in prop::collection::vec((0_usize..12, any::<char>()), 0..30),
        width in 0_u16..20,
        place in 0_usize..30,
    ) {
        let mut input = Input::new("/", &text, 40).history(&["before".into(), "日本".into()]);
        for (key, character) in keys {
            let plain = [
                KeyCode::Char(character), KeyCode::Backspace, KeyCode::Delete, KeyCode::Left, KeyCode::Right,
                KeyCode::Home, KeyCode::End,
            ];
            match key {
                0..7 => { press(&mut input, plain[key], KeyModifiers::NONE); }
                7 => { press(&mut input, KeyCode::Char('w'), KeyModifiers::CONTROL); }
                8 => { press(&mut input, KeyCode::Char('k'), KeyModifiers::CONTROL); }
                9 => { input.command(Command::Up); }
                10 => { input.command(Command::Down); }
                _ => input.set_error(Some((place, "what is wrong here".into()))),
            }
            prop_assert!(input.text().len() <= 40);
            prop_assert!(!input.text().chars().any(char::is_control));
            drawn(width, 2, |area, buffer| input.draw(THEMES[0], area, buffer));
        }
    }
}
