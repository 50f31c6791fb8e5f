//! What there is in the files of a directory, attempt by attempt.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use scalems_protocol::PilotId;
use scalems_protocol::packed::{Attempt, EXTENSION, End, FileStart, Record, Stream, Why};
use scalems_protocol::program::Logged;

use super::{PackedFile, Part, files};

/// No attempt is spread over more files than this.
const MOST_PARTS: u32 = 65_536;

/// What was found of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAttempt {
    /// Which.
    pub of: Attempt,
    /// The worker's host; empty if the beginning of its file is damaged.
    pub host: String,
    /// When it began: microseconds since 1970; 0 if that is not there.
    pub began_us: u64,
    /// How it ended; none if it had not when its worker ended, or that is not there.
    pub end: Option<End>,
    /// Bytes of its standard output and of its errors that are there.
    pub kept: [u64; 2],
    /// Bytes that it wrote, as far as that is known.
    pub written: [u64; 2],
    /// How many bytes were left out, and why.
    pub lost: BTreeMap<Why, u64>,
    /// Where it is.
    pub source: Source,
}

/// Where an attempt's records lie: files, and from where to where in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    files: Vec<(PathBuf, u64, u64)>,
}

/// What is in some files of one pilot.
#[derive(Debug, Default)]
pub struct Survey {
    attempts: BTreeMap<Attempt, FoundAttempt>,
    /// Files that were read.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Bytes that are no records.
    pub damaged: u64,
    /// Bytes of records that were begun when a worker ended.
    pub torn: u64,
    /// The pilot whose files these are.
    pub pilot: Option<FileStart>,
    /// Files of other pilots, which were not read.
    pub others: u64,
}

impl Survey {
    /// Reads a directory, or one file. Of several pilots that have used a directory the last one counts.
    pub fn of(place: &Path) -> io::Result<Self> {
        Self::read(place, None)
    }

    /// Reads what one pilot has left in a directory.
    pub fn of_pilot(place: &Path, pilot: PilotId) -> io::Result<Self> {
        Self::read(place, Some(pilot))
    }

