//! A task for each line of a file, or for each value in JSON.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use scalems_client::protocol::program::{Program, Stdin};
use serde_json::Value;

use crate::exit::Misuse;

/// What may come in as JSON: it is read as a whole.
const JSON_BYTES: u64 = 256 << 20;

/// What tasks are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--each-line`.
    Line,
    /// `--from-json`.
    Json,
}

impl Kind {
    /// Whether a placeholder is filled by it.
    pub(super) fn fills(self, name: &str) -> bool {
        match self {
            Self::Line => name == "LINE",
            Self::Json => name == "ENTRY" || name.strip_prefix("ENTRY.").is_some_and(|path| !path.is_empty()),
        }
    }

    /// What stands for the whole of it.
    const fn whole(self) -> &'static str {
        match self {
            Self::Line => "%{LINE}",
            Self::Json => "%{ENTRY}",
        }
    }
}

/// One of them.
#[derive(Debug)]
pub(super) enum Entry {
    Line(String),
    Json(Value),
}

impl Entry {
    /// What a placeholder stands for.
    fn of(&self, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Line(line) => Ok(line.clone()),
            Self::Json(value) => {
                let keys = name.split('.').skip(1);
                let mut at = value;
                for key in keys {
                    let inside = match at {
                        Value::Array(list) => key.parse().ok().and_then(|place: usize| list.get(place)),
                        _ => at.get(key),
                    };
                    at = inside
                        .ok_or_else(|| Misuse(format!("there is no {key:?} for %{{{name}}} in {value}")))?;
                }
                Ok(match at {
                    Value::String(text) => text.clone(),
                    Value::Null => String::new(),
                    other => other.to_string(),
                })
            }
        }
    }
}

/// Makes programs of entries.
#[derive(Debug)]
pub(super) struct Filler {
    program: Program,
    kind: Kind,
    shell: bool,
}

impl Filler {
    /// Without a placeholder for it, an entry is the last argument.
    pub(super) fn new(mut program: Program, kind: Kind, shell: bool) -> Self {
        let ours = |text: &String| names(text).any(|name| kind.fills(name));
        let files = [&program.cwd, &program.stdout, &program.stderr];
        let stdin = matches!(&program.stdin, Stdin::File(file) if ours(file));
        let used = program.argv.iter().any(ours)
            || program.env.values().any(ours)
            || files.into_iter().flatten().any(ours)
            || stdin;
        if !used && shell {
            program.argv[0] = format!("{} {}", program.argv[0], kind.whole());
        } else if !used {
            program.argv.push(kind.whole().to_owned());
        }
        Self { program, kind, shell }
    }

    /// The data of the task for one entry.
    pub(super) fn data(&self, entry: &Entry) -> anyhow::Result<Vec<u8>> {
        rmp_serde::to_vec_named(&self.fill(entry)?).context("encode the program")
    }

    /// The program for one entry.
    fn fill(&self, entry: &Entry) -> anyhow::Result<Program> {
        let mut program = self.program.clone();
        for word in &mut program.argv {
            *word = self.text(word, entry, self.shell)?;
        }
        let files = [&mut program.cwd, &mut program.stdout, &mut program.stderr];
        let stdin = match &mut program.stdin {
            Stdin::File(file) => Some(file),
            _ => None,
        };
        let others = program.env.values_mut();
        for text in files.into_iter().flatten().chain(stdin).chain(others) {
            *text = self.text(text, entry, false)?;
        }
        Ok(program)
    }

