//! What a program finds when it starts.

use std::fs;
use std::os::fd::AsRawFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use scalems_agent::executor::{Exit, Limit, ProgramSpec, Resource, Stdin};

use super::rig::{Rig, shell, text};

#[test]
fn its_exit_code_is_reported() {
    let mut rig = Rig::new();
    for code in [0, 1, 2, 42, 127, 255] {
        assert_eq!(rig.run(shell(&format!("exit {code}"))).exit, Exit::Exited(code));
    }
}

#[test]
fn every_fatal_signal_is_reported() {
    let mut rig = Rig::new();
    let harmless = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH];
    let stopping = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
    let signals = (1..=31).chain([libc::SIGRTMIN(), libc::SIGRTMAX()]);
    for signal in signals.filter(|signal| !harmless.contains(signal) && !stopping.contains(signal)) {
        let outcome = rig.run(shell(&format!("kill -{signal} $$; exit 3")));
        assert_eq!(outcome.exit, Exit::Signaled(signal));
    }
}

#[test]
fn its_arguments_are_exactly_those_given() {
    let odd = ["", " ", "a b", "$HOME", "*", "'\"", "\n", "-n", "ümläut"];
    let mut spec = ProgramSpec::new(["printf", "<%s>"].into_iter().chain(odd));
    spec.env.push(("PATH".into(), "/usr/bin:/bin".into()));
    let expected: String = odd.iter().flat_map(|word| ["<", word, ">"]).collect();
    assert_eq!(text(&Rig::new().run(spec)), expected);
}

#[test]
fn argv0_may_differ_from_the_program() {
    let mut spec = ProgramSpec::new(["another name", "-c", "echo $0"]);
    spec.program = Some("/bin/sh".into());
    assert_eq!(text(&Rig::new().run(spec)), "another name\n");
}

#[test]
fn its_environment_is_exactly_that_given() {
    let mut spec = ProgramSpec::new(["/usr/bin/env"]);
    let variables = [
        ("B", "2"),
        ("A", "1"),
        ("EMPTY", ""),
        ("EQUALS", "a=b=c"),
        ("LINES", "x\ny"),
    ];
    spec.env = variables.map(|(name, value)| (name.into(), value.into())).into();
    assert_eq!(
        text(&Rig::new().run(spec)),
        "B=2\nA=1\nEMPTY=\nEQUALS=a=b=c\nLINES=x\ny\n"
    );
}

#[test]
fn no_descriptor_of_the_worker_reaches_it() {
    let mut rig = Rig::new();
    // One that is not closed by exec, as a careless library opens it.
    // SAFETY: duplicates standard error; the copy is closed below.
    let leaked = unsafe { libc::dup(2) };
    let listed = rig.output("ls /proc/self/fd");
    // SAFETY: the copy made above.
    unsafe { libc::close(leaked) };
    // The fourth is what `ls` reads the directory by.
    assert_eq!(listed, "0\n1\n2\n3\n");
}

#[test]
fn it_inherits_the_descriptor_it_is_told_of_and_no_other() {
    let file = memfd_create(c"self", MFdFlags::MFD_CLOEXEC).unwrap();
    nix::unistd::write(&file, b"resources").unwrap();
    let number = file.as_raw_fd();
    let mut spec = shell("cat $SCALEMS_SELF; ls /proc/self/fd");
    spec.env
        .push(("SCALEMS_SELF".into(), format!("/proc/self/fd/{number}").into()));
    spec.inherit = Some(file);
    let said = text(&Rig::new().run(spec));
    let listed = said.strip_prefix("resources").unwrap();
    let mut numbers: Vec<i32> = listed.lines().map(|line| line.parse().unwrap()).collect();
    // `ls` reads by the lowest free number.
    let lowest = if number == 3 { 4 } else { 3 };
    let mut expected = vec![0, 1, 2, number, lowest];
    numbers.sort_unstable();
    expected.sort_unstable();
    assert_eq!(numbers, expected);
}

