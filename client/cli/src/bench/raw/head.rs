//! The agent's place: hands messages on, and does nothing else.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use scalems_protocol::{PilotId, Role};
use scalems_transport::connection_file::Addresses;
use scalems_transport::{
    ConnectionFile, Context, CurveClient, Endpoint, Incoming, IpcDomain, KeyPair, PeerId, PrivateDir,
    Received, Router, Source, TcpDomain, Zap, poll,
};

use super::{IDLE, READY};
use crate::args::Transport;

/// How long the self-test of encryption may take.
const SELF_TEST: Duration = Duration::from_secs(5);

/// Both sides on one socket: nothing that hands messages on can do with less.
struct Head {
    router: Router,
    client: Option<PeerId>,
    worker: Option<PeerId>,
}

/// Serves until nothing has come for a long time.
pub(in super::super) fn run(directory: &Path, transport: Transport) -> anyhow::Result<()> {
    let directory = PrivateDir::ensure(directory)?;
    let context = Context::new()?;
    let zap = Zap::start(&context)?;
    let mut router = Router::new(&context)?;
    let doors = match transport {
        Transport::Ipc => ipc(&mut router, &zap, &directory)?,
        Transport::Tcp => tcp(&mut router, &zap)?,
    };
    for (role, endpoint, curve) in doors {
        file(role, endpoint, curve).write(&directory)?;
    }
    println!("{READY}");
    let mut head = Head {
        router,
        client: None,
        worker: None,
    };
    loop {
        let [ready] = poll([Source::readable(&head.router)], Some(IDLE))?;
        if !ready.any() {
            return Ok(());
        }
        while let Some(incoming) = head.router.recv()? {
            match incoming {
                Incoming::Message(received) => head.hand_on(&received)?,
                Incoming::Refused { refusal, .. } => return Err(refusal).context("a message was refused"),
            }
        }
    }
}

impl Head {
    /// The first message of each is its hello; once both are there the client is told.
    fn hand_on(&mut self, received: &Received) -> anyhow::Result<()> {
        let (from, to) = match received.role {
            Role::Worker => (&mut self.worker, self.client),
            _ => (&mut self.client, self.worker),
        };
        if from.replace(received.peer).is_some()
            && let Some(to) = to
        {
            return self
                .router
                .send_message(to, &received.message)
                .context("hand on a message");
        }
        if let (Some(client), Some(_)) = (self.client, self.worker) {
            self.router
                .send(client, b"welcome", &[])
                .context("welcome the client")?;
        }
        Ok(())
    }
}

type Door = (Role, Endpoint, Option<CurveClient>);

fn ipc(router: &mut Router, zap: &Zap, directory: &PrivateDir) -> anyhow::Result<Vec<Door>> {
    let client = router.bind_ipc(zap, IpcDomain::Client, directory)?;
    let worker = router.bind_ipc(zap, IpcDomain::Worker, directory)?;
    Ok(vec![(Role::Client, client, None), (Role::Worker, worker, None)])
}

fn tcp(router: &mut Router, zap: &Zap) -> anyhow::Result<Vec<Door>> {
    let permit = zap.self_test(SELF_TEST)?;
    let server = KeyPair::generate()?;
    let address = Ipv4Addr::LOCALHOST;
    let mut doors = Vec::new();
    for (role, domain) in [
        (Role::Client, TcpDomain::Frontend),
        (Role::Worker, TcpDomain::Backend),
    ] {
        let keys = KeyPair::generate()?;
        zap.admit(keys.public, role);
        let port = router.bind_tcp(&permit, domain, IpAddr::V4(address), 0, &server)?;
        let endpoint = Endpoint::tcp(&address.to_string(), port)?;
        doors.push((
            role,
            endpoint,
            Some(CurveClient {
                server: server.public,
                keys,
            }),
        ));
    }
    Ok(doors)
}

fn file(role: Role, endpoint: Endpoint, curve: Option<CurveClient>) -> ConnectionFile {
    let addresses = match endpoint {
        Endpoint::Ipc { .. } => Addresses {
            ipc: Some(endpoint),
            tcp: None,
        },
        Endpoint::Tcp { .. } => Addresses {
            ipc: None,
            tcp: Some(endpoint),
        },
    };
    ConnectionFile {
        pilot: "raw".into(),
        pilot_id: PilotId([0; 16]),
        incarnation: 1,
        host: scalems_agent::host_name(),
        pid: std::process::id(),
        start_time: None,
        role,
        requests: addresses.clone(),
        stream: addresses,
        curve,
    }
}
