//! What clients and observers say: attaching, acknowledging, leaving; the rest goes to its own place.

use bytes::Bytes;
use scalems_protocol::client::{
    Acknowledge, AgentToClient, Answer, ClientHello, ClientPing, ClientToAgent, ClientWelcome, Detached,
    NamedClientToAgent as Named, Refused, Reply, Resume, SessionKind, Stop,
};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::token::Token;
use scalems_protocol::{JournalMark, Role, VERSION, limits};

use super::Agent;
use super::timers::Timer;
use crate::interface::{Action, Micros, Peer};
use crate::record::Record;
use crate::session::{self, Attachment, Numbered, Outbox, Requests, Session};

/// How long an unnamed session outlives its connection: nobody can come back to it but by its token.
const UNNAMED_KEPT: Micros = 600_000_000;
/// How often it is seen whether a seat of a shared session whose client is gone can be dropped.
const UNATTENDED: Micros = 600_000_000;

impl Agent {
    pub(super) fn client(
        &mut self,
        peer: Peer,
        role: Role,
        message: ClientToAgent,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        let (request, id) = session::numbers(&message);
        if role != Role::Client && session::changes(&message) || role == Role::Worker {
            let refusal = Refusal::new(
                Code::NotAllowed,
                format!("the {} role may not do this", role.name()),
            );
            return self.refuse(peer, request, id, refusal, out);
        }
        match message {
            ClientToAgent::Named(Named::ClientHello(hello)) => {
                return self.client_hello(peer, role, &hello, out);
            }
            ClientToAgent::Named(Named::Version(version)) => {
                let software = self.config.software.clone();
                let reply = Reply::Version {
                    software,
                    protocol: (VERSION, VERSION),
                };
                return self.reply(peer, version.id, reply, Vec::new(), out);
            }
            _ => {}
        }
        let Some(seat) = self.clients.get(&peer).copied() else {
            let refusal = Refusal::new(
                Code::HelloFirst,
                "say hello first: this agent does not know this connection",
            );
            return self.refuse(peer, request, id, refusal, out);
        };
        // It may end, or say more of what is wrong.
        let ends = matches!(&message, ClientToAgent::Named(Named::Stop(stop)) if stop.worker.is_none())
            || matches!(&message, ClientToAgent::Named(Named::LogLevels(_)));
        if let Some(refusal) = self
            .refused_behind()
            .filter(|_| session::changes(&message) && !ends)
        {
            return self.refuse(peer, request, id, refusal, out);
        }
        if let Some((message, blobs)) = self.put_off(peer, seat, message, blobs, out) {
            self.client_says(peer, seat, message, blobs, out);
        }
    }

    pub(super) fn client_says(
        &mut self,
        peer: Peer,
        seat: u64,
        message: ClientToAgent,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        match message {
            ClientToAgent::Envelope(envelope) => self.envelope(peer, seat, *envelope, blobs, out),
            ClientToAgent::Named(named) => match named {
                Named::Submit(submit) => {
                    if self.new_request(peer, seat, submit.request, submit.low_water, out) {
                        self.submit(peer, seat, submit, blobs, out);
                    }
                }
                Named::Append(append) => {
                    if self.new_request(peer, seat, append.request, append.low_water, out) {
                        self.append(peer, seat, append, blobs, out);
                    }
                }
                Named::Close(close) => {
                    if self.new_request(peer, seat, close.request, close.low_water, out) {
                        self.close(peer, seat, &close, out);
                    }
                }
                Named::Retry(retry) => {
                    if self.new_request(peer, seat, retry.request, retry.low_water, out) {
                        self.retry(peer, seat, &retry, out);
                    }
                }
                Named::Cancel(cancel) => {
                    if self.new_request(peer, seat, cancel.request, cancel.low_water, out) {
                        self.cancel(peer, seat, &cancel, out);
                    }
                }
                Named::Forget(forget) => {
                    if self.new_request(peer, seat, forget.request, forget.low_water, out) {
                        self.forget(peer, seat, &forget, out);
                    }
                }
                Named::RequestWorkers(asked) => {
                    if self.new_request(peer, seat, asked.request, asked.low_water, out) {
                        self.request_workers(peer, seat, asked, out);
                    }
                }
                Named::Starter(said) => self.starter(peer, said, out),
                Named::BringBack(brought) => self.bring_back(peer, seat, brought, &blobs, out),
                Named::Ask(ask) => self.ask(peer, seat, ask, out),
                Named::Acknowledge(Acknowledge { delivery }) => {
                    self.collected(seat, delivery, out);
                    self.delivering.insert(seat);
                    self.schedule = true;
                }
                Named::Stop(stop) => self.client_stop(peer, &stop, out),
                Named::LogLevels(asked) => self.log_levels(peer, asked, out),
                Named::Goodbye(_) => self.goodbye(peer, seat, out),
                Named::ClientHello(_) | Named::Version(_) => unreachable!("answered above"),
            },
        }
    }

