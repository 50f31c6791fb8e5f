//! What another user of the machine gets of a pilot: nothing.

use std::path::Path;

use scalems_transport::KeyPair;

use crate::cluster::Cluster;

#[test]
fn another_user_can_neither_read_the_keys_nor_connect() {
    let cluster = Cluster::with("--nodes 1");
    let session = cluster.pilot("--time 10m", 1);
    let directory = cluster.pilot_directory();
    // The ways to it are open, as they are to a home; and there is a program that anybody can run.
    cluster.sh("chmod 755 .. ../home ../home/pilots ../work").well();
    let other = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for file in [
        "client.json",
        "worker.json",
        "observer.json",
        "journal.sqlite",
        "job.json",
    ] {
        let path = directory.join(file);
        assert!(path.exists(), "{file} is looked for in the right place");
        cluster
            .sh(&format!("{other} cat {}", path.display()))
            .fails(1, &["Permission denied"]);
    }
    cluster
        .sh(&format!("{other} scalems --pilot night pilot info"))
        .fails(3, &["Permission denied"]);
    // A key that somebody made up opens nothing, though the address is known.
    cluster
        .home
        .write("client.json", &with_other_keys(&directory.join("client.json")));
    cluster
        .sh("mkdir -m 700 forged && chmod 600 client.json && mv client.json forged && chown -R 65534:65534 forged")
        .well();
    cluster
        .sh(&format!(
            "SCALEMS_CONNECTION=$PWD/forged {other} scalems pilot info"
        ))
        .fails(3, &["does not accept the connection file's key"]);
    // Nor does the way over the node's own files.
    let sockets = cluster.tool("on", "n1 find /tmp/scalems-0 -type s");
    assert!(!sockets.is_empty(), "the agent has sockets there");
    for socket in sockets.lines() {
        let look = format!("sh -c test${{IFS}}-w${{IFS}}{socket}||echo${{IFS}}no");
        assert_eq!(
            cluster.tool("on", &format!("n1 {look}")),
            "",
            "its own user reaches it"
        );
        let answer = cluster.tool("on", &format!("n1 {other} {look}"));
        assert_eq!(answer, "no", "{socket} can be reached");
    }
    drop(session);
    cluster.sh("scalems pilot stop").well();
}

/// A client's connection file with keys that no agent has given to anybody.
fn with_other_keys(path: &Path) -> String {
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let made_up = KeyPair::generate().unwrap();
    file["curve"]["public_key"] = made_up.public.to_string().into();
    file["curve"]["secret_key"] = made_up.secret.expose().into();
    file.to_string()
}
