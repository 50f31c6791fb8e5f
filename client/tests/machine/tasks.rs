//! Submissions, results, the window, cancels.

use std::sync::Arc;

use scalems_client::machine::{
    Answered, Call, CallFault, CallKey, Config, Done, Input, Output, Pack, PackKey, TaskFault,
};
use scalems_protocol::client::{Cancel, CancelDone, Durable, Results};
use scalems_protocol::group::Data;
use scalems_protocol::select::{Pick, Selector};
use scalems_protocol::state::Strength;
use scalems_protocol::task::Template;
use scalems_protocol::{Bytes, Code, Ending, Refusal, client, limits};

use crate::script::*;

fn attached() -> Script {
    Script::attached(Config::default())
}

fn named(pack: u64, lo: u32, hi: u32, submission: u64, index: u32) -> Output {
    Output::Named {
        pack: PackKey(pack),
        lo,
        hi,
        submission,
        index,
        step: 1,
    }
}

fn cancel_tasks(tasks: &[(u64, u32, u32)], strength: Strength) -> Call {
    let tasks = tasks
        .iter()
        .map(|(pack, lo, hi)| (PackKey(*pack), *lo, *hi))
        .collect();
    Call::CancelTasks {
        tasks,
        strength,
        reason: "enough".into(),
    }
}