    fn read(place: &Path, pilot: Option<PilotId>) -> io::Result<Self> {
        let mut found = Vec::new();
        for path in files(place)? {
            let file = match PackedFile::open(&path) {
                Ok(file) => file,
                // Its worker needs it no more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let start = file.start()?;
            found.push((file, start));
        }
        let known = |start: &Option<FileStart>| start.as_ref().and_then(|start| start.pilot);
        let latest = found
            .iter()
            .filter_map(|(_, start)| start.as_ref())
            .filter(|start| pilot.is_none() || start.pilot == pilot)
            .max_by_key(|start| start.time_us)
            .cloned();
        let mut survey = Self {
            pilot: latest,
            ..Self::default()
        };
        let wanted = pilot.or(survey.pilot.as_ref().and_then(|start| start.pilot));
        for (file, start) in found {
            if start.is_some() && known(&start) != wanted {
                survey.others += 1;
                continue;
            }
            survey.take(&file, start.as_ref())?;
        }
        Ok(survey)
    }

    fn take(&mut self, file: &PackedFile, start: Option<&FileStart>) -> io::Result<()> {
        self.files += 1;
        self.bytes += file.length();
        for part in file.parts(0, u64::MAX) {
            let at = match part? {
                Part::Record(at) => at,
                Part::Damaged {
                    from,
                    upto,
                    torn: true,
                } => {
                    self.torn += upto - from;
                    continue;
                }
                Part::Damaged { from, upto, .. } => {
                    self.damaged += upto - from;
                    continue;
                }
            };
            let Some(record) = at.record() else { continue };
            let Some(of) = record.of() else { continue };
            let found = self.attempts.entry(of).or_insert_with(|| FoundAttempt {
                of,
                host: start.map(|start| start.host.clone()).unwrap_or_default(),
                began_us: 0,
                end: None,
                kept: [0; 2],
                written: [0; 2],
                lost: BTreeMap::new(),
                source: Source::default(),
            });
            found.source.add(file.path(), at.position, at.end());
            let mut wrote = |stream: Stream, upto: u64| {
                let written = &mut found.written[stream as usize];
                *written = upto.max(*written);
            };
            match record {
                Record::File(_) => {}
                Record::Begin(begin) => found.began_us = begin.time_us,
                Record::Bytes(piece) => {
                    wrote(piece.stream, piece.from + at.body_bytes());
                    found.kept[piece.stream as usize] += at.body_bytes();
                }
                Record::Lost(lost) => {
                    wrote(lost.stream, lost.from.saturating_add(lost.bytes));
                    *found.lost.entry(lost.why).or_default() += lost.bytes;
                }
                Record::End(end) => {
                    wrote(Stream::Stdout, end.stdout);
                    wrote(Stream::Stderr, end.stderr);
                    found.end = Some(*end);
                }
            }
        }
        Ok(())
    }

    /// The attempts, by task.
    pub fn attempts(&self) -> impl Iterator<Item = &FoundAttempt> {
        self.attempts.values()
    }
}

impl Source {
    /// Where a result says that its output is.
    pub fn of(logged: &Logged) -> Self {
        let first = PathBuf::from(&logged.file);
        if logged.last.is_empty() {
            return Self {
                files: vec![(first, logged.from, logged.upto)],
            };
        }
        let last = first.with_file_name(&logged.last);
        let parts = numbered(&first).zip(numbered(&last));
        let Some(((name, from), (_, upto))) =
            parts.filter(|((_, from), (_, upto))| upto.saturating_sub(*from) < MOST_PARTS)
        else {
            return Self {
                files: vec![(first, logged.from, u64::MAX), (last, 0, logged.upto)],
            };
        };
        let part = |number: u32| match number {
            number if number == from => (first.clone(), logged.from, u64::MAX),
            number if number == upto => (last.clone(), 0, logged.upto),
            number => {
                let name = format!("{name}.{number:04}.{EXTENSION}");
                (first.with_file_name(name), 0, u64::MAX)
            }
        };
        Self {
            files: (from..=upto).map(part).collect(),
        }
    }

    fn add(&mut self, path: &Path, from: u64, upto: u64) {
        match self.files.last_mut() {
            Some((last, _, end)) if last == path => *end = upto,
            _ => self.files.push((path.to_owned(), from, upto)),
        }
    }

    /// Hands over what an attempt wrote on one stream, piece by piece with its place in the stream. `attempt` is its
    /// number. What is damaged is missing.
    pub fn read<E: From<io::Error>>(
        &self,
        (task, attempt): (scalems_protocol::TaskId, u32),
        stream: Stream,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut upto = 0;
        for (path, from, end) in &self.files {
            let file = PackedFile::open(path)?;
            for part in file.parts(*from, *end) {
                let Part::Record(at) = part? else { continue };
                let Some(Record::Bytes(piece)) = at.record() else {
                    continue;
                };
                if piece.of.task != task || piece.of.attempt != attempt || piece.stream != stream {
                    continue;
                }
                let Some(body) = file.body(&at)? else { continue };
                // A piece may be there twice, if a worker was killed while it copied it.
                let known = usize::try_from(upto - piece.from.min(upto)).unwrap_or(usize::MAX);
                let new = body.get(known..).unwrap_or_default();
                if !new.is_empty() {
                    take(piece.from.max(upto), new)?;
                    upto = piece.from + body.len() as u64;
                }
            }
        }
        Ok(())
    }
}

/// The name of a worker's files and the number of this one.
fn numbered(path: &Path) -> Option<(String, u32)> {
    let name = path.file_stem()?.to_str()?;
    let (name, number) = name.rsplit_once('.')?;
    Some((name.to_owned(), number.parse().ok()?))
}
