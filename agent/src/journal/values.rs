//! Large values, beside the database: appended to one file after another, and on disk before the records that name
//! them. A file goes once nobody needs any of its values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use scalems_core::record::Record;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::limits;
use scalems_protocol::state::Ending;
use serde::{Deserialize, Serialize};

/// Bytes after which another file is begun: so much room comes back at a time.
const FILE_BYTES: u64 = 256 << 20;

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spot {
    /// The number of the file.
    file: u32,
    at: u64,
    length: u64,
    /// crc32c of the value.
    crc: u32,
}

impl Spot {
    /// How many bytes.
    pub(super) const fn length(self) -> u64 {
        self.length
    }
}

/// A value that somebody may need.
#[derive(Debug)]
struct Needed {
    spot: Spot,
    /// By so many tasks: those that have not ended, for data; those whose results were not collected, for values.
    left: u32,
}

/// Values of tasks that came, or ended, together: by submission and first offset, with one past the last.
#[derive(Debug, Default)]
struct Pieces(BTreeMap<(u64, u32), (u32, Needed)>);

impl Pieces {
    /// Adds the value of the tasks `lo..hi`, if it lies beside the database.
    fn add(&mut self, submission: u64, lo: u32, hi: u32, spot: Option<Spot>) {
        if let Some(spot) = spot {
            let left = hi - lo;
            self.0.insert((submission, lo), (hi, Needed { spot, left }));
        }
    }

    /// Whether the value of the tasks from `lo` on is needed and lies there.
    fn is_at(&self, submission: u64, lo: u32, spot: Spot) -> bool {
        self.0.get(&(submission, lo)).map(|(_, needed)| needed.spot) == Some(spot)
    }

    /// These tasks need no value any more. Gives those that nobody needs now.
    fn done_with(&mut self, run: Run) -> Vec<Spot> {
        let first = self.0.range(..=(run.submission, run.lo)).next_back();
        let first = first.map_or((run.submission, run.lo), |(key, _)| *key);
        let mut over = Vec::new();
        for (key, (hi, needed)) in self.0.range_mut(first..(run.submission, run.hi)) {
            let overlap = run.hi.min(*hi).saturating_sub(run.lo.max(key.1));
            if key.0 == run.submission && overlap > 0 {
                needed.left = needed.left.saturating_sub(overlap);
                if needed.left == 0 {
                    over.push(*key);
                }
            }
        }
        let spots = over.into_iter().filter_map(|key| self.0.remove(&key));
        spots.map(|(_, needed)| needed.spot).collect()
    }

