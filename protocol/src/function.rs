//! The data of the modes that call functions, and what is written beside their values (`docs/spec/10-functions`).

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::{bounded, is_default, limits};

/// Calls a function.
pub const FUNCTION: &str = "task.function";
/// Calls a method of an object.
pub const METHOD: &str = "task.method";
/// Evaluates an expression.
pub const EVAL: &str = "task.eval";
/// Runs statements.
pub const EXEC: &str = "task.exec";
/// All of them.
pub const MODES: [&str; 4] = [FUNCTION, METHOD, EVAL, EXEC];

/// Whether a mode that a user registers may have this name.
pub fn is_mode_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=limits::NAME_BYTES).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with("task.")
        && !name.starts_with("scalems.")
}

/// First byte of a value that is not plain msgpack.
pub const MARK: u8 = 0xc1;
/// Second byte of a value with a [`Beside`].
pub const FORM_BESIDE: u8 = 2;
/// Second byte of an exception.
pub const FORM_EXCEPTION: u8 = 3;
/// Second byte of the values of several ranks.
pub const FORM_RANKS: u8 = 4;

/// A call, as far as a worker has to know of it: what is called with what is the interpreter's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// `module:qualified.name`, imported where it runs.
    #[serde(deserialize_with = "bounded::text_if_any")]
    pub function: Option<String>,
    /// The function by content.
    pub pickle: Option<IgnoredAny>,
    /// The Python that wrote `pickle`, where only another such one can read it.
    pub written_by: Option<IgnoredAny>,
    /// Code of `task.eval` and `task.exec`.
    pub code: Option<IgnoredAny>,
    /// Arguments; not in a body.
    pub args: Option<IgnoredAny>,
    /// Arguments by name; not in a body.
    pub kwargs: Option<IgnoredAny>,
    /// For people.
    #[serde(deserialize_with = "bounded::text")]
    pub name: String,
    /// The interpreter: a path, or a name that the worker knows; empty: the worker's own.
    #[serde(deserialize_with = "bounded::text")]
    pub python: String,
    /// Variables of the interpreter.
    #[serde(deserialize_with = "bounded::map::<_, _, _, { limits::NAMES }>")]
    pub env: BTreeMap<String, String>,
    /// Directories that are looked through for modules first.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::NAMES }>")]
    pub path: Vec<String>,
    /// The directory while it runs.
    #[serde(deserialize_with = "bounded::text_if_any")]
    pub cwd: Option<String>,
    /// With ranks: how the communicator is passed.
    pub comm: Option<IgnoredAny>,
    /// The interpreter ends after so many calls; 0: the worker's number.
    pub after: u32,
}

impl Call {
    /// What is wrong with it, in a body or in the data of a task.
    pub fn complaint(&self, is_body: bool) -> Option<&'static str> {
        let forms = [
            self.function.is_some(),
            self.pickle.is_some(),
            self.code.is_some(),
        ];
        if forms.iter().filter(|form| **form).count() != 1 {
            return Some("exactly one of function, pickle and code has to be there");
        }
        if is_body && (self.args.is_some() || self.kwargs.is_some()) {
            return Some("a body has no args and no kwargs: they are the data of each task");
        }
        None
    }
}

/// One record of Python's `logging`: seconds since 1970, level, logger, message.
pub type LogRecord = (f64, String, String, String);

/// What a function wrote beside its value; what is empty is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beside {
    /// The end of what it wrote.
    #[serde(skip_serializing_if = "is_default", with = "serde_bytes")]
    pub stdout: Vec<u8>,
    /// The end of its errors.
    #[serde(skip_serializing_if = "is_default", with = "serde_bytes")]
    pub stderr: Vec<u8>,
    /// Bytes that it wrote in all.
    #[serde(skip_serializing_if = "is_default")]
    pub stdout_bytes: u64,
    /// Bytes of its errors in all.
    #[serde(skip_serializing_if = "is_default")]
    pub stderr_bytes: u64,
    /// The last records of `logging`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogRecord>,
    /// Records that are not among them.
    #[serde(skip_serializing_if = "is_default")]
    pub dropped: u64,
}

