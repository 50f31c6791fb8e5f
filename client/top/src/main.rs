//! The monitor as a command of its own.

use std::process::ExitCode;

use clap::Parser;
use scalems_top::{Opened, TopArgs};

/// The live monitor of a scalems pilot.
#[derive(Debug, Parser)]
#[command(name = "scalems-top", version, about, max_term_width = 110)]
#[command(after_help = "Examples:\n  scalems-top\n  scalems-top --once")]
struct Cli {
    /// The pilot to show; without it the one that runs.
    #[arg(long, env = "SCALEMS_PILOT", value_name = "NAME")]
    pilot: Option<String>,
    #[command(flatten)]
    top: TopArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let options = cli.top.options(cli.pilot);
    let ended = if cli.top.once {
        scalems_top::once(&options).and_then(|found| scalems_top::print_json(&found.shown).map(|()| None))
    } else {
        scalems_top::run(&options, Opened::Pilot)
    };
    match ended {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(signal)) => ExitCode::from(128 + signal as u8),
        Err(error) => {
            eprintln!("scalems-top: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
