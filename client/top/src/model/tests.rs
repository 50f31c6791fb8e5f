use scalems_protocol::error::{Code, Refusal};

use super::*;

fn second(at: u64) -> Duration {
    Duration::from_secs(at)
}

fn worker(number: u64, state: &str) -> WorkerRow {
    WorkerRow {
        worker: number,
        name: format!("w{number}"),
        host: "h".into(),
        pid: 1,
        state: state.into(),
        resources: Vec::new(),
        fractions: Vec::new(),
        leases: (0, 0),
        ended: 0,
        silent_ms: 0,
        beats: (0, 0),
        left_ms: None,
        place: None,
        requested_by: None,
    }
}

fn submission(number: u64, tasks: Counts) -> SubmissionRow {
    SubmissionRow {
        submission: number,
        mode: "m".into(),
        name: None,
        labels: BTreeMap::new(),
        session: String::new(),
        indices: (0, 1, 1),
        sparse: false,
        tasks,
        age_ms: 0,
        open: false,
        spent: Vec::new(),
    }
}

fn health(at_ms: u64, ended: u64) -> Body {
    Body::Health(Box::new(Health {
        at_ms,
        span_ms: 1_000,
        ended,
        left_ms: Some(60_000),
        warning_ms: Some(40_000),
        ..Health::default()
    }))
}

fn texts(model: &Model) -> Vec<String> {
    let entries = model.log.entries().iter();
    entries
        .map(|entry| format!("{} {}: {}", entry.kind.name(), entry.about, entry.text))
        .collect()
}

#[test]
fn what_ends_in_a_second_is_a_rate_and_a_new_life_counts_anew() {
    let mut model = Model::new("p");
    model.update(&Topic::Health, Update::Snapshot(health(5_000, 100)));
    assert_eq!(
        model.throughput.last(),
        None,
        "a snapshot says nothing of a second"
    );
    for (at, ended, rate) in [
        (1, 150, Some(50.0)),
        (2, 150, Some(0.0)),
        (3, 7, Some(0.0)),
        (4, 10, Some(3.0)),
    ] {
        model.tick(second(at), Link::Live);
        model.update(&Topic::Health, Update::Event(health(5_000 + at * 1_000, ended)));
        assert_eq!(model.throughput.last(), rate, "{at}");
    }
}

#[test]
fn the_agents_time_and_the_walltime_go_on_between_its_words() {
    let mut model = Model::new("p");
    assert_eq!((model.left(), model.agent_ms(), model.age()), (None, None, None));
    model.tick(second(10), Link::Live);
    model.update(&Topic::Health, Update::Event(health(5_000, 0)));
    model.tick(second(13), Link::Lost);
    assert_eq!(
        (model.left(), model.drains()),
        (Some(second(57)), Some(second(17)))
    );
    assert_eq!(model.agent_ms(), Some(8_000));
    assert_eq!(model.age(), Some(second(3)));
    model.tick(second(1_000), Link::Lost);
    assert_eq!(
        (model.left(), model.drains()),
        (Some(Duration::ZERO), Some(Duration::ZERO))
    );
}

#[test]
fn submissions_come_end_and_are_forgotten() {
    let ready = |count| Counts {
        ready: count,
        ..Counts::default()
    };
    let ended = |done, failed, canceled| Counts {
        done,
        failed,
        canceled,
        ..Counts::default()
    };
    let body = |rows, gone: &[u64], total| Body::Submissions {
        rows,
        gone: gone.to_vec(),
        total,
    };
    let mut model = Model::new("p");
    let topic = Topic::Submissions;
    model.update(
        &topic,
        Update::Snapshot(body(
            vec![submission(8, ready(1)), submission(9, ready(3))],
            &[],
            9,
        )),
    );
    assert!(texts(&model).is_empty(), "what was there is no news");
    model.update(
        &topic,
        Update::Event(body(vec![submission(10, ready(2))], &[], 10)),
    );
    model.update(
        &topic,
        Update::Event(body(vec![submission(9, ended(3, 0, 0))], &[], 10)),
    );
    model.update(
        &topic,
        Update::Event(body(vec![submission(10, ended(1, 1, 0))], &[], 10)),
    );
    model.update(
        &topic,
        Update::Event(body(vec![submission(8, ended(0, 0, 1))], &[9], 9)),
    );
    assert_eq!(
        texts(&model),
        [
            "info submission 10: m: 2 tasks submitted",
            "good submission 9: m: over, 3 done, 0 failed, 0 canceled",
            "fault submission 10: m: over, 1 done, 1 failed, 0 canceled",
            "warning submission 8: m: over, 0 done, 0 failed, 1 canceled",
        ]
    );
    assert_eq!(model.submissions.keys().copied().collect::<Vec<_>>(), [8, 10]);
    // After a gap: what is not in the snapshot though it has room for it is gone; what is older may be there.
    model.update(
        &topic,
        Update::Snapshot(body(
            vec![submission(9, ready(1)), submission(11, ready(1))],
            &[],
            4,
        )),
    );
    assert_eq!(model.submissions.keys().copied().collect::<Vec<_>>(), [8, 9, 11]);
    let many = (100..100 + 2 * SUBMISSIONS as u64).map(|number| submission(number, ready(1)));
    model.update(&topic, Update::Event(body(many.collect(), &[], 5_000)));
    assert_eq!(
        (model.submissions.len(), model.submissions_total),
        (SUBMISSIONS, 5_000)
    );
}

