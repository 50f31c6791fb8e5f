//! How far tasks are, as they say themselves (`docs/spec/3-worker`, section "Progress").

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::group::Run;

/// The last word of one attempt about how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which attempt at which task: a run of one.
    pub run: Run,
    /// From 0 to 1.
    pub fraction: f64,
    /// What it is at, for people.
    #[serde(deserialize_with = "bounded::text")]
    pub text: String,
}

impl Progress {
    /// Whether it says something that can be.
    pub fn is_sound(&self) -> bool {
        self.run.lo.checked_add(1) == Some(self.run.hi) && (0.0..=1.0).contains(&self.fraction)
    }
}
