//! What the writer knows of each attempt: what of it is in the files, and what waits for its end.
//!
//! Of attempts that are kept only if they fail everything waits for the end: in memory up to a bound, and behind that in a
//! file of its own. That is a packed log too, so that a worker which is killed leaves it readable; its end removes it, and
//! a failure copies it to the others first. So neither do good attempts take room in the log that nobody could give
//! back, nor are there files for each failure. Only where not all of it could be copied that file stays, and is what the
//! result names: nothing that is safely on disk goes because a disk is full.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use scalems_protocol::packed::{self, Attempt, Begin, End, Look, Lost, Piece, Record, Stream, Why};
use scalems_protocol::program::Logged;

use super::files::{Files, Pending, Place, Refused, create};

/// Bytes of an attempt that wait in memory for its end: what its tails take besides.
const HELD_BYTES: usize = 64 << 10;

/// The attempts that are not over.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    of: HashMap<u64, Known>,
}

#[derive(Debug)]
struct Known {
    of: Attempt,
    /// Kept only if it fails.
    waits: bool,
    held: Vec<(Record, Vec<u8>)>,
    held_bytes: usize,
    spill: Option<Spill>,
    /// What was copied to the others, and goes once all of that is written.
    copied: Option<Spill>,
    /// Why not all of it was.
    uncopied: Option<String>,
    first: Option<Place>,
    last: Option<Place>,
    logged: Logged,
}

/// A file for what waits and is too much for memory.
#[derive(Debug)]
struct Spill {
    path: PathBuf,
    length: u64,
    /// Bytes of each stream in it.
    stdout: u64,
    stderr: u64,
}

impl Attempts {
    pub(super) fn begin(&mut self, log: u64, of: Attempt, waits: bool, time_us: u64, files: &mut Files) {
        let known = Known {
            of,
            waits,
            held: Vec::new(),
            held_bytes: 0,
            spill: None,
            copied: None,
            uncopied: None,
            first: None,
            last: None,
            logged: Logged::default(),
        };
        self.of.insert(log, known);
        self.put(log, Record::Begin(Begin { of, time_us }), Vec::new(), files);
    }

    pub(super) fn piece(
        &mut self,
        log: u64,
        (stream, from): (Stream, u64),
        bytes: Vec<u8>,
        time_us: u64,
        files: &mut Files,
    ) {
        let Some(of) = self.of.get(&log).map(|known| known.of) else {
            return;
        };
        let record = Record::Bytes(Piece {
            of,
            stream,
            from,
            time_us,
        });
        self.put(log, record, bytes, files);
    }

    pub(super) fn lost(
        &mut self,
        log: u64,
        (stream, from): (Stream, u64),
        (bytes, why): (u64, Why),
        time_us: u64,
        files: &mut Files,
    ) {
        let Some(known) = self.of.get_mut(&log) else {
            return;
        };
        known.lose(bytes, why);
        let record = Record::Lost(Lost {
            of: known.of,
            stream,
            from,
            bytes,
            why,
            time_us,
        });
        self.put(log, record, Vec::new(), files);
    }

    /// The end of an attempt. What is not to be kept of it goes.
    pub(super) fn end(&mut self, log: u64, end: Ended, files: &mut Files) {
        let Some(known) = self.of.get_mut(&log) else {
            return;
        };
        if std::mem::take(&mut known.waits) {
            let held = std::mem::take(&mut known.held);
            let spill = known.spill.take();
            if end.well {
                known.logged = Logged::default();
                drop_spill(spill, files);
                return;
            }
            if let Some(spill) = spill {
                // It is one or the other for the limit: what is there twice for a moment does not need room twice.
                files.others -= spill.length;
                let copied = copy(log, &spill, files);
                if let Some(known) = self.of.get_mut(&log) {
                    if let Err(error) = copied {
                        known.uncopied.get_or_insert(error.to_string());
                    }
                    known.copied = Some(spill);
                }
            }
            for (record, body) in held {
                self.write(log, &record, &body, files);
            }
        }
        let Some(known) = self.of.get(&log) else {
            return;
        };
        let record = Record::End(End {
            of: known.of,
            time_us: end.time_us,
            exit_code: end.exit_code,
            signal: end.signal,
            stdout: end.stdout,
            stderr: end.stderr,
        });
        self.write(log, &record, b"", files);
    }

    /// What of a record that was flushed is there now, or is not.
    pub(super) fn flushed(
        &mut self,
        written: Vec<Pending>,
        failed: Vec<Pending>,
        problem: Option<&io::Error>,
    ) {
        for pending in written {
            let Some(known) = self.of.get_mut(&pending.log) else {
                continue;
            };
            known.first.get_or_insert(pending.place);
            known.last = Some(pending.place);
            match pending.bytes {
                Some((Stream::Stdout, bytes)) => known.logged.stdout += bytes,
                Some((Stream::Stderr, bytes)) => known.logged.stderr += bytes,
                None => {}
            }
        }
        for pending in failed {
            let Some(known) = self.of.get_mut(&pending.log) else {
                continue;
            };
            let bytes = pending.bytes.map_or(0, |(_, bytes)| bytes);
            match problem {
                Some(problem) if known.copied.is_some() => {
                    known.uncopied.get_or_insert(problem.to_string());
                }
                Some(problem) => known.fail(bytes, problem),
                None => {}
            }
        }
    }

