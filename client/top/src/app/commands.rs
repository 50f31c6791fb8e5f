//! What keys and clicks do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::{App, Chosen, Details, Dialog, LogView, Of};
use crate::kit::dialog::{Help, Input, Item, Menu};
use crate::kit::keys::{Command, Screen};
use crate::kit::query::QUERY_BYTES;
use crate::kit::table::Hit;
use crate::kit::theme::ThemeName;
use crate::source::{Link, Step};
use crate::view::rows::{EventRows, FaultRows, PilotRows, SubmissionRows, TaskRows, WorkerRows, first_index};

/// Spans that a column of a sparkline may be, seconds.
const SPANS: [u64; 6] = [1, 2, 5, 15, 60, 300];
/// Lines that a wheel scrolls.
const WHEEL: isize = 3;

/// The span that a column of a sparkline is, such that about sixty of them show a time.
pub(super) fn span_of(time: std::time::Duration) -> std::time::Duration {
    let wanted = time / 60;
    if wanted < std::time::Duration::from_secs(1) {
        // A run of seconds: none of the usual ones would show anything.
        return wanted.max(std::time::Duration::from_millis(1));
    }
    let found = SPANS.into_iter().find(|span| *span >= wanted.as_secs());
    std::time::Duration::from_secs(found.unwrap_or(SPANS[SPANS.len() - 1]))
}

impl App {
    /// Does what was asked of what lies over the screen. Whether that was for it.
    pub(super) fn command_of_dialog(&mut self, command: Command) -> bool {
        match command {
            Command::Quit if self.dialog.is_none() => return false,
            Command::Redraw | Command::Suspend => return false,
            Command::Quit => {
                self.quit = true;
                return true;
            }
            _ => {}
        }
        let Some(dialog) = &mut self.dialog else {
            return false;
        };
        match dialog {
            Dialog::Confirm(confirm, action) => {
                if let Some(yes) = confirm.command(command) {
                    let action = action.clone();
                    self.dialog = None;
                    if yes {
                        self.source.act(action);
                    }
                }
            }
            Dialog::Menu(menu, chosen) => {
                let chosen = *chosen;
                if command == Command::Back {
                    self.dialog = None;
                } else if let Some(item) = menu.command(command) {
                    self.choose(chosen, item);
                }
            }
            Dialog::Filter(input, before) => match command {
                Command::Open => {
                    if !input.has_error() {
                        let text = input.text().to_owned();
                        self.settings.remember_filter(&text);
                        self.dialog = None;
                    }
                }
                Command::Back => {
                    let before = std::mem::take(before);
                    self.dialog = None;
                    self.apply_filter(&before);
                }
                _ => {
                    if input.command(command) {
                        self.filter_typed();
                    }
                }
            },
            Dialog::Help(help) => {
                if !help.command(command) {
                    self.dialog = None;
                }
            }
        }
        true
    }

    /// A key that is no command: it is typed.
    pub(super) fn type_key(&mut self, key: KeyEvent) {
        match &mut self.dialog {
            Some(Dialog::Filter(input, _)) => {
                let changed = input.key(key);
                if changed {
                    self.filter_typed();
                }
            }
            Some(Dialog::Help(help)) if help.is_searching() => {
                help.search().key(key);
            }
            Some(Dialog::Menu(menu, chosen)) => {
                let chosen = *chosen;
                if let KeyCode::Char(letter) = key.code
                    && let Some(item) = menu.letter(letter)
                {
                    self.choose(chosen, item);
                }
            }
            _ => {}
        }
    }

    pub(super) fn filter_typed(&mut self) {
        let Some(Dialog::Filter(input, _)) = &self.dialog else {
            return;
        };
        let text = input.text().to_owned();
        let error = self.apply_filter(&text);
        if let Some(Dialog::Filter(input, _)) = &mut self.dialog {
            input.set_error(error);
        }
    }

    /// Filters what is shown. Gives what is wrong with the text, and where.
    fn apply_filter(&mut self, text: &str) -> Option<(usize, String)> {
        if self.screen == Screen::Logs {
            if let Some(log) = &mut self.logs {
                text.clone_into(&mut log.filter);
            }
            return None;
        }
        let set = self.tables.set_filter(self.screen, text, self.theme);
        set.err().map(|error| (error.at, error.message))
    }

    fn filter(&mut self) -> String {
        match (self.screen, &self.logs) {
            (Screen::Logs, Some(log)) => log.filter.clone(),
            _ => self.tables.filter(self.screen, self.theme),
        }
    }

