//! The decision itself: which connection comes in by which door, and as what.

use std::collections::HashMap;

use scalems_protocol::Role;

use crate::domain::{IpcDomain, TcpDomain};
use crate::keys::PublicKey;

/// The domain of the self-test's own socket.
pub(super) const TRIAL_DOMAIN: &str = "self-test";
/// What a connection to it comes in as: no role, so it could do nothing elsewhere.
const TRIAL_USER: &str = "self-test";

/// What libzmq asks of a new connection.
pub(super) struct Request<'a> {
    /// The door.
    pub(super) domain: &'a [u8],
    /// How the peer proves who it is.
    pub(super) mechanism: &'a [u8],
    /// Its proof: for CURVE the public key, whose secret half libzmq has seen to be there.
    pub(super) credentials: &'a [&'a [u8]],
}

/// Whom each door is open for.
#[derive(Default)]
pub(super) struct Table {
    roles: HashMap<PublicKey, Role>,
    trial: Option<PublicKey>,
    #[cfg(test)]
    fault: Fault,
}

/// What a test makes go wrong.
#[cfg(test)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    Panics,
    AdmitsAll,
    RefusesAll,
}

impl Table {
    pub(super) fn admit(&mut self, key: PublicKey, role: Role) {
        self.roles.insert(key, role);
    }

    pub(super) fn dismiss(&mut self, key: &PublicKey) {
        self.roles.remove(key);
    }

    /// Sets which key the self-test's socket lets in.
    pub(super) fn set_trial(&mut self, key: Option<PublicKey>) {
        self.trial = key;
    }

    #[cfg(test)]
    pub(super) fn set_fault(&mut self, fault: Fault) {
        self.fault = fault;
    }

    /// The user id to let the connection in as: the name of its role. Whatever is not known is refused.
    pub(super) fn decide(&self, request: &Request<'_>) -> Option<&'static str> {
        #[cfg(test)]
        match self.fault {
            Fault::None => {}
            Fault::Panics => panic!("asked for by a test"),
            Fault::AdmitsAll => return Some(TRIAL_USER),
            Fault::RefusesAll => return None,
        }
        match (request.mechanism, request.credentials) {
            (b"NULL", []) => Some(IpcDomain::from_name(request.domain)?.role().name()),
            (b"CURVE", [key]) => {
                let key = PublicKey(<[u8; 32]>::try_from(*key).ok()?);
                if request.domain == TRIAL_DOMAIN.as_bytes() {
                    return (self.trial == Some(key)).then_some(TRIAL_USER);
                }
                let domain = TcpDomain::from_name(request.domain)?;
                let role = *self.roles.get(&key)?;
                domain.admits(role).then(|| role.name())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: PublicKey = PublicKey([1; 32]);
    const WORKER: PublicKey = PublicKey([2; 32]);
    const OBSERVER: PublicKey = PublicKey([3; 32]);
    const STRANGER: PublicKey = PublicKey([4; 32]);

    fn decide(domain: &str, mechanism: &str, credentials: &[&[u8]]) -> Option<&'static str> {
        let mut table = Table::default();
        table.admit(CLIENT, Role::Client);
        table.admit(WORKER, Role::Worker);
        table.admit(OBSERVER, Role::Observer);
        table.decide(&Request {
            domain: domain.as_bytes(),
            mechanism: mechanism.as_bytes(),
            credentials,
        })
    }

    #[test]
    fn the_socket_file_says_the_role() {
        let all = IpcDomain::ALL.map(|domain| decide(domain.name(), "NULL", &[]));
        let roles = ["client", "observer", "worker", "worker", "observer"].map(Some);
        assert_eq!(all, roles);
    }

    #[test]
    fn the_key_says_the_role_and_the_port_who_may() {
        let by = |key: PublicKey| TcpDomain::ALL.map(|domain| decide(domain.name(), "CURVE", &[&key.0]));
        let (client, worker, observer) = (Some("client"), Some("worker"), Some("observer"));
        // Frontend, backend, beats, events.
        assert_eq!(by(CLIENT), [client, None, None, client]);
        assert_eq!(by(WORKER), [None, worker, worker, None]);
        assert_eq!(by(OBSERVER), [observer, None, None, observer]);
        assert_eq!(by(STRANGER), [None; 4]);
    }

    #[test]
    fn all_else_is_refused() {
        for domain in ["", "ipc.", "ipc.clients", "tcp.frontend", "self-test"] {
            assert_eq!(decide(domain, "NULL", &[]), None, "{domain}");
        }
        for (mechanism, credentials) in [
            ("NULL", &[&CLIENT.0[..]][..]),
            ("PLAIN", &[b"user", b"password"]),
            ("CURVE", &[]),
            ("CURVE", &[&CLIENT.0[1..]]),
            ("CURVE", &[&CLIENT.0, &CLIENT.0]),
            ("GSSAPI", &[b"user"]),
        ] {
            for domain in ["ipc.client", "tcp.frontend", "self-test"] {
                assert_eq!(
                    decide(domain, mechanism, credentials),
                    None,
                    "{domain} {mechanism}"
                );
            }
        }
        assert_eq!(
            decide("ipc.client", "CURVE", &[&CLIENT.0]),
            None,
            "keys are for TCP"
        );
        assert_eq!(decide("self-test", "CURVE", &[&CLIENT.0]), None, "no trial is on");
    }
}
