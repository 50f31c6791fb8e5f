//! Journals in forms that other programs read: lines of JSON, comma-separated values, a database with tables.

use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, params};
use scalems_protocol::Amount;

use super::story::{Story, TaskRow};

/// The tables of an exported database, which the guide explains.
const TABLES: &str = "
    CREATE TABLE submissions (
        submission INTEGER PRIMARY KEY, name TEXT, mode TEXT NOT NULL, session TEXT, tasks INTEGER NOT NULL,
        submitted_s REAL NOT NULL, forgotten INTEGER NOT NULL
    );
    CREATE TABLE tasks (
        submission INTEGER NOT NULL REFERENCES submissions, idx INTEGER NOT NULL, state TEXT NOT NULL,
        attempt INTEGER NOT NULL, failures INTEGER NOT NULL, lost_workers INTEGER NOT NULL, exit_code INTEGER,
        ran_s REAL, ended_s REAL, worker TEXT, host TEXT, error_code TEXT, error TEXT,
        wasted_s REAL NOT NULL, cores NUMERIC NOT NULL, gpus NUMERIC NOT NULL,
        PRIMARY KEY (submission, idx)
    ) WITHOUT ROWID;
";

/// The columns of a task, in all forms.
const COLUMNS: [&str; 16] = [
    "submission",
    "index",
    "state",
    "attempt",
    "failures",
    "lost_workers",
    "exit_code",
    "ran_s",
    "ended_s",
    "worker",
    "host",
    "error_code",
    "error",
    "wasted_s",
    "cores",
    "gpus",
];

/// Why a journal could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing can be written there.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
    /// The database cannot be made.
    #[error("cannot make the database: {0}")]
    Database(#[from] rusqlite::Error),
}

/// One line of JSON for each task.
pub fn json_lines(story: &Story, out: &mut impl Write) -> Result<(), ExportError> {
    for row in story.tasks() {
        let value = serde_json::json!({
            "submission": row.submission,
            "index": row.index,
            "state": row.state,
            "attempt": row.attempt,
            "failures": row.failures,
            "lost_workers": row.lost_workers,
            "exit_code": row.exit_code,
            "ran_s": row.ran_s,
            "ended_s": row.ended_s,
            "worker": row.worker,
            "host": row.host,
            "error_code": row.error_code,
            "error": row.error,
            "wasted_s": row.wasted_s,
            "cores": row.cores,
            "gpus": row.gpus,
        });
        writeln!(out, "{value}")?;
    }
    Ok(())
}

/// A table of tasks, with a line of names.
pub fn comma_separated(story: &Story, out: &mut impl Write) -> Result<(), ExportError> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(COLUMNS).map_err(io::Error::from)?;
    for row in story.tasks() {
        table.write_record(fields(&row)).map_err(io::Error::from)?;
    }
    Ok(table.flush()?)
}

fn fields(row: &TaskRow) -> [String; COLUMNS.len()] {
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    [
        row.submission.to_string(),
        row.index.to_string(),
        row.state.to_owned(),
        row.attempt.to_string(),
        row.failures.to_string(),
        row.lost_workers.to_string(),
        text(row.exit_code),
        text(row.ran_s),
        text(row.ended_s),
        text(row.worker.as_ref()),
        text(row.host.as_ref()),
        text(row.error_code),
        text(row.error.as_ref()),
        row.wasted_s.to_string(),
        row.cores.to_string(),
        row.gpus.to_string(),
    ]
}

/// An amount as databases have it: those that are whole are kept as such.
fn number(amount: Amount) -> f64 {
    amount.parts() as f64 / Amount::PARTS as f64
}

/// A new database of submissions and tasks, at a path where nothing is.
pub fn database(story: &Story, path: &Path) -> Result<(), ExportError> {
    std::fs::File::create_new(path)?;
    let mut db = Connection::open(path)?;
    let all = db.transaction()?;
    all.execute_batch(TABLES)?;
    {
        let mut put = all.prepare("INSERT INTO submissions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        for row in story.submissions() {
            put.execute(params![
                row.submission,
                row.name,
                row.mode,
                row.session,
                row.tasks,
                row.submitted_s,
                row.forgotten
            ])?;
        }
        let mut put = all.prepare(
            "INSERT INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?;
        for row in story.tasks() {
            put.execute(params![
                row.submission,
                row.index,
                row.state,
                row.attempt,
                row.failures,
                row.lost_workers,
                row.exit_code,
                row.ran_s,
                row.ended_s,
                row.worker,
                row.host,
                row.error_code,
                row.error,
                row.wasted_s,
                number(row.cores),
                number(row.gpus)
            ])?;
        }
    }
    all.commit()?;
    Ok(())
}
