//! Each call of the journal to the system fails once: the agent ends and says why, or it did no harm; and nothing that
//! was acknowledged is missing afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use scalems_client::protocol::Code;
use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::Selector;
use scalems_client::{ClientError, Session, Task};
use scalems_tests::pilot::{Home, PATIENCE, Running, quoted};
use tempfile::TempDir;

use super::left::{LARGE, NAME};

/// A call that fails.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// As `calls.c` calls it.
    kind: &'static str,
    error: Errno,
    /// Whether an agent that goes on after it could acknowledge what is not there.
    must_end: bool,
}

/// The library that makes calls fail.
struct Shim {
    _directory: TempDir,
    path: PathBuf,
}

impl Shim {
    /// None where there is no compiler, or programs do not take it.
    fn build() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("calls.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/calls.c");
        let run = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&path)
            .args([source, "-ldl"])
            .status();
        run.is_ok_and(|status| status.success()).then_some(Self {
            _directory: directory,
            path,
        })
    }
}

/// What an agent said that it has.
#[derive(Clone, Debug, Default)]
struct Acknowledged {
    submissions: BTreeSet<u64>,
    /// With the bytes of each result.
    results: BTreeMap<u64, usize>,
    forgotten: BTreeSet<u64>,
}

/// A place with a journal, and what was acknowledged in it.
struct Place {
    home: Home,
    told: Acknowledged,
}

/// How an agent took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Took {
    /// It did not begin.
    Refused,
    /// It ended.
    Ended,
    /// It went on.
    WentOn,
    /// There were not so many calls.
    NotReached,
}

impl Place {
    fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.work().join("journal")).unwrap();
        let told = Acknowledged::default();
        Self { home, told }
    }

    /// One with a journal of an agent that was killed.
    fn used() -> Self {
        let mut place = Self::new();
        let mut agent = place.start("", "--journal");
        agent.written_or_ended("}\n").unwrap();
        let worker = place.worker();
        place.work().unwrap();
        agent.signal(Signal::SIGKILL);
        agent.status();
        place.home.note_killed();
        drop(worker);
        place
    }

    /// Another one with the same journal.
    fn copy(&self) -> Self {
        let mut copy = Self::new();
        let run = Command::new("cp")
            .arg("-a")
            .arg(self.home.work().join("journal"))
            .arg(copy.home.work())
            .status();
        assert!(run.unwrap().success());
        copy.told = self.told.clone();
        copy
    }

    fn journal(&self) -> PathBuf {
        self.home.work().join("journal").join(NAME)
    }

    fn start(&self, with: &str, how: &str) -> Running {
        let journal = quoted(&self.journal());
        let options = "--no-workers --beat 100ms --lost-after 500ms --orphan-time 60s";
        let how = how.replace("--journal", &format!("--journal={journal}"));
        self.home.spawn(&format!(
            "{with} scalems --output jsonl pilot start {how} {options}"
        ))
    }

    fn worker(&self) -> Running {
        self.home.spawn("scalems worker start --name w --cores 2")
    }

    fn session(&self) -> Result<Session, ClientError> {
        Session::options()
            .name("calls")
            .takeover(true)
            .answer_timeout(Duration::from_secs(20))
            .give_up_after(Duration::from_millis(300))
            .connect(self.home.of_pilot("default"))
    }

    /// Small and large values, some of which go again. Ends with the first thing that fails.
    fn work(&mut self) -> Result<(), ClientError> {
        let session = self.session()?;
        // Of earlier lives: so their values go.
        for submission in std::mem::take(&mut self.told.submissions) {
            self.told.results.remove(&submission);
            session.forget(Selector::submission(submission))?;
            self.told.forgotten.insert(submission);
        }
        for bytes in [10, LARGE, 4_000] {
            let task = Task::new("scalems.echo").data(vec![7; bytes]);
            let submission = session.submit_held(&task, 0..1)?.submission;
            self.told.submissions.insert(submission);
            session.ask_wait(Selector::submission(submission), PATIENCE)?;
            self.told.results.insert(submission, bytes);
        }
        Ok(())
    }

    /// What is missing for the next agent.
    fn check(&self) {
        let mut agent = self.start("", "--resume --journal");
        if agent.written_or_ended("}\n").is_none() {
            let output = agent.output();
            assert!(
                self.told.submissions.is_empty() && self.told.forgotten.is_empty(),
                "{:?}, and then: {output:?}",
                self.told
            );
            // It took away what it had begun to make.
            assert!(output.err.contains("there is no journal at"), "{output:?}");
            return;
        }
        let session = self.session().unwrap();
        let page = |select| Page {
            select,
            after: None,
            rows: 0,
        };
        let known: BTreeSet<u64> = match session.ask_submissions(page(Selector::all())) {
            Ok(listing) => listing.rows.iter().map(|row| row.submission).collect(),
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::NothingSelected => {
                BTreeSet::new()
            }
            Err(error) => panic!("{error}"),
        };
        assert!(
            self.told.submissions.is_subset(&known),
            "{:?}, not {:?}",
            known,
            self.told
        );
        assert!(
            self.told.forgotten.is_disjoint(&known),
            "{:?}, not {:?}",
            known,
            self.told
        );
        for (submission, bytes) in &self.told.results {
            let results = session
                .ask_results(page(Selector::submission(*submission)))
                .unwrap()
                .results;
            assert_eq!(results.len(), 1, "{submission}");
            assert_eq!(results[0].result.value[..], vec![7; *bytes], "{submission}");
        }
        drop(session);
        agent.signal(Signal::SIGTERM);
        let status = agent.status();
        assert!(status.success(), "{status}");
    }

    /// An agent works, whose `number`th call of the kind fails; 0: none does. Says what it did, and how many such calls
    /// there were.
    fn strike(mut self, shim: &Shim, call: Call, how: &str, number: usize) -> (Took, usize) {
        let note = self.home.work().join("note");
        let with = format!(
            "env LD_PRELOAD={} SCALEMS_FAIL_BELOW={} SCALEMS_FAIL_KIND={} SCALEMS_FAIL_NUMBER={number} SCALEMS_FAIL_ERROR={} SCALEMS_FAIL_NOTE={}",
            quoted(&shim.path),
            quoted(&self.home.work().join("journal")),
            call.kind,
            call.error as i32,
            quoted(&note)
        );
        let calls = || std::fs::read_to_string(&note).unwrap_or_default();
        let struck = || calls().contains("failed ");
        let mut agent = self.start(&with, how);
        let serves = agent.written_or_ended("}\n").is_some();
        let worker = serves.then(|| self.worker());
        let done = if serves { self.work() } else { Ok(()) };
        let begun = struck();
        if serves && begun && call.must_end {
            agent.status();
        } else if serves && !agent.has_ended() {
            assert!(begun || done.is_ok(), "{done:?}");
            agent.signal(Signal::SIGTERM);
            agent.status();
        }
        let output = agent.output();
        let took = match (struck(), serves, output.code) {
            (true, true, 0) => Took::WentOn,
            (true, true, 1) => Took::Ended,
            (true, false, 1) => Took::Refused,
            (false, true, 0) => Took::NotReached,
            other => panic!("{call:?}, number {number}: {other:?}: {output:?}"),
        };
        if output.code != 0 {
            assert!(
                output.err.contains(&format!("{}", self.journal().display()))
                    && !output.err.contains("panicked"),
                "{call:?}, number {number}: {output:?}"
            );
            self.home.note_killed();
        }
        drop(worker);
        self.check();
        (took, calls().lines().count())
    }
}

