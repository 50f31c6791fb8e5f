//! Which worker ran which replica when, for the picture.

use std::time::{Duration, Instant};

use scalems_client::protocol::client::Page;
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::TaskState;
use scalems_client::{Session, TaskHandle, TaskResult};
use scalems_demo::{Span, WINDOWS};

/// How often, and after how long each time, it is looked whether something runs at a worker.
const LOOKS: usize = 50;
const LOOK: Duration = Duration::from_millis(20);

/// The run so far.
pub(super) struct Timeline {
    begun: Instant,
    spans: Vec<Span>,
    /// The place among the handles of each span that ended by itself.
    places: Vec<usize>,
    /// What was lost: submission, offset, when, and the worker's name.
    lost: Vec<(u64, u32, f64, String)>,
}

impl Timeline {
    pub(super) fn new(begun: Instant) -> Self {
        Self {
            begun,
            spans: Vec::new(),
            places: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// A replica ended; its worker is named later.
    pub(super) fn ended(&mut self, place: usize, window: u32, generation: u32, result: &TaskResult) {
        let end_s = self.now();
        let start_s = (end_s - result.ran.as_secs_f64()).max(0.0);
        let attempt = result.attempt;
        self.spans.push(Span {
            worker: String::new(),
            window,
            generation,
            attempt,
            start_s,
            end_s,
            lost: false,
        });
        self.places.push(place);
    }

    fn now(&self) -> f64 {
        self.begun.elapsed().max(Duration::from_millis(1)).as_secs_f64()
    }

    /// A worker is about to be killed: notes what runs there, and says how many that are. What has just ended
    /// there is given the time to be followed by the next.
    pub(super) fn worker_lost(&mut self, session: &Session, name: &str) -> anyhow::Result<usize> {
        for _ in 0..LOOKS {
            std::thread::sleep(LOOK);
            let running = self.note_running_at(session, name)?;
            if running > 0 {
                return Ok(running);
            }
        }
        Ok(0)
    }

    fn note_running_at(&mut self, session: &Session, name: &str) -> anyhow::Result<usize> {
        let now = self.now();
        let select = Selector {
            state: Some(TaskState::Running),
            all: true,
            ..Selector::default()
        };
        let rows = match session.ask_tasks(Page {
            select,
            after: None,
            rows: 0,
        }) {
            Ok(listing) => listing.rows,
            // Nothing runs just now.
            Err(scalems_client::ClientError::Refused { .. }) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for row in rows.iter().filter(|row| row.worker.as_deref() == Some(name)) {
            for offset in row.run.lo..row.run.hi {
                self.lost.push((row.run.submission, offset, now, name.to_owned()));
            }
        }
        Ok(self.lost.len())
    }

    /// Asks who ran what, and adds the attempts that were lost.
    pub(super) fn name_workers(&mut self, session: &Session, handles: &[TaskHandle]) -> anyhow::Result<()> {
        let mut workers = std::collections::BTreeMap::new();
        let mut after = None;
        loop {
            let listing = session.ask_tasks(Page {
                select: Selector::all(),
                after,
                rows: 0,
            })?;
            for row in listing.rows {
                for offset in row.run.lo..row.run.hi {
                    workers.insert(
                        (row.run.submission, offset),
                        row.worker.clone().unwrap_or_default(),
                    );
                }
            }
            after = listing.next;
            if after.is_none() {
                break;
            }
        }
        let mut lost = Vec::new();
        for (span, place) in self.spans.iter_mut().zip(&self.places) {
            let Some(id) = handles[*place].id() else { continue };
            let key = (id.submission, id.index);
            span.worker = workers.get(&key).cloned().unwrap_or_default();
            for (_, _, at, worker) in self.lost.iter().filter(|(n, o, _, _)| (*n, *o) == key) {
                lost.push(Span {
                    worker: worker.clone(),
                    attempt: 1,
                    start_s: 0.0,
                    end_s: *at,
                    lost: true,
                    ..span.clone()
                });
            }
        }
        // A worker has one core, so its replicas ran one after the other; their ends are as they were heard of.
        let mut order: Vec<usize> = (0..self.spans.len()).collect();
        order.sort_by(|a, b| self.spans[*a].end_s.total_cmp(&self.spans[*b].end_s));
        let mut ends: std::collections::BTreeMap<String, f64> = std::collections::BTreeMap::new();
        for at in order {
            let span = &mut self.spans[at];
            let end = ends.entry(span.worker.clone()).or_default();
            span.start_s = span.start_s.max(*end).min(span.end_s);
            *end = span.end_s;
        }
        // And what was lost began when what it ran before had ended.
        for span in &mut lost {
            let before = self
                .spans
                .iter()
                .filter(|other| other.worker == span.worker && other.end_s <= span.end_s);
            span.start_s = before.map(|other| other.end_s).fold(0.0, f64::max);
        }
        self.spans.extend(lost);
        debug_assert!(
            self.spans.iter().all(|span| span.window < WINDOWS),
            "windows are counted from 0"
        );
        Ok(())
    }

    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }
}
