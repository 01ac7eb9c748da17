//! Times to live, between the contract's and memcached's.
//!
//! memcached's clock is a counter of whole seconds, raised by a timer that is late now and then. So it sometimes jumps
//! by two: an item with a ttl of N seconds lives for more than N - 2. The contract says "at least", so two seconds are
//! added on the way out, and taken off on the way in.

use core::time::Duration;

use alloc::string::ToString;

use crate::contract::Ttl;
use crate::failure::Failure;
use crate::replies::Replies;
use crate::request::Request;
use crate::stats::ServerClock;
use crate::transport::Transport;

/// See the module's page.
const SLACK: u64 = 2;

/// What memcached takes for seconds from now; a larger number is a Unix time (doc/protocol.txt, "Expiration times").
const LONGEST_RELATIVE: u64 = 60 * 60 * 24 * 30;

/// The latest Unix time: memcached reads a signed number of 32 bits, and a larger one as the past.
const LATEST: u64 = i32::MAX as u64;

/// Returns what to send for a ttl. A ttl beyond what memcached can express is sent as no end at all, which is longer.
pub(crate) async fn on_the_wire(ttl: Ttl, transport: &mut impl Transport) -> Result<u64, Failure> {
    let Some(seconds) = stored_seconds(ttl) else { return Ok(0) };
    if seconds <= LONGEST_RELATIVE {
        return Ok(seconds);
    }
    // A Unix time is compared with the server's clock, so it is the server's clock that it must be counted from. Asked
    // anew each time: over the weeks that a connection may last, two clocks drift apart by seconds.
    let replies = transport.exchange(&Request::for_stats("stats")).await.map_err(Failure::before_a_write)?;
    let stats = Replies::new(replies).stats().map_err(Failure::before_a_write)?;
    let clock = ServerClock::read(&stats)
        .ok_or_else(|| Failure::Refused("its `stats` show no sensible time and uptime".to_string()))?;
    Ok(absolute(clock.now, seconds))
}

/// Returns the whole seconds that keep an entry for its ttl; none for ever.
fn stored_seconds(ttl: Ttl) -> Option<u64> {
    match ttl {
        Ttl::After(length) => {
            Some(length.as_secs().saturating_add(u64::from(length.subsec_nanos() > 0)).saturating_add(SLACK))
        }
        Ttl::Forever => None,
    }
}

/// Returns the Unix time, `seconds` from the server's `now`; 0, for ever, where it cannot be expressed. The time that
/// the server tells is up to two seconds behind what it will be when the write arrives.
fn absolute(now: u64, seconds: u64) -> u64 {
    now.checked_add(seconds).and_then(|end| end.checked_add(SLACK)).filter(|end| *end <= LATEST).unwrap_or(0)
}

/// Returns what is left at least, where memcached says `t<seconds>`.
pub(crate) fn time_left(seconds: u64) -> Ttl {
    Ttl::After(Duration::from_secs(seconds.saturating_sub(SLACK)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_rounded_up_and_two_seconds_are_added() {
        let cases = [(0, 2), (1, 3), (999, 3), (1_000, 3), (1_001, 4), (30_000, 32)];
        for (millis, seconds) in cases {
            assert_eq!(stored_seconds(Ttl::After(Duration::from_millis(millis))), Some(seconds), "{millis} ms");
        }
        assert_eq!(stored_seconds(Ttl::After(Duration::MAX)), Some(u64::MAX));
        assert_eq!(stored_seconds(Ttl::Forever), None);
    }

    #[test]
    fn an_end_that_memcached_cannot_express_is_no_end() {
        assert_eq!(absolute(1_800_000_000, 3_000_000), 1_803_000_002);
        assert_eq!(absolute(1_800_000_000, LATEST), 0);
        assert_eq!(absolute(1_800_000_000, u64::MAX), 0);
    }
}
