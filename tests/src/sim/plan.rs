//! What a seed decides at the outset: how large the world is, and what may happen to it.

use std::fmt;

use super::random::Random;

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A connection breaks, with all that is on its way in both directions.
    Cut,
    /// A worker's process ends without a word; another one begins later.
    KillWorker,
    /// A client's process ends without a word; another one opens the session later.
    KillClient,
    /// A worker's process stands still for a time.
    PauseWorker,
    /// A client's process stands still for a time.
    PauseClient,
    /// The agent's process stands still for a time.
    PauseAgent,
    /// What goes over a connection takes long for a time.
    Delay,
    /// Beats and events are lost and overtake each other.
    LossyBeats,
    /// A worker is asked on its own machine to end; another one begins later.
    StopWorker,
    /// A part of a lease vanishes on its way, which nothing but the state hash can tell.
    LostLease,
    /// The agent's process ends without a word, with what was not on disk; with a journal it is started again.
    KillAgent,
    /// All processes end at once.
    KillAll,
    /// Nothing reaches the agent over a connection for a time; what is said waits in order, or is lost when one end
    /// gives the connection up.
    WayInBlocked,
    /// The same in the other direction.
    WayOutBlocked,
    /// There is no room for the journal for a time.
    DiskFull,
    /// Writing the journal fails: the agent's process ends at once, and is started again.
    DiskError,
    /// Commits of the journal take seconds for a time.
    SlowDisk,
    /// The wall clock of the agent's host leaps by an hour, in either direction.
    WallLeap,
    /// The clock that one process measures time with leaps ahead.
    ClockLeap,
    /// A host stands still with all that is on it: that of one worker or client, or the only one that there is.
    Suspend,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Cut,
        Self::KillWorker,
        Self::KillClient,
        Self::PauseWorker,
        Self::PauseClient,
        Self::PauseAgent,
        Self::Delay,
        Self::LossyBeats,
        Self::StopWorker,
        Self::LostLease,
        Self::KillAgent,
        Self::KillAll,
        Self::WayInBlocked,
        Self::WayOutBlocked,
        Self::DiskFull,
        Self::DiskError,
        Self::SlowDisk,
        Self::WallLeap,
        Self::ClockLeap,
        Self::Suspend,
    ];

    /// Clocks that are wrong, and nothing else: nobody is silent for any of them.
    pub const CLOCKS: [Self; 2] = [Self::WallLeap, Self::ClockLeap];
}

/// Something that is wrong on purpose, to see that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A result comes a second time, in a delivery of its own.
    RepeatResults,
    /// The values of two tasks are exchanged on the way from a worker.
    SwapValues,
    /// A result of one attempt is taken for that of another.
    WrongAttempt,
    /// A lease goes out a second time under the same attempt, to another worker.
    LeaseTwice,
    /// The record of an end does not reach the journal.
    LoseEnd,
    /// A submission is acknowledged before it is on disk.
    AckEarly,
    /// Results are called durable before they are.
    DurableEarly,
    /// Clients are told at once that their results last.
    LastsEarly,
    /// Workers are told that their results are recorded before they are on disk.
    RecordedEarly,
    /// The disk says that it has written, and has not.
    LyingDisk,
    /// An agent that is started again takes the incarnation of the life before.
    SameLife,
    /// That numbers are reserved does not reach the journal.
    LoseNumbers,
    /// That a task has ended is applied twice after a restart.
    ApplyTwice,
    /// The last record that was on disk is not read after a restart.
    ReadShort,
    /// That a seat has another holder does not reach the journal.
    LoseSeat,
    /// Workers are told to go on without the agent for longer than the agent believes.
    LongOrphans,
}

impl Sabotage {
    /// What is wrong about the journal, or with another life of the agent: found only where it dies.
    pub const OF_THE_JOURNAL: [Self; 11] = [
        Self::LoseEnd,
        Self::AckEarly,
        Self::DurableEarly,
        Self::LastsEarly,
        Self::RecordedEarly,
        Self::LyingDisk,
        Self::SameLife,
        Self::LoseNumbers,
        Self::ApplyTwice,
        Self::ReadShort,
        Self::LoseSeat,
    ];
}

