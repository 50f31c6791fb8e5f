//! Selectors: what an operation is about (R9; `docs/spec/2-client`, section "Selectors").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Refusal};
use crate::state::TaskState;
use crate::{bounded, is_default, limits};

/// Which tasks: those that match every part that is given. An empty selector selects nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selector {
    /// Everything that the pilot knows.
    #[serde(skip_serializing_if = "is_default")]
    pub all: bool,
    /// The session's latest submission.
    #[serde(skip_serializing_if = "is_default")]
    pub last: bool,
    /// Submissions, or some of their tasks.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, { limits::BATCH_TASKS }>"
    )]
    pub picks: Vec<Pick>,
    /// Submissions with this label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<(String, String)>,
    /// Submissions with this name; `*` stands for any characters.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::text_if_any"
    )]
    pub name: Option<String>,
    /// Tasks in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TaskState>,
}

/// Submissions `first`, `first + step`, … `last`, or some tasks of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// The first submission.
    pub first: u64,
    /// The last submission.
    pub last: u64,
    /// From one submission to the next.
    pub step: u64,
    /// Only tasks with these indices: first, last, step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indices: Option<(u32, u32, u32)>,
}

impl Selector {
    /// One whole submission.
    pub fn submission(number: u64) -> Self {
        let pick = Pick {
            first: number,
            last: number,
            step: 1,
            indices: None,
        };
        Self {
            picks: vec![pick],
            ..Self::default()
        }
    }

    /// One task.
    pub fn task(submission: u64, index: u32) -> Self {
        let pick = Pick {
            first: submission,
            last: submission,
            step: 1,
            indices: Some((index, index, 1)),
        };
        Self {
            picks: vec![pick],
            ..Self::default()
        }
    }

    /// Every task that the pilot knows.
    pub fn all() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Whether it names submissions, and not some of their tasks.
    pub fn is_of_submissions(&self) -> bool {
        self.state.is_none() && self.picks.iter().all(|pick| pick.indices.is_none())
    }

    /// Refuses ranges that go nowhere.
    pub fn check(&self) -> Result<(), Refusal> {
        match self.picks.iter().find(|pick| !pick.is_sound()) {
            None => Ok(()),
            Some(pick) => {
                let message = format!(
                    "the range {pick} of a selector is none: ranges go from the smaller number to the larger, with \
                     steps of at least 1"
                );
                Err(Refusal::new(Code::WrongSelector, message))
            }
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        !self.all
            && !self.last
            && self.picks.is_empty()
            && self.label.is_none()
            && self.name.is_none()
            && self.state.is_none()
    }
}

impl Pick {
    /// Whether its ranges go upwards.
    fn is_sound(&self) -> bool {
        let sound = |first: u64, last: u64, step: u64| first <= last && step > 0;
        sound(self.first, self.last, self.step)
            && self
                .indices
                .is_none_or(|(first, last, step)| sound(first.into(), last.into(), step.into()))
    }

    /// Whether submission `number` is among those picked.
    pub const fn has(&self, number: u64) -> bool {
        number >= self.first && number <= self.last && (number - self.first).is_multiple_of(self.step)
    }
}

impl fmt::Display for Selector {
    /// As [`str::parse`] reads it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            self.all.then(|| "all".to_owned()),
            self.last.then(|| "last".to_owned()),
            self.label
                .as_ref()
                .map(|(key, value)| format!("label:{key}={value}")),
            self.name.as_ref().map(|name| format!("name:{name}")),
            self.state.map(|state| format!("state:{}", state.name())),
        ];
        let picks = self.picks.iter().map(Pick::to_string);
        let parts: Vec<String> = words.into_iter().flatten().chain(picks).collect();
        out.write_str(&parts.join(","))
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any characters.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl FromStr for Selector {
    type Err = Refusal;

    /// Reads `5`, `5.7`, `5.0-9`, `1-100`, `2-10:2`, `1,3,5-8`, `all`, `last`, `name:PATTERN`, `label:K=V`,
    /// `state:failed`; words separated by blanks or commas all have to hold, numbers add up.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let wrong = |part: &str, why: &str| {
            let message = format!(
                "cannot read {part:?} in selector {text:?}: {why}; examples: 5, 5.7, 1-100, 2-10:2, 1,3,5-8, all, \
                 last, name:dock*, label:project=a, state:failed"
            );
            Err(Refusal::new(Code::WrongSelector, message))
        };
        let mut selector = Self::default();
        for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
            if part == "all" {
                selector.all = true;
            } else if part == "last" {
                selector.last = true;
            } else if let Some(name) = part.strip_prefix("name:") {
                selector.name = Some(name.to_owned());
            } else if let Some(label) = part.strip_prefix("label:") {
                let Some((key, value)) = label.split_once('=') else {
                    return wrong(part, "a label is written label:KEY=VALUE");
                };
                selector.label = Some((key.to_owned(), value.to_owned()));
            } else if let Some(state) = part.strip_prefix("state:") {
                let Some(state) = TaskState::from_name(state) else {
                    return wrong(
                        part,
                        "states are waiting, ready, leased, running, done, failed, canceled",
                    );
                };
                selector.state = Some(state);
            } else if let Some(pick) = read_pick(part) {
                selector.picks.push(pick);
            } else {
                return wrong(part, "not a number, a range or a known word");
            }
            if selector.picks.len() > limits::BATCH_TASKS {
                return wrong("the selector", "more than 1,024 parts");
            }
        }
        if selector.is_empty() {
            return wrong("", "it is empty");
        }
        Ok(selector)
    }
}

