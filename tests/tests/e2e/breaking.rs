//! A way to the agent that can be cut: TCP connections that are carried on, or not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use scalems_tests::pilot::Pilot;
use scalems_transport::PrivateDir;

/// Carries connections to a pilot's two client sockets.
pub(crate) struct Proxy {
    directory: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cut: bool,
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A way to `pilot`, with a connection file of its own.
    pub(crate) fn of(pilot: &Pilot) -> Self {
        let directory = pilot.home.work().join("by-proxy");
        PrivateDir::ensure(&directory).unwrap();
        let file = std::fs::read_to_string(pilot.directory().join("client.json")).unwrap();
        let mut file: serde_json::Value = serde_json::from_str(&file).unwrap();
        let state = Arc::<Mutex<State>>::default();
        for socket in ["frontend", "events"] {
            let target = file[socket]["tcp"]
                .as_str()
                .unwrap()
                .trim_start_matches("tcp://")
                .to_owned();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            file[socket]["tcp"] = format!("tcp://{}", listener.local_addr().unwrap()).into();
            let state = Arc::clone(&state);
            std::thread::spawn(move || serve(&listener, &target, &state));
        }
        let path = directory.join("client.json");
        std::fs::write(&path, file.to_string()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self { directory, state }
    }

    /// The directory with its connection file.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Breaks all connections, and refuses new ones.
    pub(crate) fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut = true;
        for stream in state.streams.drain(..) {
            // The other side may have closed it.
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }

    /// Lets new connections through.
    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().cut = false;
    }
}

fn serve(listener: &TcpListener, target: &str, state: &Arc<Mutex<State>>) {
    for near in listener.incoming().flatten() {
        let mut state = state.lock().unwrap();
        if state.cut {
            continue;
        }
        let Ok(far) = TcpStream::connect(target) else {
            continue;
        };
        for (from, to) in [(&near, &far), (&far, &near)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || carry(from, to));
        }
        state.streams.extend([near, far]);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let mut some = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut some) {
        if to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Both);
}
