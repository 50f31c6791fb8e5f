//! What leases become: modes, room, order, time limits, reports.

use scalems_protocol::{Code, limits, program};

use super::*;

#[test]
fn an_array_of_noops_is_one_result_and_leaves_no_trace() {
    let mut rig = Rig::joined(1);
    let out = rig.say(lease(template(program::NOOP), run(1, 0, 16_384)));
    let (told, blobs) = report(&out);
    assert_eq!(
        told,
        &Report {
            number: 1,
            results: vec![result(run(1, 0, 16_384), Ending::Done)],
            ..Report::default()
        }
    );
    assert!(blobs.is_empty());
    assert_eq!(rig.hash(), 0);
}

#[test]
fn an_echo_gives_back_the_very_bytes() {
    static DATA: [u8; 20_000] = [7; 20_000];
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(template(program::ECHO), run(1, 0, 2), &DATA, vec![9_000, 20_000]);
    let out = rig.tell(message, blobs);
    let (told, blobs) = report(&out);
    let place = Place {
        blob: Some(1),
        at: 0,
        length: 20_000,
        ends: vec![9_000, 20_000],
    };
    assert_eq!(
        told.results,
        [ResultGroup {
            place,
            ..result(run(1, 0, 2), Ending::Done)
        }]
    );
    assert_eq!(blobs[1].as_ptr(), DATA.as_ptr());
}

#[test]
fn failures_of_one_kind_are_one_result() {
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(template(program::FAIL), run(1, 0, 4), b"aab", vec![1, 2, 3, 3]);
    let out = rig.tell(message, blobs);
    let (told, _) = report(&out);
    let said: Vec<_> = told
        .results
        .iter()
        .map(|group| (group.run, &group.error.as_ref().unwrap().message[..]))
        .collect();
    assert_eq!(
        said,
        [
            (run(1, 0, 2), "a"),
            (run(1, 2, 3), "b"),
            (run(1, 3, 4), "this task fails by design")
        ]
    );
    assert!(
        told.results
            .iter()
            .all(|group| group.error.as_ref().unwrap().retryable)
    );
}

#[test]
fn what_cannot_run_here_fails_by_name() {
    let mut rig = Rig::joined(2);
    let mut gpus = program(1);
    gpus.needs.gpus_per_rank = 3.into();
    let mut tokens = program(1);
    tokens.needs.named.insert("token".into(), 1.into());
    for (template, code, word) in [
        (template("task.unheard"), Code::UnknownMode, "\"task.unheard\""),
        (
            program(3),
            Code::ImpossibleNeeds,
            "needs 3 of \"cores\" and this worker has 2",
        ),
        (gpus, Code::ImpossibleNeeds, "gpus"),
        (tokens, Code::ImpossibleNeeds, "token"),
    ] {
        let out = rig.say(lease(template, run(1, 0, 5)));
        let (told, _) = report(&out);
        let [group] = &told.results[..] else {
            panic!("{told:?}")
        };
        let error = group.error.as_ref().unwrap();
        assert_eq!(
            (group.run, group.ending, error.code),
            (run(1, 0, 5), Ending::Failed, code)
        );
        assert!(error.message.contains(word) && !error.retryable, "{error}");
    }
    let (mut message, blobs) = lease_with(program(1), run(1, 0, 1), b"x", Vec::new());
    message.groups[0].place.length = 2;
    let out = rig.tell(message, blobs);
    assert_eq!(
        report(&out).0.results[0].error.as_ref().unwrap().code,
        Code::Malformed
    );
    let mut message = lease(program(1), run(1, 0, 1));
    message.groups[0].template = 1;
    assert_eq!(
        report(&rig.say(message)).0.results[0]
            .error
            .as_ref()
            .unwrap()
            .code,
        Code::Malformed
    );
    assert!(rig.say(lease(program(1), run(1, 4, 4))).is_empty());
    assert!(matches!(rig.notes.pop(), Some(Note::WrongLease(_))));
    assert_eq!(rig.hash(), 0);
}

