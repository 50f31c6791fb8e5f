//! Sessions over real sockets.

use std::future::{Future as _, IntoFuture as _};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use scalems_client::locate::{self, LocateError};
use scalems_client::{ClientError, Session, SessionEnd, Task, Update, as_completed, wait_all};
use scalems_protocol::client::Page;
use scalems_protocol::error::Code;
use scalems_protocol::event::{Body, Topic};
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;
use scalems_protocol::{Ending, TaskId};

use crate::fake::Fake;
use crate::server::{Door, Server, tally};

/// Far longer than anything here takes: it ends a test that would hang.
const LONG: Duration = Duration::from_secs(20);

struct Place {
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self, fake: Fake) -> Server {
        Server::start(&self.home.path().join("pilots/fake"), fake, Door::Ipc)
    }
}

#[test]
fn tasks_over_sockets() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    assert_eq!(session.pilot().unwrap().pilot_name, "fake");
    assert_eq!(
        session.connection_file().unwrap(),
        server.directory().join("client.json")
    );
    let task = Task::new("scalems.echo");
    let lone = session.submit_data(&task, b"lone").unwrap();
    assert_eq!(lone.wait(LONG).unwrap().value, "lone");
    // 3 MiB of one item, and threads that all submit at once.
    let large = vec![5_u8; 3 << 20];
    let big = session.submit(task.with_data(large.clone())).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (session, task) = (&session, &task);
            scope.spawn(move || {
                let data = |i: u32| [thread.to_le_bytes(), i.to_le_bytes()].concat();
                let handles: Vec<_> = (0..5_000)
                    .map(|i| session.submit_data(task, &data(i)).unwrap())
                    .collect();
                wait_all(&handles, LONG).unwrap();
                for (i, handle) in handles.iter().enumerate() {
                    assert_eq!(handle.wait(None).unwrap().value, data(i as u32));
                }
            });
        }
    });
    assert_eq!(big.wait(LONG).unwrap().value, large);
    session.wait_accepted(LONG).unwrap();
    session.close("done");
    assert_eq!(session.over(), Some(SessionEnd::Closed));
    let heard = tally(&server.stop_after_goodbye());
    assert_eq!((heard["hello"], heard["goodbye"]), (1, 1));
}

#[test]
fn calls_and_reads_over_sockets() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::options()
        .name("shell")
        .shared()
        .connect(server.directory())
        .unwrap();
    assert_eq!(session.ask_status().unwrap().pilot_name, "fake");
    let held = session.submit_held(Task::new("x").data("same"), 0..3).unwrap();
    assert_eq!((held.submission, held.count), (101, 3));
    let each = session
        .submit_held_each(&Task::new("x"), 1, &["a", "bc"])
        .unwrap();
    assert_eq!((each.submission, each.count), (102, 2));
    let page = session
        .ask_results(Page {
            select: Selector::all(),
            after: None,
            rows: 0,
        })
        .unwrap();
    let values: Vec<_> = page
        .results
        .iter()
        .map(|held| (held.submission, held.offset, &held.result.value[..]))
        .collect();
    let expected: [(u64, u32, &[u8]); 5] = [
        (101, 0, b"same"),
        (101, 1, b"same"),
        (101, 2, b"same"),
        (102, 0, b"a"),
        (102, 1, b"bc"),
    ];
    assert_eq!(values, expected);
    assert_eq!(session.ask_wait(Selector::all(), LONG).unwrap().done, 3);
    assert_eq!(session.forget(Selector::all()).unwrap().forgotten, 2);
    let error = session
        .ask_explain(TaskId {
            submission: 9,
            index: 9,
        })
        .unwrap_err();
    assert!(
        matches!(&error, ClientError::Refused { refusal, .. } if refusal.code == Code::NothingSelected),
        "{error}"
    );
    let refused = session.submit_held(Task::new("unknown"), 0..1).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused { refusal, .. } if refusal.code == Code::UnknownMode));
    let handle = session.submit(Task::new("hold")).unwrap();
    assert_eq!(
        session
            .cancel(Selector::all(), Strength::Kill, "test")
            .unwrap()
            .withdrawn,
        1
    );
    assert_eq!(handle.wait(LONG).unwrap().ending, Ending::Canceled);
    session.stop(None, Duration::ZERO).unwrap();
}

#[test]
fn a_restarted_agent_is_gone_on_with() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let held = session.submit_many((0..100).map(|_| Task::new("hold")));
    session.wait_accepted(LONG).unwrap();
    let fake = server.stop();
    // While nobody is there, work goes on being submitted.
    let meanwhile = session.submit_many((0..100).map(|_| Task::new("scalems.noop")));
    let server = place.start(fake);
    wait_all(&meanwhile, LONG).unwrap();
    server.release();
    for at in as_completed(&held) {
        assert!(held[at].wait(LONG).unwrap().is_done());
    }
    assert!(session.is_connected());
    let heard = tally(&server.stop());
    assert_eq!(heard["hello"], 2);
}

#[test]
fn another_pilot_in_its_place_ends_the_session() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let held = session.submit(Task::new("hold")).unwrap();
    session.wait_accepted(LONG).unwrap();
    drop(server);
    let _other = place.start(Fake::new(2));
    let error = held.wait(LONG).unwrap_err();
    assert!(
        matches!(error, ClientError::Over(SessionEnd::OtherPilot { .. })),
        "{error}"
    );
    assert!(matches!(
        session.submit(Task::new("x")),
        Err(ClientError::Over(_))
    ));
}