#[test]
fn one_task_there_and_back() {
    let mut script = attached();
    let echo = template("scalems.echo");
    let out = script.step(Input::Submit(pack(1, &echo, &[b"hello"])));
    let [(submit, blobs)] = submits(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (submit.request, submit.low_water, submit.count, submit.streaming),
        (1, 1, 1, true)
    );
    assert_eq!(submit.ends, [0; 0]);
    assert_eq!(blobs, [Bytes::from_static(b"hello")]);
    assert_eq!(script.machine.in_window(), (1, 5));
    assert_eq!(script.step(accepted(1, 5, 1)), [named(1, 0, 1, 5, 0)]);
    let out = script.step(values(1, 1, 0, &[b"hello"]));
    let [
        Output::Resolve {
            pack,
            lo: 0,
            hi: 1,
            done: Done::Ended { group, at: 0 },
        },
        last,
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(
        (*pack, &group.data.of(0)[..], last),
        (PackKey(1), &b"hello"[..], &ack(1))
    );
    assert_eq!(script.machine.in_window(), (0, 0));
    // It is remembered until nobody can ask any more.
    assert_eq!(script.machine.packs(), 1);
    script.step(Input::Release(PackKey(1)));
    assert_eq!(script.machine.packs(), 0);
}

#[test]
fn what_gathers_goes_together() {
    let mut script = attached();
    let (echo, other) = (template("scalems.echo"), template("other"));
    let equal = template("scalems.echo");
    let out = script.steps([
        Input::Submit(pack(1, &echo, &[b"a", b"bc"])),
        Input::Submit(pack(2, &other, &[b"x"])),
        Input::Submit(pack(3, &equal, &[b"", b"def"])),
        Input::Submit(pack(4, &other, &[b"yz"])),
    ]);
    let submits = submits(&out);
    let (first, blobs) = &submits[0];
    assert_eq!(
        (first.request, first.count, &first.ends[..]),
        (1, 4, &[1, 3, 3, 6][..])
    );
    assert_eq!(blobs[0], "abcdef");
    let (second, blobs) = &submits[1];
    assert_eq!(
        (second.request, second.count, &second.ends[..]),
        (2, 2, &[1, 3][..])
    );
    assert_eq!(blobs[0], "xyz");
    // Results across what was joined find their packs, and so do names.
    let out = script.step(values(1, 1, 1, &[b"BC", b"", b"DEF"]));
    assert_eq!(out[..2], [named(1, 0, 2, 101, 0), named(3, 0, 2, 101, 2)]);
    let places: Vec<_> = out
        .iter()
        .filter_map(|output| match output {
            Output::Resolve {
                pack,
                lo,
                hi,
                done: Done::Ended { at, .. },
            } => Some((pack.0, *lo, *hi, *at)),
            _ => None,
        })
        .collect();
    assert_eq!(places, [(1, 1, 2, 0), (3, 0, 2, 1)]);
    assert_eq!(script.step(accepted(1, 101, 4)), []);
}

#[test]
fn a_message_takes_so_many_tasks_and_so_many_bytes() {
    let mut script = attached();
    let out = script.steps((0..3).map(|key| Input::Submit(bare(key, 1_000))));
    assert_eq!(batches(&out), [(1, 1_024), (2, 1_024), (3, 952)]);

    let item = vec![0; limits::INLINE_BYTES];
    let items: Vec<&[u8]> = vec![&item; 100];
    let out = script.step(Input::Submit(pack(3, &template("x"), &items)));
    assert_eq!(batches(&out), [(4, 64), (5, 36)]);
    let large = vec![0; 5 << 20];
    let out = script.step(Input::Submit(pack(4, &template("x"), &[&large])));
    let [(submit, blobs)] = submits(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!((submit.count, submit.ends.len(), blobs[0].len()), (1, 0, 5 << 20));
}

#[test]
fn the_window_holds_back_the_rest() {
    let mut script = Script::attached(Config {
        window_tasks: 32,
        ..Config::default()
    });
    let out = script.step(Input::Submit(bare(1, 50)));
    assert_eq!(batches(&out), [(1, 32)]);
    assert_eq!(script.machine.in_window(), (32, 0));
    // Room for one task is not worth a message, room for a sixteenth of the window is.
    assert_eq!(batches(&script.step(results(1, 1, 0, 1, Ending::Done))), []);
    assert_eq!(batches(&script.step(results(2, 1, 1, 2, Ending::Done))), [(2, 2)]);
    assert_eq!(
        batches(&script.step(results(3, 1, 2, 32, Ending::Done))),
        [(3, 16)]
    );
    assert_eq!(script.machine.in_window(), (18, 0));
    assert_eq!(script.machine.backlog_bytes(), 0);
    // Results come by offset in their submission, tasks are known by their place in the pack.
    assert_eq!(
        resolved(&script.step(results(4, 3, 15, 16, Ending::Done))),
        [(1, 49, 50, Some(Ending::Done))]
    );
}

#[test]
fn bytes_fill_the_window_too_and_one_larger_item_goes_alone() {
    let mut script = Script::attached(Config {
        window_bytes: 100,
        ..Config::default()
    });
    let template = template("x");
    let out = script.steps([
        Input::Submit(pack(1, &template, &[&[0; 90]])),
        Input::Submit(pack(2, &template, &[&[0; 300]])),
        Input::Submit(pack(3, &template, &[&[0; 10]])),
    ]);
    assert_eq!(batches(&out), [(1, 1)]);
    assert_eq!(batches(&script.step(results(1, 1, 0, 1, Ending::Done))), [(2, 1)]);
    assert_eq!(script.machine.in_window(), (1, 300));
    assert_eq!(batches(&script.step(results(2, 2, 0, 1, Ending::Done))), [(3, 1)]);
}

#[test]
fn arrays_are_one_submission_outside_the_window() {
    let mut script = attached();
    let out = script.step(Input::Submit(array(1, 100, 10, 1_000_000)));
    let [(submit, blobs)] = submits(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (submit.count, submit.first, submit.step, blobs.len()),
        (1_000_000, 100, 10, 0)
    );
    assert_eq!(script.machine.in_window(), (0, 0));
    let out = script.step(accepted(1, 7, 1_000_000));
    let whole = Output::Named {
        pack: PackKey(1),
        lo: 0,
        hi: 1_000_000,
        submission: 7,
        index: 100,
        step: 10,
    };
    assert_eq!(out, [whole]);
    let out = script.steps([
        results(1, 1, 500_000, 1_000_000, Ending::Done),
        results(2, 1, 0, 400_000, Ending::Done),
        results(3, 1, 400_000, 500_000, Ending::Failed),
    ]);
    assert_eq!(
        resolved(&out),
        [
            (1, 500_000, 1_000_000, Some(Ending::Done)),
            (1, 0, 400_000, Some(Ending::Done)),
            (1, 400_000, 500_000, Some(Ending::Failed)),
        ]
    );
    assert_eq!(sent(&out), ["ack"]);
}

#[test]
fn each_result_is_taken_in_once() {
    let mut script = attached();
    script.step(Input::Submit(bare(1, 10)));
    let out = script.steps([
        results(1, 1, 2, 4, Ending::Done),
        results(1, 1, 2, 4, Ending::Done),
        results(2, 1, 0, 6, Ending::Failed),
    ]);
    let expected = [
        (1, 2, 4, Some(Ending::Done)),
        (1, 0, 2, Some(Ending::Failed)),
        (1, 4, 6, Some(Ending::Failed)),
    ];
    assert_eq!(resolved(&out), expected);
    let counters = script.machine.counters();
    assert_eq!((counters.repeated_deliveries, counters.repeated_results), (1, 2));
    // Of a submission that is over nothing is known any more, and that is enough.
    script.step(results(3, 1, 6, 10, Ending::Done));
    assert_eq!(resolved(&script.step(results(4, 1, 6, 10, Ending::Done))), []);
    assert_eq!(script.machine.counters().repeated_results, 6);
}

#[test]
fn a_missing_delivery_is_asked_for() {
    let mut script = attached();
    script.step(Input::Submit(bare(1, 2)));
    let out = script.step(results(2, 1, 1, 2, Ending::Done));
    let [Output::Send(client::ClientToAgent::Named(client::NamedClientToAgent::ClientHello(hello)), _)] =
        &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((hello.deliveries, hello.resume.as_ref()), (0, Some(&resume())));
    script.step(said(welcome(1, 1)));
    let out = script.steps([
        results(1, 1, 0, 1, Ending::Done),
        results(2, 1, 1, 2, Ending::Done),
    ]);
    assert_eq!(resolved(&out).len(), 2);
}

#[test]
fn wrong_results_are_said_and_do_no_harm() {
    let mut script = attached();
    script.step(Input::Submit(bare(1, 2)));
    let out = script.step(results(1, 1, 1, 3, Ending::Done));
    assert!(
        matches!(&out[0], Output::Complaint(refusal) if refusal.code == Code::Malformed),
        "{out:?}"
    );
    let mut unreadable = group(1, 0, 1, Ending::Done);
    unreadable.place.blob = Some(4);
    let out = script.step(said(Results {
        delivery: 2,
        durable: Durable::None,
        groups: vec![unreadable],
        accepted: Vec::new(),
    }));
    let Output::Resolve {
        done: Done::Failed(fault),
        ..
    } = &out[1]
    else {
        panic!("{out:?}")
    };
    assert!(matches!(**fault, TaskFault::Unreadable(_)));
}

#[test]
fn refusals_reach_every_task_of_the_batch_and_use_up_the_number() {
    let mut script = attached();
    script.steps([Input::Submit(bare(1, 2)), Input::Submit(bare(2, 1))]);
    let out = script.step(refused(Some(1), Code::UnknownMode));
    assert_eq!(resolved(&out), [(1, 0, 2, None), (2, 0, 1, None)]);
    let refusal = TaskFault::Refused(Refusal::new(Code::UnknownMode, "no"));
    assert!(matches!(&out[0], Output::Resolve { done: Done::Failed(fault), .. } if **fault == refusal));
    let out = script.step(Input::Submit(bare(3, 1)));
    assert_eq!(batches(&out), [(2, 1)]);
    assert_eq!(submits(&out)[0].0.low_water, 2);
}

#[test]
fn what_the_agent_has_no_room_for_is_sent_later() {
    let mut script = attached();
    script.step(Input::Submit(bare(1, 3)));
    assert_eq!(script.step(refused(Some(1), Code::WindowFull)), []);
    assert_eq!(script.machine.in_window(), (0, 0));
    assert_eq!(script.machine.deadline(script.now), Some(10_000));
    assert_eq!(batches(&script.later(9_999)), []);
    assert_eq!(batches(&script.later(1)), [(2, 3)]);
    script.step(refused(Some(2), Code::WindowFull));
    assert_eq!(script.machine.deadline(script.now), Some(script.now + 20_000));
    assert_eq!(script.machine.counters().window_full, 2);
    let out = script.later(20_000);
    assert_eq!(batches(&out), [(3, 3)]);
    assert_eq!(
        resolved(&script.step(results(1, 3, 0, 3, Ending::Done))),
        [(1, 0, 3, Some(Ending::Done))]
    );
}

#[test]
fn a_uid_is_one_submissions() {
    let mut script = attached();
    let uid = Arc::new(Template {
        mode: "x".into(),
        uid: Some("u".into()),
        ..Template::default()
    });
    let out = script.steps([
        Input::Submit(pack(1, &uid, &[b"a"])),
        Input::Submit(pack(2, &uid, &[b"b"])),
    ]);
    assert_eq!(batches(&out), [(1, 1), (2, 1)]);
}

#[test]
fn the_backlog_is_bounded() {
    let mut script = Script::new(Config {
        backlog_bytes: 1_000,
        ..Config::default()
    });
    let template = template("x");
    script.step(Input::Submit(pack(1, &template, &[&[0; 400]])));
    assert_eq!(script.machine.backlog_bytes(), 688);
    let out = script.step(Input::Submit(pack(2, &template, &[&[0; 100]])));
    let full = TaskFault::BacklogFull {
        waiting_bytes: 688,
        limit_bytes: 1_000,
    };
    assert!(matches!(&out[0], Output::Resolve { done: Done::Failed(fault), .. } if **fault == full));
    // One that is larger than all of it is taken into an empty one.
    script.step(Input::Connected);
    script.step(said(welcome(0, 1)));
    let out = script.step(Input::Submit(pack(3, &template, &[&[0; 2_000]])));
    assert_eq!(batches(&out), [(2, 1)]);
}

#[test]
fn what_cannot_be_is_refused_here() {
    let mut script = attached();
    let no_mode = Pack {
        template: Arc::new(Template::default()),
        ..bare(1, 1)
    };
    let shared = Pack {
        data: Data::shared(Bytes::from_static(b"x")),
        ..bare(2, 2)
    };
    let wrong_ends = Pack {
        data: Data {
            bytes: Bytes::new(),
            ends: vec![1],
        },
        ..bare(3, 1)
    };
    let huge = Pack {
        data: Data::shared(vec![0; limits::BLOB_BYTES + 1].into()),
        ..bare(4, 1)
    };
    let inputs = [no_mode, shared, wrong_ends, huge].map(Input::Submit);
    let out = script.steps(inputs);
    assert_eq!(
        resolved(&out),
        [(1, 0, 1, None), (2, 0, 2, None), (3, 0, 1, None), (4, 0, 1, None)]
    );
    assert_eq!(sent(&out), [""; 0]);
}

#[test]
fn held_submissions_are_answered_and_nothing_is_pushed() {
    let mut script = attached();
    let held = Call::Held {
        template: template("x"),
        count: 3,
        first: 1,
        step: 2,
        data: Data::shared(Bytes::from_static(b"same")),
        open: false,
        total: None,
    };
    let out = script.steps([call(1, held.clone()), call(2, held)]);
    let (first, blobs) = submits(&out)[0];
    assert_eq!(
        (first.request, first.streaming, first.first, first.step),
        (1, false, 1, 2)
    );
    assert_eq!(blobs[0], "same");
    let out = script.steps([accepted(1, 9, 3), refused(Some(2), Code::AgentFull)]);
    let answered = Ok(Answered::Accepted {
        submission: 9,
        count: 3,
        note: None,
    });
    let refused = Err(CallFault::Refused(Refusal::new(Code::AgentFull, "no")));
    let expected = [
        Output::Reply(CallKey(1), Box::new(answered)),
        Output::Reply(CallKey(2), Box::new(refused)),
    ];
    assert_eq!(out, expected);
}

#[test]
fn what_was_not_sent_is_canceled_here() {
    let mut script = Script::attached(Config {
        window_tasks: 2,
        ..Config::default()
    });
    let out = script.step(Input::Submit(bare(1, 5)));
    assert_eq!(batches(&out), [(1, 2)]);
    script.step(accepted(1, 50, 2));
    let out = script.step(call(1, cancel_tasks(&[(1, 1, 4)], Strength::Withdraw)));
    // One is at the agent and has a number, two are here.
    assert_eq!(resolved(&out), [(1, 2, 4, Some(Ending::Canceled))]);
    let cancel = Cancel {
        request: 2,
        low_water: 2,
        select: Selector {
            picks: vec![Pick {
                first: 50,
                last: 50,
                step: 1,
                indices: Some((1, 1, 1)),
            }],
            ..Selector::default()
        },
        strength: Strength::Withdraw,
        reason: "enough".into(),
    };
    assert_eq!(out.last(), Some(&Output::Send(cancel.into(), Vec::new())));
    let out = script.step(said(CancelDone {
        request: 2,
        running: 1,
        ..CancelDone::default()
    }));
    let tally = CancelDone {
        withdrawn: 2,
        running: 1,
        ..CancelDone::default()
    };
    assert_eq!(
        out,
        [Output::Reply(CallKey(1), Box::new(Ok(Answered::Canceled(tally))))]
    );
    // The last one is still to go.
    let out = script.step(results(1, 1, 0, 2, Ending::Done));
    assert_eq!(batches(&out), [(3, 1)]);
    assert_eq!(
        resolved(&script.step(results(2, 3, 0, 1, Ending::Done))),
        [(1, 4, 5, Some(Ending::Done))]
    );
    let out = script.step(call(2, cancel_tasks(&[(1, 0, 5), (77, 0, 1)], Strength::Kill)));
    let tally = CancelDone {
        ended: 6,
        ..CancelDone::default()
    };
    assert_eq!(
        out,
        [Output::Reply(CallKey(2), Box::new(Ok(Answered::Canceled(tally))))]
    );
}

#[test]
fn a_cancel_waits_for_the_number() {
    let mut script = attached();
    script.step(Input::Submit(bare(1, 4)));
    assert_eq!(
        script.step(call(
            1,
            cancel_tasks(&[(1, 0, 1), (1, 1, 2), (1, 3, 4)], Strength::Kill)
        )),
        []
    );
    let out = script.step(accepted(1, 8, 4));
    let Some(Output::Send(client::ClientToAgent::Named(client::NamedClientToAgent::Cancel(cancel)), _)) =
        out.last()
    else {
        panic!("{out:?}")
    };
    let indices: Vec<_> = cancel.select.picks.iter().map(|pick| pick.indices).collect();
    assert_eq!(indices, [Some((0, 1, 1)), Some((3, 3, 1))]);
    // It may have ended and been forgotten before the cancel comes to the agent.
    let out = script.step(refused(Some(2), Code::NothingSelected));
    let tally = CancelDone {
        ended: 3,
        ..CancelDone::default()
    };
    assert_eq!(
        out,
        [Output::Reply(CallKey(1), Box::new(Ok(Answered::Canceled(tally))))]
    );
}

#[test]
fn canceling_by_selector_is_the_agents_business() {
    let mut script = attached();
    let cancel = Call::Cancel {
        select: Selector::all(),
        strength: Strength::Request,
        reason: String::new(),
    };
    assert_eq!(sent(&script.step(call(1, cancel))), ["cancel"]);
    let done = CancelDone {
        request: 1,
        told: 3,
        ..CancelDone::default()
    };
    let out = script.step(said(done.clone()));
    assert_eq!(
        out,
        [Output::Reply(CallKey(1), Box::new(Ok(Answered::Canceled(done))))]
    );
}

#[test]
fn what_is_asked_for_comes_after_what_was_submitted_before() {
    let cancel = || Call::Cancel {
        select: Selector::all(),
        strength: Strength::Kill,
        reason: String::new(),
    };
    let mut script = attached();
    let inputs = || {
        [
            Input::Submit(bare(1, 2)),
            call(1, cancel()),
            Input::Submit(bare(2, 3)),
        ]
    };
    assert_eq!(sent(&script.steps(inputs())), ["submit", "cancel", "submit"]);
    // As it was said it is said again.
    script.step(Input::Connected);
    assert_eq!(
        sent(&script.step(said(welcome(0, 1)))),
        ["submit", "cancel", "submit"]
    );
}

#[test]
fn so_many_requests_may_be_open() {
    let mut script = attached();
    let requests = (0..limits::OPEN_REQUESTS + 10).map(|key| {
        call(
            key,
            Call::Forget {
                select: Selector::all(),
            },
        )
    });
    let out = script.steps(requests);
    assert_eq!(sent(&out).len() as u64, limits::OPEN_REQUESTS);
    let done = |request| {
        said(client::ForgetDone {
            request,
            forgotten: 0,
            kept: 0,
            record: 0,
        })
    };
    // The lowest one holds the mark.
    assert_eq!(sent(&script.step(done(2))), [""; 0]);
    assert_eq!(sent(&script.step(done(1))), ["forget", "forget"]);
}

#[test]
fn parts_of_an_array_are_canceled_with_the_whole() {
    let mut script = Script::new(Config::default());
    script.step(Input::Submit(array(1, 0, 1, 4)));
    // A part waits until the array is at the agent; then the whole is canceled here, and nothing goes there any more.
    let parts = [(1, 2, 4), (1, 0, 2), (1, 0, 4)];
    let out = script.step(call(1, cancel_tasks(&parts, Strength::Withdraw)));
    assert_eq!(resolved(&out).len(), 1, "{out:?}");
    let tally = CancelDone {
        withdrawn: 4,
        ended: 4,
        ..CancelDone::default()
    };
    assert_eq!(
        out.last(),
        Some(&Output::Reply(
            CallKey(1),
            Box::new(Ok(Answered::Canceled(tally)))
        ))
    );
}
