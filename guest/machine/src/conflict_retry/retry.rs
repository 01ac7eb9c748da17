//! Work that is retried, between two tries and while one runs.

use alloc::boxed::Box;
use core::time::Duration;

use super::options::RetryOptions;
use crate::discard::Discard;
use crate::error::GrantError;
use crate::session::{Grant, Session};
use crate::values::Key;
use crate::wait::Wait;

/// Work between two tries, or before the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retry {
    pub(super) key: Key,
    pub(super) options: RetryOptions,
    /// Counts from the first try on; its pauses are those between tries.
    pub(super) wait: Wait,
    pub(super) tries: u32,
    /// The hold of the last try, which may still stand.
    pub(super) reserved: Option<Grant>,
    /// Whether the lock was lost before the last report.
    pub(super) lost: bool,
}

/// A try that runs. A driver keeps one value and gives it up to the report; copies are for state explorers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Try {
    pub(super) retry: Box<Retry>,
    pub(super) grant: Grant,
    /// Whether it runs within a try of the same session, whose lock it is.
    pub(super) nested: bool,
    pub(super) overtaken: bool,
}

/// The outcome of a try's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkOutcome {
    /// Done.
    Committed,
    /// Its own concurrency control refused it. It can be tried again, after this long if that is known.
    Conflict(Option<Duration>),
    /// It failed otherwise; another try does not help.
    Failed,
}

/// The step after a try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NextTry {
    /// The lock is released. Nothing more to do.
    Finished,
    /// Begin again after this long. The lock is reserved until then and somewhat longer, unless it was lost, or the
    /// pause is longer than a reservation may last.
    RetryAfter(Duration, Box<Retry>),
    /// That was the last try. The lock is released, or ends with its lease if the store fails.
    Exhausted,
    /// It ran within another try of the session. Report the conflict of the outermost one, which can be tried again.
    Outermost,
}

/// The lock was lost while the work ran, or could not be released.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{error}")]
pub struct Unreported {
    /// The lock's error.
    pub error: GrantError,
    /// The try, if the store failed: it can be reported once more.
    pub again: Option<Box<Try>>,
}

impl Retry {
    /// Makes work that is tried under the lock of `key`. The seed spreads the pauses: any random number will do.
    pub fn new(key: Key, options: RetryOptions, seed: u128) -> Self {
        let wait = Wait::new(options.lock.wait, options.pause, seed);
        Retry { key, options, wait, tries: 0, reserved: None, lost: false }
    }

    /// Returns how many tries have begun.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Gives up the reservation, if the last try left one and no other retry of the session has taken it up.
    pub fn give_up(&self, session: &mut Session) -> Option<Discard> {
        let reserved = self.reserved.as_ref()?;
        let present = session.reservation(&reserved.store_key, &self.options.lock.unit);
        present.filter(|present| present == reserved).map(Discard::left_by_a_retry)
    }

    /// Gives up a reservation that no name leads to, if the retry is dropped.
    pub fn abandon(&self, session: &mut Session) -> Option<Discard> {
        if self.options.lock.unit.is_none() {
            return self.give_up(session);
        }
        if let Some(reserved) = &self.reserved {
            session.forsake(reserved);
        }
        None
    }

    pub(super) fn after(mut self, reserved: Option<Grant>, back_in: Option<Duration>) -> NextTry {
        self.reserved = reserved;
        let pause = back_in.unwrap_or_else(|| self.wait.next_pause());
        NextTry::RetryAfter(pause, Box::new(self))
    }

    /// Returns if work with this outcome is tried again; inside, when, if that is known.
    pub(super) fn goes_on(&self, work: WorkOutcome) -> Option<Option<Duration>> {
        match work {
            WorkOutcome::Conflict(back_in) if self.tries < self.options.tries => Some(back_in),
            _ => None,
        }
    }
}

impl Try {
    pub(super) fn new(retry: Box<Retry>, grant: Grant, nested: bool, overtaken: bool) -> Self {
        Try { retry, grant, nested, overtaken }
    }

    /// Returns its number; the first is 1.
    pub fn number(&self) -> u32 {
        self.retry.tries
    }

    /// Returns the lock that is held while it runs.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns true if somebody else may have held the lock since the retry began, or since the last report. If that
    /// report asked for a pause longer than a reservation lasts, the time counts from the end of the pause.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }

    /// Gives the lock of a dropped try back, unless it is an outer try's, or was written out.
    pub fn abandon(self, session: &Session) -> Option<Discard> {
        let own = !self.nested && session.hold_of(&self.grant).is_some_and(|held| !held.is_given_away());
        own.then(|| Discard::left_by_a_retry(self.grant))
    }
}
