//! Metrics over HTTP, of real pilots with real tasks, read by whoever may and by whoever may not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use nix::sys::signal::Signal;
use scalems_tests::pilot::{Fifo, Home, PATIENCE, Pilot, process};

/// Where metrics are, and the token.
struct Scraper {
    address: String,
    token: String,
}

impl Scraper {
    /// Of a pilot that tells metrics itself.
    fn of(home: &Home, pilot: &str) -> Self {
        let directory = home.of_pilot(pilot);
        let said = std::fs::read_to_string(directory.join("metrics.json")).unwrap();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let token = std::fs::read_to_string(said["token_file"].as_str().unwrap()).unwrap();
        Self::at(said["url"].as_str().unwrap(), &token)
    }

    fn at(url: &str, token: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .and_then(|rest| rest.strip_suffix("/metrics"));
        Self {
            address: address.unwrap().to_owned(),
            token: token.trim().to_owned(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Says this and gives all of the answer: its code, head and body.
    fn say(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // What is refused while it is still said may be cut off.
        let _read = stream.read_to_string(&mut answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        (code, head.to_ascii_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str, authorization: &str) -> (u16, String, String) {
        self.say(&format!(
            "GET {path} HTTP/1.1\r\nHost: here\r\n{authorization}\r\n"
        ))
    }

    /// The metrics, by name and labels.
    #[track_caller]
    fn scrape(&self) -> BTreeMap<String, f64> {
        let authorization = format!("Authorization: Bearer {}\r\n", self.token);
        let (code, head, body) = self.get("/metrics", &authorization);
        assert_eq!(code, 200, "{head}\n{body}");
        assert!(
            head.contains("content-type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        parse(&body)
    }

    /// Scrapes until this holds.
    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
        let until = Instant::now() + PATIENCE;
        loop {
            let metrics = self.scrape();
            if holds(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < until, "{what} does not come: {metrics:#?}");
        }
    }
}

/// Reads `OpenMetrics` text strictly: each family has its TYPE and HELP once and before its samples, all of which are
/// together; names, labels and numbers are such; the end is marked.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, f64> {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let (mut families, mut family, mut kind) = (BTreeSet::new(), String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let words: Vec<&str> = described.splitn(3, ' ').collect();
            let [what, name, rest] = words[..] else {
                panic!("{line}")
            };
            if name != family {
                assert!(families.insert(name.to_owned()), "{name} is there twice");
                name.clone_into(&mut family);
            }
            match what {
                "TYPE" => rest.clone_into(&mut kind),
                "HELP" => assert!(!rest.is_empty()),
                "UNIT" => assert!(name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        let end = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" => "",
            other => panic!("{other}: {line}"),
        };
        assert_eq!(name, format!("{family}{end}"), "{line}");
        if let Some(labels) = series.strip_prefix(name).filter(|labels| !labels.is_empty()) {
            check_labels(labels);
        }
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(
            samples.insert(series.to_owned(), value).is_none(),
            "{line} is there twice"
        );
    }
    samples
}

/// `{name="value",…}`, with `\\`, `\"` and `\n` in values.
#[track_caller]
fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').unwrap();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{labels}"
        );
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap_or_else(|| panic!("{labels}")) {
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{labels}"),
                (at, '"') => break at,
                _ => {}
            }
        };
        rest = &after[end + 1..];
        match rest {
            "}" => return,
            _ => rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("{labels}")),
        }
    }
}

