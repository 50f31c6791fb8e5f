//! A model of an agent, as far as a client sees it, that asserts what it may rely on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use scalems_protocol::client::{
    Accepted, AgentToClient, Answer, Cancel, CancelDone, ClientHello, ClientToAgent, ClientWelcome, Counts,
    Durable, NamedClientToAgent as Named, Refused, Reply, Results, Submit,
};
use scalems_protocol::error::{Code, Refusal, TaskError};
use scalems_protocol::group::{Gather, ResultGroup, Run};
use scalems_protocol::task::{After, When};
use scalems_protocol::{Bytes, Ending, Origin};

use crate::script::{self, SESSION};

/// One task at the agent.
#[derive(Clone, Debug)]
struct Task {
    ending: Option<Ending>,
}

#[derive(Debug)]
struct Submission {
    tasks: Vec<Task>,
    after: Vec<After>,
    first: u32,
    windowed: bool,
}

type Down = (AgentToClient, Vec<Bytes>);

/// The agent. What it has to say is in `down`, which a break empties.
#[derive(Debug, Default)]
pub(crate) struct Model {
    attached: bool,
    high: u64,
    low: u64,
    answers: BTreeMap<u64, AgentToClient>,
    submissions: BTreeMap<u64, Submission>,
    /// Those with unfinished tasks.
    unfinished: BTreeSet<u64>,
    pending: VecDeque<ResultGroup>,
    unacknowledged: VecDeque<Results>,
    last_delivery: u64,
    pub(crate) window: u64,
    in_window: u64,
    pub(crate) largest: u64,
    pub(crate) down: VecDeque<Down>,
    /// Tasks taken on, and tasks ended.
    pub(crate) tasks: (u64, u64),
}

