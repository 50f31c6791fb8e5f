//! Handles, over messages that the test carries: one thread, no clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use scalems_client::machine::{Config, Input};
use scalems_client::{ClientError, Session, SessionEnd, Task, TaskHandle, as_completed, wait_all, wait_any};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::task::When;
use scalems_protocol::{Code, Ending, TaskId, limits};

use crate::fake::Bench;

fn hold() -> Task {
    Task::new("hold")
}

fn echo(data: &str) -> Task {
    Task::new("scalems.echo").data(data.to_owned())
}

/// Waits for what has come: it never waits.
fn now(handle: &TaskHandle) -> Result<scalems_client::TaskResult, ClientError> {
    handle.wait(Duration::ZERO)
}

#[test]
fn a_task_its_id_and_its_value() {
    let mut bench = Bench::new();
    let handle = bench.session.submit(echo("hello")).unwrap();
    assert!(!handle.is_done() && handle.try_result().is_none() && handle.id().is_none());
    let error = now(&handle).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::TimedOut {
                waited: Duration::ZERO,
                ..
            }
        ),
        "{error}"
    );
    bench.run();
    let result = now(&handle).unwrap();
    let id = TaskId {
        submission: 101,
        index: 0,
    };
    assert_eq!((handle.id(), result.id, result.attempt), (Some(id), Some(id), 1));
    assert_eq!(
        (&result.value[..], result.ran),
        (&b"hello"[..], Duration::from_micros(3))
    );
    assert_eq!(result.into_value().unwrap(), "hello");
}

#[test]
fn many_tasks_have_a_value_each() {
    let mut bench = Bench::new();
    let task = Task::new("scalems.echo");
    let large = vec![7_u8; limits::INLINE_BYTES + 1];
    let mut handles = bench
        .session
        .submit_many((0..5_000_u32).map(|i| task.with_data(i.to_le_bytes().to_vec())));
    handles.push(bench.session.submit(task.with_data(large.clone())).unwrap());
    handles.push(bench.session.submit_data(&task, b"").unwrap());
    bench.run();
    wait_all(&handles, Duration::ZERO).unwrap();
    for (i, handle) in handles[..5_000].iter().enumerate() {
        assert_eq!(now(handle).unwrap().value[..], (i as u32).to_le_bytes());
    }
    assert_eq!(now(&handles[5_000]).unwrap().value, large);
    assert_eq!(now(&handles[5_001]).unwrap().value, "");
    let ids: std::collections::BTreeSet<_> = handles.iter().map(TaskHandle::id).collect();
    assert_eq!(ids.len(), handles.len());
    // When nobody holds the tasks any more, nothing of them is left.
    drop(handles);
    bench.run();
    assert_eq!(bench.carrier.machine().packs(), 0);
}

#[test]
fn tasks_that_fail_say_why() {
    let mut bench = Bench::new();
    let failing = bench.session.submit(Task::new("scalems.fail")).unwrap();
    let refused = bench.session.submit(Task::new("unknown")).unwrap();
    let no_mode = bench.session.submit(Task::default()).unwrap();
    bench.run();
    let result = now(&failing).unwrap();
    assert_eq!(result.ending, Ending::Failed);
    let error = result.into_value().unwrap_err();
    assert_eq!(
        error.to_string(),
        "task 101.0 did not end well: it is so [task_failed]"
    );
    let error = now(&refused).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the submission was refused: no worker serves it [unknown_mode]"
    );
    assert!(
        matches!(now(&no_mode), Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::InvalidValue)
    );
}

#[test]
fn callbacks_come_once_and_do_no_harm() {
    let mut bench = Bench::new();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let handle = bench.session.submit(hold()).unwrap();
    let add = |name: &'static str| {
        let calls = Arc::clone(&calls);
        move |result: Result<scalems_client::TaskResult, ClientError>| {
            calls.lock().unwrap().push((name, result.unwrap().ending));
        }
    };
    handle.on_done(add("first"));
    handle.on_done(|_| panic!("this is expected in the test's output"));
    handle.on_done(add("second"));
    let other = bench.session.submit(hold()).unwrap();
    let waited = Arc::clone(&calls);
    let never = bench.session.submit(hold()).unwrap();
    other.on_done(move |_| {
        // A callback may submit, but not wait.
        let error = never.wait(None).err();
        let in_callback = matches!(error, Some(ClientError::InCallback) | None);
        waited
            .lock()
            .unwrap()
            .push(("waited", if in_callback { Ending::Done } else { Ending::Failed }));
    });
    bench.run();
    assert_eq!(handle.note().as_deref(), Some("waiting_for_worker: none"));
    assert!(calls.lock().unwrap().is_empty());
    bench.release();
    let expected = [
        ("first", Ending::Done),
        ("second", Ending::Done),
        ("waited", Ending::Done),
    ];
    assert_eq!(*calls.lock().unwrap(), expected);
    handle.on_done(add("at once"));
    assert_eq!(calls.lock().unwrap().last(), Some(&("at once", Ending::Done)));
}