#[test]
fn a_pilot_s_numbers_are_those_of_its_tasks() {
    let mut pilot = Pilot::start("--metrics=127.0.0.1:0 --workers 1 --cores 2");
    let scraper = Scraper::of(&pilot.home, "default");
    pilot.sh("scalems submit --array 1-10 --wait -- true").well();
    pilot.sh("scalems submit --wait -- sh -c 'exit 3'").fails(1, &[]);
    let mut told = Fifo::new(&pilot.home.work(), "told");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    pilot.submit("--cores 1 -- sh -c 'echo up > told; read go < gate'");
    told.line();
    let metrics = scraper.until("11 ended, one running", |metrics| {
        metrics.get("scalems_tasks_ended_total") == Some(&11.0)
            && metrics.get("scalems_tasks{state=\"running\"}") == Some(&1.0)
            && metrics.contains_key("scalems_clients")
    });
    let of = |name: &str| {
        *metrics
            .get(name)
            .unwrap_or_else(|| panic!("{name}: {metrics:#?}"))
    };
    for (name, value) in [
        ("scalems_up", 1.0),
        ("scalems_agent_incarnation", 1.0),
        ("scalems_tasks{state=\"done\"}", 10.0),
        ("scalems_tasks{state=\"failed\"}", 1.0),
        ("scalems_workers{state=\"active\"}", 1.0),
        ("scalems_workers_lost_total", 0.0),
        ("scalems_resource_capacity{resource=\"cores\"}", 2.0),
        ("scalems_resource_used{resource=\"cores\"}", 1.0),
        ("scalems_pilot_info{pilot=\"default\"}", 1.0),
        ("scalems_journal_full", 0.0),
    ] {
        assert!(
            (of(name) - value).abs() < 1e-9,
            "{name} is {}, not {value}",
            of(name)
        );
    }
    for name in [
        "scalems_memory_capacity_bytes",
        "scalems_agent_resident_memory_bytes",
        "scalems_journal_size_bytes",
    ] {
        assert!(of(name) > 1_048_576.0 || name.contains("journal"), "{name}");
    }
    let failed = metrics
        .keys()
        .find(|name| name.starts_with("scalems_faults_failed_total{"))
        .unwrap();
    assert!(
        failed.contains("host=\"") && (of(failed) - 1.0).abs() < 1e-9,
        "{failed}"
    );
    assert!(
        metrics
            .keys()
            .any(|name| name.starts_with("scalems_worker_tasks_running{worker=\""))
    );
    assert!(
        metrics
            .keys()
            .any(|name| name.starts_with("scalems_build_info{version=\""))
    );
    // Nothing names a task or a submission.
    assert!(
        !metrics
            .keys()
            .any(|name| name.contains("submission=") || name.contains("task="))
    );
    gate.release(1);
    let directory = pilot.directory();
    pilot.sh("scalems pilot stop").well();
    pilot.expect_end();
    assert!(!directory.join("metrics.json").exists());
    assert!(directory.join("metrics.token").exists());
}

#[test]
fn only_who_knows_the_token_reads_them() {
    let pilot = Pilot::start("--metrics=127.0.0.1:0");
    let scraper = Scraper::of(&pilot.home, "default");
    let wrong = "0".repeat(scraper.token.len());
    for authorization in [
        String::new(),
        format!("Authorization: Bearer {wrong}\r\n"),
        format!("Authorization: Basic {}\r\n", scraper.token),
        "Authorization: Bearer \r\n".to_owned(),
    ] {
        let (code, head, body) = scraper.get("/metrics", &authorization);
        assert_eq!(code, 401, "{authorization}");
        assert!(head.contains("www-authenticate: bearer"), "{head}");
        assert!(
            !body.contains("scalems_up") && !body.contains(&scraper.token),
            "{body}"
        );
    }
    let right = format!("Authorization: Bearer {}\r\n", scraper.token);
    assert_eq!(scraper.get("/", "").0, 200);
    assert_eq!(scraper.get("/other", &right).0, 404);
    assert_eq!(scraper.get("/metrics/../etc/passwd", &right).0, 404);
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: here\r\n{right}Content-Length: 0\r\n\r\n");
        let (code, head, _) = scraper.say(&request);
        assert_eq!(code, 405, "{method}");
        assert!(head.contains("allow: get"), "{head}");
    }
    // What is no request, or too much of one, harms nothing.
    let many = "X: y\r\n".repeat(40);
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    for request in [
        "\0\r\n\r\n".to_owned(),
        format!("GET /metrics HTTP/1.1\r\n{right}{many}\r\n"),
        format!("GET /metrics HTTP/1.1\r\n{right}{long}\r\n"),
    ] {
        let (code, ..) = scraper.say(&request);
        assert!(matches!(code, 0 | 400..=499), "{code}");
    }
    assert!((scraper.scrape()["scalems_up"] - 1.0).abs() < 1e-9);
    pilot.stop();
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let pilot = Pilot::start("--metrics=127.0.0.1:0");
    let scraper = Scraper::of(&pilot.home, "default");
    // More than are served at once, and none of them ever says a whole request.
    let silent: Vec<TcpStream> = (0..100)
        .map(|number| {
            let mut stream = scraper.connect();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            }
            stream
        })
        .collect();
    // It waits until some of them are given up, and is served.
    assert!((scraper.scrape()["scalems_up"] - 1.0).abs() < 1e-9);
    drop(silent);
    assert_eq!(
        pilot.sh("scalems submit --wait -- echo fine").well().text(),
        "fine"
    );
    pilot.stop();
}

