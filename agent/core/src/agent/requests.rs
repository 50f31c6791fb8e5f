//! Workers that are requested (`docs/spec/2-client`, section "Requested workers"). Requests are soft: another life of the
//! agent knows nothing of them, and finds what was started of them with who starts workers.

mod quota;
mod starter;

use std::collections::{BTreeMap, BTreeSet};

use scalems_protocol::client::{
    Layout, Refused, Reply, RequestRow, RequestRows, RequestState, RequestWorkers, RequestsPage,
    StartedWorker, WorkersRequested,
};
use scalems_protocol::error::{Code, Refusal};
use scalems_protocol::id::Origin;
use scalems_protocol::limits;
use scalems_protocol::task::{CORES, GPUS, MEMORY};

use super::Agent;
use super::listing::Rows;
use crate::interface::{Action, Micros, Peer};
use crate::queue::Way;
use crate::worker::{Standing, Worker};
use starter::{Asked, Attached};

/// Requests, and who starts workers.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    starter: Option<Attached>,
    /// Those in whose place another one came, with what they wait for; one for each connection at most.
    displaced: Vec<(Peer, Asked)>,
    /// When there was last nobody: the agent's begin, or when the last one left.
    away_since: Micros,
    /// By their short numbers; those that are over go first when there are too many.
    known: BTreeMap<u64, WorkerRequest>,
    last: u64,
    last_start: u64,
    /// Places whose workers end, or have ended: they are not to be kept.
    leaving: BTreeSet<String>,
    waits: Vec<Wait>,
    /// Whether something happened that they may lead to something by.
    stirred: bool,
}

/// One request for workers.
#[derive(Clone, Debug)]
struct WorkerRequest {
    origin: Origin,
    session: String,
    count: u32,
    layout: Layout,
    replace: Option<Replaced>,
    drain: Micros,
    patience: Micros,
    made: Micros,
    until: Micros,
    /// What was told to be started, once it is known where.
    starts: Vec<Started>,
    /// Why it failed.
    failed: Option<String>,
}

/// The worker in whose place others come.
#[derive(Clone, Debug)]
struct Replaced {
    worker: u32,
    name: String,
    place: String,
    /// Whether it has ended.
    ended: bool,
}

/// A worker that is to be started.
#[derive(Clone, Debug)]
struct Started {
    start: u64,
    node: String,
    /// As who started it says.
    place: Option<String>,
    /// What has joined.
    worker: Option<StartedWorker>,
    failed: Option<String>,
}

/// A client that waits for a request to be over.
#[derive(Clone, Debug)]
struct Wait {
    peer: Peer,
    seat: u64,
    ask: u64,
    id: u64,
    /// Whether it was not known yet if there is room.
    unplaced: bool,
    until: Micros,
}

impl WorkerRequest {
    fn state(&self) -> RequestState {
        if self.failed.is_some() {
            RequestState::Failed
        } else if self.starts.is_empty() {
            RequestState::Requested
        } else if self.replace.as_ref().is_some_and(|replaced| !replaced.ended) {
            RequestState::Ending
        } else if self.starts.iter().all(|start| start.worker.is_some()) {
            RequestState::Started
        } else {
            RequestState::Starting
        }
    }

    fn is_over(&self) -> bool {
        self.state().is_over()
    }

    fn reason(&self) -> String {
        if let Some(failed) = &self.failed {
            return failed.clone();
        }
        match self.state() {
            RequestState::Requested => "waits for who starts workers".to_owned(),
            RequestState::Ending => {
                let name = self
                    .replace
                    .as_ref()
                    .map_or("?", |replaced| replaced.name.as_str());
                format!("waits for the end of worker {name}")
            }
            RequestState::Starting => {
                let joined = self.starts.iter().filter(|start| start.worker.is_some()).count();
                format!("{joined} of {} workers have joined", self.count)
            }
            RequestState::Started | RequestState::Failed => String::new(),
        }
    }

