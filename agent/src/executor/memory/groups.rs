//! Control groups of the kernel, versions 1 and 2: one for each program with a cap, below the group that the worker itself is in.
//! Nothing outside that group is touched, so that whatever limits the worker limits its programs as well.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::super::proc::Proc;

/// How the groups are called that are ours: this, the worker's process and its start time, and the program's key.
const PREFIX: &str = "scalems-";

/// Where a worker moves itself if its own group is to have groups below: in version 2 a group has either processes or such.
const OWN: &str = "scalems-own";

/// How often it is looked whether all processes have been moved there.
const ROUNDS: u32 = 20;

/// Groups that could not be removed yet, because something in them has not died; more are left to the next worker.
const LEFT: usize = 1_024;

/// Why there are no groups to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoGroups {
    /// There are none, or none for memory.
    #[error("this system has no control groups for memory, or hides them from the worker")]
    None,
    /// The memory controller is not passed on to the worker's group.
    #[error("the worker's control group {} was not given the memory controller", group.display())]
    NotGiven {
        /// The worker's group.
        group: PathBuf,
    },
    /// Other processes are in the group, whom moving is not ours.
    #[error(
        "the worker's control group {} has other processes in it: start it in one of its own, as `systemd-run --user --scope -p Delegate=yes scalems …` does",
        group.display()
    )]
    Others {
        /// The worker's group.
        group: PathBuf,
    },
    /// The system does not let us.
    #[error("control groups cannot be made in {}: {source}", group.display())]
    Refused {
        /// The worker's group.
        group: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where this process is among control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    version: u8,
    directory: PathBuf,
}

impl Place {
    /// From `/proc/self/cgroup` and `/proc/self/mountinfo`. Memory is with version 1 wherever that has it.
    fn read(groups: &str, mounts: &str) -> Option<Self> {
        Self::first(groups, mounts).or_else(|| {
            let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
            let directory = mounted(mounts, path, |kind, _| kind == "cgroup2")?;
            Some(Self {
                version: 2,
                directory,
            })
        })
    }

