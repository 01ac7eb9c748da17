//! How long an outage of the store is borne while something is waited for, and whether a quarantine is.

use std::time::Duration;

/// A wait's patience with the store. None: as long as the wait lasts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RideOut {
    /// With one that the session's first call finds.
    first: Option<Duration>,
    /// With any other.
    later: Option<Duration>,
    /// Whether a quarantine ends the wait.
    not_in_quarantine: bool,
}

/// An outage that goes on, or none.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// By the clock.
    since: Option<Duration>,
    /// Whether the store is known to have answered.
    reached: bool,
}

impl RideOut {
    /// Bears every outage for this long.
    pub(crate) fn set(&mut self, longest: Duration) {
        (self.first, self.later) = (Some(longest), Some(longest));
    }

    /// Bears an outage that the first call finds for this long.
    pub(crate) fn set_first(&mut self, longest: Duration) {
        self.first = Some(longest);
    }

    /// Does not wait for the end of a quarantine.
    pub(crate) fn end_in_quarantine(&mut self) {
        self.not_in_quarantine = true;
    }

    /// Does not wait for a quarantine. Unless it was set otherwise, a store that never answered is down at once, and
    /// one that answered before after a moment.
    pub(crate) fn set_soft(&mut self, moment: Duration) {
        self.end_in_quarantine();
        self.first.get_or_insert(Duration::ZERO);
        self.later.get_or_insert(moment);
    }

    /// Returns true if the store may end the wait.
    pub(crate) fn is_limited(self) -> bool {
        self.first.is_some() || self.later.is_some() || self.not_in_quarantine
    }

    /// Returns true if a quarantine ends it.
    pub(crate) fn ends_in_quarantine(self) -> bool {
        self.not_in_quarantine
    }
}

impl Outage {
    /// Notes that the store has answered the session.
    pub(crate) fn reached(&mut self) {
        self.reached = true;
    }

    /// Notes that something else than the store is waited for.
    pub(crate) fn over(&mut self) {
        *self = Outage { since: None, reached: true };
    }

    /// Notes that the store does not answer; whether that is borne any longer.
    pub(crate) fn is_borne(&mut self, now: Duration, ride_out: RideOut) -> bool {
        let since = *self.since.get_or_insert(now);
        let longest = if self.reached { ride_out.later } else { ride_out.first };
        longest.is_none_or(|longest| now.saturating_sub(since) < longest)
    }
}
