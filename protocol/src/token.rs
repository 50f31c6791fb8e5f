//! Resume tokens (`docs/spec/1-bus`, section "Identity").

use serde::{Deserialize, Serialize};

use crate::Role;

/// Proof that a peer is the one that an earlier welcome named.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "serde_bytes::ByteBuf", try_from = "serde_bytes::ByteBuf")]
pub struct Token([u8; 32]);

impl Token {
    /// The token of `peer` in `role`: BLAKE3 keyed with the pilot's secret over the role's name, a zero
    /// byte and the peer's number as 8 little-endian bytes.
    pub fn derive(secret: &[u8; 32], role: Role, peer: u64) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher
            .update(role.name().as_bytes())
            .update(&[0])
            .update(&peer.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// Whether both are the same, in constant time.
    pub fn verify(&self, other: &Self) -> bool {
        blake3::Hash::from(self.0) == blake3::Hash::from(other.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Token(…)")
    }
}

impl From<Token> for serde_bytes::ByteBuf {
    fn from(token: Token) -> Self {
        Self::from(token.0.to_vec())
    }
}

impl TryFrom<serde_bytes::ByteBuf> for Token {
    type Error = &'static str;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Self::Error> {
        Ok(Self(
            bytes.into_vec().try_into().map_err(|_| "a token has 32 bytes")?,
        ))
    }
}
