//! The address by which other nodes reach this one.

use std::net::{IpAddr, ToSocketAddrs as _};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

/// Why there is no address to listen on.
#[derive(Debug, thiserror::Error)]
pub enum InterfaceError {
    /// The interfaces cannot be listed.
    #[error("cannot list this host's network interfaces: {0}")]
    List(#[from] nix::Error),
    /// None has this name, or it has no address.
    #[error("no network interface {name} with an IPv4 address; there are: {}", found.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that would do.
        found: Vec<String>,
    },
    /// There is none but the loopback.
    #[error("this host has no network interface that other hosts could reach")]
    None,
}

/// The address of the named interface, or, without a name, the one that this host's own name stands for, or that of
/// the first interface that is up.
pub fn address(interface: Option<&str>) -> Result<IpAddr, InterfaceError> {
    let found = list()?;
    match interface {
        Some(name) => {
            let named = found.iter().find(|(known, _)| known == name);
            named
                .map(|(_, address)| *address)
                .ok_or_else(|| InterfaceError::Unknown {
                    name: name.to_owned(),
                    found: found.iter().map(|(name, _)| name.clone()).collect(),
                })
        }
        None => choose(&found, &resolved()).ok_or(InterfaceError::None),
    }
}

/// Only an address that an interface has can be listened on.
fn choose(found: &[(String, IpAddr)], resolved: &[IpAddr]) -> Option<IpAddr> {
    let known = found.iter().find(|(_, address)| resolved.contains(address));
    known.or(found.first()).map(|(_, address)| *address)
}

fn resolved() -> Vec<IpAddr> {
    let name = crate::host_name();
    // A host that does not know itself by name is asked for its interfaces instead.
    let all = (name.as_str(), 0).to_socket_addrs();
    all.map(|all| all.map(|address| address.ip()).collect())
        .unwrap_or_default()
}

/// The interfaces that are up and not the loopback, with their IPv4 addresses.
fn list() -> Result<Vec<(String, IpAddr)>, InterfaceError> {
    let all = getifaddrs()?.filter_map(|interface| {
        let up = interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let address = interface.address?.as_sockaddr_in()?.ip();
        up.then_some((interface.interface_name, IpAddr::V4(address)))
    });
    Ok(all.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_hosts_own_name_decides() {
        let found = [
            ("eth0".to_owned(), ip("10.0.0.1")),
            ("ib0".to_owned(), ip("10.1.0.1")),
        ];
        assert_eq!(choose(&found, &[ip("10.1.0.1")]), Some(ip("10.1.0.1")));
        assert_eq!(choose(&found, &[ip("127.0.1.1")]), Some(ip("10.0.0.1")));
        assert_eq!(choose(&[], &[ip("10.1.0.1")]), None);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let error = address(Some("nope0")).unwrap_err();
        assert!(
            error.to_string().starts_with("no network interface nope0"),
            "{error}"
        );
    }
}
