//! A pilot under faults: tasks are submitted all the while, and in the end each has its one result.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::Session;
use scalems_tests::pilot::{PATIENCE, Pilot, Running, process};
use scalems_tests::sim::random::Random;

use crate::stream::Stream;

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
        let seed = crate::seed();
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
        let mut stream = Stream::default();
        for round in 1..=self.rounds {
            let until = (u64::from(self.tasks) * u64::from(round) / u64::from(self.rounds)) as usize;
            stream.submit_until(until, &session, &storm.pilot, &mut storm.random);
            // A fault comes at any time in the life of the tasks before.
            let pause = Duration::from_millis(storm.random.within(0, 80));
            stream.run_for(pause);
            let fault = storm.random.pick(self.faults);
            storm.strike(fault);
        }
        stream.expect_all(&session);
        drop(session);
        storm.pilot.sh("scalems pilot stop").well();
        for worker in &mut storm.workers {
            worker.status();
        }
        storm.pilot.expect_end();
    }
}

fn worker(pilot: &Pilot, at: usize) -> Running {
    pilot
        .home
        .spawn(&format!("scalems worker start --name w{at} --cores 4"))
}

impl Storm {
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
