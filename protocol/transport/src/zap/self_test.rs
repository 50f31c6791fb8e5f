//! The trial of the locks before the first TCP port is opened.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::{Zap, table::TRIAL_DOMAIN};
use crate::endpoint::Endpoint;
use crate::error::{Errno, TransportError};
use crate::keys::{CurveClient, KeyPair};
use crate::monitor::ConnectionEvent;
use crate::options::{self, Use};
use crate::poll::{Source, poll};
use crate::raw::{self, Handle};
use crate::socket::Socket;

/// What authentication did that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// The known key was refused.
    #[error("self-test: a known CURVE key was refused, so no worker or client could connect by TCP")]
    KnownKeyRefused,
    /// An unknown key came in.
    #[error("self-test: an unknown CURVE key came in, so nothing listens on TCP")]
    StrangerAdmitted,
    /// A connection without keys came in.
    #[error("self-test: a connection without keys came in, so nothing listens on TCP")]
    KeylessAdmitted,
    /// One of the trials had no result in time.
    #[error("self-test: {trial} was neither let in nor refused within {waited:?}")]
    Undecided {
        /// Which trial.
        trial: &'static str,
        /// How long it was waited for.
        waited: Duration,
    },
}

/// Whether a connection came in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Admitted,
    Refused,
    Undecided,
}

/// Tries all three.
pub(super) fn run(zap: &Zap, within: Duration) -> Result<(), TransportError> {
    let server = KeyPair::generate()?;
    let known = KeyPair::generate()?;
    let stranger = KeyPair::generate()?;
    let curve = |keys: &KeyPair| CurveClient {
        server: server.public,
        keys: keys.clone(),
    };
    zap.table().set_trial(Some(known.public));
    let verdicts = [Some(curve(&known)), Some(curve(&stranger)), None]
        .map(|client| attempt(zap, &server, client.as_ref(), within));
    zap.table().set_trial(None);

    let [known, stranger, keyless] = verdicts;
    Ok(judge([known?, stranger?, keyless?], within)?)
}

/// What the verdicts on a known key, a stranger's, and none say of the locks.
fn judge([known, stranger, keyless]: [Verdict; 3], waited: Duration) -> Result<(), SelfTestError> {
    let undecided = |trial| Err(SelfTestError::Undecided { trial, waited });
    match known {
        Verdict::Admitted => {}
        Verdict::Refused => return Err(SelfTestError::KnownKeyRefused),
        Verdict::Undecided => return undecided("a known key"),
    }
    match stranger {
        Verdict::Refused => {}
        Verdict::Admitted => return Err(SelfTestError::StrangerAdmitted),
        Verdict::Undecided => return undecided("an unknown key"),
    }
    match keyless {
        Verdict::Refused => Ok(()),
        Verdict::Admitted => Err(SelfTestError::KeylessAdmitted),
        Verdict::Undecided => undecided("a connection without keys"),
    }
}

/// One connection to a socket of its own, so that no other's late event can be taken for its result.
fn attempt(
    zap: &Zap,
    server: &KeyPair,
    client: Option<&CurveClient>,
    within: Duration,
) -> Result<Verdict, TransportError> {
    let mut listener = Socket::open(&zap.context, Use::Router)?;
    listener.watch()?;
    let address = Ipv4Addr::LOCALHOST;
    let port = listener.bind_curve(zap, TRIAL_DOMAIN, IpAddr::V4(address), 0, server)?;
    let _caller = call(zap, &Endpoint::tcp(&address.to_string(), port)?, client)?;

    let deadline = Instant::now() + within;
    loop {
        while let Some(event) = listener.connection_event()? {
            match event {
                ConnectionEvent::Opened => return Ok(Verdict::Admitted),
                ConnectionEvent::Denied { .. } | ConnectionEvent::Failed => return Ok(Verdict::Refused),
                ConnectionEvent::Closed => {}
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Ok(Verdict::Undecided);
        }
        poll([Source::events_of(&listener)], Some(left))?;
    }
}

/// A raw socket, since ours does not connect to TCP without keys.
fn call(zap: &Zap, endpoint: &Endpoint, client: Option<&CurveClient>) -> Result<Handle, TransportError> {
    let mut caller = zap.context.open(zmq::DEALER)?;
    let never = -1;
    options::number(
        &mut caller,
        "ZMQ_RECONNECT_IVL",
        zmq_sys::ZMQ_RECONNECT_IVL as i32,
        never,
    )?;
    options::number(&mut caller, "ZMQ_LINGER", zmq_sys::ZMQ_LINGER as i32, 0)?;
    let set = client.map_or(Ok(()), |client| client.apply(&caller));
    set.map_err(|errno: Errno| options::refused("ZMQ_CURVE_SERVERKEY", errno))?;
    let connected = raw::connect(&mut caller, &endpoint.to_string());
    connected.map_err(|source| TransportError::Connect {
        endpoint: endpoint.to_string(),
        source,
    })?;
    Ok(caller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::zap::table::Fault;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn locks_that_do_not_lock_are_found() {
        let context = Context::new().unwrap();
        let zap = Zap::start(&context).unwrap();
        for (fault, error) in [
            (Fault::AdmitsAll, SelfTestError::StrangerAdmitted),
            (Fault::RefusesAll, SelfTestError::KnownKeyRefused),
        ] {
            zap.table().set_fault(fault);
            let result = run(&zap, LONG).unwrap_err();
            assert!(
                matches!(result, TransportError::SelfTest(found) if found == error),
                "{result}"
            );
        }
        zap.table().set_fault(Fault::None);
        run(&zap, LONG).unwrap();
    }

    #[test]
    fn only_one_outcome_is_good() {
        use Verdict::{Admitted, Refused, Undecided};
        let all = [Admitted, Refused, Undecided];
        for known in all {
            for stranger in all {
                for keyless in all {
                    let good = [known, stranger, keyless] == [Admitted, Refused, Refused];
                    assert_eq!(judge([known, stranger, keyless], LONG).is_ok(), good);
                }
            }
        }
        assert_eq!(
            judge([Admitted, Refused, Admitted], LONG),
            Err(SelfTestError::KeylessAdmitted)
        );
    }
}
