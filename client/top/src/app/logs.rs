//! What a task prints, as it prints it.

use scalems_protocol::client::OutputPart;

use super::App;
use crate::source::{Answer, For};

/// Bytes of each stream that are kept here: the last ones.
const KEPT: usize = 512 << 10;

/// Which of what a task prints is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    /// Output, then errors.
    #[default]
    Both,
    /// Output.
    Out,
    /// Errors.
    Err,
}

/// One of a task's streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// Where the bytes begin in the stream.
    pub from: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Printed {
    /// Where what follows begins.
    pub fn next(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }

    fn take(&mut self, from: u64, bytes: &[u8]) {
        if from != self.next() {
            // What lies between is not kept any more.
            self.bytes.clear();
            self.from = from;
        }
        self.bytes.extend_from_slice(bytes);
        let over = self.bytes.len().saturating_sub(KEPT);
        if over > 0 {
            self.bytes.drain(..over);
            self.from += over as u64;
        }
    }
}

/// What a task prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogView {
    /// Its submission.
    pub submission: u64,
    /// Its offset there.
    pub offset: u32,
    /// Its index.
    pub index: u32,
    /// The attempt; 0: it is not known yet.
    pub attempt: u32,
    /// Its output.
    pub stdout: Printed,
    /// Its errors.
    pub stderr: Printed,
    /// It does not run: what there is more of is in its result.
    pub ended: bool,
    /// That was looked for.
    pub has_result: bool,
    /// What there is to say about it.
    pub note: Option<String>,
    /// What is shown of it.
    pub stream: Stream,
    /// Whether long lines are wrapped.
    pub wrap: bool,
    /// Whether the end stays in sight.
    pub follow: bool,
    /// The first line that is seen, if not.
    pub top: usize,
    /// Columns that are pushed out to the left.
    pub left: usize,
    /// Lines there are, and lines that fit, when it was last drawn.
    pub size: (usize, usize),
    /// What lines have to have in them.
    pub filter: String,
}

impl LogView {
    /// Of a task.
    pub fn of(submission: u64, offset: u32, index: u32, wrap: bool) -> Self {
        Self {
            submission,
            offset,
            index,
            wrap,
            follow: true,
            ..Self::default()
        }
    }

    /// Something was read while it runs.
    pub fn take(&mut self, part: &OutputPart) {
        if part.attempt != self.attempt {
            // Another attempt begins anew.
            self.attempt = part.attempt;
            self.stdout = Printed::default();
            self.stderr = Printed::default();
            if part.attempt > 0 && part.runs {
                self.note = None;
                return;
            }
        }
        self.stdout.take(part.stdout.from, &part.stdout.bytes);
        self.stderr.take(part.stderr.from, &part.stderr.bytes);
        self.ended = !part.runs && part.attempt > 0;
        self.note = (part.attempt == 0).then(|| "it has not begun".to_owned());
    }

    /// What it has printed altogether, from its result: the last of it.
    pub fn take_result(&mut self, stdout: &[u8], stderr: &[u8]) {
        self.has_result = true;
        for (printed, bytes) in [(&mut self.stdout, stdout), (&mut self.stderr, stderr)] {
            if printed.bytes.len() < bytes.len() {
                *printed = Printed::default();
                printed.take(0, bytes);
            }
        }
        self.note = Some("it has ended".to_owned());
    }
}

impl App {
    pub(super) fn take_output(&mut self, what: For, answer: Result<Answer, String>) {
        let Some(log) = &mut self.logs else { return };
        match (what, answer) {
            (_, Ok(Answer::Output(part))) => log.take(&part),
            (_, Ok(Answer::Ended(stdout, stderr))) => log.take_result(&stdout, &stderr),
            (For::Result, Err(problem)) => {
                log.has_result = true;
                log.note = Some(problem);
            }
            (_, Err(problem)) => log.note = Some(problem),
            (_, Ok(Answer::Reply(_))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use scalems_protocol::program::Written;

    use super::*;

    fn part(attempt: u32, runs: bool, from: u64, text: &str) -> OutputPart {
        OutputPart {
            attempt,
            runs,
            stdout: Written {
                from,
                bytes: text.into(),
                total: from + text.len() as u64,
            },
            stderr: Written::default(),
        }
    }

    #[test]
    fn output_goes_on_where_it_was_and_begins_anew_with_another_attempt() {
        let mut log = LogView::of(5, 7, 7, true);
        log.take(&part(0, false, 0, ""));
        assert_eq!(log.note.as_deref(), Some("it has not begun"));
        assert!(!log.ended);
        log.take(&part(
            1,
            true,
            0,
            "ignored: what follows an attempt that was not asked for",
        ));
        log.take(&part(1, true, 0, "one "));
        log.take(&part(1, true, 4, "two"));
        assert_eq!(
            (log.stdout.bytes.as_slice(), log.stdout.next()),
            (&b"one two"[..], 7)
        );
        // What lay between is not kept any more.
        log.take(&part(1, true, 100, "later"));
        assert_eq!(
            (log.stdout.from, log.stdout.bytes.as_slice()),
            (100, &b"later"[..])
        );
        log.take(&part(2, true, 0, ""));
        log.take(&part(2, false, 0, "again"));
        assert!(log.ended && log.stdout.bytes == b"again");
        log.take_result(b"again, and the end", b"");
        assert_eq!(log.stdout.bytes, b"again, and the end");
    }

    #[test]
    fn memory_is_bounded() {
        let mut printed = Printed::default();
        for at in 0..10_u64 {
            printed.take(at * 100_000, &vec![b'x'; 100_000]);
        }
        assert_eq!((printed.bytes.len(), printed.next()), (KEPT, 1_000_000));
    }
}
