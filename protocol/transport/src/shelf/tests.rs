use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir_in(SHARED_MEMORY).unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
        Self { directory }
    }

    /// The shelf as another process has it.
    fn shelf(&self) -> Shelf {
        let directory = PrivateDir::open(self.directory.path()).unwrap();
        Shelf::new(directory, End::new().unwrap(), None).unwrap()
    }

    /// How many segments and blobs there are.
    fn files(&self) -> (usize, usize) {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        let count = |kind: &str| {
            let of_kind = names
                .iter()
                .filter(|name| name.to_str().unwrap().starts_with(kind));
            of_kind.count()
        };
        let known = count("segment-") + count("blob-") + count("end-");
        assert_eq!(known, names.len(), "{names:?}");
        (count("segment-"), count("blob-"))
    }
}

fn blob(of: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| of ^ (at % 251) as u8).collect()
}

fn put(shelf: &Shelf, to: &Shelf, blob: &[u8]) -> Option<Name> {
    let given = shelf.put(blob, to.end())?;
    let name = given.name();
    given.sent();
    Some(name)
}

fn take(shelf: &Shelf, name: Name, bytes: usize) -> Bytes {
    shelf.take(name, bytes as u64).unwrap()
}

#[test]
fn a_segment_is_used_again_once_nobody_needs_it() {
    let place = Place::new();
    let (sender, receiver) = (place.shelf(), place.shelf());
    let [first, second, third] = [1, 2, 3].map(|of| blob(of, LEAST + 5));
    let taken = take(&receiver, put(&sender, &receiver, &first).unwrap(), first.len());
    assert_eq!(taken, first);
    let other = take(&receiver, put(&sender, &receiver, &second).unwrap(), second.len());
    assert_eq!(place.files(), (2, 2), "the first one is still read");
    drop(taken);
    let again = take(&receiver, put(&sender, &receiver, &third).unwrap(), third.len());
    assert_eq!((&other[..], &again[..]), (&second[..], &third[..]));
    assert_eq!(place.files(), (2, 2));
    drop((other, again));
    assert_eq!(place.files(), (2, 0));
    drop(sender);
    assert_eq!(place.files(), (0, 0));
}

#[test]
fn what_was_received_is_sent_on_where_it_lies() {
    let place = Place::new();
    let (client, agent, worker) = (place.shelf(), place.shelf(), place.shelf());
    let sent = blob(1, LEAST);
    let at_agent = take(&agent, put(&client, &agent, &sent).unwrap(), sent.len());
    let at_worker = take(&worker, put(&agent, &worker, &at_agent).unwrap(), sent.len());
    assert_eq!(place.files(), (1, 2), "it was not copied");
    // Part of it is another blob.
    let part = put(&agent, &worker, &at_agent[..LEAST]).unwrap();
    drop(take(&worker, part, LEAST));
    drop(at_agent);
    // Its maker sees that somebody reads it.
    let next = take(&worker, put(&client, &worker, &blob(2, LEAST)).unwrap(), LEAST);
    assert_eq!((at_worker, next), (sent.into(), blob(2, LEAST).into()));
}

#[test]
fn what_was_not_sent_is_taken_back() {
    let place = Place::new();
    let shelf = place.shelf();
    drop(shelf.put(&blob(1, LEAST), shelf.end()).unwrap());
    assert_eq!(place.files(), (1, 0));
    assert!(
        shelf.put(&blob(1, LEAST - 1), shelf.end()).is_none(),
        "it is too small to be worth it"
    );
}

#[test]
fn one_process_takes_so_much_and_no_more() {
    let place = Place::new();
    let (sender, receiver) = (place.shelf(), place.shelf());
    let large = blob(1, 20 << 20);
    let names = [(); 4].map(|()| put(&sender, &receiver, &large).unwrap());
    assert!(
        put(&sender, &receiver, &large).is_none(),
        "five are over the limit"
    );
    // Of other sizes there is one in place of one that nobody needs.
    drop(take(&receiver, names[0], large.len()));
    assert!(put(&sender, &receiver, &blob(2, 30 << 20)).is_some());
    assert!(put(&sender, &receiver, &large).is_none());
    assert_eq!(place.files(), (4, 4));
}

#[test]
fn who_holds_much_copies_what_is_more() {
    let place = Place::new();
    let (sender, receiver) = (place.shelf(), place.shelf());
    let taken = [1, 2, 3, 4].map(|of| {
        let blob = blob(of, 20 << 20);
        take(&receiver, put(&sender, &receiver, &blob).unwrap(), blob.len())
    });
    assert_eq!(place.files(), (4, 3), "the fourth one is not held");
    for (of, taken) in (1..).zip(&taken) {
        assert_eq!(taken, &blob(of, 20 << 20));
    }
    drop(taken);
    assert_eq!(place.files(), (4, 0));
}