    /// The shell could not decode a message. If it had the next request's number, that is used up.
    pub(super) fn undecoded(&mut self, peer: Peer, refused: Refused, out: &mut Vec<Action>) {
        self.count("malformed", 1);
        let Some((seat, request)) = self.clients.get(&peer).copied().zip(refused.request) else {
            return out.push(Action::ToClient {
                peer,
                message: refused.into(),
                blobs: Vec::new(),
            });
        };
        self.catch_up(seat, out);
        if self.new_request(peer, seat, request, 0, out) {
            self.answer(peer, seat, request, refused.into());
        }
    }

    pub(super) fn refuse(
        &mut self,
        peer: Peer,
        request: Option<u64>,
        id: Option<u64>,
        refusal: Refusal,
        out: &mut Vec<Action>,
    ) {
        self.count("refused", 1);
        out.push(Action::ToClient {
            peer,
            message: Refused { request, id, refusal }.into(),
            blobs: Vec::new(),
        });
    }

    #[allow(clippy::unused_self, reason = "it answers as its siblings do")]
    pub(super) fn reply(
        &mut self,
        peer: Peer,
        id: u64,
        reply: Reply,
        blobs: Vec<Bytes>,
        out: &mut Vec<Action>,
    ) {
        out.push(Action::ToClient {
            peer,
            message: Answer { id, reply }.into(),
            blobs,
        });
    }

    /// Answers a changing request for good, once what it did is durable.
    pub(super) fn answer(&mut self, peer: Peer, seat: u64, request: u64, message: AgentToClient) {
        self.answer_by(None, peer, seat, request, message);
    }

    /// Answers a changing request that changed nothing, whatever else waits.
    pub(super) fn answer_now(
        &mut self,
        peer: Peer,
        seat: u64,
        request: u64,
        message: AgentToClient,
        out: &mut Vec<Action>,
    ) {
        if let Some(attachment) = self.attachments.get_mut(&seat) {
            attachment.requests.answer(request, message.clone());
        }
        out.push(Action::ToClient {
            peer,
            message,
            blobs: Vec::new(),
        });
    }

    /// As [`Self::answer`]; until then the answer may wait for results to go with.
    pub(super) fn answer_by(
        &mut self,
        until: Option<Micros>,
        peer: Peer,
        seat: u64,
        request: u64,
        message: AgentToClient,
    ) {
        let message = self.acknowledging(message);
        if let Some(attachment) = self.attachments.get_mut(&seat) {
            attachment.requests.answer(request, message.clone());
        }
        self.answers.push(self.records, peer, message, until);
    }

    /// Whether a request is new; if not it is answered here.
    fn new_request(
        &mut self,
        peer: Peer,
        seat: u64,
        request: u64,
        low_water: u64,
        out: &mut Vec<Action>,
    ) -> bool {
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        let (code, message) = match attachment.requests.take(request, low_water) {
            Numbered::New => return true,
            Numbered::Again(answer) => {
                let answer = self.acknowledging(*answer);
                self.answers.push(self.records, peer, answer, None);
                return false;
            }
            Numbered::Wrong(message) => (Code::RequestNumber, message),
            Numbered::TooManyOpen => {
                let most = limits::OPEN_REQUESTS;
                (
                    Code::TooManyOpen,
                    format!("{most} answers are kept: raise the low-water mark, then repeat"),
                )
            }
        };
        self.refuse(peer, Some(request), None, Refusal::new(code, message), out);
        false
    }

