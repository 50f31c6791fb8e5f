//! Authentication: the ZAP handler (ZeroMQ RFC 27) that decides who comes in, and as what.

mod self_test;
mod table;
mod user_id;

use std::io;
use std::process;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use scalems_protocol::Role;

pub use self_test::SelfTestError;
use table::{Request, Table};
use user_id::UserId;
pub(crate) use user_id::{Admitted, admitted};

use crate::context::Context;
use crate::error::{Errno, TransportError};
use crate::keys::PublicKey;
use crate::poll::{Source, poll};
use crate::raw::Handle;
use crate::raw::{self, Frame};
use crate::waker::{WakeReceiver, Waker};

/// Where libzmq asks, in each context.
const ENDPOINT: &str = "inproc://zeromq.zap.01";
const VERSION: &[u8] = b"1.0";
/// Frames of the longest request that is answered: eight of CURVE, and the empty one before them is REP's.
const REQUEST_FRAMES: usize = 8;

/// The ZAP handler of a context: a thread that answers libzmq's question for each new connection.
///
/// Sockets listen only with it at hand, so it is there before them; and they are set so that without an answer
/// nobody comes in. Should the thread end by itself, nobody new could be checked, and the process aborts.
/// Dropped, it ends; sockets still open let nobody new in then.
pub struct Zap {
    pub(crate) context: Context,
    table: Arc<Mutex<Table>>,
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

/// That authentication was seen to work: without it nothing listens on TCP.
pub struct TcpPermit<'zap> {
    pub(crate) zap: &'zap Zap,
}

impl Zap {
    /// Starts the handler of `context`. It knows no keys yet. There can be one in a context.
    pub fn start(context: &Context) -> Result<Self, TransportError> {
        let mut socket = context.open(zmq::REP)?;
        // libzmq sends its requests without a mark, so none may be lost for one here.
        let set = socket
            .set_linger(0)
            .and_then(|()| socket.set_rcvhwm(0))
            .and_then(|()| socket.set_sndhwm(0));
        set.map_err(|error| TransportError::Option {
            option: "ZMQ_RCVHWM",
            source: error.into(),
        })?;
        raw::bind(&mut socket, ENDPOINT).map_err(|source| TransportError::Bind {
            endpoint: ENDPOINT.to_owned(),
            source,
        })?;
        let (stop, stopped) = Waker::pair()?;
        let table = Arc::new(Mutex::new(Table::default()));
        let known = Arc::clone(&table);
        let serve = move || {
            let guard = AbortUnlessStopped;
            match serve(&mut socket, &stopped, &known) {
                Ok(()) => std::mem::forget(guard),
                Err(error) => eprintln!("scalems: {error}"),
            }
        };
        let thread = thread::Builder::new().name("scalems-zap".to_owned()).spawn(serve);
        let thread = thread.map_err(|source| TransportError::Start {
            what: "the authentication thread",
            source,
        })?;
        Ok(Self {
            context: context.clone(),
            table,
            stop,
            thread: Some(thread),
        })
    }

    /// Lets whoever has the secret half of `key` in by TCP, as `role`.
    pub fn admit(&self, key: PublicKey, role: Role) {
        self.table().admit(key, role);
    }

    /// Lets nobody in by `key` any more. Connections that it made stay.
    pub fn dismiss(&self, key: &PublicKey) {
        self.table().dismiss(key);
    }

