//! Hello, welcome, and back again after a break.

use scalems_protocol::client::{ClientHello, ClientToAgent, ClientWelcome, Refused, Resume};
use scalems_protocol::error::Code;
use scalems_protocol::{JournalMark, PilotId};

use super::Machine;
use super::interface::{Attached, Config, Micros, Output, SessionEnd};

/// How often the machine is called, at least, while it waits for an agent that is not there. If it is called later by more
/// than that again, it is its own clock that stood or leapt.
const LOOK: Micros = 1_000_000;

/// The state of the connection and of the attachment.
#[derive(Clone, Debug)]
pub(super) struct Link {
    connected: bool,
    attached: bool,
    /// What the last welcome said, for coming back.
    known: Option<Known>,
    /// When hello is to be said, while connected and not attached.
    hello_at: Micros,
    /// Hellos on this connection that said nothing of an earlier attachment and are not answered.
    first_hellos: u32,
    /// Since when there is no attachment. A pause of our own begins it anew.
    away_since: Micros,
    /// Without an attachment, when the machine is called again at the latest: by that a pause of our own is seen.
    look_at: Micros,
    heard: Micros,
}

#[derive(Clone, Debug)]
struct Known {
    pilot: PilotId,
    incarnation: u64,
    session: u64,
    resume: Resume,
    /// How far its journal went.
    seen: JournalMark,
}

impl Link {
    pub(super) fn new(now: Micros) -> Self {
        Self {
            connected: false,
            attached: false,
            known: None,
            hello_at: now,
            first_hellos: 0,
            away_since: now,
            look_at: now.saturating_add(LOOK),
            heard: now,
        }
    }

    pub(super) fn connected(&mut self, now: Micros) {
        self.disconnected(now);
        self.connected = true;
        self.hello_at = now;
    }

    pub(super) fn disconnected(&mut self, now: Micros) {
        self.greet(now);
        self.connected = false;
        self.first_hellos = 0;
    }

    /// The attachment cannot be relied on: hello is due.
    pub(super) fn greet(&mut self, now: Micros) {
        if self.attached {
            self.attached = false;
            self.away_since = now;
            self.hello_at = now;
        }
    }

    pub(super) fn hear(&mut self, now: Micros) {
        self.heard = now;
    }

    pub(super) fn heard(&self) -> Micros {
        self.heard
    }

    pub(super) fn is_attached(&self) -> bool {
        self.attached
    }

    pub(super) fn end(&mut self) {
        self.attached = false;
        self.connected = false;
    }

    /// The agent's journal has come so far.
    pub(super) fn saw(&mut self, record: u64) {
        if let Some(known) = &mut self.known {
            known.seen.record = known.seen.record.max(record);
        }
    }

    /// The number of the session at the agent, once it is known.
    pub(super) fn session(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.session)
    }

    fn patience(&self, config: &Config) -> Micros {
        if self.known.is_some() {
            config.give_up_us
        } else {
            config.connect_us
        }
    }

    pub(super) fn deadline(&self, config: &Config) -> Option<Micros> {
        if self.attached {
            return None;
        }
        let end = self.away_since.saturating_add(self.patience(config));
        let end = end.min(self.look_at);
        Some(if self.connected {
            end.min(self.hello_at)
        } else {
            end
        })
    }

    /// The machine is called. Whether it should have been long before: then it stood still, or its clock has leapt, and
    /// what it waited for has not been late.
    pub(super) fn wake(&mut self, now: Micros) -> bool {
        let paused = now > self.look_at.saturating_add(LOOK);
        self.look_at = now.saturating_add(LOOK);
        if paused && !self.attached {
            self.away_since = now;
        }
        paused
    }

    pub(super) const fn look_at(&self) -> Micros {
        self.look_at
    }

    /// The end of the session, if the agent was away for too long.
    pub(super) fn overdue(&self, now: Micros, config: &Config) -> Option<SessionEnd> {
        let after_us = self.patience(config);
        if self.attached || now < self.away_since.saturating_add(after_us) {
            return None;
        }
        let lost = self.known.is_some();
        Some(if lost {
            SessionEnd::Lost { after_us }
        } else {
            SessionEnd::Unreachable { after_us }
        })
    }
}

impl Machine {
    /// The attachment cannot be relied on. Once there is a welcome everything is said again.
    pub(super) fn greet(&mut self, now: Micros) {
        self.link.greet(now);
        self.outbox.clear();
    }

