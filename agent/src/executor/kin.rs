//! Who belongs to which program: shared by the spawners, which start and reap, and the sweeper, which ends
//! what outlives its program.
//!
//! A program is more than its main process. What it starts is found by its process group, by the chain of
//! parents, and, for what has left both (a daemon), by the variables in its environment that name the task.
//! Since the worker is a subreaper, all of it stays below the worker, and whatever loses its parent becomes a
//! child of the worker's first thread. The kernel lists those in one small file, mostly empty: the price of
//! knowing that a program has left nothing is one read.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The values of a program's marking variables, each ended by a zero byte. Empty: it bears none.
pub(super) type Marks = Box<[u8]>;

/// The variables that name an attempt: all ranks of one are one program.
pub(super) const TASK_MARKS: [&str; 2] = ["SCALEMS_TASK", "SCALEMS_ATTEMPT"];
/// The variable that names an interpreter, which sets those anew for each task that it runs.
pub(crate) const INTERPRETER_MARK: &str = "SCALEMS_INTERPRETER";

/// All programs that run.
#[derive(Debug)]
pub(super) struct Kin {
    state: Mutex<State>,
    /// `/proc/…/children` of the first thread; not there on kernels built without it.
    adopted: Option<File>,
    mark_names: Vec<String>,
    guard: i32,
}

#[derive(Debug, Default)]
struct State {
    programs: HashMap<u64, Program>,
    /// A process group's number is not given out anew while a member lives, so it outlasts its leader.
    by_group: HashMap<i32, u64>,
    by_marks: HashMap<Marks, u64>,
    /// Adopted processes that the sweeper has looked at, with the program they belong to, if one.
    known: HashMap<i32, Option<u64>>,
}

#[derive(Debug)]
struct Program {
    leader: i32,
    marks: Marks,
    /// From here on its number may be somebody else's.
    reaped: bool,
}

/// The running programs as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// Process ids of main processes, also of those just reaped: only their spawners know for sure.
    pub(super) leaders: HashMap<i32, u64>,
    /// Process groups.
    pub(super) groups: HashMap<i32, u64>,
    /// Marks.
    pub(super) marks: HashMap<Marks, u64>,
}

impl Kin {
    /// `guard` is a child of ours that belongs to no program.
    pub(super) fn new(mark_names: Vec<String>, guard: i32) -> Self {
        let own = std::process::id();
        Self {
            state: Mutex::default(),
            adopted: File::open(format!("/proc/self/task/{own}/children")).ok(),
            mark_names,
            guard,
        }
    }

    /// A program has started. Returns whether it is the only one.
    pub(super) fn enter(&self, key: u64, leader: i32, marks: &Marks) -> bool {
        let mut state = self.lock();
        state.by_group.insert(leader, key);
        if !marks.is_empty() {
            state.by_marks.insert(marks.clone(), key);
        }
        state.programs.insert(
            key,
            Program {
                leader,
                marks: marks.clone(),
                reaped: false,
            },
        );
        state.programs.len() == 1
    }

    /// Kills what is left in the group of a program whose main process has ended but was not reaped, and notes
    /// that it will be: after this, nobody kills by that number.
    pub(super) fn close_group(&self, key: u64) -> Result<(), Errno> {
        let mut state = self.lock();
        let Some(program) = state.programs.get_mut(&key) else {
            return Err(Errno::ESRCH);
        };
        program.reaped = true;
        killpg(Pid::from_raw(program.leader), Signal::SIGKILL)
    }

    /// Signals a program's group, unless its main process was reaped.
    pub(super) fn signal_group(&self, key: u64, signal: Signal) -> Result<(), Errno> {
        match self.lock().programs.get(&key) {
            Some(program) if !program.reaped => killpg(Pid::from_raw(program.leader), signal),
            _ => Err(Errno::ESRCH),
        }
    }

    /// Whether something may have outlived a program whose main process was just reaped. Never wrongly no,
    /// except for what hides from group, chain and marks at once.
    pub(super) fn may_have_left(&self, key: u64) -> bool {
        let adopted = self.adopted();
        let state = self.lock();
        let Some(program) = state.programs.get(&key) else {
            return false;
        };
        if killpg(Pid::from_raw(program.leader), None).is_ok() {
            return true;
        }
        let Some(adopted) = adopted else { return true };
        adopted.iter().any(|pid| match state.known.get(pid) {
            None => true,
            Some(owner) => *owner == Some(key),
        })
    }

    /// A program is over, with all that belonged to it.
    pub(super) fn leave(&self, key: u64) {
        let mut state = self.lock();
        let Some(Program { leader, marks, .. }) = state.programs.remove(&key) else {
            return;
        };
        // The number, or the marks, may already be a newer program's.
        if state.by_group.get(&leader) == Some(&key) {
            state.by_group.remove(&leader);
        }
        if state.by_marks.get(&marks) == Some(&key) {
            state.by_marks.remove(&marks);
        }
    }

