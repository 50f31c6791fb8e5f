//! Finding a pilot's connection file.
//!
//! The pilots of a user lie in one directory: `$SCALEMS_HOME`, or `$XDG_STATE_HOME/scalems`, or `~/.scalems`;
//! each in `pilots/NAME`, with one connection file per role.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use scalems_protocol::Role;
use scalems_transport::connection_file::Writer;
use scalems_transport::{ConnectionFile, ConnectionFileError};

/// Why no pilot was found, or not which one.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// There is no directory to look in.
    #[error("neither SCALEMS_HOME nor XDG_STATE_HOME nor HOME is set: set one, or name the connection file")]
    NoHome,
    /// No pilot runs.
    #[error("no pilot runs here (looked in {}): start one with `scalems pilot start`", directory.display())]
    NoPilot {
        /// Where was looked.
        directory: PathBuf,
    },
    /// Several run, and none was named.
    #[error("several pilots run: {}; name one with --pilot or SCALEMS_PILOT", names.join(", "))]
    SeveralPilots {
        /// Their names.
        names: Vec<String>,
    },
    /// The named one is not there.
    #[error(
        "there is no pilot {name:?} in {}{}", directory.display(),
        if names.is_empty() { "; none runs there".to_owned() } else { format!("; these run: {}", names.join(", ")) }
    )]
    UnknownPilot {
        /// The name.
        name: String,
        /// Where was looked.
        directory: PathBuf,
        /// Those that run.
        names: Vec<String>,
    },
    /// Its agent has ended and left the file.
    #[error(
        "pilot {pilot} is dead: {} was written by process {pid} on this host, which has ended; \
         start the pilot again, or remove the file", file.display()
    )]
    DeadPilot {
        /// The pilot's name.
        pilot: String,
        /// Its connection file.
        file: PathBuf,
        /// The process that was its agent.
        pid: u32,
    },
    /// The file has no address that this host can reach.
    #[error(
        "pilot {pilot} runs on {host} and listens on that host only, as {} says: connect from there, \
         or start it with a TCP address", file.display()
    )]
    OtherHost {
        /// The pilot's name.
        pilot: String,
        /// Its host.
        host: String,
        /// Its connection file.
        file: PathBuf,
    },
    /// The file is of another role.
    #[error("{} is for the {} role, this needs {}", file.display(), found.name(), wanted.name())]
    WrongRole {
        /// The file.
        file: PathBuf,
        /// Its role.
        found: Role,
        /// What is needed.
        wanted: Role,
    },
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] ConnectionFileError),
    /// The directory cannot be read.
    #[error("cannot look into {}: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A pilot that was found.
#[derive(Clone, Debug)]
pub struct Located {
    /// Its connection file.
    pub path: PathBuf,
    /// What the file says.
    pub file: ConnectionFile,
}

impl Located {
    /// Reads the connection file at `path`, which is the file itself or the directory that has `client.json`.
    pub fn read(path: &Path) -> Result<Self, LocateError> {
        let path = if path.is_dir() {
            path.join(ConnectionFile::file_name(Role::Client))
        } else {
            path.to_owned()
        };
        let file = ConnectionFile::read(&path)?;
        match file.role {
            Role::Client | Role::Observer => Ok(Self { path, file }),
            found @ Role::Worker => Err(LocateError::WrongRole {
                file: path,
                found,
                wanted: Role::Client,
            }),
        }
    }

    /// Fails if the agent is known to have ended.
    pub(crate) fn check_alive(&self) -> Result<(), LocateError> {
        if self.file.writer(&host_name()) == Writer::Gone {
            let pilot = self.file.pilot.clone();
            return Err(LocateError::DeadPilot {
                pilot,
                file: self.path.clone(),
                pid: self.file.pid,
            });
        }
        Ok(())
    }
}

/// The name of this host.
pub(crate) fn host_name() -> String {
    let name = hostname::get().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}

/// The directory that has the user's pilots, from the environment.
pub fn home() -> Result<PathBuf, LocateError> {
    home_from(|name| std::env::var_os(name))
}

fn home_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, LocateError> {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("SCALEMS_HOME")
        .or_else(|| set("XDG_STATE_HOME").map(|state| state.join("scalems")))
        .or_else(|| set("HOME").map(|home| home.join(".scalems")))
        .ok_or(LocateError::NoHome)
}

/// The directory of the pilot called `name`: among the user's pilots, or where a link there leads.
pub fn pilot_directory(name: &str) -> Result<PathBuf, LocateError> {
    let path = pilots_directory(&home()?).join(name);
    // One whose target is gone leads nowhere.
    let target = fs::read_link(&path).ok().filter(|target| target.exists());
    Ok(target.unwrap_or(path))
}

/// The names of all pilots of the user, whether they run or not.
pub fn names() -> Result<Vec<String>, LocateError> {
    let directory = pilots_directory(&home()?);
    let mut names: Vec<String> = entries(&directory)?
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    Ok(names)
}

/// The place of a pilot among the user's, by its name.
pub fn place_of(name: &str) -> Result<PathBuf, LocateError> {
    Ok(pilots_directory(&home()?).join(name))
}

fn pilots_directory(home: &Path) -> PathBuf {
    home.join("pilots")
}

/// The pilot called `name`, or, without a name, the only one that runs.
///
/// Pilots whose agent ran on this host and has ended do not count as running; those of other hosts do.
///
/// ```no_run
/// let pilot = scalems_client::locate::find(None)?;
/// println!("{} on {}", pilot.file.pilot, pilot.file.host);
/// # Ok::<(), scalems_client::locate::LocateError>(())
/// ```
pub fn find(name: Option<&str>) -> Result<Located, LocateError> {
    find_in(&home()?, name)
}

