//! Headers as bytes (`docs/spec/1-bus`, section "Headers").
//!
//! Every header is one map that begins with `v` (the protocol version) and `type` (the message's name),
//! followed by the message's own fields.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Refusal};
use crate::scan::{self, Scanned};
use crate::{Bytes, VERSION, bounded, limits};

/// The key of a blob that travels inside its header.
const BLOB: &str = "blob";

/// Why a header is not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a msgpack map as the specification says.
    #[error("malformed header: {0}")]
    Malformed(&'static str),
    /// A bound was passed.
    #[error("the limit of {limit} {what} was passed")]
    TooLarge {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A version that is not served.
    #[error("protocol version {0} is not served here, only {VERSION}")]
    Version(u64),
    /// No such message in this direction.
    #[error("no message is called {0:?} here")]
    Type(String),
    /// A field is missing, unknown or of the wrong type.
    #[error("message {name:?}: {problem}")]
    Field {
        /// The message's type.
        name: &'static str,
        /// What the decoder found.
        problem: String,
    },
    /// `must` names something that is not understood here.
    #[error("the message needs {0:?} to be understood, which this version does not")]
    Required(String),
}

impl WireError {
    /// The stable code of the error.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::Malformed,
            Self::TooLarge { .. } => Code::TooLarge,
            Self::Version(_) => Code::UnsupportedVersion,
            Self::Type(_) => Code::UnknownType,
            Self::Field { problem, .. } => match problem {
                unknown if unknown.starts_with("unknown field") => Code::UnknownField,
                passed if passed.starts_with(bounded::PASSED) => Code::TooLarge,
                _ => Code::Malformed,
            },
            Self::Required(_) => Code::UnknownRequiredField,
        }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Encodes the header of message `name` with the fields of `body`, which is a struct of at most 15 fields.
pub(crate) fn encode<T: Serialize>(name: &str, body: &T) -> Vec<u8> {
    // The body's own map marker is the byte that the last byte of the prefix is written over.
    let mut header = Vec::with_capacity(256);
    header.extend_from_slice(b"\x80\xa1v");
    header.push(VERSION);
    header.extend_from_slice(b"\xa4type");
    assert!(name.len() < 32, "message names are short strings");
    header.push(0xa0 | name.len() as u8);
    header.extend_from_slice(name.as_bytes());
    let last = header.pop().expect("the prefix is not empty");
    let at = header.len();
    let mut serializer = rmp_serde::Serializer::new(&mut header).with_struct_map();
    body.serialize(&mut serializer)
        .expect("our own structs serialize into memory");
    let marker = header[at];
    assert!((0x80..=0x8f).contains(&marker), "a message has at most 15 fields");
    header[at] = last;
    if marker <= 0x8d {
        header[0] = marker + 2;
    } else {
        // With those two there are too many for the short form.
        header.splice(0..1, [0xde, 0, marker - 0x80 + 2]);
    }
    header
}

/// Scans a header and reads its version and type. A header without a type has the empty one.
pub(crate) fn open(header: &[u8]) -> Result<(Scanned<'_>, &str), WireError> {
    let scanned = scan::scan(header)?;
    if scanned.place("v").is_some() {
        match scanned.number("v") {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(WireError::Version(version)),
            None => return Err(WireError::Malformed("v is not an unsigned integer")),
        }
    }
    let name = match scanned.place("type") {
        None => "",
        Some(_) => scanned
            .text("type")
            .ok_or(WireError::Malformed("type is not a string"))?,
    };
    if let Some(must) = scanned.value("must") {
        let Names(names) = rmp_serde::from_slice(must)
            .map_err(|_| WireError::Malformed("must is not a list of at most 32 names"))?;
        // Nothing optional is required yet: version 1 understands no names.
        if let Some(first) = names.into_iter().next() {
            return Err(WireError::Required(first));
        }
    }
    Ok((scanned, name))
}

/// What `must` lists.
#[derive(serde::Deserialize)]
struct Names(#[serde(deserialize_with = "bounded::list::<_, _, { limits::MUST }>")] Vec<String>);

/// Decodes the fields of a scanned header.
pub(crate) fn fields<T: DeserializeOwned>(name: &'static str, header: &[u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(header).map_err(|error| WireError::Field {
        name,
        problem: error.to_string(),
    })
}

