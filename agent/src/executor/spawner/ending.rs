//! How programs come to their end: stopped, timed out, killed, ended, swept up after, reported.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::super::Stop;
use super::super::outcome::{Captured, Exit, Leftovers, ProgramEvent, ProgramOutcome, StartError, StoppedBy};
use super::super::program::{Ending, Phase, Program, exit_of};
use super::super::sweeper::Sweep;
use super::super::sys::{self, Usage};
use super::{Spawner, cell, forget};

/// How long a spawner waits for the sweeper to kill, before it kills what it can by itself.
const KILL_BACKUP: Duration = Duration::from_millis(100);

/// How long after SIGKILL a program that is still there is reported.
const STUCK: Duration = Duration::from_secs(30);

/// How long the output of an ended program is read while something unknown still holds it.
const DRAIN: Duration = Duration::from_millis(250);

/// How long an outcome is held back while what is left of the program is being killed.
const SWEEP: Duration = Duration::from_secs(1);

/// How much longer, should the sweeper itself hang.
const SWEEP_BACKUP: Duration = Duration::from_secs(1);

impl Spawner {
    pub(super) fn stop(&mut self, key: u64, stop: Stop, reason: String) {
        if let Some(index) = self.backlog.iter().position(|waiting| waiting.key == key) {
            self.backlog.remove(index);
            self.shared.waits_no_longer(self.index);
            return self.not_started(key, StartError::StoppedBefore { reason });
        }
        if self.take_follower(key) {
            return self.not_started(key, StartError::StoppedBefore { reason });
        }
        let Some(place) = self.table.place_of(key) else {
            return;
        };
        let phase = self.table.get(place).map(|program| &program.phase);
        match (phase, stop) {
            (Some(Phase::Running), Stop::Request) => self.ask(place, StoppedBy::Request { reason }),
            (Some(Phase::Running | Phase::Asked), Stop::Kill) => {
                self.doom(place, Some(StoppedBy::Kill { reason }));
            }
            _ => {}
        }
    }

    /// Whether a program is not over yet: it runs, or waits here for its start.
    pub(super) fn is_open(&self, key: u64) -> bool {
        self.table.place_of(key).is_some()
            || self.backlog.iter().any(|waiting| waiting.key == key)
            || self
                .followers
                .values()
                .flatten()
                .any(|waiting| waiting.key == key)
    }

    /// Takes a program back that waits for another to be over.
    pub(super) fn recall(&mut self, key: u64) {
        if self.take_follower(key) {
            let reason = "it waited too long behind another".to_owned();
            self.not_started(key, StartError::StoppedBefore { reason });
        }
    }

    /// Whoever waited behind it takes its place.
    fn take_follower(&mut self, key: u64) -> bool {
        let place = self.followers.iter().find_map(|(after, line)| {
            let position = line.iter().position(|waiting| waiting.key == key)?;
            Some((*after, position))
        });
        let Some((after, position)) = place else {
            return false;
        };
        let behind = self.followers.remove(&key).unwrap_or_default();
        if let Some(line) = self.followers.get_mut(&after) {
            let mut rest = line.split_off(position);
            rest.pop_front();
            line.extend(behind);
            line.append(&mut rest);
            if line.is_empty() {
                self.followers.remove(&after);
            }
        }
        self.shared.waits_no_longer(self.index);
        true
    }

    pub(super) fn shut_down(&mut self, until: Instant) {
        self.closing = Some(until);
        let followers = std::mem::take(&mut self.followers).into_values().flatten();
        for waiting in followers.chain(std::mem::take(&mut self.backlog)) {
            self.not_started(waiting.key, StartError::ShuttingDown);
        }
        for place in self.table.places() {
            let phase = self.table.get(place).map(|program| &program.phase);
            if let Some(Phase::Running | Phase::Asked) = phase {
                self.doom(
                    place,
                    Some(StoppedBy::Kill {
                        reason: "the worker ends".to_owned(),
                    }),
                );
            }
        }
    }