/// Each call of the kind fails once, or so many of them.
fn drill(call: Call) {
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    let Some(shim) = Shim::build() else {
        assert!(may_skip, "there is no C compiler");
        return eprintln!("skipped: there is no C compiler");
    };
    let begun = Instant::now();
    let used = Place::used();
    let mut took = BTreeMap::new();
    let mut total = 0;
    for (how, place) in [("--journal", None), ("--resume --journal", Some(&used))] {
        let place = || place.map_or_else(Place::new, Place::copy);
        let (none, calls) = place().strike(&shim, call, how, 0);
        assert_eq!(none, Took::NotReached);
        total += calls;
        let some = super::rounds(3, u32::MAX) as usize;
        let step = calls.div_ceil(some).max(1);
        // Another one each time where not all are tried.
        let first = 1 + std::process::id() as usize % step;
        for number in (first..).step_by(step) {
            let (how, _) = place().strike(&shim, call, how, number);
            *took.entry(how).or_insert(0) += 1;
            if how == Took::NotReached {
                break;
            }
        }
    }
    println!("{call:?}: of {total} calls: {took:?}; {:?}", begun.elapsed());
    assert!(total > 0 && took.len() > 1, "no call failed");
    drop(used);
}

#[test]
fn a_file_that_cannot_be_opened() {
    drill(Call {
        kind: "open",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_read_that_fails() {
    drill(Call {
        kind: "read",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_write_that_fails() {
    drill(Call {
        kind: "write",
        error: Errno::EIO,
        must_end: true,
    });
}

#[test]
fn a_write_that_finds_no_room() {
    drill(Call {
        kind: "write",
        error: Errno::ENOSPC,
        must_end: false,
    });
}

#[test]
fn a_write_of_a_part() {
    drill(Call {
        kind: "short",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_sync_that_fails() {
    drill(Call {
        kind: "sync",
        error: Errno::EIO,
        must_end: true,
    });
}

#[test]
fn a_sync_of_names_that_fails() {
    drill(Call {
        kind: "names",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_file_that_cannot_be_cut() {
    drill(Call {
        kind: "truncate",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_directory_that_cannot_be_made() {
    drill(Call {
        kind: "make",
        error: Errno::EIO,
        must_end: false,
    });
}

#[test]
fn a_file_that_cannot_be_removed() {
    drill(Call {
        kind: "remove",
        error: Errno::EIO,
        must_end: false,
    });
}
