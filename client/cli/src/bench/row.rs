//! One measurement, as it is printed.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Way;
use super::pilot::Usage;
use super::process::Activity;
use crate::args::{Output, Transport};
use crate::print;

/// What was measured, and what the machine can do at most, measured beside it in the same run. What a
/// workload has no figure for is null.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    /// What was measured.
    pub(super) workload: &'static str,
    /// Tasks; starts or seconds where it has none.
    pub(super) n: u64,
    pub(super) transport: &'static str,
    pub(super) curve: bool,
    pub(super) journal: &'static str,
    /// How long it took, without starting and warming up.
    #[serde(serialize_with = "short")]
    pub(super) seconds: Option<f64>,
    /// Tasks a second.
    #[serde(serialize_with = "short")]
    pub(super) rate: Option<f64>,
    /// Half of them took at most so long, milliseconds.
    #[serde(serialize_with = "short")]
    pub(super) p50_ms: Option<f64>,
    /// 99 of 100 took at most so long.
    #[serde(serialize_with = "short")]
    pub(super) p99_ms: Option<f64>,
    /// What was measured beside it.
    pub(super) limit: Option<&'static str>,
    #[serde(serialize_with = "short")]
    pub(super) limit_rate: Option<f64>,
    #[serde(serialize_with = "short")]
    pub(super) limit_p50_ms: Option<f64>,
    /// The figure over the limit: of rates below 1, of times above.
    #[serde(serialize_with = "short")]
    pub(super) ratio: Option<f64>,
    #[serde(serialize_with = "short")]
    pub(super) agent_cpu_s: Option<f64>,
    #[serde(serialize_with = "short")]
    pub(super) worker_cpu_s: Option<f64>,
    #[serde(serialize_with = "short")]
    pub(super) client_cpu_s: Option<f64>,
    #[serde(serialize_with = "short")]
    pub(super) agent_peak_rss_mb: Option<f64>,
    /// The limit's rate with 64 tasks in one message.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) limit_rate_64: Option<f64>,
    /// The limit's other percentile.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) limit_p99_ms: Option<f64>,
    /// Memory of the agent with all tasks queued.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) agent_rss_mb: Option<f64>,
    /// How much it grew for each.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) bytes_per_task: Option<f64>,
    /// Processor time of agent and worker, percent of one core.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) cpu_percent: Option<f64>,
    /// From the monitor's start to its first screen.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) first_screen_ms: Option<f64>,
    /// Its memory at most.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) top_peak_rss_mb: Option<f64>,
    /// Context switches of agent and worker, each second.
    #[serde(serialize_with = "short", skip_serializing_if = "Option::is_none")]
    pub(super) switches_per_s: Option<f64>,
}

impl Row {
    pub(super) fn new(workload: &'static str, n: u64, way: Way) -> Self {
        let (transport, curve) = match way.transport {
            Transport::Ipc => ("ipc", false),
            Transport::Tcp => ("tcp", true),
        };
        Self {
            workload,
            n,
            transport,
            curve,
            journal: if way.journal { "on" } else { "none" },
            ..Self::default()
        }
    }

    /// `n` tasks in this time.
    pub(super) fn took(mut self, time: Duration) -> Self {
        self.seconds = Some(time.as_secs_f64());
        self.rate = Some(self.n as f64 / time.as_secs_f64());
        self
    }

    /// Processor time of the three.
    pub(super) fn used(mut self, usage: Usage) -> Self {
        let seconds = |time: Duration| Some(time.as_secs_f64());
        self.agent_cpu_s = seconds(usage.agent);
        self.worker_cpu_s = usage.worker.and_then(seconds);
        self.client_cpu_s = seconds(usage.client);
        self
    }

    /// What processes did in this time.
    pub(super) fn active(mut self, before: &Activity, after: &Activity, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        self.cpu_percent = Some(100.0 * after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds);
        self.switches_per_s = Some(after.switches.saturating_sub(before.switches) as f64 / seconds);
        self
    }

    /// The times of single ones.
    pub(super) fn times(mut self, times: &Times) -> Self {
        (self.p50_ms, self.p99_ms) = (Some(times.ms(0.5)), Some(times.ms(0.99)));
        self
    }

    pub(super) fn limit_rate(mut self, name: &'static str, rate: f64) -> Self {
        (self.limit, self.limit_rate) = (Some(name), Some(rate));
        self.ratio = self.rate.map(|own| own / rate);
        self
    }

    pub(super) fn limit_times(mut self, name: &'static str, times: &Times) -> Self {
        self.limit = Some(name);
        (self.limit_p50_ms, self.limit_p99_ms) = (Some(times.ms(0.5)), Some(times.ms(0.99)));
        self.ratio = self.p50_ms.map(|own| own / times.ms(0.5));
        self
    }