    fn client_hello(&mut self, peer: Peer, role: Role, hello: &ClientHello, out: &mut Vec<Action>) {
        if hello.pilot.is_some_and(|pilot| pilot != self.config.pilot) {
            let message = format!(
                "this is another pilot than the one you were with: {}",
                self.config.pilot
            );
            return self.refuse(peer, None, None, Refusal::new(Code::OtherPilot, message), out);
        }
        self.client_has_seen(role, hello, out);
        if let Some(refusal) = self.refused_behind().filter(|_| !Self::may_read_on(hello)) {
            return self.refuse(peer, None, None, refusal, out);
        }
        if hello.session.len() > limits::NAME_BYTES {
            let message = format!("a session's name has at most {} bytes", limits::NAME_BYTES);
            return self.refuse(peer, None, None, Refusal::new(Code::TooLarge, message), out);
        }
        match self.seat(peer, role, hello, out) {
            Ok((seat, fresh)) => self.attach(peer, role, hello, seat, fresh, out),
            Err(refusal) => self.refuse(peer, None, None, refusal, out),
        }
    }

    /// The attachment that a hello is for, and whether its holder is new to it.
    fn seat(
        &mut self,
        peer: Peer,
        role: Role,
        hello: &ClientHello,
        out: &mut Vec<Action>,
    ) -> Result<(u64, bool), Refusal> {
        if let Some(resume) = &hello.resume {
            let right = Token::derive(&self.config.secret, Role::Client, resume.peer).verify(&resume.token);
            let seat = self.holders.get(&resume.peer).copied().filter(|_| right);
            let seat = seat.filter(|seat| {
                self.attachments
                    .get(seat)
                    .is_some_and(|a| a.holder == resume.peer)
            });
            return match seat {
                Some(seat) => Ok((seat, false)),
                None if right => Err(Refusal::new(
                    Code::TakenOver,
                    "the attachment has ended or was taken over by another client",
                )),
                None => Err(Refusal::new(
                    Code::WrongToken,
                    "the token is not the one that this attachment was given",
                )),
            };
        }
        if role != Role::Client && hello.kind == SessionKind::Exclusive && !hello.session.is_empty() {
            let message = "an observer attaches to shared sessions or to one without a name";
            return Err(Refusal::new(Code::NotAllowed, message));
        }
        let known = self
            .session_names
            .get(&hello.session)
            .copied()
            .filter(|_| !hello.session.is_empty());
        let Some(session) = known else {
            if self.sessions.len() >= limits::SESSIONS && !self.drop_idle_session(out) {
                let message = format!("the pilot has {} sessions, all of them in use", limits::SESSIONS);
                return Err(Refusal::new(Code::AgentFull, message));
            }
            let number = self.number();
            let (name, kind) = (hello.session.clone(), hello.kind);
            self.open_session(number, name.clone(), kind);
            let record = Record::Session {
                session: number,
                name,
                kind,
            };
            self.commit(record, out);
            return Ok((self.new_seat(number, role), true));
        };
        let (kind, first) = {
            let session = &self.sessions[&session];
            (session.kind, session.attachments.first().copied())
        };
        if kind != hello.kind {
            let message = format!(
                "session {:?} was opened as the other kind, {kind:?}",
                hello.session
            );
            return Err(Refusal::new(Code::SessionKind, message));
        }
        match (kind, first) {
            (SessionKind::Exclusive, Some(seat)) => {
                // A hello that comes again on the same connection is of the same client.
                if self.attachments[&seat].peer.is_some_and(|other| other != peer) && !hello.takeover {
                    let message = format!(
                        "session {:?} is in use by another client: end that one, wait, or ask to take over",
                        hello.session
                    );
                    return Err(Refusal::new(Code::SessionInUse, message));
                }
                Ok((seat, true))
            }
            _ => Ok((self.new_seat(session, role), true)),
        }
    }

