//! Tasks in several ranks inside a job of Slurm.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use scalems_client::protocol::function::Beside;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::{Code, Ending};
use scalems_client::{Session, Task, TaskResult};
use scalems_tests::pilot::{PATIENCE, Python, until_tasks};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// A Python that nodes see, wherever the tests' own environment lies: its interpreter, and what it needs, copied.
fn python_on_nodes(python: &Python, cluster: &Cluster) -> (String, PathBuf) {
    let modules = cluster.home.path().with_file_name("modules");
    std::fs::create_dir(&modules).unwrap();
    let code = "import os, sys, msgpack, cloudpickle, mpi4py\nprint(os.path.realpath(sys.executable))\n\
        for module in (msgpack, cloudpickle, mpi4py): print(os.path.dirname(module.__file__))";
    let output = Command::new(&python.program).args(["-c", code]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut said = text.lines();
    let program = said.next().unwrap().to_owned();
    let package = python.modules.join("scalems_pilot");
    for from in said.map(Path::new).chain([package.as_path()]) {
        let status = Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(&modules)
            .status()
            .unwrap();
        assert!(status.success(), "{}", from.display());
    }
    (program, modules)
}

fn run(session: &Session, task: Task) -> TaskResult {
    session.submit(task).unwrap().wait(PATIENCE).unwrap()
}

#[track_caller]
fn value(result: &TaskResult) -> Value {
    assert_eq!(result.error, None);
    rmp_serde::from_slice(Beside::split(&result.value).unwrap().1).unwrap()
}

#[test]
fn ranks_run_inside_a_job() {
    let Some((python, _)) = Python::with_mpi() else {
        return;
    };
    let cluster = Cluster::with("--nodes 1");
    let (program, modules) = python_on_nodes(&python, &cluster);
    let code = |code: &str, more: Value| {
        let mut call = json!({"python": program, "path": [modules], "code": code});
        call.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Task::new("task.exec").encode(&call).unwrap()
    };
    let numbered = "import os\nresult = [int(os.environ['SCALEMS_RANK']), os.uname().nodename]";
    let expected = json!([[0, "n1"], [1, "n1"], [2, "n1"]]);
    // Its own launcher knows the job, and is not to use it.
    let session = cluster.pilot("--nodes 1 --time 10m --mpi mpiexec.openmpi", 1);
    let sum = "import os\nresult = comm.allreduce(comm.Get_rank() + 1)";
    assert_eq!(
        value(&run(&session, code(sum, json!({"comm": "comm"})).ranks(3))),
        json!([6, 6, 6])
    );
    assert_eq!(
        value(&run(&session, code(numbered, json!({})).ranks(3))),
        expected
    );
    drop(session);
    cluster.sh("scalems pilot stop").well();
    assert_eq!(cluster.until_over(&cluster.job()), "COMPLETED");
    // Slurm's starts them as a step beside the worker's.
    let session = cluster.pilot("--nodes 1 --time 10m --mpi srun", 1);
    assert_eq!(
        value(&run(&session, code(numbered, json!({})).ranks(3))),
        expected
    );
    let said = cluster
        .sh("scalems submit --ranks 2 --wait -- sh -c 'echo $SCALEMS_RANK of $SCALEMS_RANKS'")
        .well();
    assert!(
        said.out.contains("0 of 2\n") && said.out.contains("1 of 2\n"),
        "{said:?}"
    );
    let failing = code(
        "import os, time\nif os.environ['SCALEMS_RANK'] == '1': os._exit(3)\ntime.sleep(600)",
        json!({}),
    );
    let error = run(&session, failing.ranks(2)).error.unwrap();
    assert_eq!(
        (error.code, error.rank),
        (Code::InterpreterEnded, Some(1)),
        "{error}"
    );
    let sleeping = code("import time\ntime.sleep(600)", json!({})).ranks(2);
    let handle = session
        .submit(sleeping.grace(Duration::from_millis(100)))
        .unwrap();
    session.wait_accepted(PATIENCE).unwrap();
    until_tasks(&session, handle.id().unwrap().submission, |counts| {
        counts.running == 1
    });
    handle.cancel(Strength::Kill).unwrap().wait(PATIENCE).unwrap();
    assert_eq!(handle.wait(PATIENCE).unwrap().ending, Ending::Canceled);
    // They are not the worker's own, and end with the task all the same.
    let until_gone = "import os, time\n\
        def left(pid):\n  try: return b'interpreter.ranks' in open(f'/proc/{pid}/cmdline', 'rb').read()\n  except OSError: return False\n\
        while any(left(pid) for pid in os.listdir('/proc') if pid.isdigit()): time.sleep(0.02)\nresult = 'gone'";
    assert_eq!(value(&run(&session, code(until_gone, json!({})))), json!("gone"));
    drop(session);
    cluster.sh("scalems pilot stop").well();
    cluster.home.until_empty();
}