    pub(super) fn roll(&self) -> Roll {
        let state = self.lock();
        Roll {
            leaders: state
                .programs
                .iter()
                .map(|(key, program)| (program.leader, *key))
                .collect(),
            groups: state.by_group.clone(),
            marks: state.by_marks.clone(),
        }
    }

    /// Whose process groups there are, and whose adopted processes as far as is known.
    pub(super) fn families(&self) -> (HashMap<i32, u64>, HashMap<i32, u64>) {
        let state = self.lock();
        let adopted = state.known.iter();
        let adopted = adopted.filter_map(|(pid, owner)| Some((*pid, (*owner)?)));
        (state.by_group.clone(), adopted.collect())
    }

    /// Whether no program runs.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().programs.is_empty()
    }

    /// What the sweeper has found out about adopted processes, in place of what it knew before.
    pub(super) fn publish(&self, known: HashMap<i32, Option<u64>>) {
        self.lock().known = known;
    }

    /// Processes that lost their parent and became ours, and any that the first thread started itself.
    /// `None`: this kernel does not tell.
    pub(super) fn adopted(&self) -> Option<Vec<i32>> {
        let file = self.adopted.as_ref()?;
        let mut text = Vec::new();
        let mut buffer = [0_u8; 4096];
        loop {
            match file.read_at(&mut buffer, text.len() as u64).ok()? {
                0 => break,
                length => text.extend(buffer.iter().take(length)),
            }
        }
        Some(
            text.split(|byte| *byte == b' ')
                .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
                .filter(|pid| *pid != self.guard)
                .collect(),
        )
    }

    pub(super) fn guard(&self) -> i32 {
        self.guard
    }

    /// The names that count where an interpreter's mark is there, or is not: what it is at changes from call to call.
    fn names(&self, of_interpreter: bool) -> impl Iterator<Item = &str> {
        let names = self.mark_names.iter().map(String::as_str);
        let of_tasks = names.filter(move |name| !(of_interpreter && TASK_MARKS.contains(name)));
        of_tasks.chain(of_interpreter.then_some(INTERPRETER_MARK))
    }

    /// The marks of a program from the environment it is given.
    pub(super) fn marks_of(&self, env: &[(OsString, OsString)]) -> Marks {
        let value = |name: &str| env.iter().find(|(variable, _)| variable == name);
        self.names(value(INTERPRETER_MARK).is_some())
            .filter_map(value)
            .flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())
            .collect()
    }

    /// The marks of a process from its `/proc/PID/environ`.
    pub(super) fn marks_in(&self, environ: &[u8]) -> Marks {
        let entry = |name: &str| {
            environ.split(|byte| *byte == 0).find(|entry| {
                entry
                    .strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.starts_with(b"="))
            })
        };
        self.names(entry(INTERPRETER_MARK).is_some())
            .filter_map(entry)
            .flat_map(|entry| [entry, b"\0"].concat())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_the_same_from_both_sides() {
        let kin = Kin::new(vec!["SCALEMS_TASK".into(), "SCALEMS_ATTEMPT".into()], 0);
        let env = [("SCALEMS_ATTEMPT", "2"), ("X", "1"), ("SCALEMS_TASK", "5.7")];
        let given = kin.marks_of(&env.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(&*given, b"SCALEMS_TASK=5.7\0SCALEMS_ATTEMPT=2\0");
        assert_eq!(
            kin.marks_in(b"SCALEMS_TASKS=1\0SCALEMS_ATTEMPT=2\0SCALEMS_TASK=5.7\0"),
            given
        );
        assert!(kin.marks_in(b"PATH=/bin\0").is_empty());
        let interpreter = [("SCALEMS_INTERPRETER", "3"), ("SCALEMS_ATTEMPT", "0")];
        let given = kin.marks_of(&interpreter.map(|(name, value)| (name.into(), value.into())));
        let child = b"SCALEMS_TASK=5.7\0SCALEMS_ATTEMPT=2\0SCALEMS_INTERPRETER=3\0";
        assert_eq!(kin.marks_in(child), given);
    }

    #[test]
    fn a_newer_program_keeps_its_number_and_marks() {
        let kin = Kin::new(vec![], 0);
        let marks: Marks = b"T=1\0".as_slice().into();
        assert!(kin.enter(1, 900_000, &marks));
        assert!(!kin.enter(2, 900_000, &marks));
        kin.leave(1);
        let roll = kin.roll();
        assert_eq!(
            (roll.groups.get(&900_000), roll.marks.get(&marks)),
            (Some(&2), Some(&2))
        );
        kin.leave(2);
        assert!(kin.is_empty() && kin.roll().groups.is_empty() && kin.roll().marks.is_empty());
    }
}
