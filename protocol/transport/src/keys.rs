//! CURVE keys.

use std::fmt;
use std::str::FromStr;

use crate::error::{Errno, TransportError};

/// Bytes of a key.
const BYTES: usize = 32;
/// Characters of a key as text: Z85 (ZeroMQ RFC 32) writes 4 bytes as 5 printable characters.
const CHARACTERS: usize = BYTES / 4 * 5;

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CURVE key is {CHARACTERS} characters of Z85")]
pub struct KeyError;

/// The half of a key pair that others may know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub(crate) [u8; BYTES]);

/// The half of a key pair that only its owner knows. It is neither displayed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey(pub(crate) [u8; BYTES]);

/// A key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// What others know the owner by.
    pub public: PublicKey,
    /// What proves it.
    pub secret: SecretKey,
}

impl KeyPair {
    /// A new pair from the system's randomness.
    pub fn generate() -> Result<Self, TransportError> {
        // This fails only where libzmq was built without CURVE.
        let pair = zmq::CurveKeyPair::new().map_err(|_| TransportError::NoCurve)?;
        Ok(Self {
            public: PublicKey(pair.public_key),
            secret: SecretKey(pair.secret_key),
        })
    }
}

/// What a socket needs to connect by CURVE: whom it expects there, and who it is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurveClient {
    /// The server's key. A server without its secret half is not talked to.
    pub server: PublicKey,
    /// The own pair, which gives the role.
    pub keys: KeyPair,
}

impl CurveClient {
    pub(crate) fn apply(&self, socket: &zmq::Socket) -> Result<(), Errno> {
        socket.set_curve_serverkey(&self.server.0)?;
        socket.set_curve_publickey(&self.keys.public.0)?;
        socket.set_curve_secretkey(&self.keys.secret.0)?;
        Ok(())
    }
}

impl SecretKey {
    /// The key as text, for the owner's file and nothing else.
    pub fn expose(&self) -> String {
        encode(&self.0)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SecretKey(hidden)")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }
}

fn encode(key: &[u8; BYTES]) -> String {
    zmq::z85_encode(key).expect("invariant: 32 bytes are a multiple of 4")
}

fn decode(text: &str) -> Result<[u8; BYTES], KeyError> {
    if text.len() != CHARACTERS {
        return Err(KeyError);
    }
    let bytes = zmq::z85_decode(text).map_err(|_| KeyError)?;
    let key = bytes.try_into().map_err(|_| KeyError)?;
    // libzmq takes characters outside of Z85 for some value: only what comes back the same was right.
    if encode(&key) == text {
        Ok(key)
    } else {
        Err(KeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_as_text() {
        let pair = KeyPair::generate().unwrap();
        assert_eq!(pair.public.to_string().parse(), Ok(pair.public));
        assert_eq!(pair.secret.expose().parse(), Ok(pair.secret.clone()));
        assert_ne!(pair, KeyPair::generate().unwrap());
    }

    #[test]
    fn secrets_are_not_shown() {
        let pair = KeyPair::generate().unwrap();
        let shown = format!("{pair:?}");
        assert!(shown.contains(&pair.public.to_string()));
        assert!(!shown.contains(&pair.secret.expose()));
    }

    #[test]
    fn other_text_is_no_key() {
        let good = KeyPair::generate().unwrap().public.to_string();
        for bad in [
            "",
            "a",
            &good[1..],
            &format!("{good}a"),
            &format!("\"{}", &good[1..]),
        ] {
            assert_eq!(bad.parse::<PublicKey>(), Err(KeyError), "{bad}");
        }
        assert_eq!(
            format!("\u{e9}{}", &good[2..]).parse::<PublicKey>(),
            Err(KeyError)
        );
    }
}
