//! Time as the machines see it: a number that the driver passes in.

use core::time::Duration;

/// A reading of the driver's monotonic clock, which counts nanoseconds. Only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Makes the reading of a clock that counts nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Returns the clock's nanoseconds.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the time this long after.
    pub fn after(self, duration: Duration) -> Self {
        Time(self.0.saturating_add(nanos(duration)))
    }

    /// Returns the time this long before.
    pub(crate) fn before(self, duration: Duration) -> Self {
        Time(self.0.saturating_sub(nanos(duration)))
    }

    /// Returns how long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns how long it is until `later`; zero if it has passed.
    pub fn until(self, later: Time) -> Duration {
        later.since(self)
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// The longest duration is 584 years; longer ones are cut to it.
const MAX_SECONDS: u64 = u64::MAX / NANOS_PER_SECOND - 1;

/// Returns a duration in nanoseconds. [`Duration::as_nanos`] computes with 128 bits, which WebAssembly does not have.
pub fn nanos(duration: Duration) -> u64 {
    match duration.as_secs() {
        seconds @ ..=MAX_SECONDS => seconds * NANOS_PER_SECOND + u64::from(duration.subsec_nanos()),
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn durations_have_as_many_nanoseconds_as_the_standard_library_says(length: u64) {
            prop_assume!(length / NANOS_PER_SECOND <= MAX_SECONDS);
            prop_assert_eq!(nanos(Duration::from_nanos(length)), length);
        }

        #[test]
        fn what_is_longer_than_can_be_said_is_as_long_as_can_be_said(seconds in MAX_SECONDS + 1..) {
            prop_assert_eq!(nanos(Duration::from_secs(seconds)), u64::MAX);
        }
    }
}
