//! How to retry work that may conflict: options that are checked once, and cannot be wrong afterwards.

use alloc::format;
use core::time::Duration;

use crate::values::{Invalid, Lease, LockOptions, MIN_DURATION, Text, Ttl, within};

/// The most tries: more is a slip of the pen.
pub const MAX_TRIES: u32 = 1_000_000;
/// The longest reservation: all others wait for its owner, which may be dead.
pub const MAX_RESERVE: Duration = Duration::from_secs(3600);
/// The longest pause before the next try: all others wait meanwhile.
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// The pause is at most this part of the reservation, so that the next try finds it.
const PAUSES_PER_RESERVE: u32 = 4;
/// The number of tries by default.
const DEFAULT_TRIES: u32 = 11;
/// How long a lock stays reserved after a conflict by default: time to begin again, no more.
const DEFAULT_RESERVE: Lease = Lease::SECOND;

/// How to retry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RetryOptions {
    /// How to acquire the lock: plain, and without a minimum hold, which would keep it from the next waiters.
    pub(crate) lock: LockOptions,
    pub(crate) tries: u32,
    pub(crate) reserve: Lease,
    /// The longest pause between two tries.
    pub(crate) pause: Duration,
}

impl RetryOptions {
    /// Asks for eleven tries under this lease, with a reservation of 1 s between them. Waits for ever, and looks at
    /// least every 50 ms.
    pub fn new(lease: Lease) -> Self {
        RetryOptions { lock: LockOptions::new(lease), tries: DEFAULT_TRIES, reserve: DEFAULT_RESERVE, pause: MAX_PAUSE }
    }

    /// Sets how long to wait for the lock over all tries: zero never waits, none waits for ever.
    pub fn wait(mut self, wait: Option<Duration>) -> Result<Self, Invalid> {
        self.lock = self.lock.wait(wait)?;
        Ok(self)
    }

    /// Sets the longest pause between two looks at a busy lock, 1 ms to an hour.
    pub fn interval(mut self, interval: Duration) -> Result<Self, Invalid> {
        self.lock = self.lock.interval(interval)?;
        Ok(self)
    }

    /// Names the unit of work, such as a request: a retry of the same name, in whatever session, finds its reservation.
    pub fn reservation(mut self, name: Option<&str>) -> Result<Self, Invalid> {
        self.lock.unit = name.map(Text::unit).transpose()?;
        Ok(self)
    }

    /// Sets what people read beside the holder: what the work is.
    pub fn note(mut self, note: Option<&str>) -> Result<Self, Invalid> {
        self.lock = self.lock.note(note)?;
        Ok(self)
    }

    /// Sets how many tries there are in all, 1 to a million.
    pub fn tries(mut self, tries: u32) -> Result<Self, Invalid> {
        if !(1..=MAX_TRIES).contains(&tries) {
            return Err(Invalid::new(format!("{tries} tries; 1 to {MAX_TRIES} are possible")));
        }
        self.tries = tries;
        Ok(self)
    }

    /// Sets how long the lock stays ours after a conflict, 1 ms to an hour.
    pub fn reserve(mut self, reserve: Duration) -> Result<Self, Invalid> {
        within("reservation", reserve, MIN_DURATION, MAX_RESERVE)?;
        self.reserve = Lease::new(Ttl::After(reserve))?;
        self.pause = MAX_PAUSE.min(reserve / PAUSES_PER_RESERVE);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_and_reservations_out_of_range_are_refused() {
        let options = RetryOptions::new(Lease::new(Ttl::Forever).unwrap());
        for bad in [0, MAX_TRIES + 1, u32::MAX] {
            assert!(options.clone().tries(bad).is_err(), "{bad}");
        }
        for bad in [Duration::ZERO, Duration::from_nanos(999_999), MAX_RESERVE + Duration::from_nanos(1)] {
            assert!(options.clone().reserve(bad).is_err(), "{bad:?}");
        }
        for good in [1, MAX_TRIES] {
            assert!(options.clone().tries(good).is_ok());
        }
        for bad in ["", &"n".repeat(256)] {
            assert!(options.clone().reservation(Some(bad)).is_err(), "{bad:?}");
        }
        assert!(options.clone().reservation(Some(&"n".repeat(255))).is_ok());
        assert!(options.clone().reserve(MIN_DURATION).and_then(|options| options.reserve(MAX_RESERVE)).is_ok());
    }
}
