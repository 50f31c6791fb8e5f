//! Answers to submissions, and results: in either order, each taken in once.

use std::sync::Arc;

use bytes::Bytes;
use scalems_protocol::client::{Accepted, Durable, Results};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::{Data, Place, ResultGroup};
use scalems_protocol::{Ending, Origin};

use super::interface::{Answered, CallFault, Done, Group, Micros, Output, PackKey, SessionEnd, TaskFault};
use super::requests::{Request, Submission};
use super::{Machine, reply};

impl Done {
    /// The same end for tasks that begin `by` places further on.
    fn skip(&self, by: u32) -> Self {
        match self {
            Self::Ended { group, at } => Self::Ended {
                group: Arc::clone(group),
                at: at + by,
            },
            Self::Failed(fault) => Self::Failed(Arc::clone(fault)),
        }
    }
}

impl Machine {
    /// Tasks have ended: those of them that had not before are resolved. Returns how many it were.
    pub(super) fn end_tasks(
        &mut self,
        pack: PackKey,
        lo: u32,
        hi: u32,
        done: &Done,
        out: &mut Vec<Output>,
    ) -> u32 {
        // A cancel of some of them may have waited for that.
        self.jobs_stirred = true;
        let good = matches!(done, Done::Ended { group, .. } if group.ending == Ending::Done);
        self.packs.end(pack, lo, hi, good, |from, to| {
            out.push(Output::Resolve {
                pack,
                lo: from,
                hi: to,
                done: done.skip(from - lo),
            });
        })
    }

    pub(super) fn accepted(&mut self, accepted: Accepted, out: &mut Vec<Output>) {
        let Accepted {
            request,
            submission,
            count,
            note,
            record: _,
        } = accepted;
        let held = match self.requests.get(request) {
            Some(Request::Submit(Submission { held, .. })) => *held,
            Some(Request::Retry { call, .. }) => Some(*call),
            _ => {
                self.counters.strays += 1;
                return;
            }
        };
        self.requests.answer(request);
        if let Some(call) = held {
            return reply(
                call,
                Ok(Answered::Accepted {
                    submission,
                    count,
                    note,
                }),
                out,
            );
        }
        self.jobs_stirred = true;
        self.window.relax();
        self.name(request, submission, out);
        // Without segments all of its tasks ended before, and whoever wanted to know them has their results.
        let Some(live) = self.window.get_mut(request) else {
            return;
        };
        let segments: Vec<_> = live.segments.clone();
        let mut told = None;
        for segment in segments {
            self.packs.accepted(segment.pack, segment.lo, submission);
            if let Some(note) = &note
                && told != Some(segment.pack)
            {
                told = Some(segment.pack);
                out.push(Output::Noted {
                    pack: segment.pack,
                    note: note.clone(),
                });
            }
        }
    }

    /// Says what a submission's tasks are called, once.
    fn name(&mut self, request: u64, submission: u64, out: &mut Vec<Output>) {
        let Some(live) = self.window.get_mut(request).filter(|live| !live.named) else {
            return;
        };
        live.named = true;
        for segment in &live.segments {
            let Some(entry) = self.packs.get_mut(segment.pack) else {
                continue;
            };
            let Ok(place) = entry.parts.binary_search_by_key(&segment.lo, |part| part.lo) else {
                continue;
            };
            entry.parts[place].submission = Some(submission);
            let part = entry.parts[place];
            let (index, step) = entry.index(&part, part.lo);
            out.push(Output::Named {
                pack: segment.pack,
                lo: part.lo,
                hi: part.hi,
                submission,
                index,
                step,
            });
        }
    }

    pub(super) fn request_refused(
        &mut self,
        now: Micros,
        request: u64,
        refusal: Refusal,
        out: &mut Vec<Output>,
    ) {
        if self.requests.get(request).is_none() {
            self.counters.strays += 1;
            return;
        }
        if matches!(refusal.code, Code::RequestNumber | Code::TooManyOpen) {
            // The number was not used up, so nothing that comes after it can be sent.
            return self.end(SessionEnd::Detached(refusal), out);
        }
        match self.requests.answer(request) {
            Some(
                Request::Submit(Submission { held: Some(call), .. })
                | Request::Append { call, .. }
                | Request::Close { call, .. }
                | Request::Workers { call, .. }
                | Request::Retry { call, .. }
                | Request::Forget { call, .. },
            ) => {
                reply(call, Err(CallFault::Refused(refusal)), out);
            }
            Some(Request::Cancel { call, chosen, .. }) => self.cancel_refused(call, chosen, refusal, out),
            Some(Request::Submit(_)) => self.submission_refused(now, request, refusal, out),
            None => {}
        }
    }

