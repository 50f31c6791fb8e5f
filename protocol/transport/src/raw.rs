//! The calls into libzmq that the `zmq` crate has not, or panics in. With `shelf/mapping.rs`, every unsafe line of the crate.
//!
//! The `zmq` crate cannot make a message out of counted bytes, cannot stop a monitor, knows not every option,
//! and panics on error numbers it has no name for (a socket's path through a file gives `ENOTDIR`). It stays
//! the owner of contexts and sockets.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::{ptr, slice};

use bytes::Bytes;
use zmq_sys as sys;

use crate::error::Errno;

/// Whether peers may come in when no authentication answers (`ZMQ_ZAP_ENFORCE_DOMAIN`); `zmq-sys` lacks it.
pub(crate) const ZAP_ENFORCE_DOMAIN: c_int = 93;

/// Freed memory that stays with the process, in each arena, and address space that it takes in advance; and the largest block of an arena.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: (c_int, c_int) = (64 << 20, 32 << 20);

/// Other C libraries have no such choice.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_freed_memory(_in_one_arena: bool) -> bool {
    false
}

/// See [`crate::keep_freed_memory`].
#[cfg(target_env = "gnu")]
pub(crate) fn keep_freed_memory(in_one_arena: bool) -> bool {
    let (kept, largest) = KEPT_BYTES;
    // SAFETY: mallopt takes numbers, and changes what later calls of malloc and free do; it locks what it changes.
    unsafe {
        (!in_one_arena || libc::mallopt(libc::M_ARENA_MAX, 1) == 1)
            && libc::mallopt(libc::M_MMAP_THRESHOLD, largest) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, kept) == 1
            && libc::mallopt(libc::M_TOP_PAD, kept) == 1
    }
}

/// A socket of libzmq, and whether its descriptor can be trusted.
///
/// libzmq's descriptor tells that something is new to a socket that was found empty. Any call that looks at what
/// is new takes that sign away, so the descriptor says all only as long as nothing was called since.
pub(crate) struct Handle {
    socket: zmq::Socket,
    descriptor: RawFd,
    /// Nothing was there to be read when it was last asked, and nothing was called since.
    quiet: Cell<bool>,
}

impl Handle {
    pub(crate) fn new(socket: zmq::Socket) -> Result<Self, Errno> {
        let descriptor = socket.get_fd()?;
        Ok(Self {
            socket,
            descriptor,
            quiet: Cell::new(false),
        })
    }

    /// For a call that may take the descriptor's sign away.
    fn touch(&mut self) -> *mut c_void {
        self.quiet.set(false);
        self.socket.as_mut_ptr()
    }

    /// Whether the descriptor tells of everything that is to be read.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.get()
    }

    /// Whether there is something to read, and room to send.
    pub(crate) fn look(&self) -> Result<(bool, bool), Errno> {
        let events = loop {
            match self.socket.get_events() {
                Err(zmq::Error::EINTR) => {}
                events => break events?,
            }
        };
        let readable = events.contains(zmq::POLLIN);
        self.quiet.set(!readable);
        Ok((readable, events.contains(zmq::POLLOUT)))
    }
}

impl Deref for Handle {
    type Target = zmq::Socket;

    fn deref(&self) -> &zmq::Socket {
        &self.socket
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the socket's, and is open as long as that is.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }
}

/// One frame: libzmq's message, which owns or shares its bytes.
///
/// It is plain data that may move: libzmq's counts are atomic, and it keeps no pointer to the struct itself.
pub(crate) struct Frame {
    message: sys::zmq_msg_t,
}

impl Frame {
    /// An empty frame.
    pub(crate) fn new() -> Self {
        let mut message = sys::zmq_msg_t::default();
        // SAFETY: the pointer is valid, and the call only fills the struct in.
        let result = unsafe { sys::zmq_msg_init(&raw mut message) };
        assert_eq!(
            result, 0,
            "invariant: libzmq cannot fail to make an empty message"
        );
        Self { message }
    }

    /// A frame with a copy of `bytes`.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut message = sys::zmq_msg_t::default();
        // SAFETY: the pointer is valid, and the struct holds nothing yet.
        let result = unsafe { sys::zmq_msg_init_size(&raw mut message, bytes.len()) };
        if result != 0 {
            out_of_memory();
        }
        // SAFETY: libzmq has just made room for that many bytes, which nobody else sees yet.
        unsafe {
            let room = sys::zmq_msg_data(&raw mut message).cast::<u8>();
            ptr::copy_nonoverlapping(bytes.as_ptr(), room, bytes.len());
        }
        Self { message }
    }

    /// A frame that shares `bytes`: they are let go when libzmq has sent them, on whichever thread that is.
    pub(crate) fn share(bytes: Bytes) -> Self {
        let mut message = sys::zmq_msg_t::default();
        let (start, length) = (bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len());
        let owner = Box::into_raw(Box::new(bytes)).cast::<c_void>();
        // SAFETY: `start` points to `length` bytes that live until `let_go` takes `owner` back, which libzmq
        // calls once. It only reads them: our sockets have no peer within the process that could write.
        let result = unsafe { sys::zmq_msg_init_data(&raw mut message, start, length, Some(let_go), owner) };
        if result != 0 {
            out_of_memory();
        }
        Self { message }
    }

