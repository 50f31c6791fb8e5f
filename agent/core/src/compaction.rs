//! Fewer records that leave the same state: what an agent that is started again needs, and what people ask of a
//! journal, without all that is over.
//!
//! Records are read twice. A [`Survey`] takes all of them in and knows what is over then; the [`Compaction`] it
//! becomes takes them again, and gives those that stay. Dropped are submissions that were forgotten, data of tasks
//! that have ended, values that were collected, and who has left without a trace.

use std::collections::BTreeMap;

use scalems_protocol::group::{Data, Run};
use scalems_protocol::state::Ending;

use crate::record::{Record, Submitted};
use crate::session::RESTORED_ANSWERS;

/// Runs in one record of what was collected.
const RUNS: usize = 4_096;

/// The first reading.
#[derive(Debug, Default)]
pub struct Survey {
    submissions: BTreeMap<u64, Known>,
    seats: BTreeMap<u64, Seat>,
    sessions: BTreeMap<u64, Session>,
    workers: BTreeMap<u32, Worker>,
    numbers: u64,
    /// The highest number that a session, a seat or a holder has.
    top: u64,
}

#[derive(Debug)]
struct Known {
    seat: u64,
    count: u32,
    ended: u32,
    /// Which have ended, of a submission that was open in the beginning.
    over: Option<Spans>,
    /// Which have ended, and not well: they may be submitted again, if their results are held.
    bad: Option<Spans>,
    forgotten: bool,
    collected: Spans,
}

impl Known {
    /// Whether nobody needs the data of the tasks `lo..hi`, which came together.
    fn is_done_with(&self, lo: u32, hi: u32) -> bool {
        let over = match &self.over {
            Some(over) => over.has(lo, hi),
            None => self.ended >= self.count,
        };
        let bad = self.bad.as_ref().is_some_and(|bad| bad.touches(lo, hi));
        self.forgotten || (over && !bad)
    }
}

#[derive(Debug)]
struct Seat {
    session: u64,
    /// The last record of it, whoever sits there.
    last: Record,
    top: u64,
    gone: bool,
    /// The submissions of its last requests: an answer to one that is repeated is found by them.
    recent: BTreeMap<u64, u64>,
    /// Submissions of it that are known.
    known: u64,
    told: bool,
}

#[derive(Debug)]
struct Session {
    gone: bool,
    seats: Vec<u64>,
    named: bool,
    /// Its last submission, and the seat that brought it: people mean that by its name.
    last: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Worker {
    last: Record,
    gone: bool,
    told: bool,
}

/// The second reading, of what a [`Survey`] has read.
#[derive(Debug)]
pub struct Compaction(Survey);

impl Survey {
    /// Submissions that are known and have not ended, and how many of their tasks.
    pub fn unfinished(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let known = self.submissions.iter().filter(|(_, known)| !known.forgotten);
        known
            .map(|(submission, known)| (*submission, known.count.saturating_sub(known.ended)))
            .filter(|(_, tasks)| *tasks > 0)
    }

    /// Submissions that have not ended and have the data of all of their tasks.
    pub fn whole(&self) -> impl Iterator<Item = u64> + '_ {
        self.unfinished()
            .map(|(submission, _)| submission)
            .filter(|submission| self.submissions[submission].over.is_none())
    }

