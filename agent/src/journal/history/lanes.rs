//! Spans of a worker beside each other: a lane for each core, and for each GPU.
//!
//! A journal does not say on which cores a task ran. Each gets as many lanes as it had cores, the lowest that are free: so
//! lanes show how many ran at a time, and not which core it was. Ends are told a moment late, by different moments: quick
//! tasks that seem to have run beside more than there was room for are put behind what is in their lane.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::{GRAIN_US, History, Outcome, QUICK_US, Span};

/// Lanes of one task, at most: of more cores no more can be told by looking.
const LANES_EACH: u64 = 1_024;
/// Lanes of one worker, and of what takes no room: tasks beyond are counted and not shown.
const LANES: u32 = 4_096;
const LANES_WITHOUT_ROOM: u32 = 64;

/// What lanes stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A core each.
    Cores,
    /// A GPU each.
    Gpus,
    /// Nothing: tasks that need neither.
    None,
    /// Nothing: tasks that took no time that could be told. They have one lane.
    Instant,
}

/// A part of a lane: one attempt, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The lane, from 0.
    pub lane: u32,
    /// When it begins, microseconds since the pilot was created.
    pub begin_us: u64,
    /// When it ends.
    pub end_us: u64,
    /// The place of its span in [`History::spans`]; of several, of the first.
    pub place: u32,
    /// Whether its tasks have a slice on another lane already, which tells of them.
    pub again: bool,
    /// Attempts by how they ended, in the order of [`Outcome::ALL`].
    pub tasks: [u64; 5],
}

impl Slice {
    /// How many attempts.
    pub fn count(&self) -> u64 {
        self.tasks.iter().sum()
    }

    /// The worst that happened in it.
    pub fn outcome(&self) -> Outcome {
        let worst = [
            Outcome::Failed,
            Outcome::Lost,
            Outcome::Retried,
            Outcome::Canceled,
        ];
        let has = |outcome: &Outcome| self.tasks[*outcome as usize] > 0;
        worst.into_iter().find(has).unwrap_or(Outcome::Done)
    }
}

/// The lanes of one worker.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Slices of each kind. No two of a lane overlap.
    pub slices: BTreeMap<Kind, Vec<Slice>>,
    /// How many lanes of each kind.
    pub lanes: BTreeMap<Kind, u32>,
    /// Attempts for which there were too many lanes.
    pub left_out: u64,
}

/// Lanes that are free, and when the others are.
#[derive(Debug, Default)]
struct Row {
    free: BTreeSet<u32>,
    taken: BinaryHeap<Reverse<(u64, u32)>>,
    lanes: u32,
    /// How many were in use at a time, as far as that is known for sure.
    enough: u32,
}

impl Row {
    /// Takes lanes from a time on, and says from when on all of them are free: that, or a moment later. There are no more
    /// than `most`, and none are taken if that is too few.
    fn take(&mut self, wanted: u32, begin_us: u64, late_us: u64, most: u32) -> Option<(Vec<u32>, u64)> {
        while let Some(Reverse((until, lane))) = self.taken.peek().copied()
            && until <= begin_us
        {
            self.taken.pop();
            self.free.insert(lane);
        }
        if u64::from(self.lanes) + u64::from(wanted) > u64::from(most) {
            let taken = self.taken.iter();
            let soon = taken.filter(|Reverse((until, _))| *until <= begin_us + late_us);
            if self.free.len() + soon.count() < wanted as usize {
                return None;
            }
        }
        let mut lanes = Vec::new();
        let mut from = begin_us;
        while (lanes.len() as u32) < wanted {
            if let Some(lane) = self.free.pop_first() {
                lanes.push(lane);
            } else if let Some(Reverse((until, lane))) = self.taken.peek().copied()
                && until <= begin_us + late_us
            {
                self.taken.pop();
                from = from.max(until);
                lanes.push(lane);
            } else {
                lanes.push(self.lanes);
                self.lanes += 1;
            }
        }
        Some((lanes, from))
    }

    /// Takes the lanes that are free first, and says from when on all of them are; none if that is later than `latest`.
    fn squeeze(&mut self, wanted: u32, latest: u64) -> Option<(Vec<u32>, u64)> {
        let mut from = 0;
        let mut lanes = Vec::new();
        let mut taken = Vec::new();
        while ((lanes.len() + taken.len()) as u32) < wanted {
            if let Some(lane) = self.free.pop_first() {
                lanes.push(lane);
                continue;
            }
            let next = self.taken.pop();
            taken.extend(next);
            match next {
                Some(Reverse((until, _))) if until <= latest => from = from.max(until),
                _ => {
                    self.taken.extend(taken);
                    self.free.extend(lanes);
                    return None;
                }
            }
        }
        lanes.extend(taken.into_iter().map(|Reverse((_, lane))| lane));
        Some((lanes, from))
    }

    fn give(&mut self, lane: u32, until_us: u64) {
        self.taken.push(Reverse((until_us, lane)));
    }
}

