//! How programs are ended, and that nothing of them stays.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use scalems_agent::executor::{Exit, ProgramSpec, StartError, Stop, StoppedBy};

use super::rig::{Fifo, Rig, alone, is_there, pidfd, shell, task, wait_readable};

fn group_is_gone(pid: i32) -> bool {
    killpg(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

#[test]
fn a_request_is_answered() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let script = format!(
        "trap 'echo asked; exit 5' TERM; echo > {}; sleep 1000 & wait",
        fifo.path.display()
    );
    let key = rig.start(shell(&script));
    fifo.line();
    assert!(rig.executor.stop_program(key, Stop::Request, "by a test"));
    let outcome = rig.ended(key);
    assert_eq!(
        (outcome.exit, outcome.stdout.tail.as_slice()),
        (Exit::Exited(5), &b"asked\n"[..])
    );
    assert_eq!(
        outcome.stopped_by,
        Some(StoppedBy::Request {
            reason: "by a test".into()
        })
    );
    assert!(!rig.executor.stop_program(key, Stop::Kill, "again"), "it is over");
}

#[test]
fn who_ignores_a_request_is_killed_after_its_grace() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let mut spec = shell(&format!(
        "trap '' TERM; echo > {}; while :; do sleep 1; done",
        fifo.path.display()
    ));
    spec.grace = Duration::from_millis(300);
    let key = rig.start(spec);
    fifo.line();
    let asked = Instant::now();
    assert!(rig.executor.stop_program(key, Stop::Request, "by a test"));
    let outcome = rig.ended(key);
    assert_eq!(outcome.exit, Exit::Signaled(libc::SIGKILL));
    assert_eq!(
        outcome.stopped_by,
        Some(StoppedBy::Request {
            reason: "by a test".into()
        })
    );
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[test]
fn who_is_asked_otherwise_gets_no_signal_and_the_same_grace() {
    let mut rig = Rig::new();
    let mut spec = ProgramSpec::new(["/bin/sleep", "1000"]);
    spec.grace = Duration::from_millis(100);
    spec.hears_term = false;
    let key = rig.start(spec);
    rig.started(key);
    rig.executor.stop_program(key, Stop::Request, "by a test");
    assert_eq!(
        rig.ended(key).exit,
        Exit::Signaled(libc::SIGKILL),
        "SIGTERM would have ended it"
    );
}

#[test]
fn a_stopped_program_hears_a_request() {
    let mut rig = Rig::new();
    let key = rig.start(ProgramSpec::new(["/bin/sleep", "1000"]));
    let pid = rig.started(key);
    nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP).unwrap();
    rig.executor.stop_program(key, Stop::Request, "by a test");
    assert_eq!(rig.ended(key).exit, Exit::Signaled(libc::SIGTERM));
}

#[test]
fn a_time_limit_ends_it() {
    let mut rig = Rig::new();
    let mut spec = ProgramSpec::new(["/bin/sleep", "1000"]);
    spec.time_limit = Some(Duration::from_millis(200));
    let outcome = rig.run(spec);
    assert_eq!(outcome.exit, Exit::Signaled(libc::SIGTERM));
    assert_eq!(
        outcome.stopped_by,
        Some(StoppedBy::TimeLimit(Duration::from_millis(200)))
    );
    assert!(outcome.wall_seconds >= 0.2);

    let mut spec = shell("trap '' TERM; while :; do sleep 1; done");
    spec.time_limit = Some(Duration::from_millis(200));
    spec.grace = Duration::ZERO;
    let outcome = rig.run(spec);
    assert_eq!(outcome.exit, Exit::Signaled(libc::SIGKILL));
    assert!(matches!(outcome.stopped_by, Some(StoppedBy::TimeLimit(_))));
}

#[test]
fn a_time_limit_not_reached_does_nothing() {
    let mut spec = shell("exit 4");
    spec.time_limit = Some(Duration::from_hours(1));
    let outcome = Rig::new().run(spec);
    assert_eq!((outcome.exit, outcome.stopped_by), (Exit::Exited(4), None));
}

#[test]
fn a_kill_takes_the_whole_group() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let path = fifo.path.display().to_string();
    let key = rig.start(shell(&format!(
        "sh -c 'echo $$ > {path}; trap \"\" TERM; sleep 1000; :' & wait"
    )));
    let child = fifo.pid();
    let pid = rig.started(key);
    assert!(rig.executor.stop_program(key, Stop::Kill, "by a test"));
    let outcome = rig.ended(key);
    assert_eq!(outcome.exit, Exit::Signaled(libc::SIGKILL));
    assert_eq!(
        outcome.stopped_by,
        Some(StoppedBy::Kill {
            reason: "by a test".into()
        })
    );
    assert_eq!(outcome.leftovers.remaining, 0);
    assert!(group_is_gone(pid) && !is_there(child));
}

#[test]
fn what_outlives_its_program_in_the_group_is_ended_with_it() {
    let mut rig = Rig::new();
    let key = rig.start(shell("sleep 1000 & echo $!; exit 3"));
    let pid = rig.started(key);
    let outcome = rig.ended(key);
    assert_eq!(outcome.exit, Exit::Exited(3));
    assert!(
        !outcome.stdout.cut_off && outcome.leftovers.remaining == 0,
        "{outcome:?}"
    );
    assert!(group_is_gone(pid));
}

