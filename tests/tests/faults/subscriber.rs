//! A subscriber that does not read: it loses events, and nobody else loses anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scalems_client::protocol::Role;
use scalems_client::protocol::client::{Counts, Question, Reply};
use scalems_client::protocol::event::{AgentToSubscriber, Body, Event, Topic};
use scalems_client::{Session, Task};
use scalems_tests::pilot::{PATIENCE, Pilot};
use scalems_transport::{ConnectionFile, Context, Source, Subscriber, poll};

use crate::measure;

/// Each submission has this many tasks.
const TASKS: u32 = 2;
/// How much more memory the agent may take for one that does not read.
const MORE: u64 = 64 << 20;

/// A subscriber by the bare socket.
struct Listener {
    socket: Subscriber,
    _context: Context,
}

impl Listener {
    fn new(pilot: &Pilot) -> Self {
        let path = pilot.directory().join(ConnectionFile::file_name(Role::Client));
        let file = ConnectionFile::read(&path).unwrap();
        let context = Context::new().unwrap();
        let stream = file.stream.nearest(true).unwrap();
        Self {
            socket: Subscriber::connect(&context, stream, None).unwrap(),
            _context: context,
        }
    }

    fn subscribe(&mut self, topic: &str) {
        self.socket.subscribe(topic.as_bytes()).unwrap();
    }

    fn next_until(&mut self, until: Instant) -> Option<Event> {
        loop {
            if let Some(message) = self.socket.recv().unwrap() {
                let AgentToSubscriber::Event(event) = AgentToSubscriber::decode(&message.blobs[0]).unwrap();
                return Some(event);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            poll([Source::readable(&self.socket)], Some(left)).unwrap();
        }
    }
}

/// Runs so many submissions, and says what memory the agent took for them.
fn flood(name: &str, pilot: &Pilot, session: &Session, submissions: u32) -> u64 {
    let before = measure::resident(pilot.pid());
    let begin = Instant::now();
    let task = Task::new("scalems.noop");
    let all: Vec<_> = (0..submissions)
        .map(|_| session.submit_array(&task, 0..TASKS).unwrap())
        .collect();
    for array in &all {
        assert_eq!(array.wait(2 * PATIENCE).unwrap().done, TASKS);
    }
    let took = begin.elapsed();
    let grown = measure::resident(pilot.pid()).saturating_sub(before);
    let rate = f64::from(submissions * TASKS) / took.as_secs_f64();
    println!(
        "{name}: {rate:.0} tasks a second, {} KiB more memory",
        grown >> 10
    );
    grown
}

/// Ends the reading, also when the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_subscriber_that_does_not_read_costs_only_itself() {
    let submissions = super::rounds(50_000, 250_000);
    let pilot = Pilot::start("--cores 4");
    let session = pilot.session();
    let mut reader = Listener::new(&pilot);
    for number in 1..=2 * submissions {
        reader.subscribe(&Topic::Submission(number.into()).name());
    }
    reader.subscribe("summary");
    let begin = Instant::now();
    let mut opened = 0;
    while reader
        .next_until(Instant::now() + Duration::from_secs(2))
        .is_some()
    {
        opened += 1;
    }
    println!("{opened} topics began within {:?}", begin.elapsed());
    let (over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let end = End(&over);
        let reading = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let soon = Instant::now() + Duration::from_millis(100);
                read.fetch_add(u64::from(reader.next_until(soon).is_some()), Ordering::Relaxed);
            }
        });
        let alone = flood("all read", &pilot, &session, submissions);
        let mut slow = Listener::new(&pilot);
        slow.subscribe("summary");
        // All submissions, by the beginning of their names.
        slow.subscribe("submission/");
        let opened = slow.next_until(Instant::now() + PATIENCE).unwrap();
        let beside = flood("one does not read", &pilot, &session, submissions);
        assert!(
            beside < alone + MORE,
            "{beside} bytes more, and {alone} without it"
        );
        heal(
            &session,
            &mut slow,
            opened.seq,
            u64::from(2 * submissions * TASKS),
        );
        drop(end);
        reading.join().unwrap();
        println!(
            "{} events were read by one that reads",
            read.load(Ordering::Relaxed)
        );
    });
    drop(session);
    pilot.stop();
}

/// Reads until a number is missing, asks for the state, and goes on from there.
fn heal(session: &Session, slow: &mut Listener, opened: u64, done: u64) {
    let mut done = done;
    let mut happens = || {
        let task = session.submit(Task::new("scalems.noop")).unwrap();
        assert!(task.wait(PATIENCE).unwrap().is_done());
        done += 1;
        done
    };
    let until = Instant::now() + PATIENCE;
    let mut last = opened;
    let missing = loop {
        // A gap is seen by what comes after it, once it has read what was kept for it.
        let Some(event) = slow.next_until(Instant::now() + Duration::from_millis(500)) else {
            assert!(Instant::now() < until, "nothing was lost, up to {last}");
            happens();
            continue;
        };
        let gap = event.seq.saturating_sub(last + 1);
        last = event.seq;
        if gap > 0 {
            break gap;
        }
    };
    println!("{missing} events of the summary were lost before number {last}");
    let question = Question::Snapshot("summary".into());
    let (reply, _) = session.ask(question, PATIENCE).unwrap().wait(PATIENCE).unwrap();
    let Reply::Snapshot { seq, state, .. } = reply else {
        panic!("{reply:?}");
    };
    assert!(seq >= last, "{seq} is older than {last}");
    let before = finished(&state).done;
    // And it hears what happens next, without another gap.
    let done = happens();
    assert_eq!(before, done - 1);
    let mut known = seq;
    loop {
        let event = slow.next_until(until).expect("it hears of the next task");
        if event.seq > seq {
            assert_eq!(event.seq, known + 1);
            known = event.seq;
            if finished(&event.body).done == done {
                return;
            }
        }
    }
}

fn finished(body: &Body) -> Counts {
    match body {
        Body::Summary { tasks, .. } => *tasks,
        other => panic!("{other:?}"),
    }
}
