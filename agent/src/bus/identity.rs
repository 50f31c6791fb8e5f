//! Who the agent is to other hosts: its keys and its ports. With a journal its next life is the same, so that files that
//! were copied to other hosts go on to be of use, and whoever is connected comes back by itself.

use scalems_protocol::Role;
use scalems_transport::{KeyPair, TransportError};
use serde::{Deserialize, Serialize};

/// A key pair as text: public, secret.
type Written = (String, String);

/// Keys and ports.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) server: KeyPair,
    pub(super) roles: Vec<(Role, KeyPair)>,
    /// Of frontend, backend, beats and events; 0 before they are known.
    pub(super) ports: [u16; 4],
}

#[derive(Serialize, Deserialize)]
struct Kept {
    server: Written,
    roles: Vec<(Role, Written)>,
    ports: [u16; 4],
}

impl Identity {
    /// New keys, for any ports.
    pub(super) fn generate() -> Result<Self, TransportError> {
        let roles = Role::ALL.into_iter().map(|role| Ok((role, KeyPair::generate()?)));
        Ok(Self {
            server: KeyPair::generate()?,
            roles: roles.collect::<Result<_, TransportError>>()?,
            ports: [0; 4],
        })
    }

    /// As it is kept, where nobody else may read it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kept = Kept {
            server: written(&self.server),
            roles: self
                .roles
                .iter()
                .map(|(role, keys)| (*role, written(keys)))
                .collect(),
            ports: self.ports,
        };
        rmp_serde::to_vec(&kept).expect("our own structs serialize into memory")
    }

    /// What was kept; none if that is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let kept: Kept = rmp_serde::from_slice(bytes).ok()?;
        let roles = kept.roles.iter().map(|(role, keys)| Some((*role, read(keys)?)));
        Some(Self {
            server: read(&kept.server)?,
            roles: roles.collect::<Option<_>>()?,
            ports: kept.ports,
        })
    }
}

fn written(keys: &KeyPair) -> Written {
    (keys.public.to_string(), keys.secret.expose())
}

fn read((public, secret): &Written) -> Option<KeyPair> {
    Some(KeyPair {
        public: public.parse().ok()?,
        secret: secret.parse().ok()?,
    })
}