#[test]
fn waiting_in_a_callback_is_an_error_and_not_for_ever() {
    let mut bench = Bench::new();
    let (held, done) = (
        bench.session.submit(hold()).unwrap(),
        bench.session.submit(echo("x")).unwrap(),
    );
    let said = Arc::new(Mutex::new(None));
    let cell = Arc::clone(&said);
    done.on_done(move |_| *cell.lock().unwrap() = held.wait(None).err());
    bench.run();
    assert!(matches!(*said.lock().unwrap(), Some(ClientError::InCallback)));
}

struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn handles_are_futures() {
    let mut bench = Bench::new();
    let mut handle = bench.session.submit(hold()).unwrap();
    let count = Arc::new(Counter(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(Pin::new(&mut handle).poll(&mut context).is_pending());
    }
    bench.run();
    bench.release();
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "the same waker is kept once");
    let Poll::Ready(Ok(result)) = Pin::new(&mut handle).poll(&mut context) else {
        panic!()
    };
    assert!(result.is_done());
    let mut answer = handle.cancel(Strength::Withdraw).unwrap();
    assert!(Pin::new(&mut answer).poll(&mut context).is_pending());
    bench.run();
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    let Poll::Ready(Ok(done)) = Pin::new(&mut answer).poll(&mut context) else {
        panic!()
    };
    assert_eq!(done.ended, 1);
}

#[test]
fn waiting_for_some_of_many() {
    let mut bench = Bench::new();
    let held = bench.session.submit(hold()).unwrap();
    let quick = bench.session.submit(echo("x")).unwrap();
    let handles = [held, quick];
    assert!(matches!(
        wait_any(&handles, Duration::ZERO),
        Err(ClientError::TimedOut { .. })
    ));
    let mut order = as_completed(&handles);
    bench.run();
    assert_eq!(wait_any(&handles, None).unwrap(), 1);
    assert!(matches!(
        wait_all(&handles, Duration::ZERO),
        Err(ClientError::TimedOut { .. })
    ));
    assert_eq!(order.next_within(Duration::ZERO).unwrap(), Some(1));
    assert!(order.next_within(Duration::ZERO).is_err());
    bench.release();
    assert_eq!(order.next(), Some(0));
    assert_eq!(order.next(), None);
    assert!(wait_any(&[], None).is_err());
}

#[test]
fn dependencies_outlive_their_handles() {
    let mut bench = Bench::absent(Config::default());
    let first = bench.session.submit_many((0..10).map(|_| hold()));
    let last = bench.session.submit(echo("after").after_all(&first)).unwrap();
    let alone = Task::new("scalems.noop").after_when(&first[3], When::Any);
    drop(first);
    let alone = bench.session.submit(alone).unwrap();
    bench.inputs([Input::Connected]);
    bench.run();
    bench.release();
    // This agent runs everything at once; what counts is that nothing was refused.
    assert_eq!(now(&last).unwrap().value, "after");
    assert!(now(&alone).unwrap().is_done());

    let other = Bench::new();
    let error = other.session.submit(Task::new("x").after(&last)).unwrap_err();
    assert!(matches!(error, ClientError::OtherSession));
}

#[test]
fn canceling_what_is_here_and_what_is_there() {
    let mut bench = Bench::new();
    let there = bench.session.submit(hold()).unwrap();
    bench.run();
    let here = bench.session.submit(hold()).unwrap();
    bench.inputs([Input::Disconnected]);
    let cancel = bench
        .session
        .cancel_tasks(&[there.clone(), here.clone()], Strength::Request, "enough")
        .unwrap();
    bench.run();
    let result = now(&here).unwrap();
    assert_eq!((result.ending, result.id), (Ending::Canceled, None));
    assert_eq!(
        result.error.unwrap().message,
        "canceled before it was sent: enough"
    );
    assert!(cancel.try_take().is_none());
    bench.inputs([Input::Connected]);
    bench.run();
    assert_eq!(now(&there).unwrap().ending, Ending::Canceled);
    assert_eq!(cancel.wait(Duration::ZERO).unwrap().withdrawn, 2);
    let single = there.cancel(Strength::Kill).unwrap();
    bench.run();
    assert_eq!(single.wait(None).unwrap().ended, 1);
}

#[test]
fn the_backlog_is_bounded_before_anything_is_sent() {
    let mut bench = Bench::absent(Config {
        backlog_bytes: 2_000,
        ..Config::default()
    });
    let data = [0; 800];
    let task = Task::new("scalems.echo");
    let first = bench.session.submit_data(&task, &data).unwrap();
    bench.session.submit_data(&task, &data).unwrap();
    let error = bench.session.submit_data(&task, &data).unwrap_err();
    assert!(
        matches!(
            error,
            ClientError::BacklogFull {
                limit_bytes: 2_000,
                ..
            }
        ),
        "{error}"
    );
    let many = bench.session.submit_many([task.with_data(data.to_vec())]);
    assert!(matches!(now(&many[0]), Err(ClientError::BacklogFull { .. })));
    assert!(matches!(
        bench.session.wait_room(Duration::ZERO),
        Err(ClientError::TimedOut { .. })
    ));
    bench.inputs([Input::Connected]);
    bench.run();
    bench.session.wait_room(Duration::ZERO).unwrap();
    assert!(now(&first).unwrap().is_done());
    bench.session.submit_data(&task, &data).unwrap();
}

