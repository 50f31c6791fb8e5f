//! Reads: what the agent knows.

use std::time::Duration;

use scalems_protocol::Bytes;
use scalems_protocol::client::{
    Counts, Explanation, Listing, OutputPage, OutputPart, Page, Question, Reply, Status, SubmissionRow,
    TaskRow, WorkerRow, WorkersPage,
};
use scalems_protocol::group::ResultGroup;
use scalems_protocol::select::Selector;
use scalems_protocol::{Code, TaskId, WireError};

use crate::calls::pending;
use crate::error::ClientError;
use crate::machine::{Answered, Call, Group};
use crate::pending::Pending;
use crate::result::TaskResult;
use crate::session::Session;

/// How much longer than the wait itself its answer may be on its way.
const WAIT_SLACK: Duration = Duration::from_secs(10);

/// A page of results that the agent holds.
#[derive(Clone, Debug)]
pub struct ResultsPage {
    /// The results, by submission and offset. The index of a task is `first + step * offset`, as its submission's row in
    /// [`Session::ask_submissions`] says, or if that is sparse its own in [`Session::ask_tasks`].
    pub results: Vec<HeldResult>,
    /// Where the next page begins, if there is more: for [`Page::after`].
    pub next: Option<(u64, u32)>,
}

/// A result that the agent holds.
#[derive(Clone, Debug)]
pub struct HeldResult {
    /// The submission's number.
    pub submission: u64,
    /// The offset in it.
    pub offset: u32,
    /// The result. Its id has the offset for an index.
    pub result: TaskResult,
}

impl ResultsPage {
    /// The page that the answer to [`Question::Results`] is.
    pub fn of((reply, blobs): (Reply, Vec<Bytes>)) -> Result<Self, ClientError> {
        let Reply::Results(listing) = reply else {
            return Err(ClientError::WrongAnswer { asked: "results" });
        };
        let mut results = Vec::new();
        for group in listing.rows {
            read(group, &blobs, &mut results).map_err(ClientError::Unreadable)?;
        }
        Ok(Self {
            results,
            next: listing.next,
        })
    }
}

impl Session {
    /// Asks something of the agent, without waiting for the answer.
    pub fn ask(
        &self,
        question: Question,
        timeout: Duration,
    ) -> Result<Pending<(Reply, Vec<Bytes>)>, ClientError> {
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        pending(
            self.shared(),
            Call::Ask { question, timeout_us },
            "the question",
            |answered| match answered {
                Answered::Reply(reply, blobs) => Some((reply, blobs)),
                _ => None,
            },
        )
    }

    fn answer(&self, question: Question, timeout: Duration) -> Result<(Reply, Vec<Bytes>), ClientError> {
        // The machine ends the question at its time, so this wait has an end.
        self.ask(question, timeout)?.wait(None)
    }

    /// The agent as a whole: counts, workers, resources.
    pub fn ask_status(&self) -> Result<Status, ClientError> {
        match self.answer(Question::Status, self.answer_timeout())?.0 {
            Reply::Status(status) => Ok(*status),
            _ => Err(ClientError::WrongAnswer { asked: "status" }),
        }
    }

    /// All workers that live.
    pub fn ask_workers(&self) -> Result<Vec<WorkerRow>, ClientError> {
        let mut all = Vec::new();
        let mut page = WorkersPage::default();
        loop {
            match self.answer(Question::Workers(page), self.answer_timeout())?.0 {
                Reply::Workers(listing) => {
                    all.extend(listing.rows);
                    // Forwards in any case: whatever the agent says, this ends.
                    if listing.next.is_none() || listing.next <= page.after {
                        return Ok(all);
                    }
                    page.after = listing.next;
                }
                _ => return Err(ClientError::WrongAnswer { asked: "workers" }),
            }
        }
    }

