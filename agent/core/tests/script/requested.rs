//! Workers that are requested, and who starts them.

use scalems_core::{Config, Input, Peer, Quota};
use scalems_protocol::Amount;
use scalems_protocol::client::{
    Ask, Layout, Question, Reply, RequestState, RequestWorkers, RequestsPage, StartFailed, Starter,
    StarterNode, StarterPlace, Stop, WorkersPage,
};
use scalems_protocol::id::Origin;
use scalems_protocol::select::Selector;
use scalems_protocol::worker::{WorkerGoodbye, WorkerHello};

use crate::say::{RUN, With, hello, joins, run, started, submit};
use crate::world::{World, config};

/// The one who starts workers is at this peer, clients at 1.
const STARTER: u32 = 9;

fn quota(most: Option<u32>, overcommit: bool) -> Config {
    Config {
        open_to_workers: true,
        quota: Quota {
            most,
            overcommit,
            starter: true,
        },
        ..config()
    }
}

fn at(place: &str, cores: u64) -> WorkerHello {
    WorkerHello {
        place: Some(place.to_owned()),
        ..joins(place, cores)
    }
}

fn place(place: &str, cores: u64) -> StarterPlace {
    StarterPlace {
        place: place.to_owned(),
        offer: vec![("cores".to_owned(), Amount::whole(cores))],
        ..StarterPlace::default()
    }
}

/// One that was told to be started with this number of the first life.
fn told(name: &str, cores: u64, start: u64) -> StarterPlace {
    StarterPlace {
        start: (1 << 32) + start,
        origin: Some(Origin {
            session: 2,
            request: 1,
        }),
        requested_by: Some("s".to_owned()),
        ..place(name, cores)
    }
}

fn node(name: &str, cores: u64, places: Vec<StarterPlace>) -> StarterNode {
    StarterNode {
        node: name.to_owned(),
        room: vec![("cores".to_owned(), Amount::whole(cores))],
        places,
    }
}

fn says(id: u64, nodes: Vec<StarterNode>) -> Starter {
    Starter {
        id,
        nodes,
        failed: Vec::new(),
        timeout_ms: 60_000,
    }
}

fn asks(request: u64, count: u32, cores: u32) -> RequestWorkers {
    RequestWorkers {
        request,
        low_water: 0,
        count,
        layout: Layout {
            cores,
            ..Layout::default()
        },
        replace: None,
        drain_ms: 0,
        deadline_ms: 0,
    }
}

fn replaces(request: u64, worker: u64, count: u32, cores: u32) -> RequestWorkers {
    RequestWorkers {
        replace: Some(worker),
        ..asks(request, count, cores)
    }
}

fn wait(id: u64, timeout_ms: u64) -> Ask {
    let question = Question::Requests(RequestsPage {
        id: Some(id),
        timeout_ms,
        ..RequestsPage::default()
    });
    Ask { id: 50, question }
}

/// A node of 4 cores with a worker of so many, client 1 in seat 2, and who starts workers.
fn world(quota: Config, cores: u64) -> World {
    let mut world = World::with(quota);
    world
        .worker(1, at("n1", cores))
        .begins(&["w1< welcome worker 1 n1"]);
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world
        .client(STARTER, hello("starter"))
        .begins(&["c9< welcome session"]);
    let nodes = vec![node("n1", 4, vec![place("n1", cores)])];
    world.client(STARTER, says(1, nodes)).is(&[]);
    world.lives(1, true);
    world
}

