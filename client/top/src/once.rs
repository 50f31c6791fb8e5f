//! What there is to see, once, for scripts.

use std::io::Write as _;
use std::time::Duration;

use ratatui::backend::TestBackend;
use scalems_protocol::client::{Status, SubmissionRow, WorkerRow};
use scalems_protocol::event::{Alarm, FaultGroup, Health};
use serde::Serialize;

use crate::app::{App, Finder, Opener};
use crate::kit::settings::Settings;
use crate::kit::theme::{ColorChoice, Terminal, Theme, ThemeName};
use crate::model::Model;
use crate::options::{Failed, TopOptions};
use crate::replay::Replay;
use crate::source::{Action, Asked, For, Link, Live, News, Source};

/// How long the agent may take to say all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How wide and high a screen is that is printed.
const COLUMNS: u16 = 100;
const LINES: u16 = 40;

/// What there is to see of a pilot.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The version of this form.
    pub schema: u32,
    /// The pilot as a whole.
    pub pilot: Status,
    /// How the agent is. What it measures while it is watched is zero at first.
    pub health: Health,
    /// The newest submissions, by number.
    pub submissions: Vec<SubmissionRow>,
    /// How many there are.
    pub submissions_total: u64,
    /// Workers, by number.
    pub workers: Vec<WorkerRow>,
    /// What went wrong, by reason and host.
    pub faults: Vec<FaultGroup>,
    /// What somebody should look at, oldest first.
    pub alarms: Vec<Alarm>,
}

/// What was found.
pub struct Found {
    /// As data.
    pub shown: Shown,
    model: Model,
}

impl Found {
    /// A screen of it, as lines of text.
    pub fn text(self, options: &TopOptions) -> String {
        let terminal = Terminal::detect(ColorChoice::Never, options.ascii, |name| std::env::var(name).ok());
        let theme = Theme::new(ThemeName::Mono, terminal);
        let mut settings = Settings::default();
        settings.screen = options.screen.unwrap_or_default();
        let still = Box::new(Still(self.model.pilot.clone()));
        let nowhere: (Finder, Opener) = (Box::new(Vec::new), Box::new(|_| Err(String::new())));
        let mut app = App::new(still, theme, settings, true, nowhere);
        app.model = self.model;
        app.refresh();
        let backend = TestBackend::new(COLUMNS, LINES);
        let Ok(mut terminal) = ratatui::Terminal::new(backend);
        let Ok(_) = terminal.draw(|frame| crate::view::draw(&mut app, frame));
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        let mut lines: Vec<String> = (0..buffer.area.height - 1).map(line).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.join("\n") + "\n"
    }
}

/// Nothing comes any more.
struct Still(String);

impl Source for Still {
    fn news(&mut self) -> Vec<News> {
        Vec::new()
    }

    fn link(&self) -> Link {
        Link::Live
    }

    fn pilot(&self) -> String {
        self.0.clone()
    }

    fn ask(&mut self, _: For, _: Asked) {}

    fn is_asked(&self, _: For) -> bool {
        true
    }

    fn act(&mut self, _: Action) {}
}

/// Asks the pilot for what the screens show.
pub fn once(options: &TopOptions) -> Result<Found, Failed> {
    let mut live = Live::connect(&options.pilot)?;
    let mut model = Model::new(live.pilot());
    model.tick(Duration::ZERO, Link::Live);
    let Some(all) = live.everything(PATIENCE)? else {
        return Err(Failed::Silent(PATIENCE.as_secs()));
    };
    for (topic, update) in all.states {
        model.update(&topic, update);
    }
    model.status = Some(all.status.clone());
    let shown = shown(all.status, &model);
    Ok(Found { shown, model })
}

fn shown(status: Status, model: &Model) -> Shown {
    Shown {
        schema: 1,
        pilot: status,
        health: model.health.clone().unwrap_or_default(),
        submissions: model.submissions.values().map(|seen| seen.row.clone()).collect(),
        submissions_total: model.submissions_total,
        workers: model.workers.values().map(|seen| seen.row.clone()).collect(),
        faults: model.faults.values().cloned().collect(),
        alarms: model.alarms.clone(),
    }
}

/// What there is to see of a run, at its end.
pub fn once_in(replay: &mut Replay) -> Found {
    let mut model = Model::new(replay.pilot());
    model.tick(Duration::ZERO, replay.link());
    for news in replay.news() {
        match news {
            News::Update(topic, update) => model.update(&topic, update),
            News::At(at) => model.at(at),
            News::Anew => model.anew(),
            News::Answer(..) | News::Done(_) => {}
        }
    }
    let shown = shown(replay.timeline().status(), &model);
    Found { shown, model }
}

/// Prints what there is to see as one JSON value.
pub fn print_json(shown: &Shown) -> Result<(), Failed> {
    let mut text = serde_json::to_string(shown).map_err(|error| Failed::Terminal(error.into()))?;
    text.push('\n');
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read it has enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failed::Terminal),
    }
}
