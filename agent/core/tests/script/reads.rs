//! Reads: listings, waits, and why a task is where it is.

use scalems_core::{Action, Config, Input, Peer};
use scalems_protocol::client::{AgentToClient, Ask, OutputPage, Page, Question, Reply, WorkersPage};
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::TaskState;
use scalems_protocol::task::{After, Policy};
use scalems_protocol::worker::OutputRead;

use crate::say::{QUICK, RUN, With, done, failed, hello, joins, run, started, submit};
use crate::world::{World, config, from_client};

fn page(select: &str, rows: u32) -> Page {
    Page {
        select: select.parse().unwrap(),
        after: None,
        rows,
    }
}

fn wait(id: u64, select: &str, timeout_ms: u64) -> Ask {
    Ask {
        id,
        question: Question::Wait {
            select: select.parse().unwrap(),
            timeout_ms,
        },
    }
}

#[test]
fn a_wait_is_answered_when_all_have_ended_or_its_time_is_over() {
    let mut world = World::small(1);
    world.lives(1, true);
    world
        .client(1, submit(1, 2, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.client(1, wait(1, "1", 60_000)).is(&[]);
    world.client(1, wait(2, "1.1", 500)).is(&[]);
    world
        .client(1, wait(3, "1.0", 0))
        .is(&["c1< refused read 3: timed_out"]);
    world.worker(1, failed(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, wait(4, "1.0", 60_000))
        .is(&["c1< answer 4: ended failed 1"]);
    world.wait(499).is(&[]);
    world.wait(1).is(&["c1< refused read 2: timed_out"]);
    world
        .worker(1, done(2, run(1, 1, 2, 1)))
        .is(&["c1< answer 1: ended done 1 failed 1"]);
    world
        .client(1, wait(5, "7", 60_000))
        .is(&["c1< refused read 5: nothing_selected"]);
    // What is forgotten has ended.
    world
        .client(1, submit(2, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.client(1, wait(6, "1-2", u64::MAX)).is(&[]);
    world
        .client(1, crate::say::forget(3, 1))
        .is(&["c1< forget_done 3: forgotten 2 kept 0"]);
    world
        .worker(1, done(3, run(2, 0, 1, 1)))
        .is(&["c1< answer 6: ended done 1"]);
}

#[test]
fn only_so_many_waits_and_none_for_who_is_gone() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    let inputs = (0..limits::OPEN_READS as u64)
        .map(|id| from_client(1, wait(id, "1", 60_000), &[]))
        .collect();
    world.round(inputs).is(&[]);
    world
        .client(1, wait(9_999, "1", 60_000))
        .is(&["c1< refused read 9999: too_many_open"]);
    world.round(vec![Input::ClientGone(Peer(1))]).is(&[]);
    world.worker(1, done(1, run(1, 0, 1, 1))).is(&[]);
}

#[test]
fn listings_come_in_pages() {
    let mut world = World::small(2);
    for request in 1..=3 {
        world.client(1, submit(request, 4, RUN)).0.truncate(0);
    }
    world.worker(1, failed(1, run(1, 0, 1, 1))).0.truncate(0);
    let mut asked = page("1-3", 2);
    let mut seen = Vec::new();
    loop {
        let Reply::Tasks(listing) = world.ask(1, Question::Tasks(asked.clone())) else {
            panic!("no listing")
        };
        assert!(listing.rows.len() <= 2);
        seen.extend(
            listing
                .rows
                .iter()
                .map(|row| (row.run.submission, row.run.lo, row.run.hi, row.state)),
        );
        let Some(next) = listing.next else { break };
        asked.after = Some(next);
    }
    assert_eq!(
        seen,
        [
            (1, 0, 1, TaskState::Failed),
            (1, 1, 4, TaskState::Leased),
            (2, 0, 4, TaskState::Leased),
            (3, 0, 4, TaskState::Leased),
        ]
    );
    let Reply::Submissions(first) = world.ask(1, Question::Submissions(page("all", 2))) else {
        panic!("no listing")
    };
    assert_eq!(
        first.rows.iter().map(|row| row.submission).collect::<Vec<_>>(),
        [1, 2]
    );
    let after = Page {
        after: first.next,
        ..page("all", 2)
    };
    let Reply::Submissions(rest) = world.ask(1, Question::Submissions(after)) else {
        panic!("no listing")
    };
    assert_eq!((rest.rows[0].submission, rest.next), (3, None));
    let Reply::Tasks(failed) = world.ask(1, Question::Tasks(page("state:failed", 0))) else {
        panic!("no listing")
    };
    assert_eq!(failed.rows.len(), 1);
}

/// The answer to the last read, as bytes of its header.
fn fits_a_header(world: &World) {
    let sizes = world.last.iter().filter_map(|action| match action {
        Action::ToClient { message, .. } => Some(message.encode().len()),
        _ => None,
    });
    let sizes: Vec<usize> = sizes.collect();
    assert!(
        sizes.iter().all(|size| *size <= limits::HEADER_BYTES),
        "{sizes:?}"
    );
}

#[test]
fn rows_with_many_words_come_in_more_pages() {
    let mut world = World::new();
    for number in 1..=600 {
        let name = format!("{number:0>250}");
        world.worker(number, joins(&name, 1));
    }
    world.client(1, hello("s"));
    for request in 1..=100 {
        let mut task = submit(request, 1, RUN);
        let label = |number| (format!("{number:0>200}"), "x".repeat(200));
        task.task.labels = (0..30).map(label).collect();
        world.client(1, task);
    }
    let (mut part, mut workers) = (WorkersPage::default(), Vec::new());
    loop {
        let Reply::Workers(listing) = world.ask(1, Question::Workers(part)) else {
            panic!("workers were asked for");
        };
        fits_a_header(&world);
        workers.extend(listing.rows.iter().map(|row| row.worker));
        part.after = listing.next;
        if listing.next.is_none() {
            break;
        }
        part.rows = 500;
    }
    assert_eq!(workers, (1..=600).collect::<Vec<u64>>());
    let (mut part, mut submissions) = (page("all", 0), Vec::new());
    loop {
        let Reply::Submissions(listing) = world.ask(1, Question::Submissions(part.clone())) else {
            panic!("submissions were asked for");
        };
        fits_a_header(&world);
        submissions.extend(listing.rows.iter().map(|row| row.submission));
        part.after = listing.next;
        if listing.next.is_none() {
            break;
        }
    }
    assert_eq!(submissions, (1..=100).collect::<Vec<u64>>());
}

#[test]
fn held_results_are_read_as_often_as_wanted() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 3, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
    world.worker(1, done(1, run(1, 0, 2, 1))).is(&[]);
    world.worker(1, failed(2, run(1, 2, 3, 1))).is(&[]);
    for _ in 0..2 {
        let Reply::Results(listing) = world.ask(1, Question::Results(page("1.1-2", 0))) else {
            panic!("no results")
        };
        let runs: Vec<(u32, u32)> = listing
            .rows
            .iter()
            .map(|group| (group.run.lo, group.run.hi))
            .collect();
        assert_eq!(runs, [(1, 2), (2, 3)]);
        assert_eq!(
            listing.rows[1].error.as_ref().map(|error| error.code),
            Some(scalems_protocol::Code::ExitCode)
        );
    }
}

/// What explain says first of a task.
#[track_caller]
fn why(world: &mut World, task: &str) -> String {
    match world.ask(1, Question::Explain(task.parse().unwrap())) {
        Reply::Explain(told) => told.reasons.join(" | "),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_task_can_be_explained() {
    let mut world = World::with(Config {
        expected_workers: 2,
        ..config()
    });
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world.client(1, submit(1, 1, RUN)).begins(&["c1< accepted"]);
    assert_eq!(
        why(&mut world, "1"),
        "no worker has joined yet (waiting_for_worker)"
    );
    world
        .worker(1, joins("w", 2))
        .begins(&["w1< welcome", "w1< lease"]);
    assert_eq!(
        why(&mut world, "1"),
        "granted to worker w and not started: it waits there for room, or is on its way"
    );
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    assert_eq!(why(&mut world, "1"), "runs on worker w");
    world.client(1, submit(2, 1, "odd")).begins(&["c1< accepted"]);
    assert_eq!(
        why(&mut world, "2"),
        "none of the 1 workers serves mode \"odd\" (waiting_for_worker)"
    );
    world
        .client(1, submit(3, 1, RUN).cores(3))
        .begins(&["c1< accepted"]);
    assert_eq!(why(&mut world, "3"), "worker w has 2 cores, one task needs 3");
    world
        .client(1, submit(4, 1, RUN).cores(2))
        .begins(&["c1< accepted"]);
    assert_eq!(
        why(&mut world, "4"),
        "worker w has 1 of 2 cores in use, one task needs 2"
    );
    let after = After {
        submission: Some(1),
        ..After::default()
    };
    let policy = Policy {
        retries: 1,
        backoff_ms: 9_000,
        ..Policy::default()
    };
    world
        .client(1, submit(5, 1, QUICK).after(after).policy(policy))
        .begins(&["c1< accepted"]);
    assert_eq!(
        why(&mut world, "5"),
        "waits for submission 1, of which 1 tasks have not ended"
    );
    world.lives(1, true);
    world.wait(2_500).is(&["w1< recorded 1"]);
    world.client(1, submit(6, 1, RUN)).begins(&["c1< accepted"]);
    assert_eq!(
        why(&mut world, "6"),
        "worker w has room: the task is about to be granted | worker w is kept free for a bigger task that has waited longer"
    );
    world.worker(1, done(2, run(1, 0, 1, 1))).begins(&["w1< lease"]);
    world.worker(1, failed(3, run(5, 0, 1, 1))).is(&[]);
    assert_eq!(
        why(&mut world, "5"),
        "attempt 1 failed; the next one waits for its back-off"
    );
    assert_eq!(why(&mut world, "1"), "it has ended");
    world
        .client(
            1,
            crate::say::cancel(
                7,
                Selector::submission(3),
                scalems_protocol::state::Strength::Kill,
            ),
        )
        .begins(&["c1<"]);
    assert_eq!(why(&mut world, "3"), "canceled: it was asked for");
}

fn output(id: u64, offset: u32, attempt: u32, timeout_ms: u64) -> Ask {
    let page = OutputPage {
        submission: 1,
        offset,
        attempt,
        from: (5, 0),
        timeout_ms,
    };
    let question = Question::Output(page);
    Ask { id, question }
}

fn wrote(id: u64, over: bool) -> OutputRead {
    OutputRead {
        id,
        over,
        ..OutputRead::default()
    }
}

/// What the answer says: the attempt, and whether it runs.
fn part(world: &World) -> (u32, bool) {
    let part = world.last.iter().find_map(|action| match action {
        Action::ToClient {
            message: AgentToClient::Answer(answer),
            ..
        } => match &answer.reply {
            Reply::Output(part) => Some((part.attempt, part.runs)),
            _ => None,
        },
        _ => None,
    });
    part.expect("it was answered")
}

#[test]
fn what_a_task_writes_is_read_at_its_worker() {
    let mut world = World::small(2);
    world.lives(1, true);
    world
        .client(1, submit(1, 2, RUN))
        .begins(&["c1< accepted", "w1< lease"]);
    // One that does not run has written nothing.
    world
        .client(1, output(1, 0, 0, 60_000))
        .is(&["c1< answer 1: output"]);
    assert_eq!(part(&world), (1, false));
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, output(2, 0, 0, 60_000))
        .is(&["w1< read 1 of 1.0@1 from 5 and 0"]);
    // Nobody else's answer, and none that was not asked for.
    world.worker(1, wrote(9, true)).is(&[]);
    world.worker(1, wrote(1, false)).is(&["c1< answer 2: output"]);
    assert_eq!(part(&world), (1, true));
    world.worker(1, wrote(1, false)).is(&[]);
    // Without an answer its time ends it.
    world
        .client(1, output(3, 0, 1, 500))
        .is(&["w1< read 2 of 1.0@1 from 5 and 0"]);
    world.wait(499).is(&[]);
    world.wait(1).is(&["c1< answer 3: output"]);
    assert_eq!(part(&world), (1, true));
    // Another attempt than is asked for.
    world
        .client(1, output(4, 0, 2, 500))
        .is(&["c1< answer 4: output"]);
    assert_eq!(part(&world), (1, false));
    for (id, offset, what) in [(5, 2, "nothing_selected"), (6, 9, "nothing_selected")] {
        world
            .client(1, output(id, offset, 0, 500))
            .is(&[&format!("c1< refused read {id}: {what}")]);
    }
    // Who asked is gone: nobody is told.
    world
        .client(1, output(7, 0, 0, 60_000))
        .is(&["w1< read 3 of 1.0@1 from 5 and 0"]);
    world.round(vec![Input::ClientGone(Peer(1))]).is(&[]);
    world.worker(1, wrote(3, false)).is(&[]);
}
