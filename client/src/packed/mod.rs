//! Reading packed logs: what many programs wrote, in few files (`docs/spec/9-packed-logs`). No pilot is needed.
//!
//! ```no_run
//! # fn example() -> std::io::Result<()> {
//! use scalems_client::packed::Survey;
//! let survey = Survey::of("/scratch/pilot/logs".as_ref())?;
//! for found in survey.attempts() {
//!     println!("{} wrote {} bytes", found.of.task, found.written[0]);
//! }
//! # Ok(())
//! # }
//! ```

mod survey;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use scalems_protocol::packed::{EXTENSION, FileStart, Found, Look, Record, look, next_mark};

pub use self::survey::{FoundAttempt, Source, Survey};

/// Bytes that are read at once where heads are looked at.
const WINDOW: usize = 64 << 10;

/// A file of a packed log.
#[derive(Debug)]
pub struct PackedFile {
    path: PathBuf,
    file: File,
    length: u64,
}

/// What lies in a file, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A record, whose body was not looked at.
    Record(At),
    /// Bytes that are no record.
    Damaged {
        /// Where they begin.
        from: u64,
        /// Where they end.
        upto: u64,
        /// Whether the file ends there: whoever wrote it was killed meanwhile, or writes still.
        torn: bool,
    },
}

/// A record where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Where it begins.
    pub position: u64,
    found: Found,
}

impl At {
    /// What it says; none if that is not known to this version.
    pub const fn record(&self) -> Option<&Record> {
        self.found.record.as_ref()
    }

    /// Where it ends.
    pub const fn end(&self) -> u64 {
        self.position + self.found.bytes() as u64
    }

    /// Bytes of its body.
    pub const fn body_bytes(&self) -> u64 {
        self.found.body_bytes as u64
    }
}

impl PackedFile {
    /// Opens a file, as long as it is now.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in it.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// What it says of itself; none if its beginning is damaged.
    pub fn start(&self) -> io::Result<Option<FileStart>> {
        match self.parts(0, self.length).next().transpose()? {
            Some(Part::Record(at)) => Ok(match at.found.record {
                Some(Record::File(start)) => Some(start),
                _ => None,
            }),
            _ => Ok(None),
        }
    }

    /// What lies between two places. A record begins at the first of them, or what is before the next counts as damaged.
    pub fn parts(&self, from: u64, upto: u64) -> Parts<'_> {
        Parts {
            file: self,
            position: from,
            upto: upto.min(self.length),
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// The body of a record; none if it is not what was written.
    pub fn body(&self, at: &At) -> io::Result<Option<Vec<u8>>> {
        let mut body = vec![0; at.found.body_bytes];
        let from = at.position + at.found.body_at as u64;
        match self.file.read_exact_at(&mut body, from) {
            Ok(()) => Ok(at.found.is_body(&body).then_some(body)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// See [`PackedFile::parts`].
#[derive(Debug)]
pub struct Parts<'a> {
    file: &'a PackedFile,
    position: u64,
    upto: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Parts<'_> {
    /// The bytes at a place: so many, and perhaps more; fewer only where the file ends.
    fn bytes(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let known = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + count as u64 > known {
            let left = usize::try_from(self.file.length.saturating_sub(at)).unwrap_or(usize::MAX);
            self.window.resize(WINDOW.max(count).min(left), 0);
            self.window_at = at;
            let read = self.file.file.read_exact_at(&mut self.window, at);
            if let Err(error) = read {
                self.window.clear();
                return Err(error);
            }
        }
        let skip = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(skip..).unwrap_or_default())
    }

    fn look(&mut self, at: u64) -> io::Result<Look> {
        let mut needed = scalems_protocol::packed::PREFIX_BYTES;
        loop {
            let bytes = self.bytes(at, needed)?;
            match look(at, bytes) {
                Look::More(more) if bytes.len() < more && more > needed => needed = more,
                Look::More(_) => return Ok(Look::Nothing),
                other => return Ok(other),
            }
        }
    }

    fn step(&mut self) -> io::Result<Option<Part>> {
        let from = self.position;
        if from >= self.upto {
            return Ok(None);
        }
        let mut at = from;
        loop {
            match self.look(at)? {
                Look::Found(found) if at > from => {
                    // It is told next.
                    let _ = found;
                    break;
                }
                Look::Found(found) => {
                    let record = At { position: at, found };
                    if record.end() > self.file.length {
                        at = self.file.length;
                        break;
                    }
                    self.position = record.end();
                    return Ok(Some(Part::Record(record)));
                }
                Look::Nothing | Look::More(_) => {
                    let bytes = self.bytes(at, 8)?;
                    at += next_mark(bytes).max(1) as u64;
                    if at >= self.file.length {
                        at = self.file.length;
                        break;
                    }
                }
            }
        }
        self.position = at;
        Ok(Some(Part::Damaged {
            from,
            upto: at,
            torn: at == self.file.length,
        }))
    }
}

impl Iterator for Parts<'_> {
    type Item = io::Result<Part>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            // A place that cannot be read is not read again.
            self.position = self.upto;
        }
        step
    }
}

