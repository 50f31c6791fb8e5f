//! Tasks in several ranks, with the launchers of real MPIs.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::protocol::function::Beside;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{Code, Ending};
use scalems_client::{Session, Task, TaskResult};
use scalems_tests::pilot::{Fifo, Mpi, PATIENCE, Pilot, Python, process, until_tasks};
use serde_json::{Value, json};

use crate::functions::{beside, value};

/// What a rank finds.
const IMPORTS: &str =
    "import os, time, signal\nfrom scalems_pilot._task import current_task\nt = current_task()\n";

fn with_each(options: &str, test: impl Fn(&Python, &Mpi, &Pilot, &Session)) {
    let Some((python, all)) = Python::with_mpi() else {
        return;
    };
    for mpi in all {
        let pilot = Pilot::start(&format!("{options} --mpi {}", mpi.program.display()));
        test(&python, &mpi, &pilot, &pilot.session());
        pilot.stop();
    }
}

/// Statements that have the communicator as `comm`.
fn with_comm(python: &Python, code: &str) -> Task {
    python.task(
        "task.exec",
        json!({"code": format!("{IMPORTS}{code}"), "comm": "comm"}),
    )
}

#[track_caller]
fn run(session: &Session, task: Task) -> TaskResult {
    session.submit(task).unwrap().wait(PATIENCE).unwrap()
}