#[test]
fn a_restart_of_the_agent_is_seen_and_metrics_go_on() {
    let home = Home::new();
    home.sh("scalems pilot start --detach --restart --metrics=127.0.0.1:0")
        .well();
    home.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    home.sh("scalems submit --array 1-5 --wait -- true").well();
    let scraper = Scraper::of(&home, "default");
    scraper.until("5 ended", |metrics| {
        metrics.get("scalems_tasks_ended_total") == Some(&5.0)
    });
    let agent = &home.sh("scalems --output json pilot list").well().json()[0]["pid"];
    home.note_killed();
    process::signal(agent.as_u64().unwrap() as u32, Signal::SIGKILL);
    let metrics = scraper.until("another life", |metrics| {
        metrics.get("scalems_agent_incarnation") == Some(&2.0)
            && metrics.contains_key("scalems_tasks{state=\"done\"}")
    });
    // It knows what there was, and has ended nothing yet itself.
    assert!(
        (metrics["scalems_tasks{state=\"done\"}"] - 5.0).abs() < 1e-9,
        "{metrics:#?}"
    );
    assert!(
        metrics
            .get("scalems_tasks_ended_total")
            .is_none_or(|ended| *ended < 1.0)
    );
    home.sh("scalems pilot stop").well();
    home.until_empty();
}

#[test]
fn a_program_of_its_own_tells_them_too_also_without_a_pilot() {
    let mut pilot = Pilot::start("--no-workers");
    let odd = "w\\\"} 1 scalems_up 7";
    let worker = pilot
        .home
        .spawn(&format!("scalems worker start --cores 1 --name '{odd}'"));
    pilot.sh("scalems pilot wait --workers 1 --timeout 60s").well();
    let mut metrics = pilot
        .home
        .spawn("scalems --output jsonl metrics --listen 127.0.0.1:0");
    let said: serde_json::Value =
        serde_json::from_str(metrics.until_written("}\n").lines().next().unwrap()).unwrap();
    let token = std::fs::read_to_string(said["token_file"].as_str().unwrap()).unwrap();
    let scraper = Scraper::at(said["url"].as_str().unwrap(), &token);
    let label = "scalems_worker_tasks_running{worker=\"w\\\\\\\"} 1 scalems_up 7\"";
    scraper.until("the odd worker", |metrics| {
        metrics.keys().any(|name| name.starts_with(label)) && metrics.get("scalems_up") == Some(&1.0)
    });
    pilot.sh("scalems pilot stop").well();
    pilot.expect_end_of_agent();
    worker.output().well();
    let after = scraper.until("that it is gone", |metrics| {
        metrics.get("scalems_up") == Some(&0.0)
    });
    assert!(
        !after.keys().any(|name| name.starts_with("scalems_tasks")),
        "{after:#?}"
    );
    metrics.signal(Signal::SIGINT);
    assert!(metrics.status().success());
    pilot.home.until_empty();
}

#[test]
fn what_is_open_to_others_or_taken_is_refused() {
    let pilot = Pilot::start("--metrics=127.0.0.1:0");
    let scraper = Scraper::of(&pilot.home, "default");
    pilot
        .sh("scalems metrics --listen 0.0.0.0:0")
        .fails(2, &["others could reach", "--metrics-public"]);
    pilot
        .sh(&format!("scalems metrics --listen {}", scraper.address))
        .fails(1, &["cannot listen", "another port"]);
    pilot
        .sh("scalems pilot start --name other --metrics=0.0.0.0:0")
        .fails(2, &["--metrics-public"]);
    pilot
        .sh("printf 0123456789abcdef0 > open.token; scalems metrics --listen 127.0.0.1:0 --token-file open.token")
        .fails(1, &["chmod 600"]);
    pilot.stop();
}
