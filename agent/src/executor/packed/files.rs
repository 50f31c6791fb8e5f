//! The files of one worker's packed log: one after another, up to a bound of all of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use scalems_protocol::packed::{self, EXTENSION, FORMAT, FileStart, Record, Stream};

use super::now_us;

/// Bytes after which the next file is begun: with the default bound there are 16 of them.
const PART_BYTES: u64 = 256 << 20;
/// And at least: with less there would be a file for every task or two, which is what these files are there to avoid.
const LEAST_PART_BYTES: u64 = 1 << 20;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 1 << 20;
/// Over the bound the ends of attempts are still written, up to so much.
const ENDS_BYTES: u64 = 16 << 20;

/// Where a worker's packed log lies, and what it may have.
#[derive(Debug, Clone)]
pub struct LogPlace {
    /// The directory; it is made when it is needed.
    pub directory: PathBuf,
    /// How the names of its files begin; no other worker's do, in no life.
    pub name: String,
    /// Bytes of all of its files.
    pub limit: u64,
    /// What each file says of the worker.
    pub about: FileStart,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) part: u32,
    pub(super) from: u64,
    pub(super) upto: u64,
}

/// A record of an attempt that is still to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    /// The attempt's number here.
    pub(super) log: u64,
    /// What of its output is in it.
    pub(super) bytes: Option<(Stream, u64)>,
    /// Where.
    pub(super) place: Place,
}

/// What came of writing.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    pub(super) written: Vec<Pending>,
    pub(super) failed: Vec<Pending>,
    /// Why those failed.
    pub(super) problem: Option<io::Error>,
}

/// Why a record is not added.
#[derive(Debug)]
pub(super) enum Refused {
    /// The files have as much as they may.
    Room,
    /// No file can be made.
    Disk(io::Error),
}

/// The files.
#[derive(Debug)]
pub(super) struct Files {
    place: LogPlace,
    open: Option<Open>,
    /// The next file's number.
    next: u32,
    /// Bytes in files that are complete, or beside them.
    pub(super) others: u64,
    buffer: Vec<u8>,
    pending: Vec<Pending>,
    /// What was gathered here meanwhile.
    flushed: Flushed,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    part: u32,
    /// Bytes that are in it.
    length: u64,
}

impl Files {
    pub(super) fn new(place: LogPlace) -> Self {
        Self {
            place,
            open: None,
            next: 1,
            others: 0,
            buffer: Vec::new(),
            pending: Vec::new(),
            flushed: Flushed::default(),
        }
    }

    /// Adds a record, which is written with the next [`Self::flush`] at the latest.
    pub(super) fn append(&mut self, log: u64, record: &Record, body: &[u8]) -> Result<(), Refused> {
        let written = self.open.as_ref().map_or(0, |open| open.length) + self.buffer.len() as u64;
        let ends = matches!(record, Record::End(_) | Record::Lost(_));
        let limit = self.place.limit.saturating_add(if ends { ENDS_BYTES } else { 0 });
        if !self.has_room(body.len(), limit) {
            return Err(Refused::Room);
        }
        let part = (self.place.limit / 4).clamp(LEAST_PART_BYTES, PART_BYTES);
        if written >= part || self.open.is_none() {
            self.write();
            self.begin_part().map_err(Refused::Disk)?;
        }
        let Some(open) = &self.open else {
            unreachable!("invariant: it was just made")
        };
        let from = open.length + self.buffer.len() as u64;
        packed::write(from, record, body, &mut self.buffer);
        let upto = open.length + self.buffer.len() as u64;
        let bytes = match record {
            Record::Bytes(piece) => Some((piece.stream, body.len() as u64)),
            _ => None,
        };
        let place = Place {
            part: open.part,
            from,
            upto,
        };
        self.pending.push(Pending { log, bytes, place });
        if self.buffer.len() >= WRITE_BYTES {
            self.write();
        }
        Ok(())
    }

    /// Whether so many bytes more fit under a limit.
    fn has_room(&self, bytes: usize, limit: u64) -> bool {
        let open = self.open.as_ref().map_or(0, |open| open.length);
        let all = self.others + open + self.buffer.len() as u64;
        all + bytes as u64 + packed::PREFIX_BYTES as u64 <= limit
    }

    /// Whether so many bytes may be put aside.
    pub(super) fn may_spill(&self, bytes: usize) -> bool {
        self.has_room(bytes, self.place.limit)
    }

    /// Writes all that was added, and says what came of it since the last time.
    pub(super) fn flush(&mut self) -> Flushed {
        self.write();
        std::mem::take(&mut self.flushed)
    }

    fn write(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let buffer = std::mem::take(&mut self.buffer);
        let Some(open) = &mut self.open else {
            return;
        };
        // By place: what a write that failed has left behind is written over by the next.
        match open.file.write_all_at(&buffer, open.length) {
            Ok(()) => {
                open.length += buffer.len() as u64;
                self.flushed.written.extend(pending);
            }
            Err(error) => {
                // What is left of it is no record. One without its first record is begun anew.
                let _cut = open.file.set_len(open.length);
                if open.length == 0 {
                    let _gone = fs::remove_file(&open.path);
                    self.open = None;
                }
                self.flushed.failed.extend(pending);
                self.flushed.problem = Some(error);
            }
        }
        self.buffer = buffer;
        self.buffer.clear();
    }

    /// Begins the next file.
    fn begin_part(&mut self) -> io::Result<()> {
        if let Some(before) = self.open.take() {
            self.others += before.length;
        }
        let part = self.next;
        let path = self.path_of(part);
        let file = create(&path)?;
        self.next += 1;
        self.open = Some(Open {
            file,
            path,
            part,
            length: 0,
        });
        packed::write(0, &self.head(part), b"", &mut self.buffer);
        Ok(())
    }

    /// The first record of a file.
    pub(super) fn head(&self, part: u32) -> Record {
        Record::File(FileStart {
            format: FORMAT,
            part,
            time_us: now_us(),
            ..self.place.about.clone()
        })
    }

    /// A file with a name of its own beside the others.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.place
            .directory
            .join(format!("{}-{name}.{EXTENSION}", self.place.name))
    }

    /// The name of a file.
    pub(super) fn name_of(&self, part: u32) -> String {
        format!("{}.{part:04}.{EXTENSION}", self.place.name)
    }

    /// Where it lies.
    pub(super) fn path_of(&self, part: u32) -> PathBuf {
        self.place.directory.join(self.name_of(part))
    }
}

/// Makes a file that is not there yet, and its directory if that is missing.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let create_here = || File::create_new(path);
    match create_here() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            create_here()
        }
        made => made,
    }
}
