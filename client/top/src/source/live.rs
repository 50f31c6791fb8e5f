//! A pilot that lives: a session that listens, and one that acts once something is to be done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use scalems_client::protocol::Bytes;
use scalems_client::protocol::Role;
use scalems_client::protocol::client::{Page, Question, Reply, Status};
use scalems_client::protocol::event::{Body, Topic};
use scalems_client::protocol::select::Selector;
use scalems_client::protocol::state::Strength;
use scalems_client::{ClientError, Events, Pending, Session, SessionOptions, Update, locate};
use scalems_transport::ConnectionFile;

use super::{Action, Answer, Asked, For, Link, News, Source};

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the first connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an agent that is away is looked for: whoever leaves the monitor open comes back to it.
const GIVE_UP: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Updates of one topic that are taken at once: what comes faster is taken the next time.
const TAKEN: usize = 256;

/// What is listened to. The topics of single submissions are of no use to screens, which show many.
const TOPICS: [Topic; 6] = [
    Topic::Summary,
    Topic::Submissions,
    Topic::Workers,
    Topic::Alarms,
    Topic::Faults,
    Topic::Health,
];

/// Which pilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// By its name; none: the one that runs.
    Named(Option<String>),
    /// By its connection file, or the directory of that.
    At(PathBuf),
}

/// All that a pilot says of itself.
#[derive(Clone, Debug)]
pub struct Everything {
    /// The states of the topics.
    pub states: Vec<(Topic, Update)>,
    /// The pilot as a whole.
    pub status: Status,
}

/// A pilot that lives.
pub struct Live {
    session: Session,
    /// What becomes of the action that is under way.
    acting: Option<Receiver<Result<String, String>>>,
    /// The connection file of the client's role.
    client: PathBuf,
    pilot: String,
    topics: Vec<Events>,
    asked: BTreeMap<For, Pending<(Reply, Vec<Bytes>)>>,
    done: Vec<News>,
}

impl Live {
    /// The states of all topics, with all workers, and the pilot as a whole. `None`: the agent has not said them in time.
    pub fn everything(&mut self, patience: Duration) -> Result<Option<Everything>, ClientError> {
        let until = Instant::now() + patience;
        let mut told = Vec::new();
        for events in &mut self.topics {
            let left = until.saturating_duration_since(Instant::now());
            let Some(state) = events.next_within(left)? else {
                return Ok(None);
            };
            told.push((events.topic().clone(), state));
        }
        let rows = self.session.ask_workers()?;
        told.push((Topic::Workers, Update::Snapshot(Body::Workers { rows })));
        let status = self.session.ask_status()?;
        Ok(Some(Everything { states: told, status }))
    }

    /// Connects as an observer where there is a key for that: who only looks needs no more.
    pub fn connect(place: &Where) -> Result<Self, ClientError> {
        let located = match place {
            Where::Named(name) => locate::find(name.as_deref())?,
            Where::At(path) => locate::Located::read(path)?,
        };
        let client = located.path.clone();
        let pilot = located.file.pilot.clone();
        let observer = beside(&client, Role::Observer);
        let file = if observer.exists() { &observer } else { &client };
        let session = options().give_up_after(GIVE_UP).connect(file)?;
        let topics = TOPICS.map(|topic| session.events(topic)).into();
        Ok(Self {
            session,
            acting: None,
            client,
            pilot,
            topics,
            asked: BTreeMap::new(),
            done: Vec::new(),
        })
    }
}

