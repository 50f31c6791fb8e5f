//! Tasks as they were at a time, and answers to what is asked about them.

use scalems_protocol::TaskError;
use scalems_protocol::client::{Explanation, Listing, OutputPart, Page, TaskRow};
use scalems_protocol::group::Run;
use scalems_protocol::limits;
use scalems_protocol::select::{Selector, name_matches};
use scalems_protocol::state::TaskState;

use super::bodies::unknown;
use super::recording::{Outcome, Span};
use super::timeline::Timeline;
use crate::kit::numbers;
use crate::kit::theme::Charset;

/// Neighbouring tasks that are alike at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike {
    lo: u32,
    hi: u32,
    state: TaskState,
    attempt: u32,
    /// What says so; none: nothing has happened to them.
    span: Option<u32>,
}

impl Timeline {
    /// A page of tasks, a row for each run of tasks in one state.
    pub(super) fn tasks(&self, page: &Page) -> Listing<TaskRow> {
        let most = match page.rows {
            0 => limits::PAGE_ROWS,
            rows => rows.min(limits::PAGE_ROWS),
        } as usize;
        let mut rows = Vec::new();
        let from = page.after.unwrap_or((0, 0));
        let first = self
            .recording()
            .submissions
            .partition_point(|submission| submission.number < from.0);
        for place in first..self.recording().submissions.len() {
            let number = self.recording().submissions[place].number;
            if !self.state.submissions[place].is_there {
                continue;
            }
            for (lo, hi) in self.selected(&page.select, place) {
                let lo = if number == from.0 { lo.max(from.1) } else { lo };
                for alike in self.alike(place, lo, hi) {
                    if page.select.state.is_some_and(|state| state != alike.state) {
                        continue;
                    }
                    if rows.len() == most {
                        return Listing {
                            rows,
                            next: Some((number, alike.lo)),
                        };
                    }
                    rows.push(self.row(place, alike));
                }
            }
        }
        Listing { rows, next: None }
    }

