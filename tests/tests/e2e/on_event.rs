//! Commands that are run when something happens to a pilot.

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Fifo, Home, Pilot, process};
use serde_json::Value;

/// A command that says into a pipe what it is told: its event, and its standard input.
fn notify(home: &Home, pipe: &Fifo) -> String {
    let script = format!(
        "#!/bin/sh\nread line\nprintf '%s %s %s\\n' \"$SCALEMS_EVENT\" \"$SCALEMS_PILOT\" \"$line\" > {}\n",
        pipe.path().display()
    );
    home.write("notify", &script);
    home.sh("chmod +x notify").well();
    "./notify".to_owned()
}

/// The next that a command says: its event, and the object on its standard input. That the agent had no time on a busy
/// machine is left out.
#[track_caller]
fn next(pipe: &mut Fifo) -> (String, Value) {
    loop {
        let line = pipe.line();
        let mut words = line.splitn(3, ' ');
        let event = words.next().unwrap().to_owned();
        assert_eq!(words.next(), Some("default"), "{line}");
        let object: Value = serde_json::from_str(words.next().unwrap()).unwrap();
        assert_eq!(object["event"], event, "{line}");
        assert_eq!(object["pilot"], "default");
        if object["alarm"] != "stalled" {
            return (event, object);
        }
    }
}

#[test]
fn start_losses_and_end_of_a_pilot_are_told() {
    let home = Home::new();
    let mut pipe = Fifo::new(&home.work(), "told");
    let command = notify(&home, &pipe);
    home.sh(&format!(
        "scalems pilot start --detach --restart --lost-after 2s --on-event {command}"
    ))
    .well();
    let (event, told) = next(&mut pipe);
    assert_eq!(
        (event.as_str(), &told["incarnation"]),
        ("agent_started", &1.into())
    );
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let worker = &home.sh("scalems --output json worker list").well().json()[0];
    process::signal(worker["pid"].as_u64().unwrap() as u32, Signal::SIGKILL);
    let (event, told) = next(&mut pipe);
    assert_eq!((event.as_str(), &told["about"]), ("worker_lost", &worker["name"]));
    assert!(!told["message"].as_str().unwrap().is_empty(), "{told}");
    // Another one is started, and with it the pilot is whole again.
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let agent = &home.sh("scalems --output json pilot list").well().json()[0]["pid"];
    home.note_killed();
    process::signal(agent.as_u64().unwrap() as u32, Signal::SIGKILL);
    let mut events = [next(&mut pipe), next(&mut pipe)];
    // They are run side by side.
    events.sort_by(|a, b| a.0.cmp(&b.0));
    let [(lost, of), (started, again)] = events;
    assert_eq!(
        (lost.as_str(), &of["about"]),
        ("agent_lost", &agent.to_string().into())
    );
    assert!(of["message"].as_str().unwrap().contains("signal: 9"), "{of}");
    assert_eq!(
        (started.as_str(), &again["incarnation"]),
        ("agent_started", &2.into())
    );
    home.sh("scalems submit --wait -- true").well();
    home.sh("scalems pilot stop").well();
    let (event, told) = next(&mut pipe);
    assert_eq!((event.as_str(), &told["well"]), ("pilot_ended", &true.into()));
    home.until_empty();
}

#[test]
fn a_pilot_in_front_tells_its_start_warning_and_end() {
    let home = Home::new();
    let mut pipe = Fifo::new(&home.work(), "told");
    let command = notify(&home, &pipe);
    let pilot = home.spawn(&format!("scalems pilot start --warning 25s --on-event {command}"));
    assert_eq!(next(&mut pipe).0, "agent_started");
    pilot.until_written("Ctrl-C");
    // As a batch system says that a job's time is nearly over.
    pilot.signal(Signal::SIGUSR1);
    let mut events = [next(&mut pipe).0, next(&mut pipe).0];
    events.sort();
    assert_eq!(events, ["pilot_ended", "time_nearly_over"]);
    pilot.output().well();
    home.until_empty();
}

#[test]
fn a_command_that_fails_or_cannot_be_run_harms_nothing() {
    let pilot = Pilot::start(
        "--on-event 'sh -c \"echo it does not work >&2; exit 7\"' --on-event 'sh -c \"kill -9 $$\"'",
    );
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo fine").well().text(),
        "fine"
    );
    let home = &pilot.home;
    // What is none is told before anything is begun.
    home.sh("scalems pilot start --name other --on-event ./nowhere")
        .fails(2, &["no program", "nowhere"]);
    home.sh("scalems pilot start --name other --on-event \"sh -c 'open\"")
        .fails(2, &["is no command"]);
    assert!(!home.of_pilot("other").join("journal.sqlite").exists());
    pilot.stop();
}

#[test]
fn what_fails_is_in_the_log() {
    let home = Home::new();
    home.sh("scalems pilot start --detach --on-event 'sh -c \"echo it does not work >&2; exit 7\"'")
        .well();
    home.sh("scalems pilot stop").well();
    home.until_empty();
    let log = std::fs::read_to_string(home.of_pilot("default").join("own-logs/agent.log")).unwrap();
    for text in [
        "agent_started",
        "pilot_ended",
        "exit status: 7",
        "it does not work",
    ] {
        assert!(log.contains(text), "{text}: {log}");
    }
}

#[test]
fn a_site_s_commands_go_with_the_job() {
    let home = Home::new();
    home.write(
        "site.toml",
        "batch = \"slurm\"\non_event = [\"sh -c 'cat > /dev/null' site\"]\n",
    );
    let script = home
        .sh("scalems pilot submit --site ./site.toml --time 1h --on-event 'true mine' --dry-run")
        .well()
        .out;
    for text in ["--on-event=true mine", "cat > /dev/null", " site"] {
        assert!(script.contains(text), "{text}: {script}");
    }
    home.write("site.toml", "batch = \"slurm\"\non_event = [\"'open\"]\n");
    home.sh("scalems pilot submit --site ./site.toml --time 1h --dry-run")
        .fails(2, &["on_event of the site", "is no command"]);
}
