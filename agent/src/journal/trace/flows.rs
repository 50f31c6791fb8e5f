//! Arrows from what was waited for to what waited.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use super::super::history::History;
use super::super::history::lanes::Slice;

/// Arrows in one trace, and of one dependency where each task waits for one.
const FLOWS: usize = 10_000;
const FLOWS_EACH: usize = 1_000;

/// A row of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) process: u32,
    pub(super) row: u32,
}

/// The spans that arrows go from and to, and where they are.
pub(super) struct Ends {
    /// From which span to which.
    arrows: Vec<(u32, u32)>,
    /// Where each of those is, from when to when.
    found: BTreeMap<u32, Option<(Place, u64, u64)>>,
}

impl Ends {
    /// Arrows of all dependencies: from the last that was waited for to the first that waited, and between tasks where each
    /// waits for one.
    pub(super) fn of(history: &History) -> Self {
        let mut arrows = Vec::new();
        // By submission and first offset: the last attempt, and the first.
        let mut last: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        let mut first: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        let dependencies = history.dependencies();
        let mut concerned: Vec<u64> = dependencies
            .iter()
            .flat_map(|one| [one.waiting, one.on])
            .collect();
        concerned.sort_unstable();
        concerned.dedup();
        let spans = history.spans();
        for (place, span) in spans.iter().enumerate() {
            if !span.ran() || concerned.binary_search(&span.submission).is_err() {
                continue;
            }
            let key = (span.submission, span.lo);
            first.entry(key).or_insert(place as u32);
            if span.outcome.is_final() {
                last.insert(key, place as u32);
            }
        }
        for dependency in &dependencies {
            let (lo, hi) = dependency.offsets.unwrap_or((0, u32::MAX));
            let from = last.range((dependency.on, lo)..(dependency.on, hi));
            let to = first.range((dependency.waiting, 0)..(dependency.waiting, u32::MAX));
            if dependency.each {
                let pairs = to.filter_map(|((_, offset), place)| {
                    let (_, before) = last
                        .range((dependency.on, 0)..=(dependency.on, *offset))
                        .next_back()?;
                    let holds = spans[*before as usize].lo <= *offset && *offset < spans[*before as usize].hi;
                    holds.then_some((*before, *place))
                });
                arrows.extend(pairs.take(FLOWS_EACH));
            } else {
                let from = from
                    .map(|(_, place)| *place)
                    .max_by_key(|place| spans[*place as usize].end_us);
                let to = to
                    .map(|(_, place)| *place)
                    .min_by_key(|place| spans[*place as usize].begin_us);
                arrows.extend(from.zip(to));
            }
        }
        arrows.truncate(FLOWS);
        let ends = arrows.iter().flat_map(|(from, to)| [(*from, None), (*to, None)]);
        let found = ends.collect();
        Self { arrows, found }
    }

    /// Notes where the spans are that arrows go from and to.
    pub(super) fn find(&mut self, slices: &[Slice], place: impl Fn(u32) -> Place) {
        for slice in slices.iter().filter(|slice| !slice.again) {
            if let Some(found @ None) = self.found.get_mut(&slice.place) {
                *found = Some((place(slice.lane), slice.begin_us, slice.end_us));
            }
        }
    }

    /// Gives both ends of each arrow to `put`. Gives how many arrows there were.
    pub(super) fn write(&self, mut put: impl FnMut(&Value) -> io::Result<()>) -> io::Result<usize> {
        let place = |span: &u32| self.found.get(span).copied().flatten();
        let mut count = 0;
        for (from, to) in &self.arrows {
            let (Some((from, begin, end)), Some((to, arrives, _))) = (place(from), place(to)) else {
                continue;
            };
            count += 1;
            // It leaves within the slice, and goes back in time only if that began later: ends are told a moment late.
            let leaves = end.saturating_sub(1).min(arrives).max(begin);
            let end_of = |phase: &str, at: Place, time: u64| {
                json!({
                    "name": "waited for", "cat": "dependency", "ph": phase, "bp": "e", "id": count, "pid": at.process,
                    "tid": at.row, "ts": time
                })
            };
            put(&end_of("s", from, leaves))?;
            put(&end_of("f", to, arrives))?;
        }
        Ok(count)
    }
}
