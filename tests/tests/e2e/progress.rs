//! The bar, on a real terminal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use scalems_tests::pilot::{Fifo, Pilot, until_tasks};
use scalems_tests::terminal::has_terminal;

/// A wait for a task that runs, interrupted once or twice. Returns its exit code, and what it said.
fn interrupted(pilot: &Pilot, twice: bool) -> (Option<i32>, String) {
    let mut ready = Fifo::new(&pilot.home.work(), "ready");
    let line = "exec scalems submit --wait -- sh -c 'echo up > ready; exec sleep 600'";
    let mut child = pilot
        .home
        .command("sh")
        .args(["-c", line])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    ready.line();
    let pid = Pid::from_raw(child.id().cast_signed());
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    kill(pid, Signal::SIGINT).unwrap();
    while !said.contains("go on") {
        assert_ne!(errors.read_line(&mut said).unwrap(), 0, "{said}");
    }
    if twice {
        kill(pid, Signal::SIGINT).unwrap();
    }
    errors.read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn an_interrupt_lets_the_tasks_go_on() {
    let pilot = Pilot::start("--cores 2");
    let (code, said) = interrupted(&pilot, false);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("the tasks go on: `scalems wait 1`"), "{said}");
    let session = pilot.session();
    assert_eq!(until_tasks(&session, 1, |_| true).running, 1);
    pilot.sh("scalems task cancel all --kill").well();
    pilot.stop();
}

#[test]
fn two_interrupts_cancel_the_tasks() {
    let pilot = Pilot::start("--cores 2");
    let (code, said) = interrupted(&pilot, true);
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("1 are told to end"), "{said}");
    let session = pilot.session();
    until_tasks(&session, 1, |counts| counts.canceled == 1);
    pilot.stop();
}

/// A terminal of its own in tmux, which runs one command in it.
struct Terminal<'a> {
    pilot: &'a Pilot,
}

impl<'a> Terminal<'a> {
    fn start(pilot: &'a Pilot, line: &str) -> Self {
        let terminal = Self { pilot };
        // What is drawn is copied to a file by the terminal itself, as it comes.
        let status = terminal
            .tmux(&[
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                "100",
                "-y",
                "10",
                "sh",
                "-c",
            ])
            .arg(format!(
                "tmux -S tmux.sock pipe-pane -o 'cat > drawn'; {line}; echo \"code $?\" > code"
            ))
            .status();
        assert!(status.is_ok_and(|status| status.success()), "tmux runs");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> Command {
        let mut command = self.pilot.home.command("tmux");
        command.args(["-S", "tmux.sock"]).args(args).env_remove("TMUX");
        command
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // It ends by itself with its command; this is for a test that failed.
        let _ended = self.tmux(&["kill-server"]).output();
    }
}

#[test]
fn a_bar_moves_on_a_terminal_and_nowhere_else() {
    if !has_terminal() {
        return;
    }
    let pilot = Pilot::start("--cores 1");
    let mut gate = Fifo::new(&pilot.home.work(), "gate");
    let mut code = Fifo::new(&pilot.home.work(), "code");
    let mut drawn = Fifo::new(&pilot.home.work(), "drawn");
    let line = "scalems submit --array 0-3 --wait -- sh -c 'read go < gate; echo done %{INDEX}'";
    let terminal = Terminal::start(&pilot, line);
    let mut seen = String::new();
    drawn.until(&mut seen, "0/4");
    gate.release(2);
    drawn.until(&mut seen, "2/4");
    assert!(seen.contains('[') && seen.contains("2 done"), "{seen:?}");
    gate.release(2);
    drawn.until(&mut seen, "4 done");
    drawn.until(&mut seen, "done 3");
    assert_eq!(code.line(), "code 0");
    drop(terminal);
    // Not on a terminal: no bar.
    let said = pilot.sh("scalems submit --wait -- echo plain").well();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("plain\n", "1 done\n"));
    pilot.stop();
}

#[test]
fn what_programs_wrote_does_not_move_the_cursor() {
    if !has_terminal() {
        return;
    }
    let pilot = Pilot::start("");
    pilot
        .sh("scalems submit --wait -- printf 'a\\033[2Jb' > plain")
        .well();
    assert_eq!(
        pilot.home.read("plain"),
        "a\u{1b}[2Jb",
        "as it was, where it is no terminal"
    );
    let mut code = Fifo::new(&pilot.home.work(), "code");
    let mut drawn = Fifo::new(&pilot.home.work(), "drawn");
    let terminal = Terminal::start(&pilot, "scalems logs last");
    let mut seen = String::new();
    drawn.until(&mut seen, "a\\u{1b}[2Jb");
    assert_eq!(code.line(), "code 0");
    assert!(!seen.contains("\u{1b}[2J"), "{seen:?}");
    drop(terminal);
    pilot.stop();
}