/// A world to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides all that is random.
    pub seed: u64,
    /// Workers.
    pub workers: usize,
    /// Clients.
    pub clients: usize,
    /// What all clients together ask for.
    pub operations: u64,
    /// Until when something may go wrong, milliseconds.
    pub trouble_ms: u64,
    /// How often something does.
    pub incidents: u64,
    /// What may go wrong.
    pub faults: Vec<Fault>,
    /// Whether the agent has a journal.
    pub journal: bool,
    /// Whether every message goes through its bytes.
    pub wire: bool,
    /// What is wrong on purpose.
    pub sabotage: Option<Sabotage>,
    /// Whether to print all that happens.
    pub log: bool,
}

impl Plan {
    /// Whether silence means the same to both ends of a connection: nobody stands still, and nothing is heard late.
    pub fn keeps_apart(&self) -> bool {
        const LATE: [Fault; 6] = [
            Fault::PauseWorker,
            Fault::Suspend,
            Fault::ClockLeap,
            Fault::Delay,
            Fault::WayInBlocked,
            Fault::WayOutBlocked,
        ];
        !self.faults.iter().any(|fault| LATE.contains(fault))
    }

    /// The world of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed, 1);
        let faults = match seed % 8 {
            // Some worlds are quiet, to see that nothing is taken for trouble that is none.
            0 => Vec::new(),
            1 => Fault::ALL.to_vec(),
            // Some are about deaths, of one part or of all.
            2 => vec![
                Fault::KillAgent,
                Fault::KillWorker,
                Fault::KillClient,
                Fault::KillAll,
            ],
            // Some about clocks, with nothing else that could be an excuse, or with deaths.
            3 if seed % 16 == 3 => Fault::CLOCKS.to_vec(),
            3 => [&Fault::CLOCKS[..], &[Fault::KillAgent, Fault::Suspend]].concat(),
            // And some about the disk.
            4 => vec![
                Fault::DiskFull,
                Fault::DiskError,
                Fault::SlowDisk,
                Fault::KillAgent,
                Fault::KillClient,
            ],
            _ => Fault::ALL.into_iter().filter(|_| random.percent(45)).collect(),
        };
        Self {
            seed,
            workers: random.within(1, 5) as usize,
            clients: random.within(1, 4) as usize,
            operations: random.within(10, 70),
            trouble_ms: random.within(10, 90) * 1_000,
            incidents: random.within(3, 40),
            faults,
            journal: matches!(seed % 8, 2 | 4) || seed % 16 == 11 || random.percent(50),
            wire: seed % 4 == 1,
            sabotage: None,
            log: false,
        }
    }

    /// Whether anything may keep processes from hearing of each other.
    pub fn silences(&self) -> bool {
        self.faults.iter().any(|fault| !Fault::CLOCKS.contains(fault))
    }

    /// Plans that are a little smaller, the smallest steps last.
    pub fn smaller(&self) -> Vec<Self> {
        let mut plans = Vec::new();
        for fault in &self.faults {
            let faults = self
                .faults
                .iter()
                .copied()
                .filter(|other| other != fault)
                .collect();
            plans.push(Self {
                faults,
                ..self.clone()
            });
        }
        if self.journal {
            plans.push(Self {
                journal: false,
                ..self.clone()
            });
        }
        if self.wire {
            plans.push(Self {
                wire: false,
                ..self.clone()
            });
        }
        for (workers, clients) in [
            (1, 1),
            (self.workers.div_ceil(2), self.clients.div_ceil(2)),
            (self.workers, 1),
        ] {
            plans.push(Self {
                workers,
                clients,
                ..self.clone()
            });
        }
        for part in [2, 4, 8] {
            plans.push(Self {
                operations: self.operations - self.operations / part,
                ..self.clone()
            });
            plans.push(Self {
                incidents: self.incidents - self.incidents / part,
                ..self.clone()
            });
        }
        plans.push(Self {
            operations: self.operations.saturating_sub(1),
            ..self.clone()
        });
        plans.push(Self {
            incidents: self.incidents.saturating_sub(1),
            ..self.clone()
        });
        plans.retain(|plan| plan != self);
        plans
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            workers,
            clients,
            operations,
            trouble_ms,
            incidents,
            faults,
            journal,
            wire,
            sabotage,
            ..
        } = self;
        write!(
            out,
            "seed {seed}: {workers} workers, {clients} clients, {operations} operations, {incidents} incidents of \
             {faults:?} in {trouble_ms} ms, journal {journal}, wire {wire}"
        )?;
        sabotage.map_or(Ok(()), |sabotage| write!(out, ", sabotage {sabotage:?}"))
    }
}