#[test]
fn a_task_is_started_with_its_data_and_the_lowest_free_cores() {
    let mut rig = Rig::joined(4);
    let mut two = program(2);
    two.needs.gpus_per_rank = 1.into();
    let (message, blobs) = lease_with(two, run(1, 3, 6), b"abc", vec![1, 2, 3]);
    let out = rig.tell(message, blobs);
    let [first, second] = starts(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (first.key, first.task.to_string().as_str(), first.offset),
        (1, "1.16", 3)
    );
    assert_eq!(
        (&first.data[..], &first.cpus[..], &first.gpus[..]),
        (&b"a"[..], &[0, 1][..], &[0][..])
    );
    assert_eq!(
        (&second.data[..], &second.cpus[..], &second.gpus[..]),
        (&b"b"[..], &[2, 3][..], &[1][..])
    );
    assert_eq!(
        (second.origin, second.incarnation, second.attempt),
        (ORIGIN, 1, 1)
    );
    assert_eq!(out.len(), 2, "that they run is told when they do");
    let out = rig.round([Input::Started { key: 1 }, Input::Started { key: 2 }]);
    assert_eq!(
        report(&out).0,
        &Report {
            number: 1,
            started: vec![run(1, 3, 5)],
            ..Report::default()
        }
    );
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: done(),
    }]);
    let [
        Output::Start(third),
        Output::Send(WorkerToAgent::Report(told), blobs),
    ] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!((&third.data[..], &third.cpus[..]), (&b"c"[..], &[0, 1][..]));
    let place = Place {
        blob: Some(0),
        at: 0,
        length: 5,
        ends: Vec::new(),
    };
    let ended = ResultGroup {
        place,
        exit_code: Some(0),
        ran_us: 5,
        ..result(run(1, 3, 4), Ending::Done)
    };
    assert_eq!(told.results, [ended]);
    assert_eq!(blobs, &[Bytes::from_static(b"value")]);
    let sum = term(run(1, 4, 5), TaskState::Running).wrapping_add(term(run(1, 5, 6), TaskState::Leased));
    assert_eq!(rig.hash(), sum);
}

#[test]
fn a_start_and_an_end_in_one_round_are_only_a_result() {
    let mut rig = Rig::joined(1);
    rig.say(lease(program(1), run(1, 0, 1)));
    let out = rig.round([
        Input::Started { key: 1 },
        Input::Ended {
            key: 1,
            outcome: done(),
        },
    ]);
    let (told, _) = report(&out);
    assert!(told.started.is_empty());
    assert_eq!(told.results[0].run, run(1, 0, 1));
    assert_eq!(rig.hash(), 0);
    assert!(
        rig.round([Input::Ended {
            key: 1,
            outcome: done()
        }])
        .is_empty()
    );
    assert_eq!(rig.notes.pop(), Some(Note::UnknownKey(1)));
}

#[test]
fn a_small_task_passes_a_big_one_but_not_for_ever() {
    let mut rig = Rig::joined(2);
    rig.say(lease(program(1), run(1, 0, 1)));
    rig.say(lease(program(2), run(2, 0, 1)));
    let out = rig.say(lease(program(1), run(3, 0, 1_000)));
    assert_eq!(starts(&out)[0].task.submission, 3);
    let mut running = vec![2];
    let mut passed = 1;
    while let Some(key) = running.pop() {
        let out = rig.round([Input::Ended { key, outcome: done() }]);
        let started = starts(&out);
        assert!(started.iter().all(|lease| lease.task.submission == 3));
        passed += started.len();
        running.extend(started.iter().map(|lease| lease.key));
    }
    assert_eq!(passed, 64);
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: done(),
    }]);
    assert_eq!(
        starts(&out)
            .iter()
            .map(|lease| lease.task.submission)
            .collect::<Vec<_>>(),
        [2]
    );
}

#[test]
fn memory_and_named_resources_are_counted() {
    let mut rig = Rig::joined(8);
    let mut needs = program(1);
    needs.needs.mem_per_rank = 400;
    assert_eq!(starts(&rig.say(lease(needs, run(1, 0, 4)))).len(), 2);
    let mut licence = program(0);
    licence.needs.named.insert("licence".into(), 1.into());
    assert_eq!(starts(&rig.say(lease(licence, run(2, 0, 4)))).len(), 1);
    let out = rig.round([
        Input::Ended {
            key: 1,
            outcome: done(),
        },
        Input::Ended {
            key: 3,
            outcome: done(),
        },
    ]);
    assert_eq!(starts(&out).len(), 2);
}