    pub(super) fn command_of_screen(&mut self, command: Command) {
        if self.details.is_some() && self.command_of_details(command) {
            return;
        }
        match command {
            Command::Quit => self.quit = true,
            Command::Redraw => self.redraw = true,
            Command::Suspend => self.suspend = true,
            Command::Help => self.dialog = Some(Dialog::Help(Help::new(self.context()))),
            Command::Back => self.back(),
            Command::Go(screen) => self.go(screen),
            Command::NextPanel => self.next_panel(true),
            Command::PreviousPanel => self.next_panel(false),
            Command::Open => self.descend(),
            Command::Details => self.show_details(),
            Command::Explain => self.show_explanation(),
            Command::Logs => self.show_logs(),
            Command::Filter => {
                let history = self.settings.filters.clone();
                let before = self.filter();
                let input = Input::new("/", &before, QUERY_BYTES).history(&history);
                self.dialog = Some(Dialog::Filter(input, before));
            }
            Command::ClearFilter => drop(self.apply_filter("")),
            Command::OnlyFaults => self.only_faults(),
            Command::SortMenu => self.sort_menu(),
            Command::Columns => self.columns_menu(),
            Command::Options => self.options_menu(),
            Command::SortBy(letter) => {
                let columns = self.tables.columns(self.screen, self.theme);
                if let Some(column) = columns.iter().position(|column| column.letter == letter) {
                    self.tables.sort_by(self.screen, column, self.theme);
                }
            }
            Command::Pause => self.pause(),
            Command::Live => self.live(),
            Command::Zoom => self.zoomed = !self.zoomed,
            Command::Finer => self.rescale(false),
            Command::Coarser => self.rescale(true),
            Command::Cancel | Command::Retry | Command::Drain | Command::Stop => self.propose(command),
            Command::StepBack => self.source.step(Step::By(-1)),
            Command::StepForward => self.source.step(Step::By(1)),
            Command::Slower => self.source.step(Step::Speed(0.5)),
            Command::Faster => self.source.step(Step::Speed(2.0)),
            Command::NextFault => self.source.step(Step::Fault(true)),
            Command::PreviousFault => self.source.step(Step::Fault(false)),
            Command::Start => self.source.step(Step::To(false)),
            _ if self.screen == Screen::Logs => self.command_of_logs(command),
            _ => self.command_of_list(command),
        }
    }

    fn command_of_list(&mut self, command: Command) {
        if self.screen == Screen::Events {
            // Whoever goes to the end wants to stay there; whoever goes elsewhere, too.
            self.tables.follows = command == Command::Last;
        }
        let model = self.frozen.as_deref().unwrap_or(&self.model);
        self.tables
            .command(command, self.screen, model, &self.pilots, self.theme);
    }

    fn command_of_logs(&mut self, command: Command) {
        let Some(log) = &mut self.logs else { return };
        match command {
            Command::Stream => log.stream = log.stream.next(),
            Command::Wrap => {
                log.wrap = !log.wrap;
                self.settings.wrap = log.wrap;
            }
            Command::Left => log.left = log.left.saturating_sub(8),
            Command::Right => log.left += 8,
            other => {
                if let Some(top) = scrolled(other, log.top, log.size) {
                    log.follow = matches!(other, Command::Last);
                    log.top = top;
                }
            }
        }
    }

    fn command_of_details(&mut self, command: Command) -> bool {
        let Some(details) = &mut self.details else {
            return false;
        };
        match command {
            Command::Back => self.details = None,
            Command::Wrap => details.wrap = !details.wrap,
            Command::Zoom | Command::Filter | Command::ClearFilter | Command::Mark => {}
            Command::Logs | Command::Explain | Command::Cancel | Command::Retry => return false,
            other => match scrolled(other, details.top, details.size) {
                Some(top) => details.top = top,
                None => return false,
            },
        }
        true
    }

    fn back(&mut self) {
        if self.zoomed {
            self.zoomed = false;
        } else if let Some(screen) = self.below.pop() {
            if self.screen == Screen::Tasks {
                self.scope = None;
            }
            self.screen = screen;
        } else if self.screen != Screen::Overview {
            self.screen = Screen::Overview;
        }
        self.ask_at_once();
    }

    /// Shows a screen that was asked for by its name.
    pub(super) fn go(&mut self, screen: Screen) {
        if screen == Screen::Tasks && self.screen != Screen::Tasks {
            self.open_tasks(None);
        }
        self.below.clear();
        self.details = None;
        self.zoomed = false;
        self.screen = screen;
        self.settings.screen = screen;
        self.ask_at_once();
    }

