//! Every `--help` has an example, and every example runs.

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Home, Pilot, Sshd, until_workers};
use scalems_tests::terminal::{Terminal, has_terminal};

/// The examples of a command and of those below it, as `(the command's words, the example's line)`.
fn examples(home: &Home, words: &str, found: &mut Vec<(String, String)>) {
    let help = home.sh(&format!("scalems {words} --help")).well().out;
    let below = section(&help, "Commands:");
    let lines = section(&help, "Example:")
        .chain(section(&help, "Examples:"))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let below: Vec<_> = below
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        !lines.is_empty() || !below.is_empty() || words == "version",
        "`scalems {words} --help` has no example"
    );
    found.extend(lines.into_iter().map(|line| (words.to_owned(), line)));
    for name in below {
        examples(home, format!("{words} {name}").trim(), found);
    }
}

/// The lines that are indented under a heading, up to the next one.
fn section<'a>(help: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let mut lines = help
        .lines()
        .skip_while(move |line| line.trim_end() != heading)
        .skip(1);
    std::iter::from_fn(move || lines.next().filter(|line| line.starts_with("  ")))
        // Further lines of a description are indented deeper than the name that they describe.
        .filter(|line| !line.starts_with("   "))
        .map(str::trim)
}

#[test]
fn every_example_runs() {
    let mut found = Vec::new();
    examples(&Home::new(), "", &mut found);
    found.sort();
    found.dedup();
    let lines: Vec<_> = found.iter().map(|(_, line)| line.as_str()).collect();
    assert!(lines.len() >= 20, "{lines:?}");
    for line in lines {
        assert!(line.starts_with("scalems "), "{line}");
        // They take longer, and have a test of their own.
        if line.starts_with("scalems demo") || line.starts_with("scalems bench") {
            continue;
        }
        run(line);
    }
}

#[test]
fn the_examples_of_demo_and_bench_run() {
    let mut found = Vec::new();
    examples(&Home::new(), "demo", &mut found);
    examples(&Home::new(), "bench", &mut found);
    assert!(found.len() >= 2, "{found:?}");
    for (_, line) in found {
        let home = Home::new();
        assert!(!home.sh(&line).well().out.is_empty(), "{line}");
        home.until_empty();
    }
}

/// Runs an example as its reader would: with a pilot that has ended some tasks, unless it starts one.
fn run(line: &str) {
    if line.starts_with("scalems pilot start") && line.contains("--detach") {
        let home = Home::new();
        home.sh(line).well();
        home.sh("scalems pilot stop").well();
        home.until_empty();
        return;
    }
    if line.starts_with("scalems pilot start") {
        let home = Home::new();
        let agent = home.spawn(line);
        agent.until_written("Ctrl-C");
        agent.signal(Signal::SIGINT);
        agent.output().well();
        home.until_empty();
        return;
    }
    // A journal is what is left of a pilot; `--pilot night` names one of two.
    let of_journal = ["scalems journal", "scalems trace"]
        .iter()
        .any(|words| line.starts_with(words));
    if of_journal
        || line.starts_with("scalems report --html")
        || line.starts_with("scalems pilot remove")
        || line.starts_with("scalems pilot prune")
    {
        let home = Home::new();
        for name in ["default", "night"] {
            home.sh(&format!("scalems pilot start --name {name} --detach"))
                .well();
            home.sh("scalems submit --wait -- echo before").well();
            home.sh("scalems pilot stop").well();
            home.until_empty();
        }
        home.sh(line).well();
        return;
    }
    if line.starts_with("scalems connect") || line.contains("--ssh") {
        return by_ssh(line);
    }
    // Where more workers are requested there is room for them.
    let more = line.starts_with("scalems worker request") || line.starts_with("scalems worker replace");
    let mut pilot = Pilot::start(if more { "--cores 12 --overcommit" } else { "" });
    pilot
        .sh("scalems submit --array 0-1 --wait -- echo before")
        .well();
    // Something is left that failed: an example lists such tasks.
    pilot.sh("scalems submit --wait -- false").fails(1, &[]);
    if line.starts_with("scalems worker start") {
        let mut worker = pilot.home.spawn(line);
        until_workers(&pilot.session(), |rows| {
            rows.iter().filter(|row| row.state == "active").count() == 2
        });
        worker.signal(Signal::SIGINT);
        assert!(worker.status().success(), "{line}");
        return pilot.stop();
    }
    if line.starts_with("scalems metrics") {
        let mut metrics = pilot.home.spawn(line);
        metrics.until_written("Ctrl-C");
        metrics.signal(Signal::SIGINT);
        assert!(metrics.status().success(), "{line}");
        return pilot.stop();
    }
    if line.starts_with("scalems top") && !line.contains("--once") {
        if has_terminal() {
            let mut terminal = Terminal::start(&pilot.home, (100, 30), &[]);
            terminal.line(line);
            terminal.until("q quit");
            terminal.keys(&["q"]);
            terminal.until_back(line);
        }
        return pilot.stop();
    }
    if line.starts_with("scalems graph") {
        graph(&pilot.home);
    }
    if line.starts_with("scalems logs --from") {
        pilot.sh("mkdir logs").well();
    }
    let said = pilot.sh(line);
    // Waiting says by its code that one of them failed, as it should.
    let waits = line.starts_with("scalems wait ") || line.starts_with("scalems task retry 2 --wait");
    let expected = i32::from(waits);
    assert_eq!(said.code, expected, "{line}: {said:?}");
    if line.starts_with("scalems pilot stop") {
        pilot.expect_end();
    }
}

/// Runs an example that reaches another machine.
fn by_ssh(line: &str) {
    let mut pilot = Pilot::start("--tcp");
    let Some(sshd) = Sshd::start(&pilot.home) else {
        return pilot.stop();
    };
    let mut before = sshd.before();
    if line.starts_with("scalems connect") {
        before += "export SCALEMS_HOME=$TMPDIR/here; ";
    }
    if line.contains("--detach") {
        let line = format!("{before}{line} && scalems submit --wait -- true && scalems pilot stop");
        pilot.sh(&line).well();
        sshd.end();
        pilot.expect_end_of_agent();
        return pilot.home.until_empty();
    }
    let mut command = pilot.home.spawn(&format!("sh -c '{before}exec {line}'"));
    command.until_written(if line.contains("--ssh") {
        "joined"
    } else {
        "Ctrl-C"
    });
    command.signal(Signal::SIGINT);
    assert!(command.status().success(), "{line}");
    sshd.end();
    pilot.stop();
}

/// Writes the file that the help shows, and the programs that it names.
fn graph(home: &Home) {
    let help = home.sh("scalems graph --help").well().out;
    let file = help
        .lines()
        .skip_while(|line| line.trim() != "[defaults]")
        .take_while(|line| line.is_empty() || line.starts_with("  "));
    let file: Vec<_> = file.map(str::trim).collect();
    home.write("graph.toml", &file.join("\n"));
    for program in ["prepare", "run"] {
        home.sh(&format!("printf '#!/bin/sh\n' >{program}; chmod +x {program}"))
            .well();
    }
}
