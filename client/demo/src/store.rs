//! The files that a replica leaves: published by rename, sealed with a fingerprint of their content.
//!
//! A file is one header line, `scalems-demo KIND VERSION FINGERPRINT`, and a JSON body. The fingerprint is
//! BLAKE3 over the body. Whoever reads one gets all of what was written or an error that says what is wrong.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::dynamics::State;
use crate::error::{DemoError, Fault};
use crate::histogram::Histogram;

/// Raised when the model, the grid or the files change, so that old files are refused and not mixed in.
const VERSION: u32 = 1;

/// A kind of file: what its header says it is.
pub(crate) trait Sealed: Serialize + DeserializeOwned {
    const KIND: &'static str;
    /// What is wrong with the values, although they could be read.
    fn mismatch(&self, window: u32, generation: u32) -> Option<&'static str>;
}

/// What the next generation goes on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Restart {
    pub(crate) window: u32,
    pub(crate) generation: u32,
    pub(crate) state: State,
}

impl Sealed for Restart {
    const KIND: &'static str = "restart";

    fn mismatch(&self, window: u32, generation: u32) -> Option<&'static str> {
        if self.window != window {
            Some("it is of another window")
        } else if self.generation != generation {
            Some("it is of another generation")
        } else if !self.state.is_finite() {
            Some("its state is not finite")
        } else {
            None
        }
    }
}

/// What the analysis needs of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sampled {
    pub(crate) window: u32,
    pub(crate) generation: u32,
    pub(crate) steps: u64,
    pub(crate) kinetic_temperature_k: f64,
    /// Counts of equal stretches of time, one after the other.
    pub(crate) blocks: Vec<Histogram>,
}

impl Sealed for Sampled {
    const KIND: &'static str = "result";

    fn mismatch(&self, window: u32, generation: u32) -> Option<&'static str> {
        if self.window != window {
            Some("it is of another window")
        } else if self.generation != generation {
            Some("it is of another generation")
        } else if self.blocks.len() != crate::replica::BLOCKS as usize {
            Some("it has another number of blocks")
        } else if !self
            .blocks
            .iter()
            .all(|block| block.is_on_grid() && block.total() > 0)
        {
            Some("a block is empty or leaves the grid")
        } else {
            None
        }
    }
}

/// Where a replica leaves its state for the next generation.
pub fn restart_path(dir: &Path, window: u32, generation: u32) -> PathBuf {
    dir.join(format!("generation-{generation}-window-{window:02}.restart"))
}

/// Where a replica leaves its histograms.
pub fn result_path(dir: &Path, window: u32, generation: u32) -> PathBuf {
    dir.join(format!("generation-{generation}-window-{window:02}.result"))
}

/// Publishes `value` at `path`, whose directory is made if need be: until the rename there is nothing, after it all of it.
///
/// The temporary name bears the process id, so that an attempt given up for lost but still running cannot
/// write into its successor's file. The disk is not waited for: a power cut may leave a file that `read` refuses.
pub(crate) fn write<T: Sealed>(path: &Path, value: &T) -> Result<(), DemoError> {
    let failed = |source| DemoError::Write {
        path: path.to_owned(),
        source,
    };
    let body = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    let mut content = format!("{} {}\n", header::<T>(), blake3::hash(&body).to_hex()).into_bytes();
    content.extend_from_slice(&body);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&part, content))
        .and_then(|()| fs::rename(&part, path))
        .map_err(failed)
}

/// Reads what the replica of `window` and `generation` published at `path`.
pub(crate) fn read<T: Sealed>(path: &Path, window: u32, generation: u32) -> Result<T, DemoError> {
    open::<T>(path, window, generation).map_err(|fault| DemoError::File {
        window,
        generation,
        path: path.to_owned(),
        fault,
    })
}

fn open<T: Sealed>(path: &Path, window: u32, generation: u32) -> Result<T, Fault> {
    let content = fs::read(path)?;
    let sealed = content
        .strip_prefix(header::<T>().as_bytes())
        .ok_or(Fault::Foreign(T::KIND))?;
    let line_end = sealed
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(Fault::Damaged)?;
    let (fingerprint, body) = (&sealed[..line_end], &sealed[line_end + 1..]);
    if fingerprint != format!(" {}", blake3::hash(body).to_hex()).as_bytes() {
        return Err(Fault::Damaged);
    }
    let value: T = serde_json::from_slice(body)?;
    value
        .mismatch(window, generation)
        .map_or(Ok(value), |reason| Err(Fault::Mismatch(reason)))
}

fn header<T: Sealed>() -> String {
    format!("scalems-demo {} {VERSION}", T::KIND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restart() -> Restart {
        let state = State {
            position_nm: [0.1, -1.0 / 3.0],
            velocity_nm_per_ps: [1e-17, 2.0_f64.sqrt()],
        };
        Restart {
            window: 7,
            generation: 1,
            state,
        }
    }

    fn fault(path: &Path, window: u32, generation: u32) -> Fault {
        match read::<Restart>(path, window, generation) {
            Err(DemoError::File { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_read_is_bit_for_bit_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = restart_path(dir.path(), 7, 1);
        write(&path, &restart()).unwrap();
        assert_eq!(read::<Restart>(&path, 7, 1).unwrap(), restart());
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn every_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = restart_path(dir.path(), 7, 1);
        assert!(matches!(fault(&path, 7, 1), Fault::Unreadable(_)));
        write(&path, &restart()).unwrap();
        assert!(matches!(fault(&path, 8, 1), Fault::Mismatch(_)));
        assert!(matches!(fault(&path, 7, 2), Fault::Mismatch(_)));
        assert!(matches!(
            read::<Sampled>(&path, 7, 1),
            Err(DemoError::File {
                fault: Fault::Foreign("result"),
                ..
            })
        ));

        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            assert!(
                matches!(fault(&path, 7, 1), Fault::Foreign(_) | Fault::Damaged),
                "bit flipped at {at}"
            );
            fs::write(&path, &whole[..at]).unwrap();
            assert!(
                matches!(fault(&path, 7, 1), Fault::Foreign(_) | Fault::Damaged),
                "cut at {at}"
            );
        }
    }
}
