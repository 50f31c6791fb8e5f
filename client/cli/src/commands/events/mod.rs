//! `scalems events`: what happens in a pilot, a line each, for people and for programs.

mod fold;

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use scalems_client::protocol::client::{Page, Question, Reply, SubmissionRow};
use scalems_client::protocol::error::Code;
use scalems_client::protocol::event::Topic;
use scalems_client::protocol::select::Selector;
use scalems_client::{ClientError, Events, Listening, Pending, Session, SessionEnd, Update};
use serde_json::{Map, Value, json};

use self::fold::{Fold, Line};
use super::observe;
use crate::Context;
use crate::args::{EventTopic, EventsArgs, Output};
use crate::exit::{Exit, Misuse};
use crate::interrupt;
use crate::moment::iso;
use crate::print;

/// Submissions that are listened to at once: each is a topic of its own.
const SUBMISSIONS: usize = 1_024;
/// How long the state of a topic may take.
const STATE: Duration = Duration::from_secs(30);
/// One wait at the agent for the end of what is selected.
const WAIT: Duration = Duration::from_secs(60);

type Ended = Pending<(Reply, Vec<scalems_client::protocol::Bytes>)>;

pub(crate) fn run(context: &Context, args: &EventsArgs) -> anyhow::Result<Exit> {
    let jsonl = match context.output {
        Output::Human => false,
        Output::Jsonl => true,
        Output::Json | Output::Quiet => {
            return Err(Misuse("events come one a line: use --output jsonl, or human".to_owned()).into());
        }
    };
    interrupt::install(&[Signal::SIGINT, Signal::SIGTERM])?;
    let session = observe(context)?;
    let mut told = Told::new(&session, jsonl)?;
    let topics = topics(&session, args)?;
    let (wake, woken) = sync_channel(1);
    let mut listening: Vec<Listened> = topics
        .into_iter()
        .map(|topic| Listened::new(&session, topic, wake.clone()))
        .collect();
    if !args.follow {
        return states(&mut listening, &woken, &mut told);
    }
    told.connected()?;
    follow(&session, args.select.as_ref(), &mut listening, &woken, &mut told)
}

/// One topic, and what wakes us when something of it comes.
struct Listened {
    events: Events,
    _waking: Listening,
    /// Whether its state has come, or never will.
    known: bool,
}

impl Listened {
    fn new(session: &Session, topic: Topic, wake: std::sync::mpsc::SyncSender<()>) -> Self {
        let waking = session.on_event(topic.clone(), move |_| {
            // One word is enough, however much has come.
            let _woken = wake.try_send(());
        });
        Self {
            events: session.events(topic),
            _waking: waking,
            known: false,
        }
    }

    /// Tells what has come.
    fn tell(&mut self, told: &mut Told) -> anyhow::Result<()> {
        while let Some(update) = self.events.try_next() {
            self.known |= matches!(update, Update::Snapshot(_) | Update::Refused(_));
            told.update(self.events.topic(), &update)?;
        }
        Ok(())
    }
}

/// The topics that are meant.
fn topics(session: &Session, args: &EventsArgs) -> anyhow::Result<Vec<Topic>> {
    let mut wanted = args.topic.clone();
    wanted.sort();
    wanted.dedup();
    if wanted.is_empty() && args.select.is_none() {
        wanted = vec![EventTopic::Workers, EventTopic::Alarms];
    }
    let named = wanted.into_iter().map(|topic| match topic {
        EventTopic::Summary => Topic::Summary,
        EventTopic::Workers => Topic::Workers,
        EventTopic::Alarms => Topic::Alarms,
        EventTopic::Submissions => Topic::Submissions,
        EventTopic::Faults => Topic::Faults,
        EventTopic::Health => Topic::Health,
    });
    let mut topics: Vec<Topic> = named.collect();
    if let Some(select) = &args.select {
        let rows = submissions(session, select)?;
        anyhow::ensure!(
            rows.len() <= SUBMISSIONS,
            Misuse(format!(
                "{} submissions are selected, and {SUBMISSIONS} can be listened to at once: select fewer, or \
                 --topic summary",
                rows.len()
            ))
        );
        topics.extend(rows.iter().map(|row| Topic::Submission(row.submission)));
    }
    Ok(topics)
}

/// The submissions that are selected, or have tasks that are.
fn submissions(session: &Session, select: &Selector) -> Result<Vec<SubmissionRow>, ClientError> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = session.ask_submissions(Page {
            select: select.clone(),
            after,
            rows: 0,
        })?;
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() || rows.len() > SUBMISSIONS {
            return Ok(rows);
        }
    }
}

/// Tells what is known now.
fn states(listening: &mut [Listened], woken: &Receiver<()>, told: &mut Told) -> anyhow::Result<Exit> {
    let until = Instant::now() + STATE;
    loop {
        for listened in listening.iter_mut().filter(|listened| !listened.known) {
            listened.tell(told)?;
        }
        let Some(missing) = listening.iter().find(|listened| !listened.known) else {
            return Ok(Exit::Well);
        };
        if interrupt::seen() {
            return Ok(Exit::Interrupted);
        }
        if Instant::now() >= until {
            let name = missing.events.topic().name();
            eprintln!("scalems: the agent does not say within {STATE:?} how {name} is");
            return Ok(Exit::TimedOut);
        }
        // Whatever it says, the loop looks again.
        let _woken = woken.recv_timeout(interrupt::SLICE);
    }
}

