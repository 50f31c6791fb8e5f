//! A filter's program: started, asked one thing after another, and ended where it does not answer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use scalems_client::protocol::filter::{Asked, Said, frame, read};
use scalems_client::protocol::limits::FILTER_FRAME_BYTES;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::FilterFile;

/// So much is sent ahead of answers: both sides work on batches.
const AHEAD: usize = 64;
/// How long it may take to be ready: imports from a file system that is busy.
const START: Duration = Duration::from_secs(120);

/// An answer, or why there is none.
pub(super) type Answer = Result<Said, String>;

struct Call {
    asked: Asked,
    reply: oneshot::Sender<Answer>,
}

/// Asks a filter's program.
#[derive(Clone)]
pub(super) struct Program {
    calls: mpsc::UnboundedSender<Call>,
}

impl Program {
    /// Starts it beside what else this thread does. It is ended with the last of these.
    pub(super) fn start(file: FilterFile) -> Self {
        // Bounded by the seats of a filter: each asks one thing at a time.
        let (calls, asked) = mpsc::unbounded_channel();
        let keeper = Keeper {
            file,
            asked,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            running: None,
            due: None,
            last: 0,
        };
        tokio::task::spawn_local(keeper.run());
        Self { calls }
    }

    /// What it says.
    pub(super) async fn ask(&self, asked: Asked) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || "nobody keeps its program any more".to_owned();
        self.calls.send(Call { asked, reply }).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What comes from the program; an error is its end.
type Heard = Result<(u64, Said), String>;

struct Running {
    child: Child,
    to: mpsc::UnboundedSender<Vec<u8>>,
    from: mpsc::Receiver<Heard>,
    ready: bool,
}

struct Keeper {
    file: FilterFile,
    asked: mpsc::UnboundedReceiver<Call>,
    waiting: VecDeque<Call>,
    /// In the order in which they are answered.
    sent: VecDeque<(u64, Call)>,
    running: Option<Running>,
    /// When the first answer, or the word that it is ready, is due.
    due: Option<Instant>,
    last: u64,
}

enum Event {
    Asked(Option<Call>),
    Heard(Heard),
    Late,
}

impl Keeper {
    async fn run(mut self) {
        // What is wrong with it is seen before there is anything to ask.
        self.begin();
        loop {
            if self.running.is_none() && !self.waiting.is_empty() {
                self.begin();
            }
            self.send();
            let event = tokio::select! {
                call = self.asked.recv() => Event::Asked(call),
                heard = hear(&mut self.running) => Event::Heard(heard),
                () = late(self.due) => Event::Late,
            };
            match event {
                Event::Asked(Some(call)) => self.waiting.push_back(call),
                Event::Asked(None) => return,
                Event::Heard(Ok((number, said))) => self.hear(number, said).await,
                Event::Heard(Err(why)) => self.ended(&why).await,
                Event::Late => {
                    let limit = if self.is_ready() { self.file.timeout } else { START };
                    self.ended(&format!("did not answer within {limit:?} and was ended"))
                        .await;
                }
            }
        }
    }

    fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.ready)
    }

    fn begin(&mut self) {
        match Running::start(&self.file) {
            Ok(running) => {
                self.running = Some(running);
                self.due = Some(Instant::now() + START);
            }
            Err(error) => self.refuse_all(&format!("cannot be started: {error}")),
        }
    }

    fn send(&mut self) {
        let Some(running) = self.running.as_ref().filter(|running| running.ready) else {
            return;
        };
        while self.sent.len() < AHEAD
            && let Some(call) = self.waiting.pop_front()
        {
            self.last += 1;
            let bytes = frame(self.last, &call.asked);
            if bytes.len() > FILTER_FRAME_BYTES {
                // Nobody may wait any more for the answer.
                let _told = call.reply.send(Err(format!(
                    "is not asked: the task and its results have {} bytes together, and at most {FILTER_FRAME_BYTES} are sent",
                    bytes.len()
                )));
                continue;
            }
            if self.sent.is_empty() {
                self.due = Some(Instant::now() + self.file.timeout);
            }
            // Where it has ended it is heard of as well.
            let _sent = running.to.send(bytes);
            self.sent.push_back((self.last, call));
        }
    }

    async fn hear(&mut self, number: u64, said: Said) {
        let Some(running) = &mut self.running else { return };
        if let Said::Ready { software } = &said {
            tracing::info!(filter = self.file.rule.name, software, "a filter is ready");
            running.ready = true;
            self.due = None;
            return;
        }
        match self.sent.pop_front() {
            Some((asked, call)) if asked == number => {
                // Whoever asked may be gone.
                let _told = call.reply.send(Ok(said));
                self.due = (!self.sent.is_empty()).then(|| Instant::now() + self.file.timeout);
            }
            other => {
                self.sent.extend(other);
                self.ended(&format!("answered {number}, which was not next, and was ended"))
                    .await;
            }
        }
    }

    /// It has ended, or is made to. What it was at fails; what it was sent besides is asked of the next one.
    async fn ended(&mut self, why: &str) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        self.due = None;
        let killed = running.child.start_kill();
        let status = running.child.wait().await;
        tracing::warn!(
            filter = self.file.rule.name,
            why,
            ?status,
            ?killed,
            "a filter's program has ended"
        );
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let why = format!("{why} ({how})");
        if !running.ready {
            return self.refuse_all(&format!(
                "was not ready: its program {why}; what it wrote is in the pilot's log"
            ));
        }
        if let Some((_, call)) = self.sent.pop_front() {
            let _told = call
                .reply
                .send(Err(format!("{why}; what it wrote is in the pilot's log")));
        }
        for (_, call) in std::mem::take(&mut self.sent).into_iter().rev() {
            self.waiting.push_front(call);
        }
    }

    fn refuse_all(&mut self, why: &str) {
        tracing::error!(
            filter = self.file.rule.name,
            why,
            "a filter's program does not run"
        );
        for call in self.waiting.drain(..) {
            let _told = call.reply.send(Err(why.to_owned()));
        }
    }
}

async fn hear(running: &mut Option<Running>) -> Heard {
    match running {
        Some(running) => running
            .from
            .recv()
            .await
            .unwrap_or_else(|| Err("ended".to_owned())),
        None => std::future::pending().await,
    }
}

async fn late(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Running {
    fn start(file: &FilterFile) -> io::Result<Self> {
        let (program, args) = file.run.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (from, mut to) = UnixStream::from_std(ours)?.into_split();
        // What it writes is for people.
        let log = std::io::stderr();
        let log = || std::os::fd::AsFd::as_fd(&log).try_clone_to_owned();
        let child = Command::new(program)
            .args(args)
            .current_dir(&file.directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(log()?))
            .stderr(Stdio::from(log()?))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (tell, told) = mpsc::channel(AHEAD);
        tokio::task::spawn_local(listen(from, tell));
        // Bounded by what is sent ahead.
        let (send, mut frames) = mpsc::unbounded_channel::<Vec<u8>>();
        tokio::task::spawn_local(async move {
            while let Some(bytes) = frames.recv().await {
                // Its end is heard of by who listens.
                if to.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            to: send,
            from: told,
            ready: false,
        })
    }
}

/// Hands on what the program says, until it ends.
async fn listen(mut from: OwnedReadHalf, tell: mpsc::Sender<Heard>) {
    loop {
        let heard = next(&mut from).await;
        let over = heard.is_err();
        if tell.send(heard).await.is_err() || over {
            return;
        }
    }
}

async fn next(from: &mut OwnedReadHalf) -> Heard {
    let length = from.read_u32_le().await.map_err(|_| "ended".to_owned())? as usize;
    if length > FILTER_FRAME_BYTES {
        return Err(format!("sent a frame of {length} bytes, and was ended"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)
        .await
        .map_err(|_| "ended in the middle of an answer".to_owned())?;
    read(&body).map_err(|problem| format!("sent what cannot be read ({problem}), and was ended"))
}
