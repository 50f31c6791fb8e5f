//! Leases as they come in: what ends at once does, the rest queues.

use std::sync::Arc;

use scalems_protocol::group::{Data, LeaseGroup};
use scalems_protocol::task::Template;
use scalems_protocol::{Amount, Bytes, Code, Ending, TaskError, TaskState, limits};

use super::Leaseholder;
use super::ending::Phase;
use super::grant::Grant;
use super::mode::{self, Mode};
use super::outbox::Finished;
use super::queue::{Prepared, Waiting};
use crate::resources::Amounts;

/// A template with what the worker makes of it, or why none of its tasks can run here.
pub(super) type Preparation = Result<Arc<Prepared>, TaskError>;

impl Finished {
    /// Leases that ended without a value.
    pub(super) fn empty(grant: Grant, ending: Ending) -> Self {
        Self {
            grant,
            ending,
            data: Data::default(),
            exit_code: None,
            ran_us: 0,
            error: None,
        }
    }
}

impl Leaseholder {
    /// Makes something of each way to run a template's tasks.
    pub(super) fn prepare(&mut self, template: Template) -> Vec<Preparation> {
        let template = Arc::new(template);
        let variants = 0..=template.needs.variants.len().min(limits::VARIANTS) as u8;
        variants
            .map(|variant| self.prepare_way(&template, variant))
            .collect()
    }

    fn prepare_way(&mut self, template: &Arc<Template>, variant: u8) -> Preparation {
        let mode = Mode::of(&template.mode, &self.settings);
        let needs = template.needs.way(variant);
        let amounts = if mode.is_immediate() {
            Amounts::default()
        } else {
            self.room.amounts(needs).map_err(|kind| {
                let asked = needs
                    .totals()
                    .find(|(name, _)| *name == kind)
                    .map_or(Amount::ZERO, |(_, amount)| amount);
                let offered = self.room.offered(&kind);
                let message = format!("the task needs {asked} of {kind:?} and this worker has {offered}");
                TaskError::new(Code::ImpossibleNeeds, message)
            })?
        };
        Ok(Arc::new(Prepared {
            template: Arc::clone(template),
            variant,
            mode,
            amounts,
        }))
    }

    /// Takes in one group; says what is wrong with one that cannot even be answered.
    pub(super) fn take_group(
        &mut self,
        group: LeaseGroup,
        templates: &[Vec<Preparation>],
        blobs: &[Bytes],
    ) -> Result<(), &'static str> {
        let LeaseGroup {
            run,
            origin,
            template,
            first,
            step,
            place,
            variant,
        } = group;
        run.check().map_err(|_| "a run is empty or too long")?;
        let grant = Grant {
            run,
            origin,
            incarnation: self.link.incarnation,
            variant,
        };
        let no_template = || {
            Err(TaskError::new(
                Code::Malformed,
                "the lease names a template, or a variant of one, that it does not bring",
            ))
        };
        let prepared = templates
            .get(template as usize)
            .and_then(|ways| ways.get(usize::from(variant)))
            .cloned()
            .unwrap_or_else(no_template);
        let data = place.take(run.count(), blobs).map_err(|problem| {
            TaskError::new(
                Code::Malformed,
                format!("the lease's data cannot be read: {problem}"),
            )
        });
        match prepared.and_then(|prepared| data.map(|data| (prepared, data))) {
            Err(error) => self.outbox.finish(Finished {
                error: Some(error),
                ..Finished::empty(grant, Ending::Failed)
            }),
            Ok((prepared, data)) => {
                let waiting = Waiting {
                    grant,
                    prepared,
                    indices: (first, step),
                    data,
                    gone: 0,
                    bypassed: 0,
                };
                self.admit(waiting);
            }
        }
        Ok(())
    }

    fn admit(&mut self, waiting: Waiting) {
        if self.phase != Phase::Serving {
            self.outbox.give_back(waiting.grant);
        } else if waiting.prepared.mode.is_immediate() && !self.outbox.is_full() {
            self.finish_at_once(waiting);
        } else {
            self.sum = self.sum.wrapping_add(waiting.grant.term(TaskState::Leased));
            self.queue.push(waiting);
        }
    }

    /// Ends a whole run of a built-in mode.
    pub(super) fn finish_at_once(&mut self, waiting: Waiting) {
        let Waiting {
            grant,
            prepared,
            data,
            ..
        } = waiting;
        let finished = Finished::empty(grant, Ending::Failed);
        match prepared.mode {
            Mode::Noop => self.outbox.finish(Finished {
                ending: Ending::Done,
                ..finished
            }),
            Mode::Echo => self.outbox.finish(Finished {
                ending: Ending::Done,
                data,
                ..finished
            }),
            Mode::Fail if data.ends.is_empty() => {
                let error = Some(mode::failure(&data.bytes));
                self.outbox.finish(Finished { error, ..finished });
            }
            Mode::Fail => {
                for (at, offset) in (grant.run.lo..grant.run.hi).enumerate() {
                    let error = Some(mode::failure(&data.of(at)));
                    let grant = grant.part(offset, offset + 1);
                    self.outbox.finish(Finished {
                        grant,
                        error,
                        ..finished.clone()
                    });
                }
            }
            Mode::Unknown => {
                let error = Some(mode::unknown(&prepared.template.mode));
                self.outbox.finish(Finished { error, ..finished });
            }
            Mode::Sleep | Mode::Shell | Mode::Function => {
                unreachable!("only modes that take no time end at once")
            }
        }
    }
}
