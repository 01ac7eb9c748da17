//! Leases: what ends an entry whose holder is gone.
//!
//! **One lease an entry.** All entries of a lease end together, so no two share one. An entry takes its lease along
//! while it is renewed, and leaves it when it is deleted or moved. Whoever's transaction takes the last entry off a
//! lease owns that lease alone: it serves the next entry of the same ttl, or is revoked. A lease whose transaction had no
//! answer may have an entry yet; it is neither used nor revoked, and runs out.
//!
//! **How long.** A lease begins before the entry is put under it. So it is longer than the ttl by [`SLACK`], and each
//! write checks, once it is answered, that it took no more than that.
//!
//! **A renewal that does not count.** Granting a lease goes through the log of the cluster. Keeping it alive does not: a
//! leader that was deposed and does not know it yet says yes, and the new leader ends the lease when it would have ended.
//! So a renewal counts only if the transaction behind it was answered in the same term of office.
//!
//! **Whose.** The ids of our leases begin with [`MARK`]. A lease that somebody has given an entry by hand is left alone.
//!
//! **How many.** At most [`MOST_SPARE`] wait for an entry, and no longer than they live. They are revoked when the store
//! is dropped.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Ttl;
use super::cluster::{Budget, Cluster, Kind};
use super::failure::Failure;
use super::wire::{self, Header, LeaseReply, Streamed, unlike_etcd};
use crate::clock::{BootClock, Clock};

/// By how many seconds a lease is longer than the ttl: the time that a write may take from the grant on.
const SLACK: u64 = 2;

/// A lease that was granted or kept alive within this time is used as it is; the rest of the slack is for the write.
const FRESH: Duration = Duration::from_secs(1);

/// The longest that etcd grants, in seconds: 285 years. Longer than that is for ever.
const LONGEST: u64 = 9_000_000_000;

/// The upper 16 bits of our ids, and the rest, which is random.
const MARK: u64 = 0x6b76 << 48;
const RANDOM: u64 = (1 << 48) - 1;

/// How many leases without an entry are kept.
const MOST_SPARE: usize = 16;

/// From how many entries on those that have ended are forgotten.
const MANY_IN_USE: usize = 1024;

/// How long the leases that are left are revoked for, when the store is dropped.
const FAREWELL: Duration = Duration::from_secs(1);

/// A lease of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) id: i64,
    /// Its length in seconds.
    length: u64,
    /// A moment before it was granted or kept alive.
    since: Duration,
    /// The term in which it was kept alive; none if it was granted, or if that has been confirmed.
    term: Option<u64>,
}

impl Lease {
    /// Returns if an entry that was put under the lease, by a transaction that is answered now, lives for its ttl.
    pub(super) fn covers(&self, ttl: Ttl, answered: Duration, header: &Header) -> bool {
        let Ttl::After(ttl) = ttl else { return true };
        let is_in_office = self.term.is_none_or(|term| term == header.raft_term);
        is_in_office && answered.saturating_sub(self.since).saturating_add(ttl) <= Duration::from_secs(self.length)
    }

    /// Returns the lease as one whose renewal has counted.
    pub(super) fn confirmed(self) -> Lease {
        Lease { term: None, ..self }
    }

    fn age(&self) -> Duration {
        now().saturating_sub(self.since)
    }

    /// Returns if it may have ended.
    fn may_be_over(&self) -> bool {
        self.age() >= Duration::from_secs(self.length)
    }
}

/// The leases of one process.
#[derive(Debug, Default)]
pub(super) struct Leases {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spare: Vec<Lease>,
    /// By the number of the entry's version.
    in_use: HashMap<u64, Lease>,
}

impl Leases {
    /// Returns a lease for a new entry; none for one that stays.
    pub(super) fn take(&self, cluster: &Cluster, ttl: Ttl, budget: Budget) -> Result<Option<Lease>, Failure> {
        let Some(length) = length(ttl) else { return Ok(None) };
        while let Some(spare) = self.take_spare(length) {
            if let Some(lease) = refresh(cluster, spare, budget)? {
                return Ok(Some(lease));
            }
        }
        grant(cluster, length, budget).map(Some)
    }

