//! Filters: tasks that one sees are its own until it has ended them, under a mode that only it serves.

use scalems_protocol::error::Refusal;
use scalems_protocol::task::Template;

use super::Agent;

impl Agent {
    /// A submission's template, or what it is for the first filter that sees it. What a filter itself submits is seen by those
    /// behind it.
    pub(super) fn filtered(&self, seat: u64, template: Template) -> Result<Template, Refusal> {
        let filters = &self.config.filters;
        if filters.is_empty() {
            return Ok(template);
        }
        let session = &self.sessions[&self.attachments[&seat].session].name;
        let own = filters.iter().position(|rule| rule.mode() == *session);
        let behind = own.map_or(0, |own| own + 1);
        match filters[behind..].iter().find(|rule| rule.sees(&template)) {
            Some(rule) => rule.held(template),
            None => Ok(template),
        }
    }
}
