//! Programs as tasks: what they find, what is told of them, and what ends them.

use std::collections::BTreeMap;
use std::fs;

use scalems_agent::worker::WorkerOptions;
use scalems_protocol::program::{self, Program, ProgramResult, Stdin};
use scalems_protocol::state::Strength;
use scalems_protocol::task::{Needs, Policy, Template};
use scalems_protocol::{Code, Ending};

use crate::fake_agent::{FakeAgent, Worker, argv, directory, joined, leave, options, run, template};

fn shell(line: &str) -> Program {
    argv(["/bin/sh", "-c", line])
}

fn lines(result: &ProgramResult) -> BTreeMap<String, String> {
    let text = String::from_utf8(result.stdout.clone()).unwrap();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

#[test]
fn a_program_finds_what_it_needs_around_it() {
    let directory = directory();
    let mut agent = FakeAgent::start(directory.path());
    let worker = Worker::start_with(WorkerOptions {
        cores: Some(2),
        gpus: Some(2),
        ..options(directory.path())
    });
    agent.welcome();
    let needs = Needs {
        cores_per_rank: 2.into(),
        gpus_per_rank: 1.into(),
        ..Needs::default()
    };
    let policy = Policy {
        time_limit_ms: 60_000,
        ..Policy::default()
    };
    let mut program = shell("env; cat $SCALEMS_SELF >self.json");
    program.env = BTreeMap::from([("MINE".into(), "%{TASK}".into())]);
    let template = Template {
        needs,
        policy,
        name: Some("dock".into()),
        ..template(program::EXECUTABLE)
    };
    agent.lease_program(template, 5, &program);
    let (group, value) = agent.hear_result();
    assert_eq!(
        (group.ending, group.exit_code, group.error),
        (Ending::Done, Some(0), None)
    );
    let result: ProgramResult = rmp_serde::from_slice(&value).unwrap();
    let env = lines(&result);
    for (name, expected) in [
        ("SCALEMS_TASK", "5.0"),
        ("SCALEMS_SUBMISSION", "5"),
        ("SCALEMS_INDEX", "0"),
        ("SCALEMS_ATTEMPT", "1"),
        ("SCALEMS_RANK", "0"),
        ("SCALEMS_GPUS", "0"),
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("OMP_NUM_THREADS", "2"),
        ("MINE", "5.0"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(expected), "{name}");
    }
    assert!(env["SCALEMS_DEADLINE"].parse::<f64>().unwrap() > 1.7e9);
    assert!(env.contains_key("PATH") && env.contains_key("SCALEMS_WORKER"));
    let cwd = directory.path().join("tasks/5.0/1.1");
    assert_eq!(
        (result.cwd.as_str(), &env["PWD"]),
        (cwd.to_str().unwrap(), &result.cwd)
    );
    let own: serde_json::Value = serde_json::from_slice(&fs::read(cwd.join("self.json")).unwrap()).unwrap();
    assert_eq!(
        (
            own["task"].as_str(),
            own["name"].as_str(),
            own["incarnation"].as_u64()
        ),
        (Some("5.0"), Some("dock"), Some(1))
    );
    assert_eq!(
        (own["gpus"][0].as_u64(), own["cpus"].as_array().unwrap().len()),
        (Some(0), 2)
    );
    assert_eq!(own["program"]["env"]["MINE"].as_str(), Some("5.0"));
    leave(agent, worker);
}

#[test]
fn our_variables_are_not_to_be_set() {
    let (_directory, mut agent, worker) = joined();
    let mut program = shell("true");
    program.env = BTreeMap::from([("SCALEMS_WORKER".into(), "forged".into())]);
    agent.lease_program(template(program::EXECUTABLE), 5, &program);
    let (group, _) = agent.hear_result();
    let error = group.error.unwrap();
    assert_eq!((group.ending, error.code), (Ending::Failed, Code::InvalidValue));
    assert!(error.message.contains("SCALEMS_WORKER"), "{error}");
    leave(agent, worker);
}

#[test]
fn files_and_placeholders_lead_where_they_say() {
    let (directory, mut agent, worker) = joined();
    let place = directory.path().join("user's 5");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("in-0"), "from a file\n").unwrap();
    let at = place.to_str().unwrap().replace('5', "%{SUBMISSION}");
    let program = Program {
        cwd: Some(at.clone()),
        stdin: Stdin::File("in-%{INDEX}".into()),
        stdout: Some("out-%{TASK}.%{ATTEMPT}".into()),
        stderr: Some("out-%{TASK}.%{ATTEMPT}".into()),
        ..argv([
            "/bin/sh",
            "-c",
            "cat; echo $1 $2 >&2",
            "sh",
            "%{CWD}",
            "%%{INDEX}",
        ])
    };
    let (group, result) = agent.run(5, &program);
    assert_eq!(group.ending, Ending::Done, "{group:?}");
    let written = fs::read_to_string(place.join("out-5.0.1")).unwrap();
    assert!(
        written.starts_with("from a file\n") && written.ends_with("%{INDEX}\n"),
        "{written}"
    );
    assert_eq!(result.stdout, written.as_bytes());
    // In a shell's line the directory is one word, whatever is in its name.
    let program = Program {
        argv: vec!["ls %{CWD} | head -1; read x; echo $x".into()],
        cwd: Some(at),
        ..Program::default()
    };
    let program = Program {
        stdin: Stdin::Data(b"bytes\n".to_vec().into()),
        ..program
    };
    agent.lease_program(template(program::SHELL), 5, &program);
    let result: ProgramResult = rmp_serde::from_slice(&agent.hear_result().1).unwrap();
    assert_eq!(String::from_utf8_lossy(&result.stdout), "in-0\nbytes\n");
    leave(agent, worker);
}

