//! The lock while the command runs. Most commands end long before their lease needs renewing: the thread that renews it
//! is started for those that do not.

use std::time::{Duration, Instant};

use kvlock::store::{StoreError, Ttl};
use kvlock::{Grant, GrantError, Keep, Kept, Loss, Released};

use super::signals::Teller;

/// How long a command may run before its lease is looked after; the first renewal is due after a third of the lease.
const YOUNG: Duration = Duration::from_millis(100);
/// No more of a short lease than this part.
const YOUNG_PER_LEASE: u32 = 20;

/// A lock that is held for a command.
pub(super) enum Hold {
    /// Nothing can have become of its lease yet.
    Young { grant: Grant, teller: Teller, until: Instant },
    /// Its lease is renewed.
    Kept(Kept),
}

impl Hold {
    pub(super) fn new(grant: Grant, lease: Ttl, max_hold: Option<Duration>, teller: Teller) -> Self {
        if let Some(max_hold) = max_hold {
            return kept(grant, Keep::default().max_hold(max_hold), teller);
        }
        let young = match lease {
            Ttl::After(lease) => YOUNG.min(lease / YOUNG_PER_LEASE),
            Ttl::Forever => YOUNG,
        };
        Hold::Young { grant, teller, until: Instant::now() + young }
    }

    /// Renews the lease from now on.
    pub(super) fn keep(self) -> Self {
        match self {
            Hold::Young { grant, teller, .. } => kept(grant, Keep::default(), teller),
            Hold::Kept(kept) => Hold::Kept(kept),
        }
    }

    /// How long the lease may be left alone; none where it is looked after.
    pub(super) fn young_for(&self) -> Option<Duration> {
        match self {
            Hold::Young { until, .. } => Some(until.saturating_duration_since(Instant::now())),
            Hold::Kept(_) => None,
        }
    }

    pub(super) fn key(&self) -> &str {
        match self {
            Hold::Young { grant, .. } => grant.key(),
            Hold::Kept(kept) => kept.key(),
        }
    }

    /// Why the lock is lost; none while it is held.
    pub(super) fn lost(&self) -> Option<Loss> {
        match self {
            Hold::Young { .. } => None,
            Hold::Kept(kept) => kept.lost(),
        }
    }

    /// Why the last renewal failed; none if it did not.
    pub(super) fn failure(&self) -> Option<StoreError> {
        match self {
            Hold::Young { .. } => None,
            Hold::Kept(kept) => kept.failure(),
        }
    }

    /// How long the lock is surely held; none where there is no end in sight.
    pub(super) fn valid_for(&self) -> Option<Duration> {
        match self {
            Hold::Young { .. } => None,
            Hold::Kept(kept) => kept.valid_for(),
        }
    }

    pub(super) fn release(self) -> Result<Released, GrantError> {
        match self {
            Hold::Young { grant, .. } => grant.release(),
            Hold::Kept(kept) => kept.release(),
        }
    }
}

fn kept(grant: Grant, keep: Keep, teller: Teller) -> Hold {
    Hold::Kept(grant.keep(keep.on_lost(move |loss| teller.tell(loss))))
}
