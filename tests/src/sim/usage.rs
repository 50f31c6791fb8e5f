//! What a client's program does with its session.

use std::sync::Arc;

use bytes::Bytes;
use scalems_client::machine::{Call, Dependency, Input, Pack, PackKey, Shape};
use scalems_protocol::client::{OutputPage, Page, Question, WorkersPage};
use scalems_protocol::event::Topic;
use scalems_protocol::group::Data;
use scalems_protocol::select::Selector;
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::task::{MemoryLimit, Needs, OnSilence, Placement, Policy, Template, When};
use scalems_protocol::{Amount, program};

use super::client::SimClient;
use super::programs::{self, Behaviour};

/// The longest that a program takes, milliseconds.
const LONGEST: u16 = 4_000;

const STRENGTHS: [Strength; 3] = [Strength::Withdraw, Strength::Request, Strength::Kill];

impl SimClient {
    /// Does one thing.
    pub fn operate(&mut self) {
        if !self.lives() {
            return;
        }
        match self.random.within(0, 100) {
            0..50 => self.submit_batch(),
            50..65 => self.submit_array(),
            65..70 => self.submit_held(),
            70..76 => self.open_or_add(),
            76..81 => self.cancel_tasks(),
            81..84 => self.cancel_some(),
            84..88 => self.forget(),
            88..92 => self.release(),
            92..94 => self.read(),
            94..96 => self.retry(),
            96 => {
                let worker = Some(self.random.within(1, 6));
                let drain_ms = self.random.pick(&[0, 500, 10_000]);
                self.call(Call::Stop {
                    worker,
                    drain_ms,
                    timeout_us: 30_000_000,
                });
            }
            _ => {
                let topic = self.random.pick(&[0, 1, 2, 3]);
                let topic = match topic {
                    0 => Topic::Summary,
                    1 => Topic::Workers,
                    2 => Topic::Alarms,
                    _ => Topic::Submission(self.random.within(1, 20)),
                };
                self.inbox.push_back(Input::Listen(topic));
            }
        }
    }

    fn template(&mut self) -> Arc<Template> {
        let mode = match self.random.within(0, 100) {
            0..55 => programs::MODE,
            55..70 => program::ECHO,
            70..80 => program::NOOP,
            80..90 => program::SLEEP,
            _ => program::FAIL,
        };
        let cores = match self.random.within(0, 10) {
            0..6 => 1.into(),
            6 => 0.into(),
            7 => Amount::from_parts(self.random.pick(&[2_500, 5_000, 7_000, 15_000])),
            8 => Amount::from(self.random.within(2, 5) as u32),
            _ => 8.into(),
        };
        // Not every worker has some.
        let gpus = if self.random.percent(12) {
            Amount::from_parts(self.random.pick(&[3_000, 10_000, 15_000]))
        } else {
            Amount::ZERO
        };
        let variants = if self.random.percent(15) {
            let other = self.random.pick(&[5_000, 20_000, 30_000]);
            vec![Needs::cores(Amount::from_parts(other)), Needs::default()]
        } else {
            Vec::new()
        };
        let policy = Policy {
            priority: self.random.within(0, 3) as i32,
            retries: self.random.pick(&[0, 0, 1, 3]),
            retry_on: Vec::new(),
            backoff_ms: self.random.pick(&[0, 0, 200, 1_500]),
            crash_limit: self.random.pick(&[1, 2, 5]),
            time_limit_ms: self.random.pick(&[0, 0, 0, 300]),
            deadline_ms: self.random.pick(&[0, 0, 0, 0, 0, 2_000, 20_000]),
            grace_ms: self.random.pick(&[0, 500]),
            on_silence: self.random.pick(&[
                OnSilence::Rerun,
                OnSilence::Rerun,
                OnSilence::Continue,
                OnSilence::Stop,
            ]),
            // Which is the shell's to do: no program here has memory.
            memory_limit: MemoryLimit::Enforce,
        };
        Arc::new(Template {
            mode: mode.into(),
            needs: Needs {
                placement: self.random.pick(&[
                    Placement::Compact,
                    Placement::Compact,
                    Placement::Strict,
                    Placement::Scatter,
                ]),
                gpus_per_rank: gpus,
                variants,
                ..Needs::cores(cores)
            },
            policy,
            max_failures: self.random.pick(&[None, None, None, None, Some(0), Some(2)]),
            ..Template::default()
        })
    }

