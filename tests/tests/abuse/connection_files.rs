//! Connection files that are not to be believed.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use scalems_client::Session;
use scalems_tests::pilot::{Pilot, quoted};
use scalems_transport::PrivateDir;

use crate::wire::undisturbed;

/// A copy of the pilot's file, in a directory of its own.
fn copy(pilot: &Pilot, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
    let directory = pilot.home.of_pilot(name);
    PrivateDir::ensure(&directory).unwrap();
    let path = directory.join("client.json");
    let text = std::fs::read_to_string(pilot.directory().join("client.json")).unwrap();
    std::fs::write(&path, change(text)).unwrap();
    allow(&path, 0o600);
    path
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// What both the library and the command say of it.
#[track_caller]
fn refused(pilot: &Pilot, name: &str, path: &Path, texts: &[&str]) {
    pilot
        .sh(&format!("scalems --pilot {name} pilot info"))
        .fails(3, texts);
    let error = Session::connect(path).unwrap_err().to_string();
    assert!(texts.iter().all(|text| error.contains(text)), "{error}");
}

#[test]
fn files_that_are_not_believed() {
    let pilot = Pilot::start("");
    let path = copy(&pilot, "a-copy", |text| text);
    pilot.sh("scalems --pilot a-copy pilot info").well();

    allow(&path, 0o644);
    refused(&pilot, "a-copy", &path, &["client.json", "644"]);
    allow(&path, 0o600);

    if nix::unistd::geteuid().is_root() {
        nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(12_345)), None).unwrap();
        refused(&pilot, "a-copy", &path, &["12345"]);
    }

    let half = copy(&pilot, "half", |text| text[..text.len() / 2].to_owned());
    refused(&pilot, "half", &half, &["half"]);
    let empty = copy(&pilot, "empty", |_| String::new());
    refused(&pilot, "empty", &empty, &["client.json"]);
    let newer = copy(&pilot, "newer", |text| {
        text.replace("\"version\": 1", "\"version\": 9")
    });
    refused(&pilot, "newer", &newer, &["version 9"]);
    let dead = copy(&pilot, "dead", |text| {
        text.replace(&format!("\"pid\": {}", pilot.pid()), "\"pid\": 4194304")
    });
    refused(&pilot, "dead", &dead, &["dead", "4194304"]);
    let far = copy(&pilot, "far", |text| {
        text.replace(&host(&text), "\"host\": \"elsewhere\"")
    });
    refused(&pilot, "far", &far, &["elsewhere"]);
    let worker = copy(&pilot, "role", |_| {
        std::fs::read_to_string(pilot.directory().join("worker.json")).unwrap()
    });
    refused(&pilot, "role", &worker, &["worker role", "client"]);

    let directory = pilot.home.of_pilot("linked");
    PrivateDir::ensure(&directory).unwrap();
    let planted = directory.join("client.json");
    symlink(pilot.directory().join("client.json"), &planted).unwrap();
    refused(&pilot, "linked", &planted, &["symbolic link"]);

    let missing = pilot.home.work().join("none.json");
    let error = Session::connect(&missing).unwrap_err().to_string();
    assert!(error.contains("no connection file"), "{error}");
    // A worker checks the same.
    let line = format!("scalems worker start --connection {}", quoted(&path));
    pilot.sh(&line).fails(1, &["client.json"]);
    // They lie beside the pilot's own, and are no pilots: this one is still the only one.
    for name in [
        "a-copy", "half", "empty", "newer", "dead", "far", "role", "linked",
    ] {
        std::fs::remove_dir_all(pilot.home.of_pilot(name)).unwrap();
    }
    undisturbed(&pilot);
    pilot.stop();
}

/// The line with the host's name.
fn host(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("\"host\"")).unwrap();
    line.trim().trim_end_matches(',').to_owned()
}

#[test]
fn a_directory_that_others_can_write_is_no_home() {
    let pilot = Pilot::start("");
    let open = pilot.home.of_pilot("open");
    std::fs::create_dir(&open).unwrap();
    allow(&open, 0o777);
    pilot
        .sh("scalems pilot start --name open --detach")
        .fails(1, &["open"]);
    undisturbed(&pilot);
    pilot.stop();
}
