//! A wait with a limit and pauses between tries.

pub(crate) mod backoff;

use core::time::Duration;

use crate::values::Time;
use crate::wait::backoff::Backoff;

/// The shortest pause while the store does not answer: a server that comes back must not meet a storm.
pub(crate) const OUTAGE_PAUSE: Duration = Duration::from_millis(100);

/// The limit of a wait, its start, and its next pause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wait {
    /// None: no limit.
    limit: Option<Duration>,
    started: Option<Time>,
    backoff: Backoff,
}

impl Wait {
    pub(crate) fn new(limit: Option<Duration>, interval: Duration, seed: u128) -> Self {
        Wait { limit, started: None, backoff: Backoff::new(interval, seed) }
    }

    /// Starts the wait; later calls change nothing.
    pub(crate) fn start(&mut self, now: Time) {
        self.started.get_or_insert(now);
    }

    pub(crate) fn waited(&self, now: Time) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.since(started))
    }

    pub(crate) fn left(&self, now: Time) -> Option<Duration> {
        self.limit.map(|limit| limit.saturating_sub(self.waited(now)))
    }

    /// Returns how long ago the wait ended.
    pub(crate) fn overrun(&self, now: Time) -> Duration {
        self.limit.map_or(Duration::ZERO, |limit| self.waited(now).saturating_sub(limit))
    }

    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.left(now).is_some_and(|left| left.is_zero())
    }

    /// Returns the next pause, cut where the wait ends. The pause is longer than `at_least`, so that waiters for the
    /// same moment do not all come back at it.
    pub(crate) fn pause(&mut self, now: Time, at_least: Duration) -> Duration {
        let pause = at_least.saturating_add(self.next_pause());
        self.within(now, pause)
    }

    /// Cuts a pause where the wait ends.
    pub(crate) fn within(&self, now: Time, pause: Duration) -> Duration {
        self.left(now).map_or(pause, |left| pause.min(left))
    }

    /// Returns the next pause, whatever is left of the wait.
    pub(crate) fn next_pause(&mut self) -> Duration {
        self.backoff.next()
    }

    /// Returns a pause after this many times in a row in which somebody else was faster at writing.
    pub(crate) fn spread(&mut self, times: u32) -> Duration {
        self.backoff.spread(times)
    }

    /// Returns the longest pause.
    pub(crate) fn interval(&self) -> Duration {
        self.backoff.limit()
    }

    /// Returns a pause of the longest kind.
    pub(crate) fn settled_pause(&mut self) -> Duration {
        self.backoff.settled()
    }

    /// Returns a random number below `bound`, which is not zero.
    pub(crate) fn random_below(&mut self, bound: u32) -> u32 {
        self.backoff.random_below(bound)
    }
}
