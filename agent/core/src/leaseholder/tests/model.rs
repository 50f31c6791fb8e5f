//! Random lives of a worker against an agent that keeps its books the long way.
//!
//! Whatever happens in whatever order: the room is never given twice, every lease leaves by exactly one
//! result or return, numbers have no gaps, and the hash is what the agent would compute.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use scalems_protocol::worker::ListHoldings;
use scalems_protocol::{program, worker::WorkerStop};

use super::*;

const CORES: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A lease of so many tasks: which mode, and cores for each.
    Lease {
        kind: u8,
        count: u32,
        cores: u32,
        placement: Placement,
    },
    /// Part of a submission is revoked.
    Revoke {
        pick: usize,
        lo: u32,
        count: u32,
        strength: u8,
        silent: bool,
    },
    /// One of the tasks that the shell has says that it runs.
    Start { pick: usize },
    /// One of them ends.
    End { pick: usize, by_itself: bool },
    /// Some reports are recorded.
    Recorded { percent: u64 },
    /// Time passes.
    Wait { ms: u64 },
    /// The connection breaks.
    Break,
    /// It comes again, and the agent answers the hello, dropping some of what is held.
    Join { drop: bool },
    /// A message of the agent is lost.
    Gap,
    /// The round ends.
    Flush,
}

fn placement() -> impl Strategy<Value = Placement> {
    prop::sample::select(vec![Placement::Compact, Placement::Strict, Placement::Scatter])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..5, 1_u32..9, 0_u32..=CORES, placement())
            .prop_map(|(kind, count, cores, placement)| Step::Lease { kind, count, cores, placement }),
        2 => (any::<prop::sample::Index>(), 0_u32..6, 1_u32..9, 0_u8..3, any::<bool>()).prop_map(
            |(pick, lo, count, strength, silent)| Step::Revoke { pick: pick.index(1 << 16), lo, count, strength, silent }
        ),
        5 => any::<prop::sample::Index>().prop_map(|pick| Step::Start { pick: pick.index(1 << 16) }),
        5 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(pick, by_itself)| Step::End { pick: pick.index(1 << 16), by_itself }),
        2 => (0_u64..=100).prop_map(|percent| Step::Recorded { percent }),
        2 => (1_u64..3_000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Break),
        2 => any::<bool>().prop_map(|drop| Step::Join { drop }),
        1 => Just(Step::Gap),
        6 => Just(Step::Flush),
    ]
}

/// One lease as the agent knows it.
type Key = (u64, u32);

/// The agent, and the shell of the worker.
struct Model {
    machine: Leaseholder,
    now: Micros,
    /// What the agent believes held, with the state last reported.
    believed: BTreeMap<Key, TaskState>,
    /// How often each lease came back, and all that were granted or may no longer come back.
    back: BTreeMap<Key, u32>,
    given_up: BTreeSet<Key>,
    /// Numbers, and where the connection is.
    sent: u64,
    received: u64,
    up: bool,
    welcomed: bool,
    listed: Vec<HeldRun>,
    /// Tasks that the shell has: cores, whether told to run, whether stopped.
    tasks: BTreeMap<u64, (TaskLease, bool, bool)>,
    /// Those that were taken back before they began.
    removed: BTreeSet<u64>,
    submissions: u64,
}

impl Model {
    fn new() -> Self {
        let machine = Leaseholder::new(
            Settings {
                idle_us: None,
                quick_us: 10_000,
                nodes: [[0, 1], [2, 3]]
                    .map(|cpus| NumaNode {
                        cpus: cpus.to_vec(),
                        gpus: Vec::new(),
                    })
                    .to_vec(),
                ..settings(CORES)
            },
            0,
        );
        let mut model = Self {
            machine,
            now: 0,
            believed: BTreeMap::new(),
            back: BTreeMap::new(),
            given_up: BTreeSet::new(),
            sent: 0,
            received: 0,
            up: false,
            welcomed: false,
            listed: Vec::new(),
            tasks: BTreeMap::new(),
            removed: BTreeSet::new(),
            submissions: 0,
        };
        model.join(false);
        model
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.machine.handle(self.now, input, &mut out);
        self.check(out);
    }

    fn say(&mut self, message: impl Into<AgentToWorker>) {
        self.input(Input::Agent {
            message: message.into(),
            blobs: Vec::new(),
        });
    }

    fn flush(&mut self) {
        let mut out = Vec::new();
        self.machine.flush(self.now, &mut out);
        self.check(out);
        let deadline = self.machine.deadline().expect("it has not ended");
        assert!(
            deadline > self.now,
            "a deadline that has passed would make the shell spin"
        );
    }

