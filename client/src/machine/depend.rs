//! Dependencies inside the session: what is known here is decided here, the rest is told to the agent.

use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::limits;
use scalems_protocol::task::{After, When};

use super::interface::{Dependency, Pack, PackKey, Shape};
use super::packs::{Entry, Packs};

/// What is to become of a pack with unsent tasks.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It may be sent, with these dependencies besides its template's.
    Go(Vec<After>),
    /// It has to wait until all of `on` before `place` is sent, or, for `u32::MAX`, has ended.
    Blocked {
        /// The pack that it waits for.
        on: PackKey,
        /// The place.
        place: u32,
    },
    /// A dependency ended otherwise than asked for: its tasks end canceled.
    Missed(TaskError),
    /// It cannot be.
    Wrong(Refusal),
}

impl Packs {
    /// Looks at a pack's dependencies as they stand now.
    pub(super) fn judge(&self, pack: &Pack) -> Verdict {
        let mut after = Vec::new();
        let mut blocked = None;
        for dependency in &pack.after {
            match self.judge_one(pack, dependency, &mut after) {
                Verdict::Go(_) => {}
                Verdict::Blocked { on, place } => blocked = Some((on, place)),
                bad => return bad,
            }
        }
        if let Some((on, place)) = blocked {
            return Verdict::Blocked { on, place };
        }
        if after.len() + pack.template.after.len() > limits::AFTER {
            let message = format!(
                "the task is to run after {} batches, at most {} are possible",
                after.len(),
                limits::AFTER
            );
            return Verdict::Wrong(Refusal::new(Code::TooLarge, message));
        }
        Verdict::Go(after)
    }

    fn judge_one(&self, pack: &Pack, dependency: &Dependency, after: &mut Vec<After>) -> Verdict {
        let Some(target) = self.get(dependency.on) else {
            let message = "the task is to run after one that this session does not know (any more)";
            return Verdict::Wrong(Refusal::new(Code::UnknownDependency, message));
        };
        let (lo, hi) = dependency.offsets.unwrap_or((0, target.pack.count));
        if lo >= hi || hi > target.pack.count {
            let message = format!(
                "the task is to run after tasks {lo} to {hi} of {}",
                target.pack.count
            );
            return Verdict::Wrong(Refusal::new(Code::UnknownDependency, message));
        }
        if dependency.each {
            return each(pack, dependency, target, after);
        }
        let bad = target.bad.any(lo, hi);
        if bad && dependency.when == When::Ok {
            return missed(dependency, target);
        }
        if target.ended.all(lo, hi) {
            return if dependency.when == When::Failed && !bad {
                missed(dependency, target)
            } else {
                Verdict::Go(Vec::new())
            };
        }
        if target.unsent_within(lo, hi).next().is_some() {
            return Verdict::Blocked {
                on: dependency.on,
                place: hi,
            };
        }
        if dependency.when == When::Failed && target.parts_within(lo, hi).nth(1).is_some() {
            // "One of these failed" cannot be said of several submissions.
            return Verdict::Blocked {
                on: dependency.on,
                place: u32::MAX,
            };
        }
        for part in target.parts_within(lo, hi) {
            let (from, to) = (lo.max(part.lo), hi.min(part.hi));
            if target.ended.all(from, to) {
                continue;
            }
            let whole = matches!(target.pack.shape, Shape::Array { .. }) && (from, to) == (part.lo, part.hi);
            let offsets = (part.at + (from - part.lo), part.at + (to - part.lo));
            after.push(After {
                request: Some(part.request),
                offsets: (!whole).then_some(offsets),
                when: dependency.when,
                ..After::default()
            });
        }
        Verdict::Go(Vec::new())
    }
}

/// Offset by offset between two arrays. Arrays are sent whole, so their offsets are the agent's.
fn each(pack: &Pack, dependency: &Dependency, target: &Entry, after: &mut Vec<After>) -> Verdict {
    let count = target.pack.count;
    let arrays = [pack.shape, target.pack.shape]
        .iter()
        .all(|shape| matches!(shape, Shape::Array { .. }));
    if !arrays || count != pack.count || dependency.offsets.is_some() {
        let message = format!(
            "task by task takes two whole arrays with equally many tasks, not {count} and {}",
            pack.count
        );
        return Verdict::Wrong(Refusal::new(Code::InvalidValue, message));
    }
    if target.is_finished() {
        let (some, all) = (target.bad.any(0, count), target.bad.all(0, count));
        match dependency.when {
            When::Any => return Verdict::Go(Vec::new()),
            When::Ok if !some => return Verdict::Go(Vec::new()),
            When::Failed if all => return Verdict::Go(Vec::new()),
            When::Ok if all => return missed(dependency, target),
            When::Failed if !some => return missed(dependency, target),
            When::Ok | When::Failed => {}
        }
    }
    let Some(part) = target.parts.first() else {
        return Verdict::Blocked {
            on: dependency.on,
            place: count,
        };
    };
    after.push(After {
        request: Some(part.request),
        when: dependency.when,
        each: true,
        ..After::default()
    });
    Verdict::Go(Vec::new())
}

fn missed(dependency: &Dependency, target: &Entry) -> Verdict {
    let what = target.parts.iter().find_map(|part| part.submission);
    let what = what.map_or_else(|| "a task".to_owned(), |number| format!("submission {number}"));
    let asked = match dependency.when {
        When::Ok => "end well",
        When::Any => "end",
        When::Failed => "fail",
    };
    let message = format!("{what} did not {asked}, which this task was to run after");
    Verdict::Missed(TaskError::new(Code::DependencyFailed, message))
}