/// Tells what happens until all selected tasks have ended, the pilot has, or a signal comes.
fn follow(
    session: &Session,
    select: Option<&Selector>,
    listening: &mut [Listened],
    woken: &Receiver<()>,
    told: &mut Told,
) -> anyhow::Result<Exit> {
    let mut ending = select.map(|select| wait(session, select)).transpose()?;
    loop {
        told.connection(session)?;
        for listened in &mut *listening {
            listened.tell(told)?;
        }
        if let Some(end) = session.over() {
            return told.over(&end);
        }
        if interrupt::seen() {
            return Ok(Exit::Interrupted);
        }
        if let Some((select, answer)) = select.zip(ending.as_ref().and_then(Pending::try_take)) {
            match answer {
                Ok((Reply::Ended(_), _)) => {
                    for row in submissions(session, select)? {
                        told.line(&fold::ended(row.submission, &row.tasks))?;
                    }
                    return Ok(Exit::Well);
                }
                Err(ClientError::Refused { refusal, .. }) if refusal.code == Code::TimedOut => {
                    ending = Some(wait(session, select)?);
                }
                Err(ClientError::TimedOut { .. }) => ending = Some(wait(session, select)?),
                // The pilot's end is told above.
                Err(ClientError::Over(_)) => ending = None,
                Ok(_) => return Err(ClientError::WrongAnswer { asked: "wait" }.into()),
                Err(error) => return Err(error.into()),
            }
        }
        // Whatever it says, the loop looks again.
        let _woken = woken.recv_timeout(interrupt::SLICE);
    }
}

/// Asks the agent to say when all that is selected has ended.
fn wait(session: &Session, select: &Selector) -> Result<Ended, ClientError> {
    let question = Question::Wait {
        select: select.clone(),
        timeout_ms: WAIT.as_millis() as u64,
    };
    session.ask(question, 2 * WAIT)
}

/// A line as programs read it.
#[derive(serde::Serialize)]
struct Whole<'a> {
    at: String,
    at_ms: u64,
    topic: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

/// Who tells.
struct Told {
    fold: Fold,
    jsonl: bool,
    pilot: String,
    incarnation: u64,
    connected: bool,
    /// When the agent began, as far as its clock says.
    begun: SystemTime,
}

impl Told {
    fn new(session: &Session, jsonl: bool) -> anyhow::Result<Self> {
        let status = session.ask_status()?;
        Ok(Self {
            fold: Fold::default(),
            jsonl,
            pilot: status.pilot_name,
            incarnation: status.incarnation,
            connected: true,
            begun: SystemTime::now() - Duration::from_millis(status.up_ms),
        })
    }

    fn update(&mut self, topic: &Topic, update: &Update) -> anyhow::Result<()> {
        for line in self.fold.take(topic, update) {
            self.line(&line)?;
        }
        Ok(())
    }

    fn line(&self, line: &Line) -> anyhow::Result<()> {
        let now = SystemTime::now();
        let at = match line.at_ms {
            Some(ms) => self.begun + Duration::from_millis(ms),
            None => now,
        };
        if !self.jsonl {
            let time = iso(at);
            let time = time.get(11..19).unwrap_or(&time);
            return print::out(&format!("{time}  {}\n", line.text));
        }
        let since = at.duration_since(self.begun).unwrap_or_default();
        let at_ms = line.at_ms.unwrap_or(since.as_millis() as u64);
        let whole = Whole {
            at: iso(at),
            at_ms,
            topic: &line.topic,
            kind: &line.kind,
            fields: &line.fields,
        };
        print::out(&format!("{}\n", serde_json::to_string(&whole)?))
    }

    fn agent(&self, kind: &str, text: &str, mut more: Value) -> anyhow::Result<()> {
        more["pilot"] = self.pilot.as_str().into();
        more["incarnation"] = self.incarnation.into();
        self.line(&Line::new("agent", kind, more, text.to_owned()))
    }

    fn connected(&self) -> anyhow::Result<()> {
        let text = format!("listening to pilot {}", print::safe(&self.pilot));
        self.agent("connected", &text, json!({}))
    }

    /// Tells when the agent goes, or comes back.
    fn connection(&mut self, session: &Session) -> anyhow::Result<()> {
        let connected = session.is_connected();
        if std::mem::replace(&mut self.connected, connected) == connected {
            return Ok(());
        }
        if !connected {
            return self.agent("lost", "the agent is not reached any more", json!({}));
        }
        let incarnation = session
            .pilot()
            .map_or(self.incarnation, |pilot| pilot.incarnation);
        if incarnation == self.incarnation {
            return self.agent("back", "the agent is reached again", json!({}));
        }
        self.incarnation = incarnation;
        self.fold.restarted();
        if let Ok(status) = session.ask_status() {
            self.begun = SystemTime::now() - Duration::from_millis(status.up_ms);
        }
        self.agent("restarted", "another agent goes on with the pilot", json!({}))
    }

    fn over(&self, end: &SessionEnd) -> anyhow::Result<Exit> {
        let well = matches!(end, SessionEnd::Detached(refusal) if refusal.code == Code::Stopping);
        let reason = end.to_string();
        let text = format!("nothing more comes: {}", print::safe(&reason));
        self.agent("ended", &text, json!({"reason": reason}))?;
        Ok(if well { Exit::Well } else { Exit::NoPilot })
    }
}
