//! The contract under a seeded simulator (DESIGN 5 and 6; `docs/guarantees.md` names what each check proves).
//!
//! `SCALEMS_SIM_SEEDS=n` runs the seeds up to n, from `SCALEMS_SIM_FIRST` on if that is set, instead of as many as fit into
//! the time; `SCALEMS_SIM_SEED=x` runs one and says what it did; with `SCALEMS_SIM_LOG=1` it prints all that happens in the smallest that fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scalems_tests::sim::{self, Fault, Outcome, Plan, Sabotage};

/// How long the seeds of one test run may take when nobody says how many.
const BUDGET: Duration = Duration::from_secs(40);

/// So many seeds have to show faults of each kind.
const ENOUGH: u64 = 64;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Fails with all that is needed to see it again.
fn report(plan: &Plan, outcome: &Outcome) -> ! {
    let again = sim::run(plan);
    let (smallest, smallest_outcome) = sim::minimise(plan);
    if setting("SCALEMS_SIM_LOG").is_some() {
        sim::run(&Plan {
            log: true,
            ..smallest.clone()
        });
    }
    panic!(
        "{plan}\n  {:#?}\n  replays exactly: {}\nsmallest that fails: {smallest}\n  {:#?}\n\
         run it alone with SCALEMS_SIM_SEED={}",
        outcome.violations,
        again == *outcome,
        smallest_outcome.violations,
        plan.seed
    )
}

#[test]
fn the_contract_holds_under_every_seed() {
    if let Some(seed) = setting("SCALEMS_SIM_SEED") {
        let plan = Plan::of(seed);
        let outcome = sim::run(&plan);
        println!("{plan}\n{outcome:#?}");
        if !outcome.violations.is_empty() {
            report(&plan, &outcome);
        }
        return;
    }
    let count = setting("SCALEMS_SIM_SEEDS");
    let first = setting("SCALEMS_SIM_FIRST").unwrap_or(1);
    let (begin, next, stop) = (Instant::now(), AtomicU64::new(first), AtomicBool::new(false));
    let failed: Mutex<Option<(Plan, Outcome)>> = Mutex::new(None);
    let totals = Mutex::new([0_u64; 8]);
    let happened = Mutex::new([0_u64; Fault::ALL.len()]);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if count.map_or(begin.elapsed() > BUDGET, |count| seed > count) {
                        return;
                    }
                    let plan = Plan::of(seed);
                    let outcome = sim::run(&plan);
                    let mut totals = totals.lock().unwrap();
                    let more = [
                        1,
                        outcome.tasks,
                        outcome.incidents,
                        outcome.messages,
                        outcome.lives - 1,
                        outcome.brought_back,
                        outcome.known_again,
                        outcome.spilled,
                    ];
                    for (total, more) in totals.iter_mut().zip(more) {
                        *total += more;
                    }
                    for (total, more) in happened.lock().unwrap().iter_mut().zip(outcome.happened) {
                        *total += more;
                    }
                    if !outcome.violations.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                        failed.lock().unwrap().get_or_insert((plan, outcome));
                    }
                }
            });
        }
    });
    let [seeds, tasks, incidents, messages, deaths, brought, known, spilled] = *totals.lock().unwrap();
    println!(
        "{seeds} seeds, {tasks} tasks, {incidents} incidents, {messages} messages, {deaths} deaths of the agent, \
         {brought} results brought back, {known} submissions without a record that went on, {spilled} values moved out, in {:?}",
        begin.elapsed()
    );
    if let Some((plan, outcome)) = failed.into_inner().unwrap() {
        report(&plan, &outcome);
    }
    let happened = *happened.lock().unwrap();
    let kinds: Vec<String> = Fault::ALL
        .iter()
        .zip(happened)
        .map(|(fault, times)| format!("{fault:?} {times}"))
        .collect();
    println!("{}", kinds.join(", "));
    let never = Fault::ALL.iter().zip(happened).filter(|(_, times)| *times == 0);
    let never: Vec<&Fault> = never.map(|(fault, _)| fault).collect();
    assert!(
        seeds < ENOUGH || never.is_empty(),
        "in {seeds} seeds these never took place: {never:?}"
    );
    assert!(
        seeds < ENOUGH || (brought > 0 && known > 0),
        "nothing was said again"
    );
    assert!(seeds < ENOUGH || spilled > 0, "nothing was moved out of memory");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 9, 17] {
        let plan = Plan::of(seed);
        let first = sim::run(&plan);
        assert_eq!(sim::run(&plan), first, "{plan}");
        assert_ne!(sim::run(&Plan::of(seed + 1)).trace, first.trace);
    }
}

