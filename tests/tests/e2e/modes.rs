//! Modes that users register.

use scalems_client::protocol::Code;
use scalems_client::{ClientError, Task};
use scalems_tests::pilot::{Home, PATIENCE, Pilot, Python};
use serde_json::json;
use tempfile::TempDir;

use crate::functions::{beside, value};

const LAB: &str = "
import os
import scalems_pilot
from scalems_pilot import current_task

print('imported')

@scalems_pilot.mode('lab.fold')
def fold(data):
    return {'energy': -sum(data['charges']), 'uid': current_task().uid}

@scalems_pilot.mode('lab.say')
def say(data):
    print('said', data)

@scalems_pilot.mode('lab.fail')
def fail(data):
    raise ValueError('no fold of %r' % (data,))
";

/// A directory of modules, and the words that put it in front of a command.
struct Modules {
    directory: TempDir,
    python: Python,
}

impl Modules {
    fn new() -> Option<Self> {
        let python = Python::find()?;
        let directory = tempfile::tempdir().unwrap();
        Some(Self { directory, python })
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn env(&self) -> String {
        let (own, package) = (self.directory.path().display(), self.python.modules.display());
        format!("env PYTHONPATH={own}:{package}")
    }

    fn pilot(&self, options: &str) -> Pilot {
        let python = self.python.program.display();
        let pilot = Pilot::start_under(&self.env(), &format!("--python {python} {options}"));
        if !options.contains("--no-workers") {
            pilot.sh("scalems pilot wait --timeout 60s").well();
        }
        pilot
    }
}

#[test]
fn a_module_registers_modes() {
    let Some(modules) = Modules::new() else { return };
    let modules = modules.with("labmodes.py", LAB);
    let pilot = modules.pilot("--closed --mode-module labmodes");
    let info = pilot.sh("scalems pilot info").well();
    assert!(info.out.contains("lab.fold"), "{}", info.out);
    let session = pilot.session();
    let run = |mode: &str, data: serde_json::Value| {
        let task = Task::new(mode).encode(&data).unwrap();
        session.submit(task).unwrap().wait(PATIENCE).unwrap()
    };
    for charge in 1..4 {
        let result = run("lab.fold", json!({"charges": [charge, 2]}));
        let uid = result.id.unwrap().to_string();
        assert_eq!(value(&result), json!({"energy": -charge - 2, "uid": uid}));
    }
    assert_eq!(beside(&run("lab.say", json!(7))).stdout, b"said 7\n");
    let error = run("lab.fail", json!([1])).error.unwrap();
    assert_eq!(error.code, Code::Exception);
    assert!(error.message.contains("ValueError: no fold of [1]"), "{error}");
    let empty = session
        .submit(Task::new("lab.say"))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    assert_eq!(beside(&empty).stdout, b"said None\n", "without data it is nil");
    // Other calls of this Python run beside them.
    let call = json!({"function": "math:sqrt", "args": [4]});
    assert_eq!(value(&run("task.function", call)), json!(2.0));
    let body = Task::new("lab.say").body(vec![0xc0]);
    let error = session
        .submit(body)
        .unwrap()
        .wait(PATIENCE)
        .unwrap()
        .error
        .unwrap();
    assert_eq!(error.code, Code::WrongData);
    let refused = session.submit(Task::new("lab.none")).unwrap().wait(PATIENCE);
    assert!(
        matches!(&refused, Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::UnknownMode),
        "{refused:?}"
    );
    pilot.stop();
}

#[test]
fn packages_that_are_installed_register_modes() {
    let Some(modules) = Modules::new() else { return };
    let modules = modules
        .with("lab/__init__.py", "def twice(data): return 2 * data\n")
        .with(
            "lab/more.py",
            "import scalems_pilot\n@scalems_pilot.mode('lab.more')\ndef more(data): return data + 1\n",
        )
        .with(
            "lab-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: lab\nVersion: 1.0\n",
        )
        .with(
            "lab-1.0.dist-info/entry_points.txt",
            "[scalems.modes]\nlab.twice = lab:twice\nmore = lab.more\n",
        );
    let pilot = modules.pilot("--installed-modes");
    let session = pilot.session();
    for (mode, expected) in [("lab.twice", 42), ("lab.more", 22)] {
        let task = Task::new(mode).encode(&21).unwrap();
        let result = session.submit(task).unwrap().wait(PATIENCE).unwrap();
        assert_eq!(value(&result), json!(expected), "{mode}");
    }
    pilot.stop();
}

#[test]
fn a_worker_whose_modes_cannot_be_had_does_not_start() {
    let Some(modules) = Modules::new() else { return };
    let one = "import scalems_pilot\n@scalems_pilot.mode('lab.one')\ndef one(data): return 1\n";
    let named = |name: &str| {
        format!("import scalems_pilot\n@scalems_pilot.mode({name:?})\ndef one(data): return 1\n")
    };
    let modules = modules
        .with("first.py", one)
        .with("second.py", one)
        .with("broken.py", "def f():\n    raise OSError('no licence')\nf()\n")
        .with("ours.py", &named("task.mine"))
        .with("blank.py", &named("a b"))
        .with("ends.py", "import os\nos._exit(3)\n");
    let pilot = modules.pilot("--no-workers");
    let python = modules.python.program.display();
    for (options, texts) in [
        (
            "--mode-module no_such_module",
            &["modes of", "No module named 'no_such_module'"][..],
        ),
        ("--mode-module broken", &["line 2, in f", "OSError: no licence"]),
        (
            "--mode-module first --mode-module second",
            &["mode lab.one is registered twice: as first:one and as second:one"],
        ),
        ("--mode-module ours", &["'task.mine' is no name for a mode"]),
        ("--mode-module blank", &["'a b' is no name for a mode"]),
        ("--mode-module ends", &["exit status: 3"]),
    ] {
        let line = format!(
            "{} scalems worker start --python {python} {options}",
            modules.env()
        );
        pilot.sh(&line).fails(1, texts);
    }
    let wrong = pilot.sh("scalems worker start --mode-module ./labmodes.py");
    wrong.fails(2, &["as an import has it"]);
    let bare = "scalems worker start --python /no/such/python --mode-module first";
    pilot
        .sh(bare)
        .fails(1, &["/no/such/python cannot be asked for its modes"]);
    pilot.stop();
}

#[test]
fn workers_of_a_job_are_told_of_modes_and_the_agent_of_filters() {
    let home = Home::new();
    home.write("f.toml", "name = \"f\"\nrun = [\"true\"]\n");
    let script = home
        .sh("scalems pilot submit --batch slurm --time 1h --mode-module lab.modes --installed-modes --filter f.toml --dry-run")
        .well();
    let here = home.work().canonicalize().unwrap();
    for words in [
        "--mode-module=lab.modes",
        "--installed-modes",
        &format!("--filter {}/f.toml", here.display()),
    ] {
        assert!(script.out.contains(words), "{words}:\n{}", script.out);
    }
}
