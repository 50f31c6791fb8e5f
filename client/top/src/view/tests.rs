//! Every screen, drawn of a pilot that is made up, on a small terminal and on a large one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use ratatui::Terminal as Drawn;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use scalems_client::Update;
use scalems_protocol::client::{
    Counts, Explanation, Listing, OutputPart, Question, Reply, Status, SubmissionRow, TaskRow, WorkerRow,
};
use scalems_protocol::error::{Code, TaskError};
use scalems_protocol::event::{Alarm, Body, FaultGroup, Health, JournalHealth, Topic};
use scalems_protocol::group::Run;
use scalems_protocol::program::Written;
use scalems_protocol::{TaskState, limits};

use crate::app::App;
use crate::kit::keys::Screen;
use crate::kit::settings::Settings;
use crate::kit::text_of;
use crate::kit::theme::{Charset, Depth, Theme, ThemeName};
use crate::source::{Action, Answer, Asked, For, Link, News, Source};
use crate::view::rows::PilotFound;

/// What the test says to the monitor, and what the monitor said.
#[derive(Default)]
struct Talk {
    news: VecDeque<News>,
    asked: Vec<(For, Asked)>,
    done: Vec<Action>,
    link: Option<Link>,
}

struct Scripted(Rc<RefCell<Talk>>);

impl Source for Scripted {
    fn news(&mut self) -> Vec<News> {
        self.0.borrow_mut().news.drain(..).collect()
    }

    fn link(&self) -> Link {
        self.0.borrow().link.clone().unwrap_or(Link::Live)
    }

    fn pilot(&self) -> String {
        "production".to_owned()
    }

    fn ask(&mut self, what: For, asked: Asked) {
        self.0.borrow_mut().asked.push((what, asked));
    }

    fn is_asked(&self, _: For) -> bool {
        false
    }

    fn act(&mut self, action: Action) {
        self.0.borrow_mut().done.push(action);
    }
}

/// A monitor on a terminal that is none.
struct Watching {
    app: App,
    talk: Rc<RefCell<Talk>>,
    terminal: Drawn<TestBackend>,
    now: Duration,
}

impl Watching {
    fn new(width: u16, height: u16, readonly: bool) -> Self {
        let talk = Rc::new(RefCell::new(Talk::default()));
        let theme = Theme {
            name: ThemeName::Dark,
            depth: Depth::Plain,
            charset: Charset::Unicode,
        };
        let found = PilotFound {
            name: "production".into(),
            host: "login-1".into(),
            pid: 4_711,
            file: "pilots/production/client.json".into(),
        };
        let other = PilotFound {
            name: "a try".into(),
            ..found.clone()
        };
        let app = App::new(
            Box::new(Scripted(Rc::clone(&talk))),
            theme,
            Settings::default(),
            readonly,
            (
                Box::new(move || vec![other.clone(), found.clone()]),
                Box::new(|found| Err(format!("pilot {} does not answer", found.name))),
            ),
        );
        Self {
            app,
            talk,
            terminal: Drawn::new(TestBackend::new(width, height)).unwrap(),
            now: Duration::ZERO,
        }
    }

    /// Of a pilot in the middle of its work.
    fn busy(width: u16, height: u16) -> Self {
        let mut watching = Self::new(width, height, false);
        watching.hear(everything());
        for second in 1..=40_u64 {
            watching.pass(1_000);
            watching.hear(vec![
                (Topic::Health, health(second)),
                (Topic::Summary, summary(second % 5)),
            ]);
        }
        watching
    }

    fn hear(&mut self, bodies: Vec<(Topic, Body)>) {
        for (topic, body) in bodies {
            let whole = self.now.is_zero();
            let update = if whole {
                Update::Snapshot(body)
            } else {
                Update::Event(body)
            };
            self.talk.borrow_mut().news.push_back(News::Update(topic, update));
        }
        self.app.tick(self.now);
    }

