//! How far tasks are, for people who wait: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use scalems_client::protocol::client::Counts;

use crate::args::{Output, Shown};
use crate::print;

/// A line that says something new comes so often at most.
const LINES: Duration = Duration::from_secs(5);

/// Where it is shown, and since when.
pub(crate) struct Progress {
    how: How,
    /// When it was first shown, and how many tasks had ended then.
    first: Option<(Instant, u64)>,
}

enum How {
    Hidden,
    Bar(ProgressBar),
    Lines(Option<(Instant, Counts)>),
}

impl Progress {
    /// As it is wanted: by itself only on a terminal, and where people read.
    pub(crate) fn new(shown: Option<Shown>, output: Output) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let how = match shown.unwrap_or_default() {
            Shown::Never => How::Hidden,
            Shown::Auto if output != Output::Human || !terminal => How::Hidden,
            Shown::Auto | Shown::Always if terminal => How::Bar(bar()),
            Shown::Auto | Shown::Always => How::Lines(None),
        };
        Self { how, first: None }
    }

    /// Whether nobody sees it, so that nobody needs to count.
    pub(crate) const fn is_hidden(&self) -> bool {
        matches!(self.how, How::Hidden)
    }

    /// Shows how far they are.
    pub(crate) fn show(&mut self, counts: &Counts) {
        let now = Instant::now();
        let ended = counts.finished();
        let (begun, before) = *self.first.get_or_insert((now, ended));
        let pace = pace(ended.saturating_sub(before), now - begun, counts.unfinished());
        let text = [summary(counts), pace]
            .into_iter()
            .filter(|part| !part.is_empty());
        let text = text.collect::<Vec<_>>().join("; ");
        match &mut self.how {
            How::Hidden => {}
            How::Bar(bar) => {
                bar.set_length(counts.total());
                bar.set_position(ended);
                bar.set_message(text);
            }
            How::Lines(last) => {
                let due = last.is_none_or(|(when, said)| now - when >= LINES && said != *counts);
                if due {
                    eprintln!("scalems: {ended} of {} ended: {text}", counts.total());
                    *last = Some((now, *counts));
                }
            }
        }
    }

    /// All have ended.
    pub(crate) fn end(self) {
        if let How::Bar(bar) = self.how {
            bar.finish_and_clear();
        }
    }

    /// Nobody waits any more.
    pub(crate) fn leave(self) {
        if let How::Bar(bar) = self.how {
            bar.abandon();
        }
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:40}] {pos}/{len} {msg}")
        .expect("invariant: the template is right");
    ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr())
        .with_style(style.progress_chars("=> "))
}

/// Tasks a second since it was first shown, and how long the others take if it goes on like that.
fn pace(ended: u64, time: Duration, others: u64) -> String {
    if ended == 0 || time.is_zero() {
        return String::new();
    }
    let rate = ended as f64 / time.as_secs_f64();
    let left = Duration::try_from_secs_f64(others as f64 / rate).unwrap_or(Duration::MAX);
    let left = print::time(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    if others == 0 {
        format!("{rate:.1}/s")
    } else {
        format!("{rate:.1}/s, {left} left")
    }
}

/// The tasks by state, in words.
pub(crate) fn summary(counts: &Counts) -> String {
    let parts = [
        (counts.done, "done"),
        (counts.failed, "failed"),
        (counts.canceled, "canceled"),
        (counts.running, "running"),
        (counts.leased + counts.ready, "to run"),
        (counts.waiting, "waiting"),
    ];
    let parts = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_says_how_long_the_others_take() {
        assert_eq!(pace(0, Duration::from_secs(5), 10), "", "nothing is known yet");
        assert_eq!(pace(10, Duration::ZERO, 10), "");
        assert_eq!(
            pace(100, Duration::from_secs(10), 600),
            format!("10.0/s, {} left", print::time(60_000))
        );
        assert_eq!(pace(100, Duration::from_secs(8), 0), "12.5/s");
    }
}