    /// Data of one task of a mode.
    fn data(&mut self, mode: &str, longest: u16) -> Vec<u8> {
        let number = self.key();
        match mode {
            programs::MODE => {
                let behaviour = if self.random.percent(60) {
                    Behaviour::Well
                } else {
                    self.random.pick(&Behaviour::ALL)
                };
                let milliseconds: u16 = self.random.pick(&[0, 1, 30, 200, 1_000, 4_000]);
                programs::data(behaviour, milliseconds.min(longest), number)
            }
            program::SLEEP => self
                .random
                .pick(if longest < LONGEST {
                    &["0.0", "0.05"][..]
                } else {
                    &["0.0", "0.05", "1.5"]
                })
                .into(),
            program::ECHO if self.random.percent(10) => vec![number as u8; 20_000],
            program::ECHO if self.random.percent(20) => Vec::new(),
            _ => format!("{}-{number}", self.index).into(),
        }
    }

    /// Some earlier packs that this one is to come after.
    fn after(&mut self, count: u32, array: bool) -> Vec<Dependency> {
        let mut after = Vec::new();
        while self.random.percent(25) {
            let known: Vec<PackKey> = self
                .packs
                .iter()
                .filter(|(_, pack)| !pack.released)
                .map(|(key, _)| *key)
                .collect();
            if known.is_empty() {
                break;
            }
            let on = self.random.pick(&known);
            let pack = &self.packs[&on];
            let tasks = pack.resolved.len() as u32;
            let each = array && pack.array && tasks == count && self.random.percent(70);
            let lo = self.random.within(0, u64::from(tasks)) as u32;
            let hi = self.random.within(u64::from(lo) + 1, u64::from(tasks) + 1) as u32;
            let offsets = (!each && self.random.percent(30)).then_some((lo, hi));
            let when = self.random.pick(&[When::Ok, When::Any, When::Any, When::Failed]);
            after.push(Dependency {
                on,
                offsets,
                when,
                each,
            });
        }
        after
    }

    fn submit_batch(&mut self) {
        let template = self.template();
        let count = self.random.pick(&[1, 1, 2, 5, 20, 60]);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..count {
            bytes.extend(self.data(&template.mode, LONGEST));
            ends.push(bytes.len() as u32);
        }
        let data = Data {
            bytes: bytes.into(),
            ends,
        };
        let after = self.after(count, false);
        let key = PackKey(self.key());
        self.submit(
            Pack {
                key,
                template,
                count,
                shape: Shape::Batch,
                data,
                after,
            },
            false,
        );
    }

    fn submit_array(&mut self) {
        let template = self.template();
        let count = self.random.pick(&[1, 4, 4, 30, 30, 500]);
        // So many take long enough together.
        let longest = if count > 100 { 100 } else { LONGEST };
        let data = Data::shared(Bytes::from(self.data(&template.mode, longest)));
        let shape = Shape::Array {
            first: self.random.within(0, 9) as u32,
            step: self.random.within(1, 4) as u32,
        };
        let after = self.after(count, true);
        let key = PackKey(self.key());
        self.submit(
            Pack {
                key,
                template,
                count,
                shape,
                data,
                after,
            },
            true,
        );
    }

    fn submit_held(&mut self) {
        let template = self.template();
        let count = self.random.pick(&[1, 3, 40]);
        let alone = template.mode == programs::MODE && template.policy.on_silence != OnSilence::Rerun;
        let data = if alone && count == 1 {
            // It runs for longer than it takes until it may begin elsewhere.
            let number = self.key();
            programs::data(Behaviour::Well, 60_000, number)
        } else {
            self.data(&template.mode, LONGEST)
        };
        let data = Data::shared(Bytes::from(data));
        self.call(Call::Held {
            template,
            count,
            first: 0,
            step: 1,
            data,
            open: false,
            total: None,
        });
    }