    pub(super) fn open_session(&mut self, number: u64, name: String, kind: SessionKind) {
        if !name.is_empty() {
            self.session_names.insert(name.clone(), number);
        }
        let session = Session {
            number,
            name,
            kind,
            attachments: Vec::new(),
            last: None,
            uids: std::collections::BTreeMap::new(),
        };
        self.sessions.insert(number, session);
    }

    fn new_seat(&mut self, session: u64, role: Role) -> u64 {
        let number = self.number();
        self.open_seat(number, session, role);
        number
    }

    pub(super) fn open_seat(&mut self, number: u64, session: u64, role: Role) {
        let attachment = Attachment {
            number,
            session,
            role,
            holder: 0,
            peer: None,
            welcomed: false,
            detached: None,
            cancel_after: 0,
            requests: Requests::default(),
            outbox: Outbox::default(),
            window: (0, 0),
            waits: 0,
            repeats: Some(0),
            awaited: false,
            kept: Vec::new(),
        };
        self.attachments.insert(number, attachment);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.attachments.push(number);
        }
    }

    fn attach(
        &mut self,
        peer: Peer,
        role: Role,
        hello: &ClientHello,
        seat: u64,
        fresh: bool,
        out: &mut Vec<Action>,
    ) {
        self.returns(seat, fresh, hello, out);
        let holder = if fresh {
            self.number()
        } else {
            self.attachments[&seat].holder
        };
        if let Some(old) = self.attachments[&seat].peer.filter(|old| *old != peer) {
            self.clients.remove(&old);
            self.waiting.retain(|waiting| waiting.peer != old);
            self.readings.leave(old);
            self.requests.leave(old, self.now);
            if fresh {
                let refusal = Refusal::new(
                    Code::TakenOver,
                    "another client took the session over, as it asked to",
                );
                out.push(Action::ToClient {
                    peer: old,
                    message: Detached { refusal }.into(),
                    blobs: Vec::new(),
                });
            }
        }
        // A connection has one seat: what it had before is left.
        if let Some(before) = self.clients.insert(peer, seat).filter(|before| *before != seat) {
            self.detach(before);
        }
        let session = self.attachments[&seat].session;
        let unnamed = self.sessions[&session].name.is_empty();
        let attachment = self.attachments.get_mut(&seat).expect("the seat is known");
        if fresh {
            self.holders.remove(&attachment.holder);
            self.holders.insert(holder, seat);
        }
        attachment.holder = holder;
        attachment.role = role;
        if attachment.peer.replace(peer) != Some(peer) {
            attachment.waits = 0;
        }
        attachment.detached = None;
        attachment.cancel_after = match hello.cancel_after_ms.saturating_mul(1_000) {
            0 if unnamed => UNNAMED_KEPT,
            asked => asked,
        };
        let cancel_after = attachment.cancel_after;
        self.reserve_numbers(out);
        if fresh {
            let record = Record::Seat {
                seat,
                session,
                role,
                holder,
                cancel_after,
            };
            self.commit(record, out);
        } else if hello.incarnation == self.config.incarnation {
            // Of another life it says nothing: deliveries are counted anew.
            self.collected(seat, hello.deliveries, out);
        }
        if fresh || !hello.brings {
            self.settle_seat(seat, out);
        }
        self.untold.insert(seat);
        let attachment = self.attachments.get_mut(&seat).expect("the seat is known");
        attachment.outbox.begin_again();
        attachment.welcomed = false;
        let token = Token::derive(&self.config.secret, Role::Client, holder);
        let welcome = ClientWelcome {
            pilot_name: self.config.pilot_name.clone(),
            pilot: self.config.pilot,
            incarnation: self.config.incarnation,
            session: seat,
            resume: Resume { peer: holder, token },
            request_high: attachment.requests.high,
            delivery_next: attachment.outbox.next(),
            window: (limits::WINDOW_TASKS, limits::WINDOW_BYTES),
            modes: self.modes(),
            software: self.config.software.clone(),
            journal: self.config.journal,
            mark: JournalMark {
                record: self.known_as(self.records),
                ..self.mark()
            },
        };
        // A token that was given and is not on disk is worth nothing in the next life: that is for those who would get no further
        // anyhow than to read.
        let reads = fresh && Self::may_read_on(hello);
        self.answers.push_welcome(self.records, peer, welcome, reads);
    }

    /// Its welcome has gone out: what waits for it comes behind.
    pub(super) fn welcomed(&mut self, peer: Peer, out: &mut Vec<Action>) {
        let Some(seat) = self.clients.get(&peer).copied() else {
            return;
        };
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        attachment.welcomed = true;
        for (results, blobs) in attachment.outbox.again() {
            out.push(Action::ToClient {
                peer,
                message: results.into(),
                blobs,
            });
        }
        self.delivering.insert(seat);
    }

    /// Deliveries up to this one were taken in.
    fn collected(&mut self, seat: u64, delivery: u64, out: &mut Vec<Action>) {
        let Some(attachment) = self.attachments.get_mut(&seat) else {
            return;
        };
        let runs = attachment.outbox.acknowledge(delivery);
        if self.config.journal && !runs.is_empty() {
            self.commit(Record::Collected { runs }, out);
        }
    }

    pub(super) fn client_gone(&mut self, peer: Peer) {
        if let Some(seat) = self.clients.remove(&peer) {
            self.detach(seat);
        }
        self.waiting.retain(|waiting| waiting.peer != peer);
        self.readings.leave(peer);
        self.requests.leave(peer, self.now);
    }

    pub(super) fn ping_clients(&mut self, out: &mut Vec<Action>) {
        for peer in self.clients.keys() {
            out.push(Action::ToClient {
                peer: *peer,
                message: ClientPing::default().into(),
                blobs: Vec::new(),
            });
        }
    }

    pub(super) fn detach(&mut self, seat: u64) {
        let Some(attachment) = self.attachments.get_mut(&seat) else {
            return;
        };
        attachment.peer = None;
        attachment.waits = 0;
        attachment.detached = Some(self.now);
        let shared = self
            .sessions
            .get(&attachment.session)
            .is_some_and(|s| s.kind == SessionKind::Shared);
        let after = match attachment.cancel_after {
            // A terminal that is gone is looked at again, since nobody says goodbye for it.
            0 if shared => UNATTENDED,
            0 => return,
            after => after,
        };
        self.timers
            .add(self.now.saturating_add(after), Timer::Abandoned(seat));
    }

    /// A client leaves: an unnamed session ends with it.
    fn goodbye(&mut self, peer: Peer, seat: u64, out: &mut Vec<Action>) {
        self.client_gone(peer);
        let session = self.attachments[&seat].session;
        if self.sessions[&session].name.is_empty() {
            self.end_seat(seat, "its client has gone", out);
        } else {
            self.drop_idle_seat(seat, out);
        }
    }

    /// Drops a seat of a shared session that nobody is in and nothing is on its way to.
    fn drop_idle_seat(&mut self, seat: u64, out: &mut Vec<Action>) -> bool {
        let Some(attachment) = self.attachments.get(&seat) else {
            return true;
        };
        let shared = self.sessions[&attachment.session].kind == SessionKind::Shared;
        let idle =
            shared && attachment.peer.is_none() && attachment.window.0 == 0 && attachment.outbox.is_empty();
        if idle {
            self.drop_seat(seat, out);
        }
        idle
    }

    pub(super) fn abandoned(&mut self, seat: u64, out: &mut Vec<Action>) {
        let Some(attachment) = self.attachments.get(&seat) else {
            return;
        };
        if attachment.cancel_after == 0 {
            if attachment.detached.is_some() && !self.drop_idle_seat(seat, out) {
                self.timers.add(self.now + UNATTENDED, Timer::Abandoned(seat));
            }
            return;
        }
        let due = attachment
            .detached
            .is_some_and(|since| since.saturating_add(attachment.cancel_after) <= self.now);
        if due {
            self.end_seat(seat, "its client has been gone for too long", out);
        }
    }

    /// Cancels what a seat brought, and drops the seat.
    fn end_seat(&mut self, seat: u64, why: &str, out: &mut Vec<Action>) {
        let brought: Vec<u64> = self.attachments[&seat]
            .requests
            .submissions
            .values()
            .copied()
            .collect();
        for number in brought {
            let Some(count) = self.tasks.get(number).map(crate::task::Submission::count) else {
                continue;
            };
            self.cancel_range(
                number,
                0,
                count,
                scalems_protocol::state::Strength::Request,
                why,
                out,
            );
            self.close_submission(number, out);
        }
        self.drop_seat(seat, out);
    }

    fn drop_seat(&mut self, seat: u64, out: &mut Vec<Action>) {
        self.settle_seat(seat, out);
        if self.remove_seat(seat) {
            self.commit(Record::SeatGone { seat }, out);
        }
    }

    /// Whether there was one.
    pub(super) fn remove_seat(&mut self, seat: u64) -> bool {
        self.unsay(seat);
        let Some(attachment) = self.attachments.remove(&seat) else {
            return false;
        };
        // Its results take no memory any more.
        self.schedule = true;
        self.holders.remove(&attachment.holder);
        if let Some(session) = self.sessions.get_mut(&attachment.session) {
            session.attachments.retain(|number| *number != seat);
            if session.name.is_empty() {
                self.sessions.remove(&attachment.session);
            }
        }
        true
    }

    /// Makes room for one more session: the first that nobody uses and that has nothing left goes.
    fn drop_idle_session(&mut self, out: &mut Vec<Action>) -> bool {
        let idle = self.sessions.values().find(|session| {
            session.attachments.iter().all(|seat| {
                let attachment = &self.attachments[seat];
                attachment.peer.is_none()
                    && attachment.outbox.is_empty()
                    && attachment.requests.submissions.is_empty()
            })
        });
        let Some((number, seats)) = idle.map(|session| (session.number, session.attachments.clone())) else {
            return false;
        };
        for seat in seats {
            self.drop_seat(seat, out);
        }
        self.close_session(number);
        self.commit(Record::SessionGone { session: number }, out);
        true
    }

    pub(super) fn close_session(&mut self, number: u64) {
        if let Some(session) = self.sessions.remove(&number) {
            self.session_names.remove(&session.name);
        }
    }

    fn client_stop(&mut self, peer: Peer, stop: &Stop, out: &mut Vec<Action>) {
        let Some(number) = stop.worker else {
            self.stop(stop.drain_ms);
            return self.reply(peer, stop.id, Reply::Stopping, Vec::new(), out);
        };
        let worker = u32::try_from(number)
            .ok()
            .and_then(|number| self.workers.get(&number));
        let Some(worker) = worker.filter(|worker| worker.lives()) else {
            let message = format!("no worker {number} lives in this pilot; `scalems worker list` shows them");
            return self.refuse(
                peer,
                None,
                Some(stop.id),
                Refusal::new(Code::NothingSelected, message),
                out,
            );
        };
        let number = worker.number;
        let until = self.now.saturating_add(stop.drain_ms.saturating_mul(1_000));
        self.drain(number, until, "a client asked for it", out);
        self.reply(peer, stop.id, Reply::Stopping, Vec::new(), out);
    }

    /// Modes that workers serve now.
    pub(super) fn modes(&self) -> Vec<String> {
        let modes = self
            .workers
            .values()
            .filter(|worker| worker.lives())
            .flat_map(|worker| worker.modes.keys());
        let modes: std::collections::BTreeSet<&String> = modes.collect();
        modes.into_iter().cloned().collect()
    }
}
