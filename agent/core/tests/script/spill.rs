//! Results that nobody has collected are moved out of memory (R10), and are what they were.

use bytes::Bytes;
use scalems_core::{Action, Config, Input};
use scalems_protocol::client::{Acknowledge, AgentToClient, Page, Question, Reply};
use scalems_protocol::event::Topic;
use scalems_protocol::group::{Place, ResultGroup};
use scalems_protocol::worker::Report;
use scalems_protocol::{Ending, limits};

use crate::restored::{first_life, life};
use crate::say::{RUN, With, forget, group, hello, joins, large, report, run, submit};
use crate::world::{World, config};

/// What may stay in memory: parts are of 8 bytes then.
const OVER: u64 = 64;

/// One worker with a core, one client, and little memory.
fn small() -> World {
    let mut world = World::with(Config {
        spill_over: OVER,
        ..config()
    });
    world.worker(1, joins("w", 1)).begins(&["w1< welcome worker 1 w"]);
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world
}

/// A report that the first tasks of a submission are done, each with one of these values.
fn values(number: u64, submission: u64, values: &[&str]) -> (Report, String) {
    let mut ends = Vec::new();
    let mut bytes = String::new();
    for value in values {
        bytes += value;
        ends.push(bytes.len() as u32);
    }
    let place = Place {
        blob: Some(0),
        at: 0,
        length: bytes.len() as u32,
        ends,
    };
    let result = ResultGroup {
        place,
        ..group(run(submission, 0, values.len() as u32, 1), Ending::Done)
    };
    let report = Report {
        results: vec![result],
        ..report(number)
    };
    (report, bytes)
}

/// The values that the last round handed out.
fn handed_out(world: &World) -> Vec<Bytes> {
    let handed = world.last.iter().filter_map(|action| match action {
        Action::Spill { values } => Some(values.clone()),
        _ => None,
    });
    let mut handed: Vec<_> = handed.collect();
    assert!(handed.len() <= 1, "one part at a time");
    handed.pop().unwrap_or_default()
}

/// The same values, somewhere else.
fn elsewhere(values: &[Bytes]) -> Input {
    Input::Spilled(Some(
        values.iter().map(|value| Bytes::copy_from_slice(value)).collect(),
    ))
}

/// Moves out all that the core hands out, beginning with the last round.
fn move_all(world: &mut World) -> usize {
    let mut parts = 0;
    loop {
        let values = handed_out(world);
        if values.is_empty() {
            return parts;
        }
        parts += 1;
        world.round(vec![elsewhere(&values)]);
        accounts(world);
    }
}

/// What is counted is what there is.
#[track_caller]
fn accounts(world: &World) -> (u64, u64) {
    let taken = world.agent.results_taken();
    assert_eq!(taken, world.agent.results_recounted());
    taken
}

/// The held values of a submission, by task.
fn held(world: &mut World, select: &str) -> Vec<String> {
    let page = Page {
        select: select.parse().unwrap(),
        after: None,
        rows: 0,
    };
    let Reply::Results(listing) = world.ask(1, Question::Results(page)) else {
        panic!("{:?}", world.last)
    };
    let blobs = world.last.iter().find_map(|action| match action {
        Action::ToClient {
            message: AgentToClient::Answer(_),
            blobs,
            ..
        } => Some(blobs.clone()),
        _ => None,
    });
    let blobs = blobs.unwrap();
    let each = listing.rows.into_iter().flat_map(|group| {
        let count = group.run.count();
        let data = group.place.take(count, &blobs).unwrap();
        (0..count as usize).map(move |at| String::from_utf8_lossy(&data.of(at)).into_owned())
    });
    each.collect()
}

/// Submissions of 3 tasks with 10 bytes each.
fn fill(world: &mut World, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        world.client(1, submit(number, 3, "quick")).0.truncate(0);
        let (report, blob) = values(number, number, &["one", "two", "four"]);
        world.worker_with(1, report, &[blob.as_bytes()]).0.truncate(0);
    }
}