fn lines(written: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8_lossy(written)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn each_rank_returns_a_value() {
    with_each("--cores 4", |python, mpi, _, session| {
        let name = mpi.name;
        let code = "import logging\nprint('rank', t.rank)\nlogging.warning('from %d', t.rank)\n\
            result = [t.rank, t.ranks, comm.allreduce(t.rank), os.environ['SCALEMS_RANK'], os.environ['SCALEMS_RANKS']]";
        let result = run(session, with_comm(python, code).ranks(3));
        let expected: Vec<Value> = (0..3)
            .map(|rank| json!([rank, 3, 3, rank.to_string(), "3"]))
            .collect();
        assert_eq!(value(&result), Value::from(expected), "{name}");
        let found = beside(&result);
        assert_eq!(lines(&found.stdout), ["rank 0", "rank 1", "rank 2"], "{name}");
        let mut logged: Vec<&str> = found.log.iter().map(|(.., text)| text.as_str()).collect();
        logged.sort_unstable();
        assert_eq!(logged, ["from 0", "from 1", "from 2"], "{name}");
        // The three ways to pass the communicator: by name above, first, and not at all.
        let first = json!({"function": "builtins:getattr", "args": ["size"], "comm": true});
        assert_eq!(
            value(&run(
                session,
                python.task("task.function", first.clone()).ranks(2)
            )),
            json!([2, 2])
        );
        assert_eq!(
            value(&run(session, python.task("task.function", first))),
            json!([1]),
            "one rank is a rank too"
        );
        let none = json!({"function": "math:hypot", "args": [3, 4]});
        assert_eq!(
            value(&run(session, python.task("task.function", none).ranks(2))),
            json!([5.0, 5.0])
        );
        // What msgpack cannot say is in each rank's own form.
        let mixed = "import fractions\nresult = None if t.rank else fractions.Fraction(1, 3)";
        let result = run(session, with_comm(python, mixed).ranks(2));
        assert_eq!(result.error, None);
        assert!(
            result.value.starts_with(b"\xc1\x04\x02\0\0\0"),
            "{:?}",
            result.value
        );
    });
}

#[test]
fn a_rank_that_fails_ends_the_others() {
    with_each("--cores 4", |python, mpi, pilot, session| {
        let mut gate = Fifo::new(&pilot.home.work(), "gate");
        let all_there = format!(
            "with open({:?}, 'w') as gate: gate.write('%d\\n' % os.getpid())\ncomm.barrier()\n",
            gate.path()
        );
        let one = "if t.rank == 1:\n  print('last words', flush=True)\n  ";
        for (does, waits, code, text) in [
            (
                "raise ValueError('two')",
                "time.sleep(600)",
                Code::Exception,
                "ValueError: two",
            ),
            (
                "raise ValueError('two')",
                "comm.recv()",
                Code::Exception,
                "rank 1 of 3: task",
            ),
            (
                "os._exit(3)",
                "time.sleep(600)",
                Code::InterpreterEnded,
                "rank 1 of 3 ended with exit code 3",
            ),
            (
                "os.kill(os.getpid(), signal.SIGKILL)",
                "comm.recv()",
                Code::InterpreterEnded,
                "rank 1 of 3 was ended by signal 9 (SIGKILL)",
            ),
            (
                "comm.Abort(7)",
                "time.sleep(600)",
                Code::InterpreterEnded,
                "code 7",
            ),
            (
                "result = __import__('threading').Lock()",
                "time.sleep(600)",
                Code::WrongResult,
                "lock",
            ),
        ] {
            let task = with_comm(python, &format!("{all_there}{one}{does}\nelse: {waits}"));
            let result = run(session, task.ranks(3));
            let error = result.error.clone().expect("it fails");
            // MPICH ends all ranks at once, and sometimes before it has said by whom.
            let is_told = error.rank.is_some() || mpi.name != "MPICH" || does != "comm.Abort(7)";
            assert_eq!(
                (error.code, error.rank),
                (code, is_told.then_some(1)),
                "{} {does}: {error}",
                mpi.name
            );
            assert!(error.message.contains(text), "{} {does}: {error}", mpi.name);
            for _rank in 0..3 {
                let pid: u32 = gate.line().parse().unwrap();
                assert!(
                    process::wait_gone(pid, Instant::now() + PATIENCE),
                    "{} {does}",
                    mpi.name
                );
            }
            let (found, exception) = Beside::split(&result.value).unwrap();
            // MPICH's launcher does not read what was written right before an abort.
            assert!(
                mpi.name == "MPICH" || lines(&found.stdout).contains(&"last words".to_owned()),
                "{} {does}",
                mpi.name
            );
            if code == Code::Exception {
                assert_eq!(error.class.as_deref(), Some("builtins.ValueError"));
                let trace = error.trace.unwrap();
                assert!(
                    trace.starts_with("Rank 1 of 3:\n") && trace.ends_with("ValueError: two\n"),
                    "{trace}"
                );
                assert!(exception.starts_with(b"\xc1\x03"), "{exception:?}");
            }
        }
        // Without the communicator, and without MPI, the same.
        let code = format!("{IMPORTS}if t.rank == 0: raise KeyError('gone')\ntime.sleep(600)");
        let error = run(session, python.code(&code).ranks(2)).error.unwrap();
        assert_eq!((error.code, error.rank), (Code::Exception, Some(0)), "{error}");
        let code = format!("{IMPORTS}if t.rank == 0: os._exit(4)\ntime.sleep(600)");
        let error = run(session, python.code(&code).ranks(2)).error.unwrap();
        assert_eq!(
            (error.code, error.rank),
            (Code::InterpreterEnded, Some(0)),
            "{error}"
        );
        // A failure of a rank is the task's own.
        let place = pilot.home.work().join("tried");
        let again = format!(
            "{IMPORTS}if t.rank == 1 and t.attempt == 1: os._exit(9)\nif t.attempt == 1: time.sleep(600)\nopen({place:?}, 'w')\n\
             result = t.attempt"
        );
        let result = run(session, python.code(&again).ranks(2).retries(1));
        assert_eq!(
            (value(&result), result.attempt),
            (json!([2, 2]), 2),
            "{}",
            mpi.name
        );
    });
}

#[test]
fn ranks_that_wait_for_each_other_for_ever_are_ended_in_time() {
    with_each("--cores 2", |python, mpi, _, session| {
        let code = "print('before', flush=True)\ncomm.recv(source=1 - t.rank)";
        let task = with_comm(python, code).ranks(2);
        let limited = task
            .time_limit(Duration::from_secs(3))
            .grace(Duration::from_millis(50));
        let result = run(session, limited);
        assert_eq!(result.error.unwrap().code, Code::TimeLimit, "{}", mpi.name);
        assert_eq!(
            value(&run(session, with_comm(python, "result = 1").ranks(2))),
            json!([1, 1])
        );
    });
}

#[test]
fn a_cancel_is_asked_for_in_all_ranks_and_then_made() {
    with_each("--cores 2", |python, mpi, pilot, session| {
        let mut gate = Fifo::new(&pilot.home.work(), "gate");
        let begun = format!(
            "with open({:?}, 'w') as gate: gate.write('here\\n')\n",
            gate.path()
        );
        let gentle = format!("{begun}while not t.cancel_requested(): time.sleep(0.01)\nresult = 'asked'");
        let handle = session.submit(with_comm(python, &gentle).ranks(2)).unwrap();
        assert_eq!([gate.line(), gate.line()], ["here", "here"]);
        handle.cancel(Strength::Request).unwrap().wait(PATIENCE).unwrap();
        let result = handle.wait(PATIENCE).unwrap();
        assert_eq!(value(&result), json!(["asked", "asked"]), "{}", mpi.name);
        for strength in [Strength::Request, Strength::Kill] {
            let deaf = with_comm(python, &format!("{begun}comm.recv()")).ranks(2);
            let handle = session.submit(deaf.grace(Duration::from_millis(50))).unwrap();
            assert_eq!([gate.line(), gate.line()], ["here", "here"]);
            handle.cancel(strength).unwrap().wait(PATIENCE).unwrap();
            assert_eq!(
                handle.wait(PATIENCE).unwrap().ending,
                Ending::Canceled,
                "{}",
                mpi.name
            );
        }
    });
}

#[test]
fn ranks_have_cores_and_gpus_of_their_own_beside_other_tasks() {
    let Some((python, all)) = Python::with_mpi() else {
        return;
    };
    let Some(mpi) = all.first() else { return };
    let pilot = Pilot::start(&format!("--cores 2 --gpus 2 --mpi {}", mpi.program.display()));
    let session = pilot.session();
    let code = "result = [sorted(os.sched_getaffinity(0)) == list(t.cpus), list(t.cpus), list(t.gpus), \
        os.environ['CUDA_VISIBLE_DEVICES'], os.environ['SCALEMS_CPUS']]";
    let task = with_comm(&python, code).ranks(2).gpus(1);
    let Value::Array(found) = value(&run(&session, task)) else {
        panic!("a list");
    };
    assert!(
        found
            .iter()
            .all(|rank| rank[0] == true && rank[1].as_array().unwrap().len() == 1),
        "{found:?}"
    );
    assert_ne!(found[0][4], found[1][4]);
    assert_eq!([&found[0][3], &found[1][3]], ["0", "1"]);
    assert_eq!([&found[0][2], &found[1][2]], [&json!([0]), &json!([1])]);
    pilot.stop();
    let pilot = Pilot::start(&format!(
        "--cores 5 --memory 4000 --mpi {}",
        mpi.program.display()
    ));
    let session = pilot.session();
    let (mut here, mut gate) = (
        Fifo::new(&pilot.home.work(), "here"),
        Fifo::new(&pilot.home.work(), "gate"),
    );
    let waits = format!(
        "if t.rank == 0:\n  with open({:?}, 'w') as here: here.write('here\\n')\n  with open({:?}, 'rb', buffering=0) as gate: \
         gate.read(3)\nresult = comm.allreduce(1)",
        here.path(),
        gate.path()
    );
    let both = [0, 1].map(|_| session.submit(with_comm(&python, &waits).ranks(2)).unwrap());
    assert_eq!([here.line(), here.line()], ["here", "here"]);
    assert_eq!(
        value(&run(&session, python.code("result = 'between'"))),
        json!("between")
    );
    gate.release(2);
    for handle in both {
        assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!([2, 2]));
    }
    // What they may have is for all ranks together.
    let eats = with_comm(
        &python,
        "x = b'x' * (400 << 20) if t.rank else b''\ncomm.barrier()\ntime.sleep(600)",
    );
    let error = run(&session, eats.ranks(2).memory_mib(100)).error.unwrap();
    assert_eq!(error.code, Code::MemoryExceeded, "{error}");
    pilot.stop();
}

