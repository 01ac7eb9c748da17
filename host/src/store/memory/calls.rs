//! The words of the mock: operations, faults, and the log's lines.

use std::fmt;
use std::time::Duration;

use super::super::StoreError;

/// An operation of [`KvStore`](super::super::KvStore).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// `get`
    Get,
    /// `get_many`
    GetMany,
    /// `add`
    Add,
    /// `replace`
    Replace,
    /// `delete`
    Delete,
    /// `era`
    Era,
    /// `keys`
    Keys,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Get => "get",
            Op::GetMany => "get-many",
            Op::Add => "add",
            Op::Replace => "replace",
            Op::Delete => "delete",
            Op::Era => "era",
            Op::Keys => "keys",
        })
    }
}

/// What can go wrong with a call: a line of a [`Memory`](super::Memory)'s script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The request is executed; the caller gets [`StoreError::UnknownOutcome`].
    LostReply,
    /// The request is not executed; the caller gets [`StoreError::UnknownOutcome`] all the same.
    LostRequest,
    /// The caller gets [`StoreError::UnknownOutcome`] now; the request is executed by
    /// [`deliver_late`](super::Memory::deliver_late).
    Late,
    /// Nothing is sent; the caller gets [`StoreError::Unavailable`].
    Unavailable,
    /// The store refuses; the caller gets [`StoreError::Rejected`].
    Rejected,
    /// The request is executed at once, and the answer takes this long by the store's clock.
    Slow(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::LostReply => f.write_str("lost reply"),
            Fault::LostRequest => f.write_str("lost request"),
            Fault::Late => f.write_str("late"),
            Fault::Unavailable | Fault::Rejected => f.write_str("scripted"),
            Fault::Slow(pause) => write!(f, "slow, {pause:?}"),
        }
    }
}

/// How a call ended, without the values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// `get` found an entry.
    Found,
    /// `get` found none.
    Nothing,
    /// `get_many` or `keys` found this many.
    FoundMany(usize),
    /// `add` or `replace` wrote.
    Written,
    /// Nothing was changed: there is an entry, or another version of it.
    Conflict,
    /// Nothing was changed: there is no entry.
    Absent,
    /// `delete` deleted.
    Deleted,
    /// `era` told this one.
    Era(u64),
    /// An error.
    Failed(StoreError),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Found => f.write_str("found"),
            Answer::Nothing => f.write_str("nothing"),
            Answer::FoundMany(found) => write!(f, "{found} found"),
            Answer::Written => f.write_str("written"),
            Answer::Conflict => f.write_str("conflict"),
            Answer::Absent => f.write_str("absent"),
            Answer::Deleted => f.write_str("deleted"),
            Answer::Era(id) => write!(f, "{id}"),
            Answer::Failed(StoreError::Unavailable(_)) => f.write_str("unavailable"),
            Answer::Failed(StoreError::UnknownOutcome(_)) => f.write_str("unknown-outcome"),
            Answer::Failed(StoreError::Rejected(_)) => f.write_str("rejected"),
            Answer::Failed(StoreError::Invalid(_)) => f.write_str("invalid"),
        }
    }
}

/// One line of a [`Memory`](super::Memory)'s log. As text: `add kvlock:lock:k -> written`, with the scripted fault in
/// parentheses behind it: `add kvlock:lock:k -> unknown-outcome (lost reply)`.
///
/// A request that [`Fault::Late`] held back has two lines: `… -> unknown-outcome (late)` when it was made, and
/// `… -> written (late)` when it was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// What was asked for.
    pub op: Op,
    /// The key; for `get_many` all of them, with commas between, and for `keys` the prefix.
    pub key: String,
    /// How it ended.
    pub answer: Answer,
    /// The scripted fault that happened to it.
    pub fault: Option<Fault>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.op, self.key, self.answer)?;
        match self.fault {
            Some(fault) => write!(f, " ({fault})"),
            None => Ok(()),
        }
    }
}