    fn answer(&mut self, what: For, reply: Reply) {
        let news = News::Answer(what, Ok(Answer::Reply(Box::new(reply))));
        self.talk.borrow_mut().news.push_back(news);
        self.app.tick(self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.app.tick(self.now);
    }

    fn press(&mut self, code: KeyCode) {
        self.app
            .event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }

    fn type_in(&mut self, text: &str) {
        for letter in text.chars() {
            let shift = if letter.is_uppercase() {
                KeyModifiers::SHIFT
            } else {
                KeyModifiers::NONE
            };
            self.app
                .event(&Event::Key(KeyEvent::new(KeyCode::Char(letter), shift)));
        }
    }

    fn click(&mut self, column: u16, row: u16) {
        self.app.event(&Event::Mouse(MouseEvent {
            kind: MouseEventKind::Down(MouseButton::Left),
            column,
            row,
            modifiers: KeyModifiers::NONE,
        }));
    }

    fn screen(&mut self) -> String {
        let app = &mut self.app;
        self.terminal.draw(|frame| super::draw(app, frame)).unwrap();
        text_of(self.terminal.backend().buffer())
    }

    #[track_caller]
    fn shows(&mut self, text: &str) {
        let screen = self.screen();
        assert!(screen.contains(text), "{text:?} is not in\n{screen}");
    }

    fn done(&self) -> Vec<Action> {
        std::mem::take(&mut self.talk.borrow_mut().done)
    }
}

fn counts(running: u64) -> Counts {
    Counts {
        waiting: 120,
        ready: 4_000,
        leased: 16,
        running,
        done: 1_234_567,
        failed: 12,
        canceled: 3,
    }
}

fn summary(busy: u64) -> Body {
    Body::Summary {
        tasks: counts(12 + busy),
        workers: (3, 1, 0, 1),
        resources: vec![
            ("cores".into(), 16, 12 + busy.min(4)),
            ("gpus".into(), 4, 1),
            ("memory".into(), 64 << 10, 16 << 10),
        ],
        fractions: Vec::new(),
    }
}

fn health(second: u64) -> Body {
    Body::Health(Box::new(Health {
        at_ms: 3_600_000 + second * 1_000,
        span_ms: 1_000,
        rounds: 900,
        round_us: (40, 210, 4_200),
        queues: vec![
            ("unfinished_tasks".into(), 4_152, 4_000_000),
            ("result_bytes".into(), 250 << 20, 256 << 20),
            ("clients".into(), 3, 0),
        ],
        journal: Some(JournalHealth {
            waiting_records: 7,
            waiting_bytes: 4_096,
            full: false,
            commit_us: (800, 2_100, 2_200),
            size_bytes: 130 << 20,
        }),
        events_dropped: 0,
        rss_bytes: 64 << 20,
        cpu_us: 12_500_000,
        ended: 1_000_000 + second * second * 10,
        start_wait_us: (1_500 * second, 90_000, 120_000),
        ran_us: (2_000, 9_000, 9_500),
        left_ms: Some(600_000 - second * 1_000),
        warning_ms: Some(60_000),
    }))
}

fn worker(number: u64, state: &str, used: u64) -> WorkerRow {
    WorkerRow {
        worker: number,
        name: format!("node{number:02}"),
        host: format!("node{number:02}"),
        pid: 1_000 + number as u32,
        state: state.into(),
        resources: vec![("cores".into(), 4, used), ("memory".into(), 16 << 10, 4 << 10)],
        fractions: Vec::new(),
        leases: (2, used),
        ended: 300_000,
        silent_ms: if state == "active" { 400 } else { 7_000 },
        beats: (1_800, 0),
        left_ms: Some(600_000),
        place: Some("1".into()),
        requested_by: None,
    }
}

fn submission(number: u64, name: &str, tasks: Counts) -> SubmissionRow {
    SubmissionRow {
        submission: number,
        mode: "task.executable".into(),
        name: Some(name.into()),
        labels: [("project".to_owned(), "a".to_owned())].into(),
        session: "shell".into(),
        indices: (0, 1, tasks.total() as u32),
        sparse: false,
        tasks,
        age_ms: 125_000,
        open: false,
        spent: vec![("time".into(), 90_000_000, 1_500_000)],
    }
}

/// What a hostile user may call a task: it clears the screen, colours, turns the direction of writing, and is long.
const HOSTILE: &str =
    "\x1b[2J\x1b[31mred\x07\u{202e}txt.exe\u{200b} a name that goes on and on and on and on and on and on";

fn task(lo: u32, hi: u32, state: TaskState, attempt: u32) -> TaskRow {
    let failed = state == TaskState::Failed;
    TaskRow {
        run: Run {
            submission: 7,
            lo,
            hi,
            attempt,
        },
        indices: (0, 1),
        state,
        worker: (attempt > 0).then(|| "node01".into()),
        exit_code: failed.then_some(3),
        error: failed.then(|| TaskError::new(Code::ExitCode, format!("it ended with exit code 3 {HOSTILE}"))),
        ran_us: if failed || state == TaskState::Done {
            1_234_567
        } else {
            0
        },
        variant: None,
    }
}

fn everything() -> Vec<(Topic, Body)> {
    let over = Counts {
        done: 990,
        failed: 10,
        ..Counts::default()
    };
    let rows = vec![
        submission(5, "equilibration", over),
        submission(
            6,
            HOSTILE,
            Counts {
                ready: 40,
                ..Counts::default()
            },
        ),
        submission(
            7,
            "sampling",
            Counts {
                running: 12,
                done: 500,
                ready: 4_000,
                ..Counts::default()
            },
        ),
    ];
    vec![
        (Topic::Summary, summary(0)),
        (Topic::Health, health(0)),
        (
            Topic::Submissions,
            Body::Submissions {
                rows,
                gone: Vec::new(),
                total: 7,
            },
        ),
        (
            Topic::Workers,
            Body::Workers {
                rows: vec![
                    worker(1, "active", 4),
                    worker(2, "active", 3),
                    worker(3, "suspect", 4),
                    worker(4, "active", 1),
                    worker(5, "lost", 4),
                ],
            },
        ),
        (
            Topic::Faults,
            Body::Faults {
                groups: vec![
                    FaultGroup {
                        code: "exit_code".into(),
                        what: "exit 3".into(),
                        host: "node01".into(),
                        worker: "node01".into(),
                        message: format!("it ended with exit code 3: {HOSTILE}"),
                        failed: 10,
                        retried: 20,
                        last: (5, 99),
                        at_ms: 3_590_000,
                    },
                    FaultGroup {
                        code: "worker_lost".into(),
                        host: "node05".into(),
                        message: "nothing was heard of it for 10 s".into(),
                        failed: 2,
                        retried: 4,
                        last: (7, 3),
                        at_ms: 3_599_000,
                        ..FaultGroup::default()
                    },
                ],
            },
        ),
        (
            Topic::Alarms,
            Body::Alarms {
                alarms: vec![Alarm {
                    alarm: "worker_lost".into(),
                    about: "node05".into(),
                    message: "nothing was heard of worker node05 for 10 s".into(),
                    at_ms: 3_599_000,
                }],
            },
        ),
    ]
}

fn tasks() -> Reply {
    Reply::Tasks(Listing {
        rows: vec![
            task(0, 500, TaskState::Done, 1),
            task(500, 501, TaskState::Failed, 3),
            task(501, 502, TaskState::Failed, 1),
            task(502, 514, TaskState::Running, 1),
            task(514, 4_514, TaskState::Ready, 0),
        ],
        next: None,
    })
}

fn of_both_sizes(name: &str, mut prepare: impl FnMut(&mut Watching)) {
    for (width, height) in [(80, 24), (200, 60)] {
        let mut watching = Watching::busy(width, height);
        prepare(&mut watching);
        insta::assert_snapshot!(format!("{name}_{width}x{height}"), watching.screen());
    }
}

#[test]
fn overview() {
    of_both_sizes("overview", |watching| {
        watching.answer(
            For::Status,
            Reply::Status(Box::new(Status {
                trouble: vec!["there is little room for the pilot's journal".into()],
                ..Status::default()
            })),
        );
    });
}

#[test]
fn submissions() {
    of_both_sizes("submissions", |watching| watching.type_in("2"));
}

#[test]
fn tasks_of_a_submission() {
    of_both_sizes("tasks", |watching| {
        watching.type_in("2");
        watching.press(KeyCode::Enter);
        watching.answer(For::Tasks, tasks());
    });
}

#[test]
fn workers() {
    of_both_sizes("workers", |watching| {
        watching.type_in("4");
        let rows = vec![task(502, 506, TaskState::Running, 1)];
        watching.answer(For::Running, Reply::Tasks(Listing { rows, next: None }));
    });
}

#[test]
fn all_cores() {
    of_both_sizes("cores", |watching| watching.type_in("4z"));
}

#[test]
fn faults() {
    of_both_sizes("faults", |watching| watching.type_in("5"));
}

#[test]
fn events() {
    of_both_sizes("events", |watching| {
        let lost = worker(3, "lost", 0);
        let joined = worker(6, "active", 0);
        watching.hear(vec![(
            Topic::Workers,
            Body::Workers {
                rows: vec![lost, joined],
            },
        )]);
        watching.type_in("6");
    });
}

#[test]
fn pilots() {
    of_both_sizes("pilots", |watching| {
        watching.type_in("8");
        watching.pass(10);
    });
}

#[test]
fn details_of_a_task_say_why() {
    of_both_sizes("explain", |watching| {
        watching.type_in("3");
        watching.answer(For::Tasks, tasks());
        watching.type_in("Ge");
        let explanation = Explanation {
            row: task(514, 515, TaskState::Ready, 0),
            task: scalems_protocol::task::Template {
                mode: "task.executable".into(),
                name: Some(HOSTILE.into()),
                ..Default::default()
            },
            faults: (1, 2),
            reasons: vec!["it waits for 4 cores: node04 has 3".into()],
            progress: None,
        };
        watching.answer(For::Explain, Reply::Explain(Box::new(explanation)));
    });
}

#[test]
fn what_a_task_prints_is_shown_and_not_obeyed() {
    of_both_sizes("logs", |watching| {
        watching.type_in("3");
        watching.answer(For::Tasks, tasks());
        watching.type_in("jjjl");
        for attempt_begins in [true, false] {
            let text = format!("step 1\n\x1b[31mred\x1b[0m \x1b]0;title\x07 {HOSTILE}\nstep 2\n");
            let part = OutputPart {
                attempt: 1,
                runs: true,
                stdout: Written {
                    from: 0,
                    bytes: if attempt_begins { Vec::new() } else { text.into() },
                    total: 0,
                },
                stderr: Written {
                    from: 0,
                    bytes: if attempt_begins {
                        Vec::new()
                    } else {
                        b"a warning\n".to_vec()
                    },
                    total: 0,
                },
            };
            let news = News::Answer(For::Output, Ok(Answer::Output(part)));
            watching.talk.borrow_mut().news.push_back(news);
            watching.pass(10);
        }
    });
}

#[test]
fn an_empty_pilot_says_what_to_do() {
    let mut watching = Watching::new(80, 24, false);
    watching.hear(Vec::new());
    let mut all = String::new();
    for screen in Screen::ALL {
        watching.type_in(&screen.digit().to_string());
        all.push_str(&watching.screen());
        all.push_str("\n========\n");
    }
    insta::assert_snapshot!("empty", all);
}

#[test]
fn too_little_room_is_no_reason_to_fail() {
    for (width, height) in [(1, 1), (5, 3), (20, 6), (33, 7), (60, 10)] {
        let mut watching = Watching::busy(width, height);
        for screen in Screen::ALL {
            watching.type_in(&screen.digit().to_string());
            watching.screen();
            watching.type_in("?");
            watching.screen();
            watching.press(KeyCode::Esc);
            watching.type_in("/state");
            watching.screen();
            watching.press(KeyCode::Esc);
        }
    }
}

#[test]
fn an_agent_that_is_lost_is_told_of_and_what_is_shown_is_old() {
    let mut watching = Watching::busy(120, 30);
    watching.shows("live");
    watching.pass(5_000);
    watching.shows("silent for 0:05");
    watching.talk.borrow_mut().link = Some(Link::Lost);
    watching.pass(60_000);
    watching.shows("agent lost, looking for it; this is 1:05 old");
    watching.talk.borrow_mut().link = Some(Link::Live);
    watching.pass(250);
    watching.hear(vec![(Topic::Health, health(50))]);
    watching.shows("● live");
    watching.type_in("6");
    watching.shows("the agent is heard of again");
}

#[test]
fn what_is_harmful_is_asked_about_first() {
    let mut watching = Watching::busy(100, 30);
    watching.type_in("2c");
    watching.shows("Cancel 4012 tasks?");
    watching.type_in("n");
    assert_eq!(watching.done(), []);
    // Marked rows together.
    watching.type_in("  c");
    watching.shows("Cancel 4052 tasks?");
    watching.type_in("y");
    let done = watching.done();
    let [Action::Cancel(selected)] = done.as_slice() else {
        panic!("{done:?}");
    };
    let texts: Vec<String> = selected.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["6", "7"]);
    watching
        .talk
        .borrow_mut()
        .news
        .push_back(News::Done(Ok("asked 4052 tasks to end".into())));
    watching.pass(250);
    watching.shows("asked 4052 tasks to end");
    watching.type_in("4x");
    watching.shows("Drain 1 worker?");
    watching.press(KeyCode::Enter);
    assert!(matches!(watching.done().as_slice(), [Action::StopWorkers(workers, _)] if workers == &[1]));
}

