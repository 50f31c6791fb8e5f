//! The filter behind `/`.
//!
//! ```text
//! node03            rows that have this in one of their cells: a regex, in whatever case
//! !relax            rows that have it in none
//! "a=b (1)"         this text, as it is
//! state=failed and retries>2
//! host~node0[1-3] and not (age<1h30m or memory>=4G)
//! ```
//!
//! A filter that has a comparison in it is an expression, of comparisons and of text that stands alone; without one, all of
//! it is one regex, so that a blank in a name needs no thought. [`Query::parse`] reads it, its [`Display`](std::fmt::Display) writes it.

mod literal;
mod parse;
mod token;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use regex::{Regex, RegexBuilder};

pub use literal::natural;

/// How long a filter may be, bytes: a line that one sees whole.
pub const QUERY_BYTES: usize = 512;
/// How deep parentheses and `not` may lie in each other. People write three.
const DEPTH: u32 = 32;
/// Memory of one compiled regex: enough for what fits into a filter, but for counted repetitions of counted repetitions.
const REGEX_BYTES: usize = 1 << 20;

/// What rows can be compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name: lower-case letters, digits and `_`.
    pub name: &'static str,
    /// What is in it.
    pub kind: Kind,
}

/// What is in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text: `=`, `!=`, `~`, `!~`.
    Text,
    /// One of these words; others are refused, since they are slips.
    Word(&'static [&'static str]),
    /// A number.
    Number,
    /// A time: `90`, `90s`, `1h30m`, `500ms`, `HH:MM:SS`.
    Time,
    /// Bytes: `4096`, `64K`, `4G`.
    Size,
}

/// What a row has in a field, or a cell to sort by.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing: no comparison holds of it, also not `!=`.
    Missing,
    /// Text, or a word.
    Text(Cow<'a, str>),
    /// A number; a time in seconds; a size in bytes.
    Number(f64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<std::time::Duration> for Value<'_> {
    fn from(time: std::time::Duration) -> Self {
        Self::Number(time.as_secs_f64())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

/// A row, as a filter sees it.
pub trait Subject {
    /// What the row has in the field, by its place among those that [`Query::parse`] was given.
    fn value(&self, field: usize) -> Value<'_>;

    /// Whether `test` says yes to one of the cells as they are shown.
    fn any_cell(&self, test: &mut dyn FnMut(&str) -> bool) -> bool;
}

/// Why a filter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    /// Where: a byte offset into the text, at a character.
    pub at: usize,
    /// What is wrong there, and what may stand there.
    pub message: String,
}

impl QueryError {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}

/// A filter that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    root: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// One of the cells has it.
    Cells(Pattern),
    /// The field's value is so.
    Compare {
        field: usize,
        name: &'static str,
        sign: Sign,
        with: With,
    },
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
enum With {
    /// Text, in lower case for the comparison, and as it was written.
    Text {
        lower: String,
        written: String,
    },
    /// A number, and as it was written.
    Number {
        value: f64,
        written: String,
    },
    Pattern(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Equal,
    Unequal,
    Like,
    Unlike,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Sign {
    const fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Unequal => "!=",
            Self::Like => "~",
            Self::Unlike => "!~",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
        }
    }
}

/// A regex, or a text that is looked for as it is.
#[derive(Clone, Debug)]
struct Pattern {
    written: String,
    literal: bool,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (&self.written, self.literal) == (&other.written, other.literal)
    }
}

impl Pattern {
    fn new(written: &str, literal: bool, at: usize) -> Result<Self, QueryError> {
        let source = if literal {
            regex::escape(written)
        } else {
            written.to_owned()
        };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(true)
            .size_limit(REGEX_BYTES)
            .dfa_size_limit(REGEX_BYTES)
            .nest_limit(DEPTH)
            .build()
            .map_err(|error| QueryError::new(at, regex_problem(&error)))?;
        Ok(Self {
            written: written.to_owned(),
            literal,
            regex,
        })
    }
}

/// What is wrong with a regex, in one line: the library draws a picture of it, whose last line has the reason.
fn regex_problem(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "this regex needs too much memory: repeat less in it".to_owned(),
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("no regex: {reason}; in double quotes text is taken as it is")
        }
    }
}

