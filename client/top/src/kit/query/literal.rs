//! Values, as they are written; and the order of what people number.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use super::token::{Token, What};
use super::{Field, Kind, Pattern, QueryError, Sign, With};

/// What a field may be compared with, by `sign`.
pub(super) fn read(field: &Field, sign: Sign, token: &Token) -> Result<With, QueryError> {
    let (at, name) = (token.at, field.name);
    let (text, quoted) = match &token.what {
        What::Word(text) => (text.as_str(), false),
        What::Quoted(text) => (text.as_str(), true),
        What::Regex(text) if matches!(sign, Sign::Like | Sign::Unlike) => (text.as_str(), false),
        What::Regex(_) => {
            return Err(QueryError::new(
                at,
                format!("a regex is compared with ~: write {name}~/…/"),
            ));
        }
        other => {
            return Err(QueryError::new(
                at,
                format!(
                    "{} is no value: after {name}{} comes {}",
                    other.name(),
                    sign.text(),
                    wanted(field)
                ),
            ));
        }
    };
    let is_text = matches!(field.kind, Kind::Text | Kind::Word(_));
    match sign {
        Sign::Like | Sign::Unlike if is_text => Pattern::new(text, quoted, at).map(With::Pattern),
        Sign::Like | Sign::Unlike => Err(QueryError::new(
            at,
            format!(
                "{name} is a {}, which ~ does not compare: use = != < <= > >=",
                kind(field)
            ),
        )),
        Sign::Equal | Sign::Unequal if is_text => {
            let lower = text.to_lowercase();
            if let Kind::Word(words) = field.kind
                && !words.contains(&lower.as_str())
            {
                return Err(QueryError::new(
                    at,
                    format!("{name} is never {text:?}: it is {}", words.join(", ")),
                ));
            }
            Ok(With::Text {
                lower,
                written: text.to_owned(),
            })
        }
        _ if is_text => Err(QueryError::new(
            at,
            format!(
                "{name} is text, which {} does not compare: use = != ~ !~",
                sign.text()
            ),
        )),
        _ => number(field, text)
            .map(|value| With::Number {
                value,
                written: text.to_owned(),
            })
            .ok_or_else(|| {
                QueryError::new(
                    at,
                    format!(
                        "{text:?} is no {} for {name}: write {}",
                        kind(field),
                        wanted(field)
                    ),
                )
            }),
    }
}

fn number(field: &Field, text: &str) -> Option<f64> {
    let plain = |text: &str| {
        let text = text.replace('_', "");
        let digits = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        let negative = text
            .strip_prefix('-')
            .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'));
        let value: f64 = (digits || negative).then(|| text.parse().ok()).flatten()?;
        value.is_finite().then_some(value)
    };
    match field.kind {
        Kind::Number => plain(text),
        Kind::Time => scalems_client::units::duration(text)
            .ok()
            .map(|time| time.as_secs_f64()),
        // None at all is a size to compare with.
        Kind::Size if plain(text) == Some(0.0) => Some(0.0),
        Kind::Size => scalems_client::units::bytes(text).ok().map(|bytes| bytes as f64),
        Kind::Text | Kind::Word(_) => None,
    }
}

const fn kind(field: &Field) -> &'static str {
    match field.kind {
        Kind::Text | Kind::Word(_) => "text",
        Kind::Number => "number",
        Kind::Time => "time",
        Kind::Size => "size",
    }
}

/// What may stand there, for messages.
pub(super) fn wanted(field: &Field) -> String {
    match field.kind {
        Kind::Text => "text, in double quotes if there are blanks in it".to_owned(),
        Kind::Word(words) => words.join(", "),
        Kind::Number => "a number such as 2 or 0.5".to_owned(),
        Kind::Time => "a time such as 90s, 1h30m or 01:30:00".to_owned(),
        Kind::Size => "a size such as 64K, 100M or 4G".to_owned(),
    }
}

pub(super) fn write_quoted(text: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_char('"')?;
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            formatter.write_char('\\')?;
        }
        formatter.write_char(character)?;
    }
    formatter.write_char('"')
}

/// A regex: its own backslashes stay as they are, and those before the mark are the reader's.
pub(super) fn write_between(text: &str, mark: char, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_char(mark)?;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == mark {
            formatter.write_char('\\')?;
        }
        formatter.write_char(character)?;
        if character == '\\'
            && let Some(next) = characters.next()
        {
            formatter.write_char(next)?;
        }
    }
    formatter.write_char(mark)
}

/// The order of names with numbers in them: `node2` before `node10`; in whatever case, and then by case.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (digits_left, digits_right) = (digits(left), digits(right));
        let order = if digits_left > 0 && digits_right > 0 {
            let (x, y) = (
                left[..digits_left].trim_start_matches('0'),
                right[..digits_right].trim_start_matches('0'),
            );
            (left, right) = (&left[digits_left..], &right[digits_right..]);
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            let (mut x, mut y) = (left.chars(), right.chars());
            let order = match (x.next(), y.next()) {
                (None, None) => return a.cmp(b),
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(x), Some(y)) => x.to_lowercase().cmp(y.to_lowercase()),
            };
            (left, right) = (x.as_str(), y.as_str());
            order
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}