    /// The frame's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // libzmq asks for a mutable pointer and only reads.
        let message = (&raw const self.message).cast_mut();
        // SAFETY: a made frame has as many bytes at its start as it says, and they stay while it is borrowed.
        unsafe {
            let start = sys::zmq_msg_data(message).cast::<u8>();
            slice::from_raw_parts(start, sys::zmq_msg_size(message))
        }
    }

    /// Whether more frames of the same message follow.
    pub(crate) fn more(&self) -> bool {
        // SAFETY: the frame was made.
        unsafe { sys::zmq_msg_more(&raw const self.message) != 0 }
    }

    /// What the connection that the frame came by says about itself, such as `User-Id`.
    pub(crate) fn property(&self, name: &CStr) -> Option<&[u8]> {
        // SAFETY: the frame was made and the name ends in a zero. The text belongs to the connection's
        // properties, which the frame keeps alive.
        unsafe {
            let text = sys::zmq_msg_gets(&raw const self.message, name.as_ptr());
            (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
        }
    }

    /// Sends the frame without waiting, with `more` if others of the message follow. On an error it is unsent.
    pub(crate) fn send(&mut self, socket: &mut Handle, more: bool) -> Result<(), Errno> {
        let flags = sys::ZMQ_DONTWAIT | if more { sys::ZMQ_SNDMORE } else { 0 };
        loop {
            // SAFETY: both pointers are valid and exclusive. When it succeeds libzmq takes the content and
            // leaves an empty message.
            let result = unsafe { sys::zmq_msg_send(&raw mut self.message, socket.touch(), flags as c_int) };
            match result {
                -1 if Errno::last() == Errno::INTERRUPTED => {}
                -1 => return Err(Errno::last()),
                _ => return Ok(()),
            }
        }
    }

    /// The next frame, if one is there.
    pub(crate) fn receive(socket: &mut Handle) -> Result<Option<Self>, Errno> {
        let mut frame = Self::new();
        loop {
            // SAFETY: both pointers are valid and exclusive; libzmq releases the old content.
            let result = unsafe {
                sys::zmq_msg_recv(&raw mut frame.message, socket.touch(), sys::ZMQ_DONTWAIT as c_int)
            };
            match result {
                -1 => match Errno::last() {
                    Errno::INTERRUPTED => {}
                    Errno::AGAIN => {
                        socket.quiet.set(true);
                        return Ok(None);
                    }
                    other => return Err(other),
                },
                _ => return Ok(Some(frame)),
            }
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the frame was made and is closed once.
        let result = unsafe { sys::zmq_msg_close(&raw mut self.message) };
        debug_assert_eq!(result, 0, "invariant: only a frame that was made is closed");
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Takes back what [`Frame::share`] gave away.
///
/// # Safety
/// `owner` is what `share` made, and this is its only call.
unsafe extern "C" fn let_go(_start: *mut c_void, owner: *mut c_void) {
    // SAFETY: by the obligation above.
    drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
}

fn out_of_memory() -> ! {
    handle_alloc_error(Layout::new::<sys::zmq_msg_t>())
}

/// Sets an option that is a whole number.
pub(crate) fn set_number(socket: &mut Handle, option: c_int, value: c_int) -> Result<(), Errno> {
    let place = (&raw const value).cast::<c_void>();
    // SAFETY: the option's value is read from a whole number of the size given.
    checked(unsafe { sys::zmq_setsockopt(socket.touch(), option, place, size_of::<c_int>()) })
}

/// Listens at an address.
pub(crate) fn bind(socket: &mut Handle, endpoint: &str) -> Result<(), Errno> {
    let endpoint = text(endpoint);
    // SAFETY: the socket is open and the text ends in a zero.
    checked(unsafe { sys::zmq_bind(socket.touch(), endpoint.as_ptr()) })
}

/// Connects to an address, now or when somebody listens there.
pub(crate) fn connect(socket: &mut Handle, endpoint: &str) -> Result<(), Errno> {
    let endpoint = text(endpoint);
    // SAFETY: the socket is open and the text ends in a zero.
    checked(unsafe { sys::zmq_connect(socket.touch(), endpoint.as_ptr()) })
}

/// Ends the connection to an address.
pub(crate) fn disconnect(socket: &mut Handle, endpoint: &str) -> Result<(), Errno> {
    let endpoint = text(endpoint);
    // SAFETY: the socket is open and the text ends in a zero.
    checked(unsafe { sys::zmq_disconnect(socket.touch(), endpoint.as_ptr()) })
}

/// Ends the watch over a socket's connections. It must come before the reader of the watch closes: libzmq's
/// I/O thread waits for ever with an event that nobody can take.
pub(crate) fn stop_monitor(socket: &mut Handle) -> Result<(), Errno> {
    // SAFETY: the socket is open, and no address means to stop.
    checked(unsafe { sys::zmq_socket_monitor(socket.touch(), ptr::null(), 0) })
}

/// Seeds the C library's random numbers, which libzmq uses.
pub(crate) fn seed(seed: u32) {
    // SAFETY: the C library locks its generator, or at worst draws an odd number.
    unsafe { libc::srand(seed) }
}

fn text(endpoint: &str) -> CString {
    CString::new(endpoint).expect("invariant: an endpoint was checked and holds no zero byte")
}

fn checked(result: c_int) -> Result<(), Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(()) }
}
