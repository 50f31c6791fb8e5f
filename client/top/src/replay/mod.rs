//! A replay: the screens of a pilot that lives, on the journal of one that has ended or crashed.
//!
//! A [`Recording`] is plain rows of what a journal tells; who reads journals makes it. [`Timeline`] finds what was at any time, pure
//! and without looking at all of it. [`Replay`] is a [`Source`] that says so as an agent would, while its [`Player`] moves through time.

mod bodies;
mod player;
mod recording;
mod state;
mod tasks;
mod timeline;

use std::time::{Duration, Instant};

use scalems_client::Update;
use scalems_protocol::client::{Listing, Question, Reply};
use scalems_protocol::event::{Alarm, Body, Topic};

pub use player::Player;
pub use recording::{Outcome, Reason, Recording, Span, Submission, Tail, Worker};
pub use timeline::Timeline;

use crate::source::{Action, Answer, Asked, For, Link, News, Source, Step};

/// How often news come while time goes on: often enough for the eye.
const EVERY: Duration = Duration::from_millis(200);
/// Points of time before the cursor of which a jump tells, so that curves and the list of events are filled.
const POINTS: u64 = 120;

/// A replay.
pub struct Replay {
    timeline: Timeline,
    player: Player,
    clock: Box<dyn Fn() -> Duration>,
    /// When news were last given, and of what time.
    told: Option<(Duration, u64)>,
    /// It was moved, so what is shown is of another time.
    has_jumped: bool,
    answers: Vec<News>,
}

impl Replay {
    /// A replay of a recording.
    pub fn new(recording: Recording) -> Self {
        let began = Instant::now();
        Self::with_clock(recording, Box::new(move || began.elapsed()))
    }

    /// As [`Self::new`], by another clock: for tests.
    pub fn with_clock(recording: Recording, clock: Box<dyn Fn() -> Duration>) -> Self {
        let timeline = Timeline::new(recording);
        let all = timeline.recording();
        Self {
            player: Player::new(all.begin_us, all.end_us),
            timeline,
            clock,
            told: None,
            has_jumped: true,
            answers: Vec::new(),
        }
    }

    /// What is shown: where in time, and the whole.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// All anew, up to where the cursor is.
    fn jump(&mut self, news: &mut Vec<News>) {
        let (begin, at) = (self.timeline.recording().begin_us, self.player.at_us());
        news.push(News::Anew);
        self.timeline.go(begin);
        self.timeline.all_dirty();
        self.tell(begin, begin, true, news);
        let long = at.saturating_sub(begin);
        for point in 1..=POINTS {
            let then = begin + (u128::from(long) * u128::from(point) / u128::from(POINTS)) as u64;
            let before = self.timeline.at_us();
            if then > before {
                self.timeline.go(then);
                self.tell(before, then, false, news);
            }
        }
    }

    /// Says what has changed between two times.
    fn tell(&mut self, from: u64, at: u64, is_whole: bool, news: &mut Vec<News>) {
        news.push(News::At(Duration::from_micros(at)));
        // Of less than a millisecond there is no rate.
        let span_ms = (at.saturating_sub(from) / 1_000).max(1);
        let mut bodies = self.timeline.news(span_ms);
        bodies.extend(self.death(at));
        for body in bodies {
            let topic = topic(&body);
            let update = if is_whole {
                Update::Snapshot(body)
            } else {
                Update::Event(body)
            };
            news.push(News::Update(topic, update));
        }
    }

    /// That the journal ends without an end in order.
    fn death(&self, at: u64) -> Option<Body> {
        let recording = self.timeline.recording();
        let has_died = !recording.ended_in_order && at >= recording.end_us;
        let alarm = || Alarm {
            alarm: "no_end".to_owned(),
            about: recording.pilot.clone(),
            message:
                "the journal ends here without an end in order: the agent was killed, crashed, or still runs"
                    .to_owned(),
            at_ms: at / 1_000,
        };
        has_died.then(|| Body::Alarms {
            alarms: vec![alarm()],
        })
    }

    fn answer(&self, asked: &Asked) -> Result<Answer, String> {
        let question = match asked {
            Asked::Result(submission, offset) => {
                let (output, errors) = self.timeline.last_words(*submission, *offset)?;
                return Ok(Answer::Ended(output, errors));
            }
            Asked::Question(question) => question,
        };
        let reply = match question {
            Question::Status => Reply::Status(Box::new(self.timeline.status())),
            Question::Tasks(page) => Reply::Tasks(self.timeline.tasks(page)),
            Question::Explain(select) => {
                let found = self
                    .timeline
                    .explain(select)
                    .ok_or("there was no such task at that time")?;
                Reply::Explain(Box::new(found))
            }
            Question::Output(page) => {
                return Ok(Answer::Output(self.timeline.output(page.submission, page.offset)));
            }
            Question::Workers(_) => Reply::Workers(Listing {
                rows: Vec::new(),
                next: None,
            }),
            _ => return Err("a journal does not tell that".to_owned()),
        };
        Ok(Answer::Reply(Box::new(reply)))
    }
}

impl Source for Replay {
    fn news(&mut self) -> Vec<News> {
        let now = (self.clock)();
        self.player.go_on(now);
        let mut news = Vec::new();
        if std::mem::take(&mut self.has_jumped) {
            self.jump(&mut news);
            self.told = Some((now, self.player.at_us()));
        } else if let Some((told, at)) = self.told {
            let is_time = now.saturating_sub(told) >= EVERY || !self.player.is_playing();
            if self.player.at_us() != at && is_time {
                self.timeline.go(self.player.at_us());
                self.tell(at, self.player.at_us(), false, &mut news);
                self.told = Some((now, self.player.at_us()));
            }
        }
        news.append(&mut self.answers);
        news
    }

    fn link(&self) -> Link {
        Link::Replay(self.player.cursor())
    }

    fn pilot(&self) -> String {
        self.timeline.recording().pilot.clone()
    }

    fn ask(&mut self, what: For, asked: Asked) {
        let answer = self.answer(&asked);
        self.answers.push(News::Answer(what, answer));
    }

    fn is_asked(&self, what: For) -> bool {
        self.answers
            .iter()
            .any(|news| matches!(news, News::Answer(of, _) if *of == what))
    }

    fn act(&mut self, _action: Action) {
        let said = "a replay shows what was: nothing can be done to it".to_owned();
        self.answers.push(News::Done(Err(said)));
    }

    fn marks(&self, parts: usize) -> Vec<bool> {
        self.timeline.faults(parts)
    }

    fn step(&mut self, step: Step) {
        let before = self.player.at_us();
        let has_jumped = self.player.step(step, &self.timeline);
        // A step on is a part of the way; all else is another time.
        let is_on = matches!(step, Step::By(_)) && self.player.at_us() > before;
        self.has_jumped |= has_jumped && !is_on;
    }
}

fn topic(body: &Body) -> Topic {
    match body {
        Body::Submissions { .. } => Topic::Submissions,
        Body::Workers { .. } => Topic::Workers,
        Body::Alarms { .. } => Topic::Alarms,
        Body::Faults { .. } => Topic::Faults,
        Body::Health(_) => Topic::Health,
        _ => Topic::Summary,
    }
}

#[cfg(test)]
mod screens;
#[cfg(test)]
mod tests;
