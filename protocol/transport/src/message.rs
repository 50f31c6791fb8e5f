//! Messages as frames: one header and any number of blobs.

use bytes::Bytes;
use scalems_protocol::limits;

use crate::error::{Errno, SendError};
use crate::raw::{Frame, Handle};

/// Frames that a message may have: the header, the protocol's blobs, and a few more, so that a message that
/// is slightly over gets the protocol's refusal with its name.
pub const FRAMES: usize = 1_100;
const _: () = assert!(
    FRAMES > limits::BLOBS + 1,
    "the protocol's limit must be met first"
);

/// Received frames up to this are copied. Larger ones are kept as libzmq has them; below 8 KiB several lie in
/// one buffer of libzmq, which the last of them would keep alive.
const COPY_RECEIVED: usize = 1 << 10;
/// Frames to send up to this are copied: libzmq gathers small ones into one write anyway.
const COPY_SENT: usize = 16 << 10;

/// A message: what `scalems-protocol` reads, and the opaque data that goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The first frame.
    pub header: Bytes,
    /// All others, in order.
    pub blobs: Vec<Bytes>,
}

/// A frame to be sent.
pub(crate) enum Part<'a> {
    Borrowed(&'a [u8]),
    Counted(&'a Bytes),
}

impl Part<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Counted(bytes) => bytes,
        }
    }

    fn frame(&self) -> Frame {
        match self {
            Self::Counted(bytes) if bytes.len() > COPY_SENT => Frame::share((*bytes).clone()),
            small => Frame::copy(small.bytes()),
        }
    }
}

/// What came in one message after its first frame was taken.
pub(crate) enum Taken {
    Message(Message),
    /// It had too many frames and was dropped.
    TooMany(usize),
}

/// Takes the rest of the message that began with `first`. libzmq gives out whole messages only.
pub(crate) fn take_rest(socket: &mut Handle, first: Frame) -> Result<Taken, Errno> {
    let mut more = first.more();
    let mut message = Message {
        header: into_bytes(first),
        blobs: Vec::new(),
    };
    let mut frames = 1;
    while more {
        let frame = Frame::receive(socket)?.ok_or(Errno::AGAIN)?;
        frames += 1;
        more = frame.more();
        if frames <= FRAMES {
            message.blobs.push(into_bytes(frame));
        } else {
            // It is lost anyway: give its memory back while the rest is drained.
            message = Message::default();
        }
    }
    if frames <= FRAMES {
        Ok(Taken::Message(message))
    } else {
        Ok(Taken::TooMany(frames))
    }
}

/// Reads and drops the rest of the message that `frame` belongs to.
pub(crate) fn drain(socket: &mut Handle, frame: &Frame) -> Result<(), Errno> {
    let mut more = frame.more();
    while more {
        more = Frame::receive(socket)?.ok_or(Errno::AGAIN)?.more();
    }
    Ok(())
}

fn into_bytes(frame: Frame) -> Bytes {
    match frame.bytes() {
        small if small.len() <= COPY_RECEIVED => Bytes::copy_from_slice(small),
        _ => Bytes::from_owner(frame),
    }
}

/// Whether the other side will take the message. Over a limit it would cut the connection.
pub(crate) fn check(header: &Part<'_>, blobs: &[Bytes]) -> Result<(), SendError> {
    let largest = blobs.iter().map(Bytes::len).max().unwrap_or_default();
    let fits = blobs.len() < FRAMES && largest.max(header.bytes().len()) <= limits::WIRE_FRAME_BYTES;
    if fits { Ok(()) } else { Err(SendError::TooLarge) }
}

/// Sends a message as a whole or not at all.
pub(crate) fn send(socket: &mut Handle, header: &Part<'_>, blobs: &[Bytes]) -> Result<(), Errno> {
    header.frame().send(socket, !blobs.is_empty())?;
    // If the connection ends in between, libzmq drops the message up to its last frame: it has to be given
    // all of them, or it would take the next message for the rest of this one.
    let mut sent = Ok(());
    let mut left = blobs.len();
    for blob in blobs {
        left -= 1;
        let frame = Part::Counted(blob).frame().send(socket, left > 0);
        sent = sent.and(frame);
    }
    sent
}
