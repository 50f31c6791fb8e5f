//! The file's text, and what it has to be.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use scalems_protocol::{PilotId, Role, limits};

use super::{Addresses, ConnectionFile, VERSION};
use crate::endpoint::Endpoint;
use crate::keys::{CurveClient, KeyPair};

/// What stands in every version of the file.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    pilot: String,
    pilot_id: String,
    incarnation: u64,
    role: Role,
    host: String,
    pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    #[serde(flatten)]
    sockets: Sockets,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    curve: Option<Curve>,
}

/// The sockets under the names that a role knows them by.
#[derive(Default, Serialize, Deserialize)]
struct Sockets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frontend: Option<Socket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events: Option<Socket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backend: Option<Socket>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beats: Option<Socket>,
}

#[derive(Serialize, Deserialize)]
struct Socket {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipc: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Curve {
    #[serde(rename = "server_public_key")]
    server: String,
    #[serde(rename = "public_key")]
    public: String,
    #[serde(rename = "secret_key")]
    secret: String,
}

/// Why a text is no connection file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It ends too early.
    HalfWritten,
    /// It is of another version.
    Version(u64),
    /// This is wrong with it.
    Invalid(String),
}

fn invalid<T: Display>(reason: T) -> Flaw {
    Flaw::Invalid(format!("{reason}"))
}

impl From<serde_json::Error> for Flaw {
    fn from(error: serde_json::Error) -> Self {
        if error.is_eof() {
            Self::HalfWritten
        } else {
            invalid(error)
        }
    }
}

/// The file as text. Fails if it could not be read again.
pub(super) fn write(file: &ConnectionFile) -> Result<Vec<u8>, Flaw> {
    check(file)?;
    let socket = |addresses: &Addresses| {
        Some(Socket {
            ipc: addresses.ipc.as_ref().map(Endpoint::to_string),
            tcp: addresses.tcp.as_ref().map(Endpoint::to_string),
        })
    };
    let (requests, stream) = (socket(&file.requests), socket(&file.stream));
    let sockets = match file.role {
        Role::Client | Role::Observer => Sockets {
            frontend: requests,
            events: stream,
            ..Sockets::default()
        },
        Role::Worker => Sockets {
            backend: requests,
            beats: stream,
            ..Sockets::default()
        },
    };
    let curve = file.curve.as_ref().map(|curve| Curve {
        server: curve.server.to_string(),
        public: curve.keys.public.to_string(),
        secret: curve.keys.secret.expose(),
    });
    let text = File {
        version: VERSION,
        pilot: file.pilot.clone(),
        pilot_id: file.pilot_id.to_string(),
        incarnation: file.incarnation,
        role: file.role,
        host: file.host.clone(),
        pid: file.pid,
        start_time: file.start_time,
        sockets,
        curve,
    };
    let mut text = serde_json::to_vec_pretty(&text)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the text of a file.
pub(super) fn read(text: &[u8]) -> Result<ConnectionFile, Flaw> {
    // An empty file, and one of blanks, are half written as well: serde says "end of file" for them.
    let Versioned { version } = serde_json::from_slice(text)?;
    if version != u64::from(VERSION) {
        return Err(Flaw::Version(version));
    }
    let file: File = serde_json::from_slice(text)?;
    let (requests, stream) = match file.role {
        Role::Client | Role::Observer => (
            named("frontend", file.sockets.frontend)?,
            named("events", file.sockets.events)?,
        ),
        Role::Worker => (
            named("backend", file.sockets.backend)?,
            named("beats", file.sockets.beats)?,
        ),
    };
    let file = ConnectionFile {
        pilot: file.pilot,
        pilot_id: file.pilot_id.parse::<PilotId>().map_err(invalid)?,
        incarnation: file.incarnation,
        host: file.host,
        pid: file.pid,
        start_time: file.start_time,
        role: file.role,
        requests,
        stream,
        curve: file.curve.map(|curve| curve.read()).transpose()?,
    };
    check(&file)?;
    Ok(file)
}

fn named(name: &str, socket: Option<Socket>) -> Result<Addresses, Flaw> {
    let socket = socket.ok_or_else(|| invalid(format!("it has no {name:?}")))?;
    let parse = |text: Option<String>| {
        text.map(|text| text.parse::<Endpoint>().map_err(invalid))
            .transpose()
    };
    Ok(Addresses {
        ipc: parse(socket.ipc)?,
        tcp: parse(socket.tcp)?,
    })
}

impl Curve {
    fn read(&self) -> Result<CurveClient, Flaw> {
        let wrong = |field: &'static str| move |error| invalid(format!("{field}: {error}"));
        Ok(CurveClient {
            server: self.server.parse().map_err(wrong("server_public_key"))?,
            keys: KeyPair {
                public: self.public.parse().map_err(wrong("public_key"))?,
                secret: self.secret.parse().map_err(wrong("secret_key"))?,
            },
        })
    }
}

/// What holds beyond the shape, for what is written and for what is read.
fn check(file: &ConnectionFile) -> Result<(), Flaw> {
    for (what, text) in [("pilot", &file.pilot), ("host", &file.host)] {
        let plain =
            !text.is_empty() && text.len() <= limits::NAME_BYTES && !text.chars().any(char::is_control);
        if !plain {
            let most = limits::NAME_BYTES;
            return Err(invalid(format!(
                "{what:?} must be 1 to {most} bytes of plain text"
            )));
        }
    }
    if file.incarnation == 0 {
        return Err(invalid("\"incarnation\" counts from 1"));
    }
    if file.pid == 0 {
        return Err(invalid("\"pid\" cannot be 0"));
    }
    for addresses in [&file.requests, &file.stream] {
        if addresses.all().next().is_none() {
            return Err(invalid("a socket has neither \"ipc\" nor \"tcp\""));
        }
        if addresses
            .ipc
            .iter()
            .any(|endpoint| !matches!(endpoint, Endpoint::Ipc { .. }))
        {
            return Err(invalid("an \"ipc\" address is of another kind"));
        }
        if addresses
            .tcp
            .iter()
            .any(|endpoint| !matches!(endpoint, Endpoint::Tcp { .. }))
        {
            return Err(invalid("a \"tcp\" address is of another kind"));
        }
        if addresses.tcp.is_some() && file.curve.is_none() {
            return Err(invalid("there is a \"tcp\" address and no \"curve\""));
        }
    }
    Ok(())
}
