//! Characters that say something, each in Unicode and in ASCII, each one column wide.

/// Which characters a terminal shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// All of them.
    #[default]
    Unicode,
    /// Those of 1963.
    Ascii,
}

macro_rules! glyphs {
    ($($(#[$doc:meta])* $name:ident = $unicode:literal, $ascii:literal;)+) => {
        /// What a character says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Glyph {
            $($(#[$doc])* $name,)+
        }

        impl Glyph {
            /// Every glyph.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The character, one column wide.
            pub const fn draw(self, charset: Charset) -> &'static str {
                match (self, charset) {
                    $((Self::$name, Charset::Unicode) => $unicode, (Self::$name, Charset::Ascii) => $ascii,)+
                }
            }
        }
    };
}

glyphs! {
    /// A task that waits for others.
    Waiting = "◌", ".";
    /// A task that could start.
    Ready = "○", "o";
    /// A task that was granted to a worker.
    Leased = "◔", "-";
    /// A task that runs; time that goes on.
    Running = "►", ">";
    /// It ended well.
    Done = "✓", "+";
    /// It ended badly; a worker that was lost.
    Failed = "✗", "x";
    /// It was ended.
    Canceled = "⊘", "/";
    /// A worker that is there.
    Active = "●", "*";
    /// A worker that is silent.
    Suspect = "?", "?";
    /// A worker that takes nothing new.
    Draining = "↓", "v";
    /// A worker that left.
    Gone = "–", "_";
    /// The smallest comes first.
    Ascending = "▲", "^";
    /// The largest comes first.
    Descending = "▼", "v";
    /// A row that is marked.
    Marked = "●", "*";
    /// The row that is chosen.
    Pointer = "▌", ">";
    /// More is above.
    MoreUp = "↑", "^";
    /// More is below.
    MoreDown = "↓", "v";
    /// More is on the left.
    MoreLeft = "←", "<";
    /// More is on the right.
    MoreRight = "→", ">";
    /// A part of a way that was gone: pilot, submission, task.
    Crumb = "›", ">";
    /// Between things of one line.
    Dot = "·", "-";
    /// The agent is heard of.
    Beat = "♥", "*";
    /// The agent is silent, or something is wrong.
    Alarm = "▲", "!";
    /// The view stands still.
    Paused = "‖", "=";
    /// Where in time.
    Cursor = "│", "|";
    /// A fault on the line of time.
    Fault = "▾", "x";
    /// A line across.
    Line = "─", "-";
    /// A line down.
    Wall = "│", "|";
    /// Where the text goes on: what is typed next stands here.
    Caret = "█", "_";
    /// Under the place of an error.
    Here = "↑", "^";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_column_and_one_character() {
        for glyph in Glyph::ALL {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let drawn = glyph.draw(charset);
                assert_eq!(drawn.chars().count(), 1, "{glyph:?}");
                assert_eq!(crate::kit::text::width(drawn), 1, "{glyph:?}");
            }
            assert!(glyph.draw(Charset::Ascii).is_ascii(), "{glyph:?}");
        }
    }
}