    /// Hello, if it is due.
    pub(super) fn hello(&mut self, now: Micros) -> Option<ClientToAgent> {
        let link = &mut self.link;
        if !link.connected || link.attached || now < link.hello_at || self.over.is_some() {
            return None;
        }
        link.hello_at = now + self.config.hello_us;
        if link.known.is_none() {
            link.first_hellos += 1;
        }
        // What hello says needs no acknowledgement any more.
        self.acknowledged = self.taken;
        self.owed = None;
        let hello = ClientHello {
            session: self.config.session.clone(),
            kind: self.config.kind,
            software: self.config.software.clone(),
            resume: link.known.as_ref().map(|known| known.resume.clone()),
            takeover: self.config.takeover && link.known.is_none(),
            pilot: link.known.as_ref().map(|known| known.pilot).or(self.config.pilot),
            incarnation: link.known.as_ref().map_or(0, |known| known.incarnation),
            deliveries: self.taken,
            cancel_after_ms: self.config.cancel_after_ms,
            brings: !self.provisional.is_empty(),
            seen: link
                .known
                .as_ref()
                .map(|known| known.seen)
                .filter(|seen| seen.record > 0),
            repeats: self.requests.last_open(),
            ..ClientHello::default()
        };
        Some(hello.into())
    }

    fn begin_deliveries(&mut self, next: u64) {
        self.taken = next.saturating_sub(1);
        self.acknowledged = self.taken;
        self.owed = None;
    }

    pub(super) fn welcomed(&mut self, now: Micros, welcome: ClientWelcome, out: &mut Vec<Output>) {
        if let Some(was) = self
            .link
            .known
            .as_ref()
            .map(|known| known.pilot)
            .or(self.config.pilot)
            && was != welcome.pilot
        {
            return self.end(
                SessionEnd::OtherPilot {
                    was,
                    is: Some(welcome.pilot),
                },
                out,
            );
        }
        let first = self.link.first_hellos > 0;
        self.link.first_hellos = self.link.first_hellos.saturating_sub(1);
        if let Some(known) = &self.link.known {
            // Of several first hellos on one connection each opens the session anew, and the last one counts.
            // What was sent after them reaches the session of the last one.
            let same = known.session == welcome.session || (first && self.link.attached);
            let foreign =
                welcome.request_high >= self.requests.next() || welcome.delivery_next > self.taken + 1;
            if !same || foreign {
                return self.end(SessionEnd::Replaced, out);
            }
            // Another life of the agent counts deliveries anew.
            if known.incarnation != welcome.incarnation {
                self.begin_deliveries(welcome.delivery_next);
                self.provisional.bring();
            }
        } else {
            self.requests.begin(welcome.request_high);
            self.begin_deliveries(welcome.delivery_next);
        }
        let known = Known {
            pilot: welcome.pilot,
            incarnation: welcome.incarnation,
            session: welcome.session,
            resume: welcome.resume,
            seen: welcome.mark,
        };
        self.link.known = Some(known);
        if self.link.attached {
            return;
        }
        self.link.attached = true;
        self.link.away_since = now;
        self.counters.attached += 1;
        self.send_again();
        let (tasks, bytes) = welcome.window;
        self.window.bound(
            tasks.min(self.config.window_tasks),
            bytes.min(self.config.window_bytes),
        );
        out.push(Output::Attached(Attached {
            pilot_name: welcome.pilot_name,
            pilot: welcome.pilot,
            incarnation: welcome.incarnation,
            session: welcome.session,
            modes: welcome.modes,
            software: welcome.software,
            journal: welcome.journal,
        }));
    }

    pub(super) fn refused(&mut self, now: Micros, refused: Refused, out: &mut Vec<Output>) {
        let Refused { request, id, refusal } = refused;
        if refusal.code == Code::HelloFirst {
            // The agent does not know this connection: it saw a break that was not seen here. What it refused
            // is sent again after its welcome.
            return self.greet(now);
        }
        if let Some(request) = request {
            return self.request_refused(now, request, refusal, out);
        }
        if let Some(id) = id {
            return self.ask_refused(now, id, refusal, out);
        }
        if self.link.attached {
            return out.push(Output::Complaint(refusal));
        }
        let was = self
            .link
            .known
            .as_ref()
            .map(|known| known.pilot)
            .or(self.config.pilot);
        let end = match (refusal.code, was) {
            (Code::OtherPilot, Some(was)) => SessionEnd::OtherPilot { was, is: None },
            _ => SessionEnd::Refused(refusal),
        };
        self.end(end, out);
    }
}
