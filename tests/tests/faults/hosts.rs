//! Hosts of their own on one machine: network namespaces, each with one cable to a switch that has a namespace too.
//!
//! Nothing of it has a name on the machine: what the last process and the last descriptor let go of is gone.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

/// Some hosts and the switch between them. The thread that makes them stays where it was.
pub(crate) struct Hosts {
    outside: File,
    switch: File,
    each: Vec<File>,
}

/// Sends the thread back to where it was, also when what it did there has failed.
struct Visit<'a> {
    back: &'a File,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        setns(self.back, CloneFlags::CLONE_NEWNET).expect("a thread may go back");
    }
}

impl Hosts {
    /// So many; none where this may not be.
    pub(crate) fn new(count: usize) -> Option<Self> {
        let outside = here();
        let switch = namespace(&outside)?;
        let each = (0..count)
            .map(|_| namespace(&outside))
            .collect::<Option<Vec<_>>>()?;
        let all = Self {
            outside,
            switch,
            each,
        };
        all.wire().then_some(all)
    }

    fn wire(&self) -> bool {
        let bridged = visit(&self.switch, || {
            ip("link add hub type bridge forward_delay 0") && ip("link set hub up")
        });
        bridged && (0..self.each.len()).all(|host| self.plug_in(host))
    }

    fn plug_in(&self, host: usize) -> bool {
        let there = format!("/proc/{}/fd/{}", std::process::id(), self.each[host].as_raw_fd());
        let (port, mac) = (port(host), mac_of(host));
        let plugged = visit(&self.switch, || {
            ip(&format!(
                "link add {port} type veth peer name eth0 address {mac} netns {there}"
            )) && ip(&format!("link set {port} master hub up"))
        });
        plugged
            && self.on(host, || {
                let address = address(host);
                ip("link set lo up")
                    && ip(&format!("addr add {address}/24 dev eth0"))
                    && ip("link set eth0 up")
                    && (0..self.each.len())
                        .filter(|other| *other != host)
                        .all(|other| reach(other, &mac_of(other)))
            })
    }

    /// Does something on a host: what starts there stays there.
    pub(crate) fn on<T>(&self, host: usize, what: impl FnOnce() -> T) -> T {
        visit(&self.each[host], what)
    }

    /// Pulls a host's cable out of the switch.
    pub(crate) fn unplug(&self, host: usize) {
        self.at_switch(&format!("link set {} down", port(host)));
    }

    /// Puts it back.
    pub(crate) fn plug(&self, host: usize) {
        self.at_switch(&format!("link set {} up", port(host)));
    }

    #[track_caller]
    fn at_switch(&self, words: &str) {
        assert!(visit(&self.switch, || ip(words)), "ip {words}");
    }

    /// What a host sends to another goes nowhere, while what comes from there still comes.
    pub(crate) fn lose_way(&self, from: usize, to: usize) {
        let nobody = "02:77:00:00:00:ff";
        assert!(self.on(from, || reach(to, nobody)), "{from} to {to}");
    }

    /// The opposite of [`Self::lose_way`].
    pub(crate) fn find_way(&self, from: usize, to: usize) {
        assert!(self.on(from, || reach(to, &mac_of(to))), "{from} to {to}");
    }

    /// Makes a host's line bad in both directions, and says how.
    pub(crate) fn spoil(&self, host: usize) -> &'static str {
        let port = port(host);
        // The second is for kernels without the first: what is over the rate waits a while and is then dropped.
        let ways = [
            ("netem", "netem loss 5% delay 100ms 100ms"),
            ("a narrow line", "tbf rate 20kbit burst 1600b latency 100ms"),
        ];
        for (name, how) in ways {
            let outward = visit(&self.switch, || tc(&format!("replace dev {port} root {how}")));
            if outward && self.on(host, || tc(&format!("replace dev eth0 root {how}"))) {
                return name;
            }
        }
        panic!("tc does not know any of {ways:?}");
    }

    /// The opposite of [`Self::spoil`]. Gives how many packets were lost.
    pub(crate) fn mend(&self, host: usize) -> u64 {
        let port = port(host);
        visit(&self.switch, || mend(&port)) + self.on(host, || mend("eth0"))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // A test that ended on one of the hosts leaves it.
        let _back = Visit { back: &self.outside };
    }
}

/// The address of a host.
pub(crate) fn address(host: usize) -> String {
    format!("10.77.0.{}", host + 1)
}

/// Does something in a namespace.
fn visit<T>(to: &File, what: impl FnOnce() -> T) -> T {
    let back = here();
    setns(to, CloneFlags::CLONE_NEWNET).expect("a thread may go to what it made");
    let _visit = Visit { back: &back };
    what()
}

/// The namespace of this thread.
fn here() -> File {
    File::open("/proc/thread-self/ns/net").expect("a thread has a network")
}

/// A new namespace, if one may be made.
fn namespace(back: &File) -> Option<File> {
    unshare(CloneFlags::CLONE_NEWNET).ok()?;
    let _visit = Visit { back };
    Some(here())
}

/// On the host where this is called: frames for `other` go to this address of a network card.
fn reach(other: usize, mac: &str) -> bool {
    let address = address(other);
    ip(&format!(
        "neigh replace {address} lladdr {mac} dev eth0 nud permanent"
    ))
}

fn port(host: usize) -> String {
    format!("port{host}")
}

fn mac_of(host: usize) -> String {
    format!("02:77:00:00:00:{:02x}", host + 1)
}

/// On the host where this is called: takes away what was done to a line, and says how many packets it cost.
fn mend(device: &str) -> u64 {
    let shown = Command::new("tc")
        .args(["-s", "qdisc", "show", "dev", device])
        .output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(tc(&format!("del dev {device} root")));
    let count = shown
        .split("(dropped ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    count.unwrap().parse().unwrap()
}

fn ip(words: &str) -> bool {
    runs("ip", words.split_whitespace())
}

fn tc(words: &str) -> bool {
    runs("tc", std::iter::once("qdisc").chain(words.split_whitespace()))
}

fn runs<'a>(program: &str, words: impl Iterator<Item = &'a str>) -> bool {
    let run = Command::new(program).args(words).output();
    run.is_ok_and(|output| output.status.success())
}