fn read_pick(part: &str) -> Option<Pick> {
    if let Some((submission, indices)) = part.split_once('.') {
        let number = number(submission)?;
        let (first, last, step) = read_range(indices)?;
        let indices = Some((
            first.try_into().ok()?,
            last.try_into().ok()?,
            step.try_into().ok()?,
        ));
        return Some(Pick {
            first: number,
            last: number,
            step: 1,
            indices,
        });
    }
    let (first, last, step) = read_range(part)?;
    Some(Pick {
        first,
        last,
        step,
        indices: None,
    })
}

/// Reads `A`, `A-B` or `A-B:STEP`.
pub fn read_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, step) = text
        .split_once(':')
        .map_or((text, Some(1)), |(range, step)| (range, number(step)));
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None if text.contains(':') => return None,
        None => (number(range)?, number(range)?),
    };
    step.filter(|step| *step > 0 && first <= last)
        .map(|step| (first, last, step))
}

fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

impl fmt::Display for Pick {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.first)?;
        if self.last != self.first {
            write!(out, "-{}", self.last)?;
        }
        if self.step != 1 {
            write!(out, ":{}", self.step)?;
        }
        match self.indices {
            None => Ok(()),
            Some((first, last, _)) if first == last => write!(out, ".{first}"),
            Some((first, last, 1)) => write!(out, ".{first}-{last}"),
            Some((first, last, step)) => write!(out, ".{first}-{last}:{step}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_the_design_writes_them() {
        let picks = |text: &str| text.parse::<Selector>().unwrap().picks;
        assert_eq!(
            picks("5"),
            [Pick {
                first: 5,
                last: 5,
                step: 1,
                indices: None
            }]
        );
        assert_eq!(
            picks("5.7"),
            [Pick {
                first: 5,
                last: 5,
                step: 1,
                indices: Some((7, 7, 1))
            }]
        );
        assert_eq!(
            picks("2-10:2"),
            [Pick {
                first: 2,
                last: 10,
                step: 2,
                indices: None
            }]
        );
        assert_eq!(picks("1,3,5-8").len(), 3);
        assert!("all".parse::<Selector>().unwrap().all);
        assert_eq!(
            "state:failed".parse::<Selector>().unwrap().state,
            Some(TaskState::Failed)
        );
        let label = "label:a=b".parse::<Selector>().unwrap().label;
        assert_eq!(label, Some(("a".into(), "b".into())));
    }

    #[test]
    fn what_a_selector_shows_reads_as_the_same() {
        for text in [
            "5",
            "5.7",
            "1-9:2,5.0-8:4",
            "all",
            "last",
            "label:a=b,name:dock*,state:failed,3",
        ] {
            let selector = text.parse::<Selector>().unwrap();
            assert_eq!(selector.to_string(), text);
            assert_eq!(selector.check(), Ok(()));
        }
    }

    #[test]
    fn wrong_selectors_say_what_is_wrong() {
        for bad in [
            "",
            " ",
            "x",
            "5-1",
            "1:2",
            "5-9:0",
            "-1",
            "5.",
            "state:odd",
            "label:x",
            "99999999999999999999",
        ] {
            let error = bad.parse::<Selector>().unwrap_err();
            assert_eq!(error.code, Code::WrongSelector, "{bad}");
            assert!(error.message.contains("examples"), "{error}");
        }
    }

    #[test]
    fn names_match_with_stars() {
        assert!(name_matches("dock*", "dock-1"));
        assert!(name_matches("*", ""));
        assert!(name_matches("a*b*c", "a-b-b-c"));
        assert!(!name_matches("a*b", "a-c"));
        assert!(!name_matches("dock", "dock-1"));
    }
}