#[test]
fn requested_workers_are_started_and_join() {
    let mut world = world(quota(None, false), 2);
    world.client(1, asks(1, 2, 1)).is(&[
        "c1< workers_requested 1: 1",
        "c9< answer 1: orders start 1 on n1 with 1 cores; start 2 on n1 with 1 cores",
    ]);
    // Repeated it is the same request, and nothing else happens.
    world.client(1, asks(1, 2, 1)).is(&["c1< workers_requested 1: 1"]);
    world.client(1, wait(1, 5_000)).is(&[]);
    // Until it says that it keeps them, it is told the same again.
    let nodes = |joined| {
        let one = StarterPlace {
            joined,
            ..told("n1-1", 1, 1)
        };
        vec![node("n1", 4, vec![place("n1", 2), one, told("n1-2", 1, 2)])]
    };
    world
        .client(STARTER, says(2, vec![node("n1", 4, vec![place("n1", 2)])]))
        .is(&["c9< answer 2: orders start 1 on n1 with 1 cores; start 2 on n1 with 1 cores"]);
    world.client(STARTER, says(3, nodes(false))).is(&[]);
    world
        .worker(2, at("n1-1", 1))
        .begins(&["w2< welcome worker 2", "c9< answer 3: orders joined n1-1"]);
    world.client(STARTER, says(4, nodes(true))).is(&[]);
    world.worker(3, at("n1-2", 1)).begins(&[
        "w3< welcome worker 3",
        "c1< answer 50: request 1 started 2,3",
        "c9< answer 4: orders joined n1-2",
    ]);
    let Reply::Workers(rows) = world.ask(1, Question::Workers(WorkersPage::default())) else {
        panic!("workers were asked for");
    };
    let by: Vec<Option<&str>> = rows.rows.iter().map(|row| row.requested_by.as_deref()).collect();
    assert_eq!(by, [None, Some("s"), Some("s")]);
}

#[test]
fn there_is_never_more_than_the_node_has() {
    let mut one = world(quota(None, false), 3);
    one.client(1, asks(1, 2, 1))
        .is(&["c1< refused request 1: no_room"]);
    one.client(1, asks(2, 1, 1))
        .begins(&["c1< workers_requested 2: 1", "c9< answer 1: orders start 1"]);
    // What is on its way counts.
    one.client(1, asks(3, 1, 1))
        .is(&["c1< refused request 3: no_room"]);
    let mut most = world(quota(Some(1), false), 2);
    most.client(1, asks(1, 1, 1))
        .is(&["c1< refused request 1: no_room"]);
    let mut over = world(quota(None, true), 4);
    over.client(1, asks(1, 2, 4)).is(&[
        "c1< workers_requested 1: 1",
        "c9< answer 1: orders start 1 on n1 with 4 cores; start 2 on n1 with 4 cores",
    ]);
    for (request, wrong) in [(2, asks(2, 0, 1)), (3, asks(3, 2_000, 1)), (4, asks(4, 1, 0))] {
        over.client(1, wrong)
            .is(&[&format!("c1< refused request {request}: invalid_value")]);
    }
    over.observer(2, asks(1, 1, 1))
        .is(&["c2< refused request 1: not_allowed"]);
    over.observer(2, says(1, Vec::new()))
        .is(&["c2< refused read 1: not_allowed"]);
}

