//! Addresses of sockets, as they stand in connection files.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The longest path of an ipc socket in bytes: the kernel's 108 with the ending zero.
pub const IPC_PATH_BYTES: usize = 107;
/// The longest host name (RFC 1035).
const HOST_BYTES: usize = 253;

/// An address that a socket of ours connects to.
///
/// Of what libzmq would take more is refused: names in the abstract namespace (`ipc://@…`), which have no file
/// permissions, wildcards, source addresses (`tcp://a;b`), and its other transports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A socket file on this host.
    Ipc {
        /// The absolute path, at most [`IPC_PATH_BYTES`] long.
        path: PathBuf,
    },
    /// A port of a host.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// The port, not 0.
        port: u16,
    },
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `ipc://` nor `tcp://`.
    #[error("{text:?} is no address: it must begin with ipc:// or tcp://")]
    Scheme {
        /// The address.
        text: String,
    },
    /// The path of an ipc socket is relative, not UTF-8, or has control characters.
    #[error("{path:?} cannot be an ipc socket: the path must be absolute and plain text")]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The kernel has no room for the path.
    #[error(
        "the path of the ipc socket {path:?} has {bytes} bytes and the system allows {IPC_PATH_BYTES}: \
         choose a shorter directory"
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// No host name or address.
    #[error("{text:?} has no valid host: give a name, an IPv4 address or an IPv6 address in brackets")]
    Host {
        /// The address.
        text: String,
    },
    /// No port from 1 to 65535.
    #[error("{text:?} has no valid port: give one from 1 to 65535")]
    Port {
        /// The address.
        text: String,
    },
}

impl Endpoint {
    /// The ipc socket at `path`.
    pub fn ipc(path: &Path) -> Result<Self, EndpointError> {
        let plain = path.to_str().filter(|text| !text.chars().any(char::is_control));
        let Some(text) = plain.filter(|_| path.is_absolute()) else {
            return Err(EndpointError::Path {
                path: path.to_owned(),
            });
        };
        if text.len() > IPC_PATH_BYTES {
            return Err(EndpointError::PathTooLong {
                path: path.to_owned(),
                bytes: text.len(),
            });
        }
        Ok(Self::Ipc {
            path: path.to_owned(),
        })
    }

    /// The port `port` of `host`; an IPv6 address stands without brackets.
    pub fn tcp(host: &str, port: u16) -> Result<Self, EndpointError> {
        let endpoint = Self::Tcp {
            host: host.to_owned(),
            port,
        };
        let text = || endpoint.to_string();
        let named = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
        let is_name = !host.is_empty() && host.len() <= HOST_BYTES && host.chars().all(named);
        if !is_name && !is_ipv6(host) {
            return Err(EndpointError::Host { text: text() });
        }
        if port == 0 {
            return Err(EndpointError::Port { text: text() });
        }
        Ok(endpoint)
    }

    pub(crate) fn is_ipv6(&self) -> bool {
        matches!(self, Self::Tcp { host, .. } if is_ipv6(host))
    }
}

/// Whether it is an IPv6 address, which may name its interface (`fe80::1%eth0`).
fn is_ipv6(host: &str) -> bool {
    let (address, scope) = host.split_once('%').unwrap_or((host, "x"));
    let scope_is_plain =
        !scope.is_empty() && scope.chars().all(|character| character.is_ascii_alphanumeric());
    scope_is_plain && address.parse::<Ipv6Addr>().is_ok()
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc { path } => write!(out, "ipc://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(out, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(out, "tcp://{host}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("ipc://") {
            return Self::ipc(Path::new(path));
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(EndpointError::Scheme {
                text: text.to_owned(),
            });
        };
        let no_port = || EndpointError::Port {
            text: text.to_owned(),
        };
        let no_host = || EndpointError::Host {
            text: text.to_owned(),
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(no_port)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(no_port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|host| is_ipv6(host))
                .ok_or_else(no_host)?,
            None if host.contains(':') => return Err(no_host()),
            None => host,
        };
        Self::tcp(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_survive_as_text() {
        for text in [
            "ipc:///run/user/1000/scalems/p/client.sock",
            "tcp://node17.cluster:40001",
            "tcp://10.0.0.7:1",
            "tcp://[fe80::1%eth0]:65535",
            "tcp://[::1]:5",
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        let refused = |text: &str| text.parse::<Endpoint>().unwrap_err();
        for text in ["", "inproc://a", "client.sock", "ws://a:1", "TCP://a:1"] {
            assert!(matches!(refused(text), EndpointError::Scheme { .. }), "{text}");
        }
        for text in [
            "ipc://",
            "ipc://@abstract",
            "ipc://*",
            "ipc://a/b",
            "ipc:///a\nb",
            "ipc:///a\0b",
        ] {
            assert!(matches!(refused(text), EndpointError::Path { .. }), "{text:?}");
        }
        for text in [
            "tcp://:1",
            "tcp://*:1",
            "tcp://a;b:1",
            "tcp://a b:1",
            "tcp://[::1:1",
            "tcp://::1:1",
            "tcp://[x]:1",
        ] {
            assert!(matches!(refused(text), EndpointError::Host { .. }), "{text}");
        }
        for text in [
            "tcp://a",
            "tcp://a:",
            "tcp://a:0",
            "tcp://a:65536",
            "tcp://a:+1",
            "tcp://a:*",
            "tcp://a:!",
        ] {
            assert!(matches!(refused(text), EndpointError::Port { .. }), "{text}");
        }
    }

    #[test]
    fn a_long_path_is_named_with_its_length() {
        let fits = format!("/{}", "a".repeat(IPC_PATH_BYTES - 1));
        assert!(Endpoint::ipc(Path::new(&fits)).is_ok());
        let error = Endpoint::ipc(Path::new(&format!("{fits}b"))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("has 108 bytes and the system allows 107"),
            "{error}"
        );
    }
}
