//! `%{NAME}` in what a task says about its program.

use scalems_core::leaseholder::TaskLease;

/// What placeholders stand for in one attempt.
#[derive(Debug)]
pub(super) struct Values {
    task: String,
    submission: String,
    index: String,
    attempt: String,
    /// The directory that the program runs in, once it is known.
    pub(super) cwd: Option<String>,
}

/// A placeholder that nothing fills.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} has the placeholder {name:?}, which nothing fills here: there are %{{INDEX}}, %{{TASK}}, \
     %{{SUBMISSION}}, %{{ATTEMPT}} and, but for the directory itself, %{{CWD}}; %%{{ stands for %{{ as it is"
)]
pub(super) struct Unfilled {
    text: String,
    name: String,
}

impl Values {
    pub(super) fn new(lease: &TaskLease) -> Self {
        Self {
            task: lease.task.to_string(),
            submission: lease.task.submission.to_string(),
            index: lease.task.index.to_string(),
            attempt: lease.attempt.to_string(),
            cwd: None,
        }
    }

    fn of(&self, name: &str) -> Option<&str> {
        match name {
            "INDEX" => Some(&self.index),
            "TASK" => Some(&self.task),
            "SUBMISSION" => Some(&self.submission),
            "ATTEMPT" => Some(&self.attempt),
            "CWD" => self.cwd.as_deref(),
            _ => None,
        }
    }

    /// `text` with its placeholders filled.
    pub(super) fn fill(&self, text: &str) -> Result<String, Unfilled> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            if let Some(after) = from.strip_prefix("%%{") {
                filled.push_str("%{");
                rest = after;
            } else if let Some(after) = from.strip_prefix("%{") {
                let found = after
                    .split_once('}')
                    .and_then(|(name, after)| Some((self.of(name)?, after)));
                let (value, after) = found.ok_or_else(|| Unfilled {
                    text: text.to_owned(),
                    name: format!("%{{{}", after.split_inclusive('}').next().unwrap_or_default()),
                })?;
                filled.push_str(value);
                rest = after;
            } else {
                filled.push('%');
                rest = &from[1..];
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values {
            task: "5.7".into(),
            submission: "5".into(),
            index: "7".into(),
            attempt: "2".into(),
            cwd: None,
        }
    }

    #[test]
    fn placeholders_are_filled_and_escapes_taken_off() {
        for (text, filled) in [
            ("", ""),
            ("ligand-%{INDEX}.pdb", "ligand-7.pdb"),
            ("%{TASK}/%{SUBMISSION}.%{ATTEMPT}%", "5.7/5.2%"),
            ("%%{INDEX} %%%{INDEX} 100%% %d", "%{INDEX} %%{INDEX} 100%% %d"),
            ("é%{INDEX}é", "é7é"),
        ] {
            assert_eq!(values().fill(text).as_deref(), Ok(filled), "{text}");
        }
    }

    #[test]
    fn what_nothing_fills_is_an_error_that_names_it() {
        for (text, name) in [
            ("a%{index}b", "%{index}"),
            ("%{", "%{"),
            ("%{INDEX", "%{INDEX"),
            ("%{CWD}", "%{CWD}"),
        ] {
            let (text, name) = (text.to_owned(), name.to_owned());
            assert_eq!(values().fill(&text), Err(Unfilled { text, name }));
        }
        let known = Values {
            cwd: Some("/d".into()),
            ..values()
        };
        assert_eq!(known.fill("%{CWD}/x").as_deref(), Ok("/d/x"));
    }
}
