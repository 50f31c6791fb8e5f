//! The whole description of a task and what it was given, as JSON that the task can read.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use scalems_core::leaseholder::TaskLease;
use scalems_protocol::Amount;
use scalems_protocol::program::Program;
use scalems_protocol::task::{Needs, Policy};
use serde::Serialize;

/// What `SCALEMS_SELF` names.
#[derive(Serialize)]
struct Description<'a> {
    task: String,
    submission: u64,
    index: u32,
    offset: u32,
    attempt: u32,
    incarnation: u64,
    session: u64,
    request: u64,
    mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    labels: &'a std::collections::BTreeMap<String, String>,
    needs: &'a Needs,
    /// Which of several ways to run it these needs are.
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<u8>,
    policy: &'a Policy,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<serde_json::Value>,
    program: &'a Program,
    host: &'a str,
    cwd: &'a Path,
    cpus: &'a [u32],
    gpus: &'a [u32],
    /// How much of each of them is its own, where that is not all of them whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_shares: Option<&'a [Amount]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_shares: Option<&'a [Amount]>,
    memory_mib: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<&'a str>,
}

fn parts(shares: &[Amount]) -> Option<&[Amount]> {
    let whole = shares.iter().all(|share| share.is_whole());
    (!whole).then_some(shares)
}

/// The description in memory that a program inherits, and where the program finds it. `program` is the
/// task's data with its placeholders filled.
pub(super) fn describe(
    lease: &TaskLease,
    program: &Program,
    host: &str,
    cwd: &Path,
    deadline: Option<&str>,
) -> Result<(OwnedFd, OsString), Errno> {
    let (template, needs) = (&lease.template, lease.needs());
    let description = Description {
        task: lease.task.to_string(),
        submission: lease.task.submission,
        index: lease.task.index,
        offset: lease.offset,
        attempt: lease.attempt,
        incarnation: lease.incarnation,
        session: lease.origin.session,
        request: lease.origin.request,
        mode: &template.mode,
        uid: template.uid.as_deref(),
        name: template.name.as_deref(),
        labels: &template.labels,
        needs,
        variant: (!template.needs.variants.is_empty()).then_some(lease.variant),
        policy: &template.policy,
        // What has no form in JSON is left out; the submitter has it.
        meta: rmp_serde::from_slice(&template.meta).ok(),
        program,
        host,
        cwd,
        cpus: &lease.cpus,
        gpus: &lease.gpus,
        cpu_shares: parts(&lease.cpu_shares),
        gpu_shares: parts(&lease.gpu_shares),
        memory_mib: u64::from(needs.ranks).saturating_mul(needs.mem_per_rank),
        deadline,
    };
    let json = serde_json::to_vec(&description).map_err(|_| Errno::EILSEQ)?;
    let memory = memfd_create(c"scalems-self", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&json)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file.into(), path.into()))
}
