//! Between who says something and the thread that writes it down: a queue with a bound, over which lines are counted
//! and lost. Whoever logs never waits.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::files::Rolling;

/// Lines that wait for the disk: a second of a process that says very much.
const LINES: usize = 4_096;
/// So long the end of a process waits for what it has said to be written.
const LAST: Duration = Duration::from_secs(2);

pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
    over: Mutex<Receiver<()>>,
}

impl Queue {
    pub(super) fn start(mut files: Rolling) -> io::Result<Self> {
        let (lines, taken) = sync_channel::<Vec<u8>>(LINES);
        let (tell, over) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("scalems-log".into())
            .spawn(move || {
                // Ends when nobody can say anything any more.
                for line in taken {
                    let lost = counted.swap(0, Ordering::Relaxed);
                    if lost > 0 && !files.put(format!("{lost} lines of this log are lost\n").as_bytes()) {
                        counted.fetch_add(lost, Ordering::Relaxed);
                    }
                    if !files.put(&line) {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
                // Nobody waits any more if it took too long.
                let _told = tell.send(());
            })?;
        let over = Mutex::new(over);
        Ok(Self { lines, lost, over })
    }

    pub(super) fn put(&self, line: &[u8]) {
        match self.lines.try_send(line.to_owned()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until all is written, a short time at most.
    pub(super) fn end(self) {
        let Self { lines, over, .. } = self;
        drop(lines);
        // A disk that hangs holds up no end.
        let _over = over
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(LAST);
    }
}
