use std::path::PathBuf;
use std::sync::Arc;

use scalems_agent::journal::history::{History, Reading, Source};
use scalems_client::protocol::group::{Data, Run};
use scalems_client::protocol::id::Origin;
use scalems_client::protocol::task::{After, Needs, Template};
use scalems_client::protocol::{Code, Ending, PilotId, TaskError};
use scalems_core::record::{Ended, Record, Submitted};
use scalems_core::task::Indices;

use super::*;

/// What a user may call things, and tasks may write.
const HOSTILE: &str = "</script></title><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' {{ 7777*7 }}\u{1b}[2J\0\u{202e}";

fn submitted(submission: u64, count: u32, name: &str) -> Record {
    let after = (submission > 1).then(|| After {
        submission: Some(submission - 1),
        ..After::default()
    });
    Record::Submitted(Submitted {
        submission,
        origin: Origin::default(),
        template: Arc::new(Template {
            mode: "task.shell".to_owned(),
            name: Some(name.to_owned()),
            needs: Needs::cores(1),
            after: after.into_iter().collect(),
            labels: [(name.to_owned(), name.to_owned())].into(),
            ..Template::default()
        }),
        count,
        indices: Indices::even(0, 1),
        data: Data::default(),
        push: None,
        at: submission,
        open: false,
        again: None,
    })
}

fn ended(submission: u64, lo: u32, hi: u32, at: u64, error: Option<TaskError>) -> Record {
    let run = Run {
        submission,
        lo,
        hi,
        attempt: 1,
    };
    let ending = if error.is_some() {
        Ending::Failed
    } else {
        Ending::Done
    };
    Record::Ended(Ended {
        ending,
        error,
        ran_us: 1_000 * (1 + at % 977),
        worker: 1 + lo % 50,
        at,
        ..Ended::bare(run, ending, TaskError::new(Code::TaskFailed, ""))
    })
}

fn page(records: impl IntoIterator<Item = Record>) -> String {
    let mut history = History::default();
    for worker in 1..=50 {
        let record = Record::Worker {
            worker,
            name: format!("{HOSTILE}{worker}"),
            host: format!("{HOSTILE}{worker}"),
            pid: 1,
            process: String::new(),
        };
        history.take(record, 0);
    }
    for record in records {
        history.take(record, 100);
    }
    let reading = Reading {
        history,
        pilot: PilotId([7; 16]),
        created_us: 1_796_083_200_000_000,
        lives: 1,
        source: Source::Still,
        path: PathBuf::from("journal.sqlite"),
    };
    rendered(&view::view(&reading, HOSTILE, 1_796_083_200_000_000)).expect("the template fits the view")
}

#[test]
fn a_page_begins_with_what_lets_it_be_written_anew() {
    assert!(BEGINNING.ends_with(&format!("<!-- {MARKER} -->")));
    let page = page([]);
    assert!(page.starts_with(BEGINNING));
    assert!(page.contains("Nothing was submitted."));
}

#[test]
fn what_others_wrote_is_text_wherever_it_stands() {
    let error = || TaskError {
        class: Some(HOSTILE.to_owned()),
        trace: Some(HOSTILE.to_owned()),
        ..TaskError::new(Code::Exception, HOSTILE)
    };
    let page = page([
        submitted(1, 3, HOSTILE),
        submitted(2, 3, HOSTILE),
        ended(1, 0, 1, 5_000_000, None),
        ended(1, 1, 3, 6_000_000, Some(error())),
        ended(2, 0, 3, 9_000_000, None),
    ]);
    for wrong in ["<script", "<img", "\u{1b}", "\0", "\u{202e}", "54439"] {
        assert_eq!(page.matches(wrong).count(), 0, "{wrong:?} is in the page");
    }
    assert!(
        page.matches("&lt;script&gt;alert(1)&lt;").count() >= 8,
        "it is shown all the same"
    );
    assert!(page.contains("\\u{1b}[2J\\u{0}\\u{202e}"));
    assert!(!page.contains("&amp;lt;"), "nothing is escaped twice");
}

#[test]
fn a_page_of_a_million_tasks_is_small_whether_they_ended_together_or_not() {
    let together = page([
        submitted(1, 1_000_000, "noop"),
        ended(1, 0, 400_000, 1_000_000, None),
        ended(1, 400_000, 1_000_000, 2_000_000, None),
    ]);
    assert!(together.len() < 60_000, "{} bytes", together.len());
    assert!(together.contains("1,000,000"));
    // Each for itself, and each failure with words of its own.
    let tasks = 100_000;
    let each = (0..tasks).map(|nth| {
        let error = nth % 9 == 0;
        let error = error.then(|| TaskError::new(Code::TaskFailed, format!("{nth} {}", "x".repeat(900))));
        ended(1, nth, nth + 1, 1_000_000 + u64::from(nth) * 700, error)
    });
    let apart = page(std::iter::once(submitted(1, tasks, "sim")).chain(each));
    assert!(apart.len() < 1_500_000, "{} bytes", apart.len());
    // Many submissions after each other.
    let chain = (1..=3_000).flat_map(|nth| [submitted(nth, 1, "step"), ended(nth, 0, 1, nth * 10_000, None)]);
    let chain = page(chain);
    assert!(chain.len() < 500_000, "{} bytes", chain.len());
}
