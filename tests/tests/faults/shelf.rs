//! Large values in shared memory, when that is cleaned up and when its agent is killed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use scalems_client::protocol::Role;
use scalems_client::{Session, Task, wait_all};
use scalems_tests::pilot::{PATIENCE, Pilot};
use scalems_transport::{ConnectionFile, Endpoint};

const LARGE: usize = 1 << 20;

/// Where the pilot's agent has its shelf.
fn shelf(pilot: &Pilot) -> PathBuf {
    let path = pilot.directory().join(ConnectionFile::file_name(Role::Client));
    let file = ConnectionFile::read(&path).unwrap();
    let Some(Endpoint::Ipc { path }) = file.requests.nearest(true) else {
        panic!("it has no socket files")
    };
    std::fs::read_link(path.parent().unwrap().join("shelf")).unwrap()
}

fn files(shelf: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(shelf).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn value(of: u32) -> Vec<u8> {
    (0..LARGE as u32).map(|at| (at ^ of) as u8).collect()
}

/// Large values there and back.
fn echo(session: &Session, count: u32) {
    let task = Task::new("scalems.echo");
    let handles = session.submit_many((0..count).map(|of| task.with_data(value(of))));
    wait_all(&handles, PATIENCE).unwrap();
    for (of, handle) in (0..).zip(&handles) {
        let result = handle.wait(PATIENCE).unwrap();
        assert!(result.value[..] == value(of)[..], "of task {of}");
    }
}

#[test]
fn what_is_cleaned_up_while_it_is_used_costs_only_time() {
    let pilot = Pilot::start("--name night --cores 2 --journal none");
    let shelf = shelf(&pilot);
    let session = pilot.session();
    echo(&session, 10);
    assert!(!files(&shelf).is_empty(), "nothing lies on the shelf");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // As at logout: all of the user's shared memory.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for path in files(&shelf) {
                    let _gone = std::fs::remove_file(path);
                }
            }
        });
        echo(&session, 100);
        // Others come meanwhile.
        echo(&pilot.session(), 20);
        over.store(true, Ordering::Relaxed);
    });
    std::fs::remove_dir_all(&shelf).unwrap();
    echo(&session, 20);
    echo(&pilot.session(), 20);
    drop(session);
    pilot.stop();
}

#[test]
fn a_killed_agents_shelf_goes_when_it_is_there_again() {
    let mut pilot = Pilot::start("--name night --cores 2");
    let before = shelf(&pilot);
    let session = pilot.session();
    echo(&session, 10);
    session.wait_durable(PATIENCE).unwrap();
    pilot.kill_agent();
    pilot.resume("--name night --cores 2");
    let now = shelf(&pilot);
    assert!(!before.exists() && now.exists(), "{before:?} {now:?}");
    // The same client is on the new one.
    echo(&session, 10);
    assert!(!files(&now).is_empty(), "nothing lies on the shelf");
    drop(session);
    pilot.stop();
    assert!(!now.exists());
}
