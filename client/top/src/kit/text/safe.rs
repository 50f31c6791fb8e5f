//! What may go to the screen.

use std::borrow::Cow;

use super::escape::after_sequence;
use crate::kit::theme::Charset;

/// How much of one line is looked at: more than any terminal is wide, so what is left out would not be seen either.
pub const LINE_BYTES: usize = 16 * 1_024;

/// How many combining characters one character keeps. Scripts need two or three; piles of them hide other lines.
const COMBINING: usize = 3;

/// A tab goes to the next multiple of this, as in a terminal.
const TAB: usize = 8;

/// What becomes of a character.
enum Kind {
    /// It is shown as it is.
    Plain,
    /// It belongs to the one before it.
    Combining,
    /// It changes how others look and has no look of its own: it is left out.
    Selector,
    /// It is shown as an escape.
    Unsafe,
}

/// A name, a label, a message: in one line, with every character that is not plain as an escape (`\n`, `\e`, `\u{202e}`), so
/// that two different names never look alike by tricks of control characters. With [`Charset::Ascii`] all else is escaped too.
///
/// ```
/// use scalems_top::kit::{text::shown, theme::Charset};
/// assert_eq!(shown("a\x1b[2Jb", Charset::Unicode), "a\\e[2Jb");
/// ```
pub fn shown(text: &str, charset: Charset) -> Cow<'_, str> {
    let text = beginning(text);
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    push(&mut out, text, charset);
    Cow::Owned(out)
}

/// A line of output, without its line's end, as a terminal would show it: colours and other escape sequences left out,
/// tabs as spaces, and of what carriage returns have overwritten only the last (programs write their progress so).
/// What else is not plain is escaped as by [`shown`].
pub fn line(text: &str, charset: Charset) -> Cow<'_, str> {
    let text = beginning(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let text = text.rsplit('\r').next().unwrap_or(text);
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(|c| matches!(c, '\t' | '\u{1b}' | '\u{90}'..='\u{9f}')) {
        push(&mut out, &rest[..at], charset);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('\t') {
            let column = super::width(&out);
            out.extend(std::iter::repeat_n(' ', TAB - column % TAB));
            rest = after;
        } else if let Some(after) = after_sequence(rest) {
            rest = after;
        } else {
            let next = rest.chars().next().map_or(rest.len(), char::len_utf8);
            push(&mut out, &rest[..next], charset);
            rest = &rest[next..];
        }
    }
    push(&mut out, rest, charset);
    Cow::Owned(out)
}

/// As much of it as is looked at, not cutting a character.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn push(out: &mut String, text: &str, charset: Charset) {
    let mut combined = COMBINING;
    for character in text.chars() {
        match kind(character, charset) {
            Kind::Plain => {
                out.push(character);
                combined = 0;
            }
            // With nothing before it that it could belong to, it would join what we write ourselves.
            Kind::Combining if out.is_empty() => escape(out, character),
            Kind::Combining if combined < COMBINING => {
                out.push(character);
                combined += 1;
            }
            Kind::Combining | Kind::Selector => {}
            Kind::Unsafe => {
                escape(out, character);
                // What follows an escape would join its brace.
                combined = COMBINING;
            }
        }
    }
}

fn escape(out: &mut String, character: char) {
    match character {
        '\u{1b}' => out.push_str("\\e"),
        _ => out.extend(character.escape_default()),
    }
}

