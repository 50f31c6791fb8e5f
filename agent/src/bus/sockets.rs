//! The agent's sockets, opened in an order in which nobody gets in unchecked (DESIGN 9).

use std::net::IpAddr;
use std::time::Duration;

use scalems_protocol::Role;
use scalems_transport::connection_file::Addresses;
use scalems_transport::{
    Context, CurveClient, Endpoint, EventPublisher, IpcDomain, KeyPair, PrivateDir, Router, Subscriber,
    TcpDomain, TransportError, Zap, check_build,
};

/// How long each of the three connections of the self-test may take.
const SELF_TEST: Duration = Duration::from_secs(5);

/// Where to listen for other hosts.
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// The address to bind.
    pub address: IpAddr,
    /// The name or address that others reach it by.
    pub host: String,
}

/// The agent's sockets.
pub struct Sockets {
    /// Clients and observers.
    pub(super) frontend: Router,
    /// Workers.
    pub(super) backend: Router,
    /// Workers' beats.
    pub(super) beats: Subscriber,
    /// Events.
    pub(super) events: EventPublisher,
    // Dropped last: libzmq asks it for every connection.
    _zap: Zap,
}

/// Where the sockets listen and who is let in.
#[derive(Clone, Debug, Default)]
pub struct Doors {
    frontend: Addresses,
    observers: Addresses,
    backend: Addresses,
    beats: Addresses,
    events: Addresses,
    curve: Vec<(Role, CurveClient)>,
}

impl Doors {
    /// What a role needs to know: where requests go, where the stream is, and its keys.
    pub fn of(&self, role: Role) -> (Addresses, Addresses, Option<CurveClient>) {
        let (requests, stream) = match role {
            Role::Client => (&self.frontend, &self.events),
            Role::Observer => (&self.observers, &self.events),
            Role::Worker => (&self.backend, &self.beats),
        };
        let curve = self
            .curve
            .iter()
            .find(|(of, _)| *of == role)
            .map(|(_, curve)| curve.clone());
        (requests.clone(), stream.clone(), curve)
    }
}

impl Sockets {
    /// Opens all sockets: files in `directory` for this host if given, TCP with fresh keys if asked for.
    pub fn open(
        directory: Option<&PrivateDir>,
        tcp: Option<&TcpOptions>,
    ) -> Result<(Self, Doors), TransportError> {
        check_build()?;
        let context = Context::new()?;
        let zap = Zap::start(&context)?;
        let mut frontend = Router::new(&context)?;
        let mut backend = Router::new(&context)?;
        frontend.watch()?;
        backend.watch()?;
        let mut beats = Subscriber::for_publishers(&context)?;
        let mut events = EventPublisher::new(&context)?;
        let mut doors = Doors::default();
        if let Some(directory) = directory {
            doors.frontend.ipc = Some(frontend.bind_ipc(&zap, IpcDomain::Client, directory)?);
            doors.observers.ipc = Some(frontend.bind_ipc(&zap, IpcDomain::Observer, directory)?);
            doors.backend.ipc = Some(backend.bind_ipc(&zap, IpcDomain::Worker, directory)?);
            doors.beats.ipc = Some(beats.bind_ipc(&zap, IpcDomain::Beats, directory)?);
            doors.events.ipc = Some(events.bind_ipc(&zap, IpcDomain::Events, directory)?);
        }
        if let Some(tcp) = tcp {
            let permit = zap.self_test(SELF_TEST)?;
            let server = KeyPair::generate()?;
            for role in Role::ALL {
                let keys = KeyPair::generate()?;
                zap.admit(keys.public, role);
                doors.curve.push((
                    role,
                    CurveClient {
                        server: server.public,
                        keys,
                    },
                ));
            }
            let at = |port| Endpoint::tcp(&tcp.host, port).map_err(TransportError::from);
            let port = frontend.bind_tcp(&permit, TcpDomain::Frontend, tcp.address, 0, &server)?;
            doors.frontend.tcp = Some(at(port)?);
            doors.observers.tcp = Some(at(port)?);
            let port = backend.bind_tcp(&permit, TcpDomain::Backend, tcp.address, 0, &server)?;
            doors.backend.tcp = Some(at(port)?);
            let port = beats.bind_tcp(&permit, TcpDomain::Beats, tcp.address, 0, &server)?;
            doors.beats.tcp = Some(at(port)?);
            let port = events.bind_tcp(&permit, TcpDomain::Events, tcp.address, 0, &server)?;
            doors.events.tcp = Some(at(port)?);
        }
        Ok((
            Self {
                frontend,
                backend,
                beats,
                events,
                _zap: zap,
            },
            doors,
        ))
    }
}