    /// What the log has of an attempt that is over.
    pub(super) fn take(&mut self, log: u64, files: &mut Files) -> Option<Logged> {
        let Known {
            first,
            last,
            mut logged,
            copied,
            uncopied,
            ..
        } = self.of.remove(&log)?;
        match (copied, uncopied) {
            (Some(spill), Some(why)) => return Some(spill.stays(&why, logged, files)),
            (Some(spill), None) => remove(&spill.path),
            (None, _) => {}
        }
        if let (Some(first), Some(last)) = (first, last) {
            logged.file = files.path_of(first.part).to_string_lossy().into_owned();
            logged.from = first.from;
            logged.upto = last.upto;
            if last.part != first.part {
                logged.last = files.name_of(last.part);
            }
        }
        Some(logged)
    }

    fn put(&mut self, log: u64, record: Record, body: Vec<u8>, files: &mut Files) {
        let Some(known) = self.of.get_mut(&log) else {
            return;
        };
        if !known.waits {
            return self.write(log, &record, &body, files);
        }
        if known.spill.is_none() && known.held_bytes + body.len() <= HELD_BYTES {
            known.held_bytes += body.len();
            return known.held.push((record, body));
        }
        let mut waiting = std::mem::take(&mut known.held);
        waiting.push((record, body));
        for (record, body) in waiting {
            let Some(known) = self.of.get_mut(&log) else {
                return;
            };
            let length = body.len() as u64;
            if !files.may_spill(body.len()) {
                known.lose(length, Why::Room);
            } else if let Err(error) = known.spill(log, &record, &body, files) {
                known.fail(length, &error);
            }
        }
    }

    fn write(&mut self, log: u64, record: &Record, body: &[u8], files: &mut Files) {
        let Err(refused) = files.append(log, record, body) else {
            return;
        };
        if let Some(known) = self.of.get_mut(&log) {
            match refused {
                Refused::Room => known.lose(body.len() as u64, Why::Room),
                Refused::Disk(error) => known.fail(body.len() as u64, &error),
            }
        }
    }
}

/// Copies what was put aside to the other files, until one of them does not take it.
fn copy(log: u64, spill: &Spill, files: &mut Files) -> io::Result<()> {
    let file = File::open(&spill.path)?;
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < spill.length {
        bytes.resize(packed::PREFIX_BYTES, 0);
        file.read_exact_at(&mut bytes, at)?;
        let mut look = packed::look(at, &bytes);
        if let Look::More(more) = look {
            bytes.resize(more, 0);
            file.read_exact_at(&mut bytes, at)?;
            look = packed::look(at, &bytes);
        }
        let Look::Found(found) = look else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        bytes.resize(found.body_bytes, 0);
        file.read_exact_at(&mut bytes, at + found.body_at as u64)?;
        if !found.is_body(&bytes) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        at += found.bytes() as u64;
        match found.record {
            None | Some(Record::File(_)) => {}
            Some(record) => files
                .append(log, &record, &bytes)
                .map_err(|refused| match refused {
                    Refused::Room => io::Error::other("the worker's log files have as much as they may"),
                    Refused::Disk(error) => error,
                })?,
        }
    }
    Ok(())
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) well: bool,
    pub(super) time_us: u64,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stdout: u64,
    pub(super) stderr: u64,
}

impl Known {
    fn lose(&mut self, bytes: u64, why: Why) {
        if bytes > 0 {
            *self.logged.lost.entry(why).or_default() += bytes;
        }
    }

    /// The system did not write it.
    fn fail(&mut self, bytes: u64, error: &io::Error) {
        self.lose(bytes, Why::Disk);
        self.logged.problem = error.to_string();
    }

    /// Puts a record aside.
    fn spill(&mut self, log: u64, record: &Record, body: &[u8], files: &mut Files) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(body.len() + 256);
        let file = if let Some(spill) = &self.spill {
            File::options().write(true).open(&spill.path)?
        } else {
            let path = files.beside(&format!("waiting-{log}"));
            let file = create(&path)?;
            packed::write(0, &files.head(0), b"", &mut bytes);
            self.spill = Some(Spill {
                path,
                length: 0,
                stdout: 0,
                stderr: 0,
            });
            file
        };
        let Some(spill) = &mut self.spill else {
            unreachable!("invariant: there is one by now")
        };
        let begun = spill.length;
        packed::write(begun + bytes.len() as u64, record, body, &mut bytes);
        let written = file.write_all_at(&bytes, begun);
        if written.is_ok() {
            spill.length += bytes.len() as u64;
            if let Record::Bytes(piece) = record {
                *match piece.stream {
                    Stream::Stdout => &mut spill.stdout,
                    Stream::Stderr => &mut spill.stderr,
                } += body.len() as u64;
            }
            files.others += bytes.len() as u64;
        } else if begun == 0 {
            // It has not even its first record: the next piece begins it anew.
            let _gone = fs::remove_file(&spill.path);
            self.spill = None;
        }
        written
    }
}

