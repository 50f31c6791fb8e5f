//! What clients and workers say, in few words.

use scalems_protocol::client::{Append, Cancel, ClientHello, Close, Forget, SessionKind, Submit};
use scalems_protocol::group::{HeldRun, Place, ResultGroup, Run};
use scalems_protocol::hash;
use scalems_protocol::select::Selector;
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::task::{After, Knows, Needs, Policy, Template};
use scalems_protocol::worker::{Beat, ModeOffer, Report, WorkerHello, WorkerResume, WorkerWelcome};
use scalems_protocol::{Amount, Code, Ending, Origin, TaskError};

/// A mode whose tasks take room.
pub(crate) const RUN: &str = "run";
/// A mode whose tasks take no time.
pub(crate) const QUICK: &str = "quick";

pub(crate) fn hello(session: &str) -> ClientHello {
    ClientHello {
        session: session.into(),
        ..ClientHello::default()
    }
}

pub(crate) fn shared(session: &str) -> ClientHello {
    ClientHello {
        kind: SessionKind::Shared,
        ..hello(session)
    }
}

/// An array of tasks that are held by the agent.
pub(crate) fn submit(request: u64, count: u32, mode: &str) -> Submit {
    let task = Template {
        mode: mode.into(),
        ..Template::default()
    };
    Submit {
        request,
        low_water: 0,
        count,
        task,
        first: 0,
        step: 1,
        ends: Vec::new(),
        streaming: false,
        open: false,
        total: None,
    }
}

/// Changes to a submission, one after another.
pub(crate) trait With: Sized {
    fn submit(&mut self) -> &mut Submit;
    fn streaming(mut self) -> Self {
        self.submit().streaming = true;
        self
    }
    fn needs(mut self, needs: Needs) -> Self {
        self.submit().task.needs = needs;
        self
    }
    fn cores(self, cores: u32) -> Self {
        self.needs(Needs::cores(cores))
    }
    fn policy(mut self, policy: Policy) -> Self {
        self.submit().task.policy = policy;
        self
    }
    fn priority(self, priority: i32) -> Self {
        self.policy(Policy {
            priority,
            ..Policy::default()
        })
    }
    fn after(mut self, after: After) -> Self {
        self.submit().task.after.push(after);
        self
    }
    fn ends(mut self, ends: &[u32]) -> Self {
        self.submit().ends = ends.to_vec();
        self
    }
    fn low(mut self, low_water: u64) -> Self {
        self.submit().low_water = low_water;
        self
    }
}

impl With for Submit {
    fn submit(&mut self) -> &mut Submit {
        self
    }
}

pub(crate) fn cancel(request: u64, select: Selector, strength: Strength) -> Cancel {
    Cancel {
        request,
        low_water: 0,
        select,
        strength,
        reason: String::new(),
    }
}

/// A batch of the items, that more may be added to.
pub(crate) fn open(request: u64, count: u32, mode: &str) -> Submit {
    let ends: Vec<u32> = (1..=count).collect();
    Submit {
        open: true,
        ..submit(request, count, mode).ends(&ends)
    }
}

/// Adds tasks with one byte of data each.
pub(crate) fn append(request: u64, submission: u64, count: u32) -> Append {
    Append {
        request,
        low_water: 0,
        submission,
        count,
        ends: (1..=count).collect(),
    }
}

pub(crate) fn close(request: u64, submission: u64) -> Close {
    Close {
        request,
        low_water: 0,
        select: Selector::submission(submission),
    }
}

pub(crate) fn forget(request: u64, submission: u64) -> Forget {
    Forget {
        request,
        low_water: 0,
        select: Selector::submission(submission),
    }
}

pub(crate) fn run(submission: u64, lo: u32, hi: u32, attempt: u32) -> Run {
    Run {
        submission,
        lo,
        hi,
        attempt,
    }
}

