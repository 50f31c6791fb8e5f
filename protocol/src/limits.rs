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
/// Bytes of `meta`.
pub const META_BYTES: usize = 16 << 10;

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
/// Bytes of data of tasks that did not end well, in submissions that are over: they may be submitted again.
pub const KEPT_BYTES: u64 = 256 << 20;
/// Sessions of a pilot.
pub const SESSIONS: usize = 4_096;
/// Workers of one agent: more of them go under sub-agents.
pub const WORKERS: usize = 4_096;
/// Modes that a worker announces.
pub const MODES: usize = 256;
/// Kinds of resources in a pilot.
pub const RESOURCE_KINDS: usize = 64;
/// Dependencies of one submission.
pub const AFTER: usize = 1_024;
/// Reads that one attachment may have waiting.
pub const OPEN_READS: usize = 1_024;
/// How long a reading of what a program writes may wait for more, milliseconds.
pub const READ_OUTPUT_MS: u64 = 60_000;
/// Rows in one page of a listing.
pub const PAGE_ROWS: u32 = 1_000;
/// Entries of the rings that a worker's belief is compared over.
pub const BELIEF_RING: usize = 4_096;

/// Time between two beats of a worker, milliseconds.
pub const BEAT_MS: u64 = 2_000;
/// Time without a sign of life after which a worker is lost, milliseconds.
pub const LOST_MS: u64 = 10_000;
/// Time that a worker keeps work and results without its agent, milliseconds.
pub const ORPHAN_MS: u64 = 600_000;
