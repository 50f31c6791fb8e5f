//! How many programs a second the executor runs, beside what `posix_spawn` and `waitpid` alone reach.
//!
//! ```text
//! cargo run --release -p scalems-agent --example spawn_rate [PROGRAMS] [ROUNDS] [PART OF A NAME]
//! ```
//!
//! The limit is two processes that each loop over `posix_spawn` and `waitpid` and do nothing else: no pipes, no
//! process group, no directory, no deadline, nobody to tell. The executor does all of that. The two alternate,
//! and medians are given, since such rates differ by a tenth from one minute to the next. Beside each rate stands
//! the CPU time of one program in all, its own included: on a busy machine, where rates tell more about who gets
//! the cores than about who uses them well, that is the figure to compare.

use std::ffi::CString;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use scalems_agent::executor::{
    Config, Executor, Exit, MemoryCap, MemoryWay, Method, ProgramEvent, ProgramSpec,
};

const LOOP: &str = "--posix-spawn-loop";
const PROGRAM: &str = "/bin/true";

/// A name and what it measures.
type Run<'a> = (&'a str, Box<dyn Fn() -> Measured + 'a>);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, or| {
        arguments
            .get(at)
            .map_or(or, |text| text.parse().expect("a number"))
    };
    if arguments.first().is_some_and(|first| first == LOOP) {
        return posix_spawn_loop(number(1, 0));
    }
    let (programs, rounds) = (number(0, 6000), number(1, 5));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let memory = Config {
        method: Method::Copied,
        ..Config::default()
    };
    let pinned = |number: u64| vec![number as usize % cores];
    let free = |_| Vec::new();
    let runs: Vec<Run<'_>> = vec![
        (
            "posix_spawn + waitpid, 2 processes",
            Box::new(|| in_processes(2, programs)),
        ),
        (
            "posix_spawn + waitpid, 4 processes",
            Box::new(|| in_processes(4, programs)),
        ),
        (
            "posix_spawn + waitpid, 2 threads",
            Box::new(|| in_threads(programs)),
        ),
        (
            "executor, 2 at once",
            Box::new(|| executor(Config::default(), programs, 2, free)),
        ),
        (
            "executor, 4 at once",
            Box::new(|| executor(Config::default(), programs, 4, free)),
        ),
        (
            "executor, 8 at once",
            Box::new(|| executor(Config::default(), programs, 8, free)),
        ),
        (
            "executor, 4 at once, pinned",
            Box::new(|| executor(Config::default(), programs, 4, pinned)),
        ),
        (
            "executor, 4 at once, memory copied",
            Box::new(|| executor(memory.clone(), programs, 4, free)),
        ),
        (
            "executor, 4 at once, memory watched",
            Box::new(|| capped(programs, MemoryWay::Watched)),
        ),
        (
            "executor, 4 at once, memory enforced",
            Box::new(|| capped(programs, MemoryWay::Enforced)),
        ),
    ];
    let wanted = arguments.get(2).map_or("", String::as_str);
    let runs: Vec<Run<'_>> = runs
        .into_iter()
        .filter(|(name, _)| name.contains(wanted))
        .collect();
    let mut rates = vec![Vec::new(); runs.len()];
    for _ in 0..rounds {
        for ((_, run), rates) in runs.iter().zip(&mut rates) {
            rates.push(run());
        }
    }
    let mut limit = None;
    for ((name, _), rates) in runs.iter().zip(&rates) {
        let rate = median(rates.iter().map(|measured| measured.rate).collect());
        let cpu = median(rates.iter().map(|measured| measured.cpu).collect());
        let share = rate / *limit.get_or_insert(rate);
        println!("{name:36} {rate:7.0}/s  {share:5.2} of the limit  {cpu:5.0} µs of CPU each");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Programs a second, and µs of CPU time for each, its own included.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
struct Measured {
    rate: f64,
    cpu: f64,
}

fn measure(programs: u64, run: impl FnOnce()) -> Measured {
    let (start, before) = (Instant::now(), cpu_in_all());
    run();
    let cpu = cpu_in_all().saturating_sub(before).as_secs_f64() * 1e6 / programs as f64;
    Measured {
        rate: programs as f64 / start.elapsed().as_secs_f64(),
        cpu,
    }
}

/// CPU time of this process and of all children that it has waited for.
fn cpu_in_all() -> Duration {
    let time = |time: TimeVal| Duration::from_micros(time.num_microseconds() as u64);
    let of = |who| {
        let usage = getrusage(who).expect("it is always known");
        time(usage.user_time()) + time(usage.system_time())
    };
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

fn posix_spawn_loop(programs: u64) {
    let program = CString::new(PROGRAM).expect("no zero in it");
    let argv = [program.as_ptr().cast_mut(), std::ptr::null_mut()];
    let envp = [std::ptr::null_mut()];
    for _ in 0..programs {
        let (mut pid, mut status) = (0, 0);
        let none = std::ptr::null();
        // SAFETY: all pointers are to live, null-ended data; no actions or attributes are passed.
        unsafe {
            let failed = libc::posix_spawn(
                &raw mut pid,
                argv[0],
                none,
                none.cast(),
                argv.as_ptr(),
                envp.as_ptr(),
            );
            assert_eq!(failed, 0);
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        }
        assert_eq!(status, 0);
    }
}

fn in_threads(programs: u64) -> Measured {
    measure(programs, || {
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| posix_spawn_loop(programs / 2));
            }
        });
    })
}