#[test]
fn what_is_not_there_or_not_as_long_is_refused() {
    let place = Place::new();
    let shelf = place.shelf();
    let path = place.directory.path();
    let refused = |name: Name, length: usize| shelf.take(name, length as u64).unwrap_err().kind();
    let named = |number| Name {
        of: shelf.end(),
        number: [number; 8],
    };
    let nothing = named(1);
    assert_eq!(refused(nothing, LEAST), io::ErrorKind::NotFound);
    for length in [0, LEAST - 1, limits::WIRE_FRAME_BYTES + 1, usize::MAX] {
        assert_eq!(refused(nothing, length), io::ErrorKind::InvalidInput);
    }
    let short = put(&shelf, &shelf, &blob(1, LEAST)).unwrap();
    assert_eq!(refused(short, 2 * LEAST), io::ErrorKind::InvalidData);
    let link = named(2);
    fs::write(path.join("elsewhere"), blob(1, LEAST)).unwrap();
    symlink(path.join("elsewhere"), link.of_blob(path)).unwrap();
    shelf.take(link, LEAST as u64).unwrap_err();
    fs::create_dir(named(3).of_blob(path)).unwrap();
    shelf.take(named(3), LEAST as u64).unwrap_err();
    // What is another's is not taken.
    let other = place.shelf();
    let name = put(&shelf, &other, &blob(1, LEAST)).unwrap();
    assert_eq!(refused(name, LEAST), io::ErrorKind::InvalidInput);
    assert_eq!(take(&other, name, LEAST), blob(1, LEAST));
}

#[test]
fn a_segment_without_its_own_name_is_not_used_again() {
    let place = Place::new();
    let (sender, receiver) = (place.shelf(), place.shelf());
    let taken = take(
        &receiver,
        put(&sender, &receiver, &blob(1, LEAST)).unwrap(),
        LEAST,
    );
    for entry in fs::read_dir(place.directory.path()).unwrap().flatten() {
        if entry.file_name().as_bytes().starts_with(b"segment-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let next = take(
        &receiver,
        put(&sender, &receiver, &blob(2, LEAST)).unwrap(),
        LEAST,
    );
    assert_eq!((taken, next), (blob(1, LEAST).into(), blob(2, LEAST).into()));
}

#[test]
fn what_the_dead_left_is_removed_and_nothing_else() {
    let place = Place::new();
    let path = place.directory.path();
    let [living, other, dies] = [(); 3].map(|()| place.shelf());
    let held = take(&other, put(&living, &other, &blob(1, LEAST)).unwrap(), LEAST);
    let waits = put(&living, &other, &blob(2, LEAST)).unwrap();
    // It has put something, was given something, and holds something.
    let last = put(&dies, &living, &blob(3, LEAST)).unwrap();
    put(&living, &dies, &blob(4, LEAST)).unwrap();
    let name = put(&living, &dies, &blob(5, LEAST)).unwrap();
    std::mem::forget(take(&dies, name, LEAST));
    other.sweep_now();
    assert_eq!(place.files(), (5, 5), "all live");
    // As a kill leaves it: only its lock goes.
    let end = dies.end();
    let file = path.join(format!("end-{end}"));
    fs::remove_file(&file).unwrap();
    fs::write(&file, "").unwrap();
    other.sweep_now();
    assert_eq!(place.files(), (4, 3));
    assert!(!file.exists());
    // What it had put for others is theirs.
    assert_eq!(take(&living, last, LEAST), blob(3, LEAST));
    assert_eq!(
        (held, take(&other, waits, LEAST)),
        (blob(1, LEAST).into(), blob(2, LEAST).into())
    );
    // What it had been given is used again.
    for of in 6..10 {
        put(&living, &other, &blob(of, LEAST)).unwrap();
    }
    assert_eq!(place.files(), (4, 4));
}

#[test]
fn an_end_that_was_taken_for_dead_before_it_was_locked_is_none() {
    let place = Place::new();
    let path = place.directory.path();
    let end = End::new().unwrap();
    assert!(end.is_dead(path), "nobody has said that it lives");
    let alive = Alive::new(end, path).unwrap();
    assert!(!end.is_dead(path));
    assert!(Alive::new(end, path).is_err(), "it is there already");
    drop(alive);
    assert!(end.is_dead(path));
}

#[test]
fn the_shelves_of_dead_agents_are_removed() {
    let place = Place::new();
    let [living, dead, other] = [
        format!("{}1", beginning()),
        format!("{}2", beginning()),
        "else".to_owned(),
    ]
    .map(|name| PrivateDir::ensure(&place.directory.path().join(name)).unwrap());
    let lock = lock_directory(living.path()).unwrap();
    fs::write(dead.path().join("segment-1"), "left").unwrap();
    let all = [&living, &dead, &other];
    let there = || all.map(|directory| directory.path().exists());
    clear_dead(place.directory.path(), Duration::from_mins(1));
    assert_eq!(there(), [true; 3], "it may be locked in a moment");
    clear_dead(place.directory.path(), Duration::ZERO);
    assert_eq!(there(), [true, false, true]);
    drop(lock);
    clear_dead(place.directory.path(), Duration::ZERO);
    assert_eq!(there(), [false, false, true]);
}