#[test]
fn a_worker_ends_in_order_before_others_come_in_its_place() {
    let mut world = world(quota(None, false), 4);
    world
        .client(1, submit(1, 1, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    world
        .client(1, replaces(2, 7, 1, 2))
        .is(&["c1< refused request 2: nothing_selected"]);
    world
        .client(1, replaces(3, 1, 3, 2))
        .is(&["c1< refused request 3: no_room"]);
    let asked = RequestWorkers {
        drain_ms: 30_000,
        ..replaces(4, 1, 2, 2)
    };
    world.client(1, asked).is(&[
        "w1< stop 30000 ms",
        "c1< workers_requested 4: 1",
        "c9< answer 1: orders leave n1",
        "w1< recorded 1",
    ]);
    world
        .client(1, replaces(5, 1, 1, 1))
        .is(&["c1< refused request 5: nothing_selected"]);
    let left = StarterPlace {
        left: true,
        ..place("n1", 4)
    };
    world
        .client(STARTER, says(2, vec![node("n1", 4, vec![left])]))
        .is(&[]);
    // What ran there is leased again, free of charge.
    world
        .worker(1, WorkerGoodbye::default())
        .is(&["c9< answer 2: orders over n1; start 1 on n1 with 2 cores; start 2 on n1 with 2 cores"]);
    let nodes = vec![node("n1", 4, vec![told("n1-1", 2, 1), told("n1-2", 2, 2)])];
    world.client(STARTER, says(3, nodes)).is(&[]);
    world.lives(1, false);
    world.worker(2, at("n1-1", 2)).begins(&[
        "w2< welcome worker 2",
        "w2< lease 1 recorded 0: 1.0@2",
        "c9< answer 3: orders joined n1-1",
    ]);
    let explained = world.ask(1, Question::Explain(Selector::task(1, 0)));
    let Reply::Explain(explained) = explained else {
        panic!("it was asked for");
    };
    assert_eq!(explained.faults, (0, 0));
}

#[test]
fn what_cannot_be_started_is_reported_and_not_tried_again() {
    let mut world = world(quota(None, false), 2);
    world
        .client(1, asks(1, 1, 2))
        .begins(&["c1< workers_requested 1: 1", "c9< answer 1: orders start 1"]);
    world.client(1, wait(1, 60_000)).is(&[]);
    let failed = StartFailed {
        start: (1 << 32) + 1,
        reason: "no such program".to_owned(),
    };
    let nodes = || vec![node("n1", 4, vec![place("n1", 2)])];
    let said = Starter {
        failed: vec![failed],
        ..says(2, nodes())
    };
    world
        .client(STARTER, said)
        .is(&["c1< answer 50: request 1 failed"]);
    let Reply::Requests(rows) = world.ask(1, Question::Requests(RequestsPage::default())) else {
        panic!("requests were asked for");
    };
    assert_eq!(
        rows.rows[0].reason,
        "0 of 1 workers have joined; on n1: no such program"
    );
    world
        .client(STARTER, says(3, nodes()))
        .is(&["c9< answer 2: orders "]);
    // One that starts and does not join is ended in time.
    world
        .client(1, asks(2, 1, 2))
        .begins(&["c1< workers_requested 2: 2", "c9< answer 3: orders start 2"]);
    let kept = vec![node("n1", 4, vec![place("n1", 2), told("n1-2", 2, 2)])];
    world.client(STARTER, says(4, kept.clone())).is(&[]);
    world.wait(59_000).is(&[]);
    world.wait(2_000).is(&["c9< answer 4: orders "]);
    world.client(STARTER, says(5, kept)).is(&[]);
    world.wait(59_500).is(&["c9< answer 5: orders stop n1-2"]);
    world
        .client(1, wait(2, 0))
        .is(&["c1< answer 50: request 2 failed"]);
}

#[test]
fn without_anybody_who_starts_workers_a_request_waits_only_if_one_is_to_come() {
    let mut none = World::with(Config {
        quota: Quota::default(),
        ..quota(None, false)
    });
    none.client(1, hello("s")).begins(&["c1< welcome"]);
    none.client(1, asks(1, 1, 1))
        .is(&["c1< refused request 1: no_starter"]);
    let mut closed = World::with(Config {
        open_to_workers: false,
        ..quota(None, false)
    });
    closed.client(1, hello("s")).begins(&["c1< welcome"]);
    closed
        .client(1, asks(1, 1, 1))
        .is(&["c1< refused request 1: pilot_closed"]);

    let mut soon = World::with(quota(None, false));
    soon.client(1, hello("s")).begins(&["c1< welcome"]);
    soon.client(1, asks(1, 1, 1)).is(&["c1< workers_requested 1: 1"]);
    soon.client(1, asks(2, 1, 9)).is(&["c1< workers_requested 2: 2"]);
    // What a worker that is asked for could run waits for it, and it is said why.
    soon.client(1, submit(3, 1, RUN)).first("c1< accepted 3");
    let Reply::Explain(why) = soon.ask(1, Question::Explain(Selector::task(1, 0))) else {
        panic!("it was asked for");
    };
    assert!(
        why.reasons
            .iter()
            .any(|reason| reason.contains("requested (request 1")),
        "{why:?}"
    );
    soon.client(STARTER, hello("starter")).begins(&["c9< welcome"]);
    // Who asks hears as soon as it is known whether there is room.
    soon.client(1, wait(1, 9_000)).is(&[]);
    soon.client(STARTER, says(1, vec![node("n1", 4, Vec::new())]))
        .is(&[
            "c1< answer 50: request 1 starting",
            "c9< answer 1: orders start 1 on n1 with 1 cores",
        ]);
    soon.client(1, wait(2, 0))
        .is(&["c1< answer 50: request 2 failed"]);
    // It leaves, and does not come back.
    soon.round(vec![Input::ClientGone(Peer(STARTER))]).is(&[]);
    soon.client(1, asks(4, 1, 1)).is(&["c1< workers_requested 4: 3"]);
    soon.wait(10_000).is(&[]);
    soon.client(1, wait(3, 0))
        .is(&["c1< answer 50: request 3 failed"]);
    soon.client(1, asks(5, 1, 1))
        .is(&["c1< refused request 5: no_starter"]);
}

#[test]
fn a_submission_is_refused_only_if_no_requested_worker_could_serve_it() {
    let mut world = world(quota(None, false), 2);
    world
        .client(1, submit(1, 1, RUN).cores(3))
        .is(&["c1< refused request 1: impossible_needs"]);
    world.client(1, replaces(2, 1, 1, 4)).first("w1< stop");
    world
        .client(1, submit(3, 1, RUN).cores(3))
        .first("c1< accepted 3");
    world
        .client(1, submit(4, 1, RUN).cores(5))
        .first("c1< refused request 4: impossible_needs");
}

#[test]
fn what_an_earlier_life_had_started_for_a_request_is_what_the_next_one_finds() {
    let mut next = World::with(Config {
        incarnation: 2,
        ..quota(None, false)
    });
    next.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    next.client(STARTER, hello("starter")).begins(&["c9< welcome"]);
    let nodes = vec![node("n1", 4, vec![told("n1-1", 2, 1), told("n1-2", 2, 2)])];
    next.client(STARTER, says(1, nodes)).is(&[]);
    next.client(1, asks(1, 2, 2)).is(&["c1< workers_requested 1: 1"]);
    next.worker(1, at("n1-1", 2)).first("w1< welcome");
    next.worker(2, at("n1-2", 2)).first("w2< welcome");
    let row = next.ask(1, Question::Requests(RequestsPage::default()));
    let Reply::Requests(rows) = row else {
        panic!("it was asked for");
    };
    assert_eq!(
        (rows.rows[0].state, rows.rows[0].workers.len()),
        (RequestState::Started, 2)
    );
}

#[test]
fn who_starts_workers_is_answered_in_its_time_also_while_the_pilot_ends() {
    let mut world = world(quota(None, false), 2);
    world
        .client(1, submit(1, 1, RUN).streaming())
        .begins(&["c1< accepted", "w1< lease 1"]);
    world.worker(1, started(1, run(1, 0, 1, 1))).is(&[]);
    let stop = Stop {
        id: 2,
        worker: None,
        drain_ms: 3_600_000,
    };
    world.client(1, stop).first("c1< answer 2: stopping");
    let nodes = || vec![node("n1", 4, vec![place("n1", 2)])];
    world
        .client(STARTER, says(2, nodes()))
        .is(&["c9< answer 1: orders "]);
    world.wait(59_000).is(&[]);
    world.wait(1_000).is(&["c9< answer 2: orders "]);
    world.client(STARTER, says(3, nodes())).is(&[]);
}

#[test]
fn two_who_start_workers_do_not_answer_each_other_away() {
    let mut world = world(quota(None, false), 2);
    world.client(8, hello("other")).begins(&["c8< welcome session"]);
    let nodes = || vec![node("n1", 4, vec![place("n1", 2)])];
    world.wait(1_000).is(&[]);
    world.client(8, says(1, nodes())).is(&[]);
    // The first one's time is over first; it says so again, and the second one goes on waiting.
    world.wait(59_000).is(&["c9< answer 1: orders "]);
    world.client(STARTER, says(2, nodes())).is(&[]);
    world.wait(1_000).is(&["c8< answer 1: orders "]);
    world.client(8, says(2, nodes())).is(&[]);
    // Orders are for the last one.
    world.client(1, asks(1, 1, 2)).is(&[
        "c1< workers_requested 1: 1",
        "c8< answer 2: orders start 1 on n1 with 2 cores",
    ]);
    world.client(STARTER, says(3, nodes())).is(&[
        "c9< answer 2: orders ",
        "c9< answer 3: orders start 1 on n1 with 2 cores",
    ]);
}

#[test]
fn the_room_of_a_worker_that_is_replaced_is_taken_as_long_as_it_lives() {
    let mut world = world(quota(Some(3), false), 3);
    let asked = RequestWorkers {
        drain_ms: 3_600_000,
        ..replaces(1, 1, 1, 2)
    };
    world.client(1, asked).is(&[
        "w1< stop 3600000 ms",
        "c1< workers_requested 1: 1",
        "c9< answer 1: orders leave n1",
    ]);
    let left = || StarterPlace {
        left: true,
        ..place("n1", 3)
    };
    let nodes = || vec![node("n1", 4, vec![left()])];
    world.client(STARTER, says(2, nodes())).is(&[]);
    world
        .client(1, asks(2, 1, 2))
        .is(&["c1< refused request 2: no_room"]);
    // What comes in its place takes nothing beside it; what nobody has is free.
    world.client(1, asks(3, 1, 1)).is(&[
        "c1< workers_requested 3: 2",
        "c9< answer 2: orders start 2 on n1 with 1 cores",
    ]);
    let nodes = || vec![node("n1", 4, vec![left(), told("n1-2", 1, 2)])];
    world.client(STARTER, says(3, nodes())).is(&[]);
    world
        .worker(1, WorkerGoodbye::default())
        .is(&["c9< answer 3: orders over n1; start 1 on n1 with 2 cores"]);
    let nodes = vec![node("n1", 4, vec![told("n1-2", 1, 2), told("n1-1", 2, 1)])];
    world.client(STARTER, says(4, nodes)).is(&[]);
    world
        .client(1, asks(4, 1, 2))
        .is(&["c1< refused request 4: no_room"]);
    world.client(1, asks(5, 1, 1)).first("c1< workers_requested 5: 3");
    world
        .client(1, asks(6, 1, 1))
        .is(&["c1< refused request 6: no_room"]);
}

#[test]
fn a_worker_that_nobody_keeps_any_more_counts_as_long_as_it_lives() {
    let mut world = world(quota(Some(3), false), 2);
    world
        .worker(
            2,
            WorkerHello {
                host: "n1".to_owned(),
                ..at("old", 1)
            },
        )
        .first("w2< welcome worker 2");
    world
        .client(1, asks(1, 1, 2))
        .is(&["c1< refused request 1: no_room"]);
    world.client(1, asks(2, 1, 1)).first("c1< workers_requested 2: 1");
    world
        .client(1, asks(3, 1, 1))
        .is(&["c1< refused request 3: no_room"]);
}

#[test]
fn layouts_and_listings_fit_into_messages() {
    let mut world = world(quota(Some(4_000), true), 2);
    let named = |kinds: usize| {
        let kind = |number: usize| (format!("{number:0>200}"), Amount::whole(1));
        (0..kinds).map(kind).collect()
    };
    let asked = |request: u64, kinds: usize, count: u32| {
        let mut asked = asks(request, count, 1);
        asked.layout.named = named(kinds);
        asked
    };
    world
        .client(1, asked(1, 62, 1))
        .is(&["c1< refused request 1: invalid_value"]);
    // What is to be started is told in parts.
    let said = world.client(1, asked(2, 61, 1_000)).0;
    let starts = said[1].matches("start ").count();
    assert!((10..100).contains(&starts), "{starts}: {}", said[1]);
    let taken = (1..=starts as u64).map(|start| told(&format!("n1-{start}"), 1, start));
    let nodes = vec![node("n1", 4, [place("n1", 2)].into_iter().chain(taken).collect())];
    let said = world.client(STARTER, says(2, nodes)).0;
    let next = format!("c9< answer 2: orders start {} on n1", starts + 1);
    assert!(said[0].starts_with(&next), "{}", said[0]);
    // And so is what was requested.
    for request in 3..=100 {
        world
            .client(1, asked(request, 61, 1))
            .first(&format!("c1< workers_requested {request}"));
    }
    let (mut page, mut ids) = (RequestsPage::default(), Vec::new());
    let pages = (1..100)
        .find(|_| {
            let Reply::Requests(rows) = world.ask(1, Question::Requests(page)) else {
                panic!("requests were asked for");
            };
            ids.extend(rows.rows.iter().map(|row| row.id));
            page.after = rows.next.unwrap_or(page.after);
            rows.next.is_none()
        })
        .unwrap();
    assert_eq!(ids, (1..=99).collect::<Vec<_>>());
    assert!(pages > 3, "{pages} pages");
}