    fn row(&self, id: u64, now: Micros) -> RequestRow {
        let left = if self.is_over() {
            0
        } else {
            self.until.saturating_sub(now)
        };
        RequestRow {
            id,
            session: self.session.clone(),
            count: self.count,
            layout: self.layout.clone(),
            replace: self.replace.as_ref().map(|replaced| u64::from(replaced.worker)),
            state: self.state(),
            workers: self
                .starts
                .iter()
                .filter_map(|start| start.worker.clone())
                .collect(),
            reason: self.reason(),
            age_ms: now.saturating_sub(self.made) / 1_000,
            left_ms: left / 1_000,
        }
    }
}

impl Requests {
    pub(super) fn began(&mut self, now: Micros) {
        self.away_since = now;
    }

    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    /// When the first deadline of a request, a wait or who starts workers is over.
    pub(super) fn deadline(&self) -> Option<Micros> {
        let open = self.known.values().filter(|request| !request.is_over());
        let asked = self.starter.as_ref().and_then(Attached::until);
        open.map(|request| request.until)
            .chain(self.waits.iter().map(|wait| wait.until))
            .chain(asked)
            .chain(self.displaced.iter().map(|(_, (_, until))| *until))
            .min()
    }

    /// Nobody is at this connection any more.
    pub(super) fn leave(&mut self, peer: Peer, now: Micros) {
        self.waits.retain(|wait| wait.peer != peer);
        self.displaced.retain(|(other, _)| *other != peer);
        if self.starter.take_if(|starter| starter.peer == peer).is_some() {
            self.away_since = now;
        }
    }
}

impl Agent {
    pub(super) fn request_workers(
        &mut self,
        peer: Peer,
        seat: u64,
        asked: RequestWorkers,
        out: &mut Vec<Action>,
    ) {
        let request = asked.request;
        let answer = match self.take_request(seat, asked, out) {
            Ok(id) => WorkersRequested {
                request,
                id,
                record: 0,
            }
            .into(),
            Err(refusal) => {
                self.count("refused", 1);
                Refused {
                    request: Some(request),
                    id: None,
                    refusal,
                }
                .into()
            }
        };
        if self.disk_full {
            // It changed nothing that lasts, so it waits for nothing.
            self.answer_now(peer, seat, request, answer, out);
        } else {
            self.answer(peer, seat, request, answer);
        }
    }

    fn take_request(
        &mut self,
        seat: u64,
        asked: RequestWorkers,
        out: &mut Vec<Action>,
    ) -> Result<u64, Refusal> {
        if self.stopping.is_some() {
            let message = format!("pilot {} is ending and starts no workers", self.config.pilot_name);
            return Err(Refusal::new(Code::Stopping, message));
        }
        if !self.config.open_to_workers {
            let message = format!(
                "pilot {} was started with --closed: it takes no further workers",
                self.config.pilot_name
            );
            return Err(Refusal::new(Code::PilotClosed, message));
        }
        check(&asked)?;
        let replace = asked.replace.map(|number| self.replaced(number)).transpose()?;
        let Requests {
            starter, away_since, ..
        } = &self.requests;
        let away = self.now.saturating_sub(*away_since) >= limits::STARTER_AWAY_MS * 1_000;
        if starter.is_none() && (away || !self.config.quota.starter) {
            let message = "nobody who starts workers is there: `scalems worker start` does it by hand";
            return Err(Refusal::new(Code::NoStarter, message));
        }
        self.make_room_for_request()?;
        let session = self
            .attachments
            .get(&seat)
            .map_or(0, |attachment| attachment.session);
        let patience = match asked.deadline_ms {
            0 => limits::START_MS,
            asked => asked,
        };
        let request = WorkerRequest {
            origin: Origin {
                session: seat,
                request: asked.request,
            },
            session: self
                .sessions
                .get(&session)
                .map_or_else(String::new, |session| session.name.clone()),
            count: asked.count,
            layout: asked.layout,
            replace,
            drain: asked.drain_ms.saturating_mul(1_000),
            patience: patience * 1_000,
            made: self.now,
            until: self.now + limits::STARTER_AWAY_MS * 1_000,
            starts: Vec::new(),
            failed: None,
        };
        let id = self.requests.last + 1;
        // With somebody there it is known now whether there is room.
        if self.requests.starter.is_some() {
            let request = self.placed(request, out)?;
            self.requests.known.insert(id, request);
        } else {
            self.requests.known.insert(id, request);
        }
        self.requests.last = id;
        self.requests.stir();
        Ok(id)
    }

