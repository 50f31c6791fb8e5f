//! Workers of another layout: asked for, and, on the other side, started.

use std::time::{Duration, Instant};

use scalems_protocol::client::{
    Layout, Orders, Question, Reply, RequestRow, RequestRows, RequestState, RequestWorkers, RequestsPage,
    Starter,
};

use crate::calls::pending;
use crate::error::ClientError;
use crate::machine::{Answered, Call};
use crate::options::micros;
use crate::pending::Pending;
use crate::session::Session;

/// How much longer than the wait itself its answer may be on its way.
const WAIT_SLACK: Duration = Duration::from_secs(10);

/// Workers that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkersAsked {
    /// The short number of the request, to ask about it. Another life of the agent knows nothing of it.
    pub id: u64,
}

impl Session {
    /// Asks for so many more workers of a layout. Returns once it is known that there is room for them, or the
    /// agent refuses: [`Self::wait_request`] says what became of them.
    ///
    /// ```no_run
    /// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
    /// use std::time::Duration;
    /// use scalems_client::protocol::client::{Layout, RequestState};
    ///
    /// let layout = Layout { cores: 4, ..Layout::default() };
    /// let asked = session.request_workers(2, layout)?;
    /// let row = session.wait_request(asked, Duration::from_secs(120))?;
    /// match row.state {
    ///     RequestState::Started => println!("{} workers have joined", row.workers.len()),
    ///     state => println!("{}: {}", state.name(), row.reason),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_workers(&self, count: u32, layout: Layout) -> Result<WorkersAsked, ClientError> {
        self.ask_for_workers(RequestWorkers {
            request: 0,
            low_water: 0,
            count,
            layout,
            replace: None,
            drain_ms: 0,
            deadline_ms: 0,
        })
    }

    /// Ends a worker in order, and asks for so many others in its place, on its node. What runs there may go on for
    /// `drain`; what has not ended then, or not begun, runs elsewhere, and that is no fault of it.
    ///
    /// ```no_run
    /// # fn example(session: scalems_client::Session) -> Result<(), scalems_client::ClientError> {
    /// use std::time::Duration;
    /// use scalems_client::protocol::client::Layout;
    ///
    /// // Three workers of 4 cores for one of 12.
    /// let layout = Layout { cores: 4, ..Layout::default() };
    /// let asked = session.replace_worker(1, 3, layout, Duration::from_secs(30))?;
    /// session.wait_request(asked, Duration::from_secs(180))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn replace_worker(
        &self,
        worker: u64,
        count: u32,
        layout: Layout,
        drain: Duration,
    ) -> Result<WorkersAsked, ClientError> {
        self.ask_for_workers(RequestWorkers {
            request: 0,
            low_water: 0,
            count,
            layout,
            replace: Some(worker),
            drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            deadline_ms: 0,
        })
    }

    /// As [`Self::request_workers`] and [`Self::replace_worker`], with all that can be said. Its numbers are given here.
    pub fn ask_for_workers(&self, asked: RequestWorkers) -> Result<WorkersAsked, ClientError> {
        pending(
            self.shared(),
            Call::RequestWorkers { asked },
            "the request for workers",
            |answered| match answered {
                Answered::WorkersRequested { id } => Some(WorkersAsked { id }),
                _ => None,
            },
        )?
        .wait(self.answer_timeout())
    }

    /// Waits until requested workers have joined, or will not, for so long; says what is known by then.
    pub fn wait_request(&self, asked: WorkersAsked, timeout: Duration) -> Result<RequestRow, ClientError> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let row = self.row_of(asked, left)?;
            if row.state.is_over() || left.is_zero() {
                return Ok(row);
            }
        }
    }

    /// What is known of requested workers once it is known whether there is room for them, after so long at most: who starts
    /// workers may be about to come.
    pub fn ask_request(&self, asked: WorkersAsked, timeout: Duration) -> Result<RequestRow, ClientError> {
        let mut row = self.row_of(asked, Duration::ZERO)?;
        if row.state == RequestState::Requested && !timeout.is_zero() {
            row = self.row_of(asked, timeout)?;
        }
        Ok(row)
    }

    fn row_of(&self, asked: WorkersAsked, timeout: Duration) -> Result<RequestRow, ClientError> {
        let page = RequestsPage {
            id: Some(asked.id),
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            ..RequestsPage::default()
        };
        let row = self.rows_of(page)?.pop();
        row.ok_or(ClientError::WrongAnswer { asked: "requests" })
    }

    /// All requests for workers that this life of the agent knows.
    pub fn ask_requests(&self) -> Result<Vec<RequestRow>, ClientError> {
        let mut rows = Vec::new();
        let mut page = RequestsPage::default();
        loop {
            let listing = self.listing_of(page)?;
            rows.extend(listing.rows);
            match listing.next {
                // One that says the same again would be asked for ever.
                Some(next) if next > page.after => page.after = next,
                _ => return Ok(rows),
            }
        }
    }

    fn rows_of(&self, page: RequestsPage) -> Result<Vec<RequestRow>, ClientError> {
        Ok(self.listing_of(page)?.rows)
    }

    fn listing_of(&self, page: RequestsPage) -> Result<RequestRows, ClientError> {
        let timeout = match page.timeout_ms {
            0 => self.answer_timeout(),
            wait => Duration::from_millis(wait).saturating_add(WAIT_SLACK),
        };
        match self.ask(Question::Requests(page), timeout)?.wait(None)?.0 {
            Reply::Requests(listing) => Ok(listing),
            _ => Err(ClientError::WrongAnswer { asked: "requests" }),
        }
    }

    /// What a process does that starts workers for the pilot: says what it keeps, and waits for orders. Said again with
    /// what has changed, the one before is answered with none.
    pub fn serve_starts(&self, said: Starter) -> Result<Pending<Orders>, ClientError> {
        let timeout = Duration::from_millis(said.timeout_ms).saturating_add(WAIT_SLACK);
        let call = Call::Starter {
            said,
            timeout_us: micros(timeout),
        };
        pending(
            self.shared(),
            call,
            "orders to start workers",
            |answered| match answered {
                Answered::Reply(Reply::Orders(orders), _) => Some(orders),
                _ => None,
            },
        )
    }
}
