//! What a waiter's looks tell about the holder.

use core::time::Duration;

use crate::records::Ticket;
use crate::values::{Time, Version};

/// The holder that a look found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CurrentHolder {
    pub(crate) ticket: Ticket,
    pub(crate) version: Version,
    /// The time of its grant, by its wall clock.
    pub(crate) since: Option<Time>,
    /// The turn length that it measured while it waited.
    pub(crate) turn: Option<Duration>,
}

/// The holder, as the looks so far show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct HolderWatch {
    /// None if the last look found the lock free.
    ticket: Option<Ticket>,
    /// The version of its record at the last look.
    version: Option<Version>,
    /// The first look that found this version.
    version_since: Option<Time>,
    /// The last look that found another holder, or none.
    other_at: Option<Time>,
    /// When its turn began, as far as is known.
    began: Option<Time>,
    looked: Option<Time>,
}

impl HolderWatch {
    /// Returns true if a record of this version shows that the key changed hands since the last look.
    pub(super) fn has_moved(&self, version: Option<Version>) -> bool {
        version.is_some() && version != self.version
    }

    pub(super) fn is_free(&self) -> bool {
        self.version.is_none()
    }

    pub(super) fn version_since(&self) -> Option<Time> {
        self.version_since
    }

    /// Compares tickets: a renewal changes the version, not the holder.
    pub(super) fn is_another(&self, ticket: Option<Ticket>) -> bool {
        ticket != self.ticket
    }

    /// Notes another holder, or none. Returns how long the turn before took, if this waiter saw it begin and end.
    pub(super) fn change(&mut self, ticket: Option<Ticket>, now: Time) -> Option<Duration> {
        // It ended at some time since the last look.
        let ended = self.turn_until(now.before(now.since(self.looked.unwrap_or(now)) / 2));
        self.ticket = ticket;
        self.other_at = self.looked;
        ended
    }

    /// Notes the version that a look found. Returns the time since the look before if the key changed hands in it.
    pub(super) fn look(&mut self, version: Option<Version>, now: Time) -> Option<Duration> {
        let has_moved = self.has_moved(version) && self.version.is_some();
        if version != self.version || self.version_since.is_none() {
            self.version = version;
            self.version_since = Some(now);
        }
        self.looked.replace(now).filter(|_| has_moved).map(|looked| now.since(looked))
    }

    /// Notes when the holder's turn began: by its wall clock, or else after the last look that found another.
    pub(super) fn begin(&mut self, holder: Option<CurrentHolder>) {
        let began = holder.and_then(|holder| holder.since.or(self.other_at));
        self.began = began.map(|began| self.within_what_was_seen(began));
    }

    /// Returns how long the holder's turn took, if it ended then and this waiter saw it begin.
    pub(super) fn turn_until(&self, end: Time) -> Option<Duration> {
        self.ticket.and(self.other_at)?;
        Some(end.since(self.began?))
    }

    /// Cuts what a wall clock tells to what the looks leave possible.
    pub(super) fn within_what_was_seen(&self, since: Time) -> Time {
        since.max(self.other_at.unwrap_or(since)).min(self.version_since.unwrap_or(since))
    }
}
