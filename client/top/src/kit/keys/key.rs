//! A key, as it is compared and named.

use std::fmt;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A key with what is held down beside it. Shift is no part of a character: it is in the character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The key.
    pub code: KeyCode,
    /// Control and Alt; and Shift, of keys that are no characters.
    pub modifiers: KeyModifiers,
}

impl Key {
    /// A character.
    pub const fn char(character: char) -> Self {
        Self::code(KeyCode::Char(character))
    }

    /// A character with Control.
    pub const fn ctrl(character: char) -> Self {
        Self {
            code: KeyCode::Char(character),
            modifiers: KeyModifiers::CONTROL,
        }
    }

    /// Another key.
    pub const fn code(code: KeyCode) -> Self {
        Self {
            code,
            modifiers: KeyModifiers::NONE,
        }
    }

    /// Whether nothing is held down beside it.
    pub fn is_plain(self) -> bool {
        self.modifiers.is_empty()
    }
}

impl From<KeyEvent> for Key {
    fn from(event: KeyEvent) -> Self {
        let held = event.modifiers & (KeyModifiers::CONTROL | KeyModifiers::ALT | KeyModifiers::SHIFT);
        match event.code {
            // With Control, terminals differ in whether they send the letter in upper case.
            KeyCode::Char(character) if held.contains(KeyModifiers::CONTROL) => Self {
                code: KeyCode::Char(character.to_ascii_lowercase()),
                modifiers: held - KeyModifiers::SHIFT,
            },
            KeyCode::Char(_) | KeyCode::BackTab => Self {
                code: event.code,
                modifiers: held - KeyModifiers::SHIFT,
            },
            code => Self {
                code,
                modifiers: held,
            },
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.modifiers.contains(KeyModifiers::CONTROL) {
            formatter.write_str("Ctrl-")?;
        }
        if self.modifiers.contains(KeyModifiers::ALT) {
            formatter.write_str("Alt-")?;
        }
        match self.code {
            KeyCode::Char(' ') => formatter.write_str("Space"),
            KeyCode::Char(character) => write!(formatter, "{character}"),
            KeyCode::F(number) => write!(formatter, "F{number}"),
            KeyCode::PageUp => formatter.write_str("PgUp"),
            KeyCode::PageDown => formatter.write_str("PgDn"),
            KeyCode::BackTab => formatter.write_str("Shift-Tab"),
            // The others are called in Rust as on keyboards.
            code => write!(formatter, "{code:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_from_any_terminal() {
        let event = |code, modifiers| Key::from(KeyEvent::new(code, modifiers));
        assert_eq!(event(KeyCode::Char('G'), KeyModifiers::SHIFT), Key::char('G'));
        assert_eq!(event(KeyCode::Char('?'), KeyModifiers::SHIFT), Key::char('?'));
        assert_eq!(
            event(KeyCode::Char('D'), KeyModifiers::CONTROL | KeyModifiers::SHIFT),
            Key::ctrl('d')
        );
        assert_eq!(
            event(KeyCode::BackTab, KeyModifiers::SHIFT),
            Key::code(KeyCode::BackTab)
        );
        assert_ne!(event(KeyCode::Char('x'), KeyModifiers::ALT), Key::char('x'));
    }

    #[test]
    fn keys_have_the_names_on_them() {
        for (key, name) in [
            (Key::char('q'), "q"),
            (Key::char(' '), "Space"),
            (Key::ctrl('c'), "Ctrl-c"),
            (Key::code(KeyCode::F(6)), "F6"),
            (Key::code(KeyCode::PageDown), "PgDn"),
            (Key::code(KeyCode::Up), "Up"),
            (Key::code(KeyCode::Esc), "Esc"),
            (Key::code(KeyCode::Backspace), "Backspace"),
        ] {
            assert_eq!(key.to_string(), name);
        }
    }
}
