//! The doors of an agent: each bind has its own ZAP domain, which says who may come in by it.

use scalems_protocol::Role;

/// A socket file. Whoever can open it has the role that it stands for: it lies in a private directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpcDomain {
    /// `client.sock`, at the frontend.
    Client,
    /// `observer.sock`, at the frontend as well.
    Observer,
    /// `worker.sock`, at the backend.
    Worker,
    /// `beats.sock`: workers publish.
    Beats,
    /// `events.sock`: anyone reads.
    Events,
}

impl IpcDomain {
    /// Every ipc door.
    pub const ALL: [Self; 5] = [
        Self::Client,
        Self::Observer,
        Self::Worker,
        Self::Beats,
        Self::Events,
    ];

    /// The domain's name in ZAP requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "ipc.client",
            Self::Observer => "ipc.observer",
            Self::Worker => "ipc.worker",
            Self::Beats => "ipc.beats",
            Self::Events => "ipc.events",
        }
    }

    /// The name of the socket file in the pilot's directory.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Client => "client.sock",
            Self::Observer => "observer.sock",
            Self::Worker => "worker.sock",
            Self::Beats => "beats.sock",
            Self::Events => "events.sock",
        }
    }

    /// The role of whoever comes in.
    pub const fn role(self) -> Role {
        match self {
            Self::Client => Role::Client,
            Self::Observer | Self::Events => Role::Observer,
            Self::Worker | Self::Beats => Role::Worker,
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|domain| domain.name().as_bytes() == name)
    }
}

/// A TCP port. The key says the role, and the port says which roles may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpDomain {
    /// Requests of clients and observers.
    Frontend,
    /// Workers.
    Backend,
    /// Workers' heartbeats.
    Beats,
    /// Events for clients and observers.
    Events,
}

impl TcpDomain {
    /// Every TCP door.
    pub const ALL: [Self; 4] = [Self::Frontend, Self::Backend, Self::Beats, Self::Events];

    /// The domain's name in ZAP requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontend => "tcp.frontend",
            Self::Backend => "tcp.backend",
            Self::Beats => "tcp.beats",
            Self::Events => "tcp.events",
        }
    }

    /// Whether a key of that role may come in.
    pub const fn admits(self, role: Role) -> bool {
        match self {
            Self::Frontend | Self::Events => matches!(role, Role::Client | Role::Observer),
            Self::Backend | Self::Beats => matches!(role, Role::Worker),
        }
    }

    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|domain| domain.name().as_bytes() == name)
    }
}
