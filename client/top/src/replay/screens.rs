//! The screens of a replay, moved by keys.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::Replay;
use super::tests::recording;
use crate::app::{App, Finder, Opener};
use crate::kit::settings::Settings;
use crate::kit::{THEMES, text_of};
use crate::view;

struct Shown {
    app: App,
    now: Duration,
    terminal: Terminal<TestBackend>,
}

impl Shown {
    fn new(width: u16, height: u16) -> Self {
        let replay = Replay::with_clock(recording(), Box::new(|| Duration::ZERO));
        let nowhere: (Finder, Opener) = (Box::new(Vec::new), Box::new(|_| Err(String::new())));
        let app = App::new(Box::new(replay), THEMES[0], Settings::default(), false, nowhere);
        let mut shown = Self {
            app,
            now: Duration::ZERO,
            terminal: Terminal::new(TestBackend::new(width, height)).unwrap(),
        };
        shown.tick();
        shown
    }

    fn tick(&mut self) {
        self.now += Duration::from_secs(2);
        self.app.tick(self.now);
    }

    fn press(&mut self, code: KeyCode) -> &mut Self {
        self.app
            .event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        self.tick();
        self
    }

    fn type_text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            self.press(KeyCode::Char(character));
        }
        self
    }

    fn text(&mut self) -> String {
        let app = &mut self.app;
        self.terminal.draw(|frame| view::draw(app, frame)).unwrap();
        text_of(self.terminal.backend().buffer())
    }
}

#[test]
fn it_begins_at_the_end_and_says_how_it_ended() {
    let mut shown = Shown::new(80, 24);
    insta::assert_snapshot!(shown.text());
}

#[test]
fn a_jump_to_a_fault_shows_what_was_then() {
    let mut shown = Shown::new(80, 24);
    shown.press(KeyCode::Home).press(KeyCode::Char('n'));
    let overview = shown.text();
    assert!(overview.contains("replay 5.0s"), "{overview}");
    shown
        .press(KeyCode::Char('3'))
        .type_text("/state=failed")
        .press(KeyCode::Enter);
    let failed = shown.text();
    assert!(failed.contains("1.22"), "{failed}");
    // At the next one it is another.
    shown
        .press(KeyCode::Char('n'))
        .press(KeyCode::Char('n'))
        .press(KeyCode::Char('n'));
    let both = shown.text();
    assert!(
        both.contains("replay 12.0s") && both.contains("1.22") && both.contains("4.10"),
        "{both}"
    );
    shown.press(KeyCode::Char('N'));
    let before = shown.text();
    assert!(
        before.contains("replay 7.0s") && !before.contains("4.10"),
        "{before}"
    );
    insta::assert_snapshot!(format!("{failed}\n\n{both}"));
}

#[test]
fn every_screen_is_of_its_time() {
    let mut shown = Shown::new(80, 18);
    shown.press(KeyCode::Char('N')).press(KeyCode::Char('N'));
    let screens = ['2', '3', '4', '5', '6'].map(|digit| {
        shown.press(KeyCode::Char(digit));
        shown.text()
    });
    insta::assert_snapshot!(screens.join("\n\n"));
    // Nothing can be done to what was.
    shown.press(KeyCode::Char('3')).press(KeyCode::Char('c'));
    assert!(shown.app.dialog.is_none());
}

#[test]
fn the_last_words_of_a_task_are_in_its_log() {
    let mut shown = Shown::new(80, 18);
    shown
        .press(KeyCode::Char('3'))
        .type_text("/state=failed")
        .press(KeyCode::Enter);
    shown.press(KeyCode::Char('g')).press(KeyCode::Char('d'));
    shown.tick();
    let details = shown.text();
    shown.press(KeyCode::Esc).press(KeyCode::Char('l'));
    shown.tick();
    let log = shown.text();
    assert!(log.contains("no such file"), "{log}");
    insta::assert_snapshot!(format!("{details}\n\n{log}"));
}