    fn submission_refused(&mut self, now: Micros, request: u64, refusal: Refusal, out: &mut Vec<Output>) {
        self.jobs_stirred = true;
        let full = refusal.code == Code::WindowFull;
        let Some(live) = self.window.close(request) else {
            return;
        };
        if full {
            self.counters.window_full += 1;
            self.window.hold(now);
            // The last first, so that the first is in front in the end.
            for segment in live.segments.iter().rev() {
                self.packs
                    .unsend(segment.pack, segment.lo, segment.lo + segment.count);
                self.place(segment.pack, true, out);
            }
            return;
        }
        let done = Done::Failed(Arc::new(TaskFault::Refused(refusal)));
        for segment in &live.segments {
            self.end_tasks(segment.pack, segment.lo, segment.lo + segment.count, &done, out);
        }
    }

    pub(super) fn results(&mut self, now: Micros, results: Results, blobs: &[Bytes], out: &mut Vec<Output>) {
        let Some(session) = self.link.session() else {
            self.counters.strays += 1;
            return;
        };
        for accepted in results.accepted {
            self.accepted(accepted, out);
        }
        if results.delivery <= self.taken {
            self.counters.repeated_deliveries += 1;
            return;
        }
        if results.delivery > self.taken + 1 {
            // One is missing: hello names the last one, and those after it are sent again.
            self.counters.strays += 1;
            return self.greet(now);
        }
        self.taken = results.delivery;
        let bytes = blobs.iter().map(|blob| blob.len() as u64).sum::<u64>();
        self.owed.get_or_insert((0, now)).0 += bytes;
        self.jobs_stirred = true;
        if results.durable == Durable::Yes {
            self.provisional.last(results.delivery);
        }
        for group in results.groups {
            self.group(session, group, results.durable, blobs, out);
        }
    }

    /// Results of what an earlier process submitted. Another life of the agent may not know that they were taken in.
    fn unclaimed(&mut self, origin: Origin, group: &Arc<Group>, out: &mut Vec<Output>) {
        let Some(run) = group.run else { return };
        let given = self.unclaimed.entry(origin.request).or_default();
        let mut lo = run.lo;
        while lo < run.hi {
            let hi = given.run_end(lo, run.hi);
            if given.has(lo) {
                self.counters.repeated_results += u64::from(hi - lo);
            } else {
                given.insert(lo, hi);
                let group = if (lo, hi) == (run.lo, run.hi) {
                    Arc::clone(group)
                } else {
                    Arc::new(group.part(lo, hi))
                };
                out.push(Output::Unclaimed { origin, group });
            }
            lo = hi;
        }
    }

    fn group(
        &mut self,
        session: u64,
        group: ResultGroup,
        durable: Durable,
        blobs: &[Bytes],
        out: &mut Vec<Output>,
    ) {
        let bare = ResultGroup {
            place: Place::default(),
            ..group.clone()
        };
        let ResultGroup {
            run,
            origin,
            ending,
            place,
            exit_code,
            ran_us,
            error,
            ..
        } = group;
        let Origin {
            session: from,
            request,
        } = origin;
        let count = run.count();
        let ours = from == session && request >= self.requests.base();
        let live = self.window.get_mut(request).filter(|_| ours);
        if run.check().is_err() || live.as_ref().is_some_and(|live| run.hi > live.count) {
            self.counters.strays += 1;
            let message = format!(
                "results of submission {} are of tasks that it does not have",
                run.submission
            );
            return out.push(Output::Complaint(Refusal::new(Code::Malformed, message)));
        }
        if ours && live.is_none() {
            self.counters.repeated_results += u64::from(count);
            return;
        }
        let data = place.take(count, blobs);
        let unreadable = data.as_ref().err().cloned();
        if durable == Durable::Pending
            && let Ok(data) = &data
        {
            self.provisional.keep(self.taken, bare, data.clone());
        }
        let data: Data = data.unwrap_or_default();
        let group = Arc::new(Group {
            run: Some(run),
            ending,
            data,
            exit_code,
            ran_us,
            error,
            durable,
        });
        if !ours {
            return match unreadable {
                None => self.unclaimed(origin, &group, out),
                Some(error) => out.push(Output::Complaint(error.into())),
            };
        }
        let done = match unreadable {
            None => Done::Ended { group, at: 0 },
            Some(error) => Done::Failed(Arc::new(TaskFault::Unreadable(error))),
        };
        self.name(request, run.submission, out);
        let first =
            |live: &super::window::Live| live.segments.partition_point(|one| one.at + one.count <= run.lo);
        let mut next = self.window.get_mut(request).map_or(0, |live| first(live));
        let mut ended = 0;
        while let Some(segment) = self
            .window
            .get_mut(request)
            .and_then(|live| live.segments.get(next).copied())
        {
            let (from, to) = (run.lo.max(segment.at), run.hi.min(segment.at + segment.count));
            if from >= to {
                break;
            }
            let (lo, hi) = (segment.lo + (from - segment.at), segment.lo + (to - segment.at));
            ended += self.end_tasks(segment.pack, lo, hi, &done.skip(from - run.lo), out);
            next += 1;
        }
        self.counters.repeated_results += u64::from(count - ended);
        self.window.ended(request, ended);
    }
}
