//! What a killed agent leaves behind: a journal with records of most kinds, to be spoiled and read again.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use scalems_agent::journal::{Journal, JournalError, Life, Store};
use scalems_client::protocol::group::Data;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::protocol::task::When;
use scalems_client::{Session, Task};
use scalems_core::record::Record;
use scalems_core::{Action, Config, Restore};
use scalems_tests::pilot::{PATIENCE, Pilot};
use tempfile::TempDir;

/// The name of the journal's file.
pub(crate) const NAME: &str = "journal.sqlite";
/// More than lies in the database: such values lie beside it.
pub(crate) const LARGE: usize = 20_000;

/// A journal with all that belongs to it.
pub(crate) struct Left {
    directory: TempDir,
    /// Submissions that the agent said it has.
    pub(crate) acknowledged: Vec<u64>,
}

/// What an agent finds in a journal.
pub(crate) struct Found {
    pub(crate) records: Vec<Record>,
    pub(crate) life: Life,
    pub(crate) identity: Option<Vec<u8>>,
}

impl Found {
    /// Makes an agent of it, which has something to say at once.
    pub(crate) fn restore(&self) {
        let config = Config {
            pilot_name: "left".to_owned(),
            pilot: self.life.pilot,
            incarnation: self.life.incarnation,
            life: 0,
            secret: self.life.secret,
            link_seed: 1,
            software: String::new(),
            journal: true,
            expected_workers: 0,
            open_to_workers: true,
            quota: scalems_core::Quota::default(),
            beat_ms: 1_000,
            lost_ms: 10_000,
            orphan_ms: 60_000,
            retain_us: 0,
            patience_us: 1_000,
            spill_over: u64::MAX,
            filters: Vec::new(),
        };
        let mut restore = Restore::new(config, self.life.age.as_micros() as u64);
        for record in &self.records {
            restore.take(record);
        }
        let (_, first) = restore.finish();
        let asks = first.iter().any(|action| {
            matches!(
                action,
                Action::Record {
                    record: Record::Numbers { .. },
                    ..
                }
            )
        });
        assert!(asks, "an agent asks for numbers first: {first:?}");
    }
}

impl Left {
    /// That of an agent that was killed after some work. All of it is in the log, and nothing in the database.
    pub(crate) fn behind(rounds: u8) -> Self {
        let mut pilot = Pilot::start("--tcp=127.0.0.1");
        let acknowledged = work(&pilot, rounds);
        pilot.kill_all();
        let left = Self::of(&pilot.directory().join(NAME));
        Self { acknowledged, ..left }
    }

    /// A copy of the journal at this path.
    pub(crate) fn of(journal: &Path) -> Self {
        // In memory where that can be: it is opened thousands of times, and each time synced.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        let left = Self {
            directory: directory.unwrap(),
            acknowledged: Vec::new(),
        };
        copy(journal, &left.path());
        left
    }

    /// The database's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }

    /// The log's path.
    pub(crate) fn log(&self) -> PathBuf {
        beside(&self.path(), "-wal")
    }

    /// The files of values.
    pub(crate) fn values(&self) -> Vec<PathBuf> {
        files(&beside(&self.path(), ".values"))
    }

    /// Puts the whole log into the database.
    pub(crate) fn without_log(self) -> Self {
        Store::inspect(&self.path(), drop).unwrap();
        assert!(!self.log().exists(), "the log is in the database");
        self
    }

    /// Takes the other's database, log and values over: of the values only the names, since an agent that opens a
    /// journal takes away some and changes none.
    pub(crate) fn become_like(&self, other: &Self, database: &[u8], log: Option<&[u8]>) {
        private(&self.path(), database);
        match log {
            Some(log) => private(&self.log(), log),
            None if self.log().exists() => std::fs::remove_file(self.log()).unwrap(),
            None => {}
        }
        self.take_values(&other.path());
    }

    fn take_values(&self, journal: &Path) {
        let to = beside(&self.path(), ".values");
        if to.exists() {
            std::fs::remove_dir_all(&to).unwrap();
        }
        for from in files(&beside(journal, ".values")) {
            std::fs::create_dir_all(&to).unwrap();
            let to = to.join(from.file_name().unwrap());
            std::fs::hard_link(&from, &to).unwrap();
        }
    }

    /// Opens it as an agent does for the pilot's next life.
    pub(crate) fn read(&self) -> Result<Found, JournalError> {
        self.open().map(|(found, _)| found)
    }

    fn open(&self) -> Result<(Found, Store), JournalError> {
        let mut records = Vec::new();
        let (store, life) = Store::resume(&self.path(), |record| records.push(record))?;
        let identity = store.identity()?;
        Ok((
            Found {
                records,
                life,
                identity,
            },
            store,
        ))
    }

    /// Opens it, and writes these as well.
    pub(crate) fn add(&self, more: &[Record]) -> Result<(), JournalError> {
        let (_, store) = self.open()?;
        let last = store.last() + more.len() as u64;
        let (woken, wakes) = std::sync::mpsc::channel();
        let journal = Journal::start(store, move || woken.send(()).unwrap_or_default())?;
        journal.append(&mut more.to_vec());
        while journal.durable()? < last {
            wakes.recv_timeout(PATIENCE).unwrap();
        }
        Ok(())
    }
}