impl History {
    /// Spans that ran, by worker and then by when they began, as places in [`History::spans`]. Without a worker are those of
    /// which the journal does not say where they ran.
    pub fn by_worker(&self) -> BTreeMap<Option<u32>, Vec<u32>> {
        let mut workers: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
        for (place, span) in self.spans.iter().enumerate() {
            if span.ran() {
                workers.entry(span.worker).or_default().push(place as u32);
            }
        }
        for places in workers.values_mut() {
            places.sort_by_key(|place| self.spans[*place as usize].begin_us);
        }
        workers
    }

    /// Lays the spans of one worker beside each other, which come by when they began.
    pub fn lanes(&self, places: &[u32]) -> Lanes {
        let mut rows: BTreeMap<Kind, Row> = BTreeMap::new();
        let mut laid = Lanes::default();
        let (cores, gpus) = self.peak(places);
        for (kind, peak) in [(Kind::Cores, cores), (Kind::Gpus, gpus)] {
            rows.entry(kind).or_default().enough = peak.ceil().min(u64::from(LANES)) as u32;
        }
        for place in places {
            let Some(span) = self.spans.get(*place as usize) else {
                continue;
            };
            let mut again = false;
            for (kind, each) in self.wanted(span) {
                let row = rows.entry(kind).or_default();
                let slices = laid.slices.entry(kind).or_default();
                laid.left_out += lay((*place, span), kind, each, again, row, slices);
                again = true;
            }
        }
        rows.retain(|kind, _| laid.slices.contains_key(kind));
        for (kind, row) in rows {
            laid.lanes.insert(kind, row.lanes.max(1));
        }
        laid
    }

    /// Of which kinds of lanes each task of a span takes how many.
    fn wanted(&self, span: &Span) -> Vec<(Kind, u32)> {
        if span.width() == 0 {
            return vec![(Kind::Instant, 1)];
        }
        let submission = self.submission(span.submission);
        let amounts = submission.map_or_else(Vec::new, |submission| {
            vec![
                (Kind::Cores, submission.cores(span.way)),
                (Kind::Gpus, submission.gpus(span.way)),
            ]
        });
        let lanes: Vec<_> = amounts
            .into_iter()
            .map(|(kind, amount)| (kind, amount.ceil().min(LANES_EACH) as u32))
            .filter(|(_, lanes)| *lanes > 0)
            .collect();
        if lanes.is_empty() {
            vec![(Kind::None, 1)]
        } else {
            lanes
        }
    }
}

/// Lays a span into lanes that are free, `each` for each of its tasks. Gives how many attempts had none.
fn lay(
    (place, span): (u32, &Span),
    kind: Kind,
    each: u32,
    again: bool,
    row: &mut Row,
    slices: &mut Vec<Slice>,
) -> u64 {
    let slice = |lane, begin_us: u64, count: u32, again| {
        let mut tasks = [0; 5];
        tasks[span.outcome as usize] = u64::from(count);
        Slice {
            lane,
            begin_us,
            end_us: span.end_us.max(begin_us),
            place,
            again,
            tasks,
        }
    };
    if kind == Kind::Instant {
        slices.push(slice(0, span.begin_us, span.count(), again));
        return 0;
    }
    let most = if kind == Kind::None {
        LANES_WITHOUT_ROOM
    } else {
        LANES
    };
    let long = span.end_us - span.begin_us;
    let late = GRAIN_US.min(long / 2);
    let wide = span.width();
    let mut left_out = 0;
    for track in 0..wide {
        // Tracks differ by one task at most.
        let count = span.count() / wide + u32::from(track < span.count() % wide);
        let squeezed = (long <= QUICK_US && row.enough > 0).then(|| {
            let enough = row.enough.max(each);
            let taken = row.take(each, span.begin_us, late, enough);
            taken.or_else(|| row.squeeze(each, span.end_us + GRAIN_US))
        });
        let found = squeezed.flatten();
        let found = found.or_else(|| row.take(each, span.begin_us, late, most));
        let Some((lanes, from)) = found else {
            left_out += u64::from(count);
            continue;
        };
        let until = span.end_us.max(from);
        for (nth, lane) in lanes.into_iter().enumerate() {
            slices.push(slice(lane, from, count, again || nth > 0));
            row.give(lane, until);
        }
    }
    left_out
}

/// Slices, with those of a lane that are shorter than `grain_us` joined with what follows closer than that; with `apart`
/// what did not end well with its like only. The order is by lane and time.
pub fn joined(slices: &[Slice], grain_us: u64, apart: bool) -> Vec<Slice> {
    let mut order: Vec<&Slice> = slices.iter().collect();
    order.sort_by_key(|slice| (slice.lane, slice.begin_us, slice.end_us, slice.place));
    let mut out: Vec<Slice> = Vec::new();
    for slice in order {
        if let Some(last) = out.last_mut() {
            let near = slice.lane == last.lane && slice.begin_us < last.end_us.saturating_add(grain_us);
            let short = |slice: &Slice| slice.end_us - slice.begin_us < grain_us;
            let well = |slice: &Slice| !apart || slice.outcome() == Outcome::Done;
            if near && short(slice) && (short(last) || last.count() > 1) && well(slice) == well(last) {
                last.end_us = last.end_us.max(slice.end_us);
                for (sum, more) in last.tasks.iter_mut().zip(slice.tasks) {
                    *sum += more;
                }
                last.again &= slice.again;
                continue;
            }
        }
        out.push(*slice);
    }
    out
}
