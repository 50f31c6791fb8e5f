//! What must last: records, the one way in which lasting state changes (DESIGN R4).
//!
//! Live, every lasting change is first said as a record, applied, and handed to the journal; after a
//! restart the same records are applied again. Leases, liveness, credit and subscriptions are not in them:
//! those are rebuilt from what peers say.

use std::sync::Arc;

use scalems_protocol::client::SessionKind;
use scalems_protocol::group::{Data, Run};
use scalems_protocol::id::Origin;
use scalems_protocol::state::{Ending, Strength};
use scalems_protocol::task::Template;
use scalems_protocol::{Role, TaskError};

use crate::interface::Micros;
use crate::task::Indices;

/// One lasting change.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// From here on submissions may be given numbers up to this one. A number that was given need not be on disk when
    /// its tasks go out, so the next life begins above. An agent that ends in order takes back what it did not give.
    Numbers {
        /// The highest.
        submissions: u64,
    },
    /// A session was opened.
    Session {
        /// Its number.
        session: u64,
        /// Its name; empty for an unnamed one.
        name: String,
        /// Its kind.
        kind: SessionKind,
    },
    /// Somebody new sits in a session: in a new seat, or in one that another has left or lost.
    Seat {
        /// The seat's number.
        seat: u64,
        /// The session's.
        session: u64,
        /// What its holder may do.
        role: Role,
        /// The number that the holder's token is for.
        holder: u64,
        /// Its tasks are canceled when it is gone for so long; 0: kept.
        cancel_after: Micros,
    },
    /// A seat is no more, and its session with it if that had no name.
    SeatGone {
        /// The seat's number.
        seat: u64,
    },
    /// A session with a name is no more.
    SessionGone {
        /// Its number.
        session: u64,
    },
    /// A worker joined, or came back after it was lost.
    Worker {
        /// Its number.
        worker: u32,
        /// Its name.
        name: String,
        /// Its host.
        host: String,
        /// Its process.
        pid: u32,
        /// What its process and that which ends its programs are known by; empty: not known.
        process: String,
    },
    /// A worker left or was lost: the next life does not wait for it.
    WorkerGone {
        /// Its number.
        worker: u32,
    },
    /// Tasks were accepted.
    Submitted(Submitted),
    /// Tasks were added to an open submission.
    Appended(Appended),
    /// An open submission takes no more tasks.
    Closed {
        /// Its number.
        submission: u64,
        /// When, since the pilot was created.
        at: Micros,
    },
    /// Tasks ended, all alike.
    Ended(Ended),
    /// An attempt was used up without ending its tasks: by their own failure, or by a worker lost while
    /// they ran.
    Fault {
        /// Which tasks, which attempt.
        run: Run,
        /// Whether the worker was lost.
        crash: bool,
        /// The time that all of them ran in it, summed, microseconds.
        ran_us: u64,
        /// In which of the ways that they may run in.
        variant: u8,
    },
    /// Attempts ran for nothing, which is charged to nobody: their worker ended in order, or another attempt goes on.
    Wasted {
        /// The submission.
        submission: u64,
        /// The time that all of them ran, summed, microseconds.
        ran_us: u64,
        /// In which of the ways that they may run in.
        variant: u8,
    },
    /// Tasks are to end.
    CancelAsked {
        /// The submission.
        submission: u64,
        /// The first offset.
        lo: u32,
        /// One past the last.
        hi: u32,
        /// How hard.
        strength: Strength,
    },
    /// Results that were pushed have been taken in, and need not be kept.
    Collected {
        /// Which.
        runs: Vec<Run>,
    },
    /// A submission that has ended was dropped.
    Forgotten {
        /// Its number.
        submission: u64,
    },
}

/// Tasks were accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// The submission's number.
    pub submission: u64,
    /// Where it came from.
    pub origin: Origin,
    /// What its tasks share.
    pub template: Arc<Template>,
    /// How many.
    pub count: u32,
    /// Their indices.
    pub indices: Indices,
    /// Their data.
    pub data: Data,
    /// To which attachment results are pushed; none: they are held.
    pub push: Option<u64>,
    /// When, since the pilot was created.
    pub at: Micros,
    /// Whether tasks may be added.
    pub open: bool,
    /// Which tasks of another submission these are, submitted again.
    pub again: Option<Again>,
}

/// Tasks that are submitted again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Their submission.
    pub submission: u64,
    /// Their offsets there, `[lo, hi)`, in order.
    pub offsets: Vec<(u32, u32)>,
}

/// Tasks were added to an open submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Appended {
    /// The submission's number.
    pub submission: u64,
    /// Where they came from.
    pub origin: Origin,
    /// The offset of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// Their data.
    pub data: Data,
}

/// Tasks ended, all alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which tasks, and the attempt whose result it is; 0: no attempt was made.
    pub run: Run,
    /// How.
    pub ending: Ending,
    /// Their values.
    pub data: Data,
    /// The exit code of all.
    pub exit_code: Option<i32>,
    /// The time that all of them ran, summed, microseconds.
    pub ran_us: u64,
    /// Why they did not end well.
    pub error: Option<TaskError>,
    /// In which of the ways that they may run in they did.
    pub variant: u8,
    /// The worker that ran them; 0: none did, or it is not known any more.
    pub worker: u32,
    /// When, since the pilot was created; set when it is recorded.
    pub at: Micros,
}

impl Ended {
    /// Tasks that ended without anything to show for it.
    pub fn bare(run: Run, ending: Ending, error: TaskError) -> Self {
        Self {
            run,
            ending,
            data: Data::default(),
            exit_code: None,
            ran_us: 0,
            error: Some(error),
            variant: 0,
            worker: 0,
            at: 0,
        }
    }
}

/// What `part` of `whole` tasks have of something that all of them have in common.
pub fn share(amount: u64, part: u32, whole: u32) -> u64 {
    (u128::from(amount) * u128::from(part) / u128::from(whole.max(1))) as u64
}
