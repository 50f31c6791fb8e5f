//! Whatever bytes come, a decoder neither panics nor takes memory far beyond them.

mod allocation;
mod bombs;
mod corpus;
mod decoders;
mod mutations;