    fn next_panel(&mut self, on: bool) {
        if self.screen == Screen::Overview && self.zoomed {
            self.panel = (self.panel + if on { 1 } else { 3 }) % 4;
            return;
        }
        let all = Screen::ALL;
        let at = all
            .iter()
            .position(|screen| *screen == self.screen)
            .unwrap_or_default();
        let step = if on { 1 } else { all.len() - 1 };
        self.go(all[(at + step) % all.len()]);
    }

    /// Shows a screen that is a level below this one.
    fn enter(&mut self, screen: Screen) {
        self.below.push(self.screen);
        self.screen = screen;
        self.details = None;
        self.zoomed = false;
        self.ask_at_once();
    }

    fn open_tasks(&mut self, submission: Option<u64>) {
        self.scope = submission;
        self.model.tasks.clear();
        self.model.more_tasks = false;
        self.ask_at_once();
    }

    fn descend(&mut self) {
        match self.screen {
            Screen::Overview => self.enter(Screen::Submissions),
            Screen::Submissions => {
                if let Some(number) = self.submission() {
                    self.open_tasks(Some(number));
                    self.enter(Screen::Tasks);
                }
            }
            Screen::Tasks | Screen::Workers | Screen::Faults => self.show_details(),
            Screen::Events => {}
            Screen::Logs => {}
            Screen::Pilots => self.open_pilot(),
        }
    }

    fn submission(&self) -> Option<u64> {
        let rows = SubmissionRows::new(self.shown(), self.theme);
        let row = self.tables.submissions.chosen()?;
        rows.get(row).map(|seen| seen.row.submission)
    }

    /// The task that is meant: the chosen row's first, or that of the details.
    fn task(&self) -> Option<(u64, u32, u32)> {
        if let Some(Details {
            of: Of::Task(submission, offset, index),
            ..
        }) = &self.details
        {
            return Some((*submission, *offset, *index));
        }
        match self.screen {
            Screen::Tasks => {
                let rows = TaskRows::new(&self.shown().tasks, self.theme);
                let row = rows.get(self.tables.tasks.chosen()?)?;
                Some((row.run.submission, row.run.lo, first_index(row)))
            }
            Screen::Faults => {
                let rows = FaultRows::new(self.shown(), self.theme);
                let group = rows.get(self.tables.faults.chosen()?)?;
                let (submission, index) = group.last;
                Some((submission, self.offset_of(submission, index), index))
            }
            Screen::Workers => {
                let rows = WorkerRows::new(self.shown(), self.theme);
                let seen = rows.get(self.tables.workers.chosen()?)?;
                let name = Some(seen.row.name.as_str());
                let row = self
                    .shown()
                    .running
                    .iter()
                    .find(|row| row.worker.as_deref() == name)?;
                Some((row.run.submission, row.run.lo, first_index(row)))
            }
            _ => None,
        }
    }

    /// The offset of an index, if none before it were left out.
    fn offset_of(&self, submission: u64, index: u32) -> u32 {
        let seen = self.shown().submissions.get(&submission);
        let (first, step, _) = seen.map_or((0, 1, 0), |seen| seen.row.indices);
        index.saturating_sub(first) / step.max(1)
    }

    fn show_details(&mut self) {
        let theme = self.theme;
        let of = match self.screen {
            Screen::Submissions => self.submission().map(Of::Submission),
            Screen::Tasks => self
                .task()
                .map(|(submission, offset, index)| Of::Task(submission, offset, index)),
            Screen::Workers => {
                let rows = WorkerRows::new(self.shown(), theme);
                let row = self.tables.workers.chosen();
                row.and_then(|row| rows.get(row))
                    .map(|seen| Of::Worker(seen.row.worker))
            }
            Screen::Faults => {
                let rows = FaultRows::new(self.shown(), theme);
                let row = self.tables.faults.chosen();
                let group = row.and_then(|row| rows.get(row));
                group.map(|group| Of::Fault((group.code.clone(), group.what.clone(), group.host.clone())))
            }
            Screen::Events => {
                // All of a long line.
                let rows = EventRows::new(self.shown(), theme);
                let row = self.tables.events.chosen();
                let text = row.and_then(|row| rows.get(row)).map(|entry| entry.text.clone());
                if let Some(text) = text {
                    self.say(text, false);
                }
                None
            }
            Screen::Overview | Screen::Logs | Screen::Pilots => None,
        };
        self.show(of);
    }

