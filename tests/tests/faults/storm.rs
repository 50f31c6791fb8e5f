//! A pilot under faults: tasks are submitted all the while, and in the end each has its one result.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::{Session, Task, TaskHandle};
use scalems_tests::pilot::{PATIENCE, Pilot, Running, process};
use scalems_tests::sim::random::Random;

/// Beats and losses in a twentieth of their time.
const SCALED: &str = "--beat 100ms --lost-after 500ms --orphan-time 60s";
const WORKERS: usize = 2;

/// What is done to a pilot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    KillAgent,
    KillWorker,
    KillAll,
    PauseAgent,
    PauseWorker,
}

/// How often, and during how many tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drill {
    pub(crate) rounds: u32,
    pub(crate) tasks: u32,
    pub(crate) faults: &'static [Fault],
    pub(crate) tcp: bool,
}

struct Storm {
    pilot: Pilot,
    options: String,
    workers: Vec<Running>,
    random: Random,
}

impl Drill {
    #[track_caller]
    pub(crate) fn run(self) {
        let seed = std::env::var("SCALEMS_FAULT_SEED").ok();
        let seed = seed.map_or(1, |seed| seed.parse().expect("a seed is a number"));
        println!("{self:?}, seed {seed}");
        let tcp = if self.tcp {
            "--tcp=127.0.0.1 --tcp-only"
        } else {
            ""
        };
        let options = format!("--no-workers {SCALED} {tcp}");
        let pilot = Pilot::start_alone(&options);
        let mut storm = Storm {
            workers: (0..WORKERS).map(|at| worker(&pilot, at)).collect(),
            pilot,
            options,
            random: Random::new(seed, 77),
        };
        let session = Session::options()
            .name("drill")
            .connect(storm.pilot.directory())
            .unwrap();
        let mut handles: Vec<TaskHandle> = Vec::new();
        for round in 1..=self.rounds {
            let until = (u64::from(self.tasks) * u64::from(round) / u64::from(self.rounds)) as usize;
            while handles.len() < until {
                handles.push(session.submit(storm.task(handles.len())).unwrap());
            }
            // A fault comes at any time in the life of the tasks before.
            let pause = Duration::from_millis(storm.random.within(0, 80));
            let _some = handles[handles.len() - 1].wait(pause);
            let fault = storm.random.pick(self.faults);
            storm.strike(fault);
        }
        let mut wrong = Vec::new();
        for (number, handle) in handles.iter().enumerate() {
            match handle.wait(PATIENCE) {
                Ok(result) if result.is_done() && value(number, &result) => {}
                other => wrong.push(format!("{number}: {other:?}")),
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {} tasks: {:#?}",
            wrong.len(),
            self.tasks,
            &wrong[..wrong.len().min(5)]
        );
        let counts = session.ask_status().unwrap().tasks;
        assert_eq!(
            (counts.done, counts.finished()),
            (self.tasks.into(), self.tasks.into()),
            "{counts:?}"
        );
        drop(session);
        storm.pilot.sh("scalems pilot stop").well();
        for worker in &mut storm.workers {
            worker.status();
        }
        storm.pilot.expect_end();
    }
}

/// Whether the result is that of this task.
fn value(number: usize, result: &scalems_client::TaskResult) -> bool {
    if number.is_multiple_of(4) {
        let program = result.program();
        program.is_ok_and(|program| program.stdout == format!("{number}\n").as_bytes())
    } else {
        result.value[..] == number.to_le_bytes()
    }
}

fn worker(pilot: &Pilot, at: usize) -> Running {
    pilot
        .home
        .spawn(&format!("scalems worker start --name w{at} --cores 4"))
}

impl Storm {
    /// Every fourth is a program.
    fn task(&mut self, number: usize) -> Task {
        let policy = scalems_client::protocol::task::Policy {
            // Whoever kills workers all the time is not to blame the tasks.
            crash_limit: 1_000,
            ..Default::default()
        };
        if number.is_multiple_of(4) {
            let long = self.random.within(0, 30);
            self.pilot
                .line(&format!("sleep 0.0{long:02}; echo {number}"))
                .policy(policy)
        } else {
            Task::new("scalems.echo")
                .data(number.to_le_bytes().to_vec())
                .policy(policy)
        }
    }

    fn strike(&mut self, fault: Fault) {
        let at = self.random.within(0, WORKERS as u64) as usize;
        match fault {
            Fault::KillAgent => {
                self.pilot.kill_agent();
                self.resume();
            }
            Fault::KillWorker => self.kill_worker(at),
            Fault::KillAll => {
                self.pilot.kill_agent();
                (0..WORKERS).for_each(|at| self.workers[at].signal(Signal::SIGKILL));
                self.resume();
                (0..WORKERS).for_each(|at| self.kill_worker(at));
            }
            Fault::PauseAgent => self.pause(self.pilot.pid()),
            Fault::PauseWorker => self.pause(self.workers[at].pid()),
        }
    }

    fn kill_worker(&mut self, at: usize) {
        self.workers[at].signal(Signal::SIGKILL);
        self.workers[at].status();
        self.workers[at] = worker(&self.pilot, at);
    }

    fn resume(&mut self) {
        let begin = Instant::now();
        self.pilot.resume(&self.options);
        let took = begin.elapsed();
        assert!(took < PATIENCE / 2, "it served again after {took:?}");
    }

    /// Halts a process for a tenth of a second to one and a half.
    fn pause(&mut self, pid: u32) {
        process::signal(pid, Signal::SIGSTOP);
        let long = self.random.within(100, 1_500);
        process::wait_gone(pid, Instant::now() + Duration::from_millis(long));
        process::signal(pid, Signal::SIGCONT);
    }
}
