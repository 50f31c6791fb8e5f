//! The tasks that a filter has: asked about, submitted as what it makes of them, and ended with what it makes of their results.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use scalems_agent::worker::{Deputy, Outcome, StopOrder, TaskLease};
use scalems_client::protocol::client::{Page, Question};
use scalems_client::protocol::filter::{Asked, Filtered, FilteredResult, LABEL, OWN, Part, Said, Verdict};
use scalems_client::protocol::select::{Pick, Selector};
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{Bytes, Code, Ending, Refusal, TaskError};
use scalems_client::{ClientError, Indices, ResultsPage, Session, Task};

use super::program::Program;

/// The agent is asked for the end of a task again after so long.
const WAIT: Duration = Duration::from_secs(60);
/// How much longer than that its answer may be on its way.
const SLACK: Duration = Duration::from_secs(10);

/// What a filter has, and who does what with it.
pub(super) struct Held {
    name: String,
    session: Session,
    program: Program,
    deputy: Deputy,
    /// What an earlier keeper has submitted.
    earlier: RefCell<HashMap<String, u64>>,
    /// Tasks that have not ended, by their leases' keys.
    tasks: RefCell<HashMap<u64, Passing>>,
}

/// A task that has not ended.
#[derive(Default)]
struct Passing {
    /// Submissions that its result is made of.
    parts: Vec<u64>,
    /// How it was asked to end, and why.
    stopped: Option<(Strength, String)>,
}

/// Why a task does not come to a result.
enum Fault {
    /// This is its end.
    Failed(Box<TaskError>),
    /// It was asked to end.
    Stopped,
    /// The session is over: whoever keeps the filter next goes on with it.
    Over,
}

impl From<TaskError> for Fault {
    fn from(error: TaskError) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// Whether a refusal says that there is no such thing.
pub(super) fn is_nothing(refusal: &Refusal) -> bool {
    matches!(refusal.code, Code::NothingSelected | Code::Forgotten)
}

impl Held {
    pub(super) fn new(
        name: String,
        session: Session,
        program: Program,
        deputy: Deputy,
        earlier: HashMap<String, u64>,
    ) -> Self {
        Self {
            name,
            session,
            program,
            deputy,
            earlier: RefCell::new(earlier),
            tasks: RefCell::default(),
        }
    }

    /// A task's way through the filter.
    pub(super) async fn pass(self: Rc<Self>, lease: Box<TaskLease>) {
        let key = lease.key;
        let begun = Instant::now();
        self.tasks.borrow_mut().insert(key, Passing::default());
        let ended = self.result_of_task(&lease).await;
        let ran_us = u64::try_from(begun.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let outcome = match ended {
            Ok(result) => outcome(result, ran_us),
            Err(Fault::Failed(error)) => failed(*error, ran_us),
            Err(Fault::Stopped) => stopped(ran_us),
            Err(Fault::Over) => return,
        };
        let parts = self.tasks.borrow_mut().remove(&key).map(|passing| passing.parts);
        self.deputy.end(key, outcome);
        self.forget(&lease, parts.unwrap_or_default()).await;
    }

    /// A task is to end: what runs in its place is asked to, and its end is the task's.
    pub(super) fn stop(&self, order: &StopOrder) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(passing) = tasks.get_mut(&order.key) else {
            return;
        };
        passing.stopped = Some((order.strength, order.reason.clone()));
        self.cancel(passing);
    }

    fn cancel(&self, passing: &Passing) {
        let Some((strength, reason)) = &passing.stopped else {
            return;
        };
        if passing.parts.is_empty() {
            return;
        }
        let select = submissions(&passing.parts);
        if let Err(error) = self.session.begin_cancel(select, *strength, reason) {
            tracing::warn!(%error, filter = self.name, "what runs for a task that is to end cannot be ended");
        }
    }

    fn is_stopped(&self, key: u64) -> bool {
        let tasks = self.tasks.borrow();
        tasks.get(&key).is_some_and(|passing| passing.stopped.is_some())
    }

