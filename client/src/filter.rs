//! Filters: what sees tasks of a pilot before they are scheduled, and their results before they are delivered.
//!
//! A filter is a program of its own, which a pilot starts (`scalems pilot start --filter FILE`). It implements [`Filter`] and
//! calls [`serve`]:
//!
//! ```no_run
//! use scalems_client::filter::{Fault, Filter, Filtered, Verdict, serve};
//! use scalems_client::protocol::Amount;
//!
//! /// Nobody gets more than four cores.
//! struct Modest;
//!
//! impl Filter for Modest {
//!     fn task(&mut self, task: &Filtered) -> Result<Verdict, Fault> {
//!         if task.part.template.name.as_deref() == Some("greedy") {
//!             return Err(Fault::refused("there is too little for it"));
//!         }
//!         let mut part = task.part.clone();
//!         part.template.needs.cores_per_rank = part.template.needs.cores_per_rank.min(Amount::whole(4));
//!         Ok(Verdict::one(part))
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     serve(&mut Modest)
//! }
//! ```
//!
//! After a death of whoever keeps it a filter may be asked of a task again. What ran in the task's place goes on then, in the places of
//! what it says the second time: it should say the same of the same task.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use scalems_protocol::filter::{Asked, Said, frame, read};
use scalems_protocol::limits::FILTER_FRAME_BYTES;

pub use scalems_protocol::filter::{Filtered, FilteredResult, Part, Verdict};

/// Why a filter lets a task, or its result, not pass. The task fails; others are not concerned.
#[derive(Debug)]
pub enum Fault {
    /// It is refused, for this reason.
    Refused(String),
    /// The filter itself failed.
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Fault {
    /// A refusal.
    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// What sees tasks and results.
pub trait Filter {
    /// What becomes of a task. Unless this is written it passes as it is.
    fn task(&mut self, task: &Filtered) -> Result<Verdict, Fault> {
        Ok(Verdict::one(task.part.clone()))
    }

    /// What a task's result is, made of the results of what ran in its place, in order. Unless this is written it is the only one.
    fn result(&mut self, task: &Filtered, results: Vec<FilteredResult>) -> Result<FilteredResult, Fault> {
        the_only(task, results)
    }
}

/// The only result of several; else the filter fails.
pub fn the_only(task: &Filtered, results: Vec<FilteredResult>) -> Result<FilteredResult, Fault> {
    let count = results.len();
    match <[FilteredResult; 1]>::try_from(results) {
        Ok([only]) => Ok(only),
        Err(_) => Err(Fault::Failed(
            format!(
                "{count} tasks ran in the place of task {}, and nothing says what their result is: write Filter::result",
                task.id
            )
            .into(),
        )),
    }
}

/// Answers whoever keeps the filter, until that ends. It speaks on standard input, which is a socket then; what goes to standard output
/// and error is for people.
pub fn serve(filter: &mut impl Filter) -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let software = format!("scalems-client {}", env!("CARGO_PKG_VERSION"));
    let ready = frame(0, &Said::Ready { software });
    stream.write_all(&ready).map_err(|error| {
        let what =
            "standard input is no socket: a filter is started by a pilot (scalems pilot start --filter FILE)";
        io::Error::new(error.kind(), format!("{what}: {error}"))
    })?;
    while let Some(body) = next(&mut stream)? {
        let (number, asked) = read::<Asked>(&body).map_err(io::Error::other)?;
        let said = answer(filter, asked);
        let mut bytes = frame(number, &said);
        if bytes.len() > FILTER_FRAME_BYTES {
            let message = format!(
                "the answer has {} bytes, and at most {FILTER_FRAME_BYTES} are sent",
                bytes.len()
            );
            bytes = frame(number, &failed("TooLarge", message));
        }
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// The next frame; none if nobody says anything any more.
fn next(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > FILTER_FRAME_BYTES {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes is none of ours"
        )));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

fn answer(filter: &mut impl Filter, asked: Asked) -> Said {
    let answered = catch_unwind(AssertUnwindSafe(|| match asked {
        Asked::Task(task) => filter.task(&task).map(Said::Verdict),
        Asked::Result { of, results } => filter.result(&of, results).map(Said::Result),
    }));
    match answered {
        Ok(Ok(said)) => said,
        Ok(Err(Fault::Refused(why))) => Said::Refused(why),
        Ok(Err(Fault::Failed(error))) => failed("error", error),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            failed("panic", text.unwrap_or("it does not say why"))
        }
    }
}

fn failed(class: &str, message: impl fmt::Display) -> Said {
    Said::Failed {
        class: class.to_owned(),
        message: message.to_string(),
        trace: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scalems_protocol::Ending;

    struct Plain;

    impl Filter for Plain {}

    struct Odd;

    impl Filter for Odd {
        fn task(&mut self, task: &Filtered) -> Result<Verdict, Fault> {
            match task.id.as_str() {
                "1.0" => Err(Fault::refused("not today")),
                "1.1" => Err("x".parse::<u8>().expect_err("it is no number").into()),
                _ => panic!("beyond all help"),
            }
        }
    }

    fn task(id: &str) -> Filtered {
        Filtered {
            id: id.to_owned(),
            ..Filtered::default()
        }
    }

    fn result(value: u8) -> FilteredResult {
        FilteredResult {
            ending: Ending::Done,
            value: vec![value],
            exit_code: None,
            ran_us: 1,
            error: None,
        }
    }

    #[test]
    fn what_is_not_written_lets_pass() {
        let verdict = answer(&mut Plain, Asked::Task(task("1.0")));
        assert_eq!(verdict, Said::Verdict(Verdict::one(Part::default())));
        let asked = |results| Asked::Result {
            of: task("1.0"),
            results,
        };
        assert_eq!(
            answer(&mut Plain, asked(vec![result(3)])),
            Said::Result(result(3))
        );
        assert!(matches!(
            answer(&mut Plain, asked(Vec::new())),
            Said::Failed { .. }
        ));
    }

    #[test]
    fn a_filter_refuses_fails_and_panics() {
        let ask = |id: &str| answer(&mut Odd, Asked::Task(task(id)));
        assert_eq!(ask("1.0"), Said::Refused("not today".to_owned()));
        assert!(matches!(ask("1.1"), Said::Failed { message, .. } if message.contains("invalid digit")));
        assert!(
            matches!(ask("1.2"), Said::Failed { class, message, .. } if class == "panic" && message == "beyond all help")
        );
    }
}