    /// Returns the lease that a version of an entry has, kept alive, if it is ours and as long as it is to be.
    pub(super) fn present(
        &self,
        cluster: &Cluster,
        number: u64,
        ttl: Ttl,
        budget: Budget,
    ) -> Result<Option<Lease>, Failure> {
        let present = self.state().in_use.get(&number).copied();
        match present.filter(|present| Some(present.length) == length(ttl)) {
            Some(present) => refresh(cluster, present, budget),
            None => Ok(None),
        }
    }

    /// Notes which lease a version of an entry has.
    pub(super) fn attach(&self, number: u64, lease: Option<Lease>) {
        let Some(lease) = lease else { return };
        let mut state = self.state();
        if state.in_use.len() >= MANY_IN_USE {
            state.in_use.retain(|_, lease| !lease.may_be_over());
        }
        state.in_use.insert(number, lease);
    }

    /// Forgets the lease of a version that is no more. It is another's to use or revoke.
    pub(super) fn forget(&self, number: u64) -> Option<Lease> {
        self.state().in_use.remove(&number)
    }

    /// Keeps a lease that was [taken](Self::take), and has got no entry, for the next one.
    pub(super) fn put_back(&self, lease: Option<Lease>) {
        let Some(lease) = lease else { return };
        let mut state = self.state();
        if state.spare.len() < MOST_SPARE {
            state.spare.push(lease);
        }
    }

    /// Sees to a lease that our transaction has taken the entry of this version off.
    pub(super) fn retire(&self, cluster: &Cluster, number: u64, id: i64) {
        let known = self.forget(number).filter(|lease| lease.id == id);
        if !is_ours(id) {
            return;
        }
        {
            let mut state = self.state();
            state.spare.retain(|spare| !spare.may_be_over());
            if let Some(lease) = known.filter(|_| state.spare.len() < MOST_SPARE) {
                state.spare.push(lease);
                return;
            }
        }
        revoke(cluster, id);
    }

    /// Revokes what waits for an entry.
    pub(super) fn revoke_spare(&self, cluster: &Cluster) {
        let spare = std::mem::take(&mut self.state().spare);
        let began = Instant::now();
        for lease in spare.iter().filter(|lease| !lease.may_be_over()) {
            if began.elapsed() >= FAREWELL || !revoke(cluster, lease.id) {
                return;
            }
        }
    }

