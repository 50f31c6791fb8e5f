//! The other side of a tunnel: the pilot's connection files, where they are.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use scalems_protocol::Role;
use scalems_transport::{ConnectionFile, Endpoint};

use crate::ssh::Master;

/// Prints for each pilot its directory, its client's file and its observer's, each behind a zero byte: that of the directory `$1`, or
/// of the name `$2` among the user's, or all of these.
const FIND: &str = "if [ -n \"$1\" ]; then set -- \"$1\"; else \
    h=${SCALEMS_HOME:-${XDG_STATE_HOME:+$XDG_STATE_HOME/scalems}}; h=${h:-$HOME/.scalems}; \
    if [ -n \"$2\" ]; then set -- \"$h/pilots/$2\"; else set -- \"$h\"/pilots/*; fi; fi; \
    for p; do if [ -f \"$p/client.json\" ]; then printf \"%s\\0\" \"$p\"; cat \"$p/client.json\"; printf \"\\0\"; \
    cat \"$p/observer.json\" 2>/dev/null; printf \"\\0\"; fi; done; exit 0";

/// A pilot there.
#[derive(Clone, Debug)]
pub(super) struct Far {
    pub(super) directory: String,
    pub(super) client: ConnectionFile,
    pub(super) observer: Option<ConnectionFile>,
}

impl Far {
    /// The one in this directory, or of this name, or the only one.
    pub(super) async fn find(
        master: &Master,
        directory: Option<&Path>,
        name: Option<&str>,
        within: Duration,
    ) -> anyhow::Result<Self> {
        let directory = directory.map(|path| path.to_str().context("the directory's name is no text"));
        let directory = directory.transpose()?;
        let args = [directory.unwrap_or_default(), name.unwrap_or_default()];
        let mut found = read(&master.output(FIND, &args, within).await?)?;
        let place = match (directory, name) {
            (Some(directory), _) => format!("in {directory}"),
            (None, Some(name)) => format!("called {name}"),
            (None, None) => "of yours".to_owned(),
        };
        let names: Vec<&str> = found.iter().map(|far| far.client.pilot.as_str()).collect();
        anyhow::ensure!(
            names.len() <= 1,
            "several pilots are there: {}; name one with --pilot",
            names.join(", ")
        );
        let found = found.pop();
        found.with_context(|| format!("no pilot {place} runs there; --dir names another directory"))
    }

    /// The same pilot now; none if it is not there.
    pub(super) async fn again(&self, master: &Master, within: Duration) -> anyhow::Result<Option<Self>> {
        let found = read(&master.output(FIND, &[&self.directory, ""], within).await?)?;
        let same = found
            .into_iter()
            .find(|found| found.client.pilot_id == self.client.pilot_id);
        Ok(same)
    }

    /// Whether nothing has changed that matters here.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.client == other.client && self.observer == other.observer
    }

    /// Where the agent takes requests, and where it tells events.
    pub(super) fn addresses(&self) -> anyhow::Result<[(String, u16); 2]> {
        let tcp = |endpoint: &Option<Endpoint>| match endpoint {
            Some(Endpoint::Tcp { host, port }) => Ok((host.clone(), *port)),
            _ => Err(anyhow::anyhow!(
                "pilot {} on {} listens on socket files only: start it with --tcp",
                self.client.pilot,
                self.client.host
            )),
        };
        Ok([tcp(&self.client.requests.tcp)?, tcp(&self.client.stream.tcp)?])
    }
}

/// Reads what [`FIND`] has printed.
fn read(said: &[u8]) -> anyhow::Result<Vec<Far>> {
    let mut parts: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
    // Behind the last zero byte nothing comes.
    let rest = parts.pop();
    anyhow::ensure!(
        rest.is_none_or(<[u8]>::is_empty) && parts.len().is_multiple_of(3),
        "what the other host said is not understood: does its shell print something of its own?"
    );
    let mut found = Vec::new();
    for three in parts.chunks_exact(3) {
        let [directory, client, observer] = three else {
            continue;
        };
        let directory = String::from_utf8_lossy(directory).into_owned();
        let file = |role: Role, text: &[u8]| {
            let path = Path::new(&directory).join(ConnectionFile::file_name(role));
            let file = ConnectionFile::parse(&path, text)?;
            anyhow::ensure!(file.role == role, "{} is of another role", path.display());
            Ok(file)
        };
        let client = file(Role::Client, client)?;
        let observer = (!observer.is_empty())
            .then(|| file(Role::Observer, observer))
            .transpose()?;
        found.push(Far {
            directory,
            client,
            observer,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = include_str!("../../../../../protocol/transport/tests/vectors/client.json");

    fn find(home: &Path, args: [&str; 2]) -> Vec<u8> {
        let line = crate::ssh::line(FIND, &args).unwrap();
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", &line]).env("SCALEMS_HOME", home);
        let output = sh.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    #[test]
    fn pilots_are_found_by_directory_by_name_and_by_being_there() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(&find(home.path(), ["", ""])).unwrap().is_empty());
        for name in ["a b", "night"] {
            let directory = home.path().join("pilots").join(name);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("client.json"), CLIENT).unwrap();
        }
        std::fs::create_dir_all(home.path().join("pilots/over")).unwrap();
        let all = read(&find(home.path(), ["", ""])).unwrap();
        assert_eq!(all.len(), 2);
        assert!(all[0].directory.ends_with("pilots/a b") && all[0].observer.is_none());
        assert_eq!(read(&find(home.path(), ["", "night"])).unwrap().len(), 1);
        assert!(read(&find(home.path(), ["", "over"])).unwrap().is_empty());
        let place = home.path().join("pilots/a b");
        assert_eq!(
            read(&find(home.path(), [place.to_str().unwrap(), "x"]))
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_shell_that_talks_is_noticed() {
        for wrong in ["Welcome!", "a\0b\0", "a\0{}\0\0"] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_agents_addresses_are_those_for_other_hosts() {
        let mut far = Far {
            directory: "/p".into(),
            client: ConnectionFile::parse(Path::new("client.json"), CLIENT.as_bytes()).unwrap(),
            observer: None,
        };
        far.client.requests.tcp = Some(Endpoint::tcp("10.0.0.7", 4_711).unwrap());
        assert_eq!(far.addresses().unwrap()[0], ("10.0.0.7".to_owned(), 4_711));
        far.client.stream.tcp = None;
        assert!(far.addresses().unwrap_err().to_string().contains("--tcp"));
    }
}