    /// Opens a submission, or adds to one of anybody's that is open, or closes it.
    fn open_or_add(&mut self) {
        if self.opened.is_empty() || self.random.percent(25) {
            let template = self.template();
            let (count, data) = self.several(&template.mode);
            let (first, step) = (self.random.within(0, 3) as u32, self.random.within(1, 3) as u32);
            return self.call(Call::Held {
                template,
                count,
                first,
                step,
                data,
                open: true,
                total: None,
            });
        }
        let at = self.random.within(0, self.opened.len() as u64) as usize;
        let (submission, mode) = self.opened[at].clone();
        if self.random.percent(15) {
            let select = Selector::submission(submission);
            return self.call(Call::Close { select });
        }
        let (_, data) = self.several(&mode);
        self.call(Call::Append { submission, data });
    }

    fn several(&mut self, mode: &str) -> (u32, Data) {
        let count = self.random.pick(&[1, 2, 7, 40]);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..count {
            bytes.extend(self.data(mode, 200));
            ends.push(bytes.len() as u32);
        }
        let bytes = bytes.into();
        (count, Data { bytes, ends })
    }

    fn cancel_tasks(&mut self) {
        let known: Vec<PackKey> = self
            .packs
            .iter()
            .filter(|(_, pack)| !pack.released)
            .map(|(key, _)| *key)
            .collect();
        if known.is_empty() {
            return;
        }
        let mut tasks = Vec::new();
        for _ in 0..self.random.within(1, 4) {
            let key = self.random.pick(&known);
            let count = self.packs[&key].resolved.len() as u64;
            let lo = self.random.within(0, count);
            let hi = self.random.within(lo + 1, count + 1);
            tasks.push((key, lo as u32, hi as u32));
        }
        let strength = self.random.pick(&STRENGTHS);
        self.call(Call::CancelTasks {
            tasks,
            strength,
            reason: "no need".into(),
        });
    }

    fn cancel_some(&mut self) {
        let select = Selector::submission(self.random.within(1, 40));
        let strength = self.random.pick(&STRENGTHS);
        self.call(Call::Cancel {
            select,
            strength,
            reason: String::new(),
        });
    }

    fn forget(&mut self) {
        if !self.held.is_empty() {
            let select = Selector::submission(self.random.pick(&self.held.clone()));
            self.call(Call::Forget { select });
        }
    }

    /// Submits what did not end well again.
    fn retry(&mut self) {
        // What it comes to is seen by its record.
        if self.held.is_empty() || !self.journal {
            return;
        }
        let select = Selector {
            state: self
                .random
                .pick(&[None, None, Some(TaskState::Failed), Some(TaskState::Canceled)]),
            ..Selector::submission(self.random.pick(&self.held.clone()))
        };
        let repeat = self.random.percent(20);
        self.call(Call::Retry { select, repeat });
    }

    fn release(&mut self) {
        let over = |pack: &super::client::Submitted| pack.resolved.iter().all(|done| *done);
        let done: Vec<PackKey> = self
            .packs
            .iter()
            .filter(|(_, pack)| !pack.released && over(pack))
            .map(|(key, _)| *key)
            .collect();
        for key in done {
            self.packs.get_mut(&key).expect("it was just found").released = true;
            self.inbox.push_back(Input::Release(key));
        }
    }

    fn read(&mut self) {
        let page = Page {
            select: Selector::all(),
            after: None,
            rows: 20,
        };
        let select = Selector::submission(self.random.within(1, 30));
        let question = match self.random.within(0, 7) {
            0 => Question::Status,
            1 => Question::Workers(WorkersPage::default()),
            2 => Question::Submissions(page),
            3 => Question::Tasks(page),
            4 => Question::Explain(select),
            5 => Question::Output(OutputPage {
                submission: self.random.within(1, 30),
                timeout_ms: self.random.within(0, 3_000),
                ..OutputPage::default()
            }),
            _ => Question::Wait {
                select,
                timeout_ms: self.random.within(0, 5_000),
            },
        };
        self.ask(question, 30_000_000);
    }
}
