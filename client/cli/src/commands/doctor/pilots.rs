//! The user's pilots: whether their keys are theirs alone, and whether they answer.

use std::time::Duration;

use scalems_agent::batch::Submitted;
use scalems_client::{Session, locate};
use scalems_protocol::Role;
use scalems_transport::ConnectionFile;
use scalems_transport::connection_file::Writer;

use super::Finding;

/// A pilot that is well answers sooner.
const ANSWER: Duration = Duration::from_secs(3);
const ABOUT: &str = "pilot";

pub(super) fn check() -> Vec<Finding> {
    // That there is no home was found before.
    let names = locate::names().unwrap_or_default();
    names.iter().filter_map(|name| one(name)).collect()
}

/// What is to be said of a pilot; nothing of one that ended in order.
fn one(name: &str) -> Option<Finding> {
    let directory = locate::pilot_directory(name).ok()?;
    let path = directory.join(ConnectionFile::file_name(Role::Client));
    let file = match ConnectionFile::read(&path) {
        Ok(file) => file,
        Err(_) if !path.exists() => return None,
        Err(error) => {
            return Some(Finding::problem(
                ABOUT,
                format!("{name}: {error}"),
                format!(
                    "make it yours alone: chmod 700 {0}; chmod 600 {0}/*.json",
                    directory.display()
                ),
            ));
        }
    };
    if file.writer(&scalems_agent::host_name()) == Writer::Gone {
        // An agent's directory has its lock.
        if !directory.join("lock").exists() {
            return Some(Finding::warning(
                ABOUT,
                format!("{name}: the tunnel to it was killed"),
                "make another one: scalems connect".to_owned(),
            ));
        }
        let how = if directory.join(Submitted::FILE).exists() {
            "submit"
        } else {
            "start"
        };
        return Some(Finding::warning(
            ABOUT,
            format!("{name}: its agent has died"),
            format!(
                "go on with it: scalems pilot {how} --resume --name {name}; or drop it: scalems pilot remove {name}"
            ),
        ));
    }
    let asked = Session::options()
        .shared()
        .connect_timeout(ANSWER)
        .answer_timeout(ANSWER)
        .connect(&path)
        .and_then(|session| session.ask_status());
    Some(match asked {
        Ok(status) if status.trouble.is_empty() => {
            let (active, _, _, lost) = status.workers;
            Finding::fine(
                ABOUT,
                format!("{name}: answers; {active} workers, {lost} lost so far"),
            )
        }
        Ok(status) => Finding::problem(
            ABOUT,
            format!("{name}: {}", status.trouble.join("; ")),
            format!("its log says more: {}", directory.display()),
        ),
        Err(error) => Finding::problem(
            ABOUT,
            format!("{name}: {error}"),
            format!(
                "look at its log in {}, and whether {} is up",
                directory.display(),
                file.host
            ),
        ),
    })
}
