//! Turns a [`ProgramSpec`] into what a child can use without allocating, and opens all it needs.

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use super::capture::{Sink, errno_of};
use super::lookup;
use super::outcome::{StartError, Step};
use super::spawn::Launch;
use super::spec::{Capture, ProgramSpec, Resource, Stderr, Stdin};

/// A program ready to be launched, and our ends of its pipes.
pub(super) struct Prepared {
    program: CString,
    argv: CStrings,
    envp: CStrings,
    cwd: Option<CString>,
    cpus: Vec<u64>,
    limits: Vec<(c_int, libc::rlimit)>,
    stdin: ChildInput,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    inherit: Option<OwnedFd>,
    /// What is still to be written to the program.
    pub(super) feed: Option<Feed>,
    /// What the program writes: output, and error if apart.
    pub(super) streams: [Option<Stream>; 2],
}

/// Our end of a pipe that the program writes to.
#[derive(Debug)]
pub(super) struct Stream {
    /// Gone once the end was reached.
    pub(super) pipe: Option<OwnedFd>,
    pub(super) sink: Sink,
}

/// Our end of the pipe that the program reads from.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) pipe: OwnedFd,
    pub(super) rest: Bytes,
}

enum ChildInput {
    Null,
    Open(OwnedFd),
}

impl Prepared {
    /// Opens and converts everything. The [`ProgramSpec`] keeps its strings, for the words of errors.
    pub(super) fn new(spec: &mut ProgramSpec) -> Result<Self, StartError> {
        let argv = CStrings::of_arguments(&spec.argv)?;
        let envp = CStrings::of_environment(&spec.env)?;
        let program = lookup::program(spec)?;
        let cwd = spec
            .cwd
            .as_deref()
            .map(|path| c_string(path.as_os_str(), "the directory"))
            .transpose()?;
        if spec.create_cwd
            && let Some(directory) = &spec.cwd
        {
            fs::create_dir_all(directory).map_err(|error| StartError::DirectoryRefused {
                directory: directory.clone(),
                errno: errno_of(&error),
            })?;
        }
        let (stdin, feed) = open_input(std::mem::replace(&mut spec.stdin, Stdin::Null))?;
        let (stdout, output) = open_output(std::mem::take(&mut spec.stdout))?;
        let (stderr, errors) = match &spec.stderr {
            Stderr::Merged => (None, None),
            Stderr::Separate(capture) => {
                let (theirs, ours) = open_output(capture.clone())?;
                (Some(theirs), Some(ours))
            }
        };
        Ok(Self {
            program: c_string(program.as_os_str(), "the program's path")?,
            argv,
            envp,
            cwd,
            cpus: cpu_mask(&spec.cpus),
            limits: spec
                .limits
                .iter()
                .map(|limit| (number(limit.resource), rlimit(limit.soft, limit.hard)))
                .collect(),
            stdin,
            stdout,
            stderr,
            inherit: spec.inherit.take(),
            feed,
            streams: [Some(output), errors],
        })
    }

    /// Bytes of arguments and environment, the terms in which the kernel refuses them.
    pub(super) fn bytes(&self) -> usize {
        self.argv.bytes.len() + self.envp.bytes.len()
    }

    pub(super) fn program(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(self.program.as_bytes()))
    }

    /// Hands `launch` what the child needs, with `null` as its empty input, and the group that it `joins`.
    pub(super) fn with_launch<R>(
        &self,
        null: BorrowedFd<'_>,
        joins: Option<BorrowedFd<'_>>,
        slot: Option<&std::sync::atomic::AtomicI32>,
        launch: impl FnOnce(&Launch<'_>) -> R,
    ) -> R {
        let stdin = match &self.stdin {
            ChildInput::Null => null,
            ChildInput::Open(file) => file.as_fd(),
        };
        let stderr = self.stderr.as_ref().unwrap_or(&self.stdout);
        launch(&Launch {
            program: &self.program,
            argv: &self.argv.pointers(),
            envp: &self.envp.pointers(),
            cwd: self.cwd.as_deref(),
            stdio: [stdin, self.stdout.as_fd(), stderr.as_fd()],
            inherit: self.inherit.as_ref().map(AsFd::as_fd),
            cpus: &self.cpus,
            limits: &self.limits,
            joins,
            slot,
        })
    }
}

/// A pipe whose first end, for us, does not block.
fn pipe_for_reading() -> Result<(OwnedFd, OwnedFd), Errno> {
    // The default size of 64 KiB is right: a flood is read at gigabytes a second, and a user without privileges
    // gets 1,024 such pipes before the kernel hands out smaller ones by itself.
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    unblock(&ours)?;
    Ok((ours, theirs))
}