impl Query {
    /// Reads a filter over rows that have these fields.
    ///
    /// Errors say where, and what is allowed. An empty text is one: no filter is no query.
    pub fn parse(text: &str, fields: &[Field]) -> Result<Self, QueryError> {
        parse::query(text, fields).map(|root| Self { root })
    }

    /// Whether the row is let through.
    pub fn matches(&self, row: &dyn Subject) -> bool {
        self.root.matches(row)
    }
}

impl Node {
    fn matches(&self, row: &dyn Subject) -> bool {
        match self {
            Self::Cells(pattern) => row.any_cell(&mut |cell| pattern.regex.is_match(cell)),
            Self::Compare {
                field, sign, with, ..
            } => holds(&row.value(*field), *sign, with),
            Self::Not(node) => !node.matches(row),
            Self::And(nodes) => nodes.iter().all(|node| node.matches(row)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(row)),
        }
    }

    /// How tightly it holds its parts together: a part that holds less needs parentheses.
    fn tightness(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::And(_) => 1,
            Self::Not(_) => 2,
            Self::Cells(_) | Self::Compare { .. } => 3,
        }
    }
}

fn holds(value: &Value<'_>, sign: Sign, with: &With) -> bool {
    match (value, with) {
        (Value::Text(text), With::Pattern(pattern)) => pattern.regex.is_match(text) == (sign == Sign::Like),
        (Value::Text(text), With::Text { lower, .. }) => {
            (text.to_lowercase() == *lower) == (sign == Sign::Equal)
        }
        (Value::Number(number), With::Number { value, .. }) => {
            let order = number.partial_cmp(value);
            match sign {
                Sign::Equal => order == Some(Ordering::Equal),
                Sign::Unequal => order != Some(Ordering::Equal),
                Sign::Less => order == Some(Ordering::Less),
                Sign::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                Sign::More => order == Some(Ordering::Greater),
                Sign::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                Sign::Like | Sign::Unlike => false,
            }
        }
        _ => false,
    }
}

impl fmt::Display for Query {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            // Without a comparison the whole is one regex, whatever is in it.
            Node::Cells(pattern) => pattern.write_alone(formatter),
            Node::Not(node) => match &**node {
                Node::Cells(pattern) => {
                    formatter.write_str("!")?;
                    pattern.write_alone(formatter)
                }
                node => {
                    formatter.write_str("not ")?;
                    write_within(node, 2, formatter)
                }
            },
            root => fmt::Display::fmt(root, formatter),
        }
    }
}

impl Pattern {
    /// As the whole filter.
    fn write_alone(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.literal && parse::is_alone(&self.written) {
            return formatter.write_str(&self.written);
        }
        self.write_word(formatter)
    }

    /// As one word of an expression. A regex that a word cannot have in it stands between slashes.
    fn write_word(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.literal {
            literal::write_quoted(&self.written, formatter)
        } else if token::is_word(&self.written) {
            formatter.write_str(&self.written)
        } else {
            literal::write_between(&self.written, '/', formatter)
        }
    }
}

fn write_within(node: &Node, tightness: u8, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    if node.tightness() < tightness {
        write!(formatter, "({node})")
    } else {
        fmt::Display::fmt(node, formatter)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[Node], word: &str, tightness, formatter: &mut fmt::Formatter<'_>| {
            for (number, node) in nodes.iter().enumerate() {
                if number > 0 {
                    formatter.write_str(word)?;
                }
                write_within(node, tightness, formatter)?;
            }
            Ok(())
        };
        match self {
            Self::Cells(pattern) => pattern.write_word(formatter),
            Self::Compare { name, sign, with, .. } => {
                write!(formatter, "{name}{}", sign.text())?;
                match with {
                    With::Pattern(pattern) => pattern.write_word(formatter),
                    With::Text { written, .. } if token::is_word(written) => formatter.write_str(written),
                    With::Text { written, .. } => literal::write_quoted(written, formatter),
                    With::Number { written, .. } => formatter.write_str(written),
                }
            }
            Self::Not(node) => {
                formatter.write_str("not ")?;
                write_within(node, 2, formatter)
            }
            Self::And(nodes) => list(nodes, " and ", 2, formatter),
            Self::Or(nodes) => list(nodes, " or ", 1, formatter),
        }
    }
}

#[cfg(test)]
mod tests;
