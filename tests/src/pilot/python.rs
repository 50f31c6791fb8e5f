//! The Python that functions of tests run in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use scalems_client::Task;
use serde_json::{Value, json};

use super::Mpi;

/// One that has what an interpreter needs.
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// Where `scalems_pilot` is.
    pub modules: PathBuf,
}

impl Python {
    /// The one of the tests' own environment, or `python3`. None: there is none, and tests may be skipped.
    pub fn find() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let candidates = [Self::environment().join("bin/python"), "python3".into()];
        let modules = root
            .join("client/python/python")
            .canonicalize()
            .expect("the package is there");
        let found = candidates.into_iter().find(|program| {
            let mut command = Command::new(program);
            command.args(["-c", "import cloudpickle, msgpack"]);
            let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        });
        let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
        assert!(
            found.is_some() || may_skip,
            "there is no Python with msgpack and cloudpickle: run tests/run prepare"
        );
        if found.is_none() {
            eprintln!("skipped: there is no Python with msgpack and cloudpickle");
        }
        found.map(|program| Self { program, modules })
    }

    /// The tests' own environment, which may be missing.
    pub(super) fn environment() -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        std::env::var_os("SCALEMS_VENV").map_or_else(|| root.join("target/venv"), PathBuf::from)
    }

    /// The same one for tasks in ranks, and the launchers of each MPI that is there. None if it has no mpi4py, and tests may be skipped.
    pub fn with_mpi() -> Option<(Self, Vec<Mpi>)> {
        let python = Self::find()?;
        let mut command = Command::new(&python.program);
        command.args(["-c", "import mpi4py"]).stderr(Stdio::null());
        let has = command
            .stdin(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
        assert!(has || may_skip, "there is no mpi4py: run tests/run prepare");
        if !has {
            eprintln!("skipped: there is no Python with mpi4py");
        }
        has.then(|| (python, Mpi::all()))
    }

    /// Another version of Python with the same modules, as far as they are of Python alone.
    pub fn of_version(&self, version: &str) -> Option<Self> {
        let ask = |program: &Path, code: &str, path: &str| {
            let mut command = Command::new(program);
            command
                .args(["-c", code])
                .env("PYTHONPATH", path)
                .stderr(Stdio::null());
            let output = command.stdin(Stdio::null()).output().ok()?;
            let said = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| said.trim().to_owned())
        };
        let site = "import msgpack, os; print(os.path.dirname(os.path.dirname(msgpack.__file__)))";
        // Those of the sources before what may be installed there.
        let modules = format!("{}:{}", self.modules.display(), ask(&self.program, site, "")?);
        // Those that a version manager keeps, too.
        let home = PathBuf::from(std::env::var_os("HOME")?).join(".pyenv/versions");
        let kept = std::fs::read_dir(home).into_iter().flatten().flatten();
        let kept = kept.map(|entry| entry.path().join("bin").join(format!("python{version}")));
        let works = |program: &PathBuf| ask(program, "import msgpack, cloudpickle", &modules).is_some();
        let program = kept
            .chain([PathBuf::from(format!("python{version}"))])
            .find(works)?;
        Some(Self {
            program,
            modules: modules.into(),
        })
    }

    /// What a call says of where it runs, and `more`.
    pub fn call(&self, more: Value) -> Value {
        let mut call = json!({"python": self.program, "path": [self.modules]});
        let Value::Object(more) = more else {
            panic!("a call is a map");
        };
        call.as_object_mut().expect("it is one").extend(more);
        call
    }

    /// A call with its arguments, as a task.
    pub fn task(&self, mode: &str, call: Value) -> Task {
        Task::new(mode)
            .encode(&self.call(call))
            .expect("JSON is msgpack too")
    }

    /// Statements to run.
    pub fn code(&self, code: &str) -> Task {
        self.task("task.exec", json!({"code": code}))
    }
}