#[test]
fn a_range_of_tasks_is_canceled_by_its_indices() {
    let mut watching = Watching::busy(100, 30);
    watching.type_in("3");
    watching.answer(For::Tasks, tasks());
    watching.type_in("G");
    watching.type_in("cy");
    let done = watching.done();
    let [Action::Cancel(selected)] = done.as_slice() else {
        panic!("{done:?}");
    };
    assert_eq!(selected[0].to_string(), "7.514-4513");
    watching.type_in("kty");
    assert!(
        matches!(watching.done().as_slice(), [Action::Retry(selected)] if selected[0].to_string() == "7.502-513")
    );
}

#[test]
fn who_only_looks_has_no_actions() {
    let mut watching = Watching::new(100, 30, true);
    watching.hear(everything());
    watching.type_in("2");
    watching.type_in("cty4x");
    watching.app.event(&Event::Key(KeyEvent::new(
        KeyCode::Char('x'),
        KeyModifiers::CONTROL,
    )));
    assert!(watching.app.dialog.is_none());
    assert_eq!(watching.done(), []);
    watching.shows("read only");
    assert!(!watching.screen().contains("drain"));
}

#[test]
fn filters_sort_and_stay() {
    let mut watching = Watching::busy(100, 30);
    watching.type_in("2/failed>0");
    watching.press(KeyCode::Enter);
    watching.shows("1 of 3");
    watching.shows("equilibration");
    assert!(!watching.screen().contains("sampling"));
    watching.type_in("/x and");
    let screen = watching.screen();
    assert!(
        screen.contains("filter failed>0") || screen.contains("/failed>0x and"),
        "{screen}"
    );
    watching.press(KeyCode::Esc);
    watching.shows("filter failed>0");
    watching.press(KeyCode::Delete);
    watching.shows("sampling");
    // By tasks: the most first, then the fewest; by a click on the head as well.
    watching.type_in("T");
    let order = |screen: String| {
        let at = |name: &str| screen.find(name).unwrap_or(usize::MAX);
        (at("sampling"), at("equilibration"))
    };
    let (sampling, equilibration) = order(watching.screen());
    assert!(sampling < equilibration);
    watching.type_in("T");
    let (sampling, equilibration) = order(watching.screen());
    assert!(sampling > equilibration);
}

