//! A network that breaks between hosts: cut, deaf on one side, now there and now not, slow and lossy.

use std::time::{Duration, Instant};

use scalems_client::protocol::event::{Body, Topic};
use scalems_client::{Session, Update};
use scalems_tests::pilot::{PATIENCE, Pilot, Running, process, until_workers};
use scalems_tests::sim::random::Random;

use crate::hosts::{Hosts, address};
use crate::stream::Stream;

/// The hosts: the agent's, the client's, and then one of each worker.
const AGENT: usize = 0;
const CLIENT: usize = 1;
const WORKERS: usize = 2;

/// How soon after a break all has to be there again and what waited done. TCP doubles its pause before it sends again
/// what was lost, so that alone may take as long as the break.
const BACK: Duration = Duration::from_secs(10);

/// What is done to the network, around one host.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// Nothing passes between it and the agent.
    Full,
    /// Nothing of it comes to the agent.
    Mute,
    /// Nothing of the agent comes to it.
    Deaf,
    /// Its cable is out for a tenth of a second, and back, and out again.
    Flapping,
    /// Its line loses and delays.
    Poor,
}

const BREAKS: [Break; 5] = [
    Break::Full,
    Break::Mute,
    Break::Deaf,
    Break::Flapping,
    Break::Poor,
];

struct Network {
    session: Session,
    stream: Stream,
    hosts: Hosts,
    random: Random,
    pilot: Pilot,
    /// Packets that poor lines lost.
    dropped: u64,
}

impl Network {
    fn submit(&mut self, more: usize) {
        let count = self.stream.len() + more;
        self.stream
            .submit_until(count, &self.session, &self.pilot, &mut self.random);
    }

    /// Lets time pass, in which more is submitted and the agent goes on.
    #[track_caller]
    fn pass(&mut self, long: Duration) {
        self.submit(20);
        let ended = process::wait_gone(self.pilot.pid(), Instant::now() + long);
        assert!(!ended, "the agent has ended");
    }

    /// Breaks the network for so long.
    fn suffer(&mut self, what: Break, host: usize, long: Duration) {
        match what {
            Break::Full => {
                self.hosts.lose_way(host, AGENT);
                self.hosts.lose_way(AGENT, host);
                self.pass(long);
                self.hosts.find_way(host, AGENT);
                self.hosts.find_way(AGENT, host);
            }
            Break::Mute => {
                self.hosts.lose_way(host, AGENT);
                self.pass(long);
                self.hosts.find_way(host, AGENT);
            }
            Break::Deaf => {
                self.hosts.lose_way(AGENT, host);
                self.pass(long);
                self.hosts.find_way(AGENT, host);
            }
            Break::Flapping => {
                let until = Instant::now() + long;
                while Instant::now() < until {
                    self.hosts.unplug(host);
                    self.pass(Duration::from_millis(100));
                    self.hosts.plug(host);
                    let back = self.random.within(0, 100);
                    self.pass(Duration::from_millis(back));
                }
            }
            Break::Poor => {
                let how = self.hosts.spoil(host);
                self.pass(long);
                let dropped = self.hosts.mend(host);
                println!("{how} at host {host} lost {dropped} packets");
                self.dropped += dropped;
            }
        }
    }
}

fn worker(hosts: &Hosts, pilot: &Pilot, at: usize) -> Running {
    let line = format!("scalems worker start --name w{at} --cores 4");
    hosts.on(CLIENT + 1 + at, || pilot.home.spawn(&line))
}

/// How many alarms of this kind the agent knows.
fn alarms(session: &Session, kind: &str) -> usize {
    let first = session.events(Topic::Alarms).next_within(PATIENCE).unwrap();
    match first {
        Some(Update::Snapshot(Body::Alarms { alarms })) => {
            alarms.iter().filter(|alarm| alarm.alarm == kind).count()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_network_that_breaks_loses_nothing() {
    let Some(hosts) = Hosts::new(2 + WORKERS) else {
        return super::skip("network namespaces cannot be made here");
    };
    let rounds = super::rounds(20, 500);
    let seed = super::seed();
    println!("{rounds} rounds, seed {seed}");
    let options = format!(
        "--no-workers --beat 100ms --lost-after 500ms --tcp={} --tcp-only",
        address(AGENT)
    );
    let pilot = hosts.on(AGENT, || Pilot::start_alone(&options));
    let mut workers: Vec<_> = (0..WORKERS).map(|at| worker(&hosts, &pilot, at)).collect();
    let session = hosts.on(CLIENT, || {
        Session::options()
            .name("drill")
            .connect(pilot.directory())
            .unwrap()
    });
    let mut network = Network {
        session,
        stream: Stream::default(),
        hosts,
        random: Random::new(seed, 80),
        pilot,
        dropped: 0,
    };
    let mut longest = Duration::ZERO;
    for round in 1..=rounds {
        network.submit(80);
        network
            .stream
            .run_for(Duration::from_millis(network.random.within(0, 40)));
        let what = BREAKS[round as usize % BREAKS.len()];
        let host = network.random.within(1, 2 + WORKERS as u64) as usize;
        let most = if network.random.percent(25) { 3_000 } else { 1_000 };
        let long = Duration::from_millis(network.random.within(100, most));
        network.suffer(what, host, long);
        let begin = Instant::now();
        let left = network.stream.left_after(PATIENCE);
        until_workers(&network.session, |rows| {
            rows.iter().filter(|row| row.state == "active").count() == WORKERS
        });
        let took = begin.elapsed();
        println!("{round}: {what:?} at host {host} for {long:?}, all was back after {took:?}");
        assert!(left == 0 && took < BACK, "{left} tasks are left after {took:?}");
        longest = longest.max(took);
    }
    println!("all was back after {longest:?} at the latest");
    network.stream.expect_all(&network.session);
    let lost = alarms(&network.session, "worker_lost");
    println!("workers were lost {lost} times");
    assert!(lost > 0 && network.dropped > 0, "the network never broke");
    let Network {
        hosts,
        mut pilot,
        session,
        ..
    } = network;
    drop(session);
    hosts.on(CLIENT, || pilot.sh("scalems pilot stop").well());
    for worker in &mut workers {
        worker.status();
    }
    pilot.expect_end();
}
