//! The table, as people see it.

use std::fmt::Write as _;

use super::table::{ENTRIES, Entry};
use super::{Command, Context, entries};

/// How many keys the footer has at most: more are not read.
const HINTS: usize = 8;
/// Between two of them.
const GAP: usize = 2;

/// A key in the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What it does; a click on it too.
    pub command: Command,
    /// Its name.
    pub key: String,
    /// What it does, in a word or two.
    pub label: &'static str,
    /// Its first column, from the left end of the footer.
    pub column: u16,
}

impl Hint {
    /// How many columns it takes: key, space, label.
    pub fn width(&self) -> u16 {
        (self.key.len() + 1 + self.label.len()) as u16
    }
}

/// The keys that matter most in `context`, as many as fit into `width` columns and at most eight. The help is among them
/// as long as anything is.
pub fn footer(context: Context, width: u16) -> Vec<Hint> {
    let mut ranked: Vec<&Entry> = entries(context).filter(|entry| entry.rank > 0).collect();
    ranked.sort_by_key(|entry| entry.rank);
    // The last two are help and quit on screens; they stay, and what is in between goes.
    let kept = ranked
        .iter()
        .position(|entry| entry.rank >= 98)
        .unwrap_or(ranked.len());
    let last = ranked.split_off(kept);
    let long = |entry: &Entry| name(entry).len() + 1 + entry.label.len() + GAP;
    let room = usize::from(width) + GAP;
    let mut chosen: Vec<&Entry> = Vec::new();
    let (mut taken, mut ending): (usize, Vec<&Entry>) = (0, Vec::new());
    for entry in last {
        if taken + long(entry) <= room {
            taken += long(entry);
            ending.push(entry);
        }
    }
    for entry in ranked {
        if chosen.len() + ending.len() == HINTS || taken + long(entry) > room {
            break;
        }
        taken += long(entry);
        chosen.push(entry);
    }
    let mut column = 0;
    let hint = |entry: &Entry| {
        let hint = Hint {
            command: entry.command,
            key: name(entry),
            label: entry.label,
            column,
        };
        column += hint.width() + GAP as u16;
        hint
    };
    chosen.into_iter().chain(ending).map(hint).collect()
}

/// The key of an entry that the footer names.
fn name(entry: &Entry) -> String {
    entry.keys.first().map(ToString::to_string).unwrap_or_default()
}

/// A line of the help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpLine {
    /// The heading that it is under.
    pub group: &'static str,
    /// All keys, `j, Down`.
    pub keys: String,
    /// What they do.
    pub text: &'static str,
    /// Whether they do it where the help was asked for.
    pub here: bool,
}

/// What the mouse does, which no table of keys can say.
const MOUSE: &[(&str, &str)] = &[
    (
        "Click",
        "Choose a row, a screen, or do what the footer says; on the name of a column sort by it.",
    ),
    ("Double click", "Open the row."),
    ("Wheel", "Scroll."),
    (
        "Shift",
        "Held down, the terminal selects text as without this program.",
    ),
];

/// All keys that there are with this pilot, by heading; those of `context` bear a mark. Without actions where there are none.
pub fn help(context: Context) -> Vec<HelpLine> {
    let mut lines: Vec<(super::table::Group, HelpLine)> = Vec::new();
    for entry in ENTRIES {
        let anywhere = super::Place::ALL
            .into_iter()
            .any(|place| entry.is_there(Context { place, ..context }));
        if !anywhere {
            continue;
        }
        let here = entry.is_there(context);
        let known = lines
            .iter_mut()
            .find(|(group, line)| *group == entry.group && line.text == entry.help);
        let line = if let Some((_, line)) = known {
            line.here |= here;
            line
        } else {
            lines.push((
                entry.group,
                HelpLine {
                    group: entry.group.name(),
                    keys: String::new(),
                    text: entry.help,
                    here,
                },
            ));
            let Some((_, line)) = lines.last_mut() else {
                continue;
            };
            line
        };
        for key in entry.keys {
            let key = key.to_string();
            if line.keys.split(", ").any(|known| known == key) {
                continue;
            }
            let comma = if line.keys.is_empty() { "" } else { ", " };
            let _ = write!(line.keys, "{comma}{key}");
        }
    }
    lines.sort_by_key(|(group, _)| *group);
    let mouse = MOUSE.iter().map(|(keys, text)| HelpLine {
        group: "Mouse",
        keys: (*keys).to_owned(),
        text,
        here: true,
    });
    lines.into_iter().map(|(_, line)| line).chain(mouse).collect()
}

/// The lines of the help that have words in them that begin as all those of `text` do, in whatever case.
pub fn search(lines: Vec<HelpLine>, text: &str) -> Vec<HelpLine> {
    let text = text.to_lowercase();
    let fits = |line: &HelpLine| {
        let all = format!("{} {} {}", line.group, line.keys, line.text).to_lowercase();
        // By the beginnings of words: who looks for logs wants no dialogs.
        let has = |word: &str| all.split_whitespace().any(|own| own.starts_with(word));
        text.split_whitespace().all(has)
    };
    lines.into_iter().filter(fits).collect()
}
