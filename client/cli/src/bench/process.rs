//! What the system knows of a process: processor time, memory, context switches.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use nix::unistd::{SysconfVar, sysconf};

/// Processor time that a process has used, without its children's, in the system's ticks.
pub(super) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name, in parentheses, may have blanks itself. What follows it begins with field 3.
    let fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace());
    let ticks: u64 = fields
        .into_iter()
        .flatten()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the system does not say how long a tick is")?;
    Ok(Duration::from_secs_f64(ticks as f64 / per_second as f64))
}

/// Processor time that this process has used, exactly.
pub(super) fn own_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |time: TimeVal| Duration::from_micros(time.num_microseconds() as u64);
    Ok(time(usage.user_time()) + time(usage.system_time()))
}

/// A process's memory now and at most, bytes.
pub(super) fn memory(pid: u32) -> anyhow::Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let bytes = |name| {
        number(&text, name)
            .map(|kib| kib << 10)
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok((bytes("VmRSS")?, bytes("VmHWM")?))
}

/// What an idle process still does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    /// Processor time of its threads.
    pub(super) cpu: Duration,
    /// How often they began or ceased to run.
    pub(super) switches: u64,
}

/// What the threads of a process have done, for one whose threads do not end in between: far more exact than
/// [`cpu`] where the system counts it.
pub(super) fn activity(pid: u32) -> anyhow::Result<Activity> {
    let mut activity = Activity::default();
    let mut exact = Some(Duration::ZERO);
    let path = format!("/proc/{pid}/task");
    for thread in fs::read_dir(&path).with_context(|| format!("read {path}"))? {
        let thread = thread?.path();
        let status = fs::read_to_string(thread.join("status"))?;
        activity.switches += ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]
            .iter()
            .filter_map(|name| number(&status, name))
            .sum::<u64>();
        let ran = fs::read_to_string(thread.join("schedstat")).ok();
        let ran = ran
            .as_deref()
            .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
        exact = exact.zip(ran).map(|(sum, ran)| sum + Duration::from_nanos(ran));
    }
    activity.cpu = exact.map_or_else(|| cpu(pid), Ok)?;
    Ok(activity)
}

/// The first number in the line that has this name.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let me = std::process::id();
        let (now, most) = memory(me).unwrap();
        // The kernel counts them apart: one may be a little behind the other.
        assert!(now > 0 && most > 0);
        let before = (cpu(me).unwrap(), own_cpu().unwrap(), activity(me).unwrap());
        let mut sum = 0_u64;
        while own_cpu().unwrap() < before.1 + Duration::from_millis(50) {
            sum = std::hint::black_box(sum + 1);
        }
        // The other tests' threads only add to it.
        assert!(cpu(me).unwrap() > before.0);
        assert!(activity(me).unwrap().switches > 0);
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nVmRSS:\t  12 kB\n";
        assert_eq!(number(text, "voluntary_ctxt_switches"), Some(3));
        assert_eq!(number(text, "VmRSS"), Some(12));
        assert_eq!(number(text, "VmHWM"), None);
    }
}