/// `path` with more at its end.
pub(crate) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// Writes a file that is nobody else's.
pub(crate) fn private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// All files in a directory, which need not be there.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// All files of a journal, with what is in them.
pub(crate) fn facts(journal: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let parts = ["", "-wal", "-journal", "-shm"].map(|part| beside(journal, part));
    let values = files(&beside(journal, ".values"));
    let there = parts.into_iter().chain(values).filter(|path| path.exists());
    there
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Copies a journal, with all that belongs to it.
pub(crate) fn copy(journal: &Path, to: &Path) {
    for (from, bytes) in facts(journal) {
        let name = from
            .strip_prefix(journal.parent().unwrap())
            .unwrap()
            .to_str()
            .unwrap();
        let rest = name.strip_prefix(journal.file_name().unwrap().to_str().unwrap());
        let to = beside(to, rest.unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        private(&to, &bytes);
    }
}

/// Whether these are the same records. A value that somebody needed then, and nobody does now, is not read.
pub(crate) fn same(some: &[Record], others: &[Record]) -> bool {
    let data = |record: &Record| match record {
        Record::Submitted(submitted) => submitted.data.clone(),
        Record::Ended(ended) => ended.data.clone(),
        _ => Data::default(),
    };
    let bare = |record: &Record| {
        let mut record = record.clone();
        match &mut record {
            Record::Submitted(submitted) => submitted.data = Data::default(),
            Record::Ended(ended) => ended.data = Data::default(),
            _ => {}
        }
        record
    };
    let alike = |(one, other): (&Record, &Record)| {
        one == other
            || ((data(one) == Data::default() || data(other) == Data::default()) && bare(one) == bare(other))
    };
    some.len() == others.len() && some.iter().zip(others).all(alike)
}

/// Work that leaves records of most kinds, each on disk before the next. Gives the submissions that were acknowledged.
pub(crate) fn work(pilot: &Pilot, rounds: u8) -> Vec<u64> {
    let session = Session::options()
        .name("campaign")
        .connect(pilot.directory())
        .unwrap();
    let mut acknowledged = Vec::new();
    let mut held = |task: &Task, count: u32| {
        let submission = session.submit_held(task, 0..count).unwrap().submission;
        acknowledged.push(submission);
        submission
    };
    let runs = held(&Task::shell("exec sleep 600").name("runs"), 1);
    for round in 0..rounds {
        // Some are pushed and taken in.
        let small = Task::new("scalems.echo").data(vec![round; 100]);
        assert_eq!(
            session.submit(&small).unwrap().wait(PATIENCE).unwrap().value[..],
            [round; 100]
        );
        let large = held(
            &Task::new("scalems.echo").data(vec![round; LARGE]).name("large"),
            1,
        );
        ended(pilot, large, true);
        let failed = held(&Task::shell("exit 3").name("failed"), 1);
        ended(pilot, failed, false);
        let array = held(
            &Task::new("scalems.noop").name("array").label("kind", "array"),
            50,
        );
        ended(pilot, array, true);
        // These wait for what runs.
        let canceled = held(
            &Task::new("scalems.noop")
                .after_submission(runs, When::Any)
                .name("canceled"),
            3,
        );
        let canceled = Selector::submission(canceled);
        session.cancel(canceled, Strength::Kill, "the drill").unwrap();
        held(
            &Task::new("scalems.echo")
                .after_submission(runs, When::Any)
                .name("unfinished")
                .data(vec![round; LARGE]),
            2,
        );
        if round > 0 {
            session.forget(Selector::submission(array)).unwrap();
        }
    }
    // The pilot of the next life knows it, so it must not say farewell.
    std::mem::forget(session);
    acknowledged
}

/// Waits until all tasks of a submission have ended, and that is on disk.
fn ended(pilot: &Pilot, submission: u64, well: bool) {
    let said = pilot.sh(&format!("scalems wait {submission}"));
    assert_eq!(said.code == 0, well, "{said:?}");
}
