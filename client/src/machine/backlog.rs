//! What waits to be sent: in which order, and what goes together.

use std::collections::VecDeque;
use std::sync::Arc;

use scalems_protocol::client::Durable;
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::group::Data;
use scalems_protocol::task::{After, Template};
use scalems_protocol::{Ending, limits};

use super::Machine;
use super::depend::Verdict;
use super::gather::{Batch, assemble, fitting, size};
use super::interface::{Done, Group, Micros, Output, Pack, PackKey, Shape, TaskFault};
use super::packs::{Lane, Packs, Part};
use super::requests::{Request, Submission};
use super::window::Segment;

/// How many packs that do not fit a batch are passed over in search of more that do.
const LOOK_AHEAD: usize = 64;

/// Packs with unsent tasks, in order. A pack that has none any more is passed over when its turn comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues {
    normal: VecDeque<PackKey>,
    urgent: VecDeque<PackKey>,
}

impl Queues {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<PackKey> {
        if lane == Lane::Urgent {
            &mut self.urgent
        } else {
            &mut self.normal
        }
    }

    /// The first pack of a queue that still has something to send in it.
    fn first(&mut self, lane: Lane, packs: &Packs) -> Option<PackKey> {
        let queue = self.of(lane);
        while let Some(key) = queue.front() {
            if packs.get(*key).is_some_and(|entry| entry.lane == lane) {
                return Some(*key);
            }
            queue.pop_front();
        }
        None
    }

    pub(super) fn clear(&mut self) {
        self.normal.clear();
        self.urgent.clear();
    }
}

impl Machine {
    pub(super) fn submit(&mut self, pack: Pack, out: &mut Vec<Output>) {
        if pack.count == 0 {
            return;
        }
        let (waiting_bytes, limit_bytes) = (self.packs.backlog_bytes, self.config.backlog_bytes);
        let fault = if let Some(end) = &self.over {
            TaskFault::SessionEnded(end.clone())
        } else if waiting_bytes > 0 && waiting_bytes + Packs::cost(&pack) > limit_bytes {
            TaskFault::BacklogFull {
                waiting_bytes,
                limit_bytes,
            }
        } else if let Err(refusal) = check(&pack) {
            TaskFault::Refused(refusal)
        } else {
            let key = pack.key;
            self.packs.insert(pack);
            self.place(key, false, out);
            return;
        };
        out.push(Output::Resolve {
            pack: pack.key,
            lo: 0,
            hi: pack.count,
            done: Done::Failed(Arc::new(fault)),
        });
    }

    /// Puts a pack with unsent tasks where it belongs.
    pub(super) fn place(&mut self, key: PackKey, in_front: bool, out: &mut Vec<Output>) {
        let Some(entry) = self.packs.get(key) else { return };
        if entry.first_unsent().is_none() {
            return;
        }
        let lane = if entry.pack.after.is_empty() {
            Lane::Normal
        } else {
            match self.packs.judge(&entry.pack) {
                Verdict::Go(_) => Lane::Urgent,
                other => return self.not_now(key, other, out),
            }
        };
        let entry = self.packs.get_mut(key).expect("it was there above");
        if entry.lane == lane {
            return;
        }
        entry.lane = lane;
        if in_front {
            self.queues.of(lane).push_front(key);
        } else {
            self.queues.of(lane).push_back(key);
        }
    }

    /// A pack cannot be sent as things stand.
    fn not_now(&mut self, key: PackKey, verdict: Verdict, out: &mut Vec<Output>) {
        match verdict {
            Verdict::Go(_) => unreachable!("the caller sends what can be sent"),
            Verdict::Blocked { on, place } => self.packs.wait(key, on, place),
            Verdict::Missed(error) => {
                self.end_unsent(key, 0, u32::MAX, &canceled(error), out);
            }
            Verdict::Wrong(refusal) => {
                self.end_unsent(
                    key,
                    0,
                    u32::MAX,
                    &Done::Failed(Arc::new(TaskFault::Refused(refusal))),
                    out,
                );
            }
        }
    }

    /// Ends the unsent tasks of a pack within `lo..hi` here. Returns how many it were.
    pub(super) fn end_unsent(
        &mut self,
        key: PackKey,
        lo: u32,
        hi: u32,
        done: &Done,
        out: &mut Vec<Output>,
    ) -> u32 {
        let Some(entry) = self.packs.get(key) else {
            return 0;
        };
        let ranges: Vec<(u32, u32)> = entry.unsent_within(lo, hi).collect();
        ranges
            .into_iter()
            .map(|(lo, hi)| self.end_tasks(key, lo, hi, done, out))
            .sum()
    }