    async fn result_of_task(&self, lease: &TaskLease) -> Result<FilteredResult, Fault> {
        let of = filtered(lease)?;
        let id = of.id.clone();
        let Said::Verdict(verdict) = self.ask(&id, Asked::Task(of.clone())).await? else {
            return Err(self.nonsense(&id));
        };
        if let Some(why) = verdict.refuse {
            return Err(self.refused(&id, &why).into());
        }
        if self.is_stopped(lease.key) {
            return Err(Fault::Stopped);
        }
        let Verdict { tasks, also, .. } = verdict;
        for (at, part) in tasks.into_iter().enumerate() {
            let number = self.submit(&of, &at.to_string(), part).await?;
            let mut held = self.tasks.borrow_mut();
            let passing = held.entry(lease.key).or_default();
            passing.parts.push(number);
            // It was asked to end in between.
            self.cancel(passing);
        }
        for (at, part) in also.into_iter().enumerate() {
            self.submit(&of, &format!("+{at}"), part).await?;
        }
        let parts = self.tasks.borrow()[&lease.key].parts.clone();
        let mut results = Vec::with_capacity(parts.len());
        for number in parts {
            results.push(self.result_of_part(&id, number).await?);
        }
        // What ends well in spite of it is done.
        if self.is_stopped(lease.key) && results.iter().any(|result| result.ending != Ending::Done) {
            return Err(Fault::Stopped);
        }
        match self.ask(&id, Asked::Result { of, results }).await? {
            Said::Result(result) => Ok(result),
            _ => Err(self.nonsense(&id)),
        }
    }

    async fn ask(&self, id: &str, asked: Asked) -> Result<Said, Fault> {
        let name = &self.name;
        match self.program.ask(asked).await {
            Ok(Said::Refused(why)) => Err(self.refused(id, &why).into()),
            Ok(Said::Failed {
                class,
                message,
                trace,
            }) => {
                let text = format!("filter {name} failed over task {id}: {class}: {message}");
                Err(TaskError {
                    class: Some(class),
                    trace: Some(trace).filter(|trace| !trace.is_empty()),
                    ..TaskError::new(Code::FilterFailed, text)
                }
                .into())
            }
            Ok(said) => Ok(said),
            Err(why) => {
                let text = format!("filter {name} failed over task {id}: it {why}");
                Err(TaskError::new(Code::FilterFailed, text).into())
            }
        }
    }

    fn refused(&self, id: &str, why: &str) -> TaskError {
        TaskError::new(
            Code::FilterRefused,
            format!("filter {} refused task {id}: {why}", self.name),
        )
    }

    fn nonsense(&self, id: &str) -> Fault {
        let text = format!(
            "filter {} answered something else than it was asked of task {id}",
            self.name
        );
        TaskError::new(Code::FilterFailed, text).into()
    }