    /// Takes in what the worker says and does.
    fn check(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send(WorkerToAgent::WorkerHello(hello), _) => {
                    self.welcomed = false;
                    self.listed = hello.held;
                }
                Output::Send(WorkerToAgent::Report(report), blobs) => self.report(report, &blobs),
                Output::Send(WorkerToAgent::Beat(beat), _) | Output::PublishBeat(beat) => {
                    if self.welcomed {
                        assert_eq!((beat.applied, beat.sent), (self.sent, self.received));
                        assert_eq!(beat.hash, self.sum(), "the hash is what the agent believes");
                    }
                }
                Output::Send(WorkerToAgent::Holdings(holdings), _) => {
                    let held: BTreeMap<Key, TaskState> = keys(&holdings.held).collect();
                    assert_eq!(held, self.believed);
                }
                Output::Start(lease) => {
                    // The head of its line has its room until then.
                    let mut head = lease.after;
                    while let Some(before) = head.filter(|head| self.waits(*head)) {
                        head = self.tasks[&before].0.after;
                    }
                    let used: BTreeSet<u32> = self
                        .tasks
                        .values()
                        .filter(|(other, ..)| Some(other.key) != head && !self.waits(other.key))
                        .flat_map(|(lease, ..)| lease.cpus.clone())
                        .collect();
                    let cores = lease.template.needs.cores_per_rank.floor() as usize;
                    assert_eq!(lease.cpus.len(), cores);
                    let lies = lease.template.needs.placement;
                    let near = lease.cpus.iter().all(|cpu| cpu / 2 == lease.cpus[0] / 2);
                    assert!(lies != Placement::Strict || cores > 2 || near, "{:?}", lease.cpus);
                    assert!(
                        lease.cpus.iter().all(|cpu| !used.contains(cpu)),
                        "a core is given to one task"
                    );
                    let before = self.tasks.insert(lease.key, (lease, false, false));
                    assert!(before.is_none());
                }
                Output::Recall { key } => {
                    if self.waits(key) {
                        self.removed.insert(key);
                    }
                }
                Output::Stop(order) => {
                    if self.waits(order.key) {
                        self.removed.insert(order.key);
                    }
                    self.tasks
                        .get_mut(&order.key)
                        .expect("only what runs is stopped")
                        .2 = true;
                }
                // Whether the agent has the hello that it does not answer.
                Output::Send(WorkerToAgent::Pong(_), _) => assert!(!self.welcomed),
                Output::Note(Note::Gap { .. } | Note::Welcomed { .. } | Note::Stopping(_)) => {}
                other => panic!("not in this life: {other:?}"),
            }
        }
    }

    /// Whether a task waits for another to be over.
    fn waits(&self, key: u64) -> bool {
        let after = self.tasks.get(&key).and_then(|(lease, ..)| lease.after);
        after.is_some_and(|after| self.tasks.contains_key(&after))
    }

    fn end(&mut self, key: u64, by_itself: bool) {
        let (lease, _, told) = self.tasks.remove(&key).unwrap();
        let removed = self.removed.remove(&key);
        // Whoever waited behind it takes its place.
        for (other, ..) in self.tasks.values_mut() {
            if other.after == Some(key) {
                other.after = lease.after;
            }
        }
        let outcome = if removed || (told && !by_itself) {
            stopped()
        } else {
            done()
        };
        self.input(Input::Ended { key, outcome });
    }

    fn report(&mut self, report: Report, blobs: &[Bytes]) {
        assert!(self.welcomed);
        assert_eq!(report.number, self.received + 1);
        self.received += 1;
        for run in &report.started {
            for key in offsets(*run) {
                assert_eq!(
                    self.believed.insert(key, TaskState::Running),
                    Some(TaskState::Leased)
                );
            }
        }
        for group in report.results {
            group
                .place
                .take(group.run.count(), blobs)
                .expect("the place is right");
            offsets(group.run).for_each(|key| self.comes_back(key));
        }
        for run in report.returned {
            offsets(run).for_each(|key| self.comes_back(key));
        }
    }

    fn comes_back(&mut self, key: Key) {
        assert!(self.believed.remove(&key).is_some(), "{key:?} is held");
        *self.back.entry(key).or_default() += 1;
    }

    fn sum(&self) -> u64 {
        let terms = self
            .believed
            .iter()
            .map(|((submission, offset), state)| hash::lease_term(1, *submission, 1, *state, *offset));
        terms.fold(0, u64::wrapping_add)
    }

    fn join(&mut self, drop: bool) {
        if !self.up {
            self.up = true;
            self.input(Input::Connected);
        }
        if self.welcomed {
            return;
        }
        // What the worker does not list is lost to the agent, and what was only a result is counted as running.
        let mut believed: BTreeMap<Key, TaskState> = BTreeMap::new();
        for (key, state) in keys(&self.listed) {
            if state == TaskState::Done {
                // Told, but not recorded: it will be told again.
                self.back.remove(&key);
            }
            let state = if state == TaskState::Leased {
                state
            } else {
                TaskState::Running
            };
            assert!(believed.insert(key, state).is_none(), "{key:?} is listed once");
        }
        let mut dropped = Vec::new();
        if drop {
            for held in self.listed.iter().step_by(2) {
                dropped.push(held.run);
                for key in offsets(held.run) {
                    believed.remove(&key);
                    self.given_up.insert(key);
                }
            }
        }
        for key in self.believed.keys().filter(|key| !believed.contains_key(key)) {
            self.given_up.insert(*key);
        }
        self.believed = believed;
        (self.sent, self.received, self.welcomed) = (0, 0, true);
        self.say(welcome(1, dropped));
    }

    fn lease(&mut self, kind: u8, count: u32, cores: u32, placement: Placement) {
        if !self.welcomed {
            return;
        }
        self.submissions += 1;
        self.sent += 1;
        let mode = [program::NOOP, program::ECHO, program::SLEEP, MODE, MODE][usize::from(kind)];
        let run = run(self.submissions, 0, count);
        let template = Template {
            needs: Needs {
                placement,
                ..Needs::cores(cores)
            },
            ..template(mode)
        };
        let data: &'static [u8] = if mode == program::SLEEP { b"0.5" } else { b"x" };
        let (message, blobs) = lease_with(template, run, data, Vec::new());
        self.believed
            .extend(offsets(run).map(|key| (key, TaskState::Leased)));
        let message = Lease {
            number: self.sent,
            ..message
        };
        self.input(Input::Agent {
            message: message.into(),
            blobs,
        });
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Lease {
                kind,
                count,
                cores,
                placement,
            } => self.lease(kind, count, cores, placement),
            Step::Revoke {
                pick,
                lo,
                count,
                strength,
                silent,
            } => {
                if !self.welcomed || self.submissions == 0 {
                    return;
                }
                self.sent += 1;
                let run = run(1 + pick as u64 % self.submissions, lo, lo + count);
                let strength = [Strength::Withdraw, Strength::Request, Strength::Kill][usize::from(strength)];
                self.say(Revoke {
                    number: self.sent,
                    silent,
                    ..revoke(vec![run], strength)
                });
            }
            Step::Start { pick } => {
                let waiting: Vec<u64> = self
                    .tasks
                    .iter()
                    .filter(|(_, (_, started, _))| !started)
                    .map(|(key, _)| *key)
                    .filter(|key| !self.waits(*key) && !self.removed.contains(key))
                    .collect();
                if !waiting.is_empty() {
                    let key = waiting[pick % waiting.len()];
                    self.tasks.get_mut(&key).unwrap().1 = true;
                    self.input(Input::Started { key });
                }
            }
            Step::End { pick, by_itself } => {
                let keys: Vec<u64> = self.tasks.keys().copied().collect();
                let able = |key: &u64| self.removed.contains(key) || !self.waits(*key);
                let keys: Vec<u64> = keys.into_iter().filter(able).collect();
                if !keys.is_empty() {
                    self.end(keys[pick % keys.len()], by_itself);
                }
            }
            Step::Recorded { percent } => {
                if self.welcomed {
                    self.say(Recorded {
                        recorded: self.received * percent / 100,
                        ..Recorded::default()
                    });
                }
            }
            Step::Wait { ms } => {
                self.now += ms * 1_000;
                self.flush();
                if self.welcomed {
                    self.say(ListHoldings { beat_only: false });
                    self.flush();
                }
            }
            Step::Break => {
                (self.up, self.welcomed) = (false, false);
                self.input(Input::Disconnected);
            }
            Step::Join { drop } => self.join(drop),
            Step::Gap => {
                if self.welcomed {
                    self.say(Revoke {
                        number: self.sent + 2,
                        ..revoke(Vec::new(), Strength::Kill)
                    });
                    assert!(!self.welcomed);
                }
            }
            Step::Flush => self.flush(),
        }
    }

    /// Lets everything come to its end.
    fn finish(mut self) {
        self.join(false);
        for _ in 0..10_000 {
            self.now += 600_000;
            self.say(ListHoldings { beat_only: false });
            self.flush();
            for key in self.tasks.keys().copied().collect::<Vec<_>>() {
                self.apply(&Step::Start { pick: 0 });
                self.end(key, true);
            }
            if self.believed.is_empty() {
                break;
            }
        }
        assert_eq!(self.believed, BTreeMap::new());
        for submission in 1..=self.submissions {
            for (key, times) in self.back.range((submission, 0)..(submission + 1, 0)) {
                assert_eq!(*times, 1, "{key:?} comes back once");
            }
        }
        self.flush();
        self.say(WorkerStop {
            drain_ms: 0,
            reason: String::new(),
        });
        self.say(Recorded {
            recorded: self.received,
            ..Recorded::default()
        });
        let mut out = Vec::new();
        self.machine.flush(self.now, &mut out);
        assert!(end(&out).is_some());
    }
}

fn offsets(run: Run) -> impl Iterator<Item = Key> {
    (run.lo..run.hi).map(move |offset| (run.submission, offset))
}

fn keys(held: &[HeldRun]) -> impl Iterator<Item = (Key, TaskState)> + '_ {
    held.iter()
        .flat_map(|held| offsets(held.run).map(|key| (key, held.state)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_in_every_life(steps in prop::collection::vec(step(), 1..160)) {
        let mut model = Model::new();
        for step in steps {
            model.apply(&step);
        }
        model.finish();
    }
}
