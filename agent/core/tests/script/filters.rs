//! Tasks that a filter sees are its own, under a mode that only it serves.

use scalems_core::{Action, Config};
use scalems_protocol::Amount;
use scalems_protocol::filter::{Rule, SEATS};
use scalems_protocol::task::Template;
use scalems_protocol::worker::{AgentToWorker, ModeOffer, WorkerHello};

use crate::say::{QUICK, RUN, With, hello, joins, submit};
use crate::world::{World, config};

fn rule(name: &str, modes: &[&str]) -> Rule {
    Rule {
        name: name.to_owned(),
        modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
        label: None,
    }
}

/// The keeper of a filter joins.
fn keeper(name: &str) -> WorkerHello {
    WorkerHello {
        offer: vec![(SEATS.to_owned(), Amount::whole(2))],
        modes: vec![ModeOffer {
            name: name.to_owned(),
            instant: false,
        }],
        ..joins(name, 0)
    }
}

/// Who got a lease in the last round, and its template.
#[track_caller]
fn leased(world: &World) -> (u32, Template) {
    let mut leases = world.last.iter().filter_map(|action| match action {
        Action::ToWorker {
            peer,
            message: AgentToWorker::Lease(lease),
            ..
        } => Some((peer.0, lease.templates[0].clone())),
        _ => None,
    });
    leases.next().expect("somebody gets a lease")
}

#[test]
fn a_filter_has_what_it_sees_and_others_have_what_it_submits() {
    let rules = vec![rule("a", &[RUN]), rule("b", &[RUN, QUICK])];
    let mut world = World::with(Config {
        filters: rules.clone(),
        expected_workers: 3,
        ..config()
    });
    world.worker(1, joins("w", 4));
    world.worker(2, keeper("filter.a"));
    world.worker(3, keeper("filter.b"));
    for (client, session) in [(1, "s"), (2, "filter.a"), (3, "filter.b")] {
        world.client(client, hello(session));
    }
    // In this order; what the last one submits is seen by nobody.
    for (client, mode, worker, leased_as) in [
        (1, RUN, 2, "filter.a"),
        (2, RUN, 3, "filter.b"),
        (3, RUN, 1, RUN),
        (1, QUICK, 3, "filter.b"),
        (3, QUICK, 1, QUICK),
    ] {
        let request = 1 + u64::from(mode == QUICK);
        let submitted = submit(request, 1, mode).cores(3);
        let as_it_was = submitted.task.clone();
        world.client(client, submitted);
        let rule = rules.iter().find(|rule| rule.mode() == leased_as);
        let expected = rule.map_or(as_it_was.clone(), |rule| rule.held(as_it_was).unwrap());
        assert_eq!(leased(&world), (worker, expected), "{client} {mode}");
    }
    // Its seats are taken, and the rest waits.
    let before = world.client(1, submit(3, 3, RUN));
    assert_eq!(
        before
            .0
            .iter()
            .filter(|line| line.starts_with("w2< lease"))
            .count(),
        1,
        "{before:?}"
    );
}
