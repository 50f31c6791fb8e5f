//! The machine and the model of an agent over a network that loses what is on its way whenever it breaks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use scalems_client::machine::{
    Call, CallKey, Config, Dependency, Input, Machine, Output, Pack, PackKey, Shape,
};
use scalems_protocol::Bytes;
use scalems_protocol::client::ClientToAgent;
use scalems_protocol::group::Data;
use scalems_protocol::state::Strength;
use scalems_protocol::task::{Template, When};

use crate::model::Model;
use crate::script;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The user submits so many tasks, of one of some kinds, after an earlier pack or not.
    Submit {
        count: u32,
        kind: usize,
        after: Option<(usize, When, bool)>,
        array: bool,
        bytes: usize,
    },
    /// The user cancels some of an earlier pack.
    Cancel { pack: usize, lo: u32, count: u32 },
    /// The user forgets an earlier pack.
    Release { pack: usize },
    /// So many messages arrive at the agent.
    Up(usize),
    /// So many messages arrive at the client.
    Down(usize),
    /// The agent ends some tasks.
    Work { skip: usize, most: usize, fail: bool },
    /// The agent sends results.
    Deliver(usize),
    /// The connection breaks; both see it, or only the agent does.
    Break { seen: bool },
    /// The connection stands again.
    Connect,
    /// Time passes.
    Time(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let when = prop_oneof![Just(When::Ok), Just(When::Any), Just(When::Failed)];
    let after = prop::option::weighted(0.4, (0..20_usize, when, any::<bool>()));
    prop_oneof![
        6 => (1..12_u32, 0..3_usize, after, prop::bool::weighted(0.2), 0..30_usize).prop_map(
            |(count, kind, after, array, bytes)| Event::Submit { count, kind, after, array, bytes }
        ),
        1 => (0..20_usize, 0..10_u32, 1..10_u32).prop_map(|(pack, lo, count)| Event::Cancel { pack, lo, count }),
        1 => (0..20_usize).prop_map(|pack| Event::Release { pack }),
        4 => (1..5_usize).prop_map(Event::Up),
        4 => (1..5_usize).prop_map(Event::Down),
        4 => (0..6_usize, 1..20_usize, prop::bool::weighted(0.2))
            .prop_map(|(skip, most, fail)| Event::Work { skip, most, fail }),
        3 => (1..4_usize).prop_map(Event::Deliver),
        1 => any::<bool>().prop_map(|seen| Event::Break { seen }),
        3 => Just(Event::Connect),
        1 => (0..3_000_000_u64).prop_map(Event::Time),
    ]
}

struct World {
    machine: Machine,
    model: Model,
    now: u64,
    connected: bool,
    up: VecDeque<(ClientToAgent, Vec<Bytes>)>,
    /// By pack: how often each task was resolved.
    packs: Vec<Vec<u32>>,
    released: Vec<bool>,
    shapes: Vec<Shape>,
    calls: BTreeMap<CallKey, u32>,
    kinds: Vec<Arc<Template>>,
}

