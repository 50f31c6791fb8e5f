//! Keeps a pilot's filters: a process for each, beside the agent's, which the next agent finds again.

use std::ffi::OsString;
use std::path::Path;

use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::own_program;
use super::time::WorkerTime;
use super::workers::{Keeper, Kept, Told};
use crate::args::PilotStartArgs;
use crate::commands::filter::{self, FilterFile};

/// Filters that are kept, with their names. With the sender they hear nothing more.
pub(super) struct Filters {
    kept: Vec<(String, JoinHandle<Kept>)>,
    _told: watch::Sender<Told>,
}

/// Starts them.
pub(super) fn keep(
    local: &LocalSet,
    args: &PilotStartArgs,
    connection: &Path,
    ending: &watch::Receiver<bool>,
) -> anyhow::Result<Filters> {
    // One that ends badly is started again, whenever that is.
    let (tell, told) = watch::channel(Told {
        joined: true,
        ..Told::default()
    });
    let mut kept = Vec::new();
    for file in &args.agent.filter {
        let name = FilterFile::read(file)?.rule.mode();
        let note = connection.with_file_name("filters").join(&name);
        let mut words: Vec<OsString> = vec![own_program()?.into()];
        words.extend(filter::words(file, connection, &note, &args.each.log));
        let keeper = Keeper {
            name: name.clone(),
            words,
            time: WorkerTime::default(),
            launch: None,
            note: Some(note),
            log: None,
            resumes: args.agent.resume,
            patient: false,
        };
        let keeping = keeper.keep(ending.clone(), told.clone());
        let name_of = name.clone();
        let keeping = local.spawn_local(async move {
            let kept = keeping.await;
            if let Kept::Badly(why) = &kept {
                tracing::error!(
                    filter = name_of,
                    why,
                    "a filter is not started again: what it sees waits"
                );
            }
            kept
        });
        kept.push((name, keeping));
    }
    Ok(Filters { kept, _told: tell })
}

/// Waits until all of them have ended: they were told to, and are killed if they do not.
pub(super) async fn ended(filters: Filters) {
    for (name, kept) in filters.kept {
        match kept.await {
            Ok(Kept::Killed) => eprintln!("scalems: {name} did not end and was killed"),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, name, "who keeps a filter ended badly"),
        }
    }
}
