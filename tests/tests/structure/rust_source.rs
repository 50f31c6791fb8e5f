//! A Rust source split into its code and its comments, line by line, so that a rule about code does not trip
//! over a sentence or a string, and a rule about comments does not trip over code.

/// Two texts with the same lines as the source; what belongs to neither is blanked.
#[derive(Debug)]
pub(crate) struct RustSource {
    /// The code, with comments gone and string and character literals emptied.
    pub(crate) code: String,
    /// The comments, doc comments among them.
    pub(crate) comments: String,
}

#[derive(Clone, Copy)]
enum Mode {
    Code,
    LineComment,
    BlockComment { depth: usize },
    String,
    RawString { hashes: usize },
}

impl RustSource {
    pub(crate) fn split(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
        let mut source = Self {
            code: String::new(),
            comments: String::new(),
        };
        let mut mode = Mode::Code;
        let mut index = 0;
        while index < chars.len() {
            let (next, length) = match mode {
                Mode::Code => match (at(index), at(index + 1)) {
                    ('/', '/') => (Mode::LineComment, 2),
                    ('/', '*') => (Mode::BlockComment { depth: 1 }, 2),
                    ('"', _) => (Mode::String, 1),
                    ('\'', _) => (Mode::Code, character_length(&chars[index..])),
                    ('r', '"' | '#') if !continues_a_word(&chars[..index]) => raw_string(&chars[index..]),
                    _ => (Mode::Code, 1),
                },
                Mode::LineComment if at(index) == '\n' => (Mode::Code, 1),
                Mode::LineComment => (mode, 1),
                Mode::BlockComment { depth } => match (at(index), at(index + 1)) {
                    ('/', '*') => (Mode::BlockComment { depth: depth + 1 }, 2),
                    ('*', '/') if depth == 1 => (Mode::Code, 2),
                    ('*', '/') => (Mode::BlockComment { depth: depth - 1 }, 2),
                    _ => (mode, 1),
                },
                Mode::String => match at(index) {
                    '\\' => (mode, 2),
                    '"' => (Mode::Code, 1),
                    _ => (mode, 1),
                },
                Mode::RawString { hashes } => {
                    let closes = at(index) == '"' && (1..=hashes).all(|offset| at(index + offset) == '#');
                    if closes {
                        (Mode::Code, 1 + hashes)
                    } else {
                        (mode, 1)
                    }
                }
            };
            let piece = &chars[index..(index + length).min(chars.len())];
            source.push(piece, mode, next);
            mode = next;
            index += length;
        }
        source
    }

    fn push(&mut self, piece: &[char], before: Mode, after: Mode) {
        let comment = |mode| matches!(mode, Mode::LineComment | Mode::BlockComment { .. });
        let in_comment = comment(before) || comment(after);
        // The quotes of a literal are code, its content is not; of a character literal nothing is kept.
        let edge = matches!(before, Mode::Code) != matches!(after, Mode::Code);
        let in_code =
            !in_comment && (edge || matches!(before, Mode::Code) && (piece.len() == 1 || piece[0] != '\''));
        for &character in piece {
            let blank = if character == '\n' { '\n' } else { ' ' };
            self.code.push(if in_code { character } else { blank });
            self.comments.push(if in_comment { character } else { blank });
        }
    }
}

/// How many characters a literal that begins with `'` has; 1 for the quote of a lifetime.
fn character_length(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', _, tail @ ..] => {
            3 + tail
                .iter()
                .position(|&c| c == '\'')
                .map_or(0, |position| position + 1)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

fn raw_string(rest: &[char]) -> (Mode, usize) {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    match rest.get(1 + hashes) {
        Some('"') => (Mode::RawString { hashes }, 2 + hashes),
        // A raw identifier such as `r#type`.
        _ => (Mode::Code, 1),
    }
}

/// Whether an `r` after `before` is the end of a name rather than the start of a raw string; `b` and `c` may
/// stand before it.
fn continues_a_word(before: &[char]) -> bool {
    match before {
        ['b' | 'c'] | [] => false,
        [.., c, 'b' | 'c'] | [.., c] => is_word_character(*c),
    }
}

pub(crate) fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Byte positions in `text` of `word`, where it stands as a whole word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(position, _)| position)
        .filter(move |&position| {
            let before = text[..position].chars().next_back();
            let after = text[position + word.len()..].chars().next();
            !before.is_some_and(is_word_character) && !after.is_some_and(is_word_character)
        })
}

/// The number of the line, from 1, of a byte position.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        RustSource::split(text).code
    }

    #[test]
    fn comments_and_literals_leave_the_code() {
        let source = RustSource::split("let a = \"x // y\"; // why\n/* one /* two */ */ b\n");
        assert_eq!(source.code, "let a = \"      \";       \n                    b\n");
        assert_eq!(source.comments.trim(), "// why\n/* one /* two */ */");
        assert_eq!(source.code.lines().count(), source.comments.lines().count());
    }

    #[test]
    fn raw_strings_end_at_their_own_quote() {
        let text = r###"f(r##"a "# b"##, br"c", r#type) // d"###;
        assert_eq!(
            code(text).split_whitespace().collect::<String>(),
            "f(r##\"\"##,br\"\",r#type)"
        );
        assert_eq!(code("for \"a\" in bar\"b\"").replace(' ', ""), "for\"\"inbar\"\"");
    }

    #[test]
    fn quotes_of_characters_and_lifetimes_open_no_string() {
        assert_eq!(
            code(r#"a('"', '\'', b'\\', '\u{1F}') + b"#).replace(' ', ""),
            "a(,,b,)+b"
        );
        assert_eq!(code("fn f<'a>(x: &'a str) {}"), "fn f<'a>(x: &'a str) {}");
        assert_eq!(code(r#"let s = "a\"b"; c"#).replace(' ', ""), "lets=\"\";c");
    }

    #[test]
    fn words_are_whole() {
        let text = "HashMap FxHashMap HashMaps\nx::HashMap<";
        let found: Vec<_> = words(text, "HashMap")
            .map(|position| line_of(text, position))
            .collect();
        assert_eq!(found, [1, 2]);
    }
}
