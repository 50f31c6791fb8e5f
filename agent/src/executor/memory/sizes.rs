//! How much memory a process has: what only it, or something else that runs, can give back. Pages of files are not counted, since
//! the kernel drops those by itself when room is short.

/// From `/proc/PID/status`: what a process has in its own pages, in shared memory and swapped out, bytes. What it shares with others
/// is counted in full, so a sum over processes is too large, and never too small. It takes no lock of the process.
pub(super) fn at_most(status: &str) -> Option<u64> {
    sum(status, ["RssAnon:", "RssShmem:", "VmSwap:"])
}

/// From `/proc/PID/smaps_rollup`: the same, with shared pages divided among those who share them.
pub(super) fn exact(rollup: &str) -> Option<u64> {
    sum(rollup, ["Pss_Anon:", "Pss_Shmem:", "SwapPss:"])
}

fn sum(text: &str, fields: [&str; 3]) -> Option<u64> {
    let mut found = None;
    for line in text.lines() {
        let Some(rest) = fields.iter().find_map(|field| line.strip_prefix(field)) else {
            continue;
        };
        let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
        found = Some(found.unwrap_or(0) + (kib << 10));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_what_the_kernel_writes() {
        let status = "Name:\tsh\nVmRSS:\t    5000 kB\nRssAnon:\t     120 kB\nRssFile:\t    4860 kB\nRssShmem:\t      20 kB\nVmSwap:\t       4 kB\n";
        assert_eq!(at_most(status), Some(144 << 10));
        let rollup = "00400000-7fff0000 ---p 00000000 00:00 0    [rollup]\nRss:     5000 kB\nPss:     900 kB\nPss_Anon:      60 kB\nPss_File:     800 kB\nPss_Shmem:     10 kB\nSwapPss:        2 kB\n";
        assert_eq!(exact(rollup), Some(72 << 10));
        assert_eq!(at_most("Name:\tkthreadd\n"), None, "a process without memory");
        assert_eq!(exact(""), None);
    }

    #[test]
    fn this_process_has_memory_of_its_own() {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap();
        let most = at_most(&read("status")).unwrap();
        assert!(most > 100_000, "{most}");
        assert!(exact(&read("smaps_rollup")).is_some());
    }
}