    /// A program's phase has lasted as long as it may.
    pub(super) fn due(&mut self, place: usize, now: Instant) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        let (key, pid) = (program.key, program.pid);
        match &mut program.phase {
            Phase::Running => {
                let limit = program.time_limit.unwrap_or_default();
                self.ask(place, StoppedBy::TimeLimit(limit));
            }
            Phase::Asked => self.doom(place, None),
            Phase::Doomed => {
                // The sweeper is late; what it was to find first will be found afterwards, or not at all.
                program.phase = Phase::Killed;
                self.signal(place, Signal::SIGKILL);
                self.table.set_deadline(place, now.checked_add(STUCK));
            }
            Phase::Killed => self.out.push(ProgramEvent::Stuck { key, pid }),
            Phase::Ended(ending) => {
                if ending.sweeping {
                    ending.leftovers.remaining = ending.leftovers.remaining.max(1);
                }
                self.finish(place);
            }
        }
    }

    /// SIGTERM, unless it hears of it otherwise, and time to answer it.
    fn ask(&mut self, place: usize, by: StoppedBy) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        program.phase = Phase::Asked;
        program.stopped_by = Some(by);
        let end = Instant::now().checked_add(program.grace);
        let hears_term = program.hears_term;
        self.table.set_deadline(place, end);
        if hears_term {
            self.signal(place, Signal::SIGTERM);
        }
        // A stopped program could not act on it.
        self.signal(place, Signal::SIGCONT);
    }

    /// Has the sweeper kill it, with its descendants, whose parents it will no longer know afterwards.
    pub(super) fn doom(&mut self, place: usize, by: Option<StoppedBy>) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        if matches!(program.phase, Phase::Ended(_)) {
            return;
        }
        program.phase = Phase::Doomed;
        if by.is_some() {
            program.stopped_by = by;
        }
        self.shared.sweeper.send(Sweep::Kill { key: program.key });
        self.table
            .set_deadline(place, Instant::now().checked_add(KILL_BACKUP));
    }

    /// A program has more memory than it may. If it is about to end for another reason, that one stays.
    pub(super) fn exceeded(&mut self, key: u64, used: Option<u64>) {
        let Some(place) = self.table.place_of(key) else {
            return;
        };
        let Some(program) = self.table.get(place) else {
            return;
        };
        let limit = program.memory.as_ref().map_or(0, |grip| grip.limit);
        match program.phase {
            Phase::Running => self.doom(place, Some(StoppedBy::Memory { limit, used })),
            Phase::Asked => self.doom(place, None),
            _ => {}
        }
    }

    fn signal(&mut self, place: usize, signal: Signal) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        let (key, pid) = (program.key, program.pid);
        if let Err(errno) = self.shared.kin.signal_group(key, signal) {
            // EPERM: the program has taken another user's identity.
            tracing::warn!(pid, %signal, %errno, "a program cannot be signalled");
        }
    }

    /// A main process has ended.
    pub(super) fn reap(&mut self, place: usize) {
        let Some(program) = self.table.get(place) else {
            return;
        };
        let (key, pid) = (program.key, program.pid);
        drop(program.pidfd.take());
        if let Some(feed) = program.feed.take() {
            forget(&self.epoll, &feed.pipe);
        }
        // While the dead leader is not reaped, the group's number cannot be anybody else's.
        match self.shared.kin.close_group(key) {
            Ok(()) | Err(Errno::ESRCH | Errno::EPERM) => {}
            Err(errno) => tracing::warn!(pid, %errno, "a process group cannot be killed"),
        }
        if let Some(slot) = cell(&self.shared, self.index, place) {
            slot.store(0, Ordering::Relaxed);
        }
        let was_killed = matches!(program.phase, Phase::Doomed | Phase::Killed);
        let wall = program.started.elapsed();
        let (exit, usage) = exit_of(sys::reap(pid));
        let sweeping = self.shared.kin.may_have_left(key) || was_killed;
        let leftovers = Leftovers::default();
        program.phase = Phase::Ended(Ending {
            exit,
            usage,
            wall,
            sweeping,
            leftovers,
        });
        self.pump(place, 0);
        self.pump(place, 1);
        let now = Instant::now();
        if sweeping {
            self.shared.sweeper.send(Sweep::AfterEnd {
                key,
                until: now + SWEEP,
                spawner: self.index,
            });
            self.table.set_deadline(place, Some(now + SWEEP + SWEEP_BACKUP));
        } else {
            self.table.set_deadline(place, Some(now + DRAIN));
        }
        if !self.finish_if_over(place) {
            // Something else holds them.
            self.watch_pipes(place);
        }
    }

    /// What was left of a program is dealt with; only its output may still be under way.
    pub(super) fn swept(&mut self, key: u64, leftovers: Leftovers, usage: Usage) {
        let Some(place) = self.table.place_of(key) else {
            return;
        };
        if let Some(program) = self.table.get(place)
            && let Phase::Ended(ending) = &mut program.phase
        {
            ending.sweeping = false;
            ending.leftovers = leftovers;
            ending.usage.join(usage);
            self.table.set_deadline(place, Some(Instant::now() + DRAIN));
            self.finish_if_over(place);
        }
    }

    pub(super) fn finish_if_over(&mut self, place: usize) -> bool {
        let over = self.table.get(place).is_some_and(|program| program.is_over());
        if over {
            self.finish(place);
        }
        over
    }

    /// Reports a program whose main process has ended.
    fn finish(&mut self, place: usize) {
        if let Some(program) = self.remove(place) {
            let told = program
                .readers
                .iter()
                .filter_map(|reader| program.told(*reader, true));
            self.out.extend(told);
            self.over(program.key, program.log, program.into_outcome());
        }
    }

    /// Takes a program off all lists.
    pub(super) fn remove(&mut self, place: usize) -> Option<Box<Program>> {
        let mut program = self.table.remove(place)?;
        if let Some(grip) = program.memory.take() {
            let kept = self.shared.memory.release(program.key, &grip);
            program.peak_memory = kept.peak;
            if kept.exceeded && program.stopped_by.is_none() {
                let limit = grip.limit;
                program.stopped_by = Some(StoppedBy::Memory { limit, used: None });
            }
        }
        for pipe in program
            .streams
            .iter()
            .flatten()
            .filter_map(|stream| stream.pipe.as_ref())
        {
            forget(&self.epoll, pipe);
        }
        self.shared.kin.leave(program.key);
        Some(program)
    }

    pub(super) fn not_started(&mut self, key: u64, error: StartError) {
        let nothing = ProgramOutcome {
            exit: Exit::NotStarted(error),
            stdout: Captured::default(),
            stderr: Captured::default(),
            cpu_seconds: 0.0,
            peak_rss_bytes: 0,
            peak_rss_exact: true,
            peak_memory_bytes: 0,
            wall_seconds: 0.0,
            stopped_by: None,
            leftovers: Leftovers::default(),
            log: None,
        };
        self.over(key, None, nothing);
    }

    fn over(&mut self, key: u64, log: Option<u64>, outcome: ProgramOutcome) {
        self.shared.open().spawner_of.remove(&key);
        self.ended = true;
        let outcome = Box::new(outcome);
        match log {
            None => self.out.push(ProgramEvent::Ended { key, outcome }),
            Some(log) => self.logged.push((log, key, outcome)),
        }
        if let Some(mut line) = self.followers.remove(&key)
            && let Some(next) = line.pop_front()
        {
            if !line.is_empty() {
                // Whoever waited behind it waits behind the next, before those that were lined up there already.
                let behind = self.followers.entry(next.key).or_default();
                line.append(behind);
                *behind = line;
            }
            self.backlog.push_front(next);
        }
    }
}