/// As [`find`], in another directory than the environment's.
pub fn find_in(home: &Path, name: Option<&str>) -> Result<Located, LocateError> {
    let directory = pilots_directory(home);
    if let Some(name) = name {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        let file = directory.join(name).join(ConnectionFile::file_name(Role::Client));
        return match Located::read(&file) {
            Ok(located) if plain => {
                located.check_alive()?;
                Ok(located)
            }
            Ok(_) | Err(LocateError::File(ConnectionFileError::Missing { .. })) => {
                let names = running(&directory)?
                    .into_iter()
                    .map(|located| located.file.pilot)
                    .collect();
                Err(LocateError::UnknownPilot {
                    name: name.to_owned(),
                    directory,
                    names,
                })
            }
            Err(error) => Err(error),
        };
    }
    let mut running = running(&directory)?;
    match running.len() {
        0 => Err(LocateError::NoPilot { directory }),
        1 => Ok(running.remove(0)),
        _ => {
            let names = running.into_iter().map(|located| located.file.pilot).collect();
            Err(LocateError::SeveralPilots { names })
        }
    }
}

/// The pilots that run, as far as can be seen from here, by name.
pub fn list_in(home: &Path) -> Result<Vec<Located>, LocateError> {
    running(&pilots_directory(home))
}

/// What is in a directory, which need not be there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, LocateError> {
    let failed = |source| LocateError::Directory {
        directory: directory.to_owned(),
        source,
    };
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(failed)?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

fn running(directory: &Path) -> Result<Vec<Located>, LocateError> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        let path = path.join(ConnectionFile::file_name(Role::Client));
        if !path.exists() {
            continue;
        }
        match Located::read(&path) {
            Ok(located) if located.check_alive().is_ok() => found.push(located),
            Ok(_) => {}
            // One that cannot be used stands in nobody's way; named, it is reported.
            Err(error) => tracing::warn!(%error, "passed over a pilot"),
        }
    }
    found.sort_by(|a, b| a.file.pilot.cmp(&b.file.pilot));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalems_protocol::PilotId;
    use scalems_transport::connection_file::{Addresses, start_time};
    use scalems_transport::{Endpoint, PrivateDir};

    fn write(home: &Path, name: &str, pid: u32) {
        let directory = PrivateDir::ensure(&home.join("pilots").join(name)).unwrap();
        let addresses = |socket: &str| Addresses {
            ipc: Some(Endpoint::ipc(&directory.path().join(socket)).unwrap()),
            tcp: None,
        };
        let file = ConnectionFile {
            pilot: name.into(),
            pilot_id: PilotId([1; 16]),
            incarnation: 1,
            host: host_name(),
            pid,
            start_time: start_time(pid),
            role: Role::Client,
            requests: addresses("client.sock"),
            stream: addresses("events.sock"),
            curve: None,
        };
        file.write(&directory).unwrap();
    }

    #[test]
    fn the_directory_comes_from_the_environment() {
        let from = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
            home_from(|name| {
                set.iter()
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.into())
            })
        };
        assert_eq!(from(&[("HOME", "/h")]).unwrap(), Path::new("/h/.scalems"));
        assert_eq!(
            from(&[("HOME", "/h"), ("XDG_STATE_HOME", "/x")]).unwrap(),
            Path::new("/x/scalems")
        );
        let all = [("HOME", "/h"), ("XDG_STATE_HOME", "/x"), ("SCALEMS_HOME", "/s")];
        assert_eq!(from(&all).unwrap(), Path::new("/s"));
        assert_eq!(
            from(&[("HOME", "/h"), ("SCALEMS_HOME", "")]).unwrap(),
            Path::new("/h/.scalems")
        );
        assert!(matches!(from(&[]), Err(LocateError::NoHome)));
    }

    #[test]
    fn the_only_one_that_runs_needs_no_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path();
        assert!(matches!(find_in(path, None), Err(LocateError::NoPilot { .. })));
        write(path, "dead", u32::MAX);
        assert!(matches!(find_in(path, None), Err(LocateError::NoPilot { .. })));
        write(path, "one", std::process::id());
        assert_eq!(find_in(path, None).unwrap().file.pilot, "one");
        write(path, "two", std::process::id());
        let error = find_in(path, None).unwrap_err();
        assert!(
            matches!(&error, LocateError::SeveralPilots { names } if names[..] == ["one", "two"]),
            "{error}"
        );
        assert_eq!(find_in(path, Some("two")).unwrap().file.pilot, "two");
    }

    #[test]
    fn a_named_one_is_said_to_be_dead_or_unknown() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path();
        write(path, "dead", u32::MAX);
        write(path, "one", std::process::id());
        let error = find_in(path, Some("dead")).unwrap_err();
        assert!(
            matches!(&error, LocateError::DeadPilot { pid: u32::MAX, .. }),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains("pilot dead is dead") && text.contains("client.json"),
            "{text}"
        );
        let error = find_in(path, Some("none")).unwrap_err();
        assert!(
            matches!(&error, LocateError::UnknownPilot { names, .. } if names[..] == ["one"]),
            "{error}"
        );
        assert!(matches!(
            find_in(path, Some("../pilots/one")),
            Err(LocateError::UnknownPilot { .. })
        ));
    }

    #[test]
    fn a_directory_stands_for_its_client_file() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "one", std::process::id());
        let directory = home.path().join("pilots/one");
        assert_eq!(
            Located::read(&directory).unwrap().path,
            directory.join("client.json")
        );
        assert!(Located::read(&directory.join("client.json")).is_ok());
        let missing = Located::read(&home.path().join("pilots/none/client.json")).unwrap_err();
        assert!(matches!(
            missing,
            LocateError::File(ConnectionFileError::Missing { .. })
        ));
    }
}