#[test]
fn the_oldest_are_moved_part_by_part_and_read_as_they_were() {
    let mut world = small();
    // A value of 10 bytes and 12 for where its parts end: with the third there are more than 64.
    fill(&mut world, 1..=2);
    assert_eq!((accounts(&world), handed_out(&world).len()), ((44, 0), 0));
    fill(&mut world, 3..=3);
    assert_eq!(handed_out(&world), [Bytes::from("onetwofour")]);
    // Until they are back, nothing else is handed out and all is as it was.
    fill(&mut world, 4..=4);
    assert_eq!((accounts(&world), handed_out(&world).len()), ((88, 0), 0));
    world
        .round(vec![elsewhere(&[Bytes::from("onetwofour")])])
        .is(&["spill 1 values of 10 bytes"]);
    assert_eq!(accounts(&world), (78, 10));
    assert_eq!(move_all(&mut world), 2);
    assert_eq!(accounts(&world), (58, 30));
    assert_eq!(world.counter("spilled"), 3);
    assert_eq!(held(&mut world, "1-4"), ["one", "two", "four"].repeat(4));
    // A part of a value that was moved out.
    assert_eq!(held(&mut world, "1.1"), ["two"]);
    for number in 1..=4 {
        world.client(1, forget(10 + number, number)).0.truncate(0);
        accounts(&world);
    }
    assert_eq!(accounts(&world), (58, 30), "those requests skip numbers");
    for number in 1..=4 {
        world
            .client(1, forget(4 + number, number))
            .begins(&["c1< forget_done"]);
        accounts(&world);
    }
    assert_eq!(accounts(&world), (0, 0));
}

#[test]
fn what_is_forgotten_on_its_way_does_not_come_back() {
    let mut world = small();
    fill(&mut world, 1..=3);
    let values = handed_out(&world);
    world.client(1, forget(4, 1)).begins(&["c1< forget_done"]);
    world.round(vec![elsewhere(&values)]).is(&[]);
    assert_eq!((accounts(&world), world.counter("spilled")), ((44, 0), 0));
    assert_eq!(held(&mut world, "2-3"), ["one", "two", "four"].repeat(2));
}

#[test]
fn without_room_they_stay_and_it_is_tried_again() {
    let mut world = small();
    fill(&mut world, 1..=3);
    let values = handed_out(&world);
    world.round(vec![Input::Spilled(None)]).is(&[]);
    assert_eq!(accounts(&world), (66, 0));
    world.lives(1, true);
    world.wait(9_000).is(&["w1< recorded 3"]);
    world.wait(1_000).is(&["spill 1 values of 10 bytes"]);
    world.round(vec![elsewhere(&values)]).is(&[]);
    assert_eq!(accounts(&world), (56, 10));
}

#[test]
fn what_waits_for_a_client_is_moved_too_and_delivered_as_it_was() {
    let mut world = small();
    let resume = world.resume();
    for number in 1..=4 {
        world
            .client(1, submit(number, 3, "quick").streaming())
            .begins(&["c1< accepted", "w1< lease"]);
    }
    world
        .round(vec![Input::ClientGone(scalems_core::Peer(1))])
        .is(&[]);
    for number in 1..=4 {
        let (report, blob) = values(number, number, &["one", "two", "four"]);
        world.worker_with(1, report, &[blob.as_bytes()]).0.truncate(0);
        move_all(&mut world);
    }
    let (memory, spilled) = accounts(&world);
    assert_eq!((memory, spilled), (4 * (256 + 12), 40));
    world
        .client(3, resume)
        .begins(&["c3< welcome session", "c3< results 1"]);
    let delivered = world.last.iter().find_map(|action| match action {
        Action::ToClient {
            message: AgentToClient::Results(results),
            blobs,
            ..
        } => Some((results.clone(), blobs.clone())),
        _ => None,
    });
    let (results, blobs) = delivered.unwrap();
    for group in results.groups {
        let data = group.place.take(3, &blobs).unwrap();
        assert_eq!([data.of(0), data.of(1), data.of(2)], ["one", "two", "four"]);
    }
    // On its way it is in memory again.
    assert_eq!(accounts(&world), (memory + spilled, 0));
    world.client(3, Acknowledge { delivery: 1 }).0.truncate(0);
    assert_eq!(accounts(&world), (0, 0));
}

