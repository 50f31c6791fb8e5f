//! The data and the values of the modes that run programs.

use scalems_protocol::packed::Why;
use scalems_protocol::program::{Keep, Log, Logged, Program, ProgramResult, Stdin};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::file;
use crate::json::{hex, of_msgpack};
use crate::samples::labels;

fn programs() -> Vec<(&'static str, Program)> {
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let dock = || Program {
        argv: argv(&["./dock", "--seed", "%{INDEX}"]),
        ..Program::default()
    };
    vec![
        ("a program", dock()),
        (
            "a command line",
            Program {
                argv: argv(&["echo $HOME | wc -c"]),
                ..Program::default()
            },
        ),
        (
            "everything",
            Program {
                env: labels(&[("OMP_NUM_THREADS", "4")]),
                cwd: Some("/scratch/run".into()),
                stdin: Stdin::File("in.dat".into()),
                stdout: Some("out.log".into()),
                stderr: Some("err.log".into()),
                keep_output: Keep::Failed,
                log: Some(Log {
                    keep: Keep::Failed,
                    cap: 1_000_000,
                    rate: Some(4_096),
                }),
                ..dock()
            },
        ),
        (
            "given bytes to read",
            Program {
                stdin: Stdin::Data(ByteBuf::from(b"1 2\n".to_vec())),
                ..dock()
            },
        ),
    ]
}

fn values() -> Vec<(&'static str, ProgramResult)> {
    vec![
        (
            "ended by itself",
            ProgramResult {
                exit_code: Some(0),
                stdout: b"-7.25\n".to_vec(),
                stdout_bytes: 6,
                stderr: b"\xff".to_vec(),
                stderr_bytes: 100_000,
                host: "node-17".into(),
                cwd: "/scratch/run".into(),
                cpu_s: 1.5,
                wall_s: 1.75,
                peak_rss_kib: 20_480,
                ..ProgramResult::default()
            },
        ),
        (
            "logged",
            ProgramResult {
                exit_code: Some(1),
                stdout_bytes: 5_000,
                log: Some(Logged {
                    file: "/scratch/pilot/logs/node-17-1.0001.packed".into(),
                    from: 141,
                    last: "node-17-1.0002.packed".into(),
                    upto: 9_000,
                    stdout: 4_000,
                    stderr: 0,
                    lost: [(Why::Cap, 900), (Why::Disk, 100)].into(),
                    problem: "No space left on device (os error 28)".into(),
                }),
                ..ProgramResult::default()
            },
        ),
        (
            "ended by a signal",
            ProgramResult {
                signal: Some(9),
                ..ProgramResult::default()
            },
        ),
        (
            "ended for its memory",
            ProgramResult {
                signal: Some(9),
                peak_memory_kib: 2_097_152,
                ..ProgramResult::default()
            },
        ),
    ]
}

#[test]
fn modes() {
    let mut made: Vec<Value> = Vec::new();
    let mut add = |name: &str, what: &str, bytes: &[u8]| {
        made.push(json!({ "name": name, "what": what, "bytes": hex(bytes), "json": of_msgpack(bytes) }));
    };
    for (name, program) in programs() {
        let bytes = rmp_serde::to_vec_named(&program).expect("a program is written");
        assert_eq!(
            rmp_serde::from_slice::<Program>(&bytes).ok(),
            Some(program),
            "{name}"
        );
        add(name, "data", &bytes);
    }
    for (name, value) in values() {
        let bytes = rmp_serde::to_vec_named(&value).expect("a value is written");
        assert_eq!(
            rmp_serde::from_slice::<ProgramResult>(&bytes).ok(),
            Some(value),
            "{name}"
        );
        add(name, "value", &bytes);
    }
    let about = "Data and values of task.executable, task.proc and task.shell.";
    file::check("modes", about, &made);
}
