//! What outputs are printed on: as they are, in lines for a terminal, or as rows for programs.

use std::io::IsTerminal as _;

use scalems_client::protocol::TaskId;
use scalems_client::protocol::packed::Stream;

use crate::args::Output;
use crate::print;

/// Prints outputs of one stream, piece by piece.
pub(super) struct Paper {
    pub(super) stream: Stream,
    form: Form,
    /// Of the output that is being printed: what waits for the end of its line, or all of it.
    text: Vec<u8>,
    /// Bytes that were printed of it.
    pub(super) shown: u64,
}

enum Form {
    AsItIs,
    /// Lines, for a terminal.
    Lines,
    Jsonl,
    Json(Vec<serde_json::Value>),
}

impl Paper {
    pub(super) fn new(stream: Stream, output: Output) -> Self {
        let terminal = match stream {
            Stream::Stdout => std::io::stdout().is_terminal(),
            Stream::Stderr => std::io::stderr().is_terminal(),
        };
        let form = match output {
            Output::Json => Form::Json(Vec::new()),
            Output::Jsonl => Form::Jsonl,
            Output::Human | Output::Quiet if terminal => Form::Lines,
            Output::Human | Output::Quiet => Form::AsItIs,
        };
        Self {
            stream,
            form,
            text: Vec::new(),
            shown: 0,
        }
    }

    /// A piece of what a task wrote.
    pub(super) fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.shown += bytes.len() as u64;
        match self.form {
            Form::AsItIs => written(self.stream, bytes),
            Form::Lines => {
                self.text.extend_from_slice(bytes);
                let end = self.text.iter().rposition(|byte| *byte == b'\n');
                let rest = self.text.split_off(end.map_or(0, |end| end + 1));
                written(self.stream, &std::mem::replace(&mut self.text, rest))
            }
            Form::Jsonl | Form::Json(_) => {
                self.text.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// It wrote so many bytes in all, and no more of them comes.
    pub(super) fn end_of(&mut self, (task, attempt): (TaskId, u32), bytes: u64) -> anyhow::Result<()> {
        let text = std::mem::take(&mut self.text);
        let shown = std::mem::take(&mut self.shown);
        let row = || {
            serde_json::json!({
                "task": task.to_string(), "attempt": attempt, "text": String::from_utf8_lossy(&text),
                "bytes": bytes, "shown": shown,
            })
        };
        match &mut self.form {
            Form::AsItIs | Form::Lines => written(self.stream, &text),
            Form::Jsonl => print::out(&format!("{}\n", row())),
            Form::Json(rows) => {
                rows.push(row());
                Ok(())
            }
        }
    }

    /// All is printed.
    pub(super) fn end(self) -> anyhow::Result<()> {
        match self.form {
            Form::Json(rows) => print::out(&format!("{}\n", serde_json::to_string_pretty(&rows)?)),
            Form::AsItIs | Form::Lines | Form::Jsonl => Ok(()),
        }
    }
}

fn written(stream: Stream, bytes: &[u8]) -> anyhow::Result<()> {
    match stream {
        Stream::Stdout => print::written(bytes, std::io::stdout()),
        Stream::Stderr => print::written(bytes, std::io::stderr()),
    }
}