    /// Looks again at packs that waited for what has happened. One end leads to others, so this is a loop.
    pub(super) fn settle(&mut self, out: &mut Vec<Output>) {
        while let Some(key) = self.packs.stirred.pop() {
            self.place(key, false, out);
        }
    }

    /// Sends what the window has room for.
    pub(super) fn send_packs(&mut self, now: Micros, out: &mut Vec<Output>) {
        while self.requests.has_room() {
            let urgent = self.queues.first(Lane::Urgent, &self.packs);
            let lane = if urgent.is_some() {
                Lane::Urgent
            } else {
                Lane::Normal
            };
            let Some(key) = urgent.or_else(|| self.queues.first(Lane::Normal, &self.packs)) else {
                break;
            };
            let entry = self.packs.get(key).expect("what is queued is known");
            let after = match self.packs.judge(&entry.pack) {
                Verdict::Go(after) => after,
                other => {
                    self.not_now(key, other, out);
                    self.settle(out);
                    continue;
                }
            };
            let sent = match entry.pack.shape {
                Shape::Array { first, step } => self.send_array(now, key, (first, step), after),
                Shape::Batch => self.window.held_until(now).is_none() && self.send_batch(lane, key, after),
            };
            if !sent {
                break;
            }
            self.settle(out);
        }
    }

    /// Sends an array, if it may be sent now.
    fn send_array(
        &mut self,
        now: Micros,
        key: PackKey,
        (first, step): (u32, u32),
        after: Vec<After>,
    ) -> bool {
        let entry = self.packs.get(key).expect("what is queued is known");
        let (count, data) = (entry.pack.count, entry.pack.data.clone());
        // An array of one looks like a single task, so the agent counts it.
        let windowed = count == 1;
        let (tasks, bytes) = self.window.room();
        if windowed
            && (tasks == 0 || bytes < data.bytes.len() as u64 || self.window.held_until(now).is_some())
        {
            return false;
        }
        let template = with_after(&entry.pack.template, after);
        let segments = vec![Segment {
            pack: key,
            lo: 0,
            count,
            at: 0,
        }];
        let bytes = data.bytes.len() as u64;
        let submission = Submission {
            template,
            count,
            first,
            step,
            data,
            held: None,
            open: false,
            total: None,
        };
        self.send_submission(submission, segments, bytes, windowed);
        true
    }

    /// Sends the first batch of a queue, if there is room for one that is worth it.
    fn send_batch(&mut self, lane: Lane, first: PackKey, after: Vec<After>) -> bool {
        let Some(batch) = self.gather(lane, first) else {
            return false;
        };
        let data = assemble(&self.packs, &batch);
        let template = with_after(
            &self.packs.get(first).expect("it was gathered").pack.template,
            after,
        );
        let count = batch.count;
        let submission = Submission {
            template,
            count,
            first: 0,
            step: 1,
            data,
            held: None,
            open: false,
            total: None,
        };
        self.send_submission(submission, batch.segments, batch.bytes, true);
        true
    }

    fn send_submission(
        &mut self,
        submission: Submission,
        segments: Vec<Segment>,
        bytes: u64,
        windowed: bool,
    ) {
        let request = self.requests.next();
        for segment in &segments {
            let Segment { pack, lo, count, at } = *segment;
            let part = Part {
                lo,
                hi: lo + count,
                request,
                at,
                submission: None,
                accepted: false,
            };
            self.packs.sent(pack, part);
        }
        self.window
            .open(request, segments, submission.count, bytes, windowed);
        self.outbox.push(self.requests.push(Request::Submit(submission)));
    }

