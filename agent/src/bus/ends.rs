//! Ends of connections, which count once what came over these connections before is taken in: a worker's last report and its
//! goodbye may still wait to be read.

use std::time::{Duration, Instant};

use scalems_core::Input;

/// So long they wait at most: under load there may always be something to read.
const LONGEST: Duration = Duration::from_secs(1);

/// Ends that were seen and are not told yet.
#[derive(Default)]
pub(super) struct Ends {
    inputs: Vec<Input>,
    since: Option<Instant>,
}

impl Ends {
    pub(super) fn push(&mut self, input: Input) {
        let same = |last: &Input| {
            matches!(
                (last, &input),
                (Input::SomeClientGone, Input::SomeClientGone)
                    | (Input::SomeWorkerGone, Input::SomeWorkerGone)
            )
        };
        if !self.inputs.last().is_some_and(same) {
            self.inputs.push(input);
        }
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Those that are to be told now. `drained`: since they were seen all was read that there was.
    pub(super) fn due(&mut self, drained: bool) -> Vec<Input> {
        if !drained && self.since.is_none_or(|since| since.elapsed() < LONGEST) {
            return Vec::new();
        }
        self.since = None;
        std::mem::take(&mut self.inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_waits_until_all_is_read() {
        let mut ends = Ends::default();
        assert!(ends.due(true).is_empty());
        ends.push(Input::SomeWorkerGone);
        ends.push(Input::SomeWorkerGone);
        assert!(ends.due(false).is_empty());
        assert!(!ends.is_empty());
        assert_eq!(ends.due(true).len(), 1);
        ends.push(Input::SomeWorkerGone);
        ends.since = Instant::now().checked_sub(LONGEST);
        assert_eq!(ends.due(false).len(), 1, "it does not wait for ever");
    }
}
