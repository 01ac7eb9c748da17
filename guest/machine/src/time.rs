//! Time as the machines see it: a number that the driver passes in.

use core::time::Duration;

/// A reading of the driver's monotonic clock. Only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// The reading of a clock that counts nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(Duration::from_nanos(nanos))
    }

    /// This long after.
    pub fn after(self, duration: Duration) -> Self {
        Time(self.0.saturating_add(duration))
    }

    /// This long before.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Time(self.0.saturating_sub(duration))
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    pub fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long it is until `later`; zero if it has passed.
    pub fn until(self, later: Time) -> Duration {
        later.since(self)
    }
}