/// The checker finds what is wrong on purpose, within a few seeds.
#[test]
fn what_is_wrong_on_purpose_is_found() {
    for sabotage in [
        Sabotage::RepeatResults,
        Sabotage::WrongAttempt,
        Sabotage::LeaseTwice,
        Sabotage::SwapValues,
        Sabotage::LoseEnd,
    ] {
        let found = (1..=64).find(|seed| {
            let plan = Plan {
                sabotage: Some(sabotage),
                faults: Vec::new(),
                ..Plan::of(*seed)
            };
            !sim::run(&plan).violations.is_empty()
        });
        assert!(found.is_some(), "{sabotage:?} was not found");
    }
}

/// So is what is wrong about the journal, where the agent dies; without it nothing is found there.
#[test]
fn what_is_wrong_about_the_journal_is_found() {
    let plan = |seed, sabotage| Plan {
        sabotage,
        faults: vec![Fault::KillAgent, Fault::KillClient, Fault::SlowDisk],
        journal: true,
        ..Plan::of(seed)
    };
    for sabotage in Sabotage::OF_THE_JOURNAL {
        let outcomes = (1..=300).map(|seed| (seed, sim::run(&plan(seed, Some(sabotage)))));
        let mut found = outcomes.filter(|(_, outcome)| !outcome.violations.is_empty());
        let (seed, outcome) = found
            .next()
            .unwrap_or_else(|| panic!("{sabotage:?} was not found"));
        println!("{sabotage:?} with seed {seed}: {}", outcome.violations[0]);
        let right = plan(seed, None);
        let outcome = sim::run(&right);
        if !outcome.violations.is_empty() {
            report(&right, &outcome);
        }
    }
}

/// So is a second attempt beside one that its worker has not given up.
#[test]
fn what_must_run_alone_and_does_not_is_found() {
    let plan = |seed, sabotage| Plan {
        sabotage,
        faults: vec![Fault::Cut],
        journal: false,
        ..Plan::of(seed)
    };
    let wrong = (1..=1_000)
        .map(|seed| (seed, sim::run(&plan(seed, Some(Sabotage::LongOrphans)))))
        .find(|(_, outcome)| {
            outcome
                .violations
                .iter()
                .any(|violation| violation.contains("begins at"))
        });
    let (seed, outcome) = wrong.expect("two attempts at once were not found");
    println!("seed {seed}: {}", outcome.violations[0]);
    let right = plan(seed, None);
    let outcome = sim::run(&right);
    if !outcome.violations.is_empty() {
        report(&right, &outcome);
    }
}

/// A failing plan is made smaller as long as it fails.
#[test]
fn the_smallest_plan_that_fails_is_found() {
    let plan = Plan {
        sabotage: Some(Sabotage::WrongAttempt),
        operations: 20,
        ..Plan::of(1)
    };
    assert!(!plan.faults.is_empty() && !sim::run(&plan).violations.is_empty());
    let (smallest, outcome) = sim::minimise(&plan);
    assert!(!outcome.violations.is_empty());
    assert_eq!(
        (smallest.faults, smallest.workers, smallest.clients),
        (Vec::<Fault>::new(), 1, 1)
    );
    assert!(smallest.operations < 20);
}
