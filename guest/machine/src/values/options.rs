//! How to lock: options that are checked once, and cannot be wrong afterwards.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::values::invalid::Invalid;
use crate::values::kv::Ttl;
use crate::values::name::Text;
use crate::values::text::push_seconds;
use crate::values::time::Time;

/// Shortest lease and interval: below it a network round trip eats the whole.
pub const MIN_DURATION: Duration = Duration::from_millis(1);
/// Longest lease, minimum hold and quarantine: more is a slip of the pen, or means `forever`.
pub const MAX_LEASE: Duration = Duration::from_secs(366 * 24 * 3600);
/// Longest wait that is not `forever`.
pub const MAX_WAIT: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Longest pause between two tries.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3600);
/// How long a store's contents must have existed by default: the usual lease.
pub const DEFAULT_QUARANTINE: Duration = Duration::from_secs(30);
/// A holder trusts a lease for one part in this many less, because two clocks drift apart: 2,000 ppm, four times the
/// most that an operating system corrects.
const DRIFT_DIVISOR: u32 = 500;
/// How long a grant lasts unless it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease(Ttl);

impl Lease {
    /// One second.
    pub(crate) const SECOND: Lease = Lease(Ttl::After(Duration::from_secs(1)));

    /// Checks a lease: 1 ms to a year, or for ever.
    pub fn new(ttl: Ttl) -> Result<Self, Invalid> {
        if let Ttl::After(length) = ttl {
            within("lease", length, MIN_DURATION, MAX_LEASE)?;
        }
        Ok(Lease(ttl))
    }

    /// Returns how long the store is to keep the record.
    pub fn ttl(self) -> Ttl {
        self.0
    }

    /// Returns how long a holder may rely on the lease, counted from before its request left.
    pub(crate) fn trusted(self) -> Option<Duration> {
        match self.0 {
            Ttl::After(length) => Some(length.saturating_sub(length / DRIFT_DIVISOR)),
            Ttl::Forever => None,
        }
    }
}

/// Returns a lease that is trusted for at least this long: the reverse of [`Lease::trusted`].
pub(crate) fn to_trust(length: Duration) -> Duration {
    length.saturating_add(length / (DRIFT_DIVISOR - 1)).saturating_add(Duration::from_nanos(1))
}

/// What happens when a session acquires a lock that it holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It gets an error at once.
    Plain,
    /// It holds the lock once more.
    Reentrant,
    /// It gets an error at once. Others may hold the lock, too, if they share it.
    Shared,
}

/// How to acquire.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LockOptions {
    pub(crate) mode: Mode,
    pub(crate) lease: Lease,
    pub(crate) wait: Option<Duration>,
    pub(crate) interval: Duration,
    pub(crate) adopt: bool,
    pub(crate) at_least: Duration,
    /// Whether it stands in the wait list while it waits.
    pub(crate) joins_list: bool,
    /// The name of the conflict retry whose reservation it may take.
    pub(crate) unit: Option<Text>,
    /// What the lock is held for, for people to read.
    pub(crate) note: Option<Text>,
}

impl LockOptions {
    /// Asks for a plain lock with this lease. Waits for ever, and tries at least every 50 ms.
    pub fn new(lease: Lease) -> Self {
        let interval = Duration::from_millis(50);
        let at_least = Duration::ZERO;
        LockOptions {
            mode: Mode::Plain,
            lease,
            wait: None,
            interval,
            adopt: false,
            at_least,
            joins_list: true,
            unit: None,
            note: None,
        }
    }

    /// Returns the longest that a grant of these options may keep the key taken with nobody at work. A store that lost
    /// the key must have been watched for that long.
    pub(crate) fn taken_unattended(&self) -> Ttl {
        match self.lease.ttl() {
            Ttl::After(lease) => Ttl::After(lease.max(self.at_least)),
            Ttl::Forever => Ttl::After(self.at_least),
        }
    }

