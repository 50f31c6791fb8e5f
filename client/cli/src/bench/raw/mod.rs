//! What ZeroMQ alone can do: the same three processes as a client, an agent and a worker, over the same
//! sockets, but with nothing in them. The agent's place hands each message on as it came, the worker's sends it
//! back.

mod head;
mod worker;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use scalems_protocol::{Bytes, Role};
use scalems_transport::{ConnectionFile, Context, CurveClient, Dealer, Endpoint, Message};
use tempfile::TempDir;

use super::child::{self, Guarded};
use super::row::Times;
use crate::args::Transport;
use crate::interrupt;

pub(super) use head::run as head;
pub(super) use worker::run as worker;

/// How long a step may take.
const STEP: Duration = Duration::from_secs(10);
/// Without messages for so long, the two other processes end by themselves.
const IDLE: Duration = Duration::from_mins(2);
/// What a line of theirs says when they serve.
const READY: &str = "ready";

/// The client of the three, in this process.
pub(super) struct Ring {
    dealer: Dealer,
    // In this order: the worker's place loses its connection before it is killed, and does not complain.
    _worker: Guarded,
    _head: Guarded,
    _directory: TempDir,
}

impl Ring {
    /// Starts the other two and connects.
    pub(super) fn start(transport: Transport) -> anyhow::Result<Self> {
        let directory = child::directory()?;
        let path = directory.path();
        let start = |what, part: &str| {
            let transport = if transport == Transport::Tcp { "tcp" } else { "ipc" };
            let directory = path.display().to_string();
            let mut child = Guarded::start(
                what,
                path,
                ["bench", part, "--transport", transport, "--dir", &directory],
            )?;
            child.line(STEP)?;
            anyhow::Ok(child)
        };
        let head = start("raw head", "raw-head")?;
        let worker = start("raw worker", "raw-worker")?;
        let mut dealer = connect(path, Role::Client)?;
        dealer.send(b"hello", &[]).context("greet the raw head")?;
        let welcome = dealer.recv_until(Instant::now() + STEP)?;
        anyhow::ensure!(
            welcome.is_some(),
            "the raw head did not answer within {STEP:?}{}",
            head.complaint()
        );
        Ok(Self {
            dealer,
            _worker: worker,
            _head: head,
            _directory: directory,
        })
    }

    /// One message there and back at a time.
    pub(super) fn ping(&mut self, size: usize, count: u64, times: &mut Times) -> anyhow::Result<()> {
        let message = Message {
            header: vec![7; size].into(),
            blobs: Vec::new(),
        };
        for _ in 0..count {
            let begin = Instant::now();
            self.send(&message)?;
            self.receive(size)?;
            times.push(begin.elapsed());
        }
        Ok(())
    }

    /// So many messages with at most `window` on their way.
    pub(super) fn stream(&mut self, size: usize, count: u64, window: u64) -> anyhow::Result<Duration> {
        let message = Message {
            header: Bytes::from(vec![7; size]),
            blobs: Vec::new(),
        };
        let begin = Instant::now();
        let (mut sent, mut got) = (0, 0);
        while got < count {
            while sent < count && sent - got < window {
                self.send(&message)?;
                sent += 1;
            }
            self.receive(size)?;
            got += 1;
            while self.dealer.recv()?.is_some() {
                got += 1;
            }
            interrupt::check()?;
        }
        Ok(begin.elapsed())
    }

    fn send(&mut self, message: &Message) -> anyhow::Result<()> {
        self.dealer.send_message(message).context("send to the raw head")
    }

    fn receive(&mut self, size: usize) -> anyhow::Result<()> {
        let message = self.dealer.recv_until(Instant::now() + STEP)?;
        interrupt::check()?;
        let message = message.with_context(|| format!("a raw message did not come back within {STEP:?}"))?;
        anyhow::ensure!(
            message.header.len() == size,
            "a raw message came back with another size"
        );
        Ok(())
    }
}

/// Where the head can be reached in a role: written by it, in the form of a pilot's.
fn connect(directory: &Path, role: Role) -> anyhow::Result<Dealer> {
    let file = ConnectionFile::read(&directory.join(ConnectionFile::file_name(role)))?;
    let endpoint: &Endpoint = file
        .requests
        .nearest(true)
        .context("the raw head has no address")?;
    let curve: Option<&CurveClient> = file.curve.as_ref();
    let mut dealer = Dealer::connect(&Context::new()?, endpoint, curve)?;
    let connected = dealer.wait_connected(Instant::now() + STEP)?;
    anyhow::ensure!(connected, "no connection to the raw head within {STEP:?}");
    Ok(dealer)
}