/// Checks the sizes of the blobs that came with a header.
pub fn check_blobs(blobs: &[Bytes]) -> Result<(), WireError> {
    if blobs.len() > limits::BLOBS {
        return Err(WireError::TooLarge {
            what: "data frames",
            limit: limits::BLOBS,
        });
    }
    if blobs.iter().any(|blob| blob.len() > limits::BLOB_BYTES) {
        return Err(WireError::TooLarge {
            what: "bytes in a data frame",
            limit: limits::BLOB_BYTES,
        });
    }
    Ok(())
}

/// The most entries of a map whose marker is one byte.
const SHORT_MAP: u8 = 0x8f;

/// Puts a lone small blob into the header; what remains goes in frames of its own. A frame costs each hop more
/// than the bytes that it saves, and under CURVE it is encrypted apart.
pub(crate) fn embed<'a>(header: &mut Vec<u8>, blobs: &'a [Bytes]) -> &'a [Bytes] {
    let [blob] = blobs else { return blobs };
    if blob.len() > limits::EMBEDDED_BYTES || header[0] >= SHORT_MAP {
        return blobs;
    }
    header[0] += 1;
    let into = "memory takes what is written";
    rmp::encode::write_str(header, BLOB).expect(into);
    rmp::encode::write_bin(header, blob).expect(into);
    &[]
}

/// The blobs of a message: those of its frames, or the one inside its header.
pub(crate) fn embedded(scanned: &Scanned<'_>, blobs: Vec<Bytes>) -> Result<Vec<Bytes>, WireError> {
    let Some(mut value) = scanned.value(BLOB) else {
        return Ok(blobs);
    };
    if !blobs.is_empty() {
        return Err(WireError::Malformed(
            "a message has its blob in the header or in frames, not both",
        ));
    }
    let length =
        rmp::decode::read_bin_len(&mut value).map_err(|_| WireError::Malformed("blob is not binary"))?;
    if length as usize > limits::EMBEDDED_BYTES {
        return Err(WireError::TooLarge {
            what: "bytes of a blob in a header",
            limit: limits::EMBEDDED_BYTES,
        });
    }
    Ok(vec![Bytes::copy_from_slice(value)])
}

/// Gives the messages of one direction `decode` and `decode_frames`; their own `read` takes a scanned header.
macro_rules! decoders {
    ($direction:ident) => {
        impl $direction {
            /// Checks and decodes a header.
            pub fn decode(header: &[u8]) -> Result<Self, $crate::WireError> {
                Self::decode_frames(header, Vec::new()).map(|(message, _)| message)
            }

            /// Checks and decodes a header, and checks its blobs; a blob inside the header is among them.
            pub fn decode_frames(
                header: &[u8],
                blobs: Vec<$crate::Bytes>,
            ) -> Result<(Self, Vec<$crate::Bytes>), $crate::WireError> {
                $crate::frame::check_blobs(&blobs)?;
                let (scanned, name) = $crate::frame::open(header)?;
                let message = Self::read(&scanned, name, header)?;
                Ok((message, $crate::frame::embedded(&scanned, blobs)?))
            }
        }
    };
}
pub(crate) use decoders;

/// Declares the messages of one direction: an enum with `encode`.
macro_rules! messages {
    ($(#[$meta:meta])* $direction:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $direction { $($(#[$doc])* $variant($variant),)+ }

        impl $direction {
            /// The message's name on the wire.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)+ }
            }

            /// The header's bytes.
            pub fn encode(&self) -> Vec<u8> {
                match self { $(Self::$variant(body) => $crate::frame::encode($name, body),)+ }
            }

            /// The header's bytes and the blobs that go after it: a small one that is alone goes inside.
            pub fn encode_frames<'a>(&self, blobs: &'a [$crate::Bytes]) -> (Vec<u8>, &'a [$crate::Bytes]) {
                let mut header = self.encode();
                let blobs = $crate::frame::embed(&mut header, blobs);
                (header, blobs)
            }

            fn read_named(name: &str, header: &[u8]) -> Result<Self, $crate::WireError> {
                match name {
                    $($name => $crate::frame::fields($name, header).map(Self::$variant),)+
                    other => Err($crate::WireError::Type(other.chars().take(64).collect())),
                }
            }
        }

        $(impl From<$variant> for $direction {
            fn from(body: $variant) -> Self { Self::$variant(body) }
        })+
    };
}
pub(crate) use messages;