#[test]
fn a_sleep_takes_its_core_and_its_time() {
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(
        template(program::SLEEP),
        run(1, 0, 4),
        b"1.5so0.2",
        vec![3, 5, 8, 8],
    );
    let out = rig.tell(message, blobs);
    let ends = |out: &[Output]| -> Vec<_> {
        let results = &report(out).0.results;
        results
            .iter()
            .map(|group| {
                (
                    group.run.lo,
                    group.ran_us,
                    group.error.as_ref().map(|error| error.code),
                )
            })
            .collect()
    };
    // What has wrong data needs no core to fail.
    assert_eq!(report(&out).0.started, [run(1, 0, 1)]);
    assert_eq!(ends(&out), [(1, 0, Some(Code::WrongData))]);
    assert_eq!(rig.machine.deadline(), Some(1_500_000));
    let out = rig.at(1_500_000, []);
    assert_eq!(report(&out).0.started, [run(1, 2, 3)]);
    assert_eq!(ends(&out), [(0, 1_500_000, None), (3, 0, Some(Code::WrongData))]);
    assert_eq!(ends(&rig.at(1_700_000, [])), [(2, 200_000, None)]);
    assert_eq!(rig.hash(), 0);
}

#[test]
fn sleeps_of_no_time_all_end_in_one_round() {
    let mut rig = Rig::joined(1);
    let (message, blobs) = lease_with(template(program::SLEEP), run(1, 0, 1_024), b"0.0", Vec::new());
    let out = rig.tell(message, blobs);
    assert_eq!(report(&out).0.results, [result(run(1, 0, 1_024), Ending::Done)]);
}

#[test]
fn a_time_limit_asks_then_kills_and_says_so() {
    let mut rig = Rig::joined(1);
    let policy = Policy {
        time_limit_ms: 1_000,
        grace_ms: 300,
        ..Policy::default()
    };
    rig.say(lease(Template { policy, ..program(1) }, run(1, 0, 2)));
    rig.at(SECOND / 2, [Input::Started { key: 1 }]);
    assert_eq!(rig.machine.deadline(), Some(1_500_000));
    let order = StopOrder {
        key: 1,
        strength: Strength::Request,
        grace_ms: 300,
        reason: "its time limit passed".into(),
    };
    assert_eq!(stops(&rig.at(1_500_000, [])), [&order]);
    assert_eq!(rig.machine.deadline(), Some(1_800_000));
    assert_eq!(
        stops(&rig.at(1_800_000, [])),
        [&StopOrder {
            strength: Strength::Kill,
            grace_ms: 0,
            ..order
        }]
    );
    let out = rig.round([Input::Ended {
        key: 1,
        outcome: stopped(),
    }]);
    let (told, blobs) = report(&out[1..]);
    let error = told.results[0].error.as_ref().unwrap();
    assert_eq!(
        (told.results[0].ending, error.code, error.retryable),
        (Ending::Failed, Code::TimeLimit, true)
    );
    assert!(error.message.contains("1 s"), "{error}");
    assert_eq!(blobs.len(), 1, "what it wrote until then is not lost");
    // One that ends by itself in its grace time ended by itself.
    rig.at(2 * SECOND, [Input::Started { key: 2 }]);
    rig.at(3 * SECOND, []);
    let out = rig.at(
        3 * SECOND,
        [Input::Ended {
            key: 2,
            outcome: done(),
        }],
    );
    assert_eq!(report(&out).0.results[0].ending, Ending::Done);
    assert_eq!(rig.machine.deadline(), Some(4 * SECOND), "its timers are gone");
}

#[test]
fn nothing_starts_while_too_much_waits_to_be_recorded() {
    static DATA: [u8; 1 << 20] = [1; 1 << 20];
    let mut rig = Rig::joined(1);
    for number in 0..64 {
        let (message, blobs) = lease_with(template(program::ECHO), run(number, 0, 1), &DATA, Vec::new());
        assert_eq!(report(&rig.tell(message, blobs)).0.results.len(), 1);
    }
    let (message, blobs) = lease_with(template(program::ECHO), run(64, 0, 2), &DATA, Vec::new());
    assert!(rig.tell(message, blobs).is_empty());
    assert!(rig.say(lease(program(1), run(65, 0, 1))).is_empty());
    let waits = term(run(64, 0, 2), TaskState::Leased).wrapping_add(term(run(65, 0, 1), TaskState::Leased));
    assert_eq!(rig.hash(), waits);
    let out = rig.say(Recorded {
        recorded: 2,
        ..Recorded::default()
    });
    assert_eq!(starts(&out).len(), 1);
    assert_eq!(report(&out[1..]).0.results[0].run, run(64, 0, 2));
    assert_eq!(rig.hash(), term(run(65, 0, 1), TaskState::Leased));
}