#[test]
fn programs_run_in_ranks() {
    with_each("--cores 4", |_, mpi, pilot, session| {
        let result = run(
            session,
            Task::shell("echo rank $SCALEMS_RANK of $SCALEMS_RANKS").ranks(3),
        );
        assert_eq!(result.error, None, "{}", mpi.name);
        let said = pilot
            .sh("scalems submit --ranks 3 --wait -- sh -c 'echo rank $SCALEMS_RANK of $SCALEMS_RANKS'")
            .well();
        assert_eq!(
            lines(said.out.as_bytes()),
            ["rank 0 of 3", "rank 1 of 3", "rank 2 of 3"],
            "{}",
            mpi.name
        );
        let line = "if [ $SCALEMS_RANK = 1 ]; then exit 3; fi";
        let error = run(session, Task::shell(line).ranks(2)).error.unwrap();
        assert_eq!(error.code, Code::ExitCode, "{}: {error}", mpi.name);
        let asked = Task::shell("sleep 600")
            .ranks(2)
            .time_limit(Duration::from_secs(1));
        let error = run(session, asked).error.unwrap();
        assert_eq!(error.code, Code::TimeLimit, "{}: {error}", mpi.name);
    });
}

#[test]
fn ranks_end_with_their_worker() {
    let Some((python, all)) = Python::with_mpi() else {
        return;
    };
    let Some(mpi) = all.first() else { return };
    let pilot = Pilot::start(&format!("--cores 2 --mpi {}", mpi.program.display()));
    let session = pilot.session();
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let code = format!(
        "worker = os.environ['SCALEMS_WORKER'].rsplit('-', 3)[1]\nwith open({:?}, 'w') as gate: gate.write(f'{{worker}} \
         {{os.getpid()}}\\n')\nif t.attempt == 1: comm.recv()\nresult = t.attempt",
        gate.path()
    );
    let handle = session.submit(with_comm(&python, &code).ranks(2)).unwrap();
    let numbers = |line: String| -> Vec<u32> { line.split(' ').map(|word| word.parse().unwrap()).collect() };
    let ranks = [numbers(gate.line()), numbers(gate.line())];
    let id = handle.id().unwrap();
    until_tasks(&session, id.submission, |counts| counts.running == 1);
    let worker = ranks[0][0];
    process::signal(worker, Signal::SIGKILL);
    for rank in ranks {
        assert!(process::wait_gone(rank[1], Instant::now() + PATIENCE));
    }
    assert_eq!(value(&handle.wait(PATIENCE).unwrap()), json!([2, 2]));
    // What it could not remove the next one has.
    let left = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with(&format!("scalems-{worker}-"))
    };
    assert!(!Path::new("/dev/shm").read_dir().unwrap().any(left));
    pilot.stop();
}