fn kind(character: char, charset: Charset) -> Kind {
    use unicode_width::UnicodeWidthChar;

    match character {
        ' '..='~' => return Kind::Plain,
        _ if charset == Charset::Ascii => return Kind::Unsafe,
        // They ask for another look of the character before, of another width than it is taken for.
        '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => return Kind::Selector,
        // Controls; soft hyphen; Arabic letter mark; the fillers of Hangul and the joiner of graphemes, which are blank.
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' => return Kind::Unsafe,
        '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => return Kind::Unsafe,
        // Zero-width characters, marks and overrides of direction, separators of lines, isolates, invisible operators.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => return Kind::Unsafe,
        // The blank of Braille, the Hangul fillers, the byte order mark, annotations and replacements of objects.
        '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}' => return Kind::Unsafe,
        // Spaces of odd widths, which would make two names of one.
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            return Kind::Unsafe;
        }
        // Parts of flags and skin tones: terminals differ in what they make of a pair of them.
        '\u{1f1e6}'..='\u{1f1ff}' | '\u{1f3fb}'..='\u{1f3ff}' => return Kind::Unsafe,
        // Notes of music and tags without a look, letters for private use, and what is no character.
        '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'.. => return Kind::Unsafe,
        _ => {}
    }
    match character.width() {
        Some(1 | 2) => Kind::Plain,
        Some(0) => Kind::Combining,
        _ => Kind::Unsafe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::kit::text::{cut, width};

    #[test]
    fn what_is_plain_stays() {
        for plain in ["", "relax-01", "Zürich", "日本語", "naïve", "γ=0.5", "e\u{301}"] {
            assert_eq!(shown(plain, Charset::Unicode), plain);
            assert_eq!(line(plain, Charset::Unicode), plain);
        }
        assert!(matches!(shown("relax", Charset::Unicode), Cow::Borrowed(_)));
    }

    #[test]
    fn tricks_of_names_are_seen() {
        for (name, seen) in [
            ("a\nb", "a\\nb"),
            ("a\tb", "a\\tb"),
            ("\x1b]0;owned\x07", "\\e]0;owned\\u{7}"),
            ("gnp\u{202e}exe", "gnp\\u{202e}exe"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("\u{301}x", "\\u{301}x"),
            ("a\n\u{301}x", "a\\nx"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{a0}b", "a\\u{a0}b"),
            ("\u{1f1e9}\u{1f1ea}", "\\u{1f1e9}\\u{1f1ea}"),
            ("☂\u{fe0f}", "☂"),
        ] {
            assert_eq!(shown(name, Charset::Unicode), seen, "{name:?}");
        }
        let pile = format!("a{}", "\u{301}".repeat(100));
        assert_eq!(shown(&pile, Charset::Unicode).chars().count(), 1 + COMBINING);
        assert_eq!(shown("Zürich", Charset::Ascii), "Z\\u{fc}rich");
    }

    #[test]
    fn output_is_shown_as_a_terminal_would() {
        for (text, seen) in [
            ("\x1b[1;31merror\x1b[0m: no", "error: no"),
            ("10 %\r50 %\r100 %", "100 %"),
            ("done\r", "done"),
            ("a\tb", "a       b"),
            ("12345678\tb", "12345678        b"),
            ("\x1b[31ma\tb", "a       b"),
            ("\x1b[2J\x1b[Hgone", "gone"),
            ("a\x08b", "a\\u{8}b"),
            ("\x1b]0;t", ""),
        ] {
            assert_eq!(line(text, Charset::Unicode), seen, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_costs_no_more_than_its_beginning() {
        let long = "é".repeat(LINE_BYTES);
        assert_eq!(shown(&long, Charset::Unicode).len(), LINE_BYTES);
    }

    fn tricky() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<char>().prop_map(String::from),
            (0_u32..0x300)
                .prop_filter_map("a character", char::from_u32)
                .prop_map(String::from),
            (0x2000_u32..0x2070)
                .prop_filter_map("a character", char::from_u32)
                .prop_map(String::from),
            Just("\u{1b}[".to_owned()),
            Just("\u{301}".to_owned()),
            Just("👩\u{200d}🚀".to_owned()),
            Just("日".to_owned()),
            Just("\t".to_owned()),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_of_it_moves_a_terminal(text in tricky(), limit in 0_usize..30) {
            for charset in [Charset::Unicode, Charset::Ascii] {
                for safe in [shown(&text, charset), line(&text, charset)] {
                    prop_assert!(safe.chars().all(|c| !c.is_control()), "{safe:?}");
                    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
                    prop_assert!(!safe.contains(hidden), "{safe:?}");
                    prop_assert!(charset == Charset::Unicode || safe.is_ascii());
                    let short = cut(&safe, limit, charset);
                    prop_assert!(width(&short) <= limit);
                    prop_assert!(short.chars().all(|c| !c.is_control()));
                }
            }
        }

        #[test]
        fn what_is_safe_stays_as_it_is(text in tricky()) {
            let once = shown(&text, Charset::Unicode).into_owned();
            prop_assert_eq!(shown(&once, Charset::Unicode), once.as_str());
        }
    }
}
