//! Who a peer is to the agent (`docs/spec/1-bus`, section "Roles").

use serde::{Deserialize, Serialize};

/// What a peer may do. It comes from the peer's CURVE key (TCP) or from the socket it came in by (ipc),
/// never from what the peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Submits, cancels, stops: a client's key equals a shell as the pilot's user.
    Client,
    /// Takes leases and reports results.
    Worker,
    /// Reads only.
    Observer,
}

impl Role {
    /// Every role, in the order of the specification.
    pub const ALL: [Self; 3] = [Self::Client, Self::Worker, Self::Observer];

    /// The role's name on the wire, in files and in ZAP user ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Worker => "worker",
            Self::Observer => "observer",
        }
    }

    /// The role called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}