    /// Takes the next record in.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Numbers { submissions } => self.numbers = *submissions,
            Record::Session { session, name, .. } => {
                self.top = self.top.max(*session);
                let known = Session {
                    gone: false,
                    seats: Vec::new(),
                    named: !name.is_empty(),
                    last: None,
                };
                self.sessions.insert(*session, known);
            }
            Record::Seat {
                seat,
                session,
                holder,
                ..
            } => {
                let top = *seat.max(holder);
                self.top = self.top.max(top);
                if let Some(known) = self.seats.get_mut(seat) {
                    known.last = record.clone();
                    known.top = known.top.max(top);
                    return;
                }
                let known = Seat {
                    session: *session,
                    last: record.clone(),
                    top,
                    gone: false,
                    recent: BTreeMap::new(),
                    known: 0,
                    told: false,
                };
                self.seats.insert(*seat, known);
                if let Some(session) = self.sessions.get_mut(session) {
                    session.seats.push(*seat);
                }
            }
            Record::SeatGone { seat } => {
                if let Some(seat) = self.seats.get_mut(seat) {
                    seat.gone = true;
                }
            }
            Record::SessionGone { session } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.gone = true;
                }
            }
            Record::Worker { worker, .. } => {
                let known = Worker {
                    last: record.clone(),
                    gone: false,
                    told: false,
                };
                self.workers.insert(*worker, known);
            }
            Record::WorkerGone { worker } => {
                if let Some(worker) = self.workers.get_mut(worker) {
                    worker.gone = true;
                }
            }
            Record::Submitted(submitted) => self.submitted(submitted),
            Record::Appended(appended) => {
                if let Some(known) = self.submissions.get_mut(&appended.submission) {
                    known.count += appended.count;
                }
            }
            Record::Ended(ended) => {
                if let Some(known) = self.submissions.get_mut(&ended.run.submission) {
                    known.ended += ended.run.count();
                    if let Some(over) = &mut known.over {
                        over.add(ended.run.lo, ended.run.hi);
                    }
                    if let Some(bad) = known.bad.as_mut().filter(|_| ended.ending != Ending::Done) {
                        bad.add(ended.run.lo, ended.run.hi);
                    }
                }
            }
            Record::Collected { runs } => {
                for run in runs {
                    if let Some(known) = self.submissions.get_mut(&run.submission) {
                        known.collected.add(run.lo, run.hi);
                    }
                }
            }
            Record::Forgotten { submission } => {
                if let Some(known) = self.submissions.get_mut(submission) {
                    known.forgotten = true;
                    known.over = None;
                    known.bad = None;
                    known.collected = Spans::default();
                    if let Some(seat) = self.seats.get_mut(&known.seat) {
                        seat.known -= 1;
                    }
                }
            }
            Record::Closed { .. }
            | Record::Fault { .. }
            | Record::Wasted { .. }
            | Record::CancelAsked { .. } => {}
        }
    }

    fn submitted(&mut self, submitted: &Submitted) {
        let known = Known {
            seat: submitted.origin.session,
            count: submitted.count,
            ended: 0,
            over: submitted.open.then(Spans::default),
            bad: submitted.push.is_none().then(Spans::default),
            forgotten: false,
            collected: Spans::default(),
        };
        self.submissions.insert(submitted.submission, known);
        if let Some(seat) = self.seats.get_mut(&submitted.origin.session) {
            seat.known += 1;
            seat.recent.insert(submitted.origin.request, submitted.submission);
            // One more than are restored: so it is known that there were others before.
            if seat.recent.len() > RESTORED_ANSWERS + 1 {
                seat.recent.pop_first();
            }
            if let Some(session) = self.sessions.get_mut(&seat.session) {
                session.last = Some((submitted.submission, submitted.origin.session));
            }
        }
    }

    /// All records were taken in.
    pub fn finish(self) -> Compaction {
        Compaction(self)
    }

    /// Whether what somebody said or left is still of use.
    fn keeps_seat(&self, number: u64) -> bool {
        self.seats.get(&number).is_some_and(|seat| {
            let of_last = self.last_of(seat.session).is_some_and(|(_, seat)| seat == number);
            !seat.gone || seat.known > 0 || seat.top == self.top || of_last
        })
    }

    /// The last submission of a session that goes on, and its seat.
    fn last_of(&self, session: u64) -> Option<(u64, u64)> {
        let session = self.sessions.get(&session)?;
        session.last.filter(|_| session.named && !session.gone)
    }

    fn keeps_session(&self, number: u64, session: &Session) -> bool {
        let over = session.gone || (!session.named && !session.seats.is_empty());
        !over || number == self.top || session.seats.iter().any(|seat| self.keeps_seat(*seat))
    }
}

impl Compaction {
    /// Whether the record does without its data or values.
    pub fn strips(&self, record: &Record) -> bool {
        match record {
            Record::Submitted(submitted) => self
                .0
                .submissions
                .get(&submitted.submission)
                .is_some_and(|known| known.is_done_with(0, submitted.count)),
            Record::Appended(appended) => self
                .0
                .submissions
                .get(&appended.submission)
                .is_some_and(|known| known.is_done_with(appended.first, appended.first + appended.count)),
            Record::Ended(ended) => self
                .0
                .submissions
                .get(&ended.run.submission)
                .is_some_and(|known| known.forgotten || known.collected.has(ended.run.lo, ended.run.hi)),
            _ => false,
        }
    }

