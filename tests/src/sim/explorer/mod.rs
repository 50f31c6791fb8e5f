//! Every way that a small world can go: two workers with a core each, one client with two tasks, an agent with a
//! journal. Where the simulator rolls dice, this takes every turn, and looks at each state once.
//!
//! What it does not look at, and why that loses nothing or what it loses:
//!
//! - What the agent sends arrives at once. Nothing is lost by that: a worker or client that does something before
//!   such a message arrives might as well have done it before the agent sent it, as long as the agent has not heard
//!   of it, and what it says waits in a queue until the agent is given it.
//! - A network fault ends a connection in two steps. First nothing reaches the party any more; then nothing reaches
//!   the agent either, and what was on its way there is lost. In between the agent takes in only what comes from
//!   that party, and commits may come. That the agent notices is a step of its own, before the party speaks over
//!   its new connection or not at all. The party notices and connects again at once, unless a program of it is
//!   about to end, which may come before; what it says first then waits like everything else.
//! - With [`Bounds::stand_still`] a network fault may also be that nothing arrives for longer than it takes until a
//!   worker is lost, and then all of it does.
//! - A crash is that of the agent, with the records after the last durable one lost or not, all or none, or with
//!   [`Bounds::any_record`] from any one on; the next life begins at once. Or it is that of a worker; its next
//!   process begins at once. The client does not die. Once all has ended only the agent still may.
//! - A commit comes when there is nothing else to do, and [`Bounds::commits`] times sooner.
//! - Time passes only when nobody has anything else to do, and then up to the next timer of anybody.
//! - The agent takes one message in a round. Nothing comes twice but what is said again, since the connections
//!   repeat nothing. Beats arrive at once, and not while the network stands still.
//! - The world begins after everybody has joined. A program that takes no time ends in the round in which it
//!   starts, the other one says that it has started and ends in a step of its own.
//! - States are told apart by a hash of 64 bits of all that they are made of, the checker's memory included.

mod small;

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use super::network::Party;
use small::Small;

/// How much goes wrong at most on the way to one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Network faults.
    pub network: u8,
    /// Crashes of the agent or of a worker.
    pub crashes: u8,
    /// Whether a network fault may be that nothing arrives for long.
    pub stand_still: bool,
    /// Whether both programs take no time; else one of them does, and fails first.
    pub quick: bool,
    /// Commits that come while there is something else to do.
    pub commits: u8,
    /// Whether a crash of the agent may leave any of the records that were not durable, and not only all or none.
    pub any_record: bool,
    /// So many states at most are looked at.
    pub states: usize,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The agent takes in what comes next from somebody.
    Take(Party),
    /// What was recorded is on disk.
    Commit,
    /// A program of a worker ends.
    ProgramEnds(usize, u64),
    /// Nothing reaches a party any more.
    Sever(Party),
    /// Nor does anything come from it.
    Break(Party),
    /// The agent's transport notices that some connection is gone.
    AgentNotices(u32),
    /// A party's does, and has a new connection.
    Reconnect(Party),
    /// The network stands still for long.
    StandStill,
    /// The agent dies, with so many records left, and another life begins.
    KillAgent(usize),
    /// A worker dies.
    KillWorker(usize),
    /// Another process of it begins.
    Begin(usize),
    /// Time passes until somebody has something to do.
    Wait,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// States, each once.
    pub states: usize,
    /// Steps between them.
    pub steps: u64,
    /// States in which all had ended.
    pub ends: u64,
    /// The most steps that led to a state when it was first seen.
    pub deepest: usize,
    /// Whether there was more than the bound on states allows.
    pub cut_short: bool,
    /// The steps to the first state that is not as promised, and what is wrong with it.
    pub wrong: Option<(Vec<Step>, Vec<String>)>,
}

/// The way to a state.
#[derive(Debug)]
struct Way {
    step: Step,
    before: Option<Arc<Self>>,
    length: usize,
}

fn steps(way: Option<&Arc<Way>>) -> Vec<Step> {
    let ways = std::iter::successors(way, |way| way.before.as_ref());
    let mut steps: Vec<Step> = ways.map(|way| way.step).collect();
    steps.reverse();
    steps
}

/// Looks at all states within bounds.
pub fn explore(bounds: Bounds) -> Seen {
    let mut first = Small::new(bounds);
    let mut seen = Seen::default();
    let mut known = HashSet::from([first.fingerprint()]);
    let mut open: Vec<(Small, Option<Arc<Way>>)> = vec![(first, None)];
    while let Some((mut state, way)) = open.pop() {
        let length = way.as_ref().map_or(0, |way| way.length);
        seen.deepest = seen.deepest.max(length);
        let choices = state.choices();
        if state.is_done() {
            seen.ends += 1;
            state.conclude();
        } else if choices.is_empty() {
            state.stuck();
        }
        let violations = state.violations();
        if !violations.is_empty() {
            seen.wrong = Some((steps(way.as_ref()), violations.to_vec()));
            break;
        }
        for step in choices {
            let mut next = state.clone();
            next.take(step);
            seen.steps += 1;
            let way = Arc::new(Way {
                step,
                before: way.clone(),
                length: length + 1,
            });
            if !next.violations().is_empty() {
                seen.wrong = Some((steps(Some(&way)), next.violations().to_vec()));
                seen.states = known.len();
                return seen;
            }
            if known.len() >= bounds.states {
                seen.cut_short = true;
            } else if known.insert(next.fingerprint()) {
                open.push((next, Some(way)));
            }
        }
    }
    seen.states = known.len();
    seen
}

/// A hash of what something prints: all that it is made of.
fn fingerprint(of: &impl fmt::Debug) -> u64 {
    struct Hash(DefaultHasher);
    impl fmt::Write for Hash {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hash = Hash(DefaultHasher::new());
    fmt::write(&mut hash, format_args!("{of:?}")).expect("a hash takes everything");
    hash.0.finish()
}