    fn show(&mut self, of: Option<Of>) {
        let Some(of) = of else { return };
        self.model.explanation = None;
        self.details = Some(Details {
            of,
            top: 0,
            wrap: true,
            size: (0, 0),
        });
        self.ask_at_once();
    }

    fn show_explanation(&mut self) {
        let task = self.task().or_else(|| {
            // Of a submission: its first task.
            let number = self.submission().filter(|_| self.screen == Screen::Submissions)?;
            let seen = self.shown().submissions.get(&number)?;
            Some((number, 0, seen.row.indices.0))
        });
        self.show(task.map(|(submission, offset, index)| Of::Task(submission, offset, index)));
    }

    fn show_logs(&mut self) {
        let Some((submission, offset, index)) = self.task() else {
            self.say("there is no task here whose output could be shown", true);
            return;
        };
        let same = self
            .logs
            .as_ref()
            .is_some_and(|log| (log.submission, log.offset) == (submission, offset));
        if !same {
            self.logs = Some(LogView::of(submission, offset, index, self.settings.wrap));
        }
        self.enter(Screen::Logs);
    }

    fn only_faults(&mut self) {
        let text = match self.screen {
            Screen::Submissions => "failed>0",
            Screen::Tasks => "state=failed",
            Screen::Workers => "state!=active",
            Screen::Events => "kind=fault",
            _ => return,
        };
        let text = if self.filter() == text { "" } else { text };
        self.apply_filter(text);
        self.ask_at_once();
    }

    fn sort_menu(&mut self) {
        let columns = self.tables.columns(self.screen, self.theme);
        if columns.is_empty() {
            return;
        }
        let sort = self.tables.sort(self.screen, self.theme);
        let items = columns.iter().enumerate().map(|(at, column)| Item {
            label: column.name.into(),
            letter: Some(column.letter),
            is_on: sort.is_some_and(|(by, _)| by == at),
        });
        let menu = Menu::new("sort by", items.collect());
        self.dialog = Some(Dialog::Menu(menu, Chosen::Sort));
    }

