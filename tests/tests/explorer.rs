//! Every way that a small world can go is one that the contract allows (`tests/src/sim/explorer` says which ways
//! those are, and what is left out). With `SCALEMS_TEST_LEVEL=long` more may go wrong on each.

use std::time::Instant;

use scalems_tests::sim::explorer::{Bounds, explore};

const NOTHING: Bounds = Bounds {
    network: 0,
    crashes: 0,
    stand_still: false,
    quick: false,
    commits: 0,
    any_record: false,
    states: MOST,
};

/// So many states at most are looked at: the long tests do not come to an end with all of their bounds.
const MOST: usize = 10_000_000;

fn is_long() -> bool {
    std::env::var("SCALEMS_TEST_LEVEL").is_ok_and(|level| level == "long")
}

/// All states are as promised, and there are at least so many.
fn holds(what: &str, bounds: Bounds, least: usize) {
    let begin = Instant::now();
    let seen = explore(bounds);
    println!(
        "{what}: {}{} states, {} steps between them, {} ends, up to {} steps deep, in {:?}",
        if seen.cut_short { "the first " } else { "all " },
        seen.states,
        seen.steps,
        seen.ends,
        seen.deepest,
        begin.elapsed()
    );
    assert!(seen.wrong.is_none(), "{what}: {:#?}", seen.wrong);
    assert!(seen.states >= least, "{what}: only {} states", seen.states);
    assert!(
        !seen.cut_short || is_long() || bounds.states < MOST,
        "{what}: there are more than {MOST} states"
    );
}

#[test]
fn nothing_goes_wrong() {
    let bounds = Bounds {
        commits: if is_long() { 3 } else { 1 },
        ..NOTHING
    };
    holds("nothing goes wrong", bounds, 300);
}

#[test]
fn one_network_fault() {
    let bounds = Bounds {
        network: 1,
        stand_still: true,
        commits: u8::from(is_long()),
        ..NOTHING
    };
    holds("one network fault", bounds, 30_000);
}

#[test]
fn one_crash() {
    let bounds = Bounds {
        crashes: 1,
        commits: u8::from(is_long()),
        any_record: is_long(),
        ..NOTHING
    };
    holds("one crash", bounds, 5_000);
}

#[test]
fn two_network_faults() {
    let bounds = Bounds {
        network: 2,
        stand_still: is_long(),
        quick: true,
        ..NOTHING
    };
    holds("two network faults", bounds, 15_000);
}

#[test]
fn a_network_fault_and_a_crash() {
    let bounds = Bounds {
        network: 1,
        crashes: 1,
        stand_still: is_long(),
        quick: true,
        ..NOTHING
    };
    holds("a network fault and a crash", bounds, 80_000);
}

/// The most that goes wrong on one way. Its states are too many to be all looked at each time.
#[test]
fn two_network_faults_and_a_crash() {
    let bounds = Bounds {
        network: 2,
        crashes: 1,
        quick: true,
        states: if is_long() { MOST } else { 40_000 },
        ..NOTHING
    };
    holds("two network faults and a crash", bounds, 40_000);
}