    /// Nobody needs any of a submission's.
    fn drop_all(&mut self, submission: u64) -> Vec<Spot> {
        let of_it = (submission, 0)..=(submission, u32::MAX);
        let dropped = self.0.extract_if(of_it, |_, _| true);
        dropped.map(|(_, (_, needed))| needed.spot).collect()
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Values {
    directory: PathBuf,
    current: Option<Current>,
    next: u32,
    /// Bytes that are needed of each file.
    files: BTreeMap<u32, u64>,
    /// Data of tasks that came together.
    data: Pieces,
    /// Values of results.
    results: Pieces,
    /// Files that nobody needs once the records so far are on disk.
    doomed: Vec<u32>,
    /// Submissions of which the data of tasks that did not end well stays: they may be submitted again.
    held: BTreeSet<u64>,
}

#[derive(Debug)]
struct Current {
    number: u32,
    file: File,
    end: u64,
    synced: u64,
}

/// What a record has that may be large.
pub(super) fn value(record: &Record) -> Option<&Bytes> {
    let bytes = match record {
        Record::Submitted(submitted) => &submitted.data.bytes,
        Record::Appended(appended) => &appended.data.bytes,
        Record::Ended(ended) => &ended.data.bytes,
        _ => return None,
    };
    (bytes.len() > limits::INLINE_BYTES).then_some(bytes)
}

/// Gives a record that was read its value.
pub(super) fn set_value(record: &mut Record, value: Bytes) {
    match record {
        Record::Submitted(submitted) => submitted.data.bytes = value,
        Record::Appended(appended) => appended.data.bytes = value,
        Record::Ended(ended) => ended.data.bytes = value,
        _ => {}
    }
}

/// A record that was read does without its value: also with what cuts it up.
pub(super) fn drop_value(record: &mut Record) {
    match record {
        Record::Submitted(submitted) => submitted.data = Data::default(),
        Record::Appended(appended) => appended.data = Data::default(),
        Record::Ended(ended) => ended.data = Data::default(),
        _ => {}
    }
}

/// The name of this file or directory is on disk when this returns.
pub(super) fn sync_name(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

impl Values {
    /// Those of the journal at `path`.
    pub(super) fn beside(path: &Path) -> Self {
        Self {
            directory: super::beside(path, ".values"),
            current: None,
            next: 1,
            files: BTreeMap::new(),
            data: Pieces::default(),
            results: Pieces::default(),
            doomed: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a value. It is on disk after the next [`Self::sync`].
    pub(super) fn put(&mut self, value: &[u8]) -> io::Result<Spot> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.end >= FILE_BYTES)
        {
            self.begin_file()?;
        }
        let current = self.current.as_mut().expect("one was begun");
        if let Err(error) = current.file.write_all(value) {
            // What was written of it is no value; the next one lies where it began.
            current.file.set_len(current.end)?;
            return Err(error);
        }
        let spot = Spot {
            file: current.number,
            at: current.end,
            length: value.len() as u64,
            crc: crc32c::crc32c(value),
        };
        current.end += spot.length;
        Ok(spot)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        self.sync()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        // Tried again it has another number: there may be a file of this one, if it fails after that.
        let number = self.next;
        self.next += 1;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(number))?;
        // The file's name has to last as well, and the directory's.
        sync_name(&self.path(number))?;
        sync_name(&self.directory)?;
        if let Some(before) = self.current.take() {
            self.release_file(before.number);
        }
        self.current = Some(Current {
            number,
            file,
            end: 0,
            synced: 0,
        });
        Ok(())
    }

    /// All values are on disk when this returns.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(current) = &mut self.current
            && current.synced < current.end
        {
            current.file.sync_data()?;
            current.synced = current.end;
        }
        Ok(())
    }

    /// Reads a value.
    pub(super) fn get(&self, spot: Spot) -> io::Result<Bytes> {
        let file = File::open(self.path(spot.file))?;
        let length = usize::try_from(spot.length).map_err(io::Error::other)?;
        let size = file.metadata()?.len();
        if spot.at.checked_add(spot.length).is_none_or(|end| end > size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut value = vec![0; length];
        file.read_exact_at(&mut value, spot.at)?;
        if crc32c::crc32c(&value) != spot.crc {
            return Err(io::Error::other("its checksum is another one"));
        }
        Ok(value.into())
    }

    /// Notes what a record means for the values: its own, which lies at `spot`, and those that nobody needs after it.
    pub(super) fn note(&mut self, record: &Record, spot: Option<Spot>) {
        if let Some(spot) = spot {
            *self.files.entry(spot.file).or_default() += spot.length;
        }
        let mut over = Vec::new();
        match record {
            Record::Submitted(submitted) => {
                self.data.add(submitted.submission, 0, submitted.count, spot);
                if spot.is_some() && submitted.push.is_none() {
                    self.held.insert(submitted.submission);
                }
            }
            Record::Appended(appended) => {
                let hi = appended.first + appended.count;
                self.data.add(appended.submission, appended.first, hi, spot);
                if spot.is_some() {
                    self.held.insert(appended.submission);
                }
            }
            Record::Ended(ended) => {
                let run = ended.run;
                if ended.ending == Ending::Done || !self.held.contains(&run.submission) {
                    over = self.data.done_with(run);
                }
                self.results.add(run.submission, run.lo, run.hi, spot);
            }
            Record::Collected { runs } => {
                over.extend(runs.iter().flat_map(|run| self.results.done_with(*run)));
            }
            Record::Forgotten { submission } => {
                self.held.remove(submission);
                over = self.data.drop_all(*submission);
                over.append(&mut self.results.drop_all(*submission));
            }
            _ => {}
        }
        for spot in over {
            self.release(spot);
        }
    }

    fn release(&mut self, spot: Spot) {
        if let Some(needed) = self.files.get_mut(&spot.file) {
            *needed -= spot.length;
            self.release_file(spot.file);
        }
    }

    /// A file of which nothing is needed goes, unless it is still written to.
    fn release_file(&mut self, number: u32) {
        let current = self
            .current
            .as_ref()
            .is_some_and(|current| current.number == number);
        if !current && self.files.get(&number).is_none_or(|needed| *needed == 0) {
            self.files.remove(&number);
            self.doomed.push(number);
        }
    }

    /// The records so far are on disk: what they let go goes.
    pub(super) fn committed(&mut self) {
        for number in std::mem::take(&mut self.doomed) {
            // Best effort: what stays is found by the next life.
            if let Err(error) = std::fs::remove_file(self.path(number))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %self.path(number).display(), "a file of values is in the way");
            }
        }
    }

    /// Whether somebody may need the value of a record that lies there.
    pub(super) fn is_needed(&self, record: &Record, spot: Spot) -> bool {
        match record {
            Record::Submitted(submitted) => self.data.is_at(submitted.submission, 0, spot),
            Record::Appended(appended) => self.data.is_at(appended.submission, appended.first, spot),
            Record::Ended(ended) => self.results.is_at(ended.run.submission, ended.run.lo, spot),
            _ => false,
        }
    }

    /// All records were noted: files that none of them needs go, and new ones have new numbers.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.doomed.clear();
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            self.next = self.next.max(number + 1);
            if self.files.get(&number).is_none_or(|needed| *needed == 0) {
                self.files.remove(&number);
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, number: u32) -> PathBuf {
        self.directory.join(number.to_string())
    }
}