    /// Which offsets of a submission are meant.
    fn selected(&self, select: &Selector, place: usize) -> Vec<(u32, u32)> {
        let submission = &self.recording().submissions[place];
        let template = &submission.template;
        let name = |pattern: &String| {
            template
                .name
                .as_ref()
                .is_some_and(|name| name_matches(pattern, name))
        };
        let label = |(key, value): &(String, String)| template.labels.get(key) == Some(value);
        let newest = || {
            self.state.submissions[place + 1..]
                .iter()
                .all(|later| !later.is_there)
        };
        if select.name.as_ref().is_some_and(|pattern| !name(pattern))
            || select.label.as_ref().is_some_and(|wanted| !label(wanted))
            || select.last && !newest()
        {
            return Vec::new();
        }
        if select.picks.is_empty() {
            return vec![(0, submission.count)];
        }
        let mut ranges = Vec::new();
        for pick in select.picks.iter().filter(|pick| pick.has(submission.number)) {
            let Some((first, last, step)) = pick.indices else {
                return vec![(0, submission.count)];
            };
            let (lo, hi) = (
                submission.offset_from(first),
                submission.offset_from(last.saturating_add(1)),
            );
            if step <= 1 || hi - lo <= 1 {
                ranges.push((lo, hi));
            } else {
                let meant = |offset: &u32| (submission.index(*offset) - first).is_multiple_of(step);
                ranges.extend((lo..hi).filter(meant).map(|offset| (offset, offset + 1)));
            }
        }
        ranges.retain(|(lo, hi)| lo < hi);
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    /// The tasks from `lo` to `hi` of a submission, in runs that are alike, cut where indices jump.
    fn alike(&self, place: usize, lo: u32, hi: u32) -> impl Iterator<Item = Alike> {
        let part = self.starts[place]..self.starts[place + 1];
        let (by_offset, furthest) = (&self.by_offset[part.clone()], &self.furthest[part]);
        // The first that reaches beyond `lo`; those before it end earlier.
        let mut next = furthest.partition_point(|end| *end <= lo);
        let mut active: Vec<u32> = Vec::new();
        let mut at = lo;
        let spans = &self.recording().spans;
        std::iter::from_fn(move || {
            if at >= hi {
                return None;
            }
            active.retain(|place| spans[*place as usize].hi > at);
            while let Some(place) = by_offset
                .get(next)
                .filter(|place| spans[**place as usize].lo <= at)
            {
                if spans[*place as usize].hi > at {
                    active.push(*place);
                }
                next += 1;
            }
            let (_, jump) = self.recording().submissions[place].evenly(at);
            let mut end = hi.min(jump);
            if let Some(place) = by_offset.get(next) {
                end = end.min(spans[*place as usize].lo);
            }
            let ends = active.iter().map(|place| spans[*place as usize].hi);
            end = ends.fold(end, u32::min);
            // Within a span whose tasks ran one after another, the first of them run.
            let seen = self.latest(&active);
            if let Some(span) = seen.map(|place| &spans[place as usize])
                && self.runs(span)
            {
                let front = span.lo + span.width();
                if at < front {
                    end = end.min(front);
                }
            }
            let (state, attempt) = self.state_of(seen, at);
            let alike = Alike {
                lo: at,
                hi: end,
                state,
                attempt,
                span: seen,
            };
            at = end;
            Some(alike)
        })
    }

    fn runs(&self, span: &Span) -> bool {
        span.begin_us <= self.at_us() && self.at_us() < span.end_us
    }

    /// The latest attempt of those that has begun.
    fn latest(&self, active: &[u32]) -> Option<u32> {
        let spans = &self.recording().spans;
        let begun = active.iter().copied().filter(|place| {
            let span = &spans[*place as usize];
            span.end_us <= self.at_us() || self.runs(span) && span.width() > 0
        });
        begun.max_by_key(|place| {
            let span = &spans[*place as usize];
            (span.attempt, span.end_us, *place)
        })
    }

    fn state_of(&self, span: Option<u32>, at: u32) -> (TaskState, u32) {
        let Some(place) = span else {
            return (TaskState::Ready, 0);
        };
        let span = &self.recording().spans[place as usize];
        if self.runs(span) {
            return if at < span.lo + span.width() {
                (TaskState::Running, span.attempt)
            } else {
                (TaskState::Ready, span.attempt.saturating_sub(1))
            };
        }
        let state = match span.outcome {
            Outcome::Done => TaskState::Done,
            Outcome::Failed => TaskState::Failed,
            Outcome::Canceled => TaskState::Canceled,
            Outcome::Retried | Outcome::Lost => TaskState::Ready,
        };
        (state, span.attempt)
    }

    fn row(&self, place: usize, alike: Alike) -> TaskRow {
        let submission = &self.recording().submissions[place];
        let span = alike.span.map(|place| &self.recording().spans[place as usize]);
        let is_over = alike.state.is_final();
        let holds = is_over || alike.state == TaskState::Running;
        let worker = span.and_then(|span| span.worker).filter(|_| holds);
        let has_ways = !submission.template.needs.variants.is_empty();
        TaskRow {
            run: Run {
                submission: submission.number,
                lo: alike.lo,
                hi: alike.hi,
                attempt: alike.attempt,
            },
            indices: (submission.evenly(alike.lo).0, submission.indices.1),
            state: alike.state,
            worker: worker.map(|place| self.recording().workers[place as usize].name.clone()),
            exit_code: span.and_then(|span| span.exit_code).filter(|_| is_over),
            error: span.filter(|_| is_over).and_then(|span| self.error(span)),
            ran_us: span.filter(|_| is_over).map_or(0, Span::mean_us),
            variant: span.filter(|_| holds && has_ways).map(|span| span.way),
        }
    }

    fn error(&self, span: &Span) -> Option<TaskError> {
        let reason = &self.recording().reasons[span.reason? as usize];
        Some(TaskError {
            code: reason.code,
            message: reason.message.clone(),
            class: reason.class.clone(),
            trace: None,
            rank: None,
            retryable: false,
        })
    }

    /// One task: all that is known of it, and what became of its attempts.
    pub(super) fn explain(&self, select: &Selector) -> Option<Explanation> {
        let pick = select.picks.first()?;
        let (index, ..) = pick.indices?;
        let place = self.place(pick.first)?;
        let submission = &self.recording().submissions[place];
        let offset = submission.offset_from(index);
        if offset >= submission.count || submission.index(offset) != index {
            return None;
        }
        let alike = self.alike(place, offset, offset + 1).next()?;
        let mut faults = (0, 0);
        let mut reasons = Vec::new();
        for span in self.attempts(place, offset) {
            let is_over = span.end_us <= self.at_us();
            faults.0 += u32::from(is_over && matches!(span.outcome, Outcome::Failed | Outcome::Retried));
            faults.1 += u32::from(is_over && span.outcome == Outcome::Lost);
            if is_over || self.runs(span) {
                reasons.push(self.sentence(span));
            }
        }
        if reasons.is_empty() {
            reasons.push("nothing has begun of it yet: it waits for room, or for other tasks".to_owned());
        }
        // The latest is the most important.
        reasons.reverse();
        reasons.truncate(limits::NAMES);
        Some(Explanation {
            row: self.row(place, alike),
            task: (*submission.template).clone(),
            faults,
            reasons,
            progress: None,
        })
    }

    pub(super) fn place(&self, number: u64) -> Option<usize> {
        let submissions = &self.recording().submissions;
        let place = submissions
            .binary_search_by_key(&number, |submission| submission.number)
            .ok()?;
        self.state.submissions[place].is_there.then_some(place)
    }

    /// Attempts at one task, in their order.
    fn attempts(&self, place: usize, offset: u32) -> Vec<&Span> {
        self.attempt_places(place, offset)
            .into_iter()
            .map(|place| &self.recording().spans[place as usize])
            .collect()
    }

    fn attempt_places(&self, place: usize, offset: u32) -> Vec<u32> {
        let part = self.starts[place]..self.starts[place + 1];
        let (by_offset, furthest) = (&self.by_offset[part.clone()], &self.furthest[part]);
        let spans = &self.recording().spans;
        let from = furthest.partition_point(|end| *end <= offset);
        let reach = by_offset[from..]
            .iter()
            .take_while(|place| spans[**place as usize].lo <= offset);
        let mut found: Vec<u32> = reach
            .copied()
            .filter(|place| spans[*place as usize].hi > offset)
            .collect();
        found.sort_by_key(|place| (spans[*place as usize].attempt, spans[*place as usize].end_us));
        found
    }

    fn sentence(&self, span: &Span) -> String {
        let time = |us: u64| numbers::time(std::time::Duration::from_micros(us), Charset::Ascii);
        let worker = span.worker.map(|place| &self.recording().workers[place as usize]);
        let on = worker.map_or(String::new(), |worker| {
            format!(" on {} ({})", worker.name, worker.host)
        });
        if self.runs(span) {
            return format!(
                "attempt {} has run for {}{on}",
                span.attempt,
                time(self.at_us() - span.begin_us)
            );
        }
        let error = span
            .reason
            .map(|place| self.recording().reasons[place as usize].message.clone());
        let how = match span.outcome {
            Outcome::Done => "ended well".to_owned(),
            Outcome::Canceled if span.attempt == 0 => return "it was canceled before it began".to_owned(),
            Outcome::Canceled => "was canceled".to_owned(),
            Outcome::Failed if span.attempt == 0 => {
                return format!("it failed before it began: {}", error.unwrap_or_default());
            }
            Outcome::Failed => format!("failed: {}", error.unwrap_or_default()),
            Outcome::Retried | Outcome::Lost => unknown(span.outcome).1,
        };
        format!(
            "attempt {} ran for {}{on}: {how}",
            span.attempt,
            time(span.mean_us())
        )
    }

    /// What a task that is asked for has written by now: a journal has the last words of some that failed.
    pub(super) fn output(&self, submission: u64, offset: u32) -> OutputPart {
        let alike = self.place(submission).and_then(|place| {
            let count = self.recording().submissions[place].count;
            self.alike(place, offset, (offset + 1).min(count)).next()
        });
        let (attempt, runs) = alike.map_or((0, false), |alike| {
            (alike.attempt, alike.state == TaskState::Running)
        });
        OutputPart {
            attempt,
            runs,
            ..OutputPart::default()
        }
    }

    /// The last words of a task that has ended, output and errors; or why there are none.
    pub(super) fn last_words(&self, submission: u64, offset: u32) -> Result<(Vec<u8>, Vec<u8>), String> {
        let place = self.place(submission).ok_or("it has not been submitted yet")?;
        let mut attempts = self.attempt_places(place, offset).into_iter();
        let over = attempts.rfind(|place| self.recording().spans[*place as usize].end_us <= self.at_us());
        let over = over.ok_or("it has not ended yet")?;
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        for tail in self.recording().tails.iter().filter(|tail| tail.span == over) {
            let to = if tail.is_output { &mut output } else { &mut errors };
            if tail.before > 0 {
                to.extend_from_slice(format!("(after {} more)\n", numbers::bytes(tail.before)).as_bytes());
            }
            to.extend_from_slice(tail.text.as_bytes());
        }
        if output.is_empty() && errors.is_empty() {
            return Err(
                "a replay has the last words of a few failed tasks only; `scalems logs` reads what workers have kept"
                    .to_owned(),
            );
        }
        Ok((output, errors))
    }
}
