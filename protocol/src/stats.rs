//! What a server tells about itself in reply to `stats` and `stats settings`.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::number::number;

/// The lines `STAT <name> <value>` of one reply.
#[derive(Debug, Default)]
pub struct Stats(pub(crate) Vec<(String, String)>);

impl Stats {
    /// Returns the value of a statistic as it is written.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns a statistic that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        number(self.text(name)?.as_bytes())
    }

    /// Returns how often contents were lost since the server's start, other than by expiry or by being asked to. A
    /// counter that a version does not have counts as zero: it does not do what is counted there either.
    pub fn losses(&self) -> u64 {
        LOSSES.iter().filter_map(|name| self.number(name)).fold(0, u64::saturating_add)
    }
}

/// The counters of `stats` that say that live items were dropped. They only grow, unless an operator sends
/// `stats reset`.
pub const LOSSES: [&str; 4] = ["cmd_flush", "evictions", "slab_reassign_busy_deletes", "slab_reassign_evictions_nomem"];

/// Unix seconds beyond which nanoseconds would overflow 64 bits, or that are no clock's.
pub(crate) const MOST_SECONDS: u64 = u32::MAX as u64 * 2;

/// A server's clock, as one reply to `stats` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerClock {
    /// Unix seconds now: the wall clock at the server's start, and what its monotonic clock counted since. It never
    /// steps, and lags behind by up to a second, because it is set by a timer that fires every second.
    pub now: u64,
    /// Whole seconds since the start, plus two: memcached dates its start two seconds back.
    pub uptime: u64,
}

impl ServerClock {
    /// Reads it; none where the numbers are those of no clock.
    pub fn read(stats: &Stats) -> Option<ServerClock> {
        let (now, uptime) = (stats.number("time")?, stats.number("uptime")?);
        (uptime <= now && now < MOST_SECONDS).then_some(ServerClock { now, uptime })
    }

    /// Returns the Unix seconds at which the server started: constant as long as the server runs.
    pub fn started(self) -> u64 {
        self.now.saturating_sub(self.uptime)
    }
}

/// A version of memcached, so far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion(pub [u32; 3]);

impl ServerVersion {
    /// Reads `1.6.18`, and forgives what builds append: `1.6.45_dirty`, `1.6.9-beta`.
    pub fn parse(text: &str) -> Option<ServerVersion> {
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            u32::try_from(number(part.as_bytes().get(..digits)?)?).ok()
        });
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(ServerVersion([major, minor, numbers.next().flatten().unwrap_or(0)]))
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_whatever_is_appended() {
        let cases = [
            ("1.6.18", Some([1, 6, 18])),
            ("1.6.45_dirty", Some([1, 6, 45])),
            ("1.6.9-beta2", Some([1, 6, 9])),
            ("1.6", Some([1, 6, 0])),
            ("2.0.0.1", Some([2, 0, 0])),
            ("", None),
            ("version", None),
            ("9999999999999.1", None),
        ];
        for (text, numbers) in cases {
            assert_eq!(ServerVersion::parse(text), numbers.map(ServerVersion), "{text}");
        }
    }
}