    /// Submits what runs in a task's place, unless an earlier keeper has. Gives its number.
    async fn submit(&self, of: &Filtered, at: &str, part: Part) -> Result<u64, Fault> {
        let label = format!("{}/{at}", of.id);
        if let Some(number) = self.earlier.borrow_mut().remove(&label) {
            return Ok(number);
        }
        let mut template = part.template;
        template.labels.insert(OWN.to_owned(), self.name.clone());
        template.labels.insert(LABEL.to_owned(), label);
        let task = Task::from_template(template).data(part.data);
        let index = Indices {
            first: of.index,
            step: 1,
            count: 1,
        };
        let accepted = match self.session.begin_held(&task, index) {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        match accepted {
            Ok(held) => Ok(held.submission),
            Err(error) => Err(self.fault(&of.id, &error)),
        }
    }

    /// How what was submitted ended.
    async fn result_of_part(&self, id: &str, number: u64) -> Result<FilteredResult, Fault> {
        self.wait(id, Selector::submission(number)).await?;
        let page = Page {
            select: Selector::submission(number),
            after: None,
            rows: 1,
        };
        let timeout = self.session.answer_timeout();
        let answered = match self.session.ask(Question::Results(page), timeout) {
            Ok(pending) => pending.await.and_then(ResultsPage::of),
            Err(error) => Err(error),
        };
        let page = answered.map_err(|error| self.fault(id, &error))?;
        let Some(held) = page.results.into_iter().next() else {
            let text = format!(
                "the result of submission {number}, which ran in the place of task {id}, was forgotten"
            );
            return Err(TaskError::new(Code::FilterFailed, text).into());
        };
        let result = held.result;
        Ok(FilteredResult {
            ending: result.ending,
            value: result.value.to_vec(),
            exit_code: result.exit_code,
            ran_us: u64::try_from(result.ran.as_micros()).unwrap_or(u64::MAX),
            error: result.error,
        })
    }

    /// Waits until what is selected has ended.
    async fn wait(&self, id: &str, select: Selector) -> Result<(), Fault> {
        let timeout_ms = u64::try_from(WAIT.as_millis()).unwrap_or(u64::MAX);
        loop {
            let question = Question::Wait {
                select: select.clone(),
                timeout_ms,
            };
            let answered = match self.session.ask(question, WAIT + SLACK) {
                Ok(pending) => pending.await,
                Err(error) => Err(error),
            };
            match answered {
                Ok(_) => return Ok(()),
                Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => {}
                // The agent was away for so long; the session says when that is too long.
                Err(ClientError::TimedOut { .. }) => {}
                Err(error) => return Err(self.fault(id, &error)),
            }
        }
    }

    fn fault(&self, id: &str, error: &ClientError) -> Fault {
        let name = &self.name;
        match error {
            ClientError::Over(_) => Fault::Over,
            // What is refused of it would have been refused of the task.
            ClientError::Refused { refusal, .. } => TaskError::new(
                refusal.code,
                format!(
                    "what filter {name} makes of task {id} was refused: {}",
                    refusal.message
                ),
            )
            .into(),
            error => TaskError::new(
                Code::FilterFailed,
                format!("filter {name} failed over task {id}: {error}"),
            )
            .into(),
        }
    }

    /// Drops what ran in a task's place once the agent has the task's own end: until then another keeper may have use for it.
    async fn forget(&self, lease: &TaskLease, parts: Vec<u64>) {
        if parts.is_empty() {
            return;
        }
        let task = Selector::task(lease.task.submission, lease.task.index);
        // One that nobody knows any more has ended.
        if let Err(Fault::Over) = self.wait("", task).await {
            return;
        }
        let forgotten = match self.session.begin_forget(submissions(&parts)) {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            tracing::debug!(%error, filter = self.name, "what ran in a task's place was not forgotten");
        }
    }
}

/// What a lease holds.
fn filtered(lease: &TaskLease) -> Result<Filtered, Fault> {
    let template = rmp_serde::from_slice(&lease.template.body).map_err(|problem| {
        let text = format!(
            "task {} is none that a filter was given by its pilot: {problem}",
            lease.task
        );
        Fault::from(TaskError::new(Code::WrongData, text))
    })?;
    Ok(Filtered {
        id: lease.task.to_string(),
        index: lease.task.index,
        part: Part {
            template,
            data: lease.data.to_vec(),
        },
    })
}

fn submissions(numbers: &[u64]) -> Selector {
    let pick = |number: &u64| Pick {
        first: *number,
        last: *number,
        step: 1,
        indices: None,
    };
    Selector {
        picks: numbers.iter().map(pick).collect(),
        ..Selector::default()
    }
}

fn outcome(result: FilteredResult, ran_us: u64) -> Outcome {
    let is_well = result.ending == Ending::Done;
    let error = result.error.filter(|_| !is_well).or_else(|| {
        let why = "the task ended badly, and its filter does not say why";
        (!is_well).then(|| TaskError::new(Code::FilterFailed, why))
    });
    Outcome {
        // What ran in the task's place was canceled, and not the task.
        ending: if is_well { Ending::Done } else { Ending::Failed },
        value: result.value.into(),
        exit_code: result.exit_code,
        ran_us: result.ran_us.clamp(1, ran_us),
        // It was tried as often as it says before the filter heard of it.
        error: error.map(|error| TaskError {
            retryable: false,
            ..error
        }),
        stopped: false,
    }
}

fn failed(error: TaskError, ran_us: u64) -> Outcome {
    Outcome {
        ending: Ending::Failed,
        value: Bytes::new(),
        exit_code: None,
        ran_us,
        error: Some(error),
        stopped: false,
    }
}

fn stopped(ran_us: u64) -> Outcome {
    Outcome {
        ending: Ending::Done,
        value: Bytes::new(),
        exit_code: None,
        ran_us,
        error: None,
        stopped: true,
    }
}
