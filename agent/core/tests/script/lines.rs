//! Actions as lines of text that a script can be read by.

use bytes::Bytes;
use scalems_core::Action;
use scalems_core::record::Record;
use scalems_protocol::client::{Accepted, AgentToClient, Counts, Orders, Reply};
use scalems_protocol::event::Body;
use scalems_protocol::group::{Place, Run};
use scalems_protocol::state::{Strength, TaskState};
use scalems_protocol::worker::AgentToWorker;

pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::ToClient { peer, message, blobs } => format!("c{}< {}", peer.0, to_client(message, blobs)),
        Action::ToWorker { peer, message, blobs } => format!("w{}< {}", peer.0, to_worker(message, blobs)),
        Action::Publish { topic, event } => {
            format!("event {} {}: {}", topic.name(), event.seq, body(&event.body))
        }
        Action::Look { worker, process } => format!("look at worker {worker}: {process}"),
        Action::Record { number, record } => format!("record {number}: {}", self::record(record)),
        Action::FellBehind { incarnation, message } => format!("fell behind life {incarnation}: {message}"),
        Action::Spill { values } => {
            let bytes: usize = values.iter().map(Bytes::len).sum();
            format!("spill {} values of {bytes} bytes", values.len())
        }
        Action::LogLevels { levels } => format!("log {levels:?}"),
        Action::Exit => "exit".into(),
    }
}

pub(crate) fn run(run: &Run) -> String {
    let Run {
        submission,
        lo,
        hi,
        attempt,
    } = run;
    if hi - lo == 1 {
        format!("{submission}.{lo}@{attempt}")
    } else {
        format!("{submission}.{lo}-{hi}@{attempt}")
    }
}

fn runs(all: &[Run]) -> String {
    all.iter().map(run).collect::<Vec<_>>().join(" ")
}

/// The data of a run, one text for each task, or one for all.
fn values(place: &Place, count: u32, blobs: &[Bytes]) -> String {
    let data = place
        .clone()
        .take(count, blobs)
        .expect("the agent sends data where it says");
    let text = |bytes: Bytes| match bytes.len() {
        0..=32 => format!("{:?}", String::from_utf8_lossy(&bytes)),
        length => format!("{length} bytes"),
    };
    if data.ends.is_empty() {
        return if data.bytes.is_empty() {
            String::new()
        } else {
            format!(" all {}", text(data.bytes))
        };
    }
    let each: Vec<String> = (0..count as usize).map(|at| text(data.of(at))).collect();
    format!(" {}", each.join(","))
}

fn to_client(message: &AgentToClient, blobs: &[Bytes]) -> String {
    match message {
        AgentToClient::ClientWelcome(welcome) => format!(
            "welcome session {}, requests {}, next delivery {}",
            welcome.session, welcome.request_high, welcome.delivery_next
        ),
        AgentToClient::Accepted(accepted) => said_of(accepted),
        AgentToClient::Refused(refused) => {
            let request = refused
                .request
                .map_or_else(String::new, |request| format!(" request {request}"));
            let read = refused.id.map_or_else(String::new, |id| format!(" read {id}"));
            format!("refused{request}{read}: {}", refused.refusal.code)
        }
        AgentToClient::CancelDone(done) => format!(
            "cancel_done {}: withdrawn {} told {} running {} ended {}",
            done.request, done.withdrawn, done.told, done.running, done.ended
        ),
        AgentToClient::Appended(done) => format!(
            "appended {}: {} tasks to submission {} from {}",
            done.request, done.count, done.submission, done.first
        ),
        AgentToClient::Closed(done) => {
            format!(
                "closed {}: closed {} before {}",
                done.request, done.closed, done.before
            )
        }
        AgentToClient::WorkersRequested(done) => format!("workers_requested {}: {}", done.request, done.id),
        AgentToClient::ForgetDone(done) => {
            format!(
                "forget_done {}: forgotten {} kept {}",
                done.request, done.forgotten, done.kept
            )
        }
        AgentToClient::Results(results) => {
            let groups: Vec<String> = results
                .groups
                .iter()
                .map(|group| {
                    let error = group
                        .error
                        .as_ref()
                        .map_or_else(String::new, |error| format!(" {}", error.code));
                    let value = values(&group.place, group.run.count(), blobs);
                    format!(
                        "{} {}{value}{error}",
                        run(&group.run),
                        TaskState::from(group.ending).name()
                    )
                })
                .collect();
            format!(
                "results {} {:?}: {}{}",
                results.delivery,
                results.durable,
                groups.join("; "),
                results
                    .accepted
                    .iter()
                    .map(|accepted| format!(", {}", said_of(accepted)))
                    .collect::<String>()
            )
        }
        AgentToClient::Answer(answer) => format!("answer {}: {}", answer.id, reply(&answer.reply)),
        AgentToClient::Lasts(lasts) => format!("lasts {}", lasts.delivery),
        AgentToClient::BroughtBack(_) => "brought_back".into(),
        AgentToClient::ClientPing(_) => "ping".into(),
        AgentToClient::Detached(detached) => format!("detached: {}", detached.refusal.code),
    }
}

