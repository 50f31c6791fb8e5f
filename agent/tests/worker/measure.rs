use std::time::Instant;
use scalems_protocol::program;
use crate::fake_agent::{argv, joined, leave, run, template};
use scalems_protocol::worker::Recorded;

fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = text.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
#[ignore = "measure"]
fn measure() {
    let (_directory, mut agent, worker) = joined();
    let mut times = vec![];
    for n in 1..=5_000 {
        let t = Instant::now();
        agent.lease(template(program::NOOP), run(n, 0, 1), "");
        let (r, _) = agent.hear_report();
        times.push(t.elapsed().as_nanos() / 1000);
        agent.say(Recorded { recorded: r.number });
    }
    times.sort_unstable();
    println!("noop round trip us: p50 {} p99 {}", times[2500], times[4950]);
    let t = Instant::now();
    let rounds = 2_000;
    let mut seen = 0;
    for n in 1..=rounds {
        agent.lease(template(program::NOOP), run(n, 0, 1_024), "");
        if n > 4 { let (r, _) = agent.hear_report(); seen += r.results.iter().map(|g| g.run.count()).sum::<u32>(); agent.say(Recorded { recorded: r.number }); }
    }
    while u64::from(seen) < rounds * 1_024 { let (r, _) = agent.hear_report(); seen += r.results.iter().map(|g| g.run.count()).sum::<u32>(); }
    println!("noop 1024: {:.1} us a lease", t.elapsed().as_micros() as f64 / rounds as f64);
    let t = Instant::now();
    let c = cpu();
    let data = rmp_serde::to_vec_named(&argv(["/bin/true"])).unwrap();
    agent.lease(template(program::EXECUTABLE), run(9_999, 0, 3_000), data);
    let mut seen = 0;
    while seen < 3_000 { let (r, _) = agent.hear_report(); seen += r.results.len(); agent.say(Recorded { recorded: r.number }); }
    println!("true: {:.0} a second, {:.0} us cpu each", 3_000.0 / t.elapsed().as_secs_f64(), (cpu() - c) * 1e6 / 3_000.0);
    leave(agent, worker);
}
