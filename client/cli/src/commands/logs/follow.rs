//! `scalems logs --follow`: what programs write, as they write it.
//!
//! Each task that runs is read by a thread of its own, which waits at the agent for more, and the agent at the task's
//! worker. What was too short to be seen running is read from its result. Lines of several tasks are told apart by the
//! task in front of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use scalems_client::protocol::client::{OutputPage, Page};
use scalems_client::protocol::error::Code;
use scalems_client::protocol::program::{ProgramResult, Written};
use scalems_client::protocol::select::{Pick, Selector};
use scalems_client::protocol::{TaskId, TaskState, limits};
use scalems_client::{ClientError, Session};

use super::{Indices, Place, each};
use crate::args::Output;
use crate::exit::{Exit, Misuse};
use crate::print;

/// Tasks that are read at once while they run. What others write is shown when they have ended.
const AT_ONCE: usize = 64;
/// How long one reading waits for more.
const READING: Duration = Duration::from_secs(10);
/// How often it is looked which tasks run.
const LOOK: Duration = Duration::from_millis(100);
/// How long what has ended unseen waits to be shown, at least: it is looked for in all results.
const SWEEP: Duration = Duration::from_secs(1);
/// Before a reading is tried again that had nothing to wait for.
const AGAIN: Duration = Duration::from_millis(50);
/// A line that is longer is shown as several: programs that draw bars end none for hours.
const LINE_BYTES: usize = 1 << 16;
/// Stretches of tasks that a selector with a state comes to.
const PICKS: usize = limits::BATCH_TASKS;

/// News of a task that is read.
enum News {
    /// This attempt of it wrote this.
    Wrote(Place, u32, Written),
    /// It does not run any more, or cannot be read.
    Over(Place),
}

/// How it is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What one task writes, as it is.
    Raw,
    /// Lines with their tasks in front.
    Lines,
    /// An object for each line.
    Jsonl,
}

/// What is shown.
struct Shown {
    /// Of which attempt, and how much of its stream.
    upto: BTreeMap<Place, (u32, u64)>,
    /// All of them.
    done: BTreeSet<Place>,
    /// Lines that have no end yet, where several tasks are told apart.
    lines: BTreeMap<Place, Vec<u8>>,
    form: Form,
    indices: Indices,
    stderr: bool,
}

pub(super) fn run(
    session: &Session,
    select: &Selector,
    stderr: bool,
    output: Output,
) -> anyhow::Result<Exit> {
    let form = match output {
        Output::Json => anyhow::bail!(Misuse(
            "what is followed has no end to its array: use --output jsonl".into()
        )),
        Output::Jsonl => Form::Jsonl,
        _ if counts_one(session, select)? => Form::Raw,
        _ => Form::Lines,
    };
    // What is selected by a state is what is in it now: that it is not any more is how it ends.
    let select = &match select.state {
        Some(_) => now(session, select)?,
        None => select.clone(),
    };
    let (tell, news) = telling();
    let mut shown = Shown {
        upto: BTreeMap::new(),
        done: BTreeSet::new(),
        lines: BTreeMap::new(),
        form,
        indices: Indices::default(),
        stderr,
    };
    let mut reading: BTreeSet<Place> = BTreeSet::new();
    let (mut sweep_at, mut warned, mut begun) = (Instant::now(), false, false);
    loop {
        // First what is over: then nothing that ends meanwhile is missed. What was forgotten meanwhile is over too.
        let over = match all_ended(session, select) {
            Err(error) if begun && is_nothing(&error) => true,
            other => other?,
        };
        begun = true;
        let running = if over {
            Vec::new()
        } else {
            running(session, select)?
        };
        for place in running {
            if reading.contains(&place) || shown.done.contains(&place) {
                continue;
            }
            if reading.len() >= AT_ONCE {
                if !std::mem::replace(&mut warned, true) {
                    eprintln!(
                        "scalems: {AT_ONCE} tasks are followed at once; what others write is shown when they have ended"
                    );
                }
                break;
            }
            reading.insert(place);
            let (session, tell) = (session.clone(), tell.clone());
            let from = shown.upto.get(&place).copied().unwrap_or_default();
            thread::spawn(move || read(&session, place, from, stderr, &tell));
        }
        if Instant::now() >= sweep_at || over {
            let begun = Instant::now();
            shown.results(session, select, &reading)?;
            // It is a tenth of the time at most.
            sweep_at = Instant::now() + SWEEP.max(10 * begun.elapsed());
        }
        shown.take(session, &news, &mut reading, LOOK)?;
        if over && reading.is_empty() {
            shown.results(session, select, &reading)?;
            // What was lost with its worker has no result.
            let open: Vec<Place> = shown.lines.keys().copied().collect();
            for place in open {
                shown.rest(session, place)?;
            }
            return Ok(Exit::Well);
        }
    }
}

