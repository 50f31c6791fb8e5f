//! The loop: what came from the terminal, what came from the pilot, and if anything changed, a new screen.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scalems_client::locate;

use crate::app::{App, Finder, Opener};
use crate::kit::keys::Screen as Page;
use crate::kit::settings::Settings;
use crate::kit::theme::{Terminal, Theme};
use crate::options::{Failed, TopOptions};
use crate::source::{Link, Live, Source, Where};
use crate::terminal::Screen;
use crate::view;
use crate::view::rows::PilotFound;

/// How often news are looked for: the eye takes no more.
const TICK: Duration = Duration::from_millis(250);
/// How often while a replay plays.
const PLAY: Duration = Duration::from_millis(100);
/// How long the first screen waits for what is to be on it, and how often that is looked for.
const FIRST: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_millis(5);
/// How often the screen is drawn although nothing came: clocks run.
const CLOCK: Duration = Duration::from_secs(1);

/// A source that is open already, such as a replay; or the pilot that the options name.
pub enum Opened {
    /// The pilot of the options.
    Pilot,
    /// This.
    Source(Box<dyn Source>),
}

/// Shows the pilot until it is left. Gives the signal that ended it, if one did.
pub fn run(options: &TopOptions, opened: Opened) -> Result<Option<Signal>, Failed> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failed::NoTerminal);
    }
    let source: Box<dyn Source> = match opened {
        Opened::Source(source) => source,
        Opened::Pilot => Box::new(Live::connect(&options.pilot)?),
    };
    let (mut settings, complaint) = options
        .settings
        .as_deref()
        .map_or_else(Default::default, Settings::load);
    if let Some(theme) = options.theme {
        settings.theme = theme;
    }
    if let Some(screen) = options.screen {
        settings.screen = screen;
    }
    let terminal = Terminal::detect(options.color, options.ascii, |name| std::env::var(name).ok());
    let theme = Theme::new(settings.theme, terminal);
    let mut app = App::new(source, theme, settings, options.readonly, (finder(), opener()));
    if let Some(complaint) = complaint {
        app.say(complaint, true);
    }
    let mut screen = Screen::take().map_err(Failed::Terminal)?;
    let ended = turn(&mut app, &mut screen).map_err(Failed::Terminal);
    drop(screen);
    keep(&mut app, options);
    ended
}

fn turn(app: &mut App, screen: &mut Screen) -> std::io::Result<Option<Signal>> {
    let begun = Instant::now();
    let mut drawn = begun;
    app.tick(begun.elapsed());
    while !app.model.is_known() && begun.elapsed() < FIRST {
        for event in screen.events(SOON)? {
            app.event(&event);
        }
        app.tick(begun.elapsed());
    }
    loop {
        app.tick(begun.elapsed());
        if app.redraw {
            app.redraw = false;
            screen.clear()?;
            app.dirty = true;
        }
        if app.dirty || drawn.elapsed() >= CLOCK {
            screen.draw(|frame| view::draw(app, frame))?;
            app.dirty = false;
            drawn = Instant::now();
        }
        if app.quit {
            return Ok(None);
        }
        if let Some(signal) = screen.ending() {
            return Ok(Some(signal));
        }
        if app.suspend {
            app.suspend = false;
            screen.suspend()?;
            app.dirty = true;
        } else if screen.was_resumed() {
            screen.again()?;
            app.dirty = true;
        }
        let plays = matches!(&app.model.link, Link::Replay(cursor) if cursor.playing);
        for event in screen.events(if plays { PLAY } else { TICK })? {
            app.event(&event);
        }
    }
}

/// Writes what is kept. What fails is told on the terminal that is the shell's again.
fn keep(app: &mut App, options: &TopOptions) {
    let Some(path) = &options.settings else { return };
    for screen in Page::ALL {
        if let Some(kept) = app.tables.kept(screen, app.theme) {
            app.settings.tables.insert(screen.name().to_owned(), kept);
        }
    }
    if let Err(error) = app.settings.save(path) {
        eprintln!("scalems top: {error}");
    }
}

fn finder() -> Finder {
    Box::new(|| {
        let found = locate::home()
            .and_then(|home| locate::list_in(&home))
            .unwrap_or_default();
        let mut pilots: Vec<PilotFound> = found
            .into_iter()
            .map(|located| PilotFound {
                name: located.file.pilot,
                host: located.file.host,
                pid: located.file.pid,
                file: located.path,
            })
            .collect();
        pilots.sort_by(|a, b| a.name.cmp(&b.name));
        pilots
    })
}

fn opener() -> Opener {
    Box::new(|found| {
        let live = Live::connect(&Where::At(found.file.clone())).map_err(|error| error.to_string())?;
        Ok(Box::new(live))
    })
}
