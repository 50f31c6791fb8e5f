use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use scalems_protocol::PilotId;
use scalems_protocol::task::After;

use super::super::history::tests::{Told, failed, template};
use super::*;

const SECOND: u64 = 1_000_000;

/// An end of an arrow: process, row, time.
type End = (u64, u64, u64);

/// Events of one row: begin and end of each.
type Rows = BTreeMap<(u64, u64), Vec<(u64, u64)>>;

fn reading(history: History) -> Reading {
    Reading {
        history,
        pilot: PilotId([7; 16]),
        created_us: 1,
        lives: 1,
        source: Source::Still,
        path: PathBuf::from("journal.sqlite"),
    }
}

/// Two submissions, each task of the second after one of the first; some fail.
fn run(tasks: u32) -> Reading {
    let mut told = Told::default();
    let mut second = template("an\"al\u{1b}ysis</script>", 1);
    second.after = vec![After {
        submission: Some(1),
        each: true,
        ..After::default()
    }];
    let mut last = template("last", 1);
    last.after = vec![After {
        submission: Some(2),
        ..After::default()
    }];
    told.worker(1, "a")
        .worker(2, "b")
        .submit(1, tasks, 0, template("sim", 2))
        .submit(2, tasks, 0, second)
        .submit(3, 1, 0, last);
    for nth in 0..tasks {
        let at = u64::from(nth) * 300_000 + SECOND;
        let worker = 1 + nth % 2;
        let error = (nth % 10 == 9).then(|| failed("it said \"no\""));
        told.end((1, nth, nth + 1), at, 700_000, worker, error).end(
            (2, nth, nth + 1),
            at + 400_000,
            350_000,
            worker,
            None,
        );
    }
    told.end(
        (3, 0, 1),
        u64::from(tasks) * 300_000 + 2 * SECOND,
        200_000,
        1,
        None,
    );
    reading(told.0)
}

fn traced(reading: &Reading, most: usize) -> (Value, Written) {
    let mut out = Vec::new();
    let written = write(reading, most, &mut out).unwrap();
    (serde_json::from_slice(&out).expect("it is JSON"), written)
}

/// Checks what any trace has to be, and gives its slices by row.
fn check(trace: &Value, written: &Written) -> Rows {
    let events = trace["traceEvents"].as_array().unwrap();
    let number = |event: &Value, key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} in {event}"));
    let mut rows = Rows::new();
    let mut named = BTreeSet::new();
    let mut flows: BTreeMap<u64, [Option<End>; 2]> = BTreeMap::new();
    for event in events {
        let row = (number(event, "pid"), number(event, "tid"));
        match event["ph"].as_str().unwrap() {
            "X" => {
                let begin = number(event, "ts");
                rows.entry(row)
                    .or_default()
                    .push((begin, begin + number(event, "dur")));
            }
            "M" if event["name"] == "thread_name" => {
                named.insert(row);
            }
            phase @ ("s" | "f") => {
                let ends = flows.entry(number(event, "id")).or_default();
                let end = &mut ends[usize::from(phase == "f")];
                assert!(end.is_none(), "an arrow has two ends: {event}");
                *end = Some((row.0, row.1, number(event, "ts")));
            }
            "M" | "C" => {}
            phase => panic!("phase {phase}"),
        }
    }
    for (row, slices) in &mut rows {
        assert!(named.contains(row), "row {row:?} has a name");
        slices.sort_unstable();
        for pair in slices.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "slices of row {row:?} overlap: {pair:?}");
        }
    }
    assert_eq!(rows.values().map(Vec::len).sum::<usize>(), written.slices);
    assert_eq!(flows.len(), written.flows);
    for (id, ends) in &flows {
        for end in ends {
            let (process, row, time) = end.unwrap_or_else(|| panic!("arrow {id} has both ends"));
            let slices = &rows[&(process, row)];
            let within = slices.iter().any(|(begin, end)| *begin <= time && time <= *end);
            assert!(within, "arrow {id} ends in a slice");
        }
    }
    rows
}

fn last_counter(trace: &Value, name: &str) -> Value {
    let events = trace["traceEvents"].as_array().unwrap();
    let mut counters = events
        .iter()
        .filter(|event| event["ph"] == "C" && event["name"] == name);
    counters.next_back().unwrap()["args"].clone()
}

#[test]
fn a_trace_has_rows_that_do_not_overlap_arrows_that_join_and_counters_that_end_at_the_totals() {
    let reading = run(40);
    let (trace, written) = traced(&reading, SLICES);
    let rows = check(&trace, &written);
    // Each task of the first submission had two cores.
    assert_eq!(written.slices, 40 * 2 + 40 + 1);
    assert_eq!((written.grain_us, written.left_out, written.flows), (0, 0, 41));
    assert_eq!(
        rows.keys()
            .map(|(process, _)| process)
            .collect::<BTreeSet<_>>()
            .len(),
        2
    );
    assert_eq!(
        last_counter(&trace, "tasks ended"),
        json!({"done": 77, "failed": 4, "canceled": 0})
    );
    assert_eq!(last_counter(&trace, "tasks running"), json!({"running": 0}));
    assert_eq!(last_counter(&trace, "tasks waiting"), json!({"waiting": 0}));
    let events = trace["traceEvents"].as_array().unwrap();
    let failed: Vec<_> = events.iter().filter(|event| event["cat"] == "failed").collect();
    assert_eq!(failed.len(), 8);
    assert_eq!(failed[0]["name"], "FAILED: exit_code 1.28 sim");
    assert_eq!(failed[0]["args"]["error"]["message"], "it said \"no\"");
    assert_eq!(failed[0]["args"]["exit_code"], 3);
}

#[test]
fn above_a_limit_neighbours_are_joined_and_nothing_is_lost() {
    let reading = run(2_000);
    for most in [3_000, 200, 20] {
        let (trace, written) = traced(&reading, most);
        check(&trace, &written);
        assert!(written.slices <= most, "{} of {most}", written.slices);
        assert_eq!(trace["otherData"]["joined_below_us"], written.grain_us);
        assert!(written.grain_us > 0);
        let events = trace["traceEvents"].as_array().unwrap();
        let tasks: u64 = events
            .iter()
            .filter(|event| event["ph"] == "X")
            .map(|event| event["args"]["tasks"].as_u64().unwrap())
            .sum();
        assert_eq!(tasks, 2_000 * 3 + 1);
        assert!(
            events.iter().any(|event| event["cat"] == "failed"),
            "what failed is still seen"
        );
        assert_eq!(
            last_counter(&trace, "tasks ended"),
            json!({"done": 3_801, "failed": 200, "canceled": 0})
        );
    }
}

#[test]
fn a_trace_of_nothing_is_one_too() {
    let (trace, written) = traced(&reading(History::default()), 10);
    assert!(check(&trace, &written).is_empty());
    assert_eq!(written, Written::default());
    assert_eq!(trace["otherData"]["tasks"], 0);
}