#[test]
fn reports_keep_within_the_limits_of_a_message() {
    let mut rig = Rig::joined(1);
    let echo = |submission: u64| {
        let place = Place {
            blob: Some(0),
            at: 0,
            length: 1_024,
            ends: (1..=1_024).collect(),
        };
        group(run(submission, 0, 1_024), place)
    };
    let blobs = vec![Bytes::from_static(&[1; 1_024])];
    let templates = vec![template(program::ECHO)];
    let message = Lease {
        templates,
        groups: (0..200).map(echo).collect(),
        ..Lease::default()
    };
    let out = rig.tell(message, blobs);
    let mut told = 0;
    for (at, output) in out.iter().enumerate() {
        let Output::Send(message @ WorkerToAgent::Report(report), blobs) = output else {
            panic!("{output:?}")
        };
        assert_eq!(report.number, at as u64 + 1);
        let header = message.encode();
        assert!(header.len() <= limits::HEADER_BYTES);
        assert_eq!(&WorkerToAgent::decode(&header).unwrap(), message);
        assert!(blobs.iter().map(Bytes::len).sum::<usize>() <= limits::MESSAGE_BYTES);
        told += report.results.len();
    }
    assert_eq!((out.len(), told), (4, 200));
    let groups = (0..3_000)
        .map(|submission| group(run(submission, 0, 1), Place::default()))
        .collect();
    let message = Lease {
        templates: vec![template(program::NOOP)],
        groups,
        ..Lease::default()
    };
    let out = rig.say(message);
    let counts = out.iter().map(|output| match output {
        Output::Send(WorkerToAgent::Report(report), _) => report.results.len(),
        _ => 0,
    });
    assert_eq!(counts.collect::<Vec<_>>(), [1_024, 1_024, 952]);
}

#[test]
fn a_lease_that_comes_twice_runs_once() {
    let mut rig = Rig::joined(2);
    rig.say(lease(program(1), run(1, 0, 1)));
    assert!(rig.say(lease(program(1), run(1, 0, 1))).is_empty());
    assert_eq!(rig.notes.pop(), Some(Note::WrongLease("it was granted twice")));
    assert_eq!(rig.hash(), term(run(1, 0, 1), TaskState::Leased));
}

#[test]
fn what_a_task_writes_is_read_where_it_runs() {
    let mut rig = Rig::joined(1);
    let out = rig.say(lease(template(program::EXECUTABLE), run(1, 0, 1)));
    let key = starts(&out)[0].key;
    let read = |id, run| scalems_protocol::worker::ReadOutput {
        id,
        run,
        from: (4, 0),
    };
    let out = rig.say(read(7, run(1, 0, 1)));
    assert!(
        matches!(&out[..], [Output::Read { key: this, id: 7, from: (4, 0) }] if *this == key),
        "{out:?}"
    );
    // Of what is not here nothing will come.
    for other in [
        run(1, 1, 2),
        Run {
            attempt: 2,
            ..run(1, 0, 1)
        },
    ] {
        let out = rig.say(read(8, other));
        assert!(
            matches!(&out[..], [Output::Send(WorkerToAgent::OutputRead(said), _)] if said.over && said.id == 8),
            "{out:?}"
        );
    }
}

/// There is one core left in each of two nodes. Smaller tasks go first, but not for ever.
#[test]
fn a_strict_task_waits_for_its_place_and_not_for_ever() {
    let nodes = [[0, 1], [2, 3]].map(|cpus| NumaNode {
        cpus: cpus.to_vec(),
        gpus: Vec::new(),
    });
    let mut rig = Rig::with(Settings {
        nodes: nodes.to_vec(),
        ..settings(4)
    })
    .join();
    let mut apart = program(1);
    apart.needs.placement = Placement::Scatter;
    let out = rig.say(lease(apart, run(1, 0, 2)));
    assert_eq!(
        (&starts(&out)[0].cpus[..], &starts(&out)[1].cpus[..]),
        (&[0][..], &[2][..])
    );
    let mut strict = program(2);
    strict.needs.placement = Placement::Strict;
    assert!(starts(&rig.say(lease(strict, run(3, 0, 1)))).is_empty());
    let out = rig.say(lease(program(1), run(4, 0, 100)));
    let mut key = starts(&out)[0].key;
    assert_eq!(
        (&starts(&out)[0].cpus[..], &starts(&out)[1].cpus[..]),
        (&[1][..], &[3][..])
    );
    // What is over is followed by small ones, at most 64 of them.
    let mut passed = 2;
    let ended = |key| Input::Ended { key, outcome: done() };
    loop {
        let out = rig.round([ended(key)]);
        let Some(next) = starts(&out).first().map(|lease| lease.key) else {
            break;
        };
        (key, passed) = (next, passed + 1);
    }
    assert_eq!(passed, 64);
    let out = rig.round([ended(1)]);
    let begun: Vec<_> = starts(&out)
        .iter()
        .map(|lease| (lease.task.submission, lease.cpus.clone()))
        .collect();
    assert_eq!(begun, [(3, vec![0, 1])]);
}

