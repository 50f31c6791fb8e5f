//! What a process logs of what it says, as one text: `info`, or `warn,scalems_agent::bus=debug`.
//!
//! The grammar is a part of what `SCALEMS_LOG` takes when a process starts: no expressions that cost more the longer
//! they are, since the text comes over the wire.

use crate::limits;

/// The levels, from the fewest lines to the most.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Fails, saying why, unless `text` is a list of `LEVEL` and `TARGET=LEVEL`, apart by commas. A target is the name of a
/// module, of all below it too.
pub fn check(text: &str) -> Result<(), String> {
    if text.len() > limits::LOG_LEVELS {
        let most = limits::LOG_LEVELS;
        return Err(format!(
            "levels of a log have at most {most} bytes, not {}",
            text.len()
        ));
    }
    for part in text.split(',') {
        let (target, level) = part
            .split_once('=')
            .map_or((None, part), |(target, level)| (Some(target), level));
        if !LEVELS.contains(&level) {
            return Err(format!(
                "{level:?} is no level of a log: write {}, as in warn,scalems_agent::bus=debug",
                LEVELS.join(", ")
            ));
        }
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if target.is_some_and(|target| target.is_empty() || !target.chars().all(name)) {
            return Err(format!(
                "{part:?} names no target of a log: a target is the name of a module, such as scalems_agent::worker"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_all_or_of_a_target() {
        for text in [
            "info",
            "off",
            "warn,scalems_agent::bus=debug",
            "scalems_agent=trace,error",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for (text, why) in [
            ("", "\"\" is no level"),
            ("loud", "\"loud\" is no level"),
            ("info,", "\"\" is no level"),
            ("=info", "names no target"),
            ("a[b{c=\"d\"}]=info", "is no level"),
            ("a-b=info", "names no target"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(check(&"x".repeat(limits::LOG_LEVELS + 1)).is_err());
    }
}