#[test]
fn the_mouse_chooses_tabs_rows_and_columns() {
    let mut watching = Watching::busy(100, 30);
    watching.screen();
    let (_, x, _) = watching.app.tabs[1];
    watching.click(x, 1);
    watching.shows("submissions  3");
    // The second row; clicked again it is opened.
    watching.click(10, 5);
    watching.click(10, 5);
    watching.shows("tasks of submission 6");
    watching.press(KeyCode::Esc);
    watching.shows("submissions  3");
    watching.press(KeyCode::Esc);
    watching.shows("allocation");
    watching.press(KeyCode::Esc);
    watching.press(KeyCode::Backspace);
    assert!(!watching.app.quit, "nobody leaves by going up");
    watching.type_in("q");
    assert!(watching.app.quit);
}

#[test]
fn a_view_that_stands_still_hides_nothing_that_comes() {
    let mut watching = Watching::busy(100, 30);
    watching.type_in("f");
    watching.pass(3_000);
    watching.hear(vec![(Topic::Summary, summary(4))]);
    watching.shows("PAUSED 0:03");
    let before = watching.app.shown().summary.clone();
    assert_ne!(before, watching.app.model.summary);
    watching.type_in("r");
    assert_eq!(watching.app.shown().summary, watching.app.model.summary);
}

