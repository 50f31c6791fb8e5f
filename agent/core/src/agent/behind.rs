//! A journal that ends before what a peer has seen on disk (R4): it was put back from a copy, a disk did not keep what it
//! said it had, or another agent goes on with a copy.
//!
//! Then nothing is granted, recorded or taken in any more: numbers that were given after the end of this journal would be
//! given again. Reads go on, and a person decides.

use scalems_protocol::client::{AgentToClient, ClientHello, Detached, Resume, SessionKind};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::token::Token;
use scalems_protocol::worker::{WorkerStop, WorkerToAgent};
use scalems_protocol::{JournalMark, Role};

use super::Agent;
use super::answers::Answers;
use super::timers::{Timer, Timers};
use crate::interface::{Action, Input};

/// So many lives of the agent may be missing at most.
const LIVES_MISSED: u64 = 1_000;
/// Sessions and seats of an agent that records nothing have numbers that no later life gives again.
const UNRECORDED: u64 = 1 << 62;

impl Agent {
    /// How far the journal goes, for peers to say back.
    pub(super) const fn mark(&self) -> JournalMark {
        JournalMark {
            incarnation: self.config.incarnation,
            life: self.config.life,
            record: self.known_as(self.durable),
        }
    }

    /// The number that an acknowledgement of records up to this one bears.
    pub(super) const fn known_as(&self, record: u64) -> u64 {
        if self.config.journal && self.behind.is_none() {
            record
        } else {
            0
        }
    }

    /// An answer that waits for the records that there are now, with their number, unless it has one from before.
    pub(super) fn acknowledging(&self, mut answer: AgentToClient) -> AgentToClient {
        let record = match &mut answer {
            AgentToClient::Accepted(accepted) => &mut accepted.record,
            AgentToClient::Appended(appended) => &mut appended.record,
            AgentToClient::Closed(closed) => &mut closed.record,
            AgentToClient::CancelDone(done) => &mut done.record,
            AgentToClient::ForgetDone(done) => &mut done.record,
            AgentToClient::WorkersRequested(requested) => &mut requested.record,
            _ => return answer,
        };
        if *record == 0 {
            *record = self.known_as(self.records);
        }
        answer
    }

    /// Whether a peer has seen records of which this life knows nothing. Of another life that is all behind the end that
    /// the journal had when this one began.
    fn misses(&self, seen: JournalMark) -> bool {
        let known = if seen.life == self.config.life {
            self.durable
        } else {
            self.begun_at
        };
        self.config.journal && seen.record > known
    }

    /// Looks at what a client says that it has seen, if it proves that it was here. Observers change nothing.
    pub(super) fn client_has_seen(&mut self, role: Role, hello: &ClientHello, out: &mut Vec<Action>) {
        if role == Role::Client
            && let (Some(Resume { peer, token }), Some(seen)) = (&hello.resume, hello.seen)
            && self.misses(seen)
            && Token::derive(&self.config.secret, Role::Client, *peer).verify(token)
        {
            self.fall_behind(seen, &format!("a client of session {:?}", hello.session), out);
        }
    }

    /// The same of a worker's hello.
    pub(super) fn worker_has_seen(&mut self, input: &Input, out: &mut Vec<Action>) {
        if let Input::Worker { message, .. } = input
            && let WorkerToAgent::WorkerHello(hello) = message
            && let Some(resume) = &hello.resume
            && resume.pilot == self.config.pilot
            && self.misses(resume.seen)
            && Token::derive(&self.config.secret, Role::Worker, resume.worker).verify(&resume.token)
        {
            self.fall_behind(resume.seen, &format!("worker {:?}", hello.name), out);
        }
    }

    fn fall_behind(&mut self, seen: JournalMark, who: &str, out: &mut Vec<Action>) {
        if self.behind.is_some() {
            return;
        }
        let message = format!(
            "the journal ended at record {} when agent {} began, and {who} has seen record {} of agent {}: it is a copy \
             from before, or the disk has lost something. Nothing is taken in or started any more. Stop this agent and put \
             the right journal there, or go on without what is missing: `scalems pilot start --name {} --resume \
             --accept-loss`",
            self.begun_at, self.config.incarnation, seen.record, seen.incarnation, self.config.pilot_name
        );
        self.alarm("journal_behind", self.config.pilot_name.clone(), message.clone());
        out.push(Action::FellBehind {
            // No number that a peer makes up keeps a person from going on.
            incarnation: seen
                .incarnation
                .clamp(self.config.incarnation, self.config.incarnation + LIVES_MISSED),
            message: message.clone(),
        });
        for peer in std::mem::take(&mut self.clients).into_keys() {
            let refusal = Refusal::new(Code::JournalBehind, message.clone());
            out.push(Action::ToClient {
                peer,
                message: Detached { refusal }.into(),
                blobs: Vec::new(),
            });
        }
        for attachment in self.attachments.values_mut() {
            attachment.peer = None;
        }
        // Numbers of workers that joined this life are given to others where the journal is right.
        let of_this = self
            .workers
            .values()
            .filter(|worker| !self.is_of_before(worker.number));
        for peer in of_this.filter_map(|worker| worker.peer) {
            out.push(Action::ToWorker {
                peer,
                message: WorkerStop {
                    drain_ms: 0,
                    reason: "the journal is behind: what this agent gave out counts for nothing".into(),
                }
                .into(),
                blobs: Vec::new(),
            });
        }
        self.behind = Some(message);
        self.waiting.clear();
        self.answers = Answers::default();
        self.next_number |= UNRECORDED;
    }

    /// Whether an input is not for an agent whose journal is behind. Workers get no answer: what they run goes on, and they
    /// ask again until their orphan time is over.
    pub(super) const fn is_deaf_to(&self, input: &Input) -> bool {
        let of_workers = matches!(
            input,
            Input::Worker { .. }
                | Input::Beat(_)
                | Input::WorkerGone(_)
                | Input::SomeWorkerGone
                | Input::ProcessGone { .. }
        );
        self.behind.is_some() && of_workers
    }

    /// Why a hello, or something that changes anything, is refused when the journal is behind.
    pub(super) fn refused_behind(&self) -> Option<Refusal> {
        let message = self.behind.clone()?;
        Some(Refusal::new(Code::JournalBehind, message))
    }

    /// Whoever comes anew may read: what it is given here is forgotten with this agent.
    pub(super) fn may_read_on(hello: &ClientHello) -> bool {
        hello.resume.is_none() && (hello.session.is_empty() || hello.kind == SessionKind::Shared)
    }

    /// What an agent does whose journal is behind: it answers reads, and ends when it is told to.
    pub(super) fn flush_behind(&mut self, out: &mut Vec<Action>) {
        let leave_at = self.stopping.and_then(|stopping| stopping.leave_at);
        self.timers = Timers::default();
        if let Some(at) = leave_at.filter(|at| *at > self.now) {
            self.timers.add(at, Timer::Stop);
        }
        self.tell_at = None;
        self.schedule = false;
        // There are no records of them.
        for peer in self.answers.release(self.now, u64::MAX, out) {
            if let Some(attachment) = self
                .clients
                .get(&peer)
                .and_then(|seat| self.attachments.get_mut(seat))
            {
                attachment.welcomed = true;
            }
        }
        self.answer_waits(out);
        self.end_readings(out);
        self.publish(out);
        if let Some(stopping) = self.stopping.filter(|_| !self.exited)
            && self.clients_have_left(stopping, out)
        {
            self.exited = true;
            out.push(Action::Exit);
        }
    }
}