/// How readers tell. If it is not shown as fast as it is read they stand: then it is lost at the worker, where that is
/// counted, and does not pile up here.
fn telling() -> (SyncSender<News>, Receiver<News>) {
    sync_channel(AT_ONCE)
}

/// Reads what one task writes, from there on of that attempt and all of later ones, until it does not run any more.
fn read(
    session: &Session,
    (submission, offset): Place,
    from: (u32, u64),
    stderr: bool,
    tell: &SyncSender<News>,
) {
    let place = (submission, offset);
    let (mut attempt, mut at) = from;
    loop {
        // The other stream is not asked for: nothing lies behind that.
        let page = OutputPage {
            submission,
            offset,
            attempt,
            from: if stderr { (u64::MAX, at) } else { (at, u64::MAX) },
            timeout_ms: READING.as_millis() as u64,
        };
        let begun = Instant::now();
        let Ok(part) = session.ask_output(page) else { break };
        if attempt != 0 && part.attempt != attempt {
            // It was asked of one before: this one is read from its begin.
            (attempt, at) = (part.attempt, 0);
            continue;
        }
        attempt = part.attempt;
        let runs = part.runs;
        let wrote = if stderr { part.stderr } else { part.stdout };
        if wrote.bytes.is_empty() {
            if begun.elapsed() < AGAIN && runs {
                thread::sleep(AGAIN);
            }
        } else {
            at = wrote.from + wrote.bytes.len() as u64;
            if tell.send(News::Wrote(place, attempt, wrote)).is_err() {
                return;
            }
        }
        if !runs {
            break;
        }
    }
    // Nobody listens any more when the command ends.
    let _ended = tell.send(News::Over(place));
}

