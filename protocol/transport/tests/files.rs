//! Private directories and connection files, and what others could have done to them.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use scalems_protocol::Role;
use scalems_transport::connection_file::{Addresses, Writer, start_time};
use scalems_transport::{
    ConnectionFile, ConnectionFileError as FileError, CurveClient, DirectoryError, Endpoint, KeyPair,
    PrivateDir,
};

/// The keys are those of libzmq's manual: everybody has them.
const CLIENT: &str = include_str!("vectors/client.json");
const WORKER: &str = include_str!("vectors/worker.json");

fn place() -> (tempfile::TempDir, PrivateDir) {
    let files = tempfile::tempdir().unwrap();
    let directory = PrivateDir::ensure(&files.path().join("a/b/pilot")).unwrap();
    (files, directory)
}

fn ipc(path: &str) -> Addresses {
    Addresses {
        ipc: Some(path.parse().unwrap()),
        tcp: None,
    }
}

fn curve() -> CurveClient {
    CurveClient {
        server: "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7".parse().unwrap(),
        keys: KeyPair {
            public: "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID".parse().unwrap(),
            secret: "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs".parse().unwrap(),
        },
    }
}

fn client() -> ConnectionFile {
    let both = |name: &str, port| Addresses {
        ipc: Some(
            format!("ipc:///run/user/1000/scalems/night/{name}.sock")
                .parse()
                .unwrap(),
        ),
        tcp: Some(Endpoint::tcp("node17.cluster", port).unwrap()),
    };
    ConnectionFile {
        pilot: "night".to_owned(),
        pilot_id: "00112233445566778899aabbccddeeff".parse().unwrap(),
        incarnation: 3,
        host: "node17.cluster".to_owned(),
        pid: 4711,
        start_time: Some(1_234_567),
        role: Role::Client,
        requests: both("client", 40001),
        stream: both("events", 40004),
        curve: Some(curve()),
    }
}