fn orders(orders: &Orders) -> String {
    let named =
        |what: &str, places: &[String]| (!places.is_empty()).then(|| format!("{what} {}", places.join(",")));
    let starts = orders.starts.iter().map(|start| {
        let number = start.start & 0xffff_ffff;
        format!(
            "start {number} on {} with {} cores",
            start.node, start.layout.cores
        )
    });
    let parts = [
        named("leave", &orders.leave),
        named("stop", &orders.stop),
        named("joined", &orders.joined),
        named("over", &orders.over),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().chain(starts).collect();
    format!("orders {}", parts.join("; "))
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Ended(ended) => format!("ended {}", counts(ended)),
        Reply::Stopping => "stopping".into(),
        Reply::LogLevels { workers } => format!("levels of {workers} workers"),
        Reply::Snapshot {
            topic, seq, state, ..
        } => format!("snapshot {topic} {seq}: {}", body(state)),
        Reply::Explain(explanation) => format!("explain {}", explanation.reasons.join(" | ")),
        Reply::Orders(orders) => self::orders(orders),
        Reply::Requests(listing) => {
            let rows = listing.rows.iter().map(|row| {
                let workers: Vec<String> = row
                    .workers
                    .iter()
                    .map(|worker| worker.worker.to_string())
                    .collect();
                let workers = if workers.is_empty() {
                    String::new()
                } else {
                    format!(" {}", workers.join(","))
                };
                format!("request {} {}{workers}", row.id, row.state.name())
            });
            rows.collect::<Vec<_>>().join("; ")
        }
        other => {
            let text = format!("{other:?}");
            text.split(['(', ' ']).next().unwrap_or_default().to_lowercase()
        }
    }
}

fn to_worker(message: &AgentToWorker, blobs: &[Bytes]) -> String {
    match message {
        AgentToWorker::WorkerWelcome(welcome) => {
            format!(
                "welcome worker {} {} drop [{}]",
                welcome.worker,
                welcome.name,
                runs(&welcome.drop)
            )
        }
        AgentToWorker::Lease(lease) => {
            let groups: Vec<String> = lease
                .groups
                .iter()
                .map(|group| {
                    let mode = &lease.templates[group.template as usize].mode;
                    let way = match group.variant {
                        0 => String::new(),
                        variant => format!(" as variant {variant}"),
                    };
                    format!(
                        "{} {mode}{way}{}",
                        run(&group.run),
                        values(&group.place, group.run.count(), blobs)
                    )
                })
                .collect();
            format!(
                "lease {} recorded {}: {}",
                lease.number,
                lease.recorded,
                groups.join("; ")
            )
        }
        AgentToWorker::Revoke(revoke) => {
            let how = match revoke.strength {
                Strength::Withdraw => "withdraw",
                Strength::Request => "request",
                Strength::Kill => "kill",
            };
            let silent = if revoke.silent { " silent" } else { "" };
            format!("revoke {} {how}{silent}: {}", revoke.number, runs(&revoke.runs))
        }
        AgentToWorker::Recorded(recorded) => format!("recorded {}", recorded.recorded),
        AgentToWorker::ReadOutput(read) => format!(
            "read {} of {} from {} and {}",
            read.id,
            run(&read.run),
            read.from.0,
            read.from.1
        ),
        AgentToWorker::Ping(_) => "ping".into(),
        AgentToWorker::ListHoldings(list) => if list.beat_only { "list beat" } else { "list" }.into(),
        AgentToWorker::WorkerStop(stop) => format!("stop {} ms", stop.drain_ms),
        AgentToWorker::WorkerLogLevels(told) => format!("log {:?}", told.levels),
        AgentToWorker::WorkerRefused(refused) => format!("refused: {}", refused.refusal.code),
    }
}

