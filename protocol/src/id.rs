//! Identifiers (`docs/spec/1-bus`, section "Identity"; `docs/spec/2-client`, section "Ids").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of the agent's life, counted per pilot id from 1.
pub type Incarnation = u64;
/// What an agent hands a worker in each welcome and each beat must bear: without it any worker's key
/// could forge another worker's beat.
pub type Link = u64;

/// How far a life of the agent has written its journal: peers keep the last that they were told, so that one that was
/// put back from a copy is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalMark {
    /// The agent's life.
    pub incarnation: Incarnation,
    /// Tells that life from another of the same number: random.
    pub life: u64,
    /// The last record that was on disk.
    pub record: u64,
}

/// Which pilot this is: 128 random bits, drawn when the pilot is created.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "serde_bytes::ByteBuf", try_from = "serde_bytes::ByteBuf")]
pub struct PilotId(pub [u8; 16]);

impl From<PilotId> for serde_bytes::ByteBuf {
    fn from(id: PilotId) -> Self {
        Self::from(id.0.to_vec())
    }
}

impl TryFrom<serde_bytes::ByteBuf> for PilotId {
    type Error = &'static str;

    fn try_from(bytes: serde_bytes::ByteBuf) -> Result<Self, Self::Error> {
        Ok(Self(
            bytes
                .into_vec()
                .try_into()
                .map_err(|_| "a pilot id has 16 bytes")?,
        ))
    }
}

impl fmt::Display for PilotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for PilotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PilotId({self})")
    }
}

impl FromStr for PilotId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a pilot id is 32 hexadecimal digits";
        if text.len() != 32 || !text.is_ascii() {
            return Err(WRONG);
        }
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(id))
    }
}

/// One task as people name it: `5.7` is index 7 of submission 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TaskId {
    /// The submission's short number.
    pub submission: u64,
    /// The index in the submission; for an array the array's own index.
    pub index: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.submission, self.index)
    }
}

/// Where a submission came from. With an offset in it, this is what leases and results are matched by:
/// short numbers may be handed out anew after a restart, origins may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The session's number.
    pub session: u64,
    /// The number of the request that brought the submission, in its numbering.
    pub request: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pilot_id_reads_back_what_it_prints() {
        let id = PilotId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("xyz".parse::<PilotId>().is_err());
        assert!("é".repeat(16).parse::<PilotId>().is_err());
    }
}
