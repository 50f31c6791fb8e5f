//! What there is to see, once, for scripts.

use std::time::{Duration, Instant};

use scalems_protocol::client::{Status, SubmissionRow, WorkerRow};
use scalems_protocol::event::{Alarm, FaultGroup, Health};
use serde::Serialize;

use crate::model::Model;
use crate::options::{Failed, TopOptions};
use crate::source::{Answer, Asked, For, Link, Live, News, Source as _};

/// How long the agent may take to say all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// What there is to see of a pilot.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The version of this form.
    pub schema: u32,
    /// The pilot as a whole.
    pub pilot: Status,
    /// How the agent is. What it measures while it is watched is zero at first.
    pub health: Health,
    /// The newest submissions, by number.
    pub submissions: Vec<SubmissionRow>,
    /// How many there are.
    pub submissions_total: u64,
    /// Workers, by number.
    pub workers: Vec<WorkerRow>,
    /// What went wrong, by reason and host.
    pub faults: Vec<FaultGroup>,
    /// What somebody should look at, oldest first.
    pub alarms: Vec<Alarm>,
}

/// Asks the pilot for what the screens show.
pub fn once(options: &TopOptions) -> Result<Shown, Failed> {
    let mut live = Live::connect(&options.pilot)?;
    let mut model = Model::new(live.pilot());
    let begun = Instant::now();
    live.ask(For::Status, Asked::Question(scalems_protocol::client::Question::Status));
    let mut topics = std::collections::BTreeSet::new();
    loop {
        model.tick(begun.elapsed(), live.link());
        for news in live.news() {
            match news {
                News::Update(topic, update) => {
                    model.update(&topic, update);
                    topics.insert(topic);
                }
                News::Answer(For::Status, Ok(Answer::Reply(reply))) => {
                    if let scalems_protocol::client::Reply::Status(status) = *reply {
                        model.status = Some(*status);
                    }
                }
                News::Answer(..) | News::Done(_) => {}
            }
        }
        if let (Some(status), true) = (&model.status, topics.len() == Live::TOPICS && live.is_whole()) {
            return Ok(Shown {
                schema: 1,
                pilot: status.clone(),
                health: model.health.clone().unwrap_or_default(),
                submissions: model.submissions.values().map(|seen| seen.row.clone()).collect(),
                submissions_total: model.submissions_total,
                workers: model.workers.values().map(|seen| seen.row.clone()).collect(),
                faults: model.faults.values().cloned().collect(),
                alarms: model.alarms.clone(),
            });
        }
        if matches!(model.link, Link::Over(_)) || begun.elapsed() > PATIENCE {
            return Err(Failed::Silent(PATIENCE.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}