impl Model {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            window,
            low: 1,
            ..Self::default()
        }
    }

    /// The connection is gone, with what was on its way.
    pub(crate) fn cut(&mut self) {
        self.attached = false;
        self.down.clear();
    }

    pub(crate) fn take(&mut self, message: &ClientToAgent, _blobs: &[Bytes]) {
        let ClientToAgent::Named(named) = message else {
            panic!("a client of ours names its messages")
        };
        if let Named::ClientHello(hello) = named {
            return self.hello(hello);
        }
        if !self.attached {
            let refusal = Refusal::new(Code::HelloFirst, "hello first");
            return self.say(Refused {
                request: None,
                id: None,
                refusal,
            });
        }
        match named {
            Named::Submit(submit) => {
                self.numbered(submit.request, submit.low_water, |model| model.submit(submit));
            }
            Named::Cancel(cancel) => {
                self.numbered(cancel.request, cancel.low_water, |model| model.cancel(cancel));
            }
            Named::Acknowledge(ack) => self.acknowledge(ack.delivery),
            Named::Ask(ask) => self.say(Answer {
                id: ask.id,
                reply: Reply::Ended(Counts::default()),
            }),
            other => panic!("not in this test: {other:?}"),
        }
    }

    fn say(&mut self, message: impl Into<AgentToClient>) {
        self.down.push_back((message.into(), Vec::new()));
    }

    fn hello(&mut self, hello: &ClientHello) {
        assert_eq!(hello.resume.is_some(), hello.pilot.is_some());
        self.attached = true;
        if hello.resume.is_some() {
            self.acknowledge(hello.deliveries);
        }
        let next = self
            .unacknowledged
            .front()
            .map_or(self.last_delivery + 1, |first| first.delivery);
        let window = (self.window, u64::MAX);
        self.say(ClientWelcome {
            window,
            ..script::welcome(self.high, next)
        });
        for results in self.unacknowledged.clone() {
            self.say(results);
        }
    }

    fn acknowledge(&mut self, delivery: u64) {
        assert!(
            delivery <= self.last_delivery,
            "nothing is acknowledged that was not delivered"
        );
        while self
            .unacknowledged
            .front()
            .is_some_and(|first| first.delivery <= delivery)
        {
            self.unacknowledged.pop_front();
        }
    }

    /// Numbers are without gaps, what is repeated is answered from memory, what is below the mark never comes.
    fn numbered(&mut self, request: u64, low_water: u64, make: impl FnOnce(&mut Self) -> AgentToClient) {
        assert!(low_water >= self.low, "the mark never falls");
        assert!(request >= low_water);
        self.low = low_water;
        self.answers = self.answers.split_off(&low_water);
        if request <= self.high {
            let answer = self
                .answers
                .get(&request)
                .expect("what is repeated was not answered before")
                .clone();
            return self.say(answer);
        }
        assert_eq!(request, self.high + 1, "no number is left out");
        assert!(self.answers.len() < 4_096);
        self.high = request;
        let answer = make(self);
        self.answers.insert(request, answer.clone());
        self.say(answer);
    }

    fn submit(&mut self, submit: &Submit) -> AgentToClient {
        let count = u64::from(submit.count);
        let windowed = !submit.ends.is_empty() || count == 1;
        if windowed {
            assert!(
                self.in_window + count <= self.window,
                "{} + {count} of {}",
                self.in_window,
                self.window
            );
            self.in_window += count;
            self.largest = self.largest.max(self.in_window);
        }
        for after in &submit.task.after {
            let target = &self.submissions[&after.request.expect("dependencies are by request here")];
            assert!(
                after
                    .offsets
                    .is_none_or(|(lo, hi)| lo < hi && hi as usize <= target.tasks.len())
            );
            assert!(!after.each || target.tasks.len() as u64 == count);
        }
        let tasks = vec![Task { ending: None }; count as usize];
        self.tasks.0 += count;
        self.unfinished.insert(submit.request);
        self.submissions.insert(
            submit.request,
            Submission {
                tasks,
                after: submit.task.after.clone(),
                first: submit.first,
                windowed,
            },
        );
        Accepted {
            request: submit.request,
            submission: 100 + submit.request,
            count: submit.count,
            note: None,
            record: 0,
        }
        .into()
    }

    fn cancel(&mut self, cancel: &Cancel) -> AgentToClient {
        let mut done = CancelDone {
            request: cancel.request,
            ..CancelDone::default()
        };
        for pick in &cancel.select.picks {
            let (first, last, step) = pick.indices.expect("tasks are picked one by one");
            assert_eq!((pick.first, pick.step, step), (pick.last, 1, 1));
            let request = pick.first - 100;
            let base = self.submissions[&request].first;
            for offset in first - base..=last - base {
                if self.submissions[&request].tasks[offset as usize].ending.is_some() {
                    done.ended += 1;
                } else {
                    done.withdrawn += 1;
                    self.end(request, offset, offset + 1, Ending::Canceled);
                }
            }
        }
        done.into()
    }

    /// Whether a task may run, or has to end canceled.
    fn standing(&self, submission: &Submission, offset: u32) -> Option<Ending> {
        let mut ready = true;
        for after in &submission.after {
            let target = &self.submissions[&after.request.expect("dependencies are by request here")];
            let (lo, hi) = match after.offsets {
                Some(offsets) => offsets,
                None if after.each => (offset, offset + 1),
                None => (0, target.tasks.len() as u32),
            };
            let tasks = &target.tasks[lo as usize..hi as usize];
            let over = tasks.iter().all(|task| task.ending.is_some());
            let bad = tasks
                .iter()
                .any(|task| task.ending.is_some_and(|ending| ending != Ending::Done));
            ready &= over;
            let missed = match after.when {
                When::Ok => bad,
                When::Any => false,
                When::Failed => over && !bad,
            };
            if missed {
                return Some(Ending::Canceled);
            }
        }
        ready.then_some(Ending::Done)
    }

    fn end(&mut self, request: u64, lo: u32, hi: u32, ending: Ending) {
        let submission = self.submissions.get_mut(&request).expect("it is known");
        for task in &mut submission.tasks[lo as usize..hi as usize] {
            assert!(task.ending.is_none());
            task.ending = Some(ending);
        }
        self.tasks.1 += u64::from(hi - lo);
        if submission.tasks.iter().all(|task| task.ending.is_some()) {
            self.unfinished.remove(&request);
        }
        if submission.windowed {
            self.in_window -= u64::from(hi - lo);
        }
        let error = (ending != Ending::Done).then(|| TaskError::new(Code::TaskFailed, "so it is"));
        let run = Run {
            submission: 100 + request,
            lo,
            hi,
            attempt: 1,
        };
        let origin = Origin {
            session: SESSION,
            request,
        };
        let group = ResultGroup {
            run,
            origin,
            error,
            ..script::group(request, lo, hi, ending)
        };
        self.pending.push_back(group);
    }

    /// Ends up to `most` tasks that may end, `skip` of them passed over. Returns whether there were any.
    pub(crate) fn work(&mut self, mut skip: usize, mut most: usize, fail: bool) -> bool {
        let mut ends = Vec::new();
        'all: for request in self.unfinished.iter().rev() {
            let submission = &self.submissions[request];
            for (offset, task) in submission.tasks.iter().enumerate() {
                let offset = offset as u32;
                if task.ending.is_some() {
                    continue;
                }
                let Some(ending) = self.standing(submission, offset) else {
                    continue;
                };
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                let ending = if ending == Ending::Done && fail {
                    Ending::Failed
                } else {
                    ending
                };
                ends.push((*request, offset, ending));
                most -= 1;
                if most == 0 {
                    break 'all;
                }
            }
        }
        let any = !ends.is_empty();
        for (request, offset, ending) in ends {
            self.end(request, offset, offset + 1, ending);
        }
        any
    }

    /// Sends out results that have gathered.
    pub(crate) fn deliver(&mut self, groups: usize) {
        if !self.attached || self.pending.is_empty() {
            return;
        }
        let groups: Vec<ResultGroup> = self.pending.drain(..groups.min(self.pending.len())).collect();
        self.last_delivery += 1;
        let results = Results {
            delivery: self.last_delivery,
            durable: Durable::None,
            groups,
            accepted: Vec::new(),
        };
        self.unacknowledged.push_back(results.clone());
        self.down.push_back((results.into(), Gather::default().finish()));
    }
}
