//! This side of a tunnel: its ports, and the connection files that lead to them.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use scalems_client::locate;
use scalems_protocol::Role;
use scalems_transport::connection_file::{Addresses, Writer, start_time};
use scalems_transport::{ConnectionFile, Endpoint, PrivateDir};

use super::far::Far;
use crate::ssh::Master;

/// So often another port is tried when somebody has taken the one that was free a moment ago.
const TRIES: u32 = 3;
const LOOPBACK: &str = "127.0.0.1";

/// The ports here that lead to the agent: for requests and for events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports([u16; 2]);

impl Ports {
    /// Ports that are free, and lead there.
    pub(super) async fn open(master: &Master, far: &Far, within: Duration) -> anyhow::Result<Self> {
        let mut ports = [0; 2];
        for (port, (host, number)) in ports.iter_mut().zip(far.addresses()?) {
            let mut tried = 0;
            *port = loop {
                let free = free_port()?;
                match master.forward(true, free, (&host, number), within).await {
                    Ok(()) => break free,
                    Err(error) => {
                        tried += 1;
                        if tried == TRIES {
                            return Err(error);
                        }
                    }
                }
            };
        }
        Ok(Self(ports))
    }

    /// Lets the same ports lead elsewhere.
    pub(super) async fn lead(
        self,
        master: &Master,
        from: &Far,
        to: &Far,
        within: Duration,
    ) -> anyhow::Result<()> {
        for ((port, before), now) in self.0.into_iter().zip(from.addresses()?).zip(to.addresses()?) {
            if before != now {
                master.forward(false, port, (&before.0, before.1), within).await?;
                master.forward(true, port, (&now.0, now.1), within).await?;
            }
        }
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The directory for a pilot of this name, if no other one has it.
pub(super) fn place(name: &str) -> anyhow::Result<PathBuf> {
    let directory = locate::place_of(name)?;
    let other = || {
        format!(
            "{} is another pilot's directory: choose another --name",
            directory.display()
        )
    };
    anyhow::ensure!(
        !directory.is_symlink() && !directory.join(scalems_agent::pilot::JOURNAL).exists(),
        other()
    );
    if let Ok(file) = ConnectionFile::read(&directory.join(ConnectionFile::file_name(Role::Client))) {
        let here = scalems_agent::host_name();
        anyhow::ensure!(
            file.writer(&here) == Writer::Gone,
            "pilot {name} is connected already, by process {} on {}: end that, or choose another --name",
            file.pid,
            file.host
        );
    }
    Ok(directory)
}

/// The files that lead through a tunnel. They go with it.
#[derive(Debug)]
pub(super) struct Near {
    directory: PrivateDir,
    pub(super) ports: Ports,
}

impl Near {
    pub(super) fn write(directory: &Path, far: &Far, ports: Ports) -> anyhow::Result<Self> {
        let directory = PrivateDir::ensure(directory)?;
        let near = Self { directory, ports };
        near.rewrite(far)?;
        Ok(near)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn name(&self) -> String {
        let name = self.directory.path().file_name();
        name.map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Writes them as the pilot is now. The client's is what others look for, and comes last.
    pub(super) fn rewrite(&self, far: &Far) -> anyhow::Result<()> {
        for file in far.observer.iter().chain([&far.client]) {
            led_here(file, self.ports)?.write(&self.directory)?;
        }
        Ok(())
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        for role in [Role::Client, Role::Observer] {
            let path = self.directory.path().join(ConnectionFile::file_name(role));
            // Best effort: what stays says that this process wrote it, which is gone.
            let own = ConnectionFile::read(&path).is_ok_and(|file| file.pid == std::process::id());
            let _gone = own.then(|| std::fs::remove_file(&path));
        }
        // What else lies there is somebody's.
        let _gone = std::fs::remove_dir(self.directory.path());
    }
}

/// The file of a role, as it leads through these ports. Its writer is this process, with whose end nobody is reached by it any more.
fn led_here(file: &ConnectionFile, ports: Ports) -> anyhow::Result<ConnectionFile> {
    let at = |port| -> anyhow::Result<Addresses> {
        Ok(Addresses {
            ipc: None,
            tcp: Some(Endpoint::tcp(LOOPBACK, port)?),
        })
    };
    let Ports([requests, stream]) = ports;
    let pid = std::process::id();
    Ok(ConnectionFile {
        host: scalems_agent::host_name(),
        pid,
        start_time: start_time(pid),
        requests: at(requests)?,
        stream: at(stream)?,
        ..file.clone()
    })
}

/// These words with one more before what is for another program.
pub(super) fn before_dashes(mut words: Vec<OsString>, word: &str) -> Vec<OsString> {
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.insert(at, word.into());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = include_str!("../../../../../protocol/transport/tests/vectors/client.json");

    #[test]
    fn a_file_that_leads_here_names_this_process_and_the_same_pilot() {
        let far = ConnectionFile::parse(Path::new("client.json"), CLIENT.as_bytes()).unwrap();
        let near = led_here(&far, Ports([4_711, 4_712])).unwrap();
        assert_eq!(near.writer(&scalems_agent::host_name()), Writer::Running);
        assert_eq!((near.pilot_id, &near.curve), (far.pilot_id, &far.curve));
        assert_eq!(
            near.requests.nearest(true).unwrap().to_string(),
            "tcp://127.0.0.1:4711"
        );
        assert_eq!(
            near.stream.nearest(false).unwrap().to_string(),
            "tcp://127.0.0.1:4712"
        );
    }

    #[test]
    fn a_word_of_ours_stands_before_those_of_others() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            before_dashes(words(&["connect", "n1", "--", "-v"]), "--behind"),
            words(&["connect", "n1", "--behind", "--", "-v"])
        );
        assert_eq!(
            before_dashes(words(&["connect"]), "--behind"),
            words(&["connect", "--behind"])
        );
    }
}
