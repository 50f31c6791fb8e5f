//! What the screens are made of, and what knows nothing of pilots: keys, themes, tables, the filter language, text that is
//! safe to show. All of it is state and drawing; what is drawn goes to a buffer, never to a terminal.

pub mod cells;
pub mod dialog;
pub mod gauge;
pub mod keys;
pub mod numbers;
pub mod query;
pub mod settings;
pub mod spark;
pub mod table;
pub mod text;
pub mod theme;

#[cfg(test)]
pub(crate) use testing::{THEMES, text_of};

#[cfg(test)]
mod testing {
    //! For the tests of what is drawn.

    use ratatui::buffer::Buffer;

    use super::theme::{Charset, Depth, Theme, ThemeName};

    /// With all characters, and with few.
    pub(crate) const THEMES: [Theme; 2] = [
        Theme {
            name: ThemeName::Dark,
            depth: Depth::Plain,
            charset: Charset::Unicode,
        },
        Theme {
            name: ThemeName::Mono,
            depth: Depth::Plain,
            charset: Charset::Ascii,
        },
    ];

    /// What a buffer looks like, without blanks at the ends of lines.
    pub(crate) fn text_of(buffer: &Buffer) -> String {
        let line = |y| {
            let mut line = String::new();
            let mut x = 0;
            // The second half of a wide character is no cell of its own.
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                line.push_str(symbol);
                x += super::text::width(symbol).max(1) as u16;
            }
            line.trim_end().to_owned()
        };
        (0..buffer.area.height).map(line).collect::<Vec<_>>().join("\n")
    }
}
