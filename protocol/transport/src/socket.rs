//! What all sockets have in common: options, binds and connects by the rules, and the watch over connections.

use std::net::IpAddr;
use std::path::Path;

use crate::context::Context;
use crate::directory::PrivateDir;
use crate::domain::{IpcDomain, TcpDomain};
use crate::endpoint::Endpoint;
use crate::error::{Errno, TransportError};
use crate::keys::{CurveClient, KeyPair};
use crate::monitor::{ConnectionEvent, Monitor};
use crate::options::{self, Use};
use crate::raw::{self, Handle};
use crate::zap::{TcpPermit, Zap};

/// A socket of ours. Public in name only, for the sealed trait behind [`crate::Pollable`].
pub struct Socket {
    pub(crate) inner: Handle,
    monitor: Option<Monitor>,
    context: Context,
}

impl Socket {
    pub(crate) fn open(context: &Context, purpose: Use) -> Result<Self, TransportError> {
        let mut inner = context.open(purpose.kind())?;
        options::apply(&mut inner, purpose)?;
        Ok(Self {
            inner,
            monitor: None,
            context: context.clone(),
        })
    }

    /// Connects by CURVE where the address is TCP. An ipc address needs no keys: its directory is private.
    pub(crate) fn connect(
        &mut self,
        endpoint: &Endpoint,
        curve: Option<&CurveClient>,
    ) -> Result<(), TransportError> {
        if let Endpoint::Tcp { .. } = endpoint {
            let curve = curve.ok_or_else(|| TransportError::KeysMissing {
                endpoint: endpoint.to_string(),
            })?;
            let set = curve.apply(&self.inner);
            set.map_err(|errno| options::refused("ZMQ_CURVE_SERVERKEY", errno))?;
            self.speak_ipv6(endpoint.is_ipv6())?;
        }
        let endpoint = endpoint.to_string();
        let connected = raw::connect(&mut self.inner, &endpoint);
        connected.map_err(|source| TransportError::Connect { endpoint, source })
    }

    /// Ends the connection and makes another one, which is told as if it had broken.
    pub(crate) fn connect_again(&mut self, endpoint: &Endpoint) -> Result<(), TransportError> {
        let endpoint = endpoint.to_string();
        let again = raw::disconnect(&mut self.inner, &endpoint)
            .and_then(|()| raw::connect(&mut self.inner, &endpoint));
        again.map_err(|source| TransportError::Connect { endpoint, source })?;
        if let Some(monitor) = &mut self.monitor {
            monitor.ended();
        }
        Ok(())
    }

    /// Binds the socket file of `domain` in `directory`, once more if others are bound already.
    pub(crate) fn bind_ipc(
        &mut self,
        zap: &Zap,
        domain: IpcDomain,
        directory: &PrivateDir,
    ) -> Result<Endpoint, TransportError> {
        self.bind_file(zap, domain.name(), &directory.path().join(domain.file_name()))
    }

    fn bind_file(&mut self, zap: &Zap, domain: &str, path: &Path) -> Result<Endpoint, TransportError> {
        self.enter(zap, domain)?;
        let endpoint = Endpoint::ipc(path)?;
        // Also sets the mechanism back to NULL where a TCP address was bound before.
        let set = self.inner.set_curve_server(false);
        set.map_err(|error| options::refused("ZMQ_CURVE_SERVER", error.into()))?;
        self.bind(&endpoint.to_string())?;
        Ok(endpoint)
    }

    /// Binds a TCP port, any free one for 0, and says which.
    pub(crate) fn bind_tcp(
        &mut self,
        permit: &TcpPermit<'_>,
        domain: TcpDomain,
        address: IpAddr,
        port: u16,
        keys: &KeyPair,
    ) -> Result<u16, TransportError> {
        self.bind_curve(permit.zap, domain.name(), address, port, keys)
    }

    pub(crate) fn bind_curve(
        &mut self,
        zap: &Zap,
        domain: &str,
        address: IpAddr,
        port: u16,
        keys: &KeyPair,
    ) -> Result<u16, TransportError> {
        self.enter(zap, domain)?;
        let set = || -> Result<(), Errno> {
            self.inner.set_curve_server(true)?;
            self.inner.set_curve_secretkey(&keys.secret.0)?;
            Ok(())
        };
        set().map_err(|errno| options::refused("ZMQ_CURVE_SERVER", errno))?;
        self.speak_ipv6(address.is_ipv6())?;
        let host = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        self.bind(&format!("tcp://{host}:{port}"))?;
        self.bound_port(&host)
    }

    fn bound_port(&self, host: &str) -> Result<u16, TransportError> {
        let unknown = |source| TransportError::Bind {
            endpoint: format!("tcp://{host}"),
            source,
        };
        let last = self
            .inner
            .get_last_endpoint()
            .map_err(|error| unknown(error.into()))?;
        let text = last.expect("invariant: libzmq writes addresses as text");
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        Ok(port.expect("invariant: libzmq ends a TCP address with its port"))
    }

    /// Makes the next bind ask `zap` under `domain`. libzmq copies these options at the bind, so each bind of
    /// one socket can have its own.
    fn enter(&mut self, zap: &Zap, domain: &str) -> Result<(), TransportError> {
        if !zap.context.is(&self.context) {
            return Err(TransportError::OtherContext);
        }
        let set = self.inner.set_zap_domain(domain);
        set.map_err(|error| options::refused("ZMQ_ZAP_DOMAIN", error.into()))
    }

    fn speak_ipv6(&mut self, yes: bool) -> Result<(), TransportError> {
        // Set for IPv6 addresses only: on hosts without it, names would resolve to what cannot be reached.
        options::number(&mut self.inner, "ZMQ_IPV6", zmq_sys::ZMQ_IPV6 as i32, yes.into())
    }

    fn bind(&mut self, endpoint: &str) -> Result<(), TransportError> {
        raw::bind(&mut self.inner, endpoint).map_err(|source| TransportError::Bind {
            endpoint: endpoint.to_owned(),
            source,
        })
    }

    /// Begins to watch the connections. From then on [`Self::connection_event`] must be asked in every round.
    pub(crate) fn watch(&mut self) -> Result<(), TransportError> {
        if self.monitor.is_none() {
            self.monitor = Some(Monitor::start(&self.context, &self.inner)?);
        }
        Ok(())
    }

    pub(crate) fn connection_event(&mut self) -> Result<Option<ConnectionEvent>, TransportError> {
        self.monitor.as_mut().map_or(Ok(None), Monitor::next)
    }

    pub(crate) fn monitor(&self) -> Option<&Monitor> {
        self.monitor.as_ref()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.monitor.is_some() {
            // It fails only when the context is being closed, and then libzmq has ended the watch itself.
            let _stopped = raw::stop_monitor(&mut self.inner);
        }
    }
}
