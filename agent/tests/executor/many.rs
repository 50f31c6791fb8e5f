//! Many programs, all ways of making them, and the end of the executor itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scalems_agent::executor::{Config, ExecutorError, Exit, Method, ProgramSpec, StartError, Stdin, Stop};

use super::rig::{DEADLINE, Fifo, Rig, alone, is_there, shell, text};

#[test]
fn of_five_hundred_at_once_none_is_lost() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let gate = Fifo::new(directory.path());
    // Each waits for its line, so that all run at once.
    let script = format!("read x < {}; echo $N; exit $((N % 200))", gate.path.display());
    let keys: Vec<u64> = (0..500)
        .map(|number| {
            let mut spec = shell(&script);
            spec.env.push(("N".into(), number.to_string().into()));
            rig.start(spec)
        })
        .collect();
    let pids: HashSet<i32> = keys.iter().map(|key| rig.started(*key)).collect();
    assert_eq!(pids.len(), 500);
    // 500 lines that no reader takes apart: `read` takes one byte at a time, and the shells take turns.
    for _ in 0..500 {
        std::fs::write(&gate.path, "\n").unwrap();
    }
    for (number, key) in keys.into_iter().enumerate() {
        let outcome = rig.ended(key);
        assert_eq!(outcome.exit, Exit::Exited(number as i32 % 200));
        assert_eq!(outcome.stdout.tail, format!("{number}\n").into_bytes());
    }
    assert!(pids.iter().all(|pid| !is_there(*pid)));
}

#[test]
fn no_status_is_lost_to_the_sweeper() {
    // Every one leaves an orphan, so that the sweeper reaps all the time.
    let mut rig = Rig::new();
    let keys: Vec<u64> = (0..400)
        .map(|number| rig.start(shell(&format!("(setsid true &); exit {}", number % 250))))
        .collect();
    for (number, key) in keys.into_iter().enumerate() {
        assert_eq!(rig.ended(key).exit, Exit::Exited(number as i32 % 250));
    }
}

#[test]
fn every_way_to_make_a_process_gives_the_same() {
    for method in [Method::Borrowed, Method::BorrowedPlain, Method::Copied] {
        let mut rig = Rig::with(Config {
            method,
            ..Config::default()
        });
        let mut spec = shell("cat; echo $A; ulimit -c; ls /proc/self/fd");
        spec.env.push(("A".into(), "1".into()));
        spec.stdin = Stdin::Data(Bytes::from_static(b"in\n"));
        assert_eq!(text(&rig.run(spec)), "in\n1\n0\n0\n1\n2\n3\n", "{method:?}");
        let missing = ProgramSpec::new(["/nonexistent"]);
        let refusal = Exit::NotStarted(StartError::NotFound {
            program: "/nonexistent".into(),
        });
        assert_eq!(rig.run(missing).exit, refusal, "{method:?}");
        let key = rig.start(ProgramSpec::new(["/bin/sleep", "1000"]));
        rig.started(key);
        rig.executor.stop_program(key, Stop::Kill, "by a test");
        assert_eq!(rig.ended(key).exit, Exit::Signaled(libc::SIGKILL), "{method:?}");
    }
}

#[test]
fn descriptors_and_threads_return_to_where_they_were() {
    alone(|| {
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let before = (count("fd"), count("task"));
        {
            let mut rig = Rig::new();
            let idle = count("fd");
            let mut keys = Vec::new();
            for number in 0..300 {
                let mut spec = shell("head -c 10; echo out; echo err >&2; (setsid sleep 1000 &)");
                spec.env.push(("SCALEMS_TASK".into(), number.to_string().into()));
                spec.stdin = Stdin::Data(Bytes::from(vec![0; 1 << 17]));
                spec.inherit = Some(std::fs::File::open("/dev/null").unwrap().into());
                keys.push(rig.start(spec));
                keys.push(rig.start(ProgramSpec::new(["/nonexistent"])));
            }
            for key in keys {
                let outcome = rig.ended(key);
                assert_eq!(outcome.leftovers.remaining, 0, "{outcome:?}");
            }
            // The sweeper may still hold those of its last round; one more makes it look again.
            assert_eq!(rig.run(shell("sleep 1000 & exit 0")).exit, Exit::Exited(0));
            rig.executor.shutdown(Instant::now() + DEADLINE).unwrap();
            assert!(count("fd") <= idle, "{} descriptors, {idle} before", count("fd"));
        }
        assert_eq!(count("fd"), before.0);
    });
}

#[test]
fn a_shutdown_ends_all_and_takes_no_more() {
    let mut rig = Rig::new();
    let running = rig.start(shell("trap '' TERM; sleep 1000 & sleep 1000"));
    let pid = rig.started(running);
    let waiting: Vec<u64> = (0..200)
        .map(|_| rig.start(ProgramSpec::new(["/bin/sleep", "1000"])))
        .collect();
    rig.executor.shutdown(Instant::now() + DEADLINE).unwrap();
    assert_eq!(rig.ended(running).exit, Exit::Signaled(libc::SIGKILL));
    assert!(!is_there(pid));
    for key in waiting {
        let exit = rig.ended(key).exit;
        assert!(
            matches!(
                exit,
                Exit::Signaled(_) | Exit::NotStarted(StartError::ShuttingDown)
            ),
            "{exit:?}"
        );
    }
    let refused = rig.executor.start_program(9999, ProgramSpec::new(["/bin/true"]));
    assert!(matches!(refused, Err(ExecutorError::Closed)));
}

#[test]
fn a_key_is_one_program_s_until_it_is_over() {
    let mut rig = Rig::new();
    rig.executor
        .start_program(77, ProgramSpec::new(["/bin/sleep", "1000"]))
        .unwrap();
    let again = rig.executor.start_program(77, ProgramSpec::new(["/bin/true"]));
    assert!(matches!(again, Err(ExecutorError::KeyInUse { key: 77 })));
    rig.executor.stop_program(77, Stop::Kill, "by a test");
    rig.ended(77);
    rig.executor
        .start_program(77, ProgramSpec::new(["/bin/true"]))
        .unwrap();
    assert_eq!(rig.ended(77).exit, Exit::Exited(0));
    assert!(!rig.executor.stop_program(78, Stop::Kill, "nobody"));
}

#[test]
fn without_descriptors_a_start_is_refused_and_later_works() {
    alone(|| {
        use nix::sys::resource::{Resource, getrlimit, setrlimit};
        let mut rig = Rig::new();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, used + 20, hard).unwrap();
        let keys: Vec<u64> = (0..30)
            .map(|_| rig.start(ProgramSpec::new(["/bin/sleep", "1000"])))
            .collect();
        let mut refused = 0;
        let end = Instant::now() + Duration::from_secs(30);
        while refused == 0 {
            assert!(Instant::now() < end);
            refused = keys.iter().filter(|key| rig.has_ended(**key)).count();
            std::thread::yield_now();
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        for key in &keys {
            rig.executor.stop_program(*key, Stop::Kill, "by a test");
        }
        let mut transient = 0;
        for key in keys {
            match rig.ended(key).exit {
                Exit::NotStarted(error @ StartError::TooManyFiles) => {
                    transient += i32::from(error.is_transient());
                }
                Exit::NotStarted(StartError::StoppedBefore { .. }) | Exit::Signaled(libc::SIGKILL) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(transient > 0);
        assert_eq!(rig.run(shell("exit 0")).exit, Exit::Exited(0));
    });
}
