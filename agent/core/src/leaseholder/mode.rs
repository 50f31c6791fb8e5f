//! The modes that are built into every worker: they need no process, and take no time of their own.

use scalems_protocol::program;
use scalems_protocol::worker::ModeOffer;
use scalems_protocol::{Code, TaskError, limits};

use super::interface::Settings;
use crate::interface::Micros;

/// Bytes of an error's trace: a long one of Python has 16 KiB.
const TRACE_BYTES: usize = 64 << 10;
/// So many programs wait behind one, at most.
const LINE: u64 = 8;
/// Bytes of data that does not fit its mode that are shown.
const SHOWN: usize = 128;

/// Who runs a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Ends at once without a value.
    Noop,
    /// Ends at once with its data.
    Echo,
    /// Ends badly at once, with its data as message.
    Fail,
    /// Ends after the seconds that its data says.
    Sleep,
    /// The shell runs it.
    Shell,
    /// An interpreter of the shell calls it.
    Function,
    /// Nobody here does.
    Unknown,
}

impl Mode {
    pub(super) fn of(name: &str, settings: &Settings) -> Self {
        match name {
            program::NOOP => Self::Noop,
            program::ECHO => Self::Echo,
            program::FAIL => Self::Fail,
            program::SLEEP => Self::Sleep,
            _ if !settings.modes.iter().any(|mode| mode == name) => Self::Unknown,
            program::EXECUTABLE | program::PROC | program::SHELL => Self::Shell,
            // Those that users have registered too.
            _ => Self::Function,
        }
    }

    /// How many of its tasks may wait in the shell behind one that runs.
    pub(super) const fn line(self) -> u64 {
        match self {
            Self::Shell => LINE,
            Self::Function => limits::CALLS_AHEAD,
            _ => 0,
        }
    }

    /// How many of them join a line together: of what takes microseconds, looking for the line would take more.
    pub(super) const fn together(self) -> usize {
        match self {
            Self::Function => 32,
            _ => 1,
        }
    }

    /// Whether its tasks end as soon as they come, and so take no room.
    pub(super) const fn is_immediate(self) -> bool {
        matches!(self, Self::Noop | Self::Echo | Self::Fail | Self::Unknown)
    }
}

/// The modes that the worker says it serves.
pub(super) fn offer(settings: &Settings) -> Vec<ModeOffer> {
    let built_in = [
        (program::NOOP, true),
        (program::ECHO, true),
        (program::FAIL, true),
        (program::SLEEP, false),
    ];
    built_in
        .into_iter()
        .map(|(name, instant)| ModeOffer {
            name: name.to_owned(),
            instant,
        })
        .chain(settings.modes.iter().map(|name| ModeOffer {
            name: name.clone(),
            instant: false,
        }))
        .collect()
}

/// What a mode that nobody here serves ends its tasks with.
pub(super) fn unknown(name: &str) -> TaskError {
    let message =
        format!("this worker does not serve mode {name:?}; submit it to a pilot with one that does");
    TaskError::new(Code::UnknownMode, message)
}

