//! What agent and workers log, changed while they run.

use scalems_protocol::client::LogLevels;

use crate::say::{hello, joins};
use crate::world::World;

fn levels(id: u64, levels: &str, worker: Option<u64>) -> LogLevels {
    LogLevels {
        id,
        levels: levels.to_owned(),
        worker,
    }
}

#[test]
fn all_are_told_also_who_joins_later() {
    let mut world = World::new();
    world.worker(1, joins("w", 2)).begins(&["w1< welcome"]);
    world.client(1, hello("s")).begins(&["c1< welcome session 2"]);
    world.client(1, levels(1, "debug", None)).is(&[
        "log \"debug\"",
        "w1< log \"debug\"",
        "c1< answer 1: levels of 1 workers",
    ]);
    world
        .worker(2, joins("v", 2))
        .begins(&["w2< welcome", "w2< log \"debug\""]);
    let second = world.worker_welcome().worker;
    world
        .client(1, levels(2, "trace", Some(second)))
        .is(&["w2< log \"trace\"", "c1< answer 2: levels of 1 workers"]);
    // Back to what each was started with: nobody who joins has to be told.
    world.client(1, levels(3, "", None)).is(&[
        "log \"\"",
        "w1< log \"\"",
        "w2< log \"\"",
        "c1< answer 3: levels of 2 workers",
    ]);
    let third = world.worker(3, joins("u", 2));
    third.begins(&["w3< welcome"]);
}

#[test]
fn what_is_no_level_and_who_is_no_worker_is_refused() {
    let mut world = World::new();
    world.client(1, hello("s")).begins(&["c1< welcome"]);
    world
        .client(1, levels(1, "info,[", None))
        .is(&["c1< refused read 1: invalid_value"]);
    world
        .client(1, levels(2, "info", Some(70_000)))
        .is(&["c1< refused read 2: nothing_selected"]);
}
