//! What functions write, read while they run.

use std::time::Instant;

use scalems_protocol::program::Written;
use scalems_protocol::worker::OutputRead;

use super::pool::Pool;

/// Readings that wait: as many as an agent asks for one client. The one that has waited longest asks again.
const READERS: usize = scalems_protocol::limits::OPEN_READS;

/// A reading that waits for something behind these places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader {
    pub(super) key: u64,
    pub(super) id: u64,
    pub(super) from: (u64, u64),
}

impl Reader {
    fn told(self, stdout: Written, stderr: Written, over: bool) -> OutputRead {
        let id = self.id;
        OutputRead {
            id,
            stdout,
            stderr,
            over,
        }
    }

    fn nothing(self, over: bool) -> OutputRead {
        self.told(Written::default(), Written::default(), over)
    }
}

impl Pool {
    /// Somebody reads what a call writes.
    pub(super) fn read_output(&mut self, reader: Reader) {
        if self.readers.len() == READERS {
            let first = self.readers.remove(0);
            self.reads.push(first.nothing(false));
        }
        self.readers.push(reader);
    }

    /// Tells those who wait for what calls write, if there is something, or the call is over.
    pub(super) fn tell_readers(&mut self) {
        let now = Instant::now();
        for reader in std::mem::take(&mut self.readers) {
            match self.told(reader, now) {
                Some(told) => self.reads.push(told),
                None => self.readers.push(reader),
            }
        }
    }

    /// A call ends: those who read it are told the rest.
    pub(super) fn tell_last(&mut self, key: u64) {
        for reader in self
            .readers
            .extract_if(.., |reader| reader.key == key)
            .collect::<Vec<_>>()
        {
            let told = match self.interpreter_of(key) {
                Some((_, interpreter)) => {
                    let (stdout, stderr) = interpreter.outputs.since(reader.from);
                    reader.told(stdout, stderr, true)
                }
                None => reader.nothing(true),
            };
            self.reads.push(told);
        }
    }

    fn told(&mut self, reader: Reader, now: Instant) -> Option<OutputRead> {
        if !self.is_held(reader.key) {
            // Its result has the rest.
            return Some(reader.nothing(true));
        }
        let (_, interpreter) = self.interpreter_of(reader.key)?;
        if interpreter.calls.front() != Some(&reader.key) || !interpreter.is_read(now) {
            return None;
        }
        let (stdout, stderr) = interpreter.outputs.since(reader.from);
        let any = stdout.total > reader.from.0 || stderr.total > reader.from.1;
        any.then(|| reader.told(stdout, stderr, false))
    }
}
