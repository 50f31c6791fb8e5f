//! The worker's place: sends each message back.

use std::path::Path;

use anyhow::Context as _;
use scalems_protocol::Role;
use scalems_transport::{Source, poll};

use super::{IDLE, READY, connect};

/// Serves until nothing has come for a long time.
pub(in super::super) fn run(directory: &Path) -> anyhow::Result<()> {
    let mut dealer = connect(directory, Role::Worker)?;
    dealer.send(b"hello", &[]).context("greet the raw head")?;
    println!("{READY}");
    loop {
        let [ready] = poll([Source::readable(&dealer)], Some(IDLE))?;
        if !ready.any() {
            return Ok(());
        }
        while let Some(message) = dealer.recv()? {
            dealer.send_message(&message).context("send a message back")?;
        }
    }
}
