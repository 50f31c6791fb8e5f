//! The ZeroMQ sockets of scalems and what makes them safe to open: the only user of libzmq.
//!
//! A process opens one [`Context`]. A server (the agent) starts [`Zap`] in it, binds its [`Router`]s,
//! [`EventPublisher`] and [`Subscriber`] to sockets in a [`PrivateDir`] and, after [`Zap::self_test`], to TCP,
//! and writes one [`ConnectionFile`] per role. A client or worker reads its file and connects a [`Dealer`],
//! [`Subscriber`] or [`Publisher`]. One thread owns a set of sockets, waits for all of them with [`poll`] and
//! is woken by others through a [`Waker`].
//!
//! Nothing here blocks but [`poll`] and what says so with a deadline. What goes over the sockets is
//! `scalems-protocol`'s business; files and roles are specified in `docs/spec/7-connection-file.md`.

#![deny(unsafe_code)]

pub mod connection_file;
mod context;
mod dealer;
mod directory;
mod domain;
mod endpoint;
mod error;
mod keys;
mod message;
mod monitor;
mod options;
mod poll;
mod publish;
mod raw;
mod router;
mod shelf;
mod socket;
mod subscribe;
mod waker;
mod zap;

pub use connection_file::{ConnectionFile, ConnectionFileError};
pub use context::{Context, check_build, keep_freed_memory};
pub use dealer::Dealer;
pub use directory::{DirectoryError, PrivateDir};
pub use domain::{IpcDomain, TcpDomain};
pub use endpoint::{Endpoint, EndpointError, IPC_PATH_BYTES};
pub use error::{Errno, SendError, TransportError};
pub use keys::{CurveClient, KeyError, KeyPair, PublicKey, SecretKey};
pub use message::{FRAMES, Message};
pub use monitor::ConnectionEvent;
pub use poll::{Pollable, Ready, Source, poll};
pub use publish::{EventPublisher, Publisher, Subscription};
pub use router::{Incoming, PeerId, Received, Refusal, Router};
pub use shelf::AgentShelf;
pub use subscribe::Subscriber;
pub use waker::{WakeReceiver, Waker};
pub use zap::{SelfTestError, TcpPermit, Zap};
