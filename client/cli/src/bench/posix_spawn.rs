//! What the system alone can do: starting a program and waiting for it, in threads that do nothing else.

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::interrupt;

/// The program that all are.
pub(super) const PROGRAM: &str = "/bin/true";
/// Threads: one for each core of the smallest machine that this is for; more do not help there.
const THREADS: u64 = 2;

/// How long so many programs take, one after another in each thread.
pub(super) fn run(count: u64) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || one_after_another((count + thread) / THREADS)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("invariant: it does not panic"))
    })?;
    Ok(begin.elapsed())
}

fn one_after_another(count: u64) -> anyhow::Result<()> {
    let program = CString::new(PROGRAM)?;
    let environment = std::env::vars_os().map(|(name, value)| {
        let variable = [name.into_vec(), value.into_vec()].join(&b'=');
        CString::new(variable).expect("invariant: the system's variables have no zero byte")
    });
    let environment: Vec<CString> = environment.collect();
    let (actions, attributes) = (PosixSpawnFileActions::init()?, PosixSpawnAttr::init()?);
    for _ in 0..count {
        interrupt::check()?;
        let pid = posix_spawn(
            program.as_c_str(),
            &actions,
            &attributes,
            &[&program],
            &environment,
        )
        .with_context(|| format!("start {PROGRAM}"))?;
        let status = waitpid(pid, None)?;
        anyhow::ensure!(
            matches!(status, WaitStatus::Exited(_, 0)),
            "{PROGRAM} ended badly: {status:?}"
        );
    }
    Ok(())
}
