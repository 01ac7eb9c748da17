//! What goes into a queue and comes out of it.

use core::time::Duration;

/// A place in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) generation: u64,
    pub(crate) number: i64,
}

/// What makes a difference to how often the store has to be polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PollTerms {
    /// The longest pause between two polls.
    pub interval: Duration,
    /// The lease; none lasts for ever.
    pub lease: Option<Duration>,
    /// The minimum hold.
    pub at_least: Duration,
    /// The session's quarantine, if it has one of its own.
    pub quarantine: Option<Duration>,
}

/// How a request waits between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WaitMode<W> {
    /// Its caller comes back after the pause.
    Polled,
    /// Its thread is parked and can be woken.
    Parked {
        /// Wakes the thread.
        waker: W,
        /// The thread looks at the queue once an interval: it counts how long an outage lasts, and gives up by itself.
        looks_often: bool,
    },
}

/// What the store answered to a poll that was not granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer<A> {
    /// When the poll began.
    pub asked_at: Duration,
    /// When to poll again.
    pub pause: Duration,
    /// What is waited for.
    pub waiting_for: A,
    /// The poll terms decide how long the wait for this is. A quarantine is as long as the lease or the session ask for;
    /// a holder makes all wait alike.
    pub depends_on_terms: bool,
    /// The request may have what it waits for, by a write that was not answered. Only its own polls find out.
    pub in_doubt: bool,
}

/// The last answer to the request that polls for its queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LastAnswer<A> {
    /// When the poll began.
    pub at: Duration,
    /// What is waited for.
    pub waiting_for: A,
}

/// What a request is to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NextStep<A, H> {
    /// Poll the store: it is its turn.
    Poll,
    /// Take the lock, which was handed over to it.
    TakeHandOver(H),
    /// Come back after the pause, or when woken.
    Wait {
        /// How long.
        pause: Duration,
        /// What its queue waits for.
        last_answer: LastAnswer<A>,
    },
    /// Give up: its wait is over.
    TimedOut(LastAnswer<A>),
}
