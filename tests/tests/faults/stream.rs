//! Tasks that go on while things break: in the end each has its one result, and that is its own.

use std::time::Duration;

use scalems_client::protocol::task::Policy;
use scalems_client::{Session, Task, TaskHandle, TaskResult};
use scalems_tests::pilot::{PATIENCE, Pilot};
use scalems_tests::sim::random::Random;

/// The tasks of one session, by their numbers.
#[derive(Default)]
pub(crate) struct Stream {
    handles: Vec<TaskHandle>,
}

impl Stream {
    /// Submits until there are so many.
    pub(crate) fn submit_until(
        &mut self,
        count: usize,
        session: &Session,
        pilot: &Pilot,
        random: &mut Random,
    ) {
        while self.handles.len() < count {
            let task = task(self.handles.len(), pilot, random);
            self.handles.push(session.submit(task).unwrap());
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    /// Lets the last one run for so long, or to its end.
    pub(crate) fn run_for(&self, pause: Duration) {
        let _some = self.handles[self.handles.len() - 1].wait(pause);
    }

    /// Waits until all of them have ended, and says how many have not.
    pub(crate) fn left_after(&self, patience: Duration) -> usize {
        let _all = scalems_client::wait_all(&self.handles, patience);
        self.handles.iter().filter(|handle| !handle.is_done()).count()
    }

    /// Expects that each ends with its value, and that the agent knows as many as there are.
    #[track_caller]
    pub(crate) fn expect_all(&self, session: &Session) {
        let mut wrong = Vec::new();
        for (number, handle) in self.handles.iter().enumerate() {
            match handle.wait(PATIENCE) {
                Ok(result) if result.is_done() && is_its_value(number, &result) => {}
                other => wrong.push(format!("{number}: {other:?}")),
            }
        }
        let count = self.handles.len();
        assert!(
            wrong.is_empty(),
            "{} of {count} tasks: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        let counts = session.ask_status().unwrap().tasks;
        assert_eq!(
            (counts.done, counts.finished()),
            (count as u64, count as u64),
            "{counts:?}"
        );
    }
}

/// Every fourth is a program.
fn task(number: usize, pilot: &Pilot, random: &mut Random) -> Task {
    let policy = Policy {
        // Whoever takes workers away all the time is not to blame the tasks.
        crash_limit: 1_000,
        ..Policy::default()
    };
    if number.is_multiple_of(4) {
        let long = random.within(0, 30);
        pilot
            .line(&format!("sleep 0.0{long:02}; echo {number}"))
            .policy(policy)
    } else {
        Task::new("scalems.echo")
            .data(number.to_le_bytes().to_vec())
            .policy(policy)
    }
}

fn is_its_value(number: usize, result: &TaskResult) -> bool {
    if number.is_multiple_of(4) {
        let program = result.program();
        program.is_ok_and(|program| program.stdout == format!("{number}\n").as_bytes())
    } else {
        result.value[..] == number.to_le_bytes()
    }
}