    fn columns_menu(&mut self) {
        let columns = self.tables.columns(self.screen, self.theme);
        let (screen, theme) = (self.screen, self.theme);
        let mut items = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            items.push(Item {
                label: column.name.into(),
                letter: Some(column.letter),
                is_on: !self.tables.is_hidden(screen, at, theme),
            });
        }
        if !items.is_empty() {
            self.dialog = Some(Dialog::Menu(Menu::new("columns", items), Chosen::Columns));
        }
    }

    fn options_menu(&mut self) {
        let items = ThemeName::ALL.map(|name| Item {
            label: name.name().into(),
            letter: None,
            is_on: name == self.theme.name,
        });
        self.dialog = Some(Dialog::Menu(Menu::new("theme", items.into()), Chosen::Theme));
    }

    fn choose(&mut self, chosen: Chosen, item: usize) {
        let (screen, theme) = (self.screen, self.theme);
        match chosen {
            Chosen::Sort => {
                self.tables.sort_by(screen, item, theme);
                self.dialog = None;
            }
            Chosen::Theme => {
                if let Some(name) = ThemeName::ALL.get(item) {
                    self.theme.name = *name;
                    self.settings.theme = *name;
                }
                self.dialog = None;
            }
            Chosen::Columns => {
                let tables = &mut self.tables;
                tables.toggle_column(screen, item, theme);
                // It stays: several are chosen.
                if let Some(Dialog::Menu(menu, _)) = &mut self.dialog {
                    menu.set_on(|column| !tables.is_hidden(screen, column, theme));
                }
            }
        }
    }

    fn pause(&mut self) {
        if matches!(self.model.link, Link::Replay(_)) {
            self.source.step(Step::Toggle);
        } else if self.screen == Screen::Logs {
            if let Some(log) = &mut self.logs {
                log.follow = !log.follow;
            }
        } else if self.frozen.is_some() {
            self.frozen = None;
        } else {
            self.frozen = Some(Box::new(self.model.clone()));
        }
    }

    fn live(&mut self) {
        if matches!(self.model.link, Link::Replay(_)) {
            self.source.step(Step::To(true));
        }
        self.frozen = None;
        self.tables.follows = true;
        if let Some(log) = &mut self.logs {
            log.follow = true;
        }
    }

    fn rescale(&mut self, coarser: bool) {
        let now = self.span.as_secs();
        let at = SPANS.iter().position(|span| *span >= now).unwrap_or(0);
        let to = if coarser { at + 1 } else { at.saturating_sub(1) };
        let seconds = SPANS.get(to).copied().unwrap_or(now);
        self.span = std::time::Duration::from_secs(seconds);
    }

    fn open_pilot(&mut self) {
        let rows = PilotRows::new(&self.pilots, &self.model.pilot);
        let Some(found) = self.tables.pilots.chosen().and_then(|row| rows.get(row)).cloned() else {
            return;
        };
        if found.name == self.model.pilot {
            return self.go(Screen::Overview);
        }
        match (self.open)(&found) {
            Ok(source) => {
                let before = std::mem::take(&mut self.model.pilot);
                self.trail.retain(|name| *name != found.name && *name != before);
                self.trail.push(before);
                self.trail.drain(..self.trail.len().saturating_sub(3));
                let now = self.model.now;
                self.source = source;
                self.model = crate::model::Model::new(self.source.pilot());
                self.model.now = now;
                self.frozen = None;
                self.logs = None;
                self.workers_after = None;
                self.scope = None;
                self.go(Screen::Overview);
            }
            Err(problem) => self.say(problem, true),
        }
    }

    /// The list that is shown looks at its rows anew.
    pub fn refresh(&mut self) {
        let model = self.frozen.as_deref().unwrap_or(&self.model);
        self.tables.update(self.screen, model, &self.pilots, self.theme);
    }

    pub(super) fn clicked(&mut self, mouse: MouseEvent) {
        let at = Position::new(mouse.column, mouse.row);
        match mouse.kind {
            MouseEventKind::Down(MouseButton::Left) => {
                self.dirty = true;
                self.press(at);
            }
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
                self.dirty = true;
                let up = mouse.kind == MouseEventKind::ScrollUp;
                self.wheel(if up { -WHEEL } else { WHEEL });
            }
            _ => {}
        }
    }

    fn press(&mut self, at: Position) {
        match &mut self.dialog {
            Some(Dialog::Confirm(confirm, _)) => {
                if let Some(yes) = confirm.click(at) {
                    self.command(if yes { Command::Yes } else { Command::No });
                }
                return;
            }
            Some(Dialog::Menu(menu, chosen)) => {
                let chosen = *chosen;
                if let Some(item) = menu.click(at) {
                    self.choose(chosen, item);
                }
                return;
            }
            Some(_) => return,
            None => {}
        }
        let tab = self
            .tabs
            .iter()
            .find(|(_, x, wide)| at.y == 1 && at.x >= *x && at.x < x + wide);
        if let Some((screen, ..)) = tab {
            return self.go(*screen);
        }
        if self.details.is_some() {
            return;
        }
        let (screen, theme) = (self.screen, self.theme);
        match self.tables.hit(screen, at, theme) {
            Some(Hit::Head(column)) => self.tables.sort_by(screen, column, theme),
            Some(Hit::Row(position)) => {
                let model = self.frozen.as_deref().unwrap_or(&self.model);
                let again = self
                    .tables
                    .choose_at(screen, position, model, &self.pilots, theme);
                if again {
                    self.command(Command::Open);
                }
            }
            None => {}
        }
    }

    fn wheel(&mut self, lines: isize) {
        let by = |top: usize, (all, page): (usize, usize)| {
            top.saturating_add_signed(lines).min(all.saturating_sub(page))
        };
        if let Some(details) = &mut self.details {
            details.top = by(details.top, details.size);
        } else if self.screen == Screen::Logs {
            if let Some(log) = &mut self.logs {
                log.top = by(log.top, log.size);
                log.follow = log.top + log.size.1 >= log.size.0;
            }
        } else {
            let model = self.frozen.as_deref().unwrap_or(&self.model);
            self.tables
                .scroll(lines, self.screen, model, &self.pilots, self.theme);
        }
    }
}

/// The first line that is seen after a command; `None`: it moves nothing.
fn scrolled(command: Command, top: usize, (all, page): (usize, usize)) -> Option<usize> {
    let page = page.max(1);
    let last = all.saturating_sub(page);
    let to = match command {
        Command::Up => top.saturating_sub(1),
        Command::Down => top + 1,
        Command::HalfUp => top.saturating_sub(page / 2),
        Command::HalfDown => top + page / 2,
        Command::PageUp => top.saturating_sub(page),
        Command::PageDown => top + page,
        Command::First => 0,
        Command::Last => last,
        _ => return None,
    };
    Some(to.min(last))
}
