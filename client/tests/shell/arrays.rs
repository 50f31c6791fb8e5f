//! Arrays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use scalems_client::machine::Input;
use scalems_client::{ArrayCounts, ClientError, Indices, Task};
use scalems_protocol::client::{Durable, Results};
use scalems_protocol::group::{Place, ResultGroup, Run};
use scalems_protocol::state::Strength;
use scalems_protocol::{Ending, Origin, TaskId};

use crate::fake::{Bench, SESSION};

fn results(delivery: u64, runs: &[(u32, u32)]) -> Input {
    let groups = runs.iter().map(|&(lo, hi)| ResultGroup {
        run: Run {
            submission: 101,
            lo,
            hi,
            attempt: 1,
        },
        origin: Origin {
            session: SESSION,
            request: 1,
        },
        incarnation: 1,
        ending: Ending::Done,
        place: Place::default(),
        exit_code: Some(0),
        ran_us: 10 * u64::from(hi - lo),
        error: None,
    });
    Input::Message(
        Results {
            delivery,
            durable: Durable::None,
            groups: groups.collect(),
            accepted: Vec::new(),
        }
        .into(),
        Vec::new(),
    )
}

#[test]
fn a_million_alike_cost_as_much_as_one() {
    let mut bench = Bench::new();
    let array = bench
        .session
        .submit_array(Task::new("hold"), 0..1_000_000)
        .unwrap();
    bench.run();
    assert_eq!(array.submission(), Some(101));
    let counts = Arc::new(Mutex::new(None));
    let cell = Arc::clone(&counts);
    array.on_done(move |counts| *cell.lock().unwrap() = Some(counts));
    // They come in pieces, out of order.
    let piece = 1_000_000 / 64;
    for (delivery, at) in (1..).zip((0..64).map(|i| (i * 37) % 64)) {
        bench.inputs([results(delivery, &[(at * piece, (at + 1) * piece)])]);
    }
    bench.run();
    let expected = ArrayCounts {
        done: 1_000_000,
        ..ArrayCounts::default()
    };
    assert_eq!(array.wait(None).unwrap(), expected);
    assert_eq!(*counts.lock().unwrap(), Some(expected));
    assert_eq!(array.stretches(), 1);
    let result = array.try_result(777_777).unwrap().unwrap();
    assert_eq!(
        result.id,
        Some(TaskId {
            submission: 101,
            index: 777_777
        })
    );
    assert_eq!(
        (result.exit_code, result.ran),
        (Some(0), Duration::from_micros(10))
    );
    assert!(array.try_result(1_000_000).is_none());
    drop(array);
    bench.run();
    assert_eq!(bench.carrier.machine().packs(), 0);
}

#[test]
fn indices_may_be_any() {
    let mut bench = Bench::new();
    let echo = Task::new("scalems.echo").data("same");
    let array = bench
        .session
        .submit_array(&echo, Indices::stepped(10, 30, 5))
        .unwrap();
    assert_eq!(array.indices().collect::<Vec<_>>(), [10, 15, 20, 25, 30]);
    assert!(array.try_result(10).is_none());
    bench.run();
    assert_eq!(array.wait(Duration::ZERO).unwrap().done, 5);
    let result = array.try_result(25).unwrap().unwrap();
    assert_eq!(
        (result.id.unwrap().to_string(), &result.value[..]),
        ("101.25".into(), &b"same"[..])
    );
    for index in [9, 11, 35] {
        assert!(array.try_result(index).is_none());
    }
    for wrong in [
        Indices::from(0..0),
        Indices {
            first: 0,
            step: 0,
            count: 2,
        },
        Indices::from(0..5_000_000),
    ] {
        assert!(matches!(
            bench.session.submit_array(&echo, wrong),
            Err(ClientError::Refused { .. })
        ));
    }
    assert!(bench.session.submit_array(&echo, u32::MAX - 2..u32::MAX).is_ok());
    assert!(
        bench
            .session
            .submit_array(&echo, u32::MAX - 2..=u32::MAX)
            .is_err()
    );
}

#[test]
fn arrays_are_canceled_as_a_whole() {
    let mut bench = Bench::new();
    let array = bench.session.submit_array(Task::new("hold"), 0..10).unwrap();
    let after = bench.session.submit_array(
        Task::new("scalems.noop").after_each(&array, scalems_protocol::task::When::Any),
        0..10,
    );
    bench.run();
    assert_eq!(after.unwrap().counts().done, 10);
    let cancel = array.cancel(Strength::Request).unwrap();
    bench.run();
    assert_eq!(cancel.wait(None).unwrap().withdrawn, 10);
    assert_eq!(array.counts().canceled, 10);
    assert_eq!(array.try_result(0).unwrap().unwrap().ending, Ending::Canceled);
}