    /// The worker that is to be replaced, if that can be.
    fn replaced(&self, number: u64) -> Result<Replaced, Refusal> {
        let worker = u32::try_from(number)
            .ok()
            .and_then(|number| self.workers.get(&number));
        let Some(worker) = worker.filter(|worker| worker.lives()) else {
            let message = format!("no worker {number} lives in this pilot; `scalems worker list` shows them");
            return Err(Refusal::new(Code::NothingSelected, message));
        };
        if worker.standing == Standing::Draining {
            let message = format!("worker {number} is ending already");
            return Err(Refusal::new(Code::NothingSelected, message));
        }
        let Some(place) = worker.place.clone() else {
            let message = format!(
                "worker {number} was started by hand: nobody can start another one in its place; stop it and start one there"
            );
            return Err(Refusal::new(Code::NoStarter, message));
        };
        Ok(Replaced {
            worker: worker.number,
            name: worker.name.clone(),
            place,
            ended: false,
        })
    }

    fn make_room_for_request(&mut self) -> Result<(), Refusal> {
        if self.requests.known.len() < limits::WORKER_REQUESTS {
            return Ok(());
        }
        let over = self.requests.known.iter().find(|(_, request)| request.is_over());
        let Some(over) = over.map(|(id, _)| *id) else {
            let message = format!(
                "{} requests for workers are not over yet: wait for some of them",
                limits::WORKER_REQUESTS
            );
            return Err(Refusal::new(Code::AgentFull, message));
        };
        self.requests.known.remove(&over);
        Ok(())
    }

    /// It is known where its workers are to be started; the one in whose place they come is told to end.
    fn placed(
        &mut self,
        mut request: WorkerRequest,
        out: &mut Vec<Action>,
    ) -> Result<WorkerRequest, Refusal> {
        // It was said before, to an earlier life, and what came of it is there.
        request.starts = self.started_for(request.origin);
        if request.starts.is_empty() {
            let without = request.replace.as_ref().map(|replaced| replaced.place.as_str());
            let (nodes, layout) = self.find_room(&request.layout, request.count, without)?;
            request.layout = layout;
            for node in nodes {
                self.requests.last_start += 1;
                request.starts.push(Started {
                    start: (self.config.incarnation << 32) + self.requests.last_start,
                    node,
                    place: None,
                    worker: None,
                    failed: None,
                });
            }
            request.until = self
                .now
                .saturating_add(request.drain)
                .saturating_add(request.patience);
            if let Some(replaced) = &request.replace {
                self.requests.leaving.insert(replaced.place.clone());
                let until = self.now.saturating_add(request.drain);
                self.drain(replaced.worker, until, "it is replaced, as a client asked", out);
            }
        } else {
            request.count = request.starts.len() as u32;
            request.replace = None;
            request.until = self.now.saturating_add(request.patience);
        }
        Ok(request)
    }