    /// A page of submissions.
    pub fn ask_submissions(&self, page: Page) -> Result<Listing<SubmissionRow>, ClientError> {
        match self.answer(Question::Submissions(page), self.answer_timeout())?.0 {
            Reply::Submissions(listing) => Ok(listing),
            _ => Err(ClientError::WrongAnswer { asked: "submissions" }),
        }
    }

    /// A page of tasks, a row for each run of tasks in one state.
    pub fn ask_tasks(&self, page: Page) -> Result<Listing<TaskRow>, ClientError> {
        match self.answer(Question::Tasks(page), self.answer_timeout())?.0 {
            Reply::Tasks(listing) => Ok(listing),
            _ => Err(ClientError::WrongAnswer { asked: "tasks" }),
        }
    }

    /// What a task's program writes, while it runs: answered once there is something behind the places that are asked
    /// for, the task does not run, or the time is over.
    pub fn ask_output(&self, page: OutputPage) -> Result<OutputPart, ClientError> {
        let timeout = Duration::from_millis(page.timeout_ms).saturating_add(WAIT_SLACK);
        match self.answer(Question::Output(page), timeout)?.0 {
            Reply::Output(part) => Ok(*part),
            _ => Err(ClientError::WrongAnswer { asked: "output" }),
        }
    }

    /// One task: all that is known of it, and why it waits.
    pub fn ask_explain(&self, task: TaskId) -> Result<Explanation, ClientError> {
        let select = Selector::task(task.submission, task.index);
        match self.answer(Question::Explain(select), self.answer_timeout())?.0 {
            Reply::Explain(explanation) => Ok(*explanation),
            _ => Err(ClientError::WrongAnswer { asked: "explain" }),
        }
    }

    /// A page of results that the agent holds.
    ///
    /// ```no_run
    /// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
    /// use scalems_client::protocol::client::Page;
    /// use scalems_client::protocol::select::Selector;
    ///
    /// let mut after = None;
    /// loop {
    ///     let page = session.ask_results(Page { select: Selector::submission(5), after, rows: 0 })?;
    ///     for held in page.results {
    ///         println!("{}.{}: {:?}", held.submission, held.offset, held.result.ending);
    ///     }
    ///     after = page.next;
    ///     if after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn ask_results(&self, page: Page) -> Result<ResultsPage, ClientError> {
        ResultsPage::of(self.answer(Question::Results(page), self.answer_timeout())?)
    }

    /// Waits, at the agent, until all selected tasks have ended, and counts them. The time is the caller's
    /// choice; when it is over this is [`ClientError::TimedOut`].
    pub fn ask_wait(&self, select: Selector, timeout: Duration) -> Result<Counts, ClientError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let question = Question::Wait { select, timeout_ms };
        match self.answer(question, timeout.saturating_add(WAIT_SLACK)) {
            Ok((Reply::Ended(counts), _)) => Ok(counts),
            Ok(_) => Err(ClientError::WrongAnswer { asked: "wait" }),
            Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => {
                Err(ClientError::TimedOut {
                    what: "the end of the selected tasks",
                    waited: timeout,
                })
            }
            Err(error) => Err(error),
        }
    }
}

fn read(group: ResultGroup, blobs: &[Bytes], results: &mut Vec<HeldResult>) -> Result<(), WireError> {
    let ResultGroup {
        run,
        ending,
        place,
        exit_code,
        ran_us,
        error,
        ..
    } = group;
    run.check()?;
    let data = place.take(run.count(), blobs)?;
    let durable = scalems_protocol::client::Durable::None;
    let group = Group {
        run: Some(run),
        ending,
        data,
        exit_code,
        ran_us,
        error,
        durable,
    };
    for (at, offset) in (run.lo..run.hi).enumerate() {
        let id = TaskId {
            submission: run.submission,
            index: offset,
        };
        let result = TaskResult::new(Some(id), &group, at as u32);
        results.push(HeldResult {
            submission: run.submission,
            offset,
            result,
        });
    }
    Ok(())
}
