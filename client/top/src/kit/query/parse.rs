//! From words to a filter.

use super::literal;
use super::token::{Token, What, tokens};
use super::{DEPTH, Field, Node, Pattern, QUERY_BYTES, QueryError};

/// Reads `text`.
pub(super) fn query(text: &str, fields: &[Field]) -> Result<Node, QueryError> {
    if text.len() > QUERY_BYTES {
        let mut at = QUERY_BYTES;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        return Err(QueryError::new(
            at,
            format!("too long: a filter has at most {QUERY_BYTES} bytes"),
        ));
    }
    let start = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(QueryError::new(
            0,
            "nothing to look for: write text, or a comparison such as state=failed",
        ));
    }
    let read = tokens(text);
    let compares = |tokens: &[Token]| {
        tokens
            .windows(2)
            .any(|pair| matches!((&pair[0].what, &pair[1].what), (What::Word(name), What::Sign(_)) if is_name(name)))
    };
    match &read {
        Ok(tokens) if compares(tokens) => {
            let mut reader = Reader {
                tokens,
                next: 0,
                end: text.len(),
                fields,
            };
            let node = reader.any(0)?;
            match reader.peek() {
                None => Ok(node),
                Some(token) => Err(QueryError::new(
                    token.at,
                    format!(
                        "{} is one too many: `and`, `or` or the end comes here",
                        token.what.name()
                    ),
                )),
            }
        }
        // Not even words, but no doubt that it was meant as an expression.
        Err(error) if looks_like_one(trimmed) => Err(error.clone()),
        _ => alone(trimmed, start),
    }
}

/// Whether `text`, as a whole filter, is read as one regex: that text.
pub(super) fn is_alone(text: &str) -> bool {
    let read = query(text, &[]);
    matches!(read, Ok(Node::Cells(pattern)) if !pattern.literal && pattern.written == text)
}

/// The whole text as one pattern.
fn alone(text: &str, start: usize) -> Result<Node, QueryError> {
    if let Some(rest) = text.strip_prefix('!') {
        let at = start + 1 + (rest.len() - rest.trim_start().len());
        let rest = rest.trim_start();
        if rest.is_empty() {
            return Err(QueryError::new(
                at,
                "nothing to leave out: write text after the !",
            ));
        }
        return pattern(rest, at).map(|pattern| Node::Not(Box::new(Node::Cells(pattern))));
    }
    pattern(text, start).map(Node::Cells)
}

fn pattern(text: &str, at: usize) -> Result<Pattern, QueryError> {
    match tokens(text).as_deref() {
        Ok(
            [
                Token {
                    what: What::Quoted(inner),
                    ..
                },
            ],
        ) => Pattern::new(inner, true, at),
        Ok(
            [
                Token {
                    what: What::Regex(inner),
                    ..
                },
            ],
        ) => Pattern::new(inner, false, at),
        _ => Pattern::new(text, false, at),
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.chars().all(is_of_name)
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// Whether `text` begins as a comparison does.
fn looks_like_one(text: &str) -> bool {
    let end = text.find(|c: char| !is_of_name(c));
    end.is_some_and(|end| is_name(&text[..end]) && text[end..].trim_start().starts_with(['=', '~', '<', '>']))
}

struct Reader<'a> {
    tokens: &'a [Token],
    next: usize,
    end: usize,
    fields: &'a [Field],
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self, what: &What) -> bool {
        let taken = self.peek().is_some_and(|token| token.what == *what);
        self.next += usize::from(taken);
        taken
    }

    fn any(&mut self, depth: u32) -> Result<Node, QueryError> {
        let mut nodes = vec![self.all(depth)?];
        while self.take(&What::Or) {
            nodes.push(self.all(depth)?);
        }
        Ok(joined(nodes, Node::Or))
    }

    fn all(&mut self, depth: u32) -> Result<Node, QueryError> {
        let mut nodes = vec![self.one(depth)?];
        while self.take(&What::And) {
            nodes.push(self.one(depth)?);
        }
        Ok(joined(nodes, Node::And))
    }

    fn one(&mut self, depth: u32) -> Result<Node, QueryError> {
        let Some(token) = self.tokens.get(self.next) else {
            return Err(QueryError::new(
                self.end,
                "something is missing here: a comparison or text",
            ));
        };
        if depth >= DEPTH {
            return Err(QueryError::new(
                token.at,
                format!("nested deeper than {DEPTH}: write it with fewer parentheses"),
            ));
        }
        self.next += 1;
        match &token.what {
            What::Not => Ok(Node::Not(Box::new(self.one(depth + 1)?))),
            What::Open => {
                let node = self.any(depth + 1)?;
                if self.take(&What::Close) {
                    return Ok(node);
                }
                let at = self.peek().map_or(self.end, |token| token.at);
                Err(QueryError::new(at, "a ) is missing here"))
            }
            What::Word(word) => match self.peek() {
                Some(Token {
                    what: What::Sign(sign),
                    at,
                }) => {
                    let (sign, at) = (*sign, *at);
                    self.next += 1;
                    let field = self.field(word, token.at)?;
                    let value = self.tokens.get(self.next).ok_or_else(|| {
                        let wanted = literal::wanted(&self.fields[field]);
                        QueryError::new(
                            at + sign.text().len(),
                            format!("a value is missing here: {wanted}"),
                        )
                    })?;
                    self.next += 1;
                    Ok(Node::Compare {
                        field,
                        name: self.fields[field].name,
                        sign,
                        with: literal::read(&self.fields[field], sign, value)?,
                    })
                }
                _ => Pattern::new(word, false, token.at).map(Node::Cells),
            },
            What::Quoted(text) => Pattern::new(text, true, token.at).map(Node::Cells),
            What::Regex(text) => Pattern::new(text, false, token.at).map(Node::Cells),
            other => Err(QueryError::new(
                token.at,
                format!(
                    "{} does not fit here: a comparison or text comes here",
                    other.name()
                ),
            )),
        }
    }

    fn field(&self, name: &str, at: usize) -> Result<usize, QueryError> {
        let found = self
            .fields
            .iter()
            .position(|field| field.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names: Vec<_> = self.fields.iter().map(|field| field.name).collect();
            QueryError::new(
                at,
                format!(
                    "no field {name:?} here: there are {}; text with = in it needs double quotes",
                    names.join(", ")
                ),
            )
        })
    }
}

fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(only) if nodes.is_empty() => only,
        Some(last) => {
            nodes.push(last);
            join(nodes)
        }
        None => join(nodes),
    }
}