    /// Takes the next record in again, and adds to `out` what stays: nothing, or the record, and before it others that
    /// it needs.
    pub fn take(&mut self, mut record: Record, out: &mut Vec<Record>) {
        let strips = self.strips(&record);
        let all = &mut self.0;
        let stays = |submission: u64| {
            all.submissions
                .get(&submission)
                .is_some_and(|known| !known.forgotten)
        };
        match &mut record {
            Record::Submitted(submitted) => {
                if strips {
                    submitted.data = Data::default();
                }
                let number = submitted.submission;
                let request_is_known = || {
                    let seat = all.seats.get(&submitted.origin.session);
                    seat.is_some_and(|seat| {
                        (!seat.gone && seat.recent.get(&submitted.origin.request) == Some(&number))
                            || all.last_of(seat.session).is_some_and(|(last, _)| last == number)
                    })
                };
                let says_again = submitted
                    .again
                    .as_ref()
                    .is_some_and(|again| stays(again.submission));
                if stays(number) {
                    out.push(record);
                } else if says_again || request_is_known() {
                    out.extend([record, Record::Forgotten { submission: number }]);
                }
            }
            Record::Appended(appended) => {
                if strips {
                    appended.data = Data::default();
                }
                if stays(appended.submission) {
                    out.push(record);
                }
            }
            Record::Closed { submission, .. } | Record::Wasted { submission, .. } => {
                if stays(*submission) {
                    out.push(record);
                }
            }
            Record::Ended(ended) => {
                if !stays(ended.run.submission) {
                    return;
                }
                if strips {
                    ended.data = Data::default();
                }
                if let Some(worker) = all.workers.get_mut(&ended.worker)
                    && !worker.told
                {
                    worker.told = true;
                    out.push(worker.last.clone());
                }
                out.push(record);
            }
            Record::Fault { run, .. } => {
                if stays(run.submission) {
                    out.push(record);
                }
            }
            Record::CancelAsked { submission, .. } => {
                let known = all.submissions.get(submission);
                if known.is_some_and(|known| !known.forgotten && known.ended < known.count) {
                    out.push(record);
                }
            }
            Record::Session { session, .. } => {
                let known = all.sessions.get(session);
                if known.is_some_and(|known| all.keeps_session(*session, known)) {
                    out.push(record);
                }
            }
            Record::SessionGone { session } => {
                let known = all.sessions.get(session);
                if known.is_some_and(|known| all.keeps_session(*session, known)) {
                    out.push(record);
                }
            }
            Record::Seat { seat, .. } => {
                let kept = all.keeps_seat(*seat);
                if let Some(seat) = all.seats.get_mut(seat).filter(|seat| kept && !seat.told) {
                    seat.told = true;
                    out.push(seat.last.clone());
                }
            }
            Record::SeatGone { seat } => {
                if all.keeps_seat(*seat) {
                    out.push(record);
                }
            }
            // These are said at the end, once.
            Record::Numbers { .. }
            | Record::Worker { .. }
            | Record::WorkerGone { .. }
            | Record::Collected { .. }
            | Record::Forgotten { .. } => {}
        }
    }

    /// All records were taken again. Gives the last that stay.
    pub fn finish(self, mut each: impl FnMut(Record)) {
        let all = self.0;
        if all.numbers > 0 {
            each(Record::Numbers {
                submissions: all.numbers,
            });
        }
        for (number, worker) in all.workers {
            match (worker.told, worker.gone) {
                (false, false) => each(worker.last),
                (true, true) => each(Record::WorkerGone { worker: number }),
                _ => {}
            }
        }
        let mut runs = Vec::new();
        for (submission, known) in all.submissions {
            for (lo, hi) in known.collected.all() {
                runs.push(Run {
                    submission,
                    lo,
                    hi,
                    attempt: 0,
                });
                if runs.len() == RUNS {
                    each(Record::Collected {
                        runs: std::mem::take(&mut runs),
                    });
                }
            }
        }
        if !runs.is_empty() {
            each(Record::Collected { runs });
        }
    }
}

/// What stays of records that are all in memory.
pub fn compacted(records: &[Record]) -> Vec<Record> {
    let mut survey = Survey::default();
    for record in records {
        survey.take(record);
    }
    let mut compaction = survey.finish();
    let mut left = Vec::new();
    for record in records {
        compaction.take(record.clone(), &mut left);
    }
    compaction.finish(|record| left.push(record));
    left
}

/// Offsets, as spans that do not touch: the first offset, with one past the last.
#[derive(Debug, Default)]
struct Spans(BTreeMap<u32, u32>);

impl Spans {
    fn add(&mut self, mut lo: u32, mut hi: u32) {
        if lo >= hi {
            return;
        }
        while let Some((from, to)) = self.0.range(..=hi).next_back().map(|(from, to)| (*from, *to))
            && to >= lo
        {
            self.0.remove(&from);
            (lo, hi) = (lo.min(from), hi.max(to));
        }
        self.0.insert(lo, hi);
    }

    fn has(&self, lo: u32, hi: u32) -> bool {
        self.0.range(..=lo).next_back().is_some_and(|(_, to)| *to >= hi)
    }

    fn touches(&self, lo: u32, hi: u32) -> bool {
        let mut before = self.0.range(..hi);
        before.next_back().is_some_and(|(_, to)| *to > lo)
    }

    fn all(self) -> impl Iterator<Item = (u32, u32)> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests;