    /// A text with what the entry fills; what it is filled with is left as it is by workers.
    fn text(&self, text: &str, entry: &Entry, quoted: bool) -> anyhow::Result<String> {
        if !text.contains("%{") {
            return Ok(text.to_owned());
        }
        let mut filled = String::with_capacity(text.len() + 64);
        let mut rest = text;
        while let Some(at) = rest.find("%{") {
            let escaped = rest[..at].ends_with('%');
            let name = rest[at + 2..].split_once('}').map(|(name, _)| name);
            let Some(name) = name.filter(|name| !escaped && self.kind.fills(name)) else {
                filled.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
                continue;
            };
            filled.push_str(&rest[..at]);
            rest = &rest[at + 2 + name.len() + 1..];
            let value = entry.of(name)?;
            let value = if quoted {
                shlex::try_quote(&value)
                    .map_err(|_| Misuse(format!("{value:?} has a zero byte")))?
                    .into_owned()
            } else {
                ensure!(
                    !value.contains('\0'),
                    Misuse(format!("{value:?} has a zero byte"))
                );
                value
            };
            filled.push_str(&value.replace("%{", "%%{"));
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The names of the placeholders in a text.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("%{");
    starts
        .filter(|(at, _)| !text[..*at].ends_with('%'))
        .filter_map(|(at, _)| Some(text[at + 2..].split_once('}')?.0))
}

/// What is read of a file, or of standard input for `-`.
pub(super) fn open(file: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).with_context(|| format!("read {}", file.display()))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// The lines; blank ones are passed over.
pub(super) fn lines(from: Box<dyn BufRead + Send>) -> impl Iterator<Item = anyhow::Result<Entry>> + Send {
    let numbered = (1_u64..).zip(from.split(b'\n'));
    numbered.filter_map(|(number, line)| {
        let text = line
            .with_context(|| format!("read line {number}"))
            .and_then(|line| {
                String::from_utf8(line).map_err(|_| Misuse(format!("line {number} is no UTF-8 text")).into())
            });
        match text {
            Ok(text) => {
                let text = text.strip_suffix('\r').unwrap_or(&text);
                let blank = text.trim().is_empty();
                (!blank).then(|| Ok(Entry::Line(text.to_owned())))
            }
            Err(error) => Some(Err(error)),
        }
    })
}

/// The values: of an array, or one after another.
pub(super) fn json(from: Box<dyn BufRead + Send>) -> anyhow::Result<Vec<Entry>> {
    let mut text = Vec::new();
    from.take(JSON_BYTES + 1)
        .read_to_end(&mut text)
        .context("read JSON")?;
    if text.len() as u64 > JSON_BYTES {
        bail!(Misuse(
            "more than 256 MiB of JSON: give a line each, with --each-line".into()
        ));
    }
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(&text).into_iter().collect();
    let mut values = values.map_err(|error| Misuse(format!("this is no JSON: {error}")))?;
    if let [Value::Array(list)] = &mut values[..] {
        values = std::mem::take(list);
    }
    Ok(values.into_iter().map(Entry::Json).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(argv: &[&str], kind: Kind, shell: bool, entry: &Entry) -> anyhow::Result<Vec<String>> {
        let program = Program {
            argv: argv.iter().map(ToString::to_string).collect(),
            ..Program::default()
        };
        Ok(Filler::new(program, kind, shell).fill(entry)?.argv)
    }

    fn line(text: &str) -> Entry {
        Entry::Line(text.to_owned())
    }

    #[test]
    fn a_line_stands_where_it_is_named_or_at_the_end() {
        let of = |argv: &[&str]| filled(argv, Kind::Line, false, &line("a b")).unwrap();
        assert_eq!(
            of(&["dock", "%{LINE}.pdb", "%{INDEX}"]),
            ["dock", "a b.pdb", "%{INDEX}"]
        );
        assert_eq!(of(&["dock", "-v"]), ["dock", "-v", "a b"]);
        assert_eq!(of(&["dock", "%%{LINE}"]), ["dock", "%%{LINE}", "a b"]);
    }

    #[test]
    fn what_a_line_says_is_filled_no_further() {
        let of = |text: &str| filled(&["x", "%{LINE}"], Kind::Line, false, &line(text)).unwrap();
        assert_eq!(of("50 %{INDEX}"), ["x", "50 %%{INDEX}"]);
        assert_eq!(of("%%{"), ["x", "%%%{"]);
    }

    #[test]
    fn a_shell_reads_a_line_as_one_word() {
        let of = |text: &str| filled(&["cat <%{LINE}"], Kind::Line, true, &line(text)).unwrap();
        assert_eq!(of("a; rm b"), ["cat <'a; rm b'"]);
        assert_eq!(
            filled(&["cat"], Kind::Line, true, &line("a b")).unwrap(),
            ["cat 'a b'"]
        );
        assert!(filled(&["cat"], Kind::Line, true, &line("a\0b")).is_err());
    }

    #[test]
    fn values_are_named_by_their_keys() {
        let value = serde_json::json!({"name": "a", "at": {"x": [1, 2.5]}, "no": null});
        let of = |word: &str| filled(&["x", word], Kind::Json, false, &Entry::Json(value.clone()));
        assert_eq!(
            of("%{ENTRY.name}-%{ENTRY.at.x.1}%{ENTRY.no}").unwrap(),
            ["x", "a-2.5"]
        );
        assert_eq!(of("%{ENTRY.at}").unwrap(), ["x", r#"{"x":[1,2.5]}"#]);
        let error = of("%{ENTRY.other}").unwrap_err().to_string();
        assert!(error.contains(r#"there is no "other""#), "{error}");
    }

    #[test]
    fn json_is_an_array_or_one_value_after_another() {
        let read = |text: &'static str| json(Box::new(text.as_bytes())).map(|entries| entries.len());
        assert_eq!(read("[1, 2, [3]]").unwrap(), 3);
        assert_eq!(read("{\"a\": 1}\n{\"a\": 2}\n").unwrap(), 2);
        assert_eq!(read("").unwrap(), 0);
        assert!(read("{").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn blank_lines_are_passed_over_and_wrong_ones_are_told() {
        let read = |text: &'static [u8]| -> anyhow::Result<Vec<String>> {
            let entry = |entry: anyhow::Result<Entry>| {
                entry.map(|entry| match entry {
                    Entry::Line(text) => text,
                    Entry::Json(value) => value.to_string(),
                })
            };
            lines(Box::new(text)).map(entry).collect()
        };
        assert_eq!(read(b"a\r\n\n  \n b \nc").unwrap(), ["a", " b ", "c"]);
        assert!(read(b"a\n\xff\n").unwrap_err().to_string().contains("line 2"));
    }
}