impl World {
    fn new(window: u64) -> Self {
        let config = Config {
            give_up_us: u64::MAX / 2,
            connect_us: u64::MAX / 2,
            ..Config::default()
        };
        Self {
            machine: Machine::new(config, 0),
            model: Model::new(window),
            now: 0,
            connected: false,
            up: VecDeque::new(),
            packs: Vec::new(),
            released: Vec::new(),
            shapes: Vec::new(),
            calls: BTreeMap::new(),
            kinds: ["a", "b", "c"].map(script::template).into(),
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        self.machine.handle(self.now, input, &mut out);
        assert!(
            !out.iter().any(|output| matches!(output, Output::Send(..))),
            "only a flush sends"
        );
        self.machine.flush(self.now, &mut out);
        for output in out {
            match output {
                Output::Send(message, blobs) => {
                    assert!(self.connected, "nothing is sent without a connection");
                    self.up.push_back((message, blobs));
                }
                Output::Resolve { pack, lo, hi, .. } => {
                    assert!(lo < hi);
                    for count in &mut self.packs[pack.0 as usize][lo as usize..hi as usize] {
                        *count += 1;
                        assert_eq!(*count, 1, "{pack:?} {lo}..{hi}");
                    }
                }
                Output::Reply(key, reply) => {
                    assert!(reply.is_ok(), "{reply:?}");
                    let count = self.calls.get_mut(&key).unwrap();
                    *count += 1;
                    assert_eq!(*count, 1);
                }
                Output::Attached(_) | Output::Named { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn submit(
        &mut self,
        count: u32,
        kind: usize,
        after: Option<(usize, When, bool)>,
        array: bool,
        bytes: usize,
    ) {
        let key = PackKey(self.packs.len() as u64);
        let shape = if array {
            Shape::Array { first: 1, step: 1 }
        } else {
            Shape::Batch
        };
        let mut dependencies = Vec::new();
        let mut count = count;
        if let Some((back, when, each)) = after
            && let Some(on) = self.packs.len().checked_sub(1 + back)
            && !self.released[on]
        {
            let each = each && array && matches!(self.shapes[on], Shape::Array { .. });
            let target = self.packs[on].len() as u32;
            count = if each { target } else { count };
            let offsets = (!each && count.is_multiple_of(2)).then_some((target / 2, target));
            dependencies.push(Dependency {
                on: PackKey(on as u64),
                offsets,
                when,
                each,
            });
        }
        self.packs.push(vec![0; count as usize]);
        self.released.push(false);
        self.shapes.push(shape);
        let ends: Vec<u32> = if array {
            Vec::new()
        } else {
            (1..=count).map(|end| end * bytes as u32).collect()
        };
        let size = ends.last().copied().unwrap_or_default() as usize;
        let data = Data {
            bytes: vec![0; size].into(),
            ends,
        };
        let template = Arc::clone(&self.kinds[kind]);
        self.input(Input::Submit(Pack {
            key,
            template,
            count,
            shape,
            data,
            after: dependencies,
        }));
    }

    fn cut(&mut self) {
        self.up.clear();
        self.model.cut();
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Submit {
                count,
                kind,
                after,
                array,
                bytes,
            } => self.submit(count, kind, after, array, bytes),
            Event::Cancel { pack, lo, count } => {
                let Some(pack) = self.packs.len().checked_sub(1 + pack) else {
                    return;
                };
                let hi = (lo + count).min(self.packs[pack].len() as u32);
                if lo < hi {
                    let key = CallKey(self.calls.len() as u64);
                    self.calls.insert(key, 0);
                    let tasks = vec![(PackKey(pack as u64), lo, hi)];
                    let (strength, reason) = (Strength::Withdraw, String::new());
                    self.input(Input::Call(
                        key,
                        Call::CancelTasks {
                            tasks,
                            strength,
                            reason,
                        },
                    ));
                }
            }
            Event::Release { pack } => {
                if let Some(pack) = self.packs.len().checked_sub(1 + pack) {
                    self.released[pack] = true;
                    self.input(Input::Release(PackKey(pack as u64)));
                }
            }
            Event::Up(count) => {
                for (message, blobs) in self.up.drain(..count.min(self.up.len())) {
                    self.model.take(&message, &blobs);
                }
            }
            Event::Down(count) => {
                for _ in 0..count {
                    let Some((message, blobs)) = self.model.down.pop_front() else {
                        break;
                    };
                    self.input(Input::Message(message, blobs));
                }
            }
            Event::Work { skip, most, fail } => {
                self.model.work(skip, most, fail);
            }
            Event::Deliver(groups) => self.model.deliver(groups),
            Event::Break { seen } => {
                self.cut();
                if seen && self.connected {
                    self.connected = false;
                    self.input(Input::Disconnected);
                }
            }
            Event::Connect => {
                if !self.connected {
                    self.connected = true;
                    self.input(Input::Connected);
                }
            }
            Event::Time(by) => {
                self.now += by;
                self.input(Input::Tick);
            }
        }
    }

    /// Lets everything come to its end over a connection that holds.
    fn settle(&mut self) {
        self.cut();
        self.connected = true;
        self.input(Input::Connected);
        for _ in 0..10_000 {
            self.happen(&Event::Up(usize::MAX));
            self.model.work(0, usize::MAX, false);
            self.model.deliver(1_000);
            self.happen(&Event::Down(1_000));
            if self.packs.iter().flatten().all(|count| *count == 1)
                && self.calls.values().all(|count| *count == 1)
            {
                return;
            }
            if self.up.is_empty() && self.model.down.is_empty() {
                self.now = self.machine.deadline(self.now).unwrap_or(self.now + 1);
                self.input(Input::Tick);
            }
        }
        panic!("not everything ended: {:?} {:?}", self.packs, self.calls);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_task_ends_once(events in prop::collection::vec(event(), 1..120), window in 1..40_u64) {
        let mut world = World::new(window);
        for event in &events {
            world.happen(event);
        }
        world.settle();
        prop_assert!(world.model.largest <= window);
        prop_assert_eq!(world.machine.in_window(), (0, 0));
        prop_assert_eq!(world.machine.backlog_bytes(), 0);
        prop_assert_eq!(world.model.tasks.0, world.model.tasks.1);
        for pack in 0..world.packs.len() {
            world.input(Input::Release(PackKey(pack as u64)));
        }
        prop_assert_eq!(world.machine.packs(), 0);
        prop_assert_eq!(world.machine.counters().strays, 0);
    }
}
