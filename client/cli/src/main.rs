//! The scalems command.

mod args;
mod bench;
mod commands;
mod demo;
mod exit;
mod interrupt;
mod metrics;
mod moment;
mod on_event;
mod print;
mod ssh;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use scalems_agent::logging;

use crate::args::{Command, LogTo, Output};
use crate::exit::Exit;

/// Why not the system's: docs/decisions/0003.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What every command needs to know.
struct Context {
    pilot: Option<String>,
    output: Output,
}

fn main() -> ExitCode {
    commands::shell::answer();
    let cli = args::parse();
    if let Err(error) = begin_log(&cli.command) {
        eprintln!("scalems: {error}");
        return Exit::Usage.into();
    }
    let context = Context {
        pilot: cli.pilot,
        output: cli.output,
    };
    match run(&context, cli.command) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("scalems: {}", print::error(&error));
            exit::of_error(&error).into()
        }
    }
}

/// Begins to log, at standard error.
fn begin_log(command: &Command) -> Result<(), logging::LogError> {
    let log = command.log();
    let colours = std::io::stderr().is_terminal() && log.to != Some(LogTo::Files);
    logging::begin(log.levels(), log.format(), colours)
}

fn run(context: &Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Pilot(command) => commands::pilot::run(context, command),
        Command::Worker(command) => commands::worker::run(context, command),
        Command::Connect(args) => commands::connect::run(context, &args),
        Command::Submit(args) => commands::submit::run(context, &args),
        Command::Top(args) => commands::top::run(context, &args),
        Command::Graph(args) => commands::graph::run(context, &args),
        Command::Task(command) => commands::task::run(context, &command),
        Command::Wait(args) => commands::wait::run(context, &args),
        Command::Logs(args) => commands::logs::run(context, &args),
        Command::Events(args) => commands::events::run(context, &args),
        Command::Metrics(args) => commands::metrics::run(context, &args),
        Command::Report(args) => commands::report::run(context, &args),
        Command::Journal(command) => commands::journal::run(context, &command),
        Command::Trace(command) => commands::trace::run(context, &command),
        Command::Bench(args) => bench::run(context, &args),
        Command::Demo(args) => demo::run(&args),
        Command::Filter(args) => commands::filter::run(&args),
        Command::DemoReplica(args) => {
            let summary = scalems_demo::run_replica(&args)?;
            println!("{summary}");
            Ok(Exit::Well)
        }
        Command::Doctor => commands::doctor::run(context),
        Command::Completion { shell } => commands::shell::completion(&shell),
        Command::Man { dir } => commands::shell::man(&dir),
        Command::Version => {
            let version = env!("CARGO_PKG_VERSION");
            match context.output {
                Output::Human | Output::Quiet => {
                    println!("scalems {version} (protocol {})", scalems_protocol::VERSION);
                }
                Output::Json | Output::Jsonl => {
                    println!(
                        "{}",
                        serde_json::json!({"scalems": version, "protocol": scalems_protocol::VERSION})
                    );
                }
            }
            Ok(Exit::Well)
        }
    }
}