pub(crate) fn joins(name: &str, cores: u64) -> WorkerHello {
    let mode = |name: &str, instant| ModeOffer {
        name: name.into(),
        instant,
    };
    WorkerHello {
        v: 1,
        type_: "hello".into(),
        must: Vec::new(),
        name: name.into(),
        host: "h".into(),
        pid: 1,
        process: String::new(),
        software: "test".into(),
        offer: vec![("cores".into(), Amount::whole(cores))],
        modes: vec![mode(RUN, false), mode(QUICK, true)],
        resume: None,
        held: Vec::new(),
        hello: 1,
        left_ms: None,
        knows: Knows::NAMES.map(|(name, _)| name.to_owned()).into(),
        place: None,
    }
}

/// The worker of that welcome comes back with these leases.
pub(crate) fn back(welcome: &WorkerWelcome, cores: u64, held: &[HeldRun]) -> WorkerHello {
    let WorkerWelcome {
        pilot,
        worker,
        token,
        mark: seen,
        ..
    } = *welcome;
    let resume = Some(WorkerResume {
        pilot,
        worker,
        token,
        seen,
    });
    WorkerHello {
        resume,
        held: held.to_vec(),
        ..joins("w", cores)
    }
}

/// A lease of submissions from seat 2 as a worker lists it; their requests have their numbers.
pub(crate) fn held(run: Run, state: TaskState) -> HeldRun {
    HeldRun {
        run,
        origin: origin(run),
        incarnation: 1,
        state,
        variant: 0,
    }
}

pub(crate) fn origin(run: Run) -> Origin {
    Origin {
        session: 2,
        request: run.submission,
    }
}

/// A report, to be filled.
pub(crate) fn report(number: u64) -> Report {
    Report {
        number,
        ..Report::default()
    }
}

pub(crate) fn started(number: u64, run: Run) -> Report {
    Report {
        started: vec![run],
        ..report(number)
    }
}

pub(crate) fn returned(number: u64, run: Run) -> Report {
    Report {
        returned: vec![run],
        ..report(number)
    }
}

pub(crate) fn group(run: Run, ending: Ending) -> ResultGroup {
    ResultGroup {
        run,
        origin: origin(run),
        incarnation: 1,
        ending,
        place: Place::default(),
        exit_code: None,
        ran_us: 1_000,
        error: None,
    }
}

pub(crate) fn done(number: u64, run: Run) -> Report {
    Report {
        results: vec![group(run, Ending::Done)],
        ..report(number)
    }
}

/// One task is done, and its result has as many bytes as a blob may.
pub(crate) fn large(number: u64, submission: u64) -> Report {
    let place = Place {
        blob: Some(0),
        at: 0,
        length: scalems_protocol::limits::BLOB_BYTES as u32,
        ends: Vec::new(),
    };
    let result = ResultGroup {
        place,
        ran_us: 1_000_000,
        ..group(run(submission, 0, 1, 1), Ending::Done)
    };
    Report {
        results: vec![result],
        ..report(number)
    }
}

/// The run failed, in a way that another attempt may not.
pub(crate) fn failed(number: u64, run: Run) -> Report {
    let error = Some(TaskError::retryable(Code::ExitCode, "it ended with exit code 1"));
    Report {
        results: vec![ResultGroup {
            error,
            ..group(run, Ending::Failed)
        }],
        ..report(number)
    }
}

/// The run was canceled.
pub(crate) fn canceled(number: u64, run: Run) -> Report {
    let error = Some(TaskError::new(Code::Canceled, "the task was canceled"));
    Report {
        results: vec![ResultGroup {
            error,
            ..group(run, Ending::Canceled)
        }],
        ..report(number)
    }
}

/// What these leases add to the state hash.
pub(crate) fn sum(runs: &[(Run, TaskState)]) -> u64 {
    let term = |(run, state): &(Run, TaskState)| {
        hash::lease_sum(1, run.submission, run.attempt, *state, run.lo, run.hi)
    };
    runs.iter().map(term).fold(0, u64::wrapping_add)
}

/// A beat on the connection of that welcome.
pub(crate) fn beat(welcome: &WorkerWelcome, applied: u64, sent: u64, leases: &[(Run, TaskState)]) -> Beat {
    let (worker, link) = (welcome.worker, welcome.link);
    Beat {
        worker,
        link,
        beat: 1,
        applied,
        sent,
        hash: sum(leases),
    }
}
