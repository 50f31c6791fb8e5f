//! What programs write, read while they run: the question goes to the worker, and its answer back.

use std::collections::BTreeMap;

use scalems_protocol::client::{OutputPage, OutputPart, Reply};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::group::Run;
use scalems_protocol::limits;
use scalems_protocol::state::TaskState;
use scalems_protocol::worker::{OutputRead, ReadOutput};

use super::Agent;
use crate::interface::{Action, Micros, Peer};

/// Readings whose workers have not answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings {
    last: u64,
    open: BTreeMap<u64, Reading>,
}

#[derive(Clone, Debug)]
struct Reading {
    peer: Peer,
    seat: u64,
    ask: u64,
    worker: u32,
    attempt: u32,
    from: (u64, u64),
    until: Micros,
}

impl Readings {
    /// When the first of them is answered in any case.
    pub(super) fn deadline(&self) -> Option<Micros> {
        self.open.values().map(|reading| reading.until).min()
    }

    /// Nobody listens at this connection any more.
    pub(super) fn leave(&mut self, peer: Peer) {
        self.open.retain(|_, reading| reading.peer != peer);
    }
}

impl Agent {
    /// Asks the worker of a task that runs what its program writes. Gives what can be said at once.
    pub(super) fn read_output(
        &mut self,
        peer: Peer,
        seat: u64,
        ask: u64,
        page: &OutputPage,
        out: &mut Vec<Action>,
    ) -> Result<Option<OutputPart>, Refusal> {
        let submission = self.tasks.get(page.submission);
        let Some(submission) = submission.filter(|submission| page.offset < submission.count()) else {
            return Err(Self::nothing_selected());
        };
        let slot = submission.slots.get(page.offset);
        let runs = slot.state == TaskState::Running && (page.attempt == 0 || page.attempt == slot.attempt);
        let worker = self.workers.get(&slot.worker).and_then(|worker| worker.peer);
        let Some(worker_peer) = worker.filter(|_| runs) else {
            return Ok(Some(OutputPart {
                attempt: slot.attempt,
                // Its worker is away: it may still run.
                runs,
                ..OutputPart::default()
            }));
        };
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        if attachment.waits >= limits::OPEN_READS {
            let message = format!("this client waits for {} things already", limits::OPEN_READS);
            return Err(Refusal::new(Code::TooManyOpen, message));
        }
        attachment.waits += 1;
        self.readings.last += 1;
        let id = self.readings.last;
        let patience = page.timeout_ms.min(limits::READ_OUTPUT_MS) * 1_000;
        self.readings.open.insert(
            id,
            Reading {
                peer,
                seat,
                ask,
                worker: slot.worker,
                attempt: slot.attempt,
                from: page.from,
                until: self.now + patience,
            },
        );
        let read = ReadOutput {
            id,
            run: Run {
                submission: page.submission,
                lo: page.offset,
                hi: page.offset + 1,
                attempt: slot.attempt,
            },
            from: page.from,
        };
        out.push(Action::ToWorker {
            peer: worker_peer,
            message: read.into(),
            blobs: Vec::new(),
        });
        Ok(None)
    }

    /// A worker says what a program has written.
    pub(super) fn output_read(&mut self, worker: u32, read: OutputRead, out: &mut Vec<Action>) {
        // Late, or of nobody's asking.
        if self
            .readings
            .open
            .get(&read.id)
            .is_none_or(|reading| reading.worker != worker)
        {
            return;
        }
        if let Some(reading) = self.readings.open.remove(&read.id) {
            let part = OutputPart {
                attempt: reading.attempt,
                runs: !read.over,
                stdout: read.stdout,
                stderr: read.stderr,
            };
            self.answer_reading(&reading, part, out);
        }
    }

    fn answer_reading(&mut self, reading: &Reading, part: OutputPart, out: &mut Vec<Action>) {
        if let Some(attachment) = self.attachments.get_mut(&reading.seat) {
            attachment.waits = attachment.waits.saturating_sub(1);
        }
        let reply = Reply::Output(Box::new(part));
        self.reply(reading.peer, reading.ask, reply, Vec::new(), out);
    }

    /// Answers those whose time is over: nothing was written that is known of.
    pub(super) fn end_readings(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let over: Vec<Reading> = self
            .readings
            .open
            .extract_if(.., |_, reading| reading.until <= now)
            .map(|(_, reading)| reading)
            .collect();
        for reading in over {
            let at = |from: u64| scalems_protocol::program::Written {
                from,
                total: from,
                bytes: Vec::new(),
            };
            let part = OutputPart {
                attempt: reading.attempt,
                runs: true,
                stdout: at(reading.from.0),
                stderr: at(reading.from.1),
            };
            self.answer_reading(&reading, part, out);
        }
    }
}