impl Beside {
    /// A value with what was written beside it, taken apart.
    pub fn split(value: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let Some(rest) = value.strip_prefix(&[MARK, FORM_BESIDE]) else {
            return Ok((Self::default(), value));
        };
        let (length, rest) = rest.split_first_chunk().ok_or("it is cut off")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (map, value) = rest.split_at_checked(length).ok_or("it is cut off")?;
        let beside = rmp_serde::from_slice(map)
            .map_err(|_| "what is beside the value is not a map as it should be")?;
        Ok((beside, value))
    }

    /// What stands before a value that has this beside it; nothing, if nothing is.
    pub fn head(&self) -> Vec<u8> {
        if is_default(self) {
            return Vec::new();
        }
        let map = rmp_serde::to_vec_named(self).expect("our own structs serialize into memory");
        let length = u32::try_from(map.len()).expect("it is bounded far below");
        let mut head = vec![MARK, FORM_BESIDE];
        head.extend(length.to_le_bytes());
        head.extend(map);
        head
    }
}

/// The values of all ranks as one, in their order: a list in msgpack if all of them are msgpack, else each in its own form.
pub fn join_ranks(values: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let values = values.iter().map(AsRef::as_ref);
    let count = u32::try_from(values.len()).expect("ranks are bounded far below");
    let total: usize = values.clone().map(|value| value.len().max(1)).sum();
    let mut whole = Vec::with_capacity(total + 8 * values.len() + 6);
    if values.clone().all(|value| value.first() != Some(&MARK)) {
        // A list of 32-bit length.
        whole.push(0xdd);
        whole.extend(count.to_be_bytes());
        for value in values {
            // Nothing stands for nil.
            whole.extend_from_slice(if value.is_empty() { &[0xc0] } else { value });
        }
        return whole;
    }
    whole.extend([MARK, FORM_RANKS]);
    whole.extend(count.to_le_bytes());
    for value in values.clone() {
        whole.extend((value.len() as u64).to_le_bytes());
    }
    for value in values {
        whole.extend_from_slice(value);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_ranks_are_a_list() {
        let plain: [&[u8]; 3] = [&[7], &[], &[0xa1, b'x']];
        let joined = join_ranks(&plain);
        let read: (u8, (), String) = rmp_serde::from_slice(&joined).unwrap();
        assert_eq!(read, (7, (), "x".to_owned()));
        let mixed: [&[u8]; 2] = [&[7], &[MARK, 1, 0, 0]];
        let mut expected = vec![
            MARK, FORM_RANKS, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7,
        ];
        expected.extend([MARK, 1, 0, 0]);
        assert_eq!(join_ranks(&mixed), expected);
    }

    #[test]
    fn a_value_has_beside_it_what_was_written() {
        let beside = Beside {
            stdout: b"hello\n".to_vec(),
            stdout_bytes: 6,
            log: vec![(1.5, "INFO".to_owned(), "root".to_owned(), "text".to_owned())],
            ..Beside::default()
        };
        let whole = [beside.head(), vec![7]].concat();
        assert_eq!(Beside::split(&whole), Ok((beside, &[7][..])));
        assert_eq!(Beside::split(&[7]), Ok((Beside::default(), &[7][..])));
        assert!(Beside::default().head().is_empty());
        for cut in 2..whole.len() - 1 {
            assert!(Beside::split(&whole[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_call_names_one_thing_to_call() {
        let read = |bytes: &[u8]| rmp_serde::from_slice::<Call>(bytes);
        // With an argument of every kind, extensions too.
        let whole = b"\x82\xa8function\xa9math:sqrt\xa4args\x93\x02\xd4\x07\x90\xc4\x01\x00";
        assert_eq!(read(whole).unwrap().complaint(false), None);
        assert!(read(whole).unwrap().complaint(true).is_some());
        assert!(read(b"\x80").unwrap().complaint(false).is_some());
        assert!(
            read(b"\x82\xa4code\xa11\xa8function\xa1a")
                .unwrap()
                .complaint(false)
                .is_some()
        );
        assert!(read(b"\x81\xa3any\x01").unwrap_err().to_string().contains("any"));
    }
}