impl Spill {
    /// It is all that there is of its attempt: what was copied of it is not told.
    fn stays(self, why: &str, before: Logged, files: &mut Files) -> Logged {
        files.others += self.length;
        Logged {
            file: self.path.to_string_lossy().into_owned(),
            from: 0,
            upto: self.length,
            stdout: self.stdout,
            stderr: self.stderr,
            lost: before.lost,
            problem: format!("{why}: it stays in a file of its own, {}", self.path.display()),
            ..Logged::default()
        }
    }
}

fn drop_spill(spill: Option<Spill>, files: &mut Files) {
    let Some(Spill { path, length, .. }) = spill else {
        return;
    };
    files.others -= length;
    remove(&path);
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(file = %path.display(), %error, "a file of output that is not needed cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use scalems_protocol::TaskId;
    use scalems_protocol::packed::FileStart;

    use super::super::files::{Flushed, LogPlace};
    use super::*;

    const OF: Attempt = Attempt {
        task: TaskId {
            submission: 1,
            index: 0,
        },
        incarnation: 1,
        attempt: 1,
    };
    const PIECE: usize = 32 << 10;
    const PIECES: u64 = 8;

    fn files(directory: &Path, limit: u64) -> Files {
        Files::new(LogPlace {
            directory: directory.to_owned(),
            name: "w".to_owned(),
            limit,
            about: FileStart::default(),
        })
    }

    /// An attempt that is kept only if it fails, has written more than waits in memory, and has failed.
    fn failed(files: &mut Files, meanwhile: impl FnOnce()) -> Attempts {
        let mut attempts = Attempts::default();
        attempts.begin(1, OF, true, 0, files);
        for at in 0..PIECES {
            let from = at * PIECE as u64;
            attempts.piece(1, (Stream::Stdout, from), vec![b'x'; PIECE], 0, files);
        }
        meanwhile();
        let end = Ended {
            well: false,
            time_us: 0,
            exit_code: Some(1),
            signal: None,
            stdout: PIECES * PIECE as u64,
            stderr: 0,
        };
        attempts.end(1, end, files);
        attempts
    }

    fn written(files: &mut Files, attempts: &mut Attempts) -> Logged {
        let Flushed {
            written,
            failed,
            problem,
        } = files.flush();
        attempts.flushed(written, failed, problem.as_ref());
        attempts.take(1, files).expect("it is known")
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    fn is_aside(logged: &Logged, directory: &Path) {
        let aside = directory.join("w-waiting-1.packed");
        assert!(aside.exists(), "{:?}", names(directory));
        assert_eq!(
            (logged.file.as_str(), logged.stdout, logged.from, logged.upto),
            (
                &*aside.to_string_lossy(),
                PIECES * PIECE as u64,
                0,
                fs::metadata(&aside).unwrap().len()
            )
        );
        assert!(
            logged.lost.is_empty() && logged.problem.contains("w-waiting-1"),
            "{logged:?}"
        );
    }

    #[test]
    fn what_waited_needs_room_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), PIECES * PIECE as u64 + (4 << 10));
        let mut attempts = failed(&mut files, || {});
        let logged = written(&mut files, &mut attempts);
        assert_eq!(logged.stdout, PIECES * PIECE as u64, "{logged:?}");
        assert!(logged.lost.is_empty() && logged.problem.is_empty(), "{logged:?}");
        assert!(
            names(directory.path())
                .iter()
                .all(|name| !name.contains("waiting"))
        );
    }

    #[test]
    fn what_cannot_be_copied_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), 1 << 30);
        // The file that it would be copied to cannot be made.
        let taken = files.path_of(1);
        let mut attempts = failed(&mut files, || fs::write(taken, "").unwrap());
        let logged = written(&mut files, &mut attempts);
        is_aside(&logged, directory.path());
        assert!(files.others >= logged.upto, "its room is not free");
    }

    #[test]
    fn what_was_copied_and_not_written_stays_where_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = files(directory.path(), 1 << 30);
        let mut attempts = failed(&mut files, || {});
        // As a disk does that is full by now.
        let flushed = files.flush();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        attempts.flushed(Vec::new(), flushed.written, Some(&full));
        let logged = attempts.take(1, &mut files).expect("it is known");
        is_aside(&logged, directory.path());
    }
}