#[test]
fn workers_that_come_and_go_are_told_of_and_few_of_the_gone_are_kept() {
    let mut model = Model::new("p");
    let topic = Topic::Workers;
    let rows = |rows: Vec<WorkerRow>| Body::Workers { rows };
    model.update(&topic, Update::Snapshot(rows(vec![worker(1, "active")])));
    model.update(
        &topic,
        Update::Event(rows(vec![worker(1, "active"), worker(2, "active")])),
    );
    model.update(&topic, Update::Event(rows(vec![worker(1, "lost")])));
    assert_eq!(
        texts(&model),
        [
            "good worker w2: joined on h: active",
            "fault worker w1: was active, is lost"
        ]
    );
    model.update(
        &topic,
        Update::Event(rows((10..300).map(|number| worker(number, "gone")).collect())),
    );
    let gone = model.workers.values().filter(|seen| seen.row.state != "active");
    assert_eq!(gone.count(), GONE_WORKERS);
    assert!(model.workers.contains_key(&2) && model.workers.contains_key(&299));
}

#[test]
fn faults_and_alarms_are_told_once() {
    let mut model = Model::new("p");
    let group = |failed, retried| FaultGroup {
        code: "exit_code".into(),
        what: "exit 3".into(),
        message: "no such file".into(),
        failed,
        retried,
        last: (5, 7),
        ..FaultGroup::default()
    };
    let faults = |failed, retried| Body::Faults {
        groups: vec![group(failed, retried)],
    };
    model.update(&Topic::Faults, Update::Snapshot(faults(2, 0)));
    model.update(&Topic::Faults, Update::Event(faults(2, 3)));
    model.update(&Topic::Faults, Update::Event(faults(6, 3)));
    assert_eq!(texts(&model), ["fault task 5.7: 4 failed, exit 3: no such file"]);
    let alarm = Alarm {
        alarm: "agent_full".into(),
        about: "p".into(),
        message: "results take as much as they may".into(),
        at_ms: 1,
    };
    for _ in 0..2 * ALARMS {
        let alarms = vec![alarm.clone()];
        model.update(&Topic::Alarms, Update::Event(Body::Alarms { alarms }));
    }
    assert_eq!(model.alarms.len(), ALARMS);
    model.update(
        &Topic::Health,
        Update::Refused(Refusal::new(Code::InvalidValue, "there is no such topic")),
    );
    assert_eq!(
        texts(&model).last().unwrap(),
        "warning monitor: health: there is no such topic"
    );
}

#[test]
fn links_that_break_and_hold_are_told_of() {
    let mut model = Model::new("p");
    assert!(model.tick(second(1), Link::Live));
    assert!(!model.tick(second(2), Link::Live));
    assert!(model.tick(second(3), Link::Lost));
    assert!(model.tick(second(9), Link::Live));
    assert!(model.tick(second(10), Link::Over("it was stopped".into())));
    assert_eq!(
        texts(&model),
        [
            "fault agent: the agent is not heard of: it is looked for",
            "good agent: the agent is heard of again",
            "fault agent: the agent is gone: it was stopped",
        ]
    );
}
