//! A thread that waits for the lock, holds it and releases it.

use std::time::Duration;

use kvlock_queue::{Entry, PollTerms, Ticket, WaitMode};

use super::Style;
use crate::story::Story;

pub(super) const UNIT: Duration = Duration::from_millis(10);

/// Which wait a lock is for: the thread, and how many waits it had left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) thread: u8,
    pub(super) left: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Thread {
    pub(super) style: Style,
    pub(super) entry: Entry,
    pub(super) doing: Doing,
    /// When it makes its next step.
    pub(super) due: u32,
    /// How many waits it has still to begin, this one included.
    pub(super) left: u8,
    pub(super) in_doubt: bool,
    /// It was woken before it parked.
    pub(super) token: bool,
    /// How often others of the process got the lock since it joined the queue.
    pub(super) overtaken: u8,
    /// When it joined the queue, counted in joins.
    pub(super) joined: u8,
    pub(super) steps: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Doing {
    /// It asks the queues what to do.
    Looking,
    /// The component is about to ask the store, from the time on.
    Polling(u32),
    /// The store did not grant it; the queues are to be told.
    Refused(u32),
    /// The lock is its own; the queues are to be told.
    Granted,
    Parked,
    /// It comes back by itself.
    Polled,
    Holding,
    /// It writes its release, which may hand over.
    Releasing(Option<(Ticket, u8)>),
    /// The release is written: for its successor, for nobody, or perhaps not at all.
    Released(Option<(Ticket, u8)>, Outcome),
    /// It gives back what was handed over to a request that had gone.
    Returning(Request),
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    HandedOver(Request),
    Freed,
    Unknown,
}

impl Thread {
    pub(super) fn joined(&mut self, joins: u8) {
        (self.joined, self.overtaken) = (joins, 0);
    }

    pub(super) fn pause(&mut self, now: u32, pause: Duration, story: &mut Story) {
        let units = u32::try_from(pause.as_nanos().div_ceil(UNIT.as_nanos())).unwrap_or(u32::MAX / 2);
        story.line(|| format!("waits for {pause:?}"));
        self.doing = if self.style.parks { Doing::Parked } else { Doing::Polled };
        // One that was woken does not park at all.
        let is_woken = std::mem::take(&mut self.token) && self.style.parks;
        self.due = if is_woken { now } else { now + units };
        if self.due > now {
            self.steps = 0;
        }
    }

    /// Whether it has the lock, or is about to find so.
    pub(super) fn works_for(&self, request: Request) -> bool {
        self.left == request.left
            && matches!(self.doing, Doing::Granted | Doing::Holding | Doing::Releasing(_) | Doing::Released(..))
    }

    pub(super) fn has_successor(&self) -> bool {
        matches!(self.doing, Doing::Releasing(Some(_)) | Doing::Released(Some(_), _))
    }
}

impl Style {
    pub(super) fn mode(&self, who: usize) -> WaitMode<u8> {
        if self.parks { WaitMode::Parked { waker: who as u8, looks_often: false } } else { WaitMode::Polled }
    }
}

pub(super) fn entry(style: &Style) -> Entry {
    let interval = UNIT * style.interval;
    let terms = PollTerms { interval, lease: None, at_least: Duration::ZERO, quarantine: None };
    Entry::new(terms, style.wait.map(|units| UNIT * units), false)
}