    /// Returns until when a grant of a request that was sent then keeps the key taken even if it is released.
    pub(crate) fn taken_until(&self, sent: Time) -> Option<Time> {
        (!self.at_least.is_zero()).then(|| sent.after(self.at_least))
    }

    /// Sets the mode: plain or re-entrant.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets how long to wait in all: zero tries once, none waits for ever.
    pub fn wait(mut self, wait: Option<Duration>) -> Result<Self, Invalid> {
        if let Some(wait) = wait {
            within("wait", wait, Duration::ZERO, MAX_WAIT)?;
        }
        self.wait = wait;
        Ok(self)
    }

    /// Sets the longest pause between two tries, 1 ms to an hour.
    pub fn interval(mut self, interval: Duration) -> Result<Self, Invalid> {
        within("interval", interval, MIN_DURATION, MAX_INTERVAL)?;
        self.interval = interval;
        Ok(self)
    }

    /// Takes the lock over from another session of the same owner name.
    pub fn adopt(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// Sets whether to stand in the key's wait list while waiting, as usual. Without it a waiter is a newcomer at each
    /// try.
    pub fn joins_list(mut self, joins_list: bool) -> Self {
        self.joins_list = joins_list;
        self
    }

    /// Sets what people read beside the holder: what the lock is held for.
    pub fn note(mut self, note: Option<&str>) -> Result<Self, Invalid> {
        self.note = note.map(Text::note).transpose()?;
        Ok(self)
    }

    /// Keeps the key taken for this long from the grant on, even if it is released sooner.
    pub fn at_least(mut self, at_least: Duration) -> Result<Self, Invalid> {
        within("minimum hold", at_least, Duration::ZERO, MAX_LEASE)?;
        self.at_least = at_least;
        Ok(self)
    }
}

pub(crate) fn within(what: &str, length: Duration, min: Duration, max: Duration) -> Result<(), Invalid> {
    if length < min || length > max {
        let [length, min, max] = [length, min, max].map(in_seconds);
        return Err(Invalid::new(format!("the {what} is {length}; {min} to {max} are possible")));
    }
    Ok(())
}

fn in_seconds(length: Duration) -> String {
    let mut text = Vec::new();
    push_seconds(&mut text, length);
    // INVARIANT: digits are UTF-8.
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_of_zero_or_of_centuries_is_refused() {
        for bad in [Duration::ZERO, Duration::from_nanos(999_999), MAX_LEASE + Duration::from_nanos(1), Duration::MAX] {
            assert!(Lease::new(Ttl::After(bad)).is_err(), "{bad:?}");
        }
        assert!(Lease::new(Ttl::Forever).is_ok());
    }

    #[test]
    fn a_lease_is_trusted_for_less_than_it_lasts() {
        let lease = Lease::new(Ttl::After(Duration::from_secs(30))).unwrap();
        assert_eq!(lease.trusted(), Some(Duration::from_millis(29_940)));
    }

    #[test]
    fn what_is_to_be_trusted_for_a_time_is_asked_for_longer() {
        for nanos in (0..5000).chain([29_940_000_000, 31_622_400_000_000_000]) {
            let length = Duration::from_nanos(nanos);
            let asked = to_trust(length);
            assert!(asked - asked / DRIFT_DIVISOR >= length, "{length:?}");
            assert!(asked <= length + length / 499 + Duration::from_nanos(1), "{length:?}");
        }
    }

    #[test]
    fn waits_and_intervals_out_of_range_are_refused() {
        let options = LockOptions::new(Lease::new(Ttl::Forever).unwrap());
        assert!(options.clone().wait(Some(Duration::MAX)).is_err());
        assert!(options.clone().interval(Duration::ZERO).is_err());
        assert!(options.clone().interval(Duration::from_secs(3601)).is_err());
        assert!(options.at_least(Duration::MAX).is_err());
    }
}