    /// Gathers individual tasks with the template and the dependencies of the first pack of a queue, as many
    /// as a message takes and the window has room for.
    fn gather(&mut self, lane: Lane, first: PackKey) -> Option<Batch> {
        let (room_tasks, room_bytes) = self.window.room();
        let most = self.window.batch_tasks();
        let entry = self.packs.get(first).expect("what is queued is known");
        let (template, after) = (Arc::clone(&entry.pack.template), entry.pack.after.clone());
        // A uid is one submission's, so nothing may join it.
        let alone = template.uid.is_some();
        let (lo, hi) = entry.first_unsent().expect("what is queued has unsent tasks");
        let wanted = u64::from(hi - lo).min(most);
        if room_tasks < wanted && room_tasks < self.window.worth_tasks() {
            return None;
        }
        let most = most.min(room_tasks) as u32;
        let mut left = room_bytes.min(self.window.batch_bytes());
        let mut batch = Batch {
            segments: Vec::new(),
            count: 0,
            bytes: 0,
        };
        let mut passed = Vec::new();
        let queue = self.queues.of(lane);
        while batch.count < most && passed.len() < LOOK_AHEAD {
            let Some(key) = queue.front().copied() else { break };
            let entry = self.packs.get(key).filter(|entry| entry.lane == lane);
            let Some(entry) = entry else {
                queue.pop_front();
                continue;
            };
            let joins = key == first || joins(&entry.pack, &template, &after);
            let range = entry.first_unsent().filter(|_| joins);
            let Some((lo, hi)) = range else {
                passed.push(key);
                queue.pop_front();
                continue;
            };
            let hi = hi.min(lo + (most - batch.count));
            let (count, bytes) = fitting(&entry.pack.data, lo, hi, left);
            let (count, bytes) = if count == 0 && batch.count == 0 {
                // One that is larger than a batch goes alone, if the window has room for it.
                let one = size(&entry.pack.data, lo, lo + 1);
                if one > room_bytes {
                    break;
                }
                (1, one)
            } else {
                (count, bytes)
            };
            if count == 0 {
                break;
            }
            batch.segments.push(Segment {
                pack: key,
                lo,
                count,
                at: batch.count,
            });
            batch.count += count;
            batch.bytes += bytes;
            left = left.saturating_sub(bytes);
            if entry.first_unsent() != Some((lo, lo + count))
                || entry.unsent_within(lo + count, u32::MAX).next().is_some()
            {
                // Some of it stays. It is first in the queue, where the rest goes on.
                break;
            }
            queue.pop_front();
            if alone {
                break;
            }
        }
        for key in passed.into_iter().rev() {
            queue.push_front(key);
        }
        (batch.count > 0).then_some(batch)
    }
}

/// Checks what the agent cannot say well, or what would be a long way to a refusal.
fn check(pack: &Pack) -> Result<(), Refusal> {
    pack.template.check()?;
    pack.data.check(pack.count as usize)?;
    let batch = pack.shape == Shape::Batch;
    if batch && pack.data.ends.is_empty() && pack.count > 1 && !pack.data.bytes.is_empty() {
        return Err(Refusal::new(
            Code::InvalidValue,
            "individual tasks have an entry of data each",
        ));
    }
    if batch && pack.template.uid.is_some() && pack.count > 1 {
        return Err(Refusal::new(Code::InvalidValue, "a uid names one task"));
    }
    let largest = if pack.data.ends.is_empty() {
        pack.data.bytes.len()
    } else {
        (0..pack.count)
            .map(|at| size(&pack.data, at, at + 1))
            .max()
            .unwrap_or(0) as usize
    };
    if largest > limits::BLOB_BYTES {
        let message = format!(
            "a task's data may have {} bytes, not {largest}",
            limits::BLOB_BYTES
        );
        return Err(Refusal::new(Code::TooLarge, message));
    }
    Ok(())
}

/// Whether the tasks of `pack` can be in one submission with others.
fn joins(pack: &Pack, template: &Arc<Template>, after: &[super::interface::Dependency]) -> bool {
    pack.shape == Shape::Batch
        && template.uid.is_none()
        && (Arc::ptr_eq(&pack.template, template) || pack.template == *template)
        && pack.after == after
}

fn with_after(template: &Arc<Template>, after: Vec<After>) -> Arc<Template> {
    if after.is_empty() {
        return Arc::clone(template);
    }
    let mut template = Template::clone(template);
    template.after.extend(after);
    Arc::new(template)
}

/// The end of tasks that are canceled without the agent.
pub(super) fn canceled(error: TaskError) -> Done {
    let group = Group {
        run: None,
        ending: Ending::Canceled,
        data: Data::default(),
        exit_code: None,
        ran_us: 0,
        error: Some(error),
        durable: Durable::None,
    };
    Done::Ended {
        group: Arc::new(group),
        at: 0,
    }
}
