//! What is told of, and how it ends.

use crate::kind::ErrorKind;

/// What is waited for and held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lock,
    /// A lock that readers share.
    Shared,
    Permit,
    /// The lock of a try.
    Retry,
}

/// How a wait ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitEnd {
    Granted,
    /// It was not free in time.
    Busy,
    Failed(ErrorKind),
    /// Nobody waits any more.
    Abandoned,
}

/// How what was held ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldEnd {
    Released,
    /// A hold within another one ended.
    Nested,
    /// Released, and taken for its minimum hold.
    Kept,
    HandedOver,
    /// Reserved for the next try.
    Reserved,
    Lost,
    /// The store or the component failed: it ends with its lease.
    Failed,
    /// It was written out or forgotten, and goes on elsewhere.
    Left,
}

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Add,
    Replace,
    Delete,
    Era,
}

/// How a call of the store ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Ok,
    /// Somebody else's entry is there, or there is none.
    Conflict,
    Failed(ErrorKind),
}

impl Kind {
    #[cfg(feature = "metrics")]
    pub(super) const COUNT: usize = Kind::Retry as usize + 1;

    #[cfg(any(feature = "metrics", feature = "tracing"))]
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Lock => "lock",
            Kind::Shared => "shared",
            Kind::Permit => "permit",
            Kind::Retry => "retry",
        }
    }
}

impl WaitEnd {
    pub(super) const NAMES: [&'static str; 4] = ["granted", "busy", "failed", "abandoned"];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    pub(super) fn index(self) -> usize {
        match self {
            WaitEnd::Granted => 0,
            WaitEnd::Busy => 1,
            WaitEnd::Failed(_) => 2,
            WaitEnd::Abandoned => 3,
        }
    }

    /// Returns how a wait ends that ends by an error of this kind.
    pub(crate) fn by(error: ErrorKind) -> Self {
        if error == ErrorKind::Busy { WaitEnd::Busy } else { WaitEnd::Failed(error) }
    }
}

impl HoldEnd {
    pub(super) const NAMES: [&'static str; 8] =
        ["released", "nested", "kept", "handed-over", "reserved", "lost", "failed", "left"];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}
