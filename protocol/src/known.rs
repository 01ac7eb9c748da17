//! The server that a client knows under a name, and what follows when another one answers.
//!
//! A lock is worth what the server remembers of it, so a client has to know whose memory it asks. It finds out by the
//! [`Identity`](crate::Identity) that each connection shows:
//!
//! - **The same as before**: the same server, at whatever address.
//! - **Another, while the one known still answers**: two servers under one name. Each would have a holder of its own,
//!   so nothing is done on either until the name leads to one again.
//! - **Another, and the one known is gone**: its locks are gone with it, and their holders may still be at work. A
//!   server that was flushed or started again in its place tells itself since when nothing was lost. Any other server
//!   was there already, and may have granted the same locks: for this client its contents count from now on. If it has
//!   an era that is not above the one known, a new one is begun there.

use core::time::Duration;

use crate::contract::EraInfo;
use crate::epoch::Epoch;

/// By how many seconds a server's start seems earlier than it was. memcached dates it two back. Whole seconds are up to
/// one too few, and so is the time that the earlier server told.
const SLACK: u64 = 4;

/// The server known under a name, at an address of the driver's kind. Times are readings of the
/// [`Transport`](crate::Transport)'s clock.
#[derive(Debug, Clone)]
pub struct Known<A> {
    /// Its era as it was seen last.
    pub epoch: Epoch,
    /// Where it answered first.
    address: A,
    /// When it was asked last.
    pub used: Duration,
    /// Since when its contents count, if it has taken another server's place.
    since: Option<Duration>,
}

impl<A: Clone + PartialEq> Known<A> {
    /// Returns the first server that this client has seen under the name.
    pub fn first(epoch: Epoch, address: A, now: Duration) -> Self {
        Known { epoch, address, used: now, since: None }
    }

    /// Returns the same server in a later era.
    #[must_use]
    pub fn later(&self, epoch: Epoch, now: Duration) -> Self {
        Known { epoch, used: now, ..self.clone() }
    }

    /// Returns what answers now that the server known before is gone.
    #[must_use]
    pub fn succeeded_by(&self, epoch: Epoch, address: A, now: Duration) -> Self {
        let flushed = epoch.identity.may_be_one_process(self.epoch.identity) && epoch.has_losses;
        let told = self.epoch.clock.now.saturating_add(self.used.saturating_sub(self.epoch.seen).as_secs());
        // Only one process at a time listens at an address; but behind a balancer it may have been there all along.
        let restarted = address == self.address && epoch.clock.started().saturating_add(SLACK) >= told;
        let since = if flushed || restarted { None } else { Some(now) };
        Known { epoch, address, used: now, since }
    }

    /// Returns what the server tells of its era, as far as it counts for this client.
    pub fn lossless(&self, info: EraInfo, now: Duration) -> EraInfo {
        let count = |since| now.saturating_sub(since).min(info.lossless_for);
        let counted = self.since.map_or(info.lossless_for, count);
        EraInfo { lossless_for: counted, ..info }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mark::Identity;
    use crate::stats::ServerClock;

    /// When everything is seen and asked here.
    const NOW: Duration = Duration::from_secs(3_000);

    const OLD: Duration = Duration::from_secs(500);

    /// Returns a server that tells this clock, has lost nothing for long, and is asked now.
    fn epoch(id: u64, now: u64, uptime: u64, has_losses: bool) -> Epoch {
        let clock = ServerClock { now, uptime };
        let identity = Identity { started: clock.started(), process: 1, base: 1, id: Some(id) };
        Epoch::made_up(id, identity, OLD, has_losses, clock, NOW)
    }

    /// An address is whatever the driver has for it.
    fn address(last: u8) -> u8 {
        last
    }

    fn counts_from_now(known: &Known<u8>) -> bool {
        known.lossless(known.epoch.info(NOW), NOW).lossless_for < OLD
    }

    #[test]
    fn what_a_server_tells_counts_unless_it_has_taken_another_ones_place() {
        let known = Known::first(epoch(1, 2_000, 1_000, false), address(1), NOW);
        assert!(!counts_from_now(&known));
        let there_before = epoch(2, 2_000, 900, false);
        for place in [1, 2] {
            assert!(counts_from_now(&known.succeeded_by(there_before, address(place), NOW)));
        }
        let anew = epoch(2, 2_010, 7, false);
        assert!(!counts_from_now(&known.succeeded_by(anew, address(1), NOW)), "started anew");
        assert!(counts_from_now(&known.succeeded_by(anew, address(2), NOW)), "elsewhere");
    }

    #[test]
    fn a_flush_is_told_from_a_server_that_started_in_the_same_second() {
        let known = Known::first(epoch(1, 2_000, 1_000, false), address(1), NOW);
        assert!(!counts_from_now(&known.succeeded_by(epoch(2, 2_000, 1_000, true), address(1), NOW)));
        assert!(counts_from_now(&known.succeeded_by(epoch(2, 2_000, 1_000, false), address(1), NOW)));
    }

    #[test]
    fn a_later_era_of_a_server_that_has_taken_anothers_place_counts_no_more() {
        let known = Known::first(epoch(1, 2_000, 1_000, false), address(1), NOW);
        let taken = known.succeeded_by(epoch(2, 2_000, 900, false), address(2), NOW);
        assert!(counts_from_now(&taken.later(epoch(3, 2_000, 900, false), NOW)));
    }
}