fn body(body: &Body) -> String {
    match body {
        Body::Open => "open".into(),
        Body::Summary { tasks, workers, .. } => format!("{} workers {workers:?}", counts(tasks)),
        Body::Tasks { runs, .. } => {
            let runs: Vec<String> = runs
                .iter()
                .map(|(tasks, state)| format!("{} {}", run(tasks), state.name()))
                .collect();
            runs.join("; ")
        }
        Body::Progress { tasks } => {
            let tasks: Vec<String> = tasks
                .iter()
                .map(|said| format!("{} at {} {}", run(&said.run), said.fraction, said.text))
                .collect();
            tasks.join("; ")
        }
        Body::Workers { rows } => {
            let rows: Vec<String> = rows
                .iter()
                .map(|row| format!("{} {}", row.name, row.state))
                .collect();
            rows.join("; ")
        }
        Body::Alarms { alarms } => {
            let alarms: Vec<String> = alarms
                .iter()
                .map(|alarm| format!("{} {}", alarm.alarm, alarm.about))
                .collect();
            alarms.join("; ")
        }
        Body::Submissions { rows, gone, total } => {
            let rows = rows
                .iter()
                .map(|row| format!("{} {}", row.submission, counts(&row.tasks)));
            let gone = gone.iter().map(|number| format!("{number} gone"));
            let all: Vec<String> = rows.chain(gone).collect();
            format!("{} of {total}", all.join("; "))
        }
        Body::Faults { groups } => {
            let groups: Vec<String> = groups
                .iter()
                .map(|group| {
                    let (failed, retried, last) = (group.failed, group.retried, group.last);
                    let which = [&group.code, &group.what, &group.host, &group.worker];
                    let which: Vec<&str> = which
                        .iter()
                        .map(|text| text.as_str())
                        .filter(|text| !text.is_empty())
                        .collect();
                    let which = which.join(" ");
                    format!(
                        "{which} failed {failed} retried {retried} last {}.{}",
                        last.0, last.1
                    )
                })
                .collect();
            groups.join("; ")
        }
        Body::Health(health) => {
            let (ended, wait, ran) = (health.ended, health.start_wait_us, health.ran_us);
            format!("{} ms: ended {ended} waited {wait:?} ran {ran:?}", health.span_ms)
        }
    }
}

/// Counts that are not 0.
pub(crate) fn counts(counts: &Counts) -> String {
    let mut counts = *counts;
    let shown = TaskState::ALL.map(|state| (*counts.of(state), state.name()));
    let shown: Vec<String> = shown
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{state} {count}"))
        .collect();
    shown.join(" ")
}

fn record(record: &Record) -> String {
    match record {
        Record::Session { session, name, .. } => format!("session {session} {name}"),
        Record::Submitted(submitted) => {
            format!("submitted {}, {} tasks", submitted.submission, submitted.count)
        }
        Record::Appended(appended) => format!(
            "appended {}, {} tasks from {}",
            appended.submission, appended.count, appended.first
        ),
        Record::Closed { submission, .. } => format!("closed {submission}"),
        Record::Ended(ended) => format!(
            "ended {} {}",
            run(&ended.run),
            TaskState::from(ended.ending).name()
        ),
        Record::Fault {
            run: tasks, crash, ..
        } => {
            format!("{} {}", if *crash { "crash" } else { "fault" }, run(tasks))
        }
        Record::Wasted { submission, .. } => format!("wasted {submission}"),
        Record::CancelAsked {
            submission, lo, hi, ..
        } => format!("cancel asked {submission}.{lo}-{hi}"),
        Record::Numbers { submissions } => format!("numbers to {submissions}"),
        Record::Seat {
            seat,
            session,
            holder,
            ..
        } => format!("seat {seat} of {session}, holder {holder}"),
        Record::SeatGone { seat } => format!("seat {seat} gone"),
        Record::SessionGone { session } => format!("session {session} gone"),
        Record::Collected { runs } => {
            let runs = runs.iter().map(run).collect::<Vec<_>>();
            format!("collected {}", runs.join("; "))
        }
        Record::Forgotten { submission } => format!("forgotten {submission}"),
        Record::Worker { worker, name, .. } => format!("worker {worker} {name}"),
        Record::WorkerGone { worker } => format!("worker {worker} gone"),
    }
}

fn said_of(accepted: &Accepted) -> String {
    let note = accepted
        .note
        .as_ref()
        .map_or_else(String::new, |note| format!(", note {note}"));
    let (request, submission, count) = (accepted.request, accepted.submission, accepted.count);
    format!("accepted {request}: submission {submission}, {count} tasks{note}")
}