/// Four tasks of a quarter are on one GPU, the fifth waits although it is counted that there would be room.
#[test]
fn parts_of_a_gpu_are_shared_and_none_spans_two() {
    let mut rig = Rig::joined(8);
    let of = |gpus: &str| {
        let mut task = program(1);
        task.needs.gpus_per_rank = gpus.parse().unwrap();
        task
    };
    let out = rig.say(lease(of("0.6"), run(1, 0, 3)));
    let seats = |out: &[Output]| -> Vec<_> {
        let starts = starts(out).into_iter();
        starts
            .map(|lease| (lease.gpus.clone(), lease.gpu_shares.clone(), lease.cpus.len()))
            .collect()
    };
    let share = |parts| vec![Amount::from_parts(parts)];
    assert_eq!(
        seats(&out),
        [(vec![0], share(6_000), 1), (vec![1], share(6_000), 1)]
    );
    // What it leaves is used.
    let out = rig.say(lease(of("0.4"), run(2, 0, 2)));
    assert_eq!(
        seats(&out),
        [(vec![0], share(4_000), 1), (vec![1], share(4_000), 1)]
    );
    let ended = |key| Input::Ended { key, outcome: done() };
    assert_eq!(seats(&rig.round([ended(1)])), [(vec![0], share(6_000), 1)]);
    assert!(starts(&rig.say(lease(of("1.5"), run(3, 0, 1)))).is_empty());
    let out = rig.round([ended(2), ended(3), ended(4), ended(5)]);
    let both = [10_000, 5_000].map(Amount::from_parts).to_vec();
    assert_eq!(seats(&out), [(vec![0, 1], both, 1)]);
    // A part of a core is a core that others have parts of.
    let half = Template {
        needs: Needs::cores("0.5".parse::<Amount>().unwrap()),
        ..program(1)
    };
    let out = rig.say(lease(half, run(4, 0, 2)));
    let cpus: Vec<_> = starts(&out).iter().map(|lease| lease.cpus.clone()).collect();
    assert_eq!(cpus, [[1], [1]]);
}

/// A lease says in which way its tasks run: room, numbers and what is listed go by it.
#[test]
fn a_lease_has_room_for_the_variant_that_it_names() {
    let mut rig = Rig::joined(4);
    let mut either = program(1);
    either.needs.gpus_per_rank = 2.into();
    either.needs.variants = vec![Needs::cores(3), Needs::cores(5)];
    let as_variant = |run, variant| {
        let mut lease = lease(either.clone(), run);
        lease.groups[0].variant = variant;
        lease
    };
    let out = rig.say(as_variant(run(1, 0, 1), 1));
    let [begun] = starts(&out)[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (begun.variant, &begun.cpus[..], &begun.gpus[..]),
        (1, &[0, 1, 2][..], &[][..])
    );
    assert_eq!(begun.needs(), &Needs::cores(3));
    let out = rig.say(as_variant(run(1, 1, 2), 0));
    assert_eq!(
        (&starts(&out)[0].cpus[..], &starts(&out)[0].gpus[..]),
        (&[3][..], &[0, 1][..])
    );
    for (variant, code) in [(2, Code::ImpossibleNeeds), (3, Code::Malformed)] {
        let out = rig.say(as_variant(run(1, 2, 3), variant));
        let (told, _) = report(&out);
        assert_eq!(told.results[0].error.as_ref().unwrap().code, code);
    }
    rig.round([Input::Started { key: 1 }, Input::Started { key: 2 }]);
    let out = rig.round([Input::Disconnected, Input::Connected]);
    let hello = out.iter().find_map(|output| match output {
        Output::Send(WorkerToAgent::WorkerHello(hello), _) => Some(hello),
        _ => None,
    });
    let held: Vec<_> = hello
        .unwrap()
        .held
        .iter()
        .map(|held| (held.run.lo, held.variant))
        .collect();
    // What has ended and is not recorded stays in the list.
    assert_eq!(held, [(0, 1), (1, 0), (2, 2), (2, 3)]);
}