    fn cells(&self) -> [String; 11] {
        let blank =
            |value: Option<f64>, digits| value.map_or_else(|| "-".into(), |value| fixed(value, digits));
        let cpu = [self.agent_cpu_s, self.worker_cpu_s, self.client_cpu_s]
            .map(|value| blank(value, 2))
            .join("/");
        let limit = match (self.limit, self.limit_rate, self.limit_p50_ms) {
            (Some(name), Some(rate), _) => format!("{name} {}/s", fixed(rate, 0)),
            (Some(name), _, Some(p50)) => format!("{name} {} ms", fixed(p50, 3)),
            _ => String::new(),
        };
        let further = [
            self.limit_rate_64
                .map(|rate| format!("with 64 a message {}/s", fixed(rate, 0))),
            self.bytes_per_task
                .map(|bytes| format!("{} bytes a task", fixed(bytes, 0))),
            self.cpu_percent
                .map(|percent| format!("{} % of a core", fixed(percent, 3))),
            self.first_screen_ms
                .map(|ms| format!("first screen after {} ms", fixed(ms, 0))),
            self.top_peak_rss_mb
                .map(|mebibytes| format!("{} MiB", fixed(mebibytes, 1))),
            self.switches_per_s
                .map(|switches| format!("{} context switches/s", fixed(switches, 1))),
        ];
        let notes = [Some(limit).filter(|limit| !limit.is_empty())]
            .into_iter()
            .chain(further)
            .flatten();
        [
            self.workload.into(),
            self.n.to_string(),
            self.transport.into(),
            blank(self.seconds, 3),
            blank(self.rate, 0),
            blank(self.p50_ms, 3),
            blank(self.p99_ms, 3),
            blank(self.ratio, 2),
            cpu,
            blank(self.agent_peak_rss_mb, 1),
            notes.collect::<Vec<_>>().join(", "),
        ]
    }
}

/// Head and width of the columns for people; the last is as wide as it is.
const COLUMNS: [(&str, usize); 11] = [
    ("workload", 8),
    ("n", 8),
    ("by", 4),
    ("seconds", 8),
    ("per second", 11),
    ("p50 ms", 8),
    ("p99 ms", 8),
    ("of limit", 8),
    ("CPU s: agent/worker/client", 26),
    ("agent MiB", 9),
    ("limit in this run", 0),
];

/// Prints measurements as they come.
pub(super) struct Printer {
    output: Output,
    /// Whether there will be more than one.
    several: bool,
    printed: usize,
    kept: Vec<Row>,
}

impl Printer {
    pub(super) fn new(output: Output, several: bool) -> Self {
        Self {
            output,
            several,
            printed: 0,
            kept: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, row: Row) -> anyhow::Result<()> {
        self.printed += 1;
        match self.output {
            Output::Human => {
                if self.printed == 1 {
                    line(&COLUMNS.map(|(head, _)| head.to_owned()))?;
                }
                line(&row.cells())
            }
            Output::Jsonl => print::out(&format!("{}\n", serde_json::to_string(&row)?)),
            Output::Json if self.several => {
                self.kept.push(row);
                Ok(())
            }
            Output::Json => print::out(&format!("{}\n", serde_json::to_string(&row)?)),
            Output::Quiet => {
                let figure = row.p50_ms.or(row.rate).or(row.cpu_percent);
                print::out(&format!(
                    "{}\n",
                    figure.map_or_else(String::new, |figure| figure.to_string())
                ))
            }
        }
    }

    /// What can only be printed at the end.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        if self.output == Output::Json && self.several {
            print::out(&format!("{}\n", serde_json::to_string_pretty(&self.kept)?))?;
        }
        Ok(())
    }
}

fn line(cells: &[String; 11]) -> anyhow::Result<()> {
    let mut text = String::new();
    for (at, (cell, (_, wide))) in cells.iter().zip(COLUMNS).enumerate() {
        // Words to the left, numbers to the right.
        let padded = if matches!(at, 0 | 2 | 10) {
            format!("{cell:<wide$}")
        } else {
            format!("{cell:>wide$}")
        };
        text.push_str(&padded);
        text.push_str("  ");
    }
    print::out(&format!("{}\n", text.trim_end()))
}

fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

/// Figures are not exact beyond that, and nobody reads more.
#[allow(clippy::ref_option, reason = "serde's signature")]
fn short<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let digits = |value: f64| if value.abs() >= 1_000.0 { 1.0 } else { 10_000.0 };
    value
        .map(|value| (value * digits(value)).round() / digits(value))
        .serialize(serializer)
}

/// How long single ones took.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Times {
    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn sum(&self) -> Duration {
        self.0.iter().sum()
    }

    /// The time that this part of them did not exceed, milliseconds.
    fn ms(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
        sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times = Times::default();
        (1..=101)
            .rev()
            .for_each(|ms| times.push(Duration::from_millis(ms)));
        assert!((times.ms(0.5) - 51.0).abs() < 1e-9);
        assert!((times.ms(0.99) - 100.0).abs() < 1e-9);
        assert!((times.ms(1.0) - 101.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_measured_is_null_and_ratios_are_of_the_same_figure() {
        let row = Row::new(
            "noop",
            1_000,
            Way {
                transport: Transport::Tcp,
                journal: true,
            },
        )
        .took(Duration::from_millis(500))
        .limit_rate("x", 4_000.0);
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["rate"], 2_000.0);
        assert_eq!(json["ratio"], 0.5);
        assert_eq!(json["curve"], true);
        assert!(json["p50_ms"].is_null());
        assert!(json.get("bytes_per_task").is_none());
    }
}