/// The files of packed logs in a directory, or the one that is named.
pub fn files(place: &Path) -> io::Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == EXTENSION) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scalems_protocol::TaskId;
    use scalems_protocol::packed::{Attempt, Piece, Stream, write};

    use super::*;

    /// A file with so many records, and what is in them.
    fn made(sizes: &[usize]) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let (mut bytes, mut bodies, mut from) = (Vec::new(), Vec::new(), 0);
        write(0, &Record::File(FileStart::default()), b"", &mut bytes);
        for (number, size) in sizes.iter().enumerate() {
            // Bodies that look like records: a copy of what is there already.
            let body: Vec<u8> = bytes.iter().copied().cycle().skip(number).take(*size).collect();
            let record = Record::Bytes(Piece {
                of: Attempt {
                    task: TaskId {
                        submission: 1,
                        index: number as u32,
                    },
                    incarnation: 1,
                    attempt: 1,
                },
                stream: Stream::Stdout,
                from,
                time_us: 0,
            });
            let position = bytes.len() as u64;
            write(position, &record, &body, &mut bytes);
            bodies.push((from, body));
            from += *size as u64;
        }
        (bytes, bodies)
    }

    /// What a reader makes of it: bodies of records by where they begin in the stream, and bytes that are damaged.
    fn read(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, u64) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.packed");
        std::fs::write(&path, bytes).unwrap();
        let file = PackedFile::open(&path).unwrap();
        let (mut bodies, mut damaged, mut upto) = (Vec::new(), 0, 0);
        for part in file.parts(0, u64::MAX) {
            match part.unwrap() {
                Part::Record(at) => {
                    assert_eq!(at.position, upto, "nothing is passed over");
                    upto = at.end();
                    let body = file.body(&at).unwrap();
                    match (at.record(), body) {
                        (Some(Record::Bytes(piece)), Some(body)) => bodies.push((piece.from, body)),
                        (_, Some(_)) => {}
                        (_, None) => damaged += at.body_bytes(),
                    }
                }
                Part::Damaged {
                    from,
                    upto: end,
                    torn,
                } => {
                    assert_eq!(from, upto, "nothing is passed over");
                    assert_eq!(torn, end == bytes.len() as u64);
                    assert!(end > from, "it goes on");
                    upto = end;
                    damaged += end - from;
                }
            }
        }
        assert_eq!(upto, bytes.len() as u64, "all of it is told");
        (bodies, damaged)
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, bodies) = made(&[0, 1, 70_000, 400]);
        assert_eq!(read(&bytes), (bodies, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_cut_file_has_what_was_whole(
            sizes in prop::collection::vec(0_usize..3_000, 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let (bytes, bodies) = made(&sizes);
            let cut = cut.index(bytes.len() + 1);
            let (found, damaged) = read(&bytes[..cut]);
            // A file of the first records alone is as long as what they take.
            let upto = |records: usize| made(&sizes[..records]).0.len();
            let whole = (0..=bodies.len()).take_while(|records| upto(*records) <= cut).count();
            let whole = whole.saturating_sub(1);
            prop_assert_eq!(&found[..], &bodies[..whole]);
            let torn = if cut < upto(0) { cut } else { cut - upto(whole) };
            prop_assert_eq!(damaged, torn as u64);
        }

        #[test]
        fn flipped_bytes_are_never_taken_for_right(
            sizes in prop::collection::vec(0_usize..3_000, 1..8),
            flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4),
        ) {
            let (mut bytes, bodies) = made(&sizes);
            let whole = bytes.clone();
            for (at, flip) in &flips {
                let at = at.index(bytes.len());
                bytes[at] ^= *flip;
            }
            let (found, damaged) = read(&bytes);
            for body in &found {
                prop_assert!(bodies.contains(body), "{:?} was never written", body.0);
            }
            prop_assert!(bytes == whole || damaged > 0);
            // What is damaged takes no more along than itself.
            prop_assert!(found.len() + flips.len() >= bodies.len());
        }

        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            let (found, _) = read(&bytes);
            prop_assert!(found.is_empty());
        }
    }
}