#[test]
fn another_pilot_that_does_not_answer_is_no_reason_to_leave_this_one() {
    let mut watching = Watching::busy(100, 30);
    watching.type_in("8");
    watching.pass(10);
    watching.press(KeyCode::Enter);
    watching.shows("pilot a try does not answer");
    assert_eq!(watching.app.model.pilot, "production");
}

#[test]
fn only_what_is_seen_is_asked_for() {
    let mut watching = Watching::busy(100, 30);
    watching.talk.borrow_mut().asked.clear();
    watching.type_in("5");
    watching.pass(10_000);
    assert_eq!(watching.talk.borrow().asked, []);
    watching.type_in("3");
    watching.pass(250);
    watching.pass(250);
    let asked = std::mem::take(&mut watching.talk.borrow_mut().asked);
    assert!(
        matches!(asked.as_slice(), [(For::Tasks, Asked::Question(Question::Tasks(page)))] if page.rows == 1_000),
        "{asked:?}"
    );
    // What a filter means is asked for by that: a page has not all.
    watching.type_in("/state=failed");
    watching.press(KeyCode::Enter);
    watching.pass(2_000);
    let asked = std::mem::take(&mut watching.talk.borrow_mut().asked);
    assert!(
        asked.iter().any(|(_, asked)| matches!(
            asked,
            Asked::Question(Question::Tasks(page)) if page.select.state == Some(TaskState::Failed)
        )),
        "{asked:?}"
    );
}

#[test]
fn a_million_tasks_and_a_thousand_workers_are_aggregates_and_the_first_of_them() {
    let mut watching = Watching::new(120, 40, false);
    let workers = (1..=1_000).map(|number| worker(number, "active", 4)).collect();
    let rows = (1..=limits::EVENT_ROWS as u64)
        .map(|number| submission(number, "many", counts(4)))
        .collect();
    let submissions = Body::Submissions {
        rows,
        gone: Vec::new(),
        total: 250_000,
    };
    watching.hear(vec![
        (Topic::Summary, summary(0)),
        (Topic::Workers, Body::Workers { rows: workers }),
        (Topic::Submissions, submissions),
    ]);
    watching.type_in("2");
    watching.shows("the newest 256 of 250k submissions");
    watching.type_in("4z");
    watching.shows("all 4000 cores, worker by worker");
    watching.shows("idle");
}
