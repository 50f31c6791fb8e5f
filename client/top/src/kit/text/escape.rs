//! Escape sequences: how far each goes, so that a log of a program that colours its output can be read.

/// The text after the escape sequence at whose ESC (or C1 control) `text` begins; `None` where there is no such sequence.
///
/// Sequences of ECMA-48: `CSI … final`, `OSC … BEL`, `OSC/DCS/SOS/PM/APC … ST`, and those of two or three characters. One that
/// is not ended goes to the end of the text: a terminal would wait for more as well.
pub(super) fn after_sequence(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    match characters.next()? {
        '\u{1b}' => match characters.next() {
            None => Some(""),
            Some('[') => Some(after_control(characters.as_str())),
            Some(']' | 'P' | 'X' | '^' | '_') => Some(after_string(characters.as_str())),
            Some(' '..='/') => Some(after_intermediate(characters.as_str())),
            Some('0'..='~') => Some(characters.as_str()),
            // What follows is no part of a sequence, so the ESC stands alone.
            Some(_) => None,
        },
        '\u{9b}' => Some(after_control(characters.as_str())),
        '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => Some(after_string(characters.as_str())),
        _ => None,
    }
}

/// Parameters and intermediates are left out, and one final character. What may not stand in a sequence ends it and stays.
fn after_control(text: &str) -> &str {
    let Some(end) = text.find(|c| !matches!(c, ' '..='?')) else {
        return "";
    };
    let rest = &text[end..];
    rest.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(rest)
}

/// Up to the string terminator. A line's end ends it too: one unclosed title must not swallow a whole log.
fn after_string(text: &str) -> &str {
    let Some(end) = text.find(['\u{7}', '\u{1b}', '\u{9c}', '\n']) else {
        return "";
    };
    let rest = &text[end..];
    rest.strip_prefix("\u{1b}\\")
        .or_else(|| rest.strip_prefix(['\u{7}', '\u{9c}']))
        .unwrap_or(rest)
}

fn after_intermediate(text: &str) -> &str {
    let rest = text.trim_start_matches(|c| matches!(c, ' '..='/'));
    rest.strip_prefix(|c| matches!(c, '0'..='~')).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_sequence_ends_where_it_does() {
        for (text, rest) in [
            ("\x1b[31mred", "red"),
            ("\x1b[38;5;12mx", "x"),
            ("\x1b[?25lx", "x"),
            ("\x1b]0;title\x07x", "x"),
            ("\x1b]8;;http://a\x1b\\x", "x"),
            ("\x1bPq#0\x1b\\x", "x"),
            ("\x1b(Bx", "x"),
            ("\x1b7x", "x"),
            ("\x1bcx", "x"),
            ("\u{9b}31mx", "x"),
            ("\u{9d}0;t\u{9c}x", "x"),
            ("\x1b[31", ""),
            ("\x1b]0;never", ""),
            ("\x1b]0;never\nx", "\nx"),
            ("\x1b[3\x1b[4mx", "\x1b[4mx"),
            ("\x1b[3\u{e9}", "\u{e9}"),
            ("\x1b", ""),
        ] {
            assert_eq!(after_sequence(text), Some(rest), "{text:?}");
        }
        assert_eq!(after_sequence("x"), None);
        assert_eq!(after_sequence("\x1b\u{e9}"), None);
        assert_eq!(after_sequence(""), None);
    }
}