#[test]
fn when_the_session_is_over_everything_has_an_end() {
    for dropped in [false, true] {
        let mut bench = Bench::new();
        let handle = bench.session.submit(hold()).unwrap();
        let array = bench.session.submit_array(hold(), 0..10).unwrap();
        let answer = bench
            .session
            .ask(
                scalems_protocol::client::Question::Workers(scalems_protocol::client::WorkersPage::default()),
                Duration::from_secs(5),
            )
            .unwrap();
        bench.inputs([]);
        let late = bench.session.submit(hold()).unwrap();
        let session = bench.session.clone();
        if dropped {
            drop(bench.carrier);
        } else {
            bench.session.close("done");
            bench.inputs([]);
        }
        let end = session.over().unwrap();
        assert_eq!(end == SessionEnd::Closed, !dropped);
        for handle in [&handle, &late] {
            let error = now(handle).unwrap_err();
            assert!(matches!(&error, ClientError::Over(why) if *why == end), "{error}");
        }
        assert_eq!(array.wait(None).unwrap().without_result, 10);
        assert!(matches!(array.try_result(3), Some(Err(ClientError::Over(_)))));
        assert!(matches!(answer.wait(None), Err(ClientError::Over(_))));
        assert!(matches!(session.submit(hold()), Err(ClientError::Over(_))));
        assert!(matches!(
            now(&session.submit_many([hold()])[0]),
            Err(ClientError::Over(_))
        ));
        assert!(matches!(
            session.forget(Selector::all()),
            Err(ClientError::Over(_))
        ));
        assert!(matches!(session.wait_accepted(None), Err(ClientError::Over(_))));
    }
}

#[test]
fn a_cancel_means_what_was_submitted_before_it() {
    let mut bench = Bench::new();
    let before = bench.session.submit(hold()).unwrap();
    let (session, answer) = (bench.session.clone(), Arc::new(Mutex::new(None)));
    let cell = Arc::clone(&answer);
    let asked = std::thread::spawn(move || {
        *cell.lock().unwrap() = Some(
            session
                .cancel(Selector::all(), Strength::Kill, "")
                .unwrap()
                .withdrawn,
        );
    });
    while !asked.is_finished() {
        bench.run();
        std::thread::yield_now();
    }
    let after = bench.session.submit(hold()).unwrap();
    bench.run();
    assert_eq!(*answer.lock().unwrap(), Some(1));
    assert_eq!(now(&before).unwrap().ending, Ending::Canceled);
    assert!(!after.is_done());
}

#[test]
fn accepted_is_less_than_done() {
    let mut bench = Bench::new();
    let wait = |session: &Session| session.wait_accepted(Duration::ZERO);
    wait(&bench.session).unwrap();
    bench.session.submit(hold()).unwrap();
    assert!(wait(&bench.session).is_err());
    bench.inputs([]);
    assert!(wait(&bench.session).is_err());
    bench.run();
    wait(&bench.session).unwrap();
}

#[test]
fn results_of_an_earlier_life_can_be_taken() {
    let mut bench = Bench::new();
    bench.session.submit_many(["a", "b"].map(echo));
    bench.inputs([]);
    // The first process goes before it takes in what comes.
    for carried in std::mem::take(&mut bench.carried) {
        if let scalems_client::Carried::Send(message, blobs) = carried {
            bench.fake.take(&message, &blobs);
        }
    }
    bench.fake.detach();
    let (session, carrier) = Session::carried(Config::default());
    let mut bench = Bench {
        session,
        carrier,
        now: 0,
        carried: Vec::new(),
        fake: bench.fake,
    };
    bench.inputs([Input::Connected]);
    bench.run();
    let unclaimed = bench.session.take_unclaimed();
    assert_eq!(unclaimed.len(), 1);
    assert_eq!((unclaimed[0].submission, unclaimed[0].request), (101, 1));
    let values: Vec<_> = unclaimed[0]
        .iter()
        .map(|(offset, result)| (offset, result.value))
        .collect();
    assert_eq!(values, [(0, "a".into()), (1, "b".into())]);
    assert!(bench.session.take_unclaimed().is_empty());
}

#[test]
fn everything_is_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    fn check_send<T: Send>() {}
    check::<Session>();
    check::<TaskHandle>();
    check::<scalems_client::ArrayHandle>();
    check_send::<scalems_client::Carrier>();
    check_send::<scalems_client::Events>();
}