    fn first(groups: &str, mounts: &str) -> Option<Self> {
        let has_memory = |list: &str| list.split(',').any(|word| word == "memory");
        let path = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let memory = has_memory(fields.next()?);
            fields.next().filter(|_| memory)
        })?;
        let directory = mounted(mounts, path, |kind, options| {
            kind == "cgroup" && has_memory(options)
        })?;
        Some(Self {
            version: 1,
            directory,
        })
    }

    fn own() -> Result<Self, NoGroups> {
        let read = |name: &str| fs::read_to_string(name).map_err(|_| NoGroups::None);
        let place = Self::read(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let Self {
            version,
            mut directory,
        } = place.ok_or(NoGroups::None)?;
        // Moved there by a worker of before, or beside.
        if version == 2 && directory.ends_with(OWN) {
            directory.pop();
        }
        Ok(Self { version, directory })
    }

    /// The least of the limits of this group and of those that it is in, as far as they are shown: bytes; none: nobody has set one.
    fn limit(&self) -> Option<u64> {
        let name = if self.version == 2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        // The topmost one of version 2 has no such file, and neither has what is above. Without a limit the text is `max`, or more than
        // any machine has.
        let limit = |group: &Path| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
        self.directory.ancestors().filter_map(limit).min()
    }

    fn refused(&self, source: io::Error) -> NoGroups {
        NoGroups::Refused {
            group: self.directory.clone(),
            source,
        }
    }

    /// Whether groups can be made here, and whether processes of ours are to be moved aside for it.
    fn check(&self) -> Result<bool, NoGroups> {
        let mut moves = false;
        if self.version == 2 {
            let has = |name: &str| {
                let text = fs::read_to_string(self.directory.join(name)).unwrap_or_default();
                text.split_whitespace().any(|word| word == "memory")
            };
            if !has("cgroup.controllers") {
                let group = self.directory.clone();
                return Err(NoGroups::NotGiven { group });
            }
            if !has("cgroup.subtree_control") {
                let all = self.processes().map_err(|source| self.refused(source))?;
                if !all.into_iter().all(is_ours) {
                    let group = self.directory.clone();
                    return Err(NoGroups::Others { group });
                }
                moves = true;
            }
        }
        let probe = self.directory.join(name_of(std::process::id() as i32, "try"));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .map_err(|source| self.refused(source))?;
        Ok(moves)
    }

    fn processes(&self) -> io::Result<Vec<i32>> {
        let text = fs::read_to_string(self.directory.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Moves our processes aside, and has groups below get the memory controller.
    fn delegate(&self) -> io::Result<()> {
        let aside = self.directory.join(OWN);
        match fs::create_dir(&aside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // What was not moved yet may start others meanwhile.
        for _ in 0..ROUNDS {
            let all = self.processes()?;
            if all.is_empty() {
                break;
            }
            for pid in all.into_iter().filter(|pid| is_ours(*pid)) {
                match fs::write(aside.join("cgroup.procs"), pid.to_string()) {
                    // It has ended.
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                    _ => {}
                }
            }
        }
        // The kernel refuses it if something is still there.
        fs::write(self.directory.join("cgroup.subtree_control"), "+memory")
    }
}

/// The memory that this process's group may use, bytes; none: no limit is known.
pub(super) fn limit() -> Option<u64> {
    Place::own().ok()?.limit()
}

/// Where a group's path is in the file system: below a mount of the right kind that shows it.
fn mounted(mounts: &str, path: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        if !wanted(name, options) {
            return None;
        }
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let inside = Path::new(path).strip_prefix(root).ok()?;
        // A path with `..` is of a group that this process cannot see.
        let seen = !inside.components().any(|part| part.as_os_str() == "..");
        seen.then(|| Path::new(&point.replace("\\040", " ")).join(inside))
    })
}

/// Whether a process runs this very program, or was started by one that does: the agent and the workers of a pilot that was started in
/// a group of its own, and their tasks.
fn is_ours(pid: i32) -> bool {
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let (Some(own), Ok(proc)) = (of("self"), Proc::open()) else {
        return false;
    };
    let above = |pid: &i32| proc.stat(*pid).map(|stat| stat.parent).filter(|pid| *pid > 1);
    std::iter::successors(Some(pid), above).any(|pid| of(&pid.to_string()).as_ref() == Some(&own))
}

fn name_of(pid: i32, what: &str) -> String {
    let start = start_of(pid).unwrap_or(0);
    format!("{PREFIX}{pid}-{start}-{what}")
}

fn start_of(pid: i32) -> Option<u64> {
    Some(Proc::open().ok()?.stat(pid)?.start)
}

/// The process that made a group of this name, if it is one of ours: its number and its start.
fn maker_of(name: &str) -> Option<(i32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Counts those of this process.
static GROUNDS: AtomicU32 = AtomicU32::new(0);

/// Where this worker makes groups.
pub(super) struct Ground {
    place: Place,
    pid: i32,
    /// Which it is of this process, which may have several workers with programs of the same keys.
    number: u32,
    left: Mutex<Vec<PathBuf>>,
}

impl Ground {
    /// What would come of opening it: the version, and the worker's own group.
    pub(super) fn look() -> Result<(u8, PathBuf), NoGroups> {
        let place = Place::own()?;
        place.check()?;
        Ok((place.version, place.directory))
    }

    /// Gets the worker's own group ready, and drops what workers of before have left there.
    pub(super) fn open() -> Result<Self, NoGroups> {
        let place = Place::own()?;
        if place.check()? {
            place.delegate().map_err(|source| place.refused(source))?;
        }
        let ground = Self {
            place,
            pid: std::process::id() as i32,
            number: GROUNDS.fetch_add(1, Ordering::Relaxed),
            left: Mutex::default(),
        };
        ground.drop_old();
        // The kernel has to say whether it has ended something; older ones do not.
        let group = ground.make(u64::MAX, 1 << 30)?;
        let says = group.ended().is_some();
        ground.remove(&group);
        if says { Ok(ground) } else { Err(NoGroups::None) }
    }

    fn drop_old(&self) {
        let Ok(all) = self.place.directory.read_dir() else {
            return;
        };
        for entry in all.flatten() {
            let name = entry.file_name();
            let maker = name.to_str().and_then(maker_of);
            if maker.is_some_and(|(pid, start)| start_of(pid) != Some(start)) {
                // One that is not empty stays: something of it has not died.
                let _gone = fs::remove_dir(entry.path());
            }
        }
    }

    /// A group with this limit, in bytes.
    pub(super) fn make(&self, key: u64, limit: u64) -> Result<Group, NoGroups> {
        let directory = self
            .place
            .directory
            .join(name_of(self.pid, &format!("{}.{key}", self.number)));
        fs::create_dir(&directory).map_err(|source| self.place.refused(source))?;
        self.set_up(&directory, limit).map_err(|source| {
            // Best effort: it is empty, and was made here.
            let _gone = fs::remove_dir(&directory);
            self.place.refused(source)
        })
    }

    fn set_up(&self, directory: &Path, limit: u64) -> io::Result<Group> {
        let set = |name: &str, value: &str| fs::write(directory.join(name), value);
        let limit = limit.to_string();
        let mut ends_all = false;
        if self.place.version == 2 {
            set("memory.max", &limit)?;
            // Kernels without swap have no such file, and those before 4.19 do not end a group whole.
            let _no_swap = set("memory.swap.max", "0");
            ends_all = set("memory.oom.group", "1").is_ok();
        } else {
            set("memory.limit_in_bytes", &limit)?;
            // As above.
            let _no_swap = set("memory.memsw.limit_in_bytes", &limit);
        }
        let joins = File::options().write(true).open(directory.join("cgroup.procs"))?;
        Ok(Group {
            version: self.place.version,
            directory: directory.to_owned(),
            joins,
            ends_all,
        })
    }

    /// Removes a group whose processes are gone, and those that were left before.
    pub(super) fn remove(&self, group: &Group) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(group.directory.clone());
        left.retain(|directory| {
            let gone = fs::remove_dir(directory);
            gone.is_err_and(|error| error.kind() != io::ErrorKind::NotFound)
        });
        left.truncate(LEFT);
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for directory in self.left.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // What stays is dropped by the next worker here.
            let _gone = fs::remove_dir(directory);
        }
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

/// One program's group.
#[derive(Debug)]
pub(super) struct Group {
    version: u8,
    directory: PathBuf,
    joins: File,
    ends_all: bool,
}

impl Group {
    /// A process that writes `0` here is in the group, and so is all that it starts from then on.
    pub(super) fn joins(&self) -> BorrowedFd<'_> {
        self.joins.as_fd()
    }

    /// Whether the kernel ends all processes of the group if it ends one. Else it ends the largest.
    pub(super) fn ends_all(&self) -> bool {
        self.ends_all
    }

    /// Whether the kernel has ended one.
    pub(super) fn has_exceeded(&self) -> bool {
        self.ended().is_some_and(|count| count > 0)
    }

    /// How many it has ended, if it says that.
    fn ended(&self) -> Option<u64> {
        let file = if self.version == 2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = fs::read_to_string(self.directory.join(file)).ok()?;
        count(&text, "oom_kill")
    }

    /// The most that its processes had together, with their part of the file cache; 0 if the kernel does not say.
    pub(super) fn peak(&self) -> u64 {
        let file = if self.version == 2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let text = fs::read_to_string(self.directory.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

/// The number behind a name at the beginning of a line.
fn count(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, number) = line.split_once(' ')?;
        number.trim().parse().ok().filter(|_| found == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:1 - cgroup cgroup rw,cpuset\n\
        35 31 0:32 /slurm /sys/fs/cgroup/me\\040mory rw,relatime shared:1 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn place(groups: &str, mounts: &str) -> Option<(u8, String)> {
        let Place { version, directory } = Place::read(groups, mounts)?;
        Some((version, directory.to_str().unwrap().to_owned()))
    }

    #[test]
    fn the_workers_own_group_is_found() {
        let at = |version, path: &str| Some((version, path.to_owned()));
        assert_eq!(
            place("9:cpuset:/\n4:memory:/slurm/uid_1/job_7\n0::/\n", MOUNTS),
            at(1, "/sys/fs/cgroup/me mory/uid_1/job_7")
        );
        assert_eq!(
            place("9:cpuset:/\n0::/user.slice/a.scope\n", MOUNTS),
            at(2, "/sys/fs/cgroup/unified/user.slice/a.scope")
        );
        assert_eq!(place("4:memory:/elsewhere\n", MOUNTS), None, "not shown");
        assert_eq!(place("0::/../x\n", MOUNTS), None, "outside of what is shown");
        assert_eq!(place("0::/\n", ""), None);
    }

    /// What a group of version 2 has for files, as far as they are read here.
    fn second(processes: &str, controllers: &str, below: &str) -> (tempfile::TempDir, Place) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cgroup.procs", processes),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", below),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let place = Place {
            version: 2,
            directory: directory.path().to_owned(),
        };
        (directory, place)
    }

    #[test]
    fn in_version_2_a_worker_that_is_alone_makes_room_for_groups() {
        let own = format!("{}\n", std::process::id());
        let (directory, place) = second(&own, "cpu memory\n", "cpu\n");
        assert!(place.check().unwrap());
        place.delegate().unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(read("scalems-own/cgroup.procs"), own.trim());
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        // Where that was done before, nothing is to be moved.
        let (_directory, place) = second(&own, "memory\n", "memory\n");
        assert!(!place.check().unwrap());
    }

    #[test]
    fn in_version_2_others_are_left_alone() {
        let (_directory, place) = second("1\n", "memory\n", "\n");
        assert!(matches!(place.check(), Err(NoGroups::Others { .. })));
        let (_directory, place) = second("", "cpu pids\n", "\n");
        assert!(matches!(place.check(), Err(NoGroups::NotGiven { .. })));
        let nowhere = Place {
            version: 1,
            directory: "/proc/self".into(),
        };
        assert!(matches!(nowhere.check(), Err(NoGroups::Refused { .. })));
    }

    #[test]
    fn the_least_limit_of_all_groups_counts() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("job/step/task");
        fs::create_dir_all(&own).unwrap();
        let set =
            |at: &str, name: &str, text: &str| fs::write(directory.path().join(at).join(name), text).unwrap();
        let at = |version| Place {
            version,
            directory: own.clone(),
        };
        assert_eq!(at(2).limit(), None);
        set("job/step/task", "memory.max", "max\n");
        assert_eq!(at(2).limit(), None);
        set("job/step", "memory.max", "2097152\n");
        set("job", "memory.max", "3145728\n");
        assert_eq!(at(2).limit(), Some(2 << 20));
        set("job/step/task", "memory.max", "1048576\n");
        assert_eq!(at(2).limit(), Some(1 << 20));
        set("job/step/task", "memory.limit_in_bytes", "9223372036854771712\n");
        assert!(at(1).limit() > Some(1 << 60));
        set("job", "memory.limit_in_bytes", "5242880\n");
        assert_eq!(at(1).limit(), Some(5 << 20));
    }

    #[test]
    fn events_are_counted_by_their_whole_name() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(count(text, "oom_kill"), Some(2));
        assert_eq!(count("low 0\noom 1\n", "oom_kill"), None);
    }

    #[test]
    fn groups_of_ours_name_their_maker() {
        let own = std::process::id() as i32;
        let start = start_of(own).unwrap();
        assert_eq!(maker_of(&name_of(own, "7")), Some((own, start)));
        for other in [OWN, "user.slice", "scalems-x-1-2"] {
            assert_eq!(maker_of(other), None, "{other}");
        }
        assert!(is_ours(own) && !is_ours(1));
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        assert!(is_ours(child.id() as i32), "it was started by us");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
