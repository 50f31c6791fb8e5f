//! Joining, coming back, and what needs no program.

use scalems_agent::worker::{EndReason, WorkerError, WorkerOptions};
use scalems_protocol::worker::{ListHoldings, Ping, WorkerRefused, WorkerToAgent};
use scalems_protocol::{Amount, Code, Ending, Refusal, TaskState, program};

use crate::fake_agent::{FakeAgent, Worker, argv, directory, joined, leave, options, run, template};

#[test]
fn a_worker_says_what_it_offers_and_beats() {
    let directory = directory();
    let mut agent = FakeAgent::start(directory.path());
    agent.beat_ms = 50;
    let worker = Worker::start_with(WorkerOptions {
        name: Some("node-7".into()),
        cores: Some(3),
        gpus: Some(1),
        memory_mib: Some(64),
        disk_mib: Some(500),
        resources: vec![("licence".into(), 2.into())],
        ..options(directory.path())
    });
    let hello = agent.welcome();
    assert_eq!((hello.name.as_str(), hello.pid), ("node-7", std::process::id()));
    let offer = [
        ("cores", 3),
        ("gpus", 1),
        ("memory", 64),
        ("licence", 2),
        ("disk", 500),
    ];
    assert_eq!(
        hello.offer,
        offer.map(|(kind, amount)| (kind.to_owned(), Amount::whole(amount)))
    );
    assert!(
        hello
            .modes
            .iter()
            .any(|mode| mode.name == program::EXECUTABLE && !mode.instant)
    );
    let first = agent.hear_beat();
    assert_eq!((first.worker, first.link, first.hash), (3, 99, 0));
    assert!(agent.hear_beat().beat > first.beat);
    leave(agent, worker);
}

#[test]
fn what_needs_no_program_is_answered_at_once() {
    let (_directory, mut agent, worker) = joined();
    agent.lease(template(program::NOOP), run(1, 0, 16_384), "");
    let (report, blobs) = agent.hear_report();
    assert_eq!(
        (report.number, report.results.len(), report.results[0].run),
        (1, 1, run(1, 0, 16_384))
    );
    assert!(blobs.is_empty());
    agent.lease(template(program::ECHO), run(2, 0, 1), vec![7; 1 << 20]);
    let (group, value) = agent.hear_result();
    assert_eq!((group.ending, value.len()), (Ending::Done, 1 << 20));
    agent.lease(template("task.unheard"), run(3, 0, 1), "");
    assert_eq!(agent.hear_result().0.error.unwrap().code, Code::UnknownMode);
    agent.lease(template(program::SLEEP), run(4, 0, 1), "0.001");
    assert!(agent.hear_result().0.ran_us >= 1_000);
    agent.say(Ping {});
    assert!(matches!(agent.hear(), (WorkerToAgent::Pong(_), _)));
    leave(agent, worker);
}

#[test]
fn a_worker_comes_back_to_a_restarted_agent_with_all_that_it_has() {
    let (directory, mut agent, worker) = joined();
    agent.lease_program(template(program::EXECUTABLE), 1, &argv(["cat", "/dev/stdin"]));
    let mut waits = argv(["/bin/sh", "-c", "read line < fifo; echo $line"]);
    waits.cwd = Some(directory.path().to_str().unwrap().into());
    nix::unistd::mkfifo(&directory.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    agent.lease_program(template(program::EXECUTABLE), 2, &waits);
    // The first one's result is told, and never recorded.
    let mut told = Vec::new();
    let mut runs = 0;
    while told.is_empty() || runs < 1 {
        let (report, _) = agent.hear_report();
        runs += report
            .started
            .iter()
            .filter(|started| started.submission == 2)
            .count();
        told.extend(report.results);
    }
    assert_eq!(told[0].run, run(1, 0, 1));
    drop(agent);
    let mut agent = FakeAgent::start(directory.path());
    agent.incarnation = 2;
    let hello = agent.welcome();
    assert_eq!(hello.resume.unwrap().worker, 3);
    let held: Vec<_> = hello
        .held
        .iter()
        .map(|held| (held.run, held.incarnation, held.state))
        .collect();
    assert_eq!(
        held,
        [
            (run(2, 0, 1), 1, TaskState::Running),
            (run(1, 0, 1), 1, TaskState::Done)
        ]
    );
    let (report, _) = agent.hear_report();
    assert_eq!(
        (
            report.number,
            report.results[0].run,
            report.results[0].incarnation
        ),
        (1, run(1, 0, 1), 1)
    );
    std::fs::write(directory.path().join("fifo"), "hello\n").unwrap();
    let (group, value) = agent.hear_result();
    let result: program::ProgramResult = rmp_serde::from_slice(&value).unwrap();
    assert_eq!(
        (group.run, group.incarnation, &result.stdout[..]),
        (run(2, 0, 1), 1, &b"hello\n"[..])
    );
    leave(agent, worker);
}

#[test]
fn a_worker_finds_an_agent_that_moved() {
    let (directory, mut agent, worker) = joined();
    agent.say(Ping {});
    assert!(
        matches!(agent.hear(), (WorkerToAgent::Pong(_), _)),
        "it has heard the welcome"
    );
    drop(agent);
    let mut agent = FakeAgent::start_in(directory.path(), "elsewhere");
    assert!(agent.welcome().resume.is_some());
    leave(agent, worker);
}

#[test]
fn a_lost_message_makes_both_begin_again() {
    let (_directory, mut agent, worker) = joined();
    agent.lease_program(template(program::EXECUTABLE), 1, &argv(["cat", "/dev/null"]));
    agent.hear_result();
    let message = scalems_protocol::worker::Lease {
        number: 7,
        ..Default::default()
    };
    agent.say(ListHoldings { beat_only: true });
    assert!(matches!(agent.hear(), (WorkerToAgent::Beat(beat), _) if beat.applied == 1 && beat.hash == 0));
    agent.skip_a_number();
    agent.say(message);
    assert!(agent.welcome().held.is_empty());
    agent.lease(template(program::NOOP), run(1, 0, 1), "");
    assert_eq!(agent.hear_report().0.number, 1);
    leave(agent, worker);
}

#[test]
fn a_refused_worker_says_why_it_ends() {
    let directory = directory();
    let mut agent = FakeAgent::start(directory.path());
    let worker = Worker::start(directory.path());
    agent.hear_hello();
    let refusal = Refusal::new(Code::Stopping, "the pilot ends");
    agent.say(WorkerRefused {
        refusal: refusal.clone(),
    });
    assert_eq!(worker.ended().unwrap(), EndReason::Refused(refusal));
}

#[test]
fn a_worker_without_an_agent_gives_up() {
    let directory = directory();
    drop(FakeAgent::start(directory.path()));
    let join = std::time::Duration::from_millis(50);
    let worker = Worker::start_with(WorkerOptions {
        join,
        ..options(directory.path())
    });
    assert_eq!(worker.ended().unwrap(), EndReason::NotWelcomed);
    let nowhere = Worker::start(&directory.path().join("nowhere"));
    assert!(matches!(nowhere.ended(), Err(WorkerError::ConnectionFile(_))));
}
