//! Numbered requests: repeats, gaps, the low-water mark, and how many answers are kept.

use scalems_protocol::client::Refused;
use scalems_protocol::limits;
use scalems_protocol::select::Selector;
use scalems_protocol::state::Strength;

use crate::say::{QUICK, RUN, With, cancel, forget, submit};
use crate::world::{World, from_client};

#[test]
fn a_repeated_request_gets_the_same_answer_and_does_nothing() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted 1: submission 1, 1 tasks", "w1< lease 1"]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["c1< accepted 1: submission 1, 1 tasks"]);
    world
        .client(1, cancel(2, Selector::all(), Strength::Withdraw))
        .begins(&["w1< revoke", "c1< cancel_done 2: withdrawn 0 told 1"]);
    world
        .client(1, cancel(2, Selector::all(), Strength::Withdraw))
        .is(&["c1< cancel_done 2: withdrawn 0 told 1 running 0 ended 0"]);
    // Whatever is said under an old number, the answer is that of the number.
    world
        .client(1, forget(1, 9))
        .is(&["c1< accepted 1: submission 1, 1 tasks"]);
    assert_eq!(world.agent.counts().total(), 1);
}

#[test]
fn numbers_are_not_skipped_and_not_forgotten_ones_are_not_repeated() {
    let mut world = World::small(1);
    world
        .client(1, submit(2, 1, RUN))
        .is(&["c1< refused request 2: request_number"]);
    world
        .client(1, submit(0, 1, RUN))
        .is(&["c1< refused request 0: request_number"]);
    world
        .client(1, submit(1, 1, RUN))
        .begins(&["c1< accepted 1", "w1< lease"]);
    world
        .client(1, submit(2, 1, RUN).low(2))
        .begins(&["c1< accepted 2"]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["c1< refused request 1: request_number"]);
    world
        .client(1, submit(2, 1, RUN))
        .begins(&["c1< accepted 2: submission 2"]);
    // A mark beyond what was ever numbered is no mark.
    world
        .client(1, submit(3, 1, RUN).low(9))
        .begins(&["c1< accepted 3"]);
    world
        .client(1, submit(2, 1, RUN))
        .begins(&["c1< accepted 2: submission 2"]);
}

#[test]
fn a_refused_request_uses_up_its_number() {
    let mut world = World::small(1);
    world
        .client(1, submit(1, 0, RUN))
        .is(&["c1< refused request 1: invalid_value"]);
    world
        .client(1, submit(1, 1, RUN))
        .is(&["c1< refused request 1: invalid_value"]);
    world
        .client(1, submit(2, 1, RUN))
        .begins(&["c1< accepted 2: submission 1", "w1< lease"]);
    world
        .client(1, forget(3, 7))
        .is(&["c1< refused request 3: nothing_selected"]);
    world
        .client(1, forget(4, 1))
        .is(&["c1< forget_done 4: forgotten 0 kept 1"]);
}

#[test]
fn only_so_many_answers_are_kept() {
    let mut world = World::small(1);
    let most = limits::OPEN_REQUESTS;
    let inputs = (1..=most)
        .map(|request| from_client(1, submit(request, 0, RUN), &[]))
        .collect();
    assert_eq!(world.round(inputs).0.len() as u64, most);
    let next = format!("c1< refused request {}: too_many_open", most + 1);
    world.client(1, submit(most + 1, 1, RUN)).is(&[&next]);
    // The number is not used up by that.
    world
        .client(1, submit(most + 1, 1, RUN).low(most))
        .begins(&["c1< accepted", "w1< lease"]);
    world
        .client(1, submit(most, 1, RUN))
        .begins(&["c1< refused request 4096: invalid_value"]);
}

/// Envelopes have no numbers of their own, so nobody could ask for their answers again.
#[test]
fn envelopes_are_never_too_many() {
    let mut world = World::small(1);
    let task = scalems_protocol::task::Template {
        mode: "odd".into(),
        ..Default::default()
    };
    let envelope = scalems_protocol::client::Envelope { task, data: None };
    let message = || scalems_protocol::client::ClientToAgent::Envelope(Box::new(envelope.clone()));
    let inputs = (0..limits::OPEN_REQUESTS + 9)
        .map(|_| from_client(1, message(), &[]))
        .collect();
    let said = world.round(inputs).0;
    assert!(said.iter().all(|line| line.ends_with("unknown_mode")));
    assert!(
        matches!(&world.last[8], scalems_core::Action::ToClient { message, .. }
        if matches!(message, scalems_protocol::client::AgentToClient::Refused(Refused { request: Some(9), .. })))
    );
    world
        .client(1, submit(limits::OPEN_REQUESTS + 10, 1, QUICK))
        .begins(&["c1< accepted", "w1< lease"]);
}