#[test]
fn two_hundred_children_are_all_reaped_with_it() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::new(directory.path());
    let script = "i=0; while [ $i -lt 200 ]; do sleep 1000 & i=$((i+1)); done; echo >";
    let key = rig.start(shell(&format!("{script} {}; wait", fifo.path.display())));
    fifo.line();
    let pid = rig.started(key);
    rig.executor.stop_program(key, Stop::Kill, "by a test");
    let outcome = rig.ended(key);
    assert_eq!((outcome.leftovers.killed, outcome.leftovers.remaining), (200, 0));
    assert!(group_is_gone(pid));
}

/// Each process starts two more, every one in a session of its own.
fn bomb(depth: u32) -> String {
    let script = r#"
        n=$1; [ $n -eq 0 ] && exec sleep 1000
        setsid sh "$0" $((n-1)) & setsid sh "$0" $((n-1)) &
        exec sleep 1000"#;
    format!("cat > bomb <<'END'\n{script}\nEND\nsh ./bomb {depth} & sh ./bomb {depth} & wait")
}

#[test]
fn a_bomb_that_leaves_its_group_is_ended_while_it_goes_off() {
    alone(|| {
        let mut rig = Rig::new();
        let directory = tempfile::tempdir().unwrap();
        let mut spec = task("bomb", &bomb(6));
        spec.cwd = Some(directory.path().to_owned());
        let key = rig.start(spec);
        let pid = rig.started(key);
        rig.executor.stop_program(key, Stop::Kill, "by a test");
        let outcome = rig.ended(key);
        assert_eq!(outcome.leftovers.remaining, 0, "{outcome:?}");
        assert!(group_is_gone(pid));
        assert_eq!(marked("bomb"), Vec::<i32>::new());
    });
}

fn marked(name: &str) -> Vec<i32> {
    let wanted = format!("SCALEMS_TASK={name}");
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let has_mark = |pid: &i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    };
    processes.filter(has_mark).collect()
}

#[test]
fn a_daemon_ends_with_its_program_and_does_not_delay_it() {
    alone(|| {
        let mut rig = Rig::new();
        let directory = tempfile::tempdir().unwrap();
        let mut fifo = Fifo::new(directory.path());
        let path = fifo.path.display().to_string();
        // Twice forked, in a session of its own, its parents gone, its program's output in its hands.
        let script =
            format!("(setsid sh -c 'echo $$ > {path}; exec sleep 1000' &); read x < {path}.go; echo done");
        nix::unistd::mkfifo(format!("{path}.go").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let key = rig.start(task("daemon", &script));
        let daemon = fifo.pid();
        assert!(is_there(daemon), "it lives while its program does");
        std::fs::write(format!("{path}.go"), "\n").unwrap();
        let told = Instant::now();
        let outcome = rig.ended(key);
        assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
        assert_eq!(
            (outcome.exit, outcome.stdout.tail.as_slice()),
            (Exit::Exited(0), &b"done\n"[..])
        );
        assert_eq!((outcome.leftovers.killed, outcome.leftovers.remaining), (1, 0));
        assert!(!outcome.stdout.cut_off && !is_there(daemon));
    });
}

#[test]
fn a_daemon_of_one_program_is_not_ended_with_another() {
    alone(|| {
        let mut rig = Rig::new();
        let directory = tempfile::tempdir().unwrap();
        let mut fifo = Fifo::new(directory.path());
        let path = fifo.path.display().to_string();
        let script = format!("(setsid sh -c 'echo $$ > {path}; exec sleep 1000' &); exec sleep 1000");
        let key = rig.start(task("keeper", &script));
        let daemon = fifo.pid();
        for number in 0..20 {
            assert_eq!(
                rig.run(task(&format!("other {number}"), "exit 0")).exit,
                Exit::Exited(0)
            );
        }
        assert!(is_there(daemon));
        rig.executor.stop_program(key, Stop::Kill, "by a test");
        assert_eq!(rig.ended(key).leftovers.remaining, 0);
        assert!(!is_there(daemon));
    });
}

#[test]
fn a_daemon_without_any_mark_ends_when_all_who_can_have_made_it_have() {
    alone(|| {
        let mut rig = Rig::new();
        let directory = tempfile::tempdir().unwrap();
        let mut fifo = Fifo::new(directory.path());
        let path = fifo.path.display().to_string();
        let script =
            format!("(setsid env -i sh -c 'echo $$ > {path}; exec /bin/sleep 1000' &); read x < {path}.go");
        nix::unistd::mkfifo(format!("{path}.go").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let key = rig.start(task("unmarked", &script));
        let watched = pidfd(fifo.pid());
        std::fs::write(format!("{path}.go"), "\n").unwrap();
        let told = Instant::now();
        let outcome = rig.ended(key);
        assert_eq!(outcome.exit, Exit::Exited(0));
        assert!(
            told.elapsed() < Duration::from_secs(2),
            "its hold on the output delays the end by a bounded time"
        );
        wait_readable(&[watched.as_fd()]);
    });
}

#[test]
fn what_waits_for_its_start_can_be_withdrawn() {
    let mut rig = Rig::new();
    let keys: Vec<u64> = (0..400)
        .map(|_| rig.start(ProgramSpec::new(["/bin/true"])))
        .collect();
    for key in &keys {
        rig.executor.stop_program(*key, Stop::Request, "changed my mind");
    }
    let mut withdrawn = 0;
    for key in keys {
        match rig.ended(key).exit {
            Exit::NotStarted(StartError::StoppedBefore { reason }) => {
                assert_eq!(reason, "changed my mind");
                withdrawn += 1;
            }
            Exit::Exited(0) | Exit::Signaled(libc::SIGTERM) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(withdrawn > 100, "only {withdrawn} of 400");
}
