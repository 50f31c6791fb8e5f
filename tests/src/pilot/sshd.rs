//! Another machine to reach by ssh: a real sshd on this one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::home::Home;
use super::running::Running;
use super::{process, program};

/// Where Debian has it; it has to be run by its whole path.
const PROGRAM: &str = "/usr/sbin/sshd";

/// An sshd with keys of its own, and an `ssh` that takes hosts of `example.org` for it. Sessions of it are in a home's environment.
pub struct Sshd {
    daemon: Running,
    directory: PathBuf,
}

impl Sshd {
    /// Starts one whose sessions see this home. None: there is no sshd here, and tests may be skipped.
    #[track_caller]
    pub fn start(home: &Home) -> Option<Self> {
        let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
        if !Path::new(PROGRAM).exists() {
            assert!(may_skip, "sshd is missing: run tests/run prepare");
            eprintln!("skipped: sshd is missing");
            return None;
        }
        let directory = home.path().with_file_name("ssh");
        std::fs::create_dir(&directory).expect("the directory is new");
        for key in ["host", "user"] {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(key));
            assert!(
                make.status().expect("ssh-keygen runs").success(),
                "it makes a key"
            );
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        // Where it puts itself while it has no rights; Debian's service makes it at the machine's start.
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("/run is ours");
        }
        Some(Self::configure(home, directory, port))
    }

    fn configure(home: &Home, directory: PathBuf, port: u16) -> Self {
        let place = directory.display();
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).expect("the key was made");
        let write = |name: &str, text: String| {
            std::fs::write(directory.join(name), text).expect("the directory is ours");
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = program::directory().display();
        let (work, sockets) = (home.path(), home.sockets());
        write("authorized", text("user.pub"));
        write(
            "sshd_config",
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nAuthorizedKeysFile {place}/authorized\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
                 SetEnv PATH={bin}:{path} SCALEMS_HOME={} XDG_RUNTIME_DIR={} TMPDIR={}\n",
                work.display(),
                sockets.display(),
                home.temporary().display(),
            ),
        );
        write("known", format!("* {}", text("host.pub")));
        write(
            "config",
            format!(
                "Host *.example.org\nHostName 127.0.0.1\nPort {port}\nHost *\nIdentityFile {place}/user\n\
                 IdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {place}/known\nGlobalKnownHostsFile none\n\
                 StrictHostKeyChecking yes\nLogLevel ERROR\n"
            ),
        );
        let real = which("ssh");
        write(
            "ssh",
            format!("#!/bin/sh\nexec {} -F {place}/config \"$@\"\n", real.display()),
        );
        let status = Command::new("chmod")
            .arg("+x")
            .arg(directory.join("ssh"))
            .status();
        assert!(status.expect("chmod runs").success());
        let daemon = home.spawn(&format!("{PROGRAM} -D -e -f {place}/sshd_config"));
        daemon.until_written("Server listening on 127.0.0.1");
        Self { daemon, directory }
    }

    /// What a shell's line begins with, so that its `ssh` is the one that knows this machine.
    pub fn before(&self) -> String {
        format!("export PATH={}:$PATH; ", self.directory.display())
    }

    /// Lets nobody in any more who is not.
    pub fn forget_keys(&self) {
        std::fs::write(self.directory.join("authorized"), "").expect("the directory is ours");
    }

    /// Ends it. Connections that there are go on.
    pub fn end(mut self) {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.status();
    }

    /// Ends it with all connections, as when its machine's power fails.
    pub fn cut(self) {
        // They are its children, each in a session of its own.
        let own = format!("/proc/{0}/task/{0}/children", self.daemon.pid());
        let children = std::fs::read_to_string(own).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            process::signal(child, Signal::SIGKILL);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.daemon.signal(Signal::SIGTERM);
        self.daemon.status();
    }
}

fn which(command: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(command))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("there is no {command}"))
}