#[test]
fn what_an_earlier_life_held_is_moved_while_it_is_read() {
    let (mut world, resume, _) = first_life();
    for number in 1..=4 {
        let streaming = submit(number, 3, "quick").streaming();
        let submit = if number == 4 {
            streaming
        } else {
            submit(number, 3, "quick")
        };
        world.client(1, submit).begins(&["record", "w1< lease"]);
        let (report, blob) = values(number, number, &["one", "two", "four"]);
        world.worker_with(1, report, &[blob.as_bytes()]).first("record");
    }
    // Of one that was pushed a part is collected: what is left is cut out of it.
    let mut records = world.records.clone();
    let run = run(4, 1, 2, 1);
    records.push(scalems_core::record::Record::Collected { runs: vec![run] });
    let config = Config {
        spill_over: OVER,
        ..life(1)
    };
    let mut restore = scalems_core::Restore::new(config.clone(), 0);
    let mut most = 0;
    for record in &records {
        restore.take(record);
        restore.spill(|values| {
            most = most.max(values.iter().map(Bytes::len).sum());
            Some(values.iter().map(|value| Bytes::copy_from_slice(value)).collect())
        });
    }
    assert_eq!(most, 10);
    // Which life it is is known once all is read.
    let config = Config {
        incarnation: 2,
        life: 2,
        ..config
    };
    restore.begins(config, world.now);
    restore.numbered(records.len() as u64);
    let (agent, _) = restore.finish();
    world.agent = agent;
    let (memory, spilled) = accounts(&world);
    // The first three lie elsewhere but for the last part that makes no part; the fourth lost 3 bytes.
    assert_eq!(memory + spilled, 3 * 22 + (7 + 8) + 2 * 256);
    assert!(spilled >= 20, "{spilled}");
    let last = records.len() as u64 + 1;
    world.round(vec![Input::Durable(last)]).0.truncate(0);
    move_all(&mut world);
    world
        .client(1, resume)
        .begins(&["c1< welcome session 2", "c1< results 1"]);
    assert_eq!(held(&mut world, "1-3"), ["one", "two", "four"].repeat(3));
    accounts(&world);
}

#[test]
fn an_alarm_says_once_that_nothing_starts_and_what_helps() {
    let mut world = World::with(Config {
        spill_over: limits::SPILL_OVER,
        ..config()
    });
    world.worker(1, joins("w", 1)).begins(&["w1< welcome worker 1 w"]);
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    let blob = vec![0; limits::BLOB_BYTES];
    for submission in 1..=6 {
        world.client(1, submit(submission, 1, RUN)).0.truncate(0);
    }
    for number in 1..=5 {
        world
            .worker_with(1, large(number, number), &[&blob])
            .0
            .truncate(0);
    }
    // More than may be, but some are being moved: nothing starts, and nobody has to do anything.
    let reasons = |world: &mut World| {
        let reply = world.ask(1, Question::Explain("6".parse().unwrap()));
        let Reply::Explain(told) = reply else {
            panic!("{reply:?}")
        };
        told.reasons[0].clone()
    };
    assert_eq!(world.agent.counts().ready, 1);
    assert!(reasons(&mut world).ends_with("and then it goes on"));
    world.listen(Topic::Alarms).is(&["event alarms 0: open"]);
    // There is no room.
    world
        .round(vec![Input::Spilled(None)])
        .is(&["event alarms 1: agent_full p"]);
    let why = reasons(&mut world);
    assert!(
        why.contains("there is no room for more than these in the pilot's directory")
            && why.contains("`scalems task forget SEL`"),
        "{why}"
    );
    assert_eq!(world.agent.counts().ready, 1);
    // Then there is: what waited starts.
    world.lives(1, true);
    world.wait(10_000).0.truncate(0);
    let values = vec![Bytes::from(blob)];
    world
        .round(vec![Input::Spilled(Some(values))])
        .first("w1< lease 6");
}