    /// Looks at what has come of requests, and tells those who wait, and who starts workers.
    pub(super) fn advance_requests(&mut self, out: &mut Vec<Action>) {
        let due = self
            .requests
            .deadline()
            .is_some_and(|deadline| deadline <= self.now);
        if !self.requests.stirred && !due {
            return;
        }
        self.requests.stirred = false;
        let open: Vec<u64> = self
            .requests
            .known
            .iter()
            .filter(|(_, request)| !request.is_over())
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            if let Some(request) = self.requests.known.remove(&id) {
                let request = self.advance_request(request, out);
                self.requests.known.insert(id, request);
            }
        }
        self.answer_request_waits(out);
        self.tell_starter(out);
    }

    fn advance_request(&mut self, mut request: WorkerRequest, out: &mut Vec<Action>) -> WorkerRequest {
        if request.starts.is_empty() && self.requests.starter.is_some() {
            let again = request.clone();
            match self.placed(request, out) {
                Ok(placed) => request = placed,
                Err(refusal) => {
                    request = again;
                    request.failed = Some(refusal.message);
                    return request;
                }
            }
        }
        let lives = |number: &u32| self.workers.get(number).is_some_and(Worker::lives);
        if let Some(replaced) = &mut request.replace {
            replaced.ended |= !lives(&replaced.worker);
        }
        for start in request.starts.iter_mut().filter(|start| start.worker.is_none()) {
            start.place = start.place.take().or_else(|| self.place_of(start.start));
            let mut living = self.workers.values().filter(|worker| worker.lives());
            let joined = living.find(|worker| worker.place.is_some() && worker.place == start.place);
            start.worker = joined.map(|worker| StartedWorker {
                worker: u64::from(worker.number),
                name: worker.name.clone(),
                host: worker.host.clone(),
            });
        }
        let failed = |start: &&Started| start.failed.is_some() && start.worker.is_none();
        if request
            .starts
            .iter()
            .all(|start| start.worker.is_some() || failed(&start))
            && let Some(start) = request.starts.iter().find(failed)
        {
            let joined = request
                .starts
                .iter()
                .filter(|start| start.worker.is_some())
                .count();
            let why = start.failed.as_deref().unwrap_or_default();
            request.failed = Some(format!(
                "{joined} of {} workers have joined; on {}: {why}",
                request.count, start.node
            ));
        } else if self.now >= request.until && !request.is_over() {
            request.failed = Some(self.too_late(&request));
        }
        request
    }

    fn too_late(&self, request: &WorkerRequest) -> String {
        match request.state() {
            RequestState::Requested => {
                "nobody who starts workers has come: `scalems worker start` does it by hand".to_owned()
            }
            RequestState::Ending => format!("{} in time, and none was started", request.reason()),
            _ => {
                let missing = request.starts.iter().filter(|start| start.worker.is_none());
                let nodes: BTreeSet<&str> = missing.map(|start| start.node.as_str()).collect();
                let nodes = nodes.into_iter().collect::<Vec<_>>().join(", ");
                let starter = if self.requests.starter.is_some() {
                    "in time"
                } else {
                    "in time, and who starts workers has gone"
                };
                format!("{} {starter}; none was heard of on {nodes}", request.reason())
            }
        }
    }

    /// Requests, or one of them, now or when that is over.
    pub(super) fn ask_requests(
        &mut self,
        peer: Peer,
        seat: u64,
        ask: u64,
        page: RequestsPage,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(id) = page.id else {
            let mut listed = Rows::new(0);
            for (id, request) in self.requests.known.range(page.after.saturating_add(1)..) {
                if listed.add(request.row(*id, self.now)).is_err() {
                    let next = listed.last().map(|row| row.id);
                    return Ok(Some(Reply::Requests(listed.listing(next))));
                }
            }
            return Ok(Some(Reply::Requests(listed.listing(None))));
        };
        let Some(request) = self.requests.known.get(&id) else {
            let message = format!(
                "request {id} for workers is not known here (any more): the agent may have been started again since; \
                 `scalems worker list` shows what came of it"
            );
            return Err(Refusal::new(Code::NothingSelected, message));
        };
        if request.is_over() || page.timeout_ms == 0 {
            return Ok(Some(self.request_reply(id)));
        }
        let unplaced = request.state() == RequestState::Requested;
        let attachment = self.attachments.get_mut(&seat).expect("a client's seat is known");
        if attachment.waits >= limits::OPEN_READS {
            let message = format!("this client waits for {} things already", limits::OPEN_READS);
            return Err(Refusal::new(Code::TooManyOpen, message));
        }
        attachment.waits += 1;
        let until = self.now.saturating_add(page.timeout_ms.saturating_mul(1_000));
        self.requests.waits.push(Wait {
            peer,
            seat,
            ask,
            id,
            unplaced,
            until,
        });
        Ok(None)
    }

    fn request_reply(&self, id: u64) -> Reply {
        let row = self
            .requests
            .known
            .get(&id)
            .map(|request| request.row(id, self.now));
        Reply::Requests(RequestRows {
            rows: row.into_iter().collect(),
            next: None,
        })
    }

    fn answer_request_waits(&mut self, out: &mut Vec<Action>) {
        let news = |known: &BTreeMap<u64, WorkerRequest>, wait: &Wait| {
            let state = known.get(&wait.id).map(WorkerRequest::state);
            state.is_none_or(|state| state.is_over() || wait.unplaced && state != RequestState::Requested)
        };
        let now = self.now;
        let Requests { waits, known, .. } = &mut self.requests;
        let answered: Vec<Wait> = waits
            .extract_if(.., |wait| wait.until <= now || news(known, wait))
            .collect();
        for wait in answered {
            if let Some(attachment) = self.attachments.get_mut(&wait.seat) {
                attachment.waits = attachment.waits.saturating_sub(1);
            }
            let reply = self.request_reply(wait.id);
            self.reply(wait.peer, wait.ask, reply, Vec::new(), out);
        }
    }

    /// A requested worker that could run this, if it comes.
    pub(super) fn requested_for(&self, mode: &str, ways: &[Way]) -> Option<String> {
        let served = self.seen.is_empty() || self.seen.iter().any(|(modes, _)| modes.contains_key(mode));
        let mut open = self
            .requests
            .known
            .iter()
            .filter(|(_, request)| !request.is_over());
        let could = |layout: &Layout| {
            let has_all = |way: &Way| {
                let has = |kind: usize| quota::amount(layout, self.kinds.name(kind));
                let mut needs = way.needs.iter();
                needs.all(|(kind, parts)| has(kind).is_none_or(|has| has.parts() >= parts))
            };
            ways.iter().any(has_all)
        };
        let (id, request) = open.find(|(_, request)| served && could(&request.layout))?;
        Some(format!(
            "a worker that could run it is requested (request {id}, {})",
            request.state().name()
        ))
    }

    /// The session that asked for the worker at a place; none: it came with the pilot, or nobody knows.
    pub(super) fn requested_by(&self, worker: &Worker) -> Option<String> {
        self.kept(worker.place.as_deref()?)?.requested_by.clone()
    }
}

