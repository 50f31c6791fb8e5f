//! A terminal to test in: tmux, with a shell in it, on which programs draw and in which keys are typed.
//!
//! Whatever is drawn wakes who waits for it: no wait sleeps, and each has a deadline.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::pilot::{Fifo, Home, PATIENCE};

/// What the shell in it shows when it waits for a line.
pub const PROMPT: &str = "shell> ";

/// A terminal with a shell in it, which has job control. It ends when it is dropped.
pub struct Terminal {
    /// The environment of its home.
    variables: Vec<(OsString, Option<OsString>)>,
    work: PathBuf,
    socket: PathBuf,
    drawn: Fifo,
    raw: Vec<u8>,
}

/// How a program has left the terminal, or has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// The screen for programs that draw, which hides what was printed before.
    pub alternate: bool,
    /// The cursor is seen.
    pub cursor: bool,
    /// Clicks are told to the program.
    pub mouse: bool,
    /// Keys come one by one, and are not shown by the terminal itself.
    pub raw: bool,
}

impl Modes {
    /// As a shell has it.
    pub const PLAIN: Self = Self {
        alternate: false,
        cursor: true,
        mouse: false,
        raw: false,
    };
}

/// Whether there is tmux; where nothing may be skipped it has to be.
pub fn has_terminal() -> bool {
    let there = Command::new("tmux")
        .arg("-V")
        .output()
        .is_ok_and(|said| said.status.success());
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    assert!(there || may_skip, "tmux is missing: run tests/run prepare");
    if !there {
        eprintln!("skipped: tmux is missing");
    }
    there
}

impl Terminal {
    /// A terminal of so many columns and rows, in the environment of `home` with these variables set too.
    #[track_caller]
    pub fn start(home: &Home, (columns, rows): (u16, u16), variables: &[(&str, &str)]) -> Self {
        let number = (0..u32::MAX).find(|number| !home.work().join(format!("drawn{number}")).exists());
        let name = format!("drawn{}", number.expect("there are numbers enough"));
        let drawn = Fifo::new(&home.work(), &name);
        let socket = home.temporary().join(format!("{name}.sock"));
        let environment = home.command("env");
        let of_home = environment.get_envs();
        let of_home = of_home.map(|(name, value)| (name.to_owned(), value.map(OsStr::to_owned)));
        let terminal = Self {
            variables: of_home.collect(),
            work: home.work(),
            socket,
            drawn,
            raw: Vec::new(),
        };
        let mut command = terminal.command(&["-u", "-f", "/dev/null", "new-session", "-d"]);
        command.args(["-x", &columns.to_string(), "-y", &rows.to_string()]);
        for (name, value) in variables {
            command.arg("-e").arg(format!("{name}={value}"));
        }
        // The line of state below would take a row of those that were asked for.
        // Not by its environment: the shell that tmux starts this with would take it out.
        command.arg(format!(
            "env PS1='{PROMPT}' bash --noprofile --norc --noediting -i"
        ));
        command.args([";", "set", "-g", "status", "off"]);
        command.args([";", "pipe-pane", "-O", &format!("cat > {name}")]);
        command
            .env("LANG", "C.UTF-8")
            .env_remove("LC_ALL")
            .env_remove("NO_COLOR")
            .env_remove("COLORTERM");
        let said = command.output().expect("tmux can be started");
        assert!(
            said.status.success(),
            "tmux: {}",
            String::from_utf8_lossy(&said.stderr)
        );
        let mut terminal = terminal;
        terminal.resize(columns, rows);
        terminal.until(PROMPT.trim_end());
        terminal
    }

