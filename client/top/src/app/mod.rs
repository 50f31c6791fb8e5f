//! Keys, news and drawing brought together. All that is decided is decided here; a terminal is only drawn to.

mod actions;
mod asking;
mod commands;
mod logs;
pub(crate) mod tables;

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyEvent, MouseEvent};

use crate::kit::dialog::{Confirm, Help, Input, Menu};
use crate::kit::keys::{self, Command, Context, Place, Screen};
use crate::kit::settings::Settings;
use crate::kit::theme::Theme;
use crate::model::Model;
use crate::source::{Action, Answer, For, Link, News, Source};
use crate::view::rows::PilotFound;

pub use logs::{LogView, Stream};
pub use tables::Tables;

/// How long a message stays.
const MESSAGE: Duration = Duration::from_secs(8);

/// What lies over the screen.
pub enum Dialog {
    /// A question, and what is done if the answer is yes.
    Confirm(Confirm, Action),
    /// A list to choose from.
    Menu(Menu, Chosen),
    /// A line that is typed, and the filter that there was before.
    Filter(Input, String),
    /// The help.
    Help(Help),
}

/// What a menu is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The column to sort by.
    Sort,
    /// Columns that are shown.
    Columns,
    /// The theme.
    Theme,
}

/// What the details of a row are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// A submission.
    Submission(u64),
    /// A task: submission, offset, index.
    Task(u64, u32, u32),
    /// A worker.
    Worker(u64),
    /// A group of faults.
    Fault(crate::view::rows::FaultKey),
}

/// Text about one row, over a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Of what.
    pub of: Of,
    /// The first line that is seen.
    pub top: usize,
    /// Whether long lines are wrapped.
    pub wrap: bool,
    /// Lines there are, and lines that fit, when it was last drawn.
    pub size: (usize, usize),
}

/// Finds this user's pilots.
pub type Finder = Box<dyn FnMut() -> Vec<PilotFound>>;
/// Goes to another pilot.
pub type Opener = Box<dyn FnMut(&PilotFound) -> Result<Box<dyn Source>, String>>;

/// The monitor.
pub struct App {
    /// What is known.
    pub model: Model,
    /// Since the monitor began: what people wait by. The model's time is another in a replay.
    pub clock: Duration,
    /// What was known when the view was made to stand still.
    pub frozen: Option<Box<Model>>,
    /// Where news come from.
    pub source: Box<dyn Source>,
    /// How it looks.
    pub theme: Theme,
    /// Whether nothing may be done.
    pub readonly: bool,
    /// The screen that is shown.
    pub screen: Screen,
    /// Screens below it: what Esc goes back to.
    pub below: Vec<Screen>,
    /// The lists.
    pub tables: Tables,
    /// The submission whose tasks are shown; none: those of all.
    pub scope: Option<u64>,
    /// What a task printed.
    pub logs: Option<LogView>,
    /// Everything about one row.
    pub details: Option<Details>,
    /// What lies over the screen.
    pub dialog: Option<Dialog>,
    /// What was last said, and until when.
    pub message: Option<(String, bool, Duration)>,
    /// This user's pilots, as they were last looked for.
    pub pilots: Vec<PilotFound>,
    /// Names of pilots that were shown before this one.
    pub trail: Vec<String>,
    /// The time that a column of a sparkline is.
    pub span: Duration,
    /// Which panel of a screen has all of it.
    pub zoomed: bool,
    /// The panel that has the keys.
    pub panel: usize,
    /// What is kept from one time to the next.
    pub settings: Settings,
    /// Where tabs were drawn: screen, first column, width.
    pub tabs: Vec<(Screen, u16, u16)>,
    find: Finder,
    open: Opener,
    looked: Option<Duration>,
    asked: VecDeque<(For, Duration)>,
    /// The last worker of the page that was asked for.
    workers_after: Option<u64>,
    /// Whether the screen has to be drawn.
    pub dirty: bool,
    /// Whether the terminal is to be left to the shell.
    pub suspend: bool,
    /// Whether all is to be drawn anew.
    pub redraw: bool,
    /// Whether it is over.
    pub quit: bool,
}