#[test]
fn an_agent_that_is_known_to_be_dead_is_not_waited_for() {
    let place = Place::new();
    let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let directory = place.home.path().join("pilots/fake");
    let server = Server::start_as(&directory, Fake::new(1), Door::Ipc, process.id());
    let session = Session::connect(server.directory()).unwrap();
    let held = session.submit(Task::new("hold")).unwrap();
    session.wait_accepted(LONG).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    drop(server);
    let error = held.wait(LONG).unwrap_err();
    assert!(
        matches!(&error, ClientError::Over(SessionEnd::PilotEnded { pid, .. }) if *pid == process.id()),
        "{error}"
    );
    let error = Session::connect(&directory).unwrap_err();
    assert!(
        matches!(error, ClientError::Locate(LocateError::DeadPilot { .. })),
        "{error}"
    );
}

#[test]
fn nobody_answers() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let directory = server.directory().to_owned();
    // The file stays when the agent is killed.
    let file = std::fs::read(directory.join("client.json")).unwrap();
    drop(server);
    std::fs::write(directory.join("client.json"), file).unwrap();
    let began = Instant::now();
    let options = Session::options().connect_timeout(Duration::from_millis(300));
    let error = options.connect(&directory).unwrap_err();
    assert!(began.elapsed() < LONG);
    let ClientError::Unreachable {
        pilot, host, file, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((pilot.as_str(), file), ("fake", &directory.join("client.json")));
    let text = error.to_string();
    assert!(
        text.contains(host) && text.contains("client.json") && text.contains("300ms"),
        "{text}"
    );
    assert!(matches!(
        Session::connect(place.home.path().join("nowhere")),
        Err(ClientError::Locate(LocateError::File(_)))
    ));
    let found = locate::find_in(place.home.path(), None).unwrap();
    assert_eq!(found.file.pilot, "fake");
}

#[test]
fn dropping_the_session_ends_what_others_wait_for() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let held = session.submit(Task::new("hold")).unwrap();
    session.wait_accepted(LONG).unwrap();
    let waiting = std::thread::spawn(move || held.wait(LONG));
    drop(session);
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Over(SessionEnd::Closed)), "{error}");
    assert_eq!(tally(&server.stop_after_goodbye())["goodbye"], 1);
}

#[test]
fn the_last_session_may_go_in_a_callback() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let handle = session.submit(Task::new("scalems.noop")).unwrap();
    let (sender, gone) = mpsc::channel();
    handle.on_done(move |_| {
        drop(session);
        sender.send(()).unwrap();
    });
    gone.recv_timeout(LONG).unwrap();
}

#[test]
fn events_over_sockets() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let mut events = session.events(Topic::Alarms);
    assert_eq!(
        events.next_within(LONG).unwrap(),
        Some(Update::Snapshot(Body::Alarms { alarms: Vec::new() }))
    );
    server.alarm();
    server.alarm();
    for number in ["1", "2"] {
        let Some(Update::Event(Body::Alarms { alarms })) = events.next_within(LONG).unwrap() else {
            panic!()
        };
        assert_eq!(alarms[0].about, number);
    }
    session.close("done");
    assert_eq!(events.next_within(LONG).unwrap(), None);
}

#[test]
fn keys_are_needed_over_tcp() {
    let place = Place::new();
    let server = Server::start(
        &place.home.path().join("pilots/fake"),
        Fake::new(1),
        Door::Tcp { known: true },
    );
    let session = Session::connect(server.directory()).unwrap();
    let handle = session.submit(Task::new("scalems.echo").data("secret")).unwrap();
    assert_eq!(handle.wait(LONG).unwrap().value, "secret");
    drop((session, server));
    let server = Server::start(
        &place.home.path().join("pilots/fake"),
        Fake::new(1),
        Door::Tcp { known: false },
    );
    let error = Session::connect(server.directory()).unwrap_err();
    let denied = matches!(&error, ClientError::Over(SessionEnd::Failed(why)) if why.contains("key"));
    assert!(denied, "{error}");
}

/// A thread that waits drives the session meanwhile. Nobody is left waiting by that: not those that wait beside it,
/// not who submits and does not wait, not who is called back.
#[test]
fn whoever_waits_drives_and_nobody_is_forgotten() {
    let place = Place::new();
    let server = place.start(Fake::new(1));
    let session = Session::connect(server.directory()).unwrap();
    let task = Task::new("scalems.echo");
    let one_by_one = |count: u32| {
        for i in 0..count {
            let handle = session.submit_data(&task, &i.to_le_bytes()).unwrap();
            assert_eq!(handle.wait(LONG).unwrap().value, i.to_le_bytes()[..]);
        }
    };
    one_by_one(200);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| one_by_one(200));
        }
    });
    // Submitted after a wait, by somebody who then waits in another way.
    let alone = session.submit_data(&task, b"alone").unwrap();
    let end = Instant::now() + LONG;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(alone.into_future());
    while future
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
        assert!(Instant::now() < end, "the future was not told");
    }
    one_by_one(20);
    let (tell, told) = mpsc::channel();
    let called = session.submit_data(&task, b"called").unwrap();
    called.on_done(move |result| tell.send(result.unwrap().value).unwrap());
    assert_eq!(told.recv_timeout(LONG).unwrap(), "called");
    // From now on the session's own thread drives it.
    one_by_one(200);
    session.close("done");
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
