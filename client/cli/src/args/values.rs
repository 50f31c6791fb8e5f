//! How values of options are written.

use scalems_agent::worker::{Part, Python, Warm};
pub(super) use scalems_client::units::bytes;
pub(crate) use scalems_client::units::duration;
use scalems_protocol::select::Selector;
use scalems_protocol::task::{CORES, GPUS, MEMORY};
use scalems_protocol::{Amount, limits};

pub(super) fn selector(text: &str) -> Result<Selector, String> {
    text.parse()
        .map_err(|refusal: scalems_protocol::Refusal| refusal.message)
}

/// `licence=3`: a name and an amount.
pub(super) fn resource(text: &str) -> Result<(String, Amount), String> {
    let wrong = || format!("{text:?} is no resource: write NAME=AMOUNT, such as licence=3 or fpga=0.25");
    let (name, amount) = text.split_once('=').ok_or_else(wrong)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if name.is_empty() || name.len() > limits::KEY_BYTES || !name.chars().all(plain) {
        return Err(format!(
            "{name:?} is no name of a resource: up to {} letters, digits, -, _, . and /",
            limits::KEY_BYTES
        ));
    }
    if [CORES, GPUS, MEMORY].contains(&name) {
        return Err(format!("{name} has an option of its own: --{name}"));
    }
    let amount = amount
        .parse()
        .ok()
        .filter(|amount: &Amount| !amount.is_zero())
        .ok_or_else(wrong)?;
    Ok((name.to_owned(), amount))
}

/// `1/2`: the first of two.
pub(super) fn part(text: &str) -> Result<Part, String> {
    let read = || {
        let (number, of) = text.split_once('/')?;
        let (number, of): (u32, u32) = (number.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&number).then(|| Part {
            number: number - 1,
            of,
        })
    };
    read().ok_or_else(|| format!("{text:?} is no part: write 1/2"))
}

/// Bytes of all log files of a worker.
pub(super) fn log_bytes(text: &str) -> Result<u64, String> {
    let bytes = bytes(text).map_err(|error| error.to_string())?;
    if bytes < limits::LEAST_LOG_WORKER_BYTES {
        return Err(format!(
            "{text} is too little: log files have a MiB each and there are at least four, so write 4M or more"
        ));
    }
    Ok(bytes)
}

/// The name of a Python module, as an `import` has it.
pub(super) fn module(text: &str) -> Result<String, String> {
    let is_name = |part: &str| {
        let mut letters = part.chars();
        letters
            .next()
            .is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    if text.split('.').all(is_name) {
        Ok(text.to_owned())
    } else {
        Err(
            "give a module's name as an import has it, such as lab.modes; PYTHONPATH says where it is"
                .to_owned(),
        )
    }
}

/// `[NAME=]PATH` of a Python. A path is whole from here on; a program without a directory is looked up where it runs.
pub(super) fn python(text: &str) -> Result<Python, String> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !name.contains('/') => (Some(name), path),
        _ => (None, text),
    };
    if path.is_empty() || name == Some("") {
        return Err("give a path, or a name and a path: NAME=PATH".to_owned());
    }
    let path = if path.contains('/') {
        std::path::absolute(path).map_err(|problem| problem.to_string())?
    } else {
        path.into()
    };
    Ok(Python {
        name: name.map(str::to_owned),
        path,
    })
}

/// `PATH[:DIR…]` of an interpreter.
pub(super) fn warm(text: &str) -> Result<Warm, String> {
    let mut parts = text.split(':').map(str::to_owned);
    let python = parts.next().filter(|python| !python.is_empty());
    Ok(Warm {
        python: python.ok_or("give the path of a Python")?,
        path: parts.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_a_name_and_an_amount() {
        assert_eq!(
            resource("licence=3"),
            Ok(("licence".to_owned(), Amount::whole(3)))
        );
        assert_eq!(
            resource("fpga/a=0.25"),
            Ok(("fpga/a".to_owned(), Amount::from_parts(2_500)))
        );
        for bad in [
            "",
            "x",
            "=1",
            "x=",
            "x=0",
            "x=-1",
            "x=0.00001",
            "a b=1",
            "cores=2",
            "memory=9",
        ] {
            assert!(resource(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(part("2/3"), Ok(Part { number: 1, of: 3 }));
        for bad in ["", "1", "0/2", "3/2", "1/0", "a/b"] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }
}
