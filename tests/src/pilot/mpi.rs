//! What starts ranks in tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Python;

/// The launcher of an MPI.
pub struct Mpi {
    /// Whose it is.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
}

impl Mpi {
    /// Open MPI of this machine, and MPICH of the tests' own environment. Those that are not there are left out, if tests may be skipped.
    pub fn all() -> Vec<Self> {
        let all = [
            Self {
                name: "Open MPI",
                program: "mpiexec.openmpi".into(),
            },
            Self {
                name: "MPICH",
                program: Python::environment().join("bin/mpiexec"),
            },
        ];
        let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
        let there = |mpi: &Self| {
            let found = says_its_version(&mpi.program);
            assert!(
                found || may_skip,
                "{} is missing: run tests/run prepare",
                mpi.name
            );
            if !found {
                eprintln!("skipped: there is no {}", mpi.name);
            }
            found
        };
        all.into_iter().filter(there).collect()
    }
}

fn says_its_version(program: &Path) -> bool {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