#[test]
fn what_keeps_ranks_from_running_is_said() {
    let Some((python, all)) = Python::with_mpi() else {
        return;
    };
    let fails = |session: &Session, task: Task, code: Code, texts: &[&str]| {
        let error = run(session, task).error.expect("it fails");
        assert_eq!(error.code, code, "{error}");
        assert!(texts.iter().all(|text| error.message.contains(text)), "{error}");
    };
    for (launcher, text) in [
        ("/no/such/mpiexec", "/no/such/mpiexec"),
        ("/bin/ls", "no launcher of Open MPI"),
    ] {
        let pilot = Pilot::start(&format!("--cores 4 --mpi {launcher}"));
        let session = pilot.session();
        for task in [python.code("result = 1"), Task::shell("true")] {
            fails(
                &session,
                task.ranks(2),
                Code::ImpossibleNeeds,
                &[text, "--mpi PATH", "2 ranks"],
            );
        }
        assert_eq!(value(&run(&session, python.code("result = 1"))), json!(1));
        pilot.stop();
    }
    let Some(mpi) = all.last() else { return };
    let pilot = Pilot::start(&format!("--cores 4 --mpi {}", mpi.program.display()));
    let session = pilot.session();
    let call = |more: Value| {
        let mut call = json!({"code": "result = 1", "comm": "comm"});
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        python.task("task.exec", call).ranks(2)
    };
    // Python's own way to say that a module is not there.
    let without = pilot.home.work().join("without");
    std::fs::create_dir(&without).unwrap();
    std::fs::write(
        without.join("sitecustomize.py"),
        "import sys\nsys.modules['mpi4py'] = None\n",
    )
    .unwrap();
    fails(
        &session,
        call(json!({"path": [without, python.modules]})),
        Code::WrongCall,
        &["pip install mpi4py", "of 2: task"],
    );
    fails(
        &session,
        call(json!({"comm": 5})),
        Code::WrongCall,
        &["comm is true"],
    );
    fails(
        &session,
        call(json!({"python": "/no/such/python"})),
        Code::NoInterpreter,
        &["/no/such/python", "2 ranks"],
    );
    fails(
        &session,
        call(json!({"cwd": "/no/such/directory"})),
        Code::WrongCall,
        &["/no/such/directory"],
    );
    fails(
        &session,
        Task::shell("true").ranks(5_000).cores(0),
        Code::ImpossibleNeeds,
        &["5000 ranks", "4096"],
    );
    // The library of one MPI, and the launcher of another.
    if all.len() > 1 {
        fails(
            &session,
            call(json!({"env": {"MPI4PY_LIBMPI": "libmpi.so.40"}})),
            Code::WrongCall,
            &["MPI sees 1 ranks where there are 2", "--mpi"],
        );
    }
    assert_eq!(value(&run(&session, call(json!({})))), json!([1, 1]));
    pilot.stop();
}