impl Source for Live {
    fn news(&mut self) -> Vec<News> {
        let mut news = std::mem::take(&mut self.done);
        if let Some(tells) = &self.acting {
            match tells.try_recv() {
                Ok(done) => {
                    news.push(News::Done(done));
                    self.acting = None;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.acting = None,
            }
        }
        for events in &mut self.topics {
            for _ in 0..TAKEN {
                let Some(update) = events.try_next() else { break };
                news.push(News::Update(events.topic().clone(), update));
            }
        }
        self.asked.retain(|what, pending| {
            let Some(answer) = pending.try_take() else {
                return true;
            };
            let answer = answer.map(|(reply, blobs)| read(*what, reply, blobs));
            news.push(News::Answer(
                *what,
                answer.map_err(|error| error.to_string()).and_then(|read| read),
            ));
            false
        });
        news
    }

    fn link(&self) -> Link {
        if let Some(end) = self.session.over() {
            return Link::Over(end.to_string());
        }
        if self.session.is_connected() {
            Link::Live
        } else if self.session.pilot().is_some() {
            Link::Lost
        } else {
            Link::Connecting
        }
    }

    fn pilot(&self) -> String {
        self.session
            .pilot()
            .map_or_else(|| self.pilot.clone(), |attached| attached.pilot_name.clone())
    }

    fn ask(&mut self, what: For, asked: Asked) {
        let question = match asked {
            Asked::Question(question) => question,
            Asked::Result(submission, offset) => Question::Results(Page {
                select: Selector::submission(submission),
                after: Some((submission, offset)),
                rows: 1,
            }),
        };
        let timeout = match &question {
            Question::Output(page) => ANSWER + Duration::from_millis(page.timeout_ms),
            _ => ANSWER,
        };
        match self.session.ask(question, timeout) {
            Ok(pending) => drop(self.asked.insert(what, pending)),
            Err(error) => self.done.push(News::Answer(what, Err(error.to_string()))),
        }
    }

    fn is_asked(&self, what: For) -> bool {
        self.asked.contains_key(&what)
    }

    fn act(&mut self, action: Action) {
        if self.acting.is_some() {
            let said = "another action is under way: wait for what becomes of it".to_owned();
            self.done.push(News::Done(Err(said)));
            return;
        }
        let (told, tells) = sync_channel(1);
        let file = self.client.clone();
        let started = std::thread::Builder::new()
            .name("scalems-action".to_owned())
            .spawn(move || {
                // The screen is not there any more if nobody hears it.
                let _gone = told.send(perform(&file, action).map_err(|error| error.to_string()));
            });
        match started {
            Ok(_) => self.acting = Some(tells),
            Err(error) => self
                .done
                .push(News::Done(Err(format!("cannot start a thread: {error}")))),
        }
    }
}

fn options() -> SessionOptions {
    Session::options()
        .software(concat!("scalems-top ", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .answer_timeout(ANSWER)
}

/// The shell's session, whose tasks last: what is submitted again is as if it had been typed there.
const SHELL: &str = "shell";

/// Does something with a session that has the client's key: who looks has an observer's.
fn perform(file: &Path, action: Action) -> Result<String, ClientError> {
    let session = options().name(SHELL).shared().connect(file)?;
    match action {
        Action::Cancel(selected) => {
            let mut count = 0;
            for select in selected {
                let done = session.cancel(select, Strength::Request, "from scalems-top")?;
                count += done.withdrawn + done.told;
            }
            Ok(format!("asked {count} {} to end", plural(count, "task")))
        }
        Action::Retry(selected) => {
            let mut made = Vec::new();
            for select in selected {
                made.push(session.retry(select, false)?.submission.to_string());
            }
            Ok(format!("submitted again as {}", made.join(", ")))
        }
        Action::StopWorkers(workers, drain) => {
            for worker in &workers {
                session.stop(Some(*worker), drain)?;
            }
            let count = workers.len() as u64;
            Ok(format!("{count} {} will go", plural(count, "worker")))
        }
        Action::StopPilot(drain) => {
            session.stop(None, drain)?;
            Ok("the pilot will end".to_owned())
        }
    }
}

fn read(what: For, reply: Reply, blobs: Vec<Bytes>) -> Result<Answer, String> {
    match (what, reply) {
        (For::Output, Reply::Output(part)) => Ok(Answer::Output(*part)),
        (For::Result, reply @ Reply::Results(_)) => {
            let page = scalems_client::ResultsPage::of((reply, blobs)).map_err(|error| error.to_string())?;
            let held = page.results.into_iter().next();
            let held = held.ok_or("its result is not held any more: a client has taken it")?;
            match held.result.program() {
                Ok(ended) => Ok(Answer::Ended(ended.stdout.clone(), ended.stderr.clone())),
                Err(_) => Err("it is no program: what it has is its value".to_owned()),
            }
        }
        (_, reply) => Ok(Answer::Reply(Box::new(reply))),
    }
}

/// The connection file of another role beside this one.
fn beside(client: &Path, role: Role) -> PathBuf {
    client.with_file_name(ConnectionFile::file_name(role))
}

fn plural(count: u64, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}
