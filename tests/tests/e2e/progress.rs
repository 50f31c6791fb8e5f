//! The bar, on a real terminal.

use std::process::Command;

use scalems_tests::pilot::{Fifo, Pilot};

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
    let there = Command::new("tmux")
        .arg("-V")
        .output()
        .is_ok_and(|said| said.status.success());
    if !there {
        assert!(
            std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty(),
            "tmux is missing"
        );
        eprintln!("skipped: tmux is missing");
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
