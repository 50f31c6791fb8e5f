//! The Rust library against a real pilot.

use std::sync::mpsc;
use std::time::Duration;

use scalems_client::protocol::Ending;
use scalems_client::protocol::event::{Body, Topic};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::task::When;
use scalems_client::{
    ClientError, Events, Session, SessionEnd, Task, Update, as_completed, wait_all, wait_any,
};
use scalems_tests::pilot::{Fifo, PATIENCE, Pilot};

use crate::breaking::Proxy;

#[test]
fn tasks_of_every_mode() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    let echo = session
        .submit(Task::new("scalems.echo").data(vec![0_u8, 1, 255]))
        .unwrap();
    let program = session.submit(Task::program(["echo", "hello"])).unwrap();
    let shell = session.submit(Task::shell("echo a | tr a b; exit 3")).unwrap();
    let fail = session.submit(Task::new("scalems.fail").data("as told")).unwrap();
    let noop = session.submit(Task::new("scalems.noop")).unwrap();
    let wait = |handle: &scalems_client::TaskHandle| handle.wait(PATIENCE).unwrap();
    assert_eq!(wait(&echo).value[..], [0, 1, 255]);
    assert_eq!(wait(&program).program().unwrap().stdout, b"hello\n");
    let result = wait(&shell);
    assert_eq!((result.ending, result.exit_code), (Ending::Failed, Some(3)));
    assert_eq!(result.program().unwrap().stdout, b"b\n");
    assert!(
        wait(&fail)
            .into_value()
            .unwrap_err()
            .to_string()
            .contains("as told")
    );
    assert!(wait(&noop).is_done());
    let large = vec![7_u8; 5 << 20];
    let back = session
        .submit(Task::new("scalems.echo").data(large.clone()))
        .unwrap();
    assert!(wait(&back).value[..] == large[..], "5 MiB came back otherwise");
    drop(session);
    pilot.stop();
}

#[test]
fn many_tasks_and_the_order_of_their_ends() {
    let pilot = Pilot::start("--cores 2");
    let session = pilot.session();
    let task = Task::new("scalems.echo");
    let handles = session.submit_many((0..5_000_u32).map(|i| task.with_data(i.to_le_bytes().to_vec())));
    wait_all(&handles, PATIENCE).unwrap();
    for (i, handle) in (0_u32..).zip(&handles) {
        assert_eq!(handle.wait(PATIENCE).unwrap().value[..], i.to_le_bytes());
    }
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let slow = session.submit(pilot.line("read go < gate; echo slow")).unwrap();
    let quick = session.submit(Task::shell("echo quick")).unwrap();
    let handles = [slow, quick];
    assert_eq!(wait_any(&handles, PATIENCE).unwrap(), 1);
    assert!(matches!(
        wait_all(&handles, Duration::from_millis(50)),
        Err(ClientError::TimedOut { .. })
    ));
    let mut order = as_completed(&handles);
    assert_eq!(order.next_within(PATIENCE).unwrap(), Some(1));
    gate.release(1);
    assert_eq!(order.next_within(PATIENCE).unwrap(), Some(0));
    assert_eq!(order.next_within(PATIENCE).unwrap(), None);
    drop(session);
    pilot.stop();
}

#[test]
fn callbacks_and_futures() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    let (told, hear) = mpsc::channel();
    let handle = session.submit(Task::program(["echo", "called"])).unwrap();
    handle.on_done(move |result| told.send(result.unwrap().program().unwrap().stdout).unwrap());
    assert_eq!(hear.recv_timeout(PATIENCE).unwrap(), b"called\n");
    assert!(
        block_on(session.submit(Task::new("scalems.noop")).unwrap())
            .unwrap()
            .is_done()
    );
    drop(session);
    pilot.stop();
}

/// The smallest executor: the thread sleeps until it is woken.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => {}
        }
        assert!(std::time::Instant::now() < until, "the future does not come");
        std::thread::park_timeout(PATIENCE);
    }
}

#[test]
fn arrays() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    let array = session
        .submit_array(Task::new("scalems.noop"), 0..100_000)
        .unwrap();
    let counts = array.wait(PATIENCE).unwrap();
    assert_eq!((counts.done, counts.failed, counts.unfinished), (100_000, 0, 0));
    let some = session
        .submit_array(Task::shell("exit $((SCALEMS_INDEX % 2))"), 10..14)
        .unwrap();
    let counts = some.wait(PATIENCE).unwrap();
    assert_eq!((counts.done, counts.failed), (2, 2));
    assert_eq!(some.indices().collect::<Vec<_>>(), [10, 11, 12, 13]);
    assert_eq!(some.try_result(11).unwrap().unwrap().exit_code, Some(1));
    assert!(some.try_result(12).unwrap().unwrap().is_done() && some.try_result(14).is_none());
    drop(session);
    pilot.stop();
}

