//! Every bound of the bus in one place, each with its reason (`docs/spec/1-bus`, section "Limits").
//!
//! Over a limit there is a named refusal, never silence.

/// Bytes of one data frame: 64 MiB. Larger data goes by reference, in chunks.
pub const BLOB_BYTES: usize = 64 << 20;
/// Bytes of a header frame: 1 MiB, which holds a full batch with every column about five times over.
pub const HEADER_BYTES: usize = 1 << 20;
/// Bytes of a blob that travels inside its header instead of in a frame of its own.
pub const EMBEDDED_BYTES: usize = 1024;

/// Time after a restart of the agent in which results that a client saw and brings back are the results, milliseconds.
pub const BRING_BACK_MS: u64 = 30_000;
/// Bytes of one frame as libzmq checks it: the largest blob and some room, so that a refusal can have a name.
pub const WIRE_FRAME_BYTES: usize = BLOB_BYTES + (64 << 10);
/// Data frames in one message: one per group and one shared, with room.
pub const BLOBS: usize = 1_088;
/// Nesting of a header. The deepest message of ours has 6 levels.
pub const DEPTH: usize = 16;
/// Values in a header, keys counted: 1,024 groups of about 30 are 31 thousand.
pub const ELEMENTS: usize = 65_536;
/// Bytes of a map's key.
pub const KEY_BYTES: usize = 64;
/// Bytes of a string where no other limit is said (names, labels, reasons).
pub const STRING_BYTES: usize = 4_096;
/// Bytes of the levels of a log: twenty targets, with room.
pub const LOG_LEVELS: usize = 1_024;
/// Bytes of a name, label or uid.
pub const NAME_BYTES: usize = 256;
/// Labels of a submission.
pub const LABELS: usize = 32;
/// Exit codes that are followed by another attempt: all that there are.
pub const RETRY_ON: usize = 255;
/// Names in `must`.
pub const MUST: usize = 32;
/// Entries of a list of names or reasons, where no other limit is said.
pub const NAMES: usize = 4_096;
/// Words of a program's command line.
pub const WORDS: usize = 16_384;
/// Bytes of one stream of an attempt in a packed log, unless it is told otherwise: a day of a talkative simulation, and a
/// runaway one leaves room for 64 others.
pub const LOG_STREAM_BYTES: u64 = 64 << 20;
/// Bytes of all packed log files of one worker, unless it is told otherwise: what a project directory bears on 100 nodes.
pub const LOG_WORKER_BYTES: u64 = 4 << 30;
/// The least that those may be kept to: four files of a MiB, so that there are few of them.
pub const LEAST_LOG_WORKER_BYTES: u64 = 4 << 20;
/// Bytes of a record's head in a packed log: names of hosts and workers, and numbers.
pub const LOG_HEAD_BYTES: usize = 4_096;
/// Bytes of output in one record of a packed log: what is damaged is lost in such pieces.
pub const LOG_BODY_BYTES: usize = 1 << 20;
/// Bytes of `meta`.
pub const META_BYTES: usize = 16 << 10;
/// Bytes of a body: a function with what it closes over, and room for three in a header. Larger constants are arguments.
pub const BODY_BYTES: usize = 256 << 10;
/// Bytes of output of one stream, and of log records, that are kept beside a function's value: as much as of a program.
pub const BESIDE_BYTES: usize = 64 << 10;
/// Bytes of a value or of arguments that an interpreter may be sent or send: what a data frame may have.
pub const VALUE_BYTES: usize = BLOB_BYTES;
/// Bytes of a frame's head between a worker and an interpreter: 256 calls, and a traceback each.
pub const FRAME_HEAD_BYTES: usize = 16 << 20;
/// Ranks of one task, which all run on one host: more than it has hardware threads, by far. Each is a process.
pub const RANKS: u32 = 4_096;
/// Calls that are sent ahead to an interpreter: both sides then work on batches, and what one that ends leaves behind is soon
/// sent to another.
pub const CALLS_AHEAD: u64 = 256;
/// Calls after which an interpreter is replaced, unless a call says otherwise. Quick ones are as many in half a minute, and a start
/// takes as long as thousands of them; one that grows is replaced before.
pub const INTERPRETER_CALLS: u32 = 1_000_000;
/// How long an interpreter that has nothing to do is kept, milliseconds.
pub const INTERPRETER_IDLE_MS: u64 = 60_000;
/// How long an interpreter may take to start, milliseconds: imports from a file system that a thousand nodes read at once.
pub const INTERPRETER_START_MS: u64 = 120_000;

/// Bytes of what a task says that it is at: a line.
pub const PROGRESS_TEXT_BYTES: usize = 256;
/// Tasks whose progress goes into one message or event: with the longest texts half a header.
pub const PROGRESS_TASKS: usize = 1_024;
/// Time between two words of a worker, or to those who listen, about how far tasks are, milliseconds: what a person sees move.
pub const PROGRESS_EVERY_MS: u64 = 250;
/// Tasks that run whose last word about how far they are the agent keeps: all cores of 128 nodes, in some MiB.
pub const PROGRESS_KEPT: usize = 16_384;

/// Tasks in one columnar batch: past 1,024 a batch gains nothing and costs latency.
pub const BATCH_TASKS: usize = 1_024;
/// Tasks in one range lease of an array that has no columns: 16,384 indices cost one message.
pub const RANGE_TASKS: u32 = 16_384;
/// Groups in one message.
pub const GROUPS: usize = 1_024;
/// Bytes of an item's data up to which it goes into a batch; larger items go singly, by reference.
pub const INLINE_BYTES: usize = 16 << 10;
/// Bytes of data that one message should gather before the next is begun.
pub const MESSAGE_BYTES: usize = 1 << 20;