impl App {
    /// A monitor of what `source` tells.
    pub fn new(
        source: Box<dyn Source>,
        theme: Theme,
        settings: Settings,
        readonly: bool,
        (find, open): (Finder, Opener),
    ) -> Self {
        let mut app = Self {
            model: Model::new(source.pilot()),
            clock: Duration::ZERO,
            frozen: None,
            source,
            theme,
            readonly,
            screen: settings.screen,
            below: Vec::new(),
            tables: Tables::new(&settings),
            scope: None,
            logs: None,
            details: None,
            dialog: None,
            message: None,
            pilots: Vec::new(),
            trail: Vec::new(),
            span: Duration::from_secs(1),
            zoomed: false,
            panel: 0,
            settings,
            tabs: Vec::new(),
            find,
            open,
            looked: None,
            asked: VecDeque::new(),
            workers_after: None,
            dirty: true,
            suspend: false,
            redraw: false,
            quit: false,
        };
        if let Link::Replay(cursor) = app.source.link() {
            app.readonly = true;
            app.span = commands::span_of(cursor.end.saturating_sub(cursor.begin));
        }
        app
    }

    /// What is shown: what is known, or what was when the view was made to stand still.
    pub fn shown(&self) -> &Model {
        self.frozen.as_deref().unwrap_or(&self.model)
    }

    /// What decides what a key does.
    pub fn context(&self) -> Context {
        let place = match &self.dialog {
            Some(Dialog::Confirm(..)) => Place::Confirm,
            Some(Dialog::Menu(..)) => Place::Menu,
            Some(Dialog::Filter(..)) => Place::Input,
            Some(Dialog::Help(help)) if help.is_searching() => Place::Input,
            Some(Dialog::Help(_)) => Place::Help,
            None if self.details.is_some() => Place::Details,
            None => self.screen.place(),
        };
        Context {
            place,
            readonly: self.readonly,
            replay: matches!(self.model.link, Link::Replay(_)),
        }
    }

    /// It is `now`: takes in what has come, and asks for what the screen needs.
    pub fn tick(&mut self, now: Duration) {
        self.clock = now;
        let link = self.source.link();
        let replays = matches!(link, Link::Replay(_));
        self.dirty |= self.model.tick(now, link) || replays;
        self.take_news();
        if self.message.as_ref().is_some_and(|(.., until)| *until <= now) {
            self.message = None;
            self.dirty = true;
        }
        self.ask_for_screen();
        if replays {
            // What was can be told at once.
            self.take_news();
        }
        if self.dirty {
            self.refresh();
        }
    }

    fn take_news(&mut self) {
        let news = self.source.news();
        self.dirty |= !news.is_empty();
        for one in news {
            match one {
                News::Update(topic, update) => self.model.update(&topic, update),
                News::Answer(what, answer) => self.answered(what, answer),
                News::Done(Ok(done)) => self.say(done, false),
                News::Done(Err(problem)) => self.say(problem, true),
                News::At(at) => {
                    self.model.at(at);
                    self.ask_at_once();
                }
                News::Anew => {
                    self.model.anew();
                    self.frozen = None;
                }
            }
        }
    }

    fn answered(&mut self, what: For, answer: Result<Answer, String>) {
        match (what, answer) {
            (For::Output | For::Result, answer) => self.take_output(what, answer),
            (For::Explain, answer) => {
                self.model.explanation = Some(match answer {
                    Ok(Answer::Reply(reply)) => match *reply {
                        scalems_protocol::client::Reply::Explain(explanation) => Ok(*explanation),
                        other => Err(format!("the agent answered {other:?}")),
                    },
                    Ok(_) => return,
                    Err(problem) => Err(problem),
                });
            }
            (_, Ok(Answer::Reply(reply))) => self.take_reply(what, *reply),
            (_, Ok(_)) => {}
            // While the agent is away the first line says so; it is asked again.
            (_, Err(problem)) if self.model.link == Link::Live => self.say(problem, true),
            (_, Err(_)) => {}
        }
    }

    /// Says something in the last line for a while.
    pub fn say(&mut self, text: impl Into<String>, bad: bool) {
        self.message = Some((text.into(), bad, self.clock + MESSAGE));
        self.dirty = true;
    }

    /// Something came from the terminal.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Key(key) => self.key(*key),
            Event::Mouse(mouse) => self.mouse(*mouse),
            Event::Paste(text) => {
                if let Some(Dialog::Filter(input, _)) = &mut self.dialog {
                    input.insert(text);
                    self.filter_typed();
                    self.dirty = true;
                }
            }
            Event::Resize(..) | Event::FocusGained => self.dirty = true,
            Event::FocusLost => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        self.dirty = true;
        match keys::dispatch(key, self.context()) {
            Some(command) => self.command(command),
            None => self.type_key(key),
        }
        self.refresh();
    }

    fn mouse(&mut self, mouse: MouseEvent) {
        self.clicked(mouse);
        if self.dirty {
            self.refresh();
        }
    }

    /// Does what was asked for.
    pub fn command(&mut self, command: Command) {
        if self.command_of_dialog(command) {
            return;
        }
        self.command_of_screen(command);
    }
}