fn worker() -> ConnectionFile {
    ConnectionFile {
        role: Role::Worker,
        start_time: None,
        requests: ipc("ipc:///run/user/1000/scalems/night/worker.sock"),
        stream: ipc("ipc:///run/user/1000/scalems/night/beats.sock"),
        curve: None,
        ..client()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes a file as an attacker or a broken copy would have left it.
fn plant(directory: &PrivateDir, text: &str) -> PathBuf {
    let path = directory.path().join("client.json");
    fs::write(&path, text).unwrap();
    set_mode(&path, 0o600);
    path
}

#[test]
fn the_text_is_that_of_the_specification() {
    let (_files, directory) = place();
    for (file, text) in [(client(), CLIENT), (worker(), WORKER)] {
        let path = file.write(&directory).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(ConnectionFile::read(&path).unwrap(), file);
    }
}

#[test]
fn files_are_private_and_replaced_as_a_whole() {
    let (_files, directory) = place();
    let path = client().write(&directory).unwrap();
    assert_eq!(path, directory.path().join("client.json"));
    assert_eq!(mode(&path), 0o600);
    let old = fs::File::open(&path).unwrap();
    let newer = ConnectionFile {
        incarnation: 4,
        ..client()
    };
    newer.write(&directory).unwrap();
    assert_ne!(old.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    assert_eq!(ConnectionFile::read(&path).unwrap(), newer);
    let left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["client.json"], "no draft is left");
}

#[test]
fn a_link_in_the_files_place_is_replaced_and_not_written_through() {
    let (files, directory) = place();
    let victim = files.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, directory.path().join("client.json")).unwrap();
    let path = client().write(&directory).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn secrets_do_not_show() {
    let shown = format!("{:?}", client());
    assert!(!shown.contains("D:)Q"), "{shown}");
}

#[test]
fn what_others_could_have_read_or_planted_is_refused() {
    let (files, directory) = place();
    let path = client().write(&directory).unwrap();

    for exposed in [0o640, 0o604, 0o620, 0o601] {
        set_mode(&path, exposed);
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(
            matches!(error, FileError::Exposed { mode, .. } if mode == exposed),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("{exposed:04o}")), "{error}");
    }
    set_mode(&path, 0o400);
    ConnectionFile::read(&path).unwrap();

    for open in [0o720, 0o702, 0o1777] {
        set_mode(directory.path(), open);
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(
            matches!(error, FileError::OpenDirectory { mode, .. } if mode == open),
            "{error}"
        );
    }
    // Others may look, as in many home directories: the file itself is closed to them.
    set_mode(directory.path(), 0o755);
    ConnectionFile::read(&path).unwrap();
    set_mode(directory.path(), 0o700);

    let link = directory.path().join("link.json");
    symlink(&path, &link).unwrap();
    assert!(matches!(
        ConnectionFile::read(&link),
        Err(FileError::Symlink { .. })
    ));

    if geteuid().is_root() {
        chown(&path, Some(12_345), None).unwrap();
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(
            matches!(
                error,
                FileError::WrongOwner {
                    owner: 12_345,
                    user: 0,
                    ..
                }
            ),
            "{error}"
        );
        chown(&path, Some(0), None).unwrap();
        chown(directory.path(), Some(12_345), None).unwrap();
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(
            matches!(error, FileError::OpenDirectory { owner: 12_345, .. }),
            "{error}"
        );
    }
    drop(files);
    assert!(matches!(
        ConnectionFile::read(&path),
        Err(FileError::Missing { .. })
    ));
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let (_files, directory) = place();
    let missing = directory.path().join("client.json");
    let error = ConnectionFile::read(&missing).unwrap_err();
    assert!(matches!(error, FileError::Missing { .. }));
    assert!(error.to_string().contains("is the pilot running"), "{error}");

    let pipe = directory.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [&pipe, &socket, directory.path()] {
        let error = ConnectionFile::read(path).unwrap_err();
        assert!(
            matches!(
                error,
                FileError::NotAFile { .. } | FileError::OpenDirectory { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_half_written() {
    let (_files, directory) = place();
    let end = CLIENT.trim_end().len();
    for cut in 0..end {
        let path = plant(&directory, &CLIENT[..cut]);
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(
            matches!(error, FileError::HalfWritten { .. }),
            "cut at {cut}: {error}"
        );
    }
}

#[test]
fn other_versions_are_named() {
    let (_files, directory) = place();
    for (text, version) in [(r#"{"version": 2, "all": "new"}"#, 2), (r#"{"version": 0}"#, 0)] {
        let error = ConnectionFile::read(&plant(&directory, text)).unwrap_err();
        assert!(
            matches!(error, FileError::UnknownVersion { found, .. } if found == version),
            "{error}"
        );
    }
}

#[test]
fn additions_of_later_releases_are_passed_over() {
    let (_files, directory) = place();
    let text = CLIENT.replacen('{', r#"{"later": {"more": [1]},"#, 1);
    assert_eq!(ConnectionFile::read(&plant(&directory, &text)).unwrap(), client());
}

#[test]
fn each_flaw_is_named() {
    let (_files, directory) = place();
    let changes = [
        (r#""version": 1,"#, r#""version": "one","#, "expected u64"),
        (r#""version": 1,"#, "", "missing field `version`"),
        (
            r#""role": "client""#,
            r#""role": "king""#,
            "unknown variant `king`",
        ),
        (
            r#""role": "client""#,
            r#""role": "worker""#,
            r#"it has no "backend""#,
        ),
        (r#""incarnation": 3"#, r#""incarnation": 0"#, "counts from 1"),
        (r#""incarnation": 3"#, r#""incarnation": -1"#, "expected u64"),
        (r#""pid": 4711"#, r#""pid": 0"#, "cannot be 0"),
        (
            "00112233445566778899aabbccddeeff",
            "0011",
            "32 hexadecimal digits",
        ),
        (r#""pilot": "night""#, r#""pilot": """#, "bytes of plain text"),
        (
            r#""pilot": "night""#,
            r#""pilot": "a\u001b[2J""#,
            "bytes of plain text",
        ),
        ("tcp://node17.cluster:40001", "tcp://*:40001", "no valid host"),
        ("tcp://node17.cluster:40001", "tcp://node17:0", "no valid port"),
        ("tcp://node17.cluster:40001", "ipc:///a", "of another kind"),
        (
            "ipc:///run/user/1000/scalems/night/client.sock",
            "tcp://a:1",
            "of another kind",
        ),
        (
            "ipc:///run/user/1000/scalems/night/client.sock",
            "ipc://@scalems",
            "must be absolute",
        ),
        (
            "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
            "short",
            "public_key: a CURVE key is",
        ),
        (r#""curve""#, r#""curves""#, r#"no "curve""#),
        (r#""frontend""#, r#""front""#, r#"it has no "frontend""#),
    ];
    for (from, to, reason) in changes {
        assert!(CLIENT.contains(from), "{from}");
        let path = plant(&directory, &CLIENT.replacen(from, to, 1));
        let error = ConnectionFile::read(&path).unwrap_err();
        assert!(matches!(error, FileError::Invalid { .. }), "{to}: {error}");
        let said = error.to_string();
        assert!(
            said.contains(reason) && said.contains("client.json"),
            "{to}: {said}"
        );
    }
    for text in ["[]", "null", "7", "\"text\"", "{} {}", "\u{0}"] {
        let error = ConnectionFile::read(&plant(&directory, text)).unwrap_err();
        assert!(matches!(error, FileError::Invalid { .. }), "{text}: {error}");
    }
    let error = ConnectionFile::read(&plant(&directory, &" ".repeat(70_000))).unwrap_err();
    assert!(
        matches!(error, FileError::TooLarge { bytes: 70_000, .. }),
        "{error}"
    );
}

#[test]
fn what_could_not_be_read_is_not_written() {
    let (_files, directory) = place();
    let unreachable = ConnectionFile {
        stream: Addresses::default(),
        ..client()
    };
    let keyless = ConnectionFile {
        curve: None,
        ..client()
    };
    let nameless = ConnectionFile {
        pilot: String::new(),
        ..client()
    };
    for file in [unreachable, keyless, nameless] {
        assert!(matches!(file.write(&directory), Err(FileError::Invalid { .. })));
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_nearest_address_is_chosen() {
    let requests = client().requests;
    assert_eq!(requests.nearest(true), requests.ipc.as_ref());
    assert_eq!(requests.nearest(false), requests.tcp.as_ref());
    let requests = worker().requests;
    assert_eq!(requests.nearest(false), None);
}

#[test]
fn a_file_of_an_old_session_is_seen() {
    let own = ConnectionFile {
        pid: std::process::id(),
        start_time: start_time(std::process::id()),
        ..client()
    };
    let here = own.host.clone();
    assert_eq!(own.writer(&here), Writer::Running);
    assert_eq!(own.writer("elsewhere"), Writer::Unknown);
    let recycled = ConnectionFile {
        start_time: own.start_time.map(|time| time - 1),
        ..own.clone()
    };
    assert_eq!(recycled.writer(&here), Writer::Gone);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let ended = ConnectionFile {
        pid: child.id(),
        start_time: None,
        ..own
    };
    child.wait().unwrap();
    assert_eq!(ended.writer(&here), Writer::Gone);
}

#[test]
fn directories_are_made_private() {
    let (files, directory) = place();
    for made in ["a", "a/b", "a/b/pilot"] {
        assert_eq!(mode(&files.path().join(made)), 0o700);
    }
    // Again, with a slash at its end.
    PrivateDir::ensure(&PathBuf::from(format!("{}/", directory.path().display()))).unwrap();
}

#[test]
fn directories_of_others_are_refused() {
    let (files, directory) = place();
    let path = directory.path();
    for open in [0o755, 0o710, 0o701, 0o770, 0o500] {
        set_mode(path, open);
        let error = PrivateDir::ensure(path).unwrap_err();
        assert!(
            matches!(error, DirectoryError::Mode { mode, .. } if mode == open),
            "{error}"
        );
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }
    set_mode(path, 0o700);

    let link = files.path().join("link");
    symlink(path, &link).unwrap();
    for link in [link.clone(), PathBuf::from(format!("{}/", link.display()))] {
        assert!(matches!(
            PrivateDir::ensure(&link),
            Err(DirectoryError::Symlink { .. })
        ));
    }
    let dangling = files.path().join("dangling");
    symlink(files.path().join("nowhere"), &dangling).unwrap();
    assert!(matches!(
        PrivateDir::ensure(&dangling),
        Err(DirectoryError::Symlink { .. })
    ));

    let file = files.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        PrivateDir::ensure(&file),
        Err(DirectoryError::NotADirectory { .. })
    ));
    assert!(matches!(
        PrivateDir::open(&files.path().join("none")),
        Err(DirectoryError::Missing { .. })
    ));
    assert!(matches!(
        PrivateDir::ensure(&file.join("below")),
        Err(DirectoryError::Io { .. })
    ));

    if geteuid().is_root() {
        chown(path, Some(12_345), None).unwrap();
        assert!(matches!(
            PrivateDir::ensure(path),
            Err(DirectoryError::WrongOwner { owner: 12_345, .. })
        ));
    }
}