/// Tasks of an array or of one submission: indices are 32 bits, and 4 million is what a pilot holds.
pub const SUBMISSION_TASKS: u32 = 4_000_000;
/// Unfinished tasks of a streaming session at the agent: memory, not messages, slows a longer backlog.
pub const WINDOW_TASKS: u64 = 16_384;
/// Bytes of unfinished data of a streaming session at the agent, and of unacknowledged results to it.
pub const WINDOW_BYTES: u64 = 64 << 20;
/// Tasks that a pilot holds for handed-over submissions.
pub const PILOT_TASKS: u64 = 4_000_000;
/// Bytes of data that a pilot holds for handed-over submissions.
pub const PILOT_BYTES: u64 = 2 << 30;
/// Bytes that a client library keeps packed before `backlog_full`.
pub const BACKLOG_BYTES: u64 = 1 << 30;
/// Leases of tiny tasks that a worker may hold unstarted: 64 would cost 60 % of the rate, 1,024 10 %.
pub const CREDIT_TASKS: u32 = 4_096;
/// Leases of an array of tiny tasks that a worker may hold unstarted: 4 ranges.
pub const CREDIT_RANGE_TASKS: u32 = 4 * RANGE_TASKS;
/// Bytes of lease data that a worker may hold unacknowledged.
pub const CREDIT_BYTES: u64 = 64 << 20;

/// Answers to changing requests that are kept above a session's low-water mark.
pub const OPEN_REQUESTS: u64 = 4_096;
/// Time after which what has ended is forgotten, also with results that nobody collected (R10): 30 days.
pub const RETAIN_MS: u64 = 30 * 24 * 3_600_000;
/// Tasks that ended and are still known one by one (R10).
pub const ENDED_TASKS: u64 = 1_000_000;
/// Bytes of results that are kept in memory after they were delivered or while nobody collects them.
pub const RESULT_BYTES: u64 = 256 << 20;
/// Bytes of results over which the oldest values are moved out of memory: half of what may be there, so that tasks go on
/// to end while a slow disk takes some away.
pub const SPILL_OVER: u64 = RESULT_BYTES / 2;
/// Bytes of results that nobody has collected in the pilot's directory (R10): 65,536 outputs of 64 KiB, and a share of a
/// home directory's quota that leaves room for the journal.
pub const SPILL_BYTES: u64 = 4 << 30;
/// Bytes of data of tasks that did not end well, in submissions that are over: they may be submitted again.
pub const KEPT_BYTES: u64 = 256 << 20;
/// Sessions of a pilot.
pub const SESSIONS: usize = 4_096;
/// Workers of one agent: more of them go under sub-agents.
pub const WORKERS: usize = 4_096;
/// Requests for workers that are known, the ones that are over included: those go first.
pub const WORKER_REQUESTS: usize = 256;
/// Workers of one request: a node's cores, several times over.
pub const REQUESTED_WORKERS: u32 = 1_024;
/// Time that requested workers have to join, milliseconds: as long as a worker waits for the agent.
pub const START_MS: u64 = 120_000;
/// The longest that may be asked for, milliseconds: an hour.
pub const LONGEST_START_MS: u64 = 3_600_000;
/// Time without anybody who starts workers after which requests are refused, milliseconds: it comes back to a restarted agent within 2 s.
pub const STARTER_AWAY_MS: u64 = 10_000;
/// How long who starts workers may wait for something to do, milliseconds.
pub const STARTER_MS: u64 = 60_000;
/// Tasks that one filter has at once: as many as may be waited for, and some to spare.
pub const FILTER_SEATS: u64 = 960;
/// Tasks that a filter makes of one, and tasks that it adds to one.
pub const FILTER_PARTS: usize = 1_024;
/// Bytes of a frame between a filter and who keeps it: a task with its results, of which few are large.
pub const FILTER_FRAME_BYTES: usize = 4 * BLOB_BYTES;
/// Filters of a pilot.
pub const FILTERS: usize = 16;
/// What a filter has of time to hear of the end of what it has asked to end, beyond the grace of that, milliseconds.
pub const FILTER_GRACE_MS: u64 = 5_000;
/// Modes that a worker announces.
pub const MODES: usize = 256;
/// Kinds of resources in a pilot.
pub const RESOURCE_KINDS: usize = 64;
/// Kinds in what a submission took: time and all kinds of resources.
pub const SPENT_KINDS: usize = RESOURCE_KINDS + 1;
/// What one task may need instead of what it needs: with it there are 4 ways to run, as many as a person tells apart.
pub const VARIANTS: usize = 3;
/// Dependencies of one submission.
pub const AFTER: usize = 1_024;
/// Reads that one attachment may have waiting.
pub const OPEN_READS: usize = 1_024;
/// How long a reading of what a program writes may wait for more, milliseconds.
pub const READ_OUTPUT_MS: u64 = 60_000;
/// Rows in one page of a listing.
pub const PAGE_ROWS: u32 = 1_000;
/// Rows of submissions in one event: several screens of them; the counts of all are in the summary.
pub const EVENT_ROWS: usize = 256;
/// Groups of what went wrong with tasks: more kinds of failure than anybody reads.
pub const FAULT_GROUPS: usize = 256;
/// Entries of the rings that a worker's belief is compared over.
pub const BELIEF_RING: usize = 4_096;

/// Time between two beats of a worker, milliseconds.
pub const BEAT_MS: u64 = 2_000;
/// Time without a sign of life after which a worker is lost, milliseconds.
pub const LOST_MS: u64 = 10_000;
/// Time that a worker keeps work and results without its agent, milliseconds.
pub const ORPHAN_MS: u64 = 600_000;
