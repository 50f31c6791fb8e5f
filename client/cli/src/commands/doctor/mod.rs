//! `scalems doctor`: whether this machine and this user's pilots are as scalems needs them, and what to do where not.

mod machine;
mod pilots;
mod storage;

use std::fmt::Write as _;

use serde::Serialize;

use crate::Context;
use crate::args::Output;
use crate::exit::Exit;
use crate::print;

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Fine,
    /// Of no harm now.
    Warning,
    /// Something will not work.
    Problem,
}

/// What was found about one thing.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    about: &'static str,
    state: State,
    said: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn fine(about: &'static str, said: impl Into<String>) -> Self {
        Self {
            about,
            state: State::Fine,
            said: said.into(),
            remedy: None,
        }
    }

    fn warning(about: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            about,
            state: State::Warning,
            said: said.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn problem(about: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Problem,
            ..Self::warning(about, said, remedy)
        }
    }
}

pub(crate) fn run(context: &Context) -> anyhow::Result<Exit> {
    let mut all = storage::check();
    all.extend(machine::check());
    all.extend(pilots::check());
    let worst = |state| all.iter().any(|finding| finding.state == state);
    match context.output {
        Output::Human => print::out(&people(&all)?)?,
        Output::Json => print::out(&format!("{}\n", serde_json::to_string_pretty(&all)?))?,
        Output::Jsonl => {
            for finding in &all {
                print::out(&format!("{}\n", serde_json::to_string(finding)?))?;
            }
        }
        Output::Quiet => {
            for finding in all.iter().filter(|finding| finding.state != State::Fine) {
                print::out(&format!("{}\n", finding.about))?;
            }
        }
    }
    Ok(if worst(State::Problem) {
        Exit::Failed
    } else {
        Exit::Well
    })
}

fn people(all: &[Finding]) -> anyhow::Result<String> {
    let wide = all.iter().map(|finding| finding.about.len()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in all {
        let mark = match finding.state {
            State::Fine => "fine    ",
            State::Warning => "warning ",
            State::Problem => "PROBLEM ",
        };
        writeln!(
            text,
            "{mark} {:wide$}  {}",
            finding.about,
            print::safe(&finding.said)
        )?;
        if let Some(remedy) = &finding.remedy {
            writeln!(text, "{:1$}  what to do: {remedy}", "", 9 + wide)?;
        }
    }
    Ok(text)
}
