//! `scalems completion` and `scalems man`: what a shell and a reader want of the program itself.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::env::Shells;

use super::pilot::start::own_program;
use crate::args::Cli;
use crate::exit::Exit;
use crate::print;

/// The variable by which the shell asks for what may come next.
pub(crate) const VARIABLE: &str = "SCALEMS_COMPLETE";

/// Answers a shell that asks for what may come next, if that is what the program was started for.
pub(crate) fn answer() {
    clap_complete::CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .complete();
}

/// Prints what a shell reads so that it asks.
pub(crate) fn completion(shell: &str) -> anyhow::Result<Exit> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell).context("the shell is not known")?;
    let program = own_program()?;
    let program = program.to_str().context("the program's path is no text")?;
    let mut text = Vec::new();
    shell.write_registration(VARIABLE, "scalems", "scalems", program, &mut text)?;
    print::out(&String::from_utf8(text)?)?;
    Ok(Exit::Well)
}

/// Writes a page for each command.
pub(crate) fn man(directory: &Path) -> anyhow::Result<Exit> {
    let failed = || format!("write manual pages to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), directory).with_context(failed)?;
    Ok(Exit::Well)
}
