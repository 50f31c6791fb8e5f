//! The agent's sockets, opened in an order in which nobody gets in unchecked (DESIGN 9).

use std::net::IpAddr;
use std::time::Duration;

use scalems_protocol::Role;
use scalems_transport::connection_file::Addresses;
use scalems_transport::{
    AgentShelf, Context, CurveClient, Endpoint, EventPublisher, IpcDomain, PrivateDir, Router, Subscriber,
    TcpDomain, TransportError, Zap, check_build,
};

use super::identity::Identity;

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
    /// Opens all sockets: files in `directory` for this host if given, TCP if asked for, with the keys and ports of
    /// an earlier life if there was one. Ports that others have taken meanwhile are replaced.
    pub fn open(
        directory: Option<&PrivateDir>,
        tcp: Option<&TcpOptions>,
        before: Option<Identity>,
    ) -> Result<(Self, Doors, Option<Identity>), TransportError> {
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
            match AgentShelf::make(directory) {
                Ok(shelf) => {
                    frontend.use_shelf(&shelf);
                    backend.use_shelf(&shelf);
                }
                Err(error) => {
                    tracing::info!(%error, "without shared memory large values go through the sockets")
                }
            }
            doors.frontend.ipc = Some(frontend.bind_ipc(&zap, IpcDomain::Client, directory)?);
            doors.observers.ipc = Some(frontend.bind_ipc(&zap, IpcDomain::Observer, directory)?);
            doors.backend.ipc = Some(backend.bind_ipc(&zap, IpcDomain::Worker, directory)?);
            doors.beats.ipc = Some(beats.bind_ipc(&zap, IpcDomain::Beats, directory)?);
            doors.events.ipc = Some(events.bind_ipc(&zap, IpcDomain::Events, directory)?);
        }
        let mut identity = None;
        if let Some(tcp) = tcp {
            let permit = zap.self_test(SELF_TEST)?;
            let mut who = before.map_or_else(Identity::generate, Ok)?;
            for (role, keys) in &who.roles {
                zap.admit(keys.public, *role);
                let keys = keys.clone();
                let server = who.server.public;
                doors.curve.push((*role, CurveClient { server, keys }));
            }
            let (server, address) = (&who.server, tcp.address);
            let [front, back, beat, event] = who.ports;
            let ports = [
                port(front, |at| {
                    frontend.bind_tcp(&permit, TcpDomain::Frontend, address, at, server)
                })?,
                port(back, |at| {
                    backend.bind_tcp(&permit, TcpDomain::Backend, address, at, server)
                })?,
                port(beat, |at| {
                    beats.bind_tcp(&permit, TcpDomain::Beats, address, at, server)
                })?,
                port(event, |at| {
                    events.bind_tcp(&permit, TcpDomain::Events, address, at, server)
                })?,
            ];
            let at = |port| Endpoint::tcp(&tcp.host, port).map_err(TransportError::from);
            doors.frontend.tcp = Some(at(ports[0])?);
            doors.observers.tcp = Some(at(ports[0])?);
            doors.backend.tcp = Some(at(ports[1])?);
            doors.beats.tcp = Some(at(ports[2])?);
            doors.events.tcp = Some(at(ports[3])?);
            who.ports = ports;
            identity = Some(who);
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
            identity,
        ))
    }
}

/// The port that a socket is bound to: the one before if there was one and it is free, else any.
fn port(
    before: u16,
    mut bind: impl FnMut(u16) -> Result<u16, TransportError>,
) -> Result<u16, TransportError> {
    if before == 0 {
        return bind(0);
    }
    bind(before).or_else(|error| {
        tracing::warn!(before, %error, "the port of before is not free: another one is taken");
        bind(0)
    })
}
