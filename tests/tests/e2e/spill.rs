//! Results that nobody collects: the agent keeps them, and stops for nobody (R10).

use scalems_client::Session;
use scalems_client::protocol::client::Page;
use scalems_tests::pilot::{Pilot, until_tasks};

/// Tasks of one submission, each with 64 KiB of output: with 9 of these there are more than 256 MiB.
const TASKS: u32 = 500;
const SUBMISSIONS: u64 = 9;
const OUTPUT: usize = 64 << 10;

/// What the agent has in memory that lies in no file, MiB.
fn memory(pilot: &Pilot) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pilot.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    kib >> 10
}

/// Files of the pilot's directory that the agent has mapped and that have no name.
fn parts(pilot: &Pilot) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", pilot.pid())).unwrap();
    maps.lines()
        .filter(|line| line.ends_with("/spill (deleted)"))
        .count()
}

/// Reads every result, and sees that it is the task's own.
fn read_all(session: &Session) {
    let mut count = 0;
    for submission in 1..=SUBMISSIONS {
        let mut after = None;
        loop {
            let page = session
                .ask_results(Page {
                    select: submission.to_string().parse().unwrap(),
                    after,
                    rows: 0,
                })
                .unwrap();
            for held in page.results {
                let letter = b'a' + (held.offset % 26) as u8;
                let program = held.result.program().unwrap();
                assert_eq!(program.stdout.len(), OUTPUT);
                assert!(
                    program.stdout.iter().all(|byte| *byte == letter),
                    "{}",
                    held.offset
                );
                count += 1;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    assert_eq!(count, SUBMISSIONS * u64::from(TASKS));
}

#[test]
fn many_outputs_that_nobody_collects_stop_nothing_and_are_read_as_they_were() {
    let mut pilot = Pilot::start("--cores 4");
    let session = pilot.session();
    let line = format!(
        "--array 0-{} -- perl -e 'print chr(97 + shift() % 26) x {OUTPUT}' %{{INDEX}}",
        TASKS - 1
    );
    for expected in 1..=SUBMISSIONS {
        let number = pilot.submit(&line);
        assert_eq!(number, expected);
        until_tasks(&session, number, |counts| counts.done == u64::from(TASKS));
    }
    // Others go on, and what is there is there.
    pilot.sh("scalems submit --wait -- true").well();
    assert!(parts(&pilot) > 0, "nothing was moved out of memory");
    assert!(memory(&pilot) < 400, "{} MiB", memory(&pilot));
    read_all(&session);
    assert!(memory(&pilot) < 400, "{} MiB", memory(&pilot));
    drop(session);
    // Another life reads all of it, and has no more in memory.
    pilot.kill_agent();
    pilot.resume("--cores 4");
    pilot.sh("scalems submit --wait -- true").well();
    assert!(parts(&pilot) > 0, "nothing was moved out of memory");
    assert!(memory(&pilot) < 400, "{} MiB", memory(&pilot));
    let session = pilot.session();
    read_all(&session);
    drop(session);
    // What is forgotten takes no room.
    pilot.sh("scalems task forget all").well();
    assert_eq!(parts(&pilot), 0);
    let left = std::fs::read_dir(pilot.directory()).unwrap();
    assert!(left.flatten().all(|entry| entry.file_name() != "spill"));
    pilot.stop();
}
