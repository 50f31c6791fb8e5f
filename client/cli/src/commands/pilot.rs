//! `scalems pilot …`.

use crate::Context;
use crate::args::PilotCommand;
use crate::exit::Exit;

pub(crate) fn run(context: &Context, command: PilotCommand) -> anyhow::Result<Exit> {
    match command {
        PilotCommand::Start(args) => super::start::run(context, &args),
        _ => anyhow::bail!("not here yet"),
    }
}
