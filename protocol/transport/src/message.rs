//! Messages as frames: one header and any number of blobs.

use bytes::Bytes;
use scalems_protocol::limits;

use crate::error::{Errno, SendError};
use crate::raw::{Frame, Handle};
use crate::shelf::{End, First, Given, Named, Shelf};

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
    /// A message, and the sender's end of the shelf, if it can take what lies there.
    Message(Message, Option<End>),
    /// It had too many frames and was dropped.
    TooMany(usize),
    /// It named what is not on the shelf, and was dropped.
    NotThere,
    /// What was named to its sender was not on the shelf.
    Lost,
}

/// Takes the rest of the message that began with `first`. libzmq gives out whole messages only. Without a shelf nothing can
/// be named, and what looks like it is a header.
pub(crate) fn take_rest(socket: &mut Handle, first: Frame, shelf: Option<&Shelf>) -> Result<Taken, Errno> {
    let names = match shelf.map(|_| First::read(first.bytes())) {
        Some(First::Names(end, names)) if first.more() => Some((end, names)),
        Some(First::Lost) if !first.more() => return Ok(Taken::Lost),
        // What only looks like one of these is a header that cannot be read.
        None | Some(First::Names(..) | First::Lost | First::Header) => None,
    };
    let header = match &names {
        None => first,
        Some(_) => Frame::receive(socket)?.ok_or(Errno::AGAIN)?,
    };
    let mut more = header.more();
    let mut message = Message {
        header: into_bytes(header),
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
    if frames > FRAMES {
        return Ok(Taken::TooMany(frames));
    }
    let (Some(shelf), Some((end, names))) = (shelf, names) else {
        return Ok(Taken::Message(message, None));
    };
    // All of them, also behind one that is not there: whoever takes a name removes it.
    let mut there = true;
    for Named { blob, name, length } in names {
        let taken = shelf.take(name, length);
        let place = message.blobs.get_mut(blob as usize);
        match place.filter(|place| place.is_empty()).zip(taken.ok()) {
            Some((place, bytes)) => *place = bytes,
            None => there = false,
        }
    }
    Ok(if there {
        Taken::Message(message, Some(end))
    } else {
        Taken::NotThere
    })
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

/// Says that something was named that is not on the shelf.
pub(crate) fn send_lost(socket: &mut Handle) -> Result<(), Errno> {
    Frame::copy(&First::lost()).send(socket, false)
}

/// What of a message lies on the shelf, if its receiver can take that.
pub(crate) struct Large<'a> {
    given: Vec<(u32, Given<'a>)>,
    /// Our end, if the receiver is to know it.
    from: Option<End>,
}

impl<'a> Large<'a> {
    /// All goes through the socket.
    pub(crate) const fn none() -> Self {
        Self {
            given: Vec::new(),
            from: None,
        }
    }

    /// Puts the large ones of `blobs` on the shelf, for that end. With `announce` the receiver is told that we can take what
    /// lies there, also if nothing of this does.
    pub(crate) fn put(shelf: &'a Shelf, to: End, announce: bool, blobs: &[Bytes]) -> Self {
        let all = (0..).zip(blobs);
        let given: Vec<_> = all
            .filter_map(|(at, blob)| Some((at, shelf.put(blob, to)?)))
            .collect();
        let needed = announce || !given.is_empty();
        Self {
            given,
            from: needed.then(|| shelf.end()),
        }
    }

    fn is_there(&self, blob: u32) -> bool {
        self.given.iter().any(|(at, _)| *at == blob)
    }

    fn frame(&self, blobs: &[Bytes]) -> Option<Frame> {
        let named = |(blob, given): &(u32, Given<'_>)| Named {
            blob: *blob,
            name: given.name(),
            length: blobs[*blob as usize].len() as u64,
        };
        let frame = First::names(self.from?, self.given.iter().map(named));
        Some(Frame::copy(&frame))
    }
}

/// Sends a message as a whole or not at all.
pub(crate) fn send(
    socket: &mut Handle,
    header: &Part<'_>,
    blobs: &[Bytes],
    large: Large<'_>,
) -> Result<(), Errno> {
    let mut begun = false;
    if let Some(mut names) = large.frame(blobs) {
        names.send(socket, true)?;
        begun = true;
    }
    let mut sent = header.frame().send(socket, !blobs.is_empty());
    if !begun {
        sent?;
    }
    // If the connection ends in between, libzmq drops the message up to its last frame: it has to be given
    // all of them, or it would take the next message for the rest of this one.
    let mut left = blobs.len();
    for (at, blob) in (0..).zip(blobs) {
        left -= 1;
        let mut frame = if large.is_there(at) {
            Frame::new()
        } else {
            Part::Counted(blob).frame()
        };
        sent = sent.and(frame.send(socket, left > 0));
    }
    if sent.is_ok() {
        for (_, given) in large.given {
            given.sent();
        }
    }
    sent
}