    /// Tries with real connections that a known key comes in, and that a stranger's and one without keys do
    /// not. Each of the three has `within` to be decided.
    pub fn self_test(&self, within: Duration) -> Result<TcpPermit<'_>, TransportError> {
        self_test::run(self, within)?;
        Ok(TcpPermit { zap: self })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

impl Drop for Zap {
    fn drop(&mut self) {
        self.stop.wake();
        if let Some(thread) = self.thread.take() {
            // A panic in it would have aborted the process.
            let _ended = thread.join();
        }
    }
}

/// The table stays right when its user panics: each change is one insertion.
fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process when the handler ends unasked, by an error or a panic.
struct AbortUnlessStopped;

impl Drop for AbortUnlessStopped {
    fn drop(&mut self) {
        eprintln!(
            "scalems: the authentication thread ended; nobody new could be checked, so the process ends"
        );
        process::abort();
    }
}

fn serve(socket: &mut Handle, stop: &WakeReceiver, table: &Mutex<Table>) -> Result<(), TransportError> {
    let mut connections = 0;
    loop {
        let [request, stopped] = poll([Source::of(socket, true, false), Source::wake(stop)], None)?;
        if stopped.any() {
            // Closing is done later by another thread; the address is free at once, for a next handler. Should
            // this fail, it is free a moment later.
            let _unbound = socket.unbind(ENDPOINT);
            return Ok(());
        }
        if request.readable {
            connections += 1;
            answer(socket, table, connections)?;
        }
    }
}

fn answer(socket: &mut Handle, table: &Mutex<Table>, number: u64) -> Result<(), TransportError> {
    let Some(frames) = request(socket).map_err(TransportError::Receive)? else {
        return Ok(());
    };
    let frames: Vec<_> = frames.iter().map(Frame::bytes).collect();
    let request_id = frames.get(1).copied().unwrap_or_default();
    let user = match *frames.as_slice() {
        [
            VERSION,
            _,
            domain,
            _address,
            _routing_id,
            mechanism,
            ref credentials @ ..,
        ] => {
            let request = Request {
                domain,
                mechanism,
                credentials,
            };
            let user = lock(table).decide(&request);
            user.map(|user| UserId {
                user,
                // Over TCP nobody comes in without a key.
                by_file: mechanism == b"NULL",
                number,
            })
        }
        _ => None,
    };
    let user = user.map(|user| user.to_string());
    let reply: [&[u8]; 6] = match &user {
        Some(user) => [VERSION, request_id, b"200", b"OK", user.as_bytes(), b""],
        None => [
            VERSION,
            request_id,
            b"400",
            b"no entry with this key here",
            b"",
            b"",
        ],
    };
    for (at, part) in reply.iter().enumerate() {
        let sent = Frame::copy(part).send(socket, at + 1 < reply.len());
        sent.map_err(|source| TransportError::Start {
            what: "the answer to an authentication request",
            source: io::Error::other(source),
        })?;
    }
    Ok(())
}

/// The frames of the next request, at most [`REQUEST_FRAMES`]; what is longer is cut, and so refused.
fn request(socket: &mut Handle) -> Result<Option<Vec<Frame>>, Errno> {
    let Some(first) = Frame::receive(socket)? else {
        return Ok(None);
    };
    let mut more = first.more();
    let mut frames = vec![first];
    while more {
        let frame = Frame::receive(socket)?.ok_or(Errno::AGAIN)?;
        more = frame.more();
        if frames.len() < REQUEST_FRAMES {
            frames.push(frame);
        }
    }
    Ok(Some(frames))
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "SCALEMS_TRANSPORT_TEST_CHILD";

    /// Sends the handler what no libzmq sends, to see that it goes on.
    fn ask(context: &Context, frames: &[&[u8]]) -> Vec<Vec<u8>> {
        let asker = context.open(zmq::REQ).unwrap();
        asker.set_linger(0).unwrap();
        asker.set_rcvtimeo(10_000).unwrap();
        asker.connect(ENDPOINT).unwrap();
        asker.send_multipart(frames, 0).unwrap();
        asker.recv_multipart(0).unwrap()
    }

    #[test]
    fn answers_say_the_role() {
        let context = Context::new().unwrap();
        let zap = Zap::start(&context).unwrap();
        let key = PublicKey([7; 32]);
        zap.admit(key, Role::Worker);
        let by =
            |domain: &'static [u8]| ask(&context, &[b"1.0", b"9", domain, b"::1", b"", b"CURVE", &key.0]);
        let yes: [&[u8]; 6] = [b"1.0", b"9", b"200", b"OK", b"worker/1", b""];
        assert_eq!(by(b"tcp.backend"), yes);
        assert_eq!(by(b"tcp.frontend")[2], b"400");
        zap.dismiss(&key);
        assert_eq!(by(b"tcp.backend")[2], b"400");
    }

    #[test]
    fn odd_requests_are_refused_and_harm_nothing() {
        let context = Context::new().unwrap();
        let _zap = Zap::start(&context).unwrap();
        let many = vec![&b"x"[..]; 2_000];
        let odd: [&[&[u8]]; 6] = [
            &[b""],
            &[b"1.0"],
            &[b"2.0", b"1", b"ipc.client", b"", b"", b"NULL"],
            &[b"1.0", b"1", b"ipc.client", b"", b"", b"NULL", b"extra"],
            &[b"1.0", b"1", b"\xff\xfe", b"", b"", b"PLAIN", b"a", b"b"],
            &many,
        ];
        for frames in odd {
            assert_eq!(ask(&context, frames)[2], b"400");
        }
        assert_eq!(
            ask(&context, &[b"1.0", b"1", b"ipc.client", b"", b"", b"NULL"])[2],
            b"200"
        );
    }

    #[test]
    fn one_handler_in_a_context() {
        let context = Context::new().unwrap();
        let first = Zap::start(&context).unwrap();
        assert!(matches!(Zap::start(&context), Err(TransportError::Bind { .. })));
        drop(first);
        Zap::start(&context).unwrap();
    }

    #[test]
    fn without_its_handler_the_process_aborts() {
        if env::var_os(CHILD).is_some() {
            let context = Context::new().unwrap();
            let zap = Zap::start(&context).unwrap();
            // The handler's thread panics in the look-up that this request leads to.
            zap.table().set_fault(table::Fault::Panics);
            ask(&context, &[b"1.0", b"1", b"ipc.client", b"", b"", b"NULL"]);
            unreachable!("the process outlived its authentication thread");
        }
        let child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "zap::tests::without_its_handler_the_process_aborts",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("the authentication thread ended"), "{said}");
    }
}
