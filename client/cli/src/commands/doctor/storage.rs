//! Where pilots lie: whether it can be written to, keeps secrets and locks, and has room.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use scalems_client::locate;
use scalems_transport::PrivateDir;

use super::Finding;

/// With less room a journal is soon full.
const LITTLE: u64 = 1 << 30;
/// With less a pilot cannot begin.
const NONE: u64 = 64 << 20;
/// Clocks of a host and its file server differ by less.
const APART: u64 = 5;

pub(super) fn check() -> Vec<Finding> {
    let home = match locate::home() {
        Ok(home) => home,
        Err(error) => {
            return vec![Finding::problem(
                "home",
                error.to_string(),
                "set SCALEMS_HOME to a directory of yours",
            )];
        }
    };
    let place = home.join(format!("doctor-{}", std::process::id()));
    let made = std::fs::create_dir_all(&home)
        .map_err(|error| error.to_string())
        .and_then(|()| PrivateDir::ensure(&place).map_err(|error| error.to_string()));
    let remedy =
        "set SCALEMS_HOME to a directory that you can write to and all nodes see, or name one with --dir";
    if let Err(error) = made {
        return vec![Finding::problem("home", error, remedy)];
    }
    let mut found = match tried(&place) {
        Ok(found) => found,
        Err(error) => vec![Finding::problem(
            "home",
            format!("{}: {error}", home.display()),
            remedy,
        )],
    };
    // What stays is an empty directory, or one on a disk that took nothing.
    let _gone = std::fs::remove_dir_all(&place);
    if found.iter().all(|finding| finding.about != "home") {
        found.insert(
            0,
            Finding::fine("home", format!("{} can be written to", home.display())),
        );
    }
    found.push(room("room", &home));
    found.push(room("room in /tmp", Path::new("/tmp")));
    found
}

/// What a file there does.
fn tried(place: &Path) -> std::io::Result<Vec<Finding>> {
    let path = place.join("file");
    let mut file = File::create(&path)?;
    file.write_all(b"scalems")?;
    file.sync_all()?;
    let written = file.metadata()?.modified()?;
    let apart = SystemTime::now()
        .duration_since(written)
        .unwrap_or_else(|error| error.duration());
    let clock = if apart.as_secs() < APART {
        Finding::fine("clock", "is that of the file system")
    } else {
        Finding::warning(
            "clock",
            format!("differs from the file system's by {} s", apart.as_secs()),
            "have the host's clock put right (NTP); times in lists are wrong until then",
        )
    };
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    let other = Flock::lock(
        // Over NFS only a file that can be written to can be locked so.
        File::options().read(true).write(true).open(&path)?,
        FlockArg::LockExclusiveNonblock,
    );
    let locks = match other {
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Finding::fine("locks", "hold"),
        Err((_, errno)) => return Err(errno.into()),
        Ok(_) => Finding::problem(
            "locks",
            "do not hold: two agents could begin in one directory",
            "keep pilots on another file system, with --dir or SCALEMS_HOME",
        ),
    };
    drop(held);
    Ok(vec![clock, locks])
}

fn room(about: &'static str, path: &Path) -> Finding {
    let facts = match statvfs(path) {
        Ok(facts) => facts,
        Err(errno) => {
            return Finding::warning(
                about,
                errno.to_string(),
                format!("look whether {} is there", path.display()),
            );
        }
    };
    let free = facts.blocks_available() * facts.fragment_size();
    let said = format!("{} MiB are free in {}", free >> 20, path.display());
    let remedy = "make room, or keep pilots elsewhere: `scalems journal prune` and `scalems pilot remove` drop what is over";
    match free {
        0..NONE => Finding::problem(about, said, remedy),
        NONE..LITTLE => Finding::warning(about, said, remedy),
        _ => Finding::fine(about, said),
    }
}
