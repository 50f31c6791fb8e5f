//! What tasks do, and what their results have to be: their data says it.

use bytes::Bytes;
use scalems_protocol::program;
use scalems_protocol::{Code, Ending, TaskError};

/// How a program behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It ends well.
    Well,
    /// Each attempt fails, and another may be made.
    Fails,
    /// The first attempt fails.
    FailsFirst,
    /// It fails, and would again.
    Broken,
    /// It ends well, and does not end when it is asked to.
    Stubborn,
    /// It ends well with a large value.
    Large,
}

impl Behaviour {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Well,
        Self::Fails,
        Self::FailsFirst,
        Self::Broken,
        Self::Stubborn,
        Self::Large,
    ];
}

/// The mode that the simulated programs run under.
pub const MODE: &str = program::EXECUTABLE;

/// The data of a program: how it behaves, how long, and a number of its own.
pub fn data(behaviour: Behaviour, milliseconds: u16, number: u64) -> Vec<u8> {
    let at = Behaviour::ALL
        .iter()
        .position(|other| *other == behaviour)
        .expect("all are listed");
    let mut data = vec![at as u8, 0];
    data.extend(milliseconds.to_le_bytes());
    data.extend(number.to_le_bytes());
    data
}

/// Reads what [`data`] wrote.
pub fn read(data: &[u8]) -> Option<(Behaviour, u64)> {
    let behaviour = *Behaviour::ALL.get(usize::from(*data.first()?))?;
    let milliseconds = u16::from_le_bytes(data.get(2..4)?.try_into().ok()?);
    Some((behaviour, u64::from(milliseconds)))
}

/// How an attempt at a program ends when it is left alone.
pub fn outcome(data: &Bytes, attempt: u32) -> (Ending, Bytes, Option<TaskError>) {
    let fails = |error| (Ending::Failed, Bytes::new(), Some(error));
    match read(data).map(|(behaviour, _)| behaviour) {
        Some(Behaviour::Fails) => fails(TaskError::retryable(Code::ExitCode, "it ended with exit code 1")),
        Some(Behaviour::FailsFirst) if attempt == 1 => {
            fails(TaskError::retryable(Code::Signal, "it was ended by signal 11"))
        }
        Some(Behaviour::Broken) | None => fails(TaskError::new(Code::NotStarted, "there is no such program")),
        Some(_) => (Ending::Done, value(MODE, data, attempt), None),
    }
}

/// What an attempt that ends well has to bring.
pub fn value(mode: &str, data: &Bytes, attempt: u32) -> Bytes {
    match mode {
        program::ECHO => data.clone(),
        MODE => {
            let mut value = data.to_vec();
            value.extend(attempt.to_le_bytes());
            if read(data).is_some_and(|(behaviour, _)| behaviour == Behaviour::Large) {
                value.resize(40_000, data.last().copied().unwrap_or(0));
            }
            value.into()
        }
        _ => Bytes::new(),
    }
}
