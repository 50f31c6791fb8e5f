//! Real pilots for tests: the program itself, its workers and what they run, each in a home of its own.
//!
//! Every wait has a deadline and none of them sleeps: a process is waited for by its descriptor, what a
//! program does by a [`Fifo`], what a pilot does by its events. When a test ends, well or not, nothing that
//! it started lives on; what would have is a failure.

mod fifo;
mod home;
mod mpi;
pub mod process;
mod program;
mod python;
mod running;
mod sshd;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::protocol::client::{Counts, WorkerRow};
use scalems_client::protocol::event::{Body, Topic};
use scalems_client::{ClientError, Session, Task, Update};

pub use fifo::Fifo;
pub use home::{Home, quoted};
pub use mpi::Mpi;
pub use program::program;
pub use python::Python;
pub use running::{Output, Running};
pub use sshd::Sshd;

/// How long anything may take: far longer than it does on a busy machine, and far shorter than a test may.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What no event tells is asked for so often.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A pilot that runs in front, in a home of its own.
pub struct Pilot {
    agent: Running,
    ended: bool,
    name: String,
    /// What stands before its command.
    words: String,
    /// Its home.
    pub home: Home,
}

impl Pilot {
    /// Starts a pilot with these options of `scalems pilot start`, and waits until its workers have joined.
    #[track_caller]
    pub fn start(options: &str) -> Self {
        let pilot = Self::start_alone(options);
        let words: Vec<_> = options.split_whitespace().collect();
        let workers = match words.iter().position(|word| *word == "--workers") {
            _ if words.contains(&"--no-workers") => "0",
            Some(at) => words[at + 1],
            None => "1",
        };
        pilot
            .sh(&format!("scalems pilot wait --workers {workers} --timeout 60s"))
            .well();
        pilot
    }

    /// Starts a pilot and waits until it serves.
    #[track_caller]
    pub fn start_alone(options: &str) -> Self {
        Self::start_under("", options)
    }

    /// As [`Self::start_alone`], behind words such as `prlimit --nofile=64`, which run the command in their place.
    #[track_caller]
    pub fn start_under(words: &str, options: &str) -> Self {
        let home = Home::new();
        let agent = home.spawn(&format!("{words} scalems --output jsonl pilot start {options}"));
        let line = agent.until_written("}\n");
        let said: serde_json::Value =
            serde_json::from_str(&line).expect("a pilot says in JSON that it serves");
        let name = said["pilot"].as_str().expect("it says its name").to_owned();
        Self {
            agent,
            ended: false,
            name,
            words: words.to_owned(),
            home,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        self.home.of_pilot(&self.name)
    }

    /// The agent's process.
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// Runs a shell's command line. See [`Home::sh`].
    #[track_caller]
    pub fn sh(&self, line: &str) -> Output {
        self.home.sh(line)
    }

    /// Connects to it.
    #[track_caller]
    pub fn session(&self) -> Session {
        Session::connect(self.directory()).expect("the pilot lets clients in")
    }

    /// A task for the library that runs a shell's line in the working directory.
    pub fn line(&self, line: &str) -> Task {
        Task::shell(format!("cd {} && {line}", quoted(&self.home.work())))
    }

    /// What the agent and its workers wrote.
    pub fn log(&self) -> String {
        self.agent.all_written()
    }

    /// The number of a submission that was just made: what `scalems --output quiet submit` says.
    #[track_caller]
    pub fn submit(&self, rest: &str) -> u64 {
        let said = self.sh(&format!("scalems --output quiet submit {rest}")).well();
        said.text().parse().expect("quiet is the number alone")
    }

    /// Ends it as its user would, and checks that nothing is left.
    #[track_caller]
    pub fn stop(self) {
        self.stop_with(|| {});
    }

    /// As [`Self::stop`], with something done between the end of the agent and that of all the rest.
    #[track_caller]
    pub fn stop_with(mut self, meanwhile: impl FnOnce()) {
        self.sh("scalems pilot stop").well();
        let status = self.agent.status();
        self.ended = true;
        assert!(status.success(), "the agent ended with {status}:\n{}", self.log());
        meanwhile();
        self.home.until_empty();
    }

    /// Sends the agent a signal.
    pub fn signal(&self, signal: Signal) {
        self.agent.signal(signal);
    }

    /// Waits until the agent has ended well by itself.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let status = self.agent.status();
        self.ended = true;
        assert!(status.success(), "the agent ended with {status}:\n{}", self.log());
        self.home.until_empty();
    }