#[test]
fn dependencies_between_handles() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let first = session
        .submit(pilot.line("read go < gate; echo 1 >> log"))
        .unwrap();
    let second = session.submit(pilot.line("echo 2 >> log").after(&first)).unwrap();
    let failing = session.submit(Task::new("scalems.fail").after(&second)).unwrap();
    let third = session
        .submit(pilot.line("echo 3 >> log").after_when(&failing, When::Any))
        .unwrap();
    let never = session.submit(Task::new("scalems.noop").after(&failing)).unwrap();
    gate.release(1);
    assert!(third.wait(PATIENCE).unwrap().is_done());
    assert!(!never.wait(PATIENCE).unwrap().is_done());
    assert_eq!(pilot.home.read("log"), "1\n2\n3\n");
    drop(session);
    pilot.stop();
}

#[test]
fn cancels_say_what_they_did() {
    let pilot = Pilot::start("--cores 1");
    let session = pilot.session();
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let runs = session
        .submit(pilot.line("echo up > told; exec sleep 600"))
        .unwrap();
    told.line();
    let waits: Vec<_> = (0..10)
        .map(|_| session.submit(Task::shell("true")).unwrap())
        .collect();
    session.wait_accepted(PATIENCE).unwrap();
    let done = session
        .cancel_tasks(&waits, Strength::Withdraw, "not needed")
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(done.withdrawn + done.told, 10, "{done:?}");
    let done = runs.cancel(Strength::Kill).unwrap().wait(PATIENCE).unwrap();
    assert_eq!((done.told, done.ended), (1, 0), "{done:?}");
    for handle in waits.iter().chain([&runs]) {
        assert_eq!(handle.wait(PATIENCE).unwrap().ending, Ending::Canceled);
    }
    assert_eq!(
        session
            .cancel(Selector::all(), Strength::Request, "")
            .unwrap()
            .ended,
        11
    );
    drop(session);
    pilot.stop();
}

