//! What a server tells about itself in reply to `stats` and `stats settings`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The lines `STAT <name> <value>` of one reply.
#[derive(Debug, Default)]
pub(super) struct Stats(pub(super) BTreeMap<String, String>);

impl Stats {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// Returns how often contents were lost since the server's start, other than by expiry or by being asked to. A
    /// counter that a version does not have counts as zero: it does not do what is counted there either.
    pub(super) fn losses(&self) -> u64 {
        LOSSES.iter().filter_map(|name| self.number(name)).fold(0, u64::saturating_add)
    }
}

/// The counters of `stats` that say that live items were dropped. They only grow, unless an operator sends
/// `stats reset`.
pub(super) const LOSSES: [&str; 4] =
    ["cmd_flush", "evictions", "slab_reassign_busy_deletes", "slab_reassign_evictions_nomem"];

/// A server's clock, as one reply to `stats` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerClock {
    /// Unix seconds now: the wall clock at the server's start, and what its monotonic clock counted since. It never
    /// steps, and lags behind by up to a second, because it is set by a timer that fires every second.
    pub(super) now: u64,
    /// Whole seconds since the start, plus two: memcached dates its start two seconds back.
    pub(super) uptime: u64,
}

impl ServerClock {
    pub(super) fn read(stats: &Stats) -> Option<ServerClock> {
        let (now, uptime) = (stats.number("time")?, stats.number("uptime")?);
        // Anything else would overflow Unix nanoseconds in 64 bits, or is no clock.
        (uptime <= now && now < u64::from(u32::MAX) * 2).then_some(ServerClock { now, uptime })
    }

    /// Returns the Unix seconds at which the server started: constant as long as the server runs.
    pub(super) fn started(self) -> u64 {
        self.now - self.uptime
    }
}

/// Returns a length of time as a person says it.
pub(super) fn ago(length: Duration) -> impl fmt::Display {
    humantime::format_duration(Duration::from_secs(length.as_secs()))
}

/// A version of memcached, so far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ServerVersion(pub(super) [u32; 3]);

impl ServerVersion {
    /// Reads `1.6.18`, and forgives what builds append: `1.6.45_dirty`, `1.6.9-beta`.
    pub(super) fn parse(text: &str) -> Option<ServerVersion> {
        let mut numbers = text.splitn(3, '.').map(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            part[..digits].parse().ok()
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
