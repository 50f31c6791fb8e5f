//! Printing: tables for people, JSON for programs. What tasks and users wrote never reaches the terminal
//! unescaped.

use std::fmt::Write as _;
use std::io;

use scalems_protocol::Amount;
use serde::Serialize;

use crate::args::Output;

/// Prints rows: a table for people, JSON for programs, the first column for scripts.
pub(crate) fn rows<T: Serialize>(
    output: Output,
    head: &[&str],
    rows: &[T],
    cells: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    match output {
        Output::Human => out(&table(head, &rows.iter().map(&cells).collect::<Vec<_>>())),
        Output::Json => out(&format!("{}\n", serde_json::to_string_pretty(rows)?)),
        Output::Jsonl => {
            for row in rows {
                out(&format!("{}\n", serde_json::to_string(row)?))?;
            }
            Ok(())
        }
        Output::Quiet => {
            for row in rows {
                out(&format!("{}\n", cells(row).first().map_or("", String::as_str)))?;
            }
            Ok(())
        }
    }
}

/// Prints one thing: lines for people, JSON for programs.
pub(crate) fn one<T: Serialize>(output: Output, value: &T, lines: &[(&str, String)]) -> anyhow::Result<()> {
    match output {
        Output::Human => {
            let wide = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            let mut text = String::new();
            for (name, value) in lines {
                writeln!(text, "{name:wide$}  {}", safe(value))?;
            }
            out(&text)
        }
        Output::Json => out(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        Output::Jsonl => out(&format!("{}\n", serde_json::to_string(value)?)),
        Output::Quiet => out(&format!("{}\n", lines.first().map_or("", |(_, value)| value))),
    }
}

/// Writes to standard output. A reader that has gone, such as `head`, ends the program quietly.
pub(crate) fn out(text: &str) -> anyhow::Result<()> {
    whole(text.as_bytes(), &mut io::stdout())
}

/// Hands on what a program wrote, as it wrote it; to a terminal without what could move the cursor, and with
/// a line's end.
pub(crate) fn written(bytes: &[u8], mut to: impl io::Write + io::IsTerminal) -> anyhow::Result<()> {
    if bytes.is_empty() || !to.is_terminal() {
        return whole(bytes, &mut to);
    }
    whole(safe_lines(&String::from_utf8_lossy(bytes)).as_bytes(), &mut to)
}

/// Escapes as [`safe`] does, but for tabs and the ends of lines, of which the last is added.
fn safe_lines(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split('\t').map(safe).collect::<Vec<_>>().join("\t") + "\n");
    lines.collect()
}

fn whole(bytes: &[u8], to: &mut impl io::Write) -> anyhow::Result<()> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// A table whose columns are as wide as they have to be.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| safe(cell)).collect())
        .collect();
    let wide = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([head.get(column).map_or(0, |head| head.len())])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(wide).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .map(|(cell, wide)| format!("{cell:<wide$}", wide = *wide));
        let joined = cells.collect::<Vec<_>>().join("  ");
        text.push_str(joined.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in &rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Escapes what could move the cursor or change colours.
pub(crate) fn safe(text: &str) -> String {
    if text.chars().all(|c| !c.is_control()) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

/// A time in the shortest fitting unit.
pub(crate) fn time(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1_000.0),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// Resources by kind: kind, total, in use; and those that are not whole.
pub(crate) fn resources(resources: &[(String, u64, u64)], fractions: &[(String, Amount, Amount)]) -> String {
    let exact = |(kind, total, used): &(String, u64, u64)| {
        let known = fractions.iter().find(|(known, ..)| known == kind);
        known.map_or(
            (Amount::whole(*total), Amount::whole(*used)),
            |(_, total, used)| (*total, *used),
        )
    };
    let parts = resources.iter().map(|row| match (row.0.as_str(), exact(row)) {
        (kind @ ("memory" | "disk"), (total, used)) => format!("{kind} {used}/{total} MiB"),
        (kind, (total, used)) => format!("{kind} {used}/{total}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// An error with its causes, each of them once: some texts have their cause in them.
pub(crate) fn error(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if told.is_empty() {
            told = text;
        } else if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_unescaped() {
        assert_eq!(safe("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(safe("größe"), "größe");
        assert_eq!(safe_lines("a\tb\r\nc\rd\u{1b}[2J"), "a\tb\nc\\rd\\u{1b}[2J\n");
    }

    #[test]
    fn columns_are_as_wide_as_they_have_to_be() {
        let rows = [
            vec!["1".to_owned(), "done".to_owned()],
            vec!["10".to_owned(), "x".to_owned()],
        ];
        assert_eq!(table(&["id", "state"], &rows), "id  state\n1   done\n10  x\n");
    }

    #[test]
    fn a_cause_is_told_once() {
        let disk = std::io::Error::from_raw_os_error(28);
        let own = anyhow::Error::new(disk).context("write x: No space left on device (os error 28)");
        assert_eq!(error(&own), "write x: No space left on device (os error 28)");
        let outer = Err::<(), _>(own)
            .context("make the pilot's directory")
            .unwrap_err();
        assert_eq!(
            error(&outer),
            "make the pilot's directory: write x: No space left on device (os error 28)"
        );
    }
}