fn unblock(end: &OwnedFd) -> Result<(), Errno> {
    fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

fn open_output(capture: Capture) -> Result<(OwnedFd, Stream), StartError> {
    let sink = Sink::open(capture)?;
    let (ours, theirs) = pipe_for_reading().map_err(|errno| StartError::from_errno(Step::Pipe, errno))?;
    Ok((
        theirs,
        Stream {
            pipe: Some(ours),
            sink,
        },
    ))
}

fn open_input(stdin: Stdin) -> Result<(ChildInput, Option<Feed>), StartError> {
    match stdin {
        Stdin::Null => Ok((ChildInput::Null, None)),
        Stdin::File(path) => match open_without_blocking(&path) {
            Ok(file) => Ok((ChildInput::Open(file.into()), None)),
            Err(Errno::EMFILE | Errno::ENFILE) => Err(StartError::TooManyFiles),
            Err(errno) => Err(StartError::InputFile { path, errno }),
        },
        Stdin::Data(rest) => {
            let failed = |errno| StartError::from_errno(Step::Pipe, errno);
            let (theirs, pipe) = pipe2(OFlag::O_CLOEXEC).map_err(failed)?;
            unblock(&pipe).map_err(failed)?;
            Ok((ChildInput::Open(theirs), Some(Feed { pipe, rest })))
        }
    }
}

/// Opening a named pipe for reading would wait for a writer, and all other programs with it.
fn open_without_blocking(path: &std::path::Path) -> Result<File, Errno> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|error| errno_of(&error))?;
    fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(file)
}

/// Zero-terminated strings in one piece of memory.
struct CStrings {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CStrings {
    fn of_arguments(argv: &[OsString]) -> Result<Self, StartError> {
        let mut strings = Self::with_capacity(argv.len());
        for (index, argument) in argv.iter().enumerate() {
            let what = || format!("argument {index}");
            strings.add(&[argument.as_bytes()], what)?;
        }
        Ok(strings)
    }

    fn of_environment(env: &[(OsString, OsString)]) -> Result<Self, StartError> {
        let mut strings = Self::with_capacity(env.len());
        for (name, value) in env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(StartError::BadVariable {
                    name: name.to_string_lossy().into_owned(),
                });
            }
            let what = || format!("environment variable {}", name.to_string_lossy().escape_debug());
            strings.add(&[name.as_bytes(), b"=", value.as_bytes()], what)?;
        }
        Ok(strings)
    }

    fn with_capacity(count: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count * 32),
            starts: Vec::with_capacity(count),
        }
    }

    fn add(&mut self, parts: &[&[u8]], what: impl Fn() -> String) -> Result<(), StartError> {
        self.starts.push(self.bytes.len());
        for part in parts {
            if part.contains(&0) {
                return Err(StartError::ZeroByte { what: what() });
            }
            self.bytes.extend_from_slice(part);
        }
        self.bytes.push(0);
        Ok(())
    }

    /// Pointers to the strings, ended by a null pointer; good while `self` is not changed.
    fn pointers(&self) -> Vec<*const c_char> {
        let base = self.bytes.as_ptr();
        let string = |start: &usize| base.wrapping_add(*start).cast::<c_char>();
        self.starts.iter().map(string).chain([std::ptr::null()]).collect()
    }
}

fn c_string(text: &OsStr, what: &str) -> Result<CString, StartError> {
    CString::new(text.as_bytes()).map_err(|_| StartError::ZeroByte {
        what: what.to_owned(),
    })
}

/// As the kernel wants it: bit n of word n / 64 for CPU n. Longer than `cpu_set_t`, which ends at 1,024.
fn cpu_mask(cpus: &[usize]) -> Vec<u64> {
    let mut mask = vec![0_u64; cpus.iter().max().map_or(0, |highest| highest / 64 + 1)];
    for cpu in cpus {
        if let Some(word) = mask.get_mut(cpu / 64) {
            *word |= 1 << (cpu % 64);
        }
    }
    mask
}

const fn rlimit(soft: u64, hard: u64) -> libc::rlimit {
    libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    }
}

const fn number(resource: Resource) -> c_int {
    (match resource {
        Resource::CoreFile => libc::RLIMIT_CORE,
        Resource::CpuTime => libc::RLIMIT_CPU,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::Memory => libc::RLIMIT_AS,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::Stack => libc::RLIMIT_STACK,
    }) as c_int
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn a_mask_has_a_bit_per_cpu_however_high() {
        assert!(cpu_mask(&[]).is_empty());
        assert_eq!(cpu_mask(&[0, 3]), [0b1001]);
        assert_eq!(cpu_mask(&[64, 1]), [0b10, 1]);
        assert_eq!(cpu_mask(&[2047]).len(), 32);
    }

    #[test]
    fn zero_bytes_and_bad_names_are_refused_by_name() {
        let refused = CStrings::of_arguments(&["a".into(), "b\0c".into()]).err();
        assert_eq!(
            refused,
            Some(StartError::ZeroByte {
                what: "argument 1".into()
            })
        );
        let refused = CStrings::of_environment(&[("A=B".into(), "c".into())]).err();
        assert_eq!(refused, Some(StartError::BadVariable { name: "A=B".into() }));
    }

    #[test]
    fn pointers_lead_to_the_strings() {
        let strings =
            CStrings::of_environment(&[("A".into(), "1".into()), ("BB".into(), "".into())]).unwrap();
        let pointers = strings.pointers();
        assert!(pointers[2].is_null());
        let second = pointers[1] as usize - pointers[0] as usize;
        assert_eq!(
            CStr::from_bytes_until_nul(&strings.bytes[second..]).unwrap(),
            c"BB="
        );
    }
}