/// Whether a request says something that can be.
fn check(asked: &RequestWorkers) -> Result<(), Refusal> {
    let wrong = |message: String| Err(Refusal::new(Code::InvalidValue, message));
    let layout = &asked.layout;
    if asked.count == 0 || asked.count > limits::REQUESTED_WORKERS {
        return wrong(format!(
            "1 to {} workers can be requested at once, not {}",
            limits::REQUESTED_WORKERS,
            asked.count
        ));
    }
    if layout.cores == 0 {
        return wrong("a worker offers at least one core".to_owned());
    }
    let own = [CORES, GPUS, MEMORY];
    let most = limits::RESOURCE_KINDS - own.len();
    if layout.named.len() > most {
        return wrong(format!(
            "a worker offers at most {most} kinds of resources of one's own, not {}",
            layout.named.len()
        ));
    }
    let wrong_name =
        |name: &&String| name.is_empty() || name.len() > limits::NAME_BYTES || own.contains(&name.as_str());
    if let Some(name) = layout.named.keys().find(wrong_name) {
        return wrong(format!("{name:?} is no name of a resource of one's own"));
    }
    let deadline = asked.deadline_ms;
    if deadline > limits::LONGEST_START_MS {
        return wrong(format!(
            "workers that have not joined after {} s are not waited for",
            limits::LONGEST_START_MS / 1_000
        ));
    }
    Ok(())
}
