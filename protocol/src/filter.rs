//! Filters: the tasks that the agent makes of those that one sees, and what a filter's program and who keeps it say to each
//! other (`docs/spec/11-filters`).

use serde::{Deserialize, Serialize};

use crate::task::{Needs, Policy, Template};
use crate::{Amount, Code, Ending, Refusal, TaskError, bounded, is_default, limits};

/// What the name of a filter's mode, and of its session, begins with.
pub const PREFIX: &str = "filter.";
/// The resource of which a task takes one while a filter has it.
pub const SEATS: &str = "filter";
/// The label of tasks that a filter submits: its name.
pub const OWN: &str = "filter";
/// The label of tasks that a filter submits: the task that they are made of.
pub const LABEL: &str = "filtered";

/// Which tasks a filter sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Of these modes; empty: of all but those that are built in (`scalems.`).
    pub modes: Vec<String>,
    /// With this label; none: whatever labels they have.
    pub label: Option<(String, String)>,
}

impl Rule {
    /// The mode of what the filter has, and the name of its session.
    pub fn mode(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Whether the filter sees tasks of a template.
    pub fn sees(&self, template: &Template) -> bool {
        let mode = &template.mode;
        let of_mode = if self.modes.is_empty() {
            !mode.starts_with("scalems.") && !mode.starts_with(PREFIX)
        } else {
            self.modes.contains(mode)
        };
        let label = self.label.as_ref();
        of_mode && label.is_none_or(|(key, value)| template.labels.get(key) == Some(value))
    }

    /// What the tasks of a template are until the filter has ended them: it holds them, and what they would need is taken by what it
    /// submits in their place.
    pub fn held(&self, mut template: Template) -> Result<Template, Refusal> {
        let policy = &template.policy;
        let held = Template {
            mode: self.mode(),
            needs: Needs {
                cores_per_rank: Amount::ZERO,
                named: [(SEATS.to_owned(), Amount::whole(1))].into(),
                ..Needs::default()
            },
            policy: Policy {
                priority: policy.priority,
                crash_limit: policy.crash_limit,
                deadline_ms: policy.deadline_ms,
                // It hears of the end of what it has asked to end in this time.
                grace_ms: policy.grace_ms.saturating_add(limits::FILTER_GRACE_MS),
                ..Policy::default()
            },
            after: std::mem::take(&mut template.after),
            uid: template.uid.take(),
            name: template.name.clone(),
            labels: template.labels.clone(),
            max_failures: template.max_failures.take(),
            meta: template.meta.clone(),
            body: Vec::new(),
        };
        template.policy.deadline_ms = 0;
        let body = rmp_serde::to_vec_named(&template).expect("our own structs serialize into memory");
        if body.len() > limits::BODY_BYTES {
            let message = format!(
                "filter {} sees this task, whose template then has at most {} bytes, and it has {}",
                self.name,
                limits::BODY_BYTES,
                body.len()
            );
            return Err(Refusal::new(Code::TooLarge, message));
        }
        let own = [OWN, LABEL]
            .iter()
            .filter(|label| !template.labels.contains_key(**label));
        if template.labels.len() + own.count() > limits::LABELS {
            let message = format!(
                "filter {} sees this task, and needs two labels for itself: use at most {}",
                self.name,
                limits::LABELS - 2
            );
            return Err(Refusal::new(Code::TooLarge, message));
        }
        Ok(Template { body, ..held })
    }
}

/// Whether a filter may have this name.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// A task that a filter submits, or is asked about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Part {
    /// All but its data.
    pub template: Template,
    /// Its data, as its mode takes it.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// A task that a filter is asked about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filtered {
    /// The task as people name it.
    pub id: String,
    /// Its index in its submission.
    pub index: u32,
    /// What it is, without what it was to run after, which has ended.
    pub part: Part,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilteredResult {
    /// How.
    pub ending: Ending,
    /// Its value, as its mode gives it.
    #[serde(default, with = "serde_bytes")]
    pub value: Vec<u8>,
    /// The exit code, for programs that ended by themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exit_code: Option<i32>,
    /// How long it ran, microseconds.
    #[serde(default)]
    pub ran_us: u64,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "is_default")]
    pub error: Option<TaskError>,
}

/// What a filter makes of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verdict {
    /// What runs in its place; its result is made of theirs.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::FILTER_PARTS }>")]
    pub tasks: Vec<Part>,
    /// What runs besides, and is nobody's result.
    #[serde(deserialize_with = "bounded::list::<_, _, { limits::FILTER_PARTS }>")]
    pub also: Vec<Part>,
    /// Why it does not run at all.
    pub refuse: Option<String>,
}