    fn take_spare(&self, length: u64) -> Option<Lease> {
        let mut state = self.state();
        state.spare.retain(|spare| !spare.may_be_over());
        let at = state.spare.iter().rposition(|spare| spare.length == length)?;
        Some(state.spare.remove(at))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a lease alive. Returns none if it is over.
pub(super) fn keep_alive(cluster: &Cluster, lease: Lease, budget: Budget) -> Result<Option<Lease>, Failure> {
    let since = now();
    let reply: Streamed = cluster.ask(Kind::Repeatable, "lease/keepalive", &wire::lease(lease.id), budget)?;
    let LeaseReply { header, id, ttl, .. } = reply.result;
    if id != lease.id {
        return Err(unlike_etcd("another lease was kept alive".to_string()));
    }
    let is_alive = u64::try_from(ttl).is_ok_and(|ttl| ttl >= lease.length);
    Ok(is_alive.then_some(Lease { since, term: Some(header.raft_term), ..lease }))
}

/// Grants a lease of so many seconds.
pub(super) fn grant(cluster: &Cluster, length: u64, budget: Budget) -> Result<Lease, Failure> {
    let random = getrandom::u64()
        .map_err(|error| Failure::NotDone(format!("{}: no randomness: {error}", cluster.members[0])))?;
    let id = (MARK | random & RANDOM).cast_signed();
    let since = now();
    let body = json!({ "ID": id.to_string(), "TTL": length.to_string() });
    let reply: LeaseReply = cluster.ask(Kind::Repeatable, "lease/grant", &body, budget)?;
    if reply.id != id || u64::try_from(reply.ttl).is_ok_and(|ttl| ttl < length) {
        return Err(unlike_etcd(format!("a lease of {} s in place of {length} s", reply.ttl)));
    }
    Ok(Lease { id, length, since, term: None })
}

/// Returns what has passed of a lease, and what is left of it; none if it is over.
pub(super) fn age(cluster: &Cluster, id: i64, budget: Budget) -> Result<Option<Duration>, Failure> {
    let reply: LeaseReply = cluster.ask(Kind::Repeatable, "lease/timetolive", &wire::lease(id), budget)?;
    // What is left is told in whole seconds, and is up to one too few.
    let passed = reply.granted.saturating_sub(reply.ttl.saturating_add(1)).max(0);
    Ok((reply.ttl >= 0).then_some(Duration::from_secs(passed.unsigned_abs())))
}

fn refresh(cluster: &Cluster, lease: Lease, budget: Budget) -> Result<Option<Lease>, Failure> {
    match lease.age() < FRESH {
        true => Ok(Some(lease)),
        false => keep_alive(cluster, lease, budget),
    }
}

/// Revokes a lease. If that fails the lease runs out.
pub(super) fn revoke(cluster: &Cluster, id: i64) -> bool {
    let revoked: Result<LeaseReply, Failure> =
        cluster.ask(Kind::Write, "lease/revoke", &wire::lease(id), cluster.budget());
    matches!(revoked, Ok(_) | Err(Failure::LeaseGone))
}

/// Returns the length of the lease for a ttl, in seconds; none if there is none for it.
fn length(ttl: Ttl) -> Option<u64> {
    let Ttl::After(ttl) = ttl else { return None };
    let whole = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    Some(whole.saturating_add(SLACK)).filter(|length| *length <= LONGEST)
}

/// Returns the time by a clock that runs on while the machine is suspended, as leases do.
pub(super) fn now() -> Duration {
    BootClock.now()
}

fn is_ours(id: i64) -> bool {
    id.cast_unsigned() & !RANDOM == MARK
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(term: Option<u64>) -> Lease {
        Lease { id: 1, length: 12, since: now(), term }
    }

    fn in_term(raft_term: u64) -> Header {
        Header { raft_term, ..Header::default() }
    }

    #[test]
    fn a_lease_is_whole_seconds_longer_than_the_ttl() {
        let of = |ttl| length(Ttl::After(ttl));
        assert_eq!(of(Duration::ZERO), Some(2));
        assert_eq!(of(Duration::from_millis(1)), Some(3));
        assert_eq!(of(30 * SECOND), Some(32));
        assert_eq!(of(Duration::from_millis(30_001)), Some(33));
        assert_eq!(of(Duration::MAX), None);
        assert_eq!(length(Ttl::Forever), None);
    }

    #[test]
    fn a_write_that_took_longer_than_the_slack_is_noticed() {
        let lease = lease(None);
        let ttl = Ttl::After(10 * SECOND);
        assert!(lease.covers(ttl, lease.since + SECOND, &in_term(7)));
        assert!(!lease.covers(ttl, lease.since + 3 * SECOND, &in_term(7)));
        assert!(lease.covers(Ttl::Forever, lease.since + 3 * SECOND, &in_term(7)));
    }

    #[test]
    fn a_renewal_by_a_deposed_leader_does_not_count() {
        let renewed = lease(Some(3));
        let ttl = Ttl::After(10 * SECOND);
        assert!(renewed.covers(ttl, renewed.since, &in_term(3)));
        assert!(!renewed.covers(ttl, renewed.since, &in_term(4)));
        assert!(renewed.confirmed().covers(ttl, renewed.since, &in_term(4)));
    }

    #[test]
    fn ids_are_positive_and_known_again() {
        for random in [0, u64::MAX] {
            let id = (MARK | random & RANDOM).cast_signed();
            assert!(id > 0 && is_ours(id), "{id:x}");
        }
        assert!(!is_ours(0) && !is_ours(7_587_869_000_000_000_123));
    }

    #[test]
    fn a_spare_lease_serves_one_entry_of_its_length() {
        let leases = Leases::default();
        leases.put_back(Some(lease(None)));
        assert!(leases.take_spare(11).is_none());
        assert_eq!(leases.take_spare(12).map(|lease| lease.id), Some(1));
        assert!(leases.take_spare(12).is_none());
    }

    #[test]
    fn few_spare_leases_are_kept_and_none_that_may_be_over() {
        let leases = Leases::default();
        for _ in 0..2 * MOST_SPARE {
            leases.put_back(Some(lease(None)));
        }
        assert_eq!(leases.state().spare.len(), MOST_SPARE);
        let over = Lease { length: 0, ..lease(None) };
        leases.state().spare = vec![over];
        assert!(leases.take_spare(0).is_none());
    }
}