    /// A program in the environment of the home.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.current_dir(&self.work);
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.program("tmux");
        command
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            .env_remove("TMUX")
            .env_remove("TMUX_PANE");
        command
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let said = self.command(args).output().expect("tmux can be started");
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "tmux {args:?}: {error}");
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Makes it so large.
    #[track_caller]
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.tmux(&[
            "resize-window",
            "-x",
            &columns.to_string(),
            "-y",
            &rows.to_string(),
        ]);
    }

    /// Types keys by their names, such as `Enter`, `C-c`, `j`.
    #[track_caller]
    pub fn keys(&mut self, keys: &[&str]) {
        let mut args = vec!["send-keys", "--"];
        args.extend(keys);
        self.tmux(&args);
    }

    /// Types text as it is.
    #[track_caller]
    pub fn text(&mut self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Types a line for the shell.
    #[track_caller]
    pub fn line(&mut self, line: &str) {
        self.text(line);
        self.keys(&["Enter"]);
    }

    /// Clicks on a column and row, counted from 0, with the left button.
    #[track_caller]
    pub fn click(&mut self, column: usize, row: usize) {
        let place = format!("{};{}", column + 1, row + 1);
        self.text(&format!("\x1b[<0;{place}M\x1b[<0;{place}m"));
    }

    /// Clicks on the first place where `text` is seen.
    #[track_caller]
    pub fn click_on(&mut self, text: &str) {
        let screen = self.screen();
        let found = screen.lines().enumerate().find_map(|(row, line)| {
            let at = line.find(text)?;
            Some((line[..at].chars().count(), row))
        });
        let (column, row) = found.unwrap_or_else(|| panic!("{text:?} is not on the screen:\n{screen}"));
        self.click(column, row);
    }

    /// Turns the wheel down over a column and row, counted from 0.
    #[track_caller]
    pub fn wheel_down(&mut self, column: usize, row: usize) {
        self.text(&format!("\x1b[<65;{};{}M", column + 1, row + 1));
    }

    /// What is seen, as text.
    #[track_caller]
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// What is seen, with the escapes for its colours.
    #[track_caller]
    pub fn painted(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// The title that programs have given it.
    #[track_caller]
    pub fn title(&self) -> String {
        self.tmux(&["display-message", "-p", "#{pane_title}"])
            .trim()
            .to_owned()
    }

    /// How it is now.
    #[track_caller]
    pub fn modes(&self) -> Modes {
        let said = self.tmux(&[
            "display-message",
            "-p",
            "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{pane_tty}",
        ]);
        let words: Vec<_> = said.split_whitespace().collect();
        let [alternate, cursor, mouse, tty] = words[..] else {
            panic!("tmux says {said:?}");
        };
        let said = self.program("stty").args(["-F", tty, "-a"]).output();
        let said = said.expect("stty can be started");
        assert!(said.status.success(), "stty -F {tty}");
        let settings = String::from_utf8_lossy(&said.stdout).into_owned();
        let echoes = settings.split_whitespace().any(|word| word == "echo");
        let waits = settings.split_whitespace().any(|word| word == "icanon");
        assert_eq!(echoes, waits, "half of it is raw: {settings}");
        Modes {
            alternate: alternate == "1",
            cursor: cursor == "1",
            mouse: mouse == "1",
            raw: !echoes,
        }
    }

    /// Waits until `text` was written to it, and returns all that was written until then as it came. The copy of it
    /// comes a little later than what is seen.
    #[track_caller]
    pub fn written_until(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let raw = String::from_utf8_lossy(&self.raw).into_owned();
            if raw.contains(text) {
                return raw;
            }
            let more = self.drawn.more(until);
            assert!(
                !more.is_empty(),
                "{text:?} was not written within {PATIENCE:?}: {raw:?}"
            );
            self.raw.extend(more);
        }
    }

    /// Waits until `text` is seen, and returns the screen.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> String {
        self.until_screen(&format!("{text:?}"), |screen| screen.contains(text))
    }

    /// Waits until all of these are seen at once, and returns the screen.
    #[track_caller]
    pub fn until_all(&mut self, texts: &[&str]) -> String {
        self.until_screen(&format!("{texts:?}"), |screen| {
            texts.iter().all(|text| screen.contains(text))
        })
    }

    /// Waits until `text` is not seen any more, and returns the screen.
    #[track_caller]
    pub fn until_gone(&mut self, text: &str) -> String {
        self.until_screen(&format!("no {text:?}"), |screen| !screen.contains(text))
    }

    /// Waits until the screen is as `is` says, which `what` names, and returns it.
    #[track_caller]
    pub fn until_screen(&mut self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            // What is not there yet has to be drawn, and that comes by the pipe after the terminal has taken it in.
            let more = self.drawn.more(until);
            assert!(
                !more.is_empty(),
                "{what} was not seen within {PATIENCE:?}:\n{screen}"
            );
            self.raw.extend(more);
        }
    }

    /// Waits until the shell is back and the terminal is the shell's, and checks that what was printed before is
    /// still seen.
    #[track_caller]
    pub fn until_back(&mut self, before: &str) -> String {
        let screen = self.until_screen("the shell", |screen| {
            screen.contains(before)
                && screen
                    .trim_end()
                    .lines()
                    .last()
                    .is_some_and(|line| line.trim_end() == PROMPT.trim_end())
        });
        assert_eq!(self.modes(), Modes::PLAIN, "{screen}");
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its programs hear that the terminal is gone, and end.
        let _ended = self.command(&["kill-server"]).output();
    }
}
