//! Open submissions: tasks are added to them until they are closed.

use bytes::Bytes;
use scalems_protocol::client::{Append, Appended, Close, Closed, Refused};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::Data;
use scalems_protocol::id::Origin;
use scalems_protocol::limits;

use super::Agent;
use super::submit::unequal;
use crate::interface::{Action, Peer};
use crate::record::{self, Record};

impl Agent {
    pub(super) fn append(
        &mut self,
        peer: Peer,
        seat: u64,
        append: Append,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        let request = append.request;
        match self.add(seat, append, blobs, out) {
            Ok(appended) => self.answer(peer, seat, request, appended.into()),
            Err(refusal) => {
                self.count("refused", 1);
                let refused = Refused {
                    request: Some(request),
                    id: None,
                    refusal,
                };
                if self.disk_full {
                    // It changed nothing, so it waits for nothing.
                    self.answer_now(peer, seat, request, refused.into(), out);
                } else {
                    self.answer(peer, seat, request, refused.into());
                }
            }
        }
    }

    fn add(
        &mut self,
        seat: u64,
        append: Append,
        mut blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) -> Result<Appended, Refusal> {
        self.check_takes()?;
        let number = append.submission;
        let submission = self.tasks.get(number).ok_or_else(|| {
            let message = format!("submission {number} is not known here (any more)");
            Refusal::new(Code::NothingSelected, message)
        })?;
        if !submission.open {
            let message = format!("submission {number} is closed: it takes no more tasks");
            return Err(Refusal::new(Code::NotOpen, message));
        }
        let (first, count) = (submission.count(), append.count);
        let data = Data {
            bytes: blobs.pop().unwrap_or_default(),
            ends: append.ends,
        };
        if count == 0 || data.ends.len() != count as usize || !blobs.is_empty() {
            let message =
                "tasks are added with one entry of data each, in one frame, and at least one of them";
            return Err(Refusal::new(Code::InvalidValue, message));
        }
        data.check(count as usize)?;
        if count > limits::SUBMISSION_TASKS - first.min(limits::SUBMISSION_TASKS) {
            let message = format!(
                "a submission has at most {} tasks, and {number} has {first}: close it and open another one",
                limits::SUBMISSION_TASKS
            );
            return Err(Refusal::new(Code::TooLarge, message));
        }
        let each = submission.blockers.iter().filter(|blocker| blocker.each);
        let shorter = each
            .filter_map(|blocker| self.tasks.get(blocker.submission))
            .find(|target| target.count() < first + count);
        if let Some(target) = shorter {
            return Err(unequal(target, first + count));
        }
        let last = submission.indices.checked_at(first + count - 1);
        if last.is_none_or(|last| last == u32::MAX) {
            return Err(Refusal::new(Code::InvalidValue, "indices fit 32 bits"));
        }
        self.check_room(seat, false, count, data.bytes.len())?;

        // Everything is checked: from here on nothing fails.
        let record = Record::Appended(record::Appended {
            submission: number,
            origin: Origin {
                session: seat,
                request: append.request,
            },
            first,
            count,
            data,
        });
        self.commit(record, out);
        self.added.push_back((self.records, number, first, first + count));
        self.events.submission_changed(number);
        Ok(Appended {
            request: append.request,
            submission: number,
            first,
            count,
            record: 0,
        })
    }

    /// Lets go what was added and is on disk.
    pub(super) fn begin_added(&mut self, out: &mut Vec<Action>) {
        let durable = self.durable;
        while let Some((_, number, lo, hi)) = self.added.pop_front_if(|(record, ..)| *record <= durable) {
            if let Some(submission) = self.tasks.get_mut(number) {
                submission.recorded = hi;
                self.unblock(number, lo, hi, out);
            }
        }
    }

    pub(super) fn close(&mut self, peer: Peer, seat: u64, close: &Close, out: &mut Vec<Action>) {
        let selected = match self.selected(seat, &close.select) {
            Ok(selected) => selected,
            Err(refusal) => {
                let refused = Refused {
                    request: Some(close.request),
                    id: None,
                    refusal,
                };
                return self.answer(peer, seat, close.request, refused.into());
            }
        };
        let mut numbers: Vec<u64> = selected.iter().map(|(number, _, _)| *number).collect();
        numbers.dedup();
        let all = numbers.len() as u64;
        let closed = numbers
            .into_iter()
            .filter(|number| self.close_submission(*number, out))
            .count() as u64;
        let done = Closed {
            request: close.request,
            closed,
            before: all - closed,
            record: 0,
        };
        self.answer(peer, seat, close.request, done.into());
    }

    /// No more tasks come to a submission. Whether it was open.
    pub(super) fn close_submission(&mut self, number: u64, out: &mut Vec<Action>) -> bool {
        let Some(submission) = self.tasks.get(number).filter(|submission| submission.open) else {
            return false;
        };
        let (count, waited_for) = (submission.count(), !submission.dependents.is_empty());
        let record = Record::Closed {
            submission: number,
            at: self.now,
        };
        self.commit(record, out);
        self.events.submission_changed(number);
        if waited_for {
            self.settling.push_back((number, 0, count));
        }
        self.note_over(number);
        true
    }
}