impl Verdict {
    /// One task runs.
    pub fn one(part: Part) -> Self {
        Self {
            tasks: vec![part],
            ..Self::default()
        }
    }
}

/// What a filter's program is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// What becomes of a task.
    Task(Filtered),
    /// What its result is, when those that ran in its place have ended.
    Result {
        /// The task.
        of: Filtered,
        /// In the order of [`Verdict::tasks`].
        results: Vec<FilteredResult>,
    },
}

/// What a filter's program says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// First, with the number 0.
    Ready {
        /// Software and version, for people.
        software: String,
    },
    /// What becomes of a task.
    Verdict(Verdict),
    /// What its result is.
    Result(FilteredResult),
    /// The task is refused, or its result is.
    Refused(String),
    /// The filter cannot say.
    Failed {
        /// The class of its error.
        class: String,
        /// What it says.
        message: String,
        /// Where, as its language tells.
        #[serde(default)]
        trace: String,
    },
}

/// A frame: the length of what follows, little-endian, and a list of a number and what is asked or said.
pub fn frame<T: Serialize>(number: u64, what: &T) -> Vec<u8> {
    let body = rmp_serde::to_vec_named(&(number, what)).expect("our own structs serialize into memory");
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &body].concat()
}

/// What is in a frame, without its length.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<(u64, T), rmp_serde::decode::Error> {
    rmp_serde::from_slice(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(modes: &[&str], label: Option<(&str, &str)>) -> Rule {
        Rule {
            name: "check".to_owned(),
            modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
            label: label.map(|(key, value)| (key.to_owned(), value.to_owned())),
        }
    }

    fn task(mode: &str) -> Template {
        Template {
            mode: mode.to_owned(),
            labels: [("project".to_owned(), "fold".to_owned())].into(),
            ..Template::default()
        }
    }

    #[test]
    fn a_filter_sees_what_its_rule_says() {
        for (rule, mode, sees) in [
            (rule(&[], None), "task.shell", true),
            (rule(&[], None), "scalems.noop", false),
            (rule(&[], None), "filter.other", false),
            (rule(&["scalems.echo"], None), "scalems.echo", true),
            (rule(&["task.shell"], None), "task.function", false),
            (rule(&[], Some(("project", "fold"))), "task.shell", true),
            (rule(&[], Some(("project", "dock"))), "task.shell", false),
            (rule(&[], Some(("other", "fold"))), "task.shell", false),
        ] {
            assert_eq!(rule.sees(&task(mode)), sees, "{rule:?} {mode}");
        }
    }

    #[test]
    fn what_is_held_needs_a_seat_and_has_the_rest_in_its_body() {
        let template = Template {
            uid: Some("mine".to_owned()),
            max_failures: Some(3),
            needs: Needs::cores(16),
            policy: Policy {
                deadline_ms: 5_000,
                retries: 2,
                ..Policy::default()
            },
            ..task("task.shell")
        };
        let held = rule(&[], None).held(template.clone()).unwrap();
        assert_eq!((held.mode.as_str(), held.check()), ("filter.check", Ok(())));
        let totals: Vec<_> = held.needs.totals().collect();
        assert_eq!(totals, [(SEATS, Amount::whole(1))]);
        assert_eq!((held.policy.deadline_ms, held.policy.retries), (5_000, 0));
        assert_eq!((held.uid.as_deref(), held.max_failures), (Some("mine"), Some(3)));
        let inner: Template = rmp_serde::from_slice(&held.body).unwrap();
        let policy = Policy {
            deadline_ms: 0,
            ..template.policy
        };
        let expected = Template {
            uid: None,
            max_failures: None,
            policy,
            ..template
        };
        assert_eq!(inner, expected);
    }

    #[test]
    fn what_has_no_room_in_a_body_is_refused() {
        let large = Template {
            body: vec![0; limits::BODY_BYTES],
            ..task("task.function")
        };
        assert_eq!(rule(&[], None).held(large).unwrap_err().code, Code::TooLarge);
        let labels = (0..limits::LABELS)
            .map(|n| (n.to_string(), String::new()))
            .collect();
        let labelled = Template {
            labels,
            ..task("task.shell")
        };
        assert_eq!(rule(&[], None).held(labelled).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn frames_read_as_they_were_written() {
        let asked = Asked::Task(Filtered {
            id: "5.7".to_owned(),
            index: 7,
            part: Part {
                template: task("task.shell"),
                data: vec![1, 2],
            },
        });
        let bytes = frame(3, &asked);
        let (length, body) = bytes.split_first_chunk().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, body.len());
        assert_eq!(read::<Asked>(body).unwrap(), (3, asked));
        let said = Said::Verdict(Verdict::default());
        assert_eq!(read::<Said>(&frame(4, &said)[4..]).unwrap(), (4, said));
    }
}