#[test]
fn what_went_wrong_is_said_with_a_code_and_the_reason() {
    let (_directory, mut agent, worker) = joined();
    let missing_directory = Program {
        cwd: Some("/nonexistent/x".into()),
        ..argv(["ls"])
    };
    let placeholder = Program {
        stdout: Some("%{RANK}".into()),
        ..argv(["ls"])
    };
    let full = Program {
        stdout: Some("/dev/full".into()),
        ..shell("echo lost")
    };
    for (program, code, retryable, words) in [
        (
            shell("echo oops >&2; exit 3"),
            Code::ExitCode,
            true,
            "exit code 3; its stderr ends with \"oops\"",
        ),
        (shell("kill -KILL $$"), Code::Signal, true, "signal 9 (SIGKILL)"),
        (
            argv(["no-such-program"]),
            Code::NotStarted,
            false,
            "\"no-such-program\" is not in PATH",
        ),
        (missing_directory, Code::NotStarted, false, "/nonexistent/x"),
        (placeholder, Code::WrongPlaceholder, false, "%{RANK}"),
        (Program::default(), Code::WrongData, false, "argv is empty"),
        (full, Code::TaskFailed, true, "could be written only up to byte 0"),
    ] {
        let (group, result) = agent.run(1, &program);
        let error = group.error.unwrap();
        assert_eq!(
            (group.ending, error.code, error.retryable),
            (Ending::Failed, code, retryable),
            "{error}"
        );
        assert!(
            error.message.contains(words) && error.message.contains("task 1.0"),
            "{error}"
        );
        let by_itself = code == Code::ExitCode;
        assert_eq!(
            (group.exit_code == Some(3), result.exit_code == Some(3)),
            (by_itself, by_itself)
        );
        assert_eq!(result.signal.is_some(), code == Code::Signal);
    }
    agent.lease(template(program::EXECUTABLE), run(2, 0, 1), "garbage");
    assert_eq!(agent.hear_result().0.error.unwrap().code, Code::WrongData);
    leave(agent, worker);
}

#[test]
fn a_program_is_asked_to_end_or_killed() {
    let (_directory, mut agent, worker) = joined();
    let polite = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    let stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done");
    for (program, strength) in [
        (&polite, Strength::Request),
        (&stubborn, Strength::Kill),
        (&stubborn, Strength::Request),
    ] {
        let policy = Policy {
            grace_ms: 300,
            ..Policy::default()
        };
        agent.lease_program(
            Template {
                policy,
                ..template(program::EXECUTABLE)
            },
            1,
            program,
        );
        assert_eq!(agent.hear_report().0.started, [run(1, 0, 1)]);
        agent.revoke(run(1, 0, 1), strength);
        let (group, _) = agent.hear_result();
        assert_eq!(
            (group.ending, group.error.unwrap().code),
            (Ending::Canceled, Code::Canceled)
        );
    }
    let policy = Policy {
        time_limit_ms: 50,
        grace_ms: 50,
        ..Policy::default()
    };
    agent.lease_program(
        Template {
            policy,
            ..template(program::EXECUTABLE)
        },
        1,
        &stubborn,
    );
    let (group, value) = agent.hear_result();
    assert_eq!(
        (group.ending, group.error.unwrap().code),
        (Ending::Failed, Code::TimeLimit)
    );
    let result: ProgramResult = rmp_serde::from_slice(&value).unwrap();
    assert!(result.wall_s >= 0.09, "it had its grace time");
    leave(agent, worker);
}

#[test]
fn tasks_are_told_apart_and_share_the_cores() {
    let (_directory, mut agent, worker) = joined();
    let data =
        rmp_serde::to_vec_named(&argv(["/bin/sh", "-c", "echo $SCALEMS_INDEX $SCALEMS_CPUS"])).unwrap();
    agent.lease(template(program::EXECUTABLE), run(1, 0, 20), data);
    let mut seen = Vec::new();
    while seen.len() < 20 {
        let (report, blobs) = agent.hear_report();
        for group in report.results {
            let data = group.place.take(1, &blobs).unwrap();
            let result: ProgramResult = rmp_serde::from_slice(&data.of(0)).unwrap();
            let text = String::from_utf8(result.stdout).unwrap();
            assert_eq!(
                text.split_whitespace().next(),
                Some(group.run.lo.to_string().as_str())
            );
            seen.push(group.run.lo);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    leave(agent, worker);
}
