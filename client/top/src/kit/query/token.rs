//! The words of a filter.

use super::{QueryError, Sign};

/// A word, and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Open,
    Close,
    Not,
    And,
    Or,
    Sign(Sign),
    /// A word that stands without quotes.
    Word(String),
    /// Text between double quotes, as it is.
    Quoted(String),
    /// A regex between slashes.
    Regex(String),
}

impl What {
    /// For messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
            Self::Not => "not".to_owned(),
            Self::And => "and".to_owned(),
            Self::Or => "or".to_owned(),
            Self::Sign(sign) => sign.text().to_owned(),
            Self::Word(text) | Self::Quoted(text) | Self::Regex(text) => format!("{text:?}"),
        }
    }
}

/// Whether `text` is one word without quotes, and is read as that one, also before a parenthesis.
pub(super) fn is_word(text: &str) -> bool {
    let tokens = tokens(&format!("{text})"));
    matches!(tokens.as_deref(), Ok([Token { what: What::Word(word), .. }, Token { what: What::Close, .. }]) if word == text)
}

/// All words of `text`.
///
/// A word goes on up to a blank, a sign of comparison at which it could end, or a parenthesis that was not opened in it: regexes
/// such as `node(1|2)` and `[<>]` are words. Text with blanks needs quotes, or slashes if it is a regex.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, QueryError> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            return Ok(tokens);
        };
        let after_sign = matches!(
            tokens.last(),
            Some(Token {
                what: What::Sign(_),
                ..
            })
        );
        let (what, length) = if let Some((sign, length)) = sign(rest) {
            (What::Sign(sign), length)
        } else {
            match first {
                '(' if !after_sign => (What::Open, 1),
                ')' => (What::Close, 1),
                '!' if !after_sign => (What::Not, 1),
                '"' | '/' => {
                    let (inner, length) = between(rest, first).ok_or_else(|| {
                        QueryError::new(
                            at,
                            format!("{first} is not closed: write another one at the end of the text"),
                        )
                    })?;
                    (
                        if first == '"' {
                            What::Quoted(inner)
                        } else {
                            What::Regex(inner)
                        },
                        length,
                    )
                }
                _ => {
                    let length = word(rest, after_sign);
                    let word = &rest[..length];
                    let what = match word.to_ascii_lowercase().as_str() {
                        // As a value they are text like any other.
                        _ if after_sign => What::Word(word.to_owned()),
                        "and" | "&&" => What::And,
                        "or" | "||" => What::Or,
                        "not" => What::Not,
                        _ => What::Word(word.to_owned()),
                    };
                    (what, length)
                }
            }
        };
        tokens.push(Token { at, what });
        rest = &rest[length..];
    }
}

/// The sign that `text` begins with.
fn sign(text: &str) -> Option<(Sign, usize)> {
    [
        ("==", Sign::Equal),
        ("!=", Sign::Unequal),
        ("!~", Sign::Unlike),
        ("<=", Sign::AtMost),
        (">=", Sign::AtLeast),
        ("=", Sign::Equal),
        ("~", Sign::Like),
        ("<", Sign::Less),
        (">", Sign::More),
    ]
    .into_iter()
    .find(|(written, _)| text.starts_with(written))
    .map(|(written, sign)| (sign, written.len()))
}

/// How long the word is that `text` begins with; at least one character.
fn word(text: &str, is_value: bool) -> usize {
    let (mut depth, mut class, mut escaped) = (0_u32, false, false);
    let mut name = !is_value;
    for (at, character) in text.char_indices() {
        // A name can be followed by a sign; after anything else a sign is a part of the word.
        let ends = match character {
            _ if character.is_whitespace() => true,
            _ if escaped || class => false,
            ')' => depth == 0,
            '=' | '~' | '<' | '>' => name,
            '!' => name && matches!(text.as_bytes().get(at + 1), Some(b'=' | b'~')),
            _ => false,
        };
        if ends && at > 0 {
            return at;
        }
        name &= character.is_ascii_alphanumeric() || character == '_';
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    text.len()
}

/// The text between the mark that `text` begins with and the next one, and how long both with it are. After a backslash the
/// mark and, between quotes, the backslash stand for themselves.
fn between(text: &str, mark: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == mark => return Some((inner, at + 1)),
            '\\' => {
                let (_, next) = characters.next()?;
                let itself = next == mark || next == '\\' && mark == '"';
                if !itself {
                    inner.push('\\');
                }
                inner.push(next);
            }
            _ => inner.push(character),
        }
    }
    None
}