/// The tasks that are selected now, by their indices.
fn now(session: &Session, select: &Selector) -> anyhow::Result<Selector> {
    let mut picks: Vec<Pick> = Vec::new();
    let mut after = None;
    loop {
        let listing = session.ask_tasks(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        for row in &listing.rows {
            let (first, step) = row.indices;
            let index = |offset: u32| first + step * offset;
            join(
                &mut picks,
                row.run.submission,
                (index(row.run.lo), index(row.run.hi - 1), step.max(1)),
            );
        }
        anyhow::ensure!(
            picks.len() <= PICKS,
            Misuse(format!(
                "{select} selects tasks here and there, in more than {PICKS} places: name their submissions without a state"
            ))
        );
        after = listing.next;
        if after.is_none() {
            return Ok(Selector {
                picks,
                ..Selector::default()
            });
        }
    }
}

/// Adds tasks of a submission to those before them.
fn join(picks: &mut Vec<Pick>, submission: u64, indices: (u32, u32, u32)) {
    if let Some(last) = picks.last_mut()
        && last.first == submission
        && let Some((_, end, step)) = &mut last.indices
        && *step == indices.2
        && end.checked_add(*step) == Some(indices.0)
    {
        *end = indices.1;
        return;
    }
    picks.push(Pick {
        first: submission,
        last: submission,
        step: 1,
        indices: Some(indices),
    });
}

/// Whether one task is selected, and no other will be.
fn counts_one(session: &Session, select: &Selector) -> anyhow::Result<bool> {
    let rows = session
        .ask_tasks(Page {
            select: select.clone(),
            after: None,
            rows: 2,
        })?
        .rows;
    let open = session
        .ask_submissions(Page {
            select: select.clone(),
            after: None,
            rows: 1,
        })?
        .rows
        .first()
        .is_some_and(|row| row.open && select.is_of_submissions());
    Ok(!open && rows.len() == 1 && rows[0].run.count() == 1)
}

/// Whether all that are selected have ended.
fn all_ended(session: &Session, select: &Selector) -> anyhow::Result<bool> {
    match session.ask_wait(select.clone(), Duration::ZERO) {
        Ok(_) => Ok(true),
        Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => Ok(false),
        Err(ClientError::TimedOut { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tasks that run, as many as are read at once and one more.
fn running(session: &Session, select: &Selector) -> anyhow::Result<Vec<Place>> {
    if select.state.is_some_and(|state| state != TaskState::Running) {
        return Ok(Vec::new());
    }
    let select = Selector {
        state: Some(TaskState::Running),
        ..select.clone()
    };
    let page = Page {
        select,
        after: None,
        rows: 0,
    };
    let listing = match session.ask_tasks(page) {
        Ok(listing) => listing,
        Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::NothingSelected => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    let places = listing
        .rows
        .iter()
        .flat_map(|row| (row.run.lo..row.run.hi).map(|offset| (row.run.submission, offset)));
    Ok(places.take(AT_ONCE + 1).collect())
}

impl Shown {
    /// Shows what comes in, for so long.
    fn take(
        &mut self,
        session: &Session,
        news: &Receiver<News>,
        reading: &mut BTreeSet<Place>,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // There may be no end to what comes in, and others may have begun.
                return Ok(());
            }
            match news.recv_timeout(left) {
                Ok(News::Wrote(place, attempt, wrote)) => self.wrote(session, place, attempt, &wrote)?,
                Ok(News::Over(place)) => {
                    reading.remove(&place);
                    // Its end is in its result, if that is there already; if it runs again there will be another attempt.
                    let task = self.indices.of(session, place.0, place.1)?;
                    let one = Selector::task(task.submission, task.index);
                    self.results(session, &one, reading)?;
                }
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the readers have ended"),
            }
        }
    }

    /// Shows what is in results and was not shown.
    fn results(
        &mut self,
        session: &Session,
        select: &Selector,
        reading: &BTreeSet<Place>,
    ) -> anyhow::Result<()> {
        let mut found = Vec::new();
        match each(session, select, |place, (_, attempt), program| {
            if !reading.contains(&place) && !self.done.contains(&place) {
                found.push((place, attempt, program));
            }
            Ok(())
        }) {
            Err(error) if is_nothing(&error) => {}
            other => other?,
        }
        for (place, attempt, program) in found {
            self.ended(session, place, attempt, program)?;
        }
        Ok(())
    }

    /// Shows the end of what a task wrote.
    fn ended(
        &mut self,
        session: &Session,
        place: Place,
        attempt: u32,
        program: ProgramResult,
    ) -> anyhow::Result<()> {
        let (bytes, total) = if self.stderr {
            (program.stderr, program.stderr_bytes)
        } else {
            (program.stdout, program.stdout_bytes)
        };
        let wrote = Written {
            from: total - bytes.len() as u64,
            bytes,
            total,
        };
        self.wrote(session, place, attempt, &wrote)?;
        self.done.insert(place);
        self.upto.remove(&place);
        self.rest(session, place)
    }

    /// Shows a part of what a task wrote, as far as it was not shown.
    fn wrote(
        &mut self,
        session: &Session,
        place: Place,
        attempt: u32,
        wrote: &Written,
    ) -> anyhow::Result<()> {
        let known = self.upto.get(&place).copied().unwrap_or((attempt, 0));
        if known.0 != attempt {
            // The one before has written all that it will.
            self.rest(session, place)?;
        }
        let before = if known.0 == attempt { known.1 } else { 0 };
        let end = wrote.from + wrote.bytes.len() as u64;
        self.upto.insert(place, (attempt, end.max(before)));
        let lost = wrote.from.saturating_sub(before);
        let known = usize::try_from(before.saturating_sub(wrote.from)).unwrap_or(usize::MAX);
        let new = wrote.bytes.get(known..).unwrap_or_default();
        if lost > 0 {
            let task = self.indices.of(session, place.0, place.1)?;
            eprintln!(
                "scalems: {lost} bytes of {task} are not shown: it wrote them faster than they could be read"
            );
        }
        if new.is_empty() {
            return Ok(());
        }
        if self.form == Form::Raw {
            return print::written(new, std::io::stdout());
        }
        let task = self.indices.of(session, place.0, place.1)?;
        let mut begun = self.lines.remove(&place).unwrap_or_default();
        lines(&mut begun, new, |line| self.line(task, line))?;
        self.lines.insert(place, begun);
        Ok(())
    }

    /// Shows what has no end of a line and will have none.
    fn rest(&mut self, session: &Session, place: Place) -> anyhow::Result<()> {
        if let Some(line) = self.lines.remove(&place).filter(|line| !line.is_empty()) {
            let task = self.indices.of(session, place.0, place.1)?;
            self.line(task, &line)?;
        }
        Ok(())
    }

    fn line(&self, task: TaskId, line: &[u8]) -> anyhow::Result<()> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if self.form == Form::Jsonl {
            let text = String::from_utf8_lossy(line);
            return print::out(&format!(
                "{}\n",
                serde_json::json!({"task": task.to_string(), "text": text})
            ));
        }
        let text = [format!("{task}: ").as_bytes(), line, b"\n"].concat();
        print::written(&text, std::io::stdout())
    }
}

/// Shows the lines that end in `new`, of which the first begins with `begun`; what has no end yet stays there, unless it is
/// so long that it is shown as a line of its own.
fn lines(
    begun: &mut Vec<u8>,
    new: &[u8],
    mut show: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for part in new.split_inclusive(|byte| *byte == b'\n') {
        begun.extend_from_slice(part);
        if part.ends_with(b"\n") || begun.len() >= LINE_BYTES {
            show(begun)?;
            begun.clear();
        }
    }
    Ok(())
}

fn is_nothing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Refused { refusal, .. }) if refusal.code == Code::NothingSelected)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::TrySendError;

    use super::*;

    #[test]
    fn readers_stand_if_nobody_shows_what_they_read() {
        let (tell, _news) = telling();
        for offset in 0..AT_ONCE as u32 {
            assert!(tell.try_send(News::Over((1, offset))).is_ok());
        }
        assert!(matches!(
            tell.try_send(News::Over((2, 0))),
            Err(TrySendError::Full(_))
        ));
    }

    #[test]
    fn a_line_without_end_is_shown_in_parts() {
        let (mut begun, mut shown) = (Vec::new(), Vec::new());
        let mut add = |begun: &mut Vec<u8>, new: &[u8]| {
            lines(begun, new, |line| {
                shown.push(line.to_vec());
                Ok(())
            })
            .unwrap();
        };
        add(&mut begun, b"one\ntw");
        add(&mut begun, b"o\n");
        for _ in 0..100 {
            add(&mut begun, &[b'\r'; 1_000]);
            assert!(begun.len() < LINE_BYTES);
        }
        assert_eq!(&shown[..2], [&b"one\n"[..], b"two\n"]);
        let bytes: usize = shown[2..].iter().map(Vec::len).sum();
        assert_eq!((shown.len(), bytes + begun.len()), (3, 100_000));
    }

    #[test]
    fn neighbours_are_picked_together() {
        let mut picks = Vec::new();
        for (submission, indices) in [
            (1, (0, 3, 1)),
            (1, (4, 9, 1)),
            (1, (11, 12, 1)),
            (2, (13, 14, 1)),
            (3, (0, 4, 2)),
            (3, (6, 8, 2)),
        ] {
            join(&mut picks, submission, indices);
        }
        let select = Selector {
            picks,
            ..Selector::default()
        };
        assert_eq!(select.to_string(), "1.0-9,1.11-12,2.13-14,3.0-8:2");
    }
}