fn in_processes(count: u64, programs: u64) -> Measured {
    measure(programs, || {
        let this = std::env::current_exe().expect("this program has a path");
        let start = |_| {
            Command::new(&this)
                .args([LOOP, &(programs / count).to_string()])
                .spawn()
                .expect("it starts again")
        };
        let children: Vec<_> = (0..count).map(start).collect();
        for mut child in children {
            assert!(child.wait().expect("it is our child").success());
        }
    })
}

/// Programs with a cap on their memory.
fn capped(programs: u64, way: MemoryWay) -> Measured {
    let bytes = 100 << 20;
    with(Config::default(), programs, 4, |_, spec| {
        spec.memory = Some(MemoryCap { bytes, way });
    })
}

fn executor(config: Config, programs: u64, at_once: u64, cpus: impl Fn(u64) -> Vec<usize>) -> Measured {
    with(config, programs, at_once, |number, spec| spec.cpus = cpus(number))
}

fn with(config: Config, programs: u64, at_once: u64, change: impl Fn(u64, &mut ProgramSpec)) -> Measured {
    let bell = Arc::new((Mutex::new(false), Condvar::new()));
    let rung = Arc::clone(&bell);
    let wake = move || {
        *rung.0.lock().expect("nobody panics") = true;
        rung.1.notify_one();
    };
    let executor = Executor::start(config, Arc::new(wake)).expect("it starts");
    let start = |number: u64| {
        let mut spec = ProgramSpec::new([PROGRAM]);
        spec.cwd = Some("/tmp".into());
        spec.time_limit = Some(Duration::from_hours(1));
        change(number, &mut spec);
        executor.start_program(number, spec).expect("a new key");
    };
    measure(programs, || {
        let (mut started, mut ended, mut events) = (at_once, 0, Vec::new());
        (0..at_once).for_each(start);
        while ended < programs {
            let mut rung = bell.0.lock().expect("nobody panics");
            while !*rung {
                rung = bell.1.wait(rung).expect("nobody panics");
            }
            *rung = false;
            drop(rung);
            executor.drain(&mut events);
            for event in events.drain(..) {
                let ProgramEvent::Ended { outcome, .. } = event else {
                    continue;
                };
                assert_eq!(outcome.exit, Exit::Exited(0));
                ended += 1;
                if started < programs {
                    start(started);
                    started += 1;
                }
            }
        }
    })
}
