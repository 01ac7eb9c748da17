//! A request's part in the queues.

use core::time::Duration;

use crate::values::{PollTerms, Ticket};

/// What a request remembers from one step to the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    pub(crate) terms: PollTerms,
    takes_over: bool,
    wait: Option<Duration>,
    /// When it made its first step.
    started: Option<Duration>,
    /// Its place in a queue, if it has one.
    pub(crate) ticket: Option<Ticket>,
    /// How many grants its session had ever had when it polled last.
    polled_after: Option<u64>,
}

/// What a request's session knows at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stake {
    /// The request may have what it waits for, by a write that was not answered.
    pub in_doubt: bool,
    /// How many grants the session ever had.
    pub grants: u64,
    /// The session may hold some of them.
    pub may_hold: bool,
}

/// How long a request waits.
#[derive(Clone, Copy)]
pub(crate) struct WaitLimit {
    end: Option<Duration>,
    /// It polls once.
    pub(crate) never_waits: bool,
}

impl Entry {
    /// Makes a request that is in no queue, and waits for this long from its first step on; without a limit if there is
    /// none. One that `takes_over` may get what somebody else holds.
    pub fn new(terms: PollTerms, wait: Option<Duration>, takes_over: bool) -> Self {
        Entry { terms, takes_over, wait, started: None, ticket: None, polled_after: None }
    }

    /// Polls the store without a look at the queues: right if nobody waits for anything.
    pub fn poll_alone(&mut self, stake: Stake, now: Duration) {
        self.begin(now);
        self.note_poll(stake);
    }

    /// Returns true if the request is in no queue.
    pub fn is_outside(&self) -> bool {
        self.ticket.is_none()
    }

    /// Returns for how long the request has waited.
    pub fn waited(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started.unwrap_or(now))
    }

    pub(crate) fn begin(&mut self, now: Duration) -> WaitLimit {
        let started = *self.started.get_or_insert(now);
        let end = self.wait.map(|wait| started.saturating_add(wait));
        WaitLimit { end, never_waits: self.wait.is_some_and(|wait| wait.is_zero()) }
    }

    pub(crate) fn note_poll(&mut self, stake: Stake) {
        self.polled_after = Some(stake.grants);
    }

    /// Returns true if only a poll tells whether the request has to wait at all. It may take a lock over; and its
    /// session may have got the lock since the last poll, by another call or by a write that was not answered. Those
    /// before it in the queue might wait for this very session.
    pub(crate) fn must_bypass(&self, stake: Stake) -> bool {
        stake.in_doubt
            || (self.takes_over && self.polled_after.is_none())
            || (stake.may_hold && self.polled_after != Some(stake.grants))
    }
}

impl WaitLimit {
    pub(crate) fn is_over(self, now: Duration) -> bool {
        self.end.is_some_and(|end| end <= now)
    }

    pub(crate) fn cut(self, now: Duration, pause: Duration) -> Duration {
        self.end.map_or(pause, |end| pause.min(end.saturating_sub(now)))
    }
}