#[test]
fn events_tell_what_happens() {
    let pilot = Pilot::start("");
    let session = pilot.session();
    let array = session.submit_array(Task::program(["true"]), 0..20).unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    let mut tasks = session.events(Topic::Submission(array.submission().unwrap()));
    let mut summary = session.events(Topic::Summary);
    let first = tasks.next_within(PATIENCE).unwrap().unwrap();
    assert!(matches!(first, Update::Snapshot(Body::Tasks { .. })), "{first:?}");
    let mut last = first;
    loop {
        let (Update::Snapshot(Body::Tasks { counts, .. }) | Update::Event(Body::Tasks { counts, .. })) =
            &last
        else {
            panic!("{last:?}");
        };
        assert_eq!(counts.total(), 20);
        if counts.done == 20 {
            break;
        }
        last = tasks.next_within(PATIENCE).unwrap().unwrap();
    }
    loop {
        match summary.next_within(PATIENCE).unwrap().unwrap() {
            Update::Snapshot(Body::Summary { tasks, workers, .. })
            | Update::Event(Body::Summary { tasks, workers, .. }) => {
                assert_eq!(workers.0, 1);
                if tasks.done == 20 {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    drop((tasks, summary, session));
    pilot.stop();
}

/// The next update of a topic that `find` finds something in.
fn found<T>(events: &mut Events, mut find: impl FnMut(Body) -> Option<T>) -> T {
    loop {
        let (Update::Snapshot(body) | Update::Event(body)) = events.next_within(PATIENCE).unwrap().unwrap()
        else {
            panic!("{} is refused", events.topic().name());
        };
        if let Some(found) = find(body) {
            return found;
        }
    }
}

#[test]
fn monitors_see_submissions_faults_and_the_agents_health() {
    let pilot = Pilot::start("--cores 2");
    let session = pilot.session();
    let [mut submissions, mut faults, mut health] =
        [Topic::Submissions, Topic::Faults, Topic::Health].map(|topic| session.events(topic));
    let array = session
        .submit_array(Task::program(["sh", "-c", "exit 3"]).name("hapless"), 0..10)
        .unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    let number = array.submission().unwrap();
    let row = found(&mut submissions, |body| {
        let Body::Submissions { rows, total, .. } = body else {
            panic!("{body:?}");
        };
        let row = rows.into_iter().find(|row| row.submission == number)?;
        (row.tasks.failed == 10 && total == 1).then_some(row)
    });
    assert_eq!(row.name.as_deref(), Some("hapless"));
    let group = found(&mut faults, |body| {
        let Body::Faults { groups } = body else {
            panic!("{body:?}");
        };
        groups.into_iter().find(|group| group.failed == 10)
    });
    assert_eq!(
        (group.code.as_str(), group.what.as_str()),
        ("exit_code", "exit 3")
    );
    assert!(
        !group.host.is_empty() && !group.worker.is_empty() && group.last.0 == number,
        "{group:?}"
    );
    let health = found(&mut health, |body| {
        let Body::Health(health) = body else {
            panic!("{body:?}");
        };
        (health.ended == 10 && health.rounds > 0).then_some(health)
    });
    let journal = health.journal.expect("every pilot keeps one");
    assert!(journal.size_bytes > 0 && !journal.full, "{journal:?}");
    assert!(
        health.rss_bytes > 1 << 20 && health.cpu_us > 0 && health.round_us.0 > 0,
        "{health:?}"
    );
    assert!(
        health
            .queues
            .iter()
            .any(|(what, much, _)| what == "clients" && *much > 0)
    );
    drop((submissions, faults, session));
    pilot.stop();
}

#[test]
fn a_broken_connection_loses_nothing() {
    let pilot = Pilot::start("--tcp --tcp-only --cores 2");
    let proxy = Proxy::of(&pilot);
    let session = Session::options()
        .name("steady")
        .connect(proxy.directory())
        .unwrap();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut updates = session.events(Topic::Summary);
    assert!(matches!(
        updates.next_within(PATIENCE).unwrap(),
        Some(Update::Snapshot(_))
    ));
    for round in 0..3 {
        let task = pilot.line("echo up > told; read go < gate; echo $SCALEMS_ATTEMPT");
        let running = session.submit(task).unwrap();
        told.line();
        proxy.cut();
        // Meanwhile it ends, and more is submitted.
        gate.release(1);
        let echo = Task::new("scalems.echo");
        let more = session.submit_many((0..2_000_u32).map(|i| echo.with_data(i.to_le_bytes().to_vec())));
        proxy.heal();
        let result = running.wait(PATIENCE).unwrap();
        assert_eq!(
            result.program().unwrap().stdout,
            b"1\n",
            "it ran once, in round {round}"
        );
        wait_all(&more, PATIENCE).unwrap();
        for (i, handle) in (0_u32..).zip(&more) {
            assert_eq!(handle.wait(PATIENCE).unwrap().value[..], i.to_le_bytes());
        }
    }
    assert!(session.is_connected() && session.over().is_none());
    // Events go on as well, after their state anew.
    let array = session.submit_array(Task::new("scalems.noop"), 0..10).unwrap();
    array.wait(PATIENCE).unwrap();
    loop {
        let update = updates.next_within(PATIENCE).unwrap().unwrap();
        if let Update::Snapshot(Body::Summary { tasks, .. }) | Update::Event(Body::Summary { tasks, .. }) =
            update
            && tasks.done == 3 * 2_001 + 10
        {
            break;
        }
    }
    drop((updates, session));
    pilot.stop();
}

#[test]
fn an_end_of_the_connection_for_good_ends_everything() {
    let pilot = Pilot::start("--tcp --tcp-only");
    let proxy = Proxy::of(&pilot);
    let options = Session::options().give_up_after(Duration::from_secs(1));
    let session = options.connect(proxy.directory()).unwrap();
    let handle = session.submit(Task::new("scalems.sleep").data("600")).unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    proxy.cut();
    let error = handle.wait(PATIENCE).unwrap_err();
    assert!(
        matches!(error, ClientError::Over(SessionEnd::Lost { .. })),
        "{error}"
    );
    drop(session);
    pilot.stop();
}

#[test]
fn another_process_comes_back_to_a_named_session() {
    let pilot = Pilot::start("");
    let named = || Session::options().name("mine");
    let first = named().connect(pilot.directory()).unwrap();
    let refused = named().connect(pilot.directory()).unwrap_err();
    assert!(refused.to_string().contains("[session_in_use]"), "{refused}");
    let handle = first.submit(Task::new("scalems.echo").data("kept")).unwrap();
    first.wait_accepted(PATIENCE).unwrap();
    let second = named().takeover(true).connect(pilot.directory()).unwrap();
    let mut over = first.events(Topic::Summary);
    while first.over().is_none() {
        over.next_within(PATIENCE).unwrap_or_default();
    }
    assert!(
        first.over().unwrap().to_string().contains("[taken_over]"),
        "{:?}",
        first.over()
    );
    assert!(handle.wait(PATIENCE).is_ok_and(|result| result.value == "kept") || handle.is_done());
    assert!(
        second
            .submit(Task::new("scalems.noop"))
            .unwrap()
            .wait(PATIENCE)
            .unwrap()
            .is_done()
    );
    drop((over, first, second));
    pilot.stop();
}
