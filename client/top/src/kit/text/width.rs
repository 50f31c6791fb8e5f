//! How wide text is, and how it is cut. Widths are columns of a terminal, counted as the drawing library does: by graphemes.

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::shown;
use crate::kit::theme::Charset;

/// To which side text goes in a column that is wider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// Words.
    #[default]
    Left,
    /// Numbers.
    Right,
}

/// How many columns `text` takes.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.graphemes(true).map(UnicodeWidthStr::width).sum()
}

/// The beginning of `text` that fits into `limit` columns; if that is not all of it, its end is `…` (`~` in ASCII).
pub fn cut(text: &str, limit: usize, charset: Charset) -> Cow<'_, str> {
    if text.len() <= limit && text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let whole = prefix(text, limit);
    if whole.len() == text.len() {
        return Cow::Borrowed(text);
    }
    if limit == 0 {
        return Cow::Borrowed("");
    }
    let mut short = prefix(text, limit - 1).to_owned();
    short.push_str(match charset {
        Charset::Unicode => "…",
        Charset::Ascii => "~",
    });
    Cow::Owned(short)
}

/// What others wrote, safe ([`shown`]) and cut to `limit` columns.
pub fn fit(text: &str, limit: usize, charset: Charset) -> Cow<'_, str> {
    match shown(text, charset) {
        Cow::Borrowed(text) => cut(text, limit, charset),
        Cow::Owned(text) => Cow::Owned(cut(&text, limit, charset).into_owned()),
    }
}

/// `text` in exactly `columns` columns: cut, or filled up with spaces.
pub fn pad(text: &str, columns: usize, align: Align, charset: Charset) -> String {
    let text = cut(text, columns, charset);
    let space = " ".repeat(columns.saturating_sub(width(&text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

/// `text` in rows of at most `columns` columns, cut wherever one is full: output is no prose, and what is copied from the
/// screen should come together again. There is at least one row. A character that is wider than a row has one of its own,
/// and is left out when drawn.
pub fn wrap(text: &str, columns: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut row = prefix(text, columns);
        if row.is_empty() {
            row = text.graphemes(true).next().unwrap_or(text);
        }
        rest = Some(&text[row.len()..]).filter(|rest| !rest.is_empty());
        Some(row)
    })
}

/// `text` in rows of at most `columns` columns, between words: what we say ourselves. Words that are longer are cut.
pub fn words(text: &str, columns: usize, charset: Charset) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, columns, charset);
        match rows.last_mut() {
            Some(row) if width(row) + 1 + width(&word) <= columns => {
                row.push(' ');
                row.push_str(&word);
            }
            _ => rows.push(word.into_owned()),
        }
    }
    rows
}

/// The longest beginning that fits.
fn prefix(text: &str, limit: usize) -> &str {
    let mut taken = 0;
    for (at, grapheme) in text.grapheme_indices(true) {
        taken += grapheme.width();
        if taken > limit {
            return &text[..at];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_cut_where_it_is_full() {
        for (text, limit, seen) in [
            ("relax", 5, "relax"),
            ("relax", 4, "rel…"),
            ("relax", 1, "…"),
            ("relax", 0, ""),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
        ] {
            assert_eq!(cut(text, limit, Charset::Unicode), seen, "{text} {limit}");
        }
        assert_eq!(cut("relax", 4, Charset::Ascii), "rel~");
        assert_eq!(fit("a\nb\nc", 4, Charset::Unicode), "a\\n…");
    }

    #[test]
    fn columns_are_filled() {
        assert_eq!(pad("7", 3, Align::Right, Charset::Unicode), "  7");
        assert_eq!(pad("日", 3, Align::Left, Charset::Unicode), "日 ");
        assert_eq!(pad("1234", 3, Align::Right, Charset::Unicode), "12…");
    }

    #[test]
    fn rows_come_together_again() {
        assert_eq!(wrap("abcdef", 4).collect::<Vec<_>>(), ["abcd", "ef"]);
        assert_eq!(wrap("", 4).collect::<Vec<_>>(), [""]);
        assert_eq!(wrap("日本", 3).collect::<Vec<_>>(), ["日", "本"]);
        assert_eq!(wrap("日本", 1).collect::<Vec<_>>(), ["日", "本"]);
    }

    #[test]
    fn what_we_say_is_broken_between_words() {
        assert_eq!(words("one two three", 7, Charset::Unicode), ["one two", "three"]);
        assert_eq!(words("a verylongword", 5, Charset::Unicode), ["a", "very…"]);
        assert!(words(" ", 5, Charset::Unicode).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_asked(text in "\\PC{0,40}", columns in 1_usize..20) {
            prop_assert!(width(&cut(&text, columns, Charset::Unicode)) <= columns);
            prop_assert!(width(&pad(&text, columns, Align::Left, Charset::Unicode)) <= columns);
            prop_assert_eq!(wrap(&text, columns).collect::<String>(), text);
        }
    }
}