#[test]
fn signals_are_as_a_program_expects_them() {
    let status = Rig::new().output("cat /proc/self/status");
    for line in ["SigBlk:", "SigIgn:", "SigCgt:", "SigPnd:"] {
        let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        // Signals 32 and 33 are the C library's own: it lets nobody set them, whatever was inherited.
        let set = u64::from_str_radix(found.trim(), 16).unwrap() & !(0b11 << 31);
        assert_eq!(set, 0, "{line} {set:016x}");
    }
}

#[test]
fn it_leads_a_process_group_of_its_own() {
    let mut rig = Rig::new();
    let key = rig.start(shell("cut -d' ' -f5 /proc/self/stat"));
    let pid = rig.started(key);
    assert_eq!(text(&rig.ended(key)), format!("{pid}\n"));
}

#[test]
fn it_runs_on_the_cpus_it_was_given() {
    let mut rig = Rig::new();
    let all = rig.output("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(
        all,
        grep(&fs::read_to_string("/proc/self/status").unwrap()),
        "unpinned: where the worker may"
    );
    let last: usize = all
        .trim()
        .rsplit(['\t', ',', '-'])
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let mut spec = shell("grep Cpus_allowed_list /proc/self/status");
    spec.cpus = vec![last];
    assert_eq!(text(&rig.run(spec)), format!("Cpus_allowed_list:\t{last}\n"));
    // Nor does pinning one change where the next runs.
    assert_eq!(rig.output("grep Cpus_allowed_list /proc/self/status"), all);
}

fn grep(status: &str) -> String {
    status
        .lines()
        .filter(|line| line.contains("Cpus_allowed_list"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[test]
fn its_limits_are_those_given() {
    let mut rig = Rig::new();
    assert_eq!(rig.output("ulimit -c"), "0\n", "no core files unless asked for");
    let mut spec = shell("ulimit -n; ulimit -Hn; ulimit -t");
    spec.limits = vec![
        Limit {
            resource: Resource::OpenFiles,
            soft: 64,
            hard: 128,
        },
        Limit::both(Resource::CpuTime, 99),
    ];
    assert_eq!(text(&rig.run(spec)), "64\n128\n99\n");
}

#[test]
fn it_runs_in_its_directory_which_can_be_made() {
    let mut rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let wanted = directory.path().canonicalize().unwrap().join("a/b");
    let mut spec = shell("/bin/pwd");
    spec.cwd = Some(wanted.clone());
    spec.create_cwd = true;
    assert_eq!(text(&rig.run(spec)), format!("{}\n", wanted.display()));
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        rig.output("/bin/pwd"),
        format!("{}\n", here.display()),
        "the worker itself has not moved"
    );
}

#[test]
fn a_relative_program_is_seen_from_its_directory() {
    let mut spec = ProgramSpec::new(["bin/sh", "-c", "echo yes"]);
    spec.cwd = Some("/".into());
    assert_eq!(text(&Rig::new().run(spec)), "yes\n");
}

#[test]
fn it_reads_nothing_unless_given_something() {
    let mut rig = Rig::new();
    assert_eq!(rig.output("cat; readlink /proc/self/fd/0"), "/dev/null\n");
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    fs::write(&input, "from a file").unwrap();
    let mut spec = shell("cat");
    spec.stdin = Stdin::File(input);
    assert_eq!(text(&rig.run(spec)), "from a file");
}

#[test]
fn what_it_used_is_measured() {
    let mut spec = shell("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
    spec.env.clear();
    spec.program = Some("/bin/sh".into());
    let outcome = Rig::new().run(spec);
    assert!(outcome.cpu_seconds > 0.01, "{outcome:?}");
    assert!(outcome.wall_seconds >= outcome.cpu_seconds * 0.5, "{outcome:?}");
    assert!(outcome.peak_rss_bytes > 100_000, "{outcome:?}");
}

#[test]
fn a_peak_of_its_own_is_told_from_the_worker_s() {
    // Some 256 MiB in one variable, which is more than this test ever takes.
    let outcome = Rig::new().run(shell("x=$(head -c 268435456 /dev/zero | tr '\\0' x); exit 0"));
    assert_eq!(outcome.exit, Exit::Exited(0));
    assert!(
        outcome.peak_rss_exact && outcome.peak_rss_bytes > 256 << 20,
        "{outcome:?}"
    );
}