/// What `scalems.fail` ends with. Another attempt may be made, so that retries can be tried out with it.
pub(super) fn failure(data: &[u8]) -> TaskError {
    let text = match value(data) {
        Some(Value::Text(text)) => text.to_owned(),
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    let message = if text.is_empty() {
        "this task fails by design".to_owned()
    } else {
        text
    };
    TaskError::retryable(Code::TaskFailed, message)
}

/// The time that `scalems.sleep` is asked to take: a msgpack number of seconds, or text that is one. What
/// is one msgpack value is read as such, so of text without quotes a single digit is the exception.
pub(super) fn sleep_time(data: &[u8]) -> Result<Micros, TaskError> {
    const YEAR_S: f64 = 366.0 * 86_400.0;
    let seconds = match value(data) {
        Some(Value::Number(seconds)) => Some(seconds),
        Some(Value::Text(text)) => text.trim().parse().ok(),
        None => std::str::from_utf8(data)
            .ok()
            .and_then(|text| text.trim().parse().ok()),
    };
    match seconds {
        Some(seconds) if (0.0..=YEAR_S).contains(&seconds) => Ok((seconds * 1e6) as Micros),
        _ => {
            let shown = String::from_utf8_lossy(data.get(..SHOWN).unwrap_or(data));
            let message = format!("scalems.sleep takes a number of seconds, at most a year, not {shown:?}");
            Err(TaskError::new(Code::WrongData, message))
        }
    }
}

/// Cuts the texts of an error to what a report has room for.
pub(super) fn shortened_error(mut error: TaskError) -> TaskError {
    let cut = |text: &mut String, bytes| text.truncate(text.floor_char_boundary(bytes));
    cut(&mut error.message, limits::STRING_BYTES);
    error
        .class
        .iter_mut()
        .for_each(|class| cut(class, limits::NAME_BYTES));
    error.trace.iter_mut().for_each(|trace| cut(trace, TRACE_BYTES));
    error
}

enum Value<'a> {
    Number(f64),
    Text(&'a str),
}

/// The msgpack number or string that `data` is, if it is exactly one.
fn value(data: &[u8]) -> Option<Value<'_>> {
    let (marker, rest) = data.split_first()?;
    let whole = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) as f64;
    let text = |rest| std::str::from_utf8(rest).ok().map(Value::Text);
    let number = match (marker, rest.len()) {
        (0x00..=0x7f, 0) => f64::from(*marker),
        (0xe0..=0xff, 0) => f64::from(*marker as i8),
        (0xcc, 1) | (0xcd, 2) | (0xce, 4) | (0xcf, 8) => whole(rest),
        (0xd0, 1) => f64::from(i8::from_be_bytes(rest.try_into().ok()?)),
        (0xd1, 2) => f64::from(i16::from_be_bytes(rest.try_into().ok()?)),
        (0xd2, 4) => f64::from(i32::from_be_bytes(rest.try_into().ok()?)),
        (0xd3, 8) => i64::from_be_bytes(rest.try_into().ok()?) as f64,
        (0xca, 4) => f64::from(f32::from_be_bytes(rest.try_into().ok()?)),
        (0xcb, 8) => f64::from_be_bytes(rest.try_into().ok()?),
        (0xa0..=0xbf, length) if usize::from(marker & 0x1f) == length => return text(rest),
        (0xd9, _)
            if rest
                .first()
                .is_some_and(|length| usize::from(*length) == rest.len() - 1) =>
        {
            return text(&rest[1..]);
        }
        (0xda, 2..) if usize::from(rest[0]) << 8 | usize::from(rest[1]) == rest.len() - 2 => {
            return text(&rest[2..]);
        }
        _ => return None,
    };
    Some(Value::Number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_numbers_or_text() {
        for (data, micros) in [
            (&b"0.25"[..], 250_000),
            (b" 12 ", 12_000_000),
            (b"\x05", 5_000_000),
            (b"\xcb\x3f\xe0\0\0\0\0\0\0", 500_000),
            (b"\xca\x3f\0\0\0", 500_000),
            (b"\xcd\x01\x00", 256_000_000),
            (b"\xa31.5", 1_500_000),
            (b"\xd9\x010", 0),
            (b"\xda\x00\x017", 7_000_000),
            (b"\xd3\0\0\0\0\0\0\0\x01", 1_000_000),
        ] {
            assert_eq!(sleep_time(data), Ok(micros), "{data:?}");
        }
        for wrong in [
            &b""[..],
            b"soon",
            b"\xff",
            b"-1",
            b"nan",
            b"inf",
            b"1e30",
            b"\xa31",
            b"\xc0",
            b"\xd0\x80",
        ] {
            assert_eq!(
                sleep_time(wrong).map_err(|error| error.code),
                Err(Code::WrongData),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_failure_has_its_data_as_message() {
        assert_eq!(failure(b"boom").message, "boom");
        assert_eq!(failure(b"\xa4boom").message, "boom");
        assert_eq!(failure(b"").message, "this task fails by design");
        assert_eq!(
            failure("é".repeat(4_000).as_bytes()).message.len(),
            limits::STRING_BYTES
        );
    }
}