    /// As [`Self::expect_end`], while others of its home go on.
    #[track_caller]
    pub fn expect_end_of_agent(&mut self) {
        let status = self.agent.status();
        self.ended = true;
        assert!(status.success(), "the agent ended with {status}:\n{}", self.log());
    }

    /// Waits until the agent has ended badly by itself, and has said this.
    #[track_caller]
    pub fn expect_failure(&mut self, text: &str) {
        let status = self.agent.status();
        self.ended = true;
        self.home.note_killed();
        // Its last words may be read a moment after its end.
        let said = self.agent.written_or_ended(text).is_some();
        let log = self.log();
        assert!(!status.success() && said, "the agent ended with {status}:\n{log}");
    }

    /// Starts the agent again from its journal, after it was killed, and waits until it serves.
    #[track_caller]
    pub fn resume(&mut self, options: &str) {
        self.again("--resume", options);
    }

    /// Starts another pilot in its place, after it was killed, and waits until it serves.
    #[track_caller]
    pub fn anew(&mut self, options: &str) {
        self.again("--fresh", options);
    }

    #[track_caller]
    fn again(&mut self, how: &str, options: &str) {
        let line = format!(
            "{} scalems --output jsonl pilot start {how} {options}",
            self.words
        );
        self.agent = self.home.spawn(&line);
        self.ended = false;
        self.agent.until_written("}\n");
    }

    /// Kills the agent as the system would, and nothing else.
    pub fn kill_agent(&mut self) {
        self.agent.signal(Signal::SIGKILL);
        self.agent.status();
        self.home.note_killed();
        self.ended = true;
    }

    /// Kills the agent and its workers.
    pub fn kill_all(&mut self) {
        self.kill_agent();
        self.home.kill_what_is_left();
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what pilot {} wrote:\n{}", self.name, self.log());
        }
        if self.ended {
            return;
        }
        // Two signals are not drained for.
        self.agent.signal(Signal::SIGTERM);
        self.agent.signal(Signal::SIGINT);
        match self.agent.wait_status(Instant::now() + PATIENCE) {
            Some(status) if status.success() => {}
            Some(status) => complain(&format!("the agent ended with {status}:\n{}", self.log())),
            None => complain(&format!(
                "the agent did not end within {PATIENCE:?}:\n{}",
                self.log()
            )),
        }
    }
}

/// Fails the test, unless it has failed already.
fn complain(what: &str) {
    assert!(std::thread::panicking(), "{what}");
    eprintln!("{what}");
}

/// Waits until the workers of a pilot are as wanted.
#[track_caller]
pub fn until_workers(session: &Session, mut wanted: impl FnMut(&[WorkerRow]) -> bool) -> Vec<WorkerRow> {
    let mut events = session.events(Topic::Workers);
    let until = Instant::now() + PATIENCE;
    loop {
        let rows = session.ask_workers().expect("the pilot says its workers");
        if wanted(&rows) {
            return rows;
        }
        let left = until.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "the workers did not come to be as wanted within {PATIENCE:?}: {rows:#?}"
        );
        // What a row says of time changes without an event.
        let said = events.next_within(left.min(ASK_AGAIN));
        assert!(
            matches!(
                said,
                Ok(Some(Update::Snapshot(_) | Update::Event(_))) | Err(ClientError::TimedOut { .. })
            ),
            "{said:?}"
        );
    }
}

/// Waits until the tasks of a submission are as wanted.
#[track_caller]
pub fn until_tasks(session: &Session, submission: u64, mut wanted: impl FnMut(&Counts) -> bool) -> Counts {
    let mut events = session.events(Topic::Submission(submission));
    let until = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match events.next_within(left) {
            Ok(Some(
                Update::Snapshot(Body::Tasks { counts, .. }) | Update::Event(Body::Tasks { counts, .. }),
            )) => {
                if wanted(&counts) {
                    return counts;
                }
                last = Some(counts);
            }
            other => panic!("submission {submission} did not come to be as wanted: {last:?}, then {other:?}"),
        }
    }
}
