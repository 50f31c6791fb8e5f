//! The cursor of time: where it is, whether and how fast it goes.

use std::time::Duration;

use super::timeline::Timeline;
use crate::source::{Cursor, Step};

/// How long a run takes to be played at first, about.
const PLAYED: f64 = 60.0;
/// Steps from the beginning to the end, about.
const STEPS: u64 = 60;
/// The slowest and the fastest: a second of it in a quarter of an hour, and nine months in a minute.
const SPEEDS: (f64, f64) = (0.001, 400_000.0);

/// The cursor of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Player {
    begin_us: u64,
    end_us: u64,
    at_us: u64,
    speed: f64,
    is_playing: bool,
    /// When it last went on, by the clock of who plays.
    since: Option<Duration>,
    /// What has gone by and is less than a microsecond.
    rest: f64,
}

impl Player {
    /// A cursor over a time, at its end: how it ended is what one looks for first.
    pub fn new(begin_us: u64, end_us: u64) -> Self {
        let long = end_us.saturating_sub(begin_us) as f64 / 1e6;
        // A power of two, so that halves and doubles are round.
        let speed = (long / PLAYED).max(1.0 / 64.0).log2().round().exp2();
        Self {
            begin_us,
            end_us: end_us.max(begin_us),
            at_us: end_us.max(begin_us),
            speed: speed.clamp(SPEEDS.0, SPEEDS.1),
            is_playing: false,
            since: None,
            rest: 0.0,
        }
    }

    /// Where it is.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// Whether it goes on by itself.
    pub fn is_playing(&self) -> bool {
        self.is_playing
    }

    /// For those who draw it.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            begin: Duration::from_micros(self.begin_us),
            at: Duration::from_micros(self.at_us),
            end: Duration::from_micros(self.end_us),
            speed: self.speed,
            playing: self.is_playing,
        }
    }

    /// It is `now`: goes on by what has gone by. At the end it stands still.
    pub fn go_on(&mut self, now: Duration) {
        let passed = self
            .since
            .replace(now)
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if !self.is_playing {
            return;
        }
        let micros = passed.as_secs_f64() * 1e6 * self.speed + self.rest;
        let whole = micros.floor();
        self.rest = micros - whole;
        self.at_us = self.at_us.saturating_add(whole as u64).min(self.end_us);
        if self.at_us == self.end_us {
            self.is_playing = false;
        }
    }

    /// Moves it; whether it has jumped. What is not there, such as a next fault, moves nothing.
    pub fn step(&mut self, step: Step, timeline: &Timeline) -> bool {
        let before = self.at_us;
        match step {
            Step::Toggle => {
                self.is_playing = !self.is_playing;
                if self.is_playing && self.at_us == self.end_us {
                    self.at_us = self.begin_us;
                }
            }
            Step::Speed(factor) if factor > 0.0 => {
                self.speed = (self.speed * factor).clamp(SPEEDS.0, SPEEDS.1);
            }
            Step::Speed(_) => {}
            Step::By(steps) => {
                let by = self.step_us().saturating_mul(u64::from(steps.unsigned_abs()));
                self.at_us = if steps < 0 {
                    self.at_us.saturating_sub(by)
                } else {
                    self.at_us.saturating_add(by)
                };
            }
            Step::Fault(forward) => {
                if let Some(at) = timeline.fault(self.at_us, forward) {
                    self.at_us = at;
                    // One looks at it.
                    self.is_playing = false;
                }
            }
            Step::To(end) => self.at_us = if end { self.end_us } else { self.begin_us },
        }
        self.at_us = self.at_us.clamp(self.begin_us, self.end_us);
        self.at_us != before
    }

    /// About a sixtieth of all: 1, 2 or 5 of a decimal unit.
    fn step_us(&self) -> u64 {
        let wanted = ((self.end_us - self.begin_us) / STEPS).max(1_000);
        let decade = 10_u64.pow(wanted.ilog10());
        [1, 2, 5, 10]
            .map(|times| times * decade)
            .into_iter()
            .find(|step| *step >= wanted)
            .unwrap_or(wanted)
    }
}
