//! Calls about keys, waits and grants.

use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::convert::{At, nanos, ttl_out, wait_left};
use crate::component::guest::Guest;
use crate::component::values::{
    Claim, GrantFacts, GrantId, Granted, HandedOver, LockTerms, Progress, Release, Target, Tried, WaitId, What,
};
use crate::error::{AcquireError, CallError, GrantError, SessionError, StatusError};
use crate::outcome::Validity;
use crate::status::{Broken, KeyStatus};
use crate::store::Ttl;

/// Keys.
impl Guest {
    pub(crate) fn status(&mut self, keys: &[String]) -> Result<Vec<KeyStatus>, StatusError> {
        let told = self.exports.kvlock_lock_mutex().session().call_status(&mut self.store, self.session, keys);
        let about = if let [key] = keys { key } else { "" };
        let statuses: Vec<_> = self.answer(about, told)?;
        Ok(statuses.into_iter().map(wit::KeyStatus::into).collect())
    }

    pub(crate) fn break_key(&mut self, key: &str, if_token: Option<u64>) -> Result<Broken, StatusError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let broken = exports.call_break(&mut self.store, self.session, key, if_token);
        self.answer(key, broken)
    }

    /// Takes up a grant that was written out. The error tells what is wrong with the text.
    pub(crate) fn resume(&mut self, written: &str) -> Result<GrantFacts, SessionError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let resumed = exports.call_resume(&mut self.store, self.session, written);
        let grant = self.answer(written, resumed)?;
        self.facts(written, grant)
    }
}

/// Waits.
impl Guest {
    /// Begins to wait, after a wait of this length elsewhere. Sends nothing.
    pub(crate) fn begin(&mut self, key: &str, target: &Target, waited: Duration) -> Result<WaitId, AcquireError> {
        match &target.what {
            What::Lock(lock) => {
                let exports = self.exports.kvlock_lock_mutex().session();
                let options = lock_options(target, lock, waited);
                let begun = exports.call_lock(&mut self.store, self.session, key, options);
                self.answer(key, begun)
            }
            What::Permit => self.begin_permit(key, target, waited),
            What::Try(work) => self.begin_retry(key, target, work, waited),
        }
    }

    /// Begins and tries once: of a lock that is free only the grant stays behind.
    pub(crate) fn try_lock(
        &mut self,
        key: &str,
        target: &Target,
        lock: &LockTerms,
        waited: Duration,
    ) -> Result<Tried, AcquireError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let tried = exports.call_try_lock(&mut self.store, self.session, key, lock_options(target, lock, waited));
        self.answer(key, tried)
    }

    /// Goes on with what was begun, as far as it can without sleeping.
    pub(crate) fn poll(&mut self, key: &str, target: &Target, wait: WaitId) -> Result<Progress, AcquireError> {
        let progress = match target.what {
            What::Lock(_) | What::Permit => {
                self.exports.kvlock_lock_mutex().acquisition().call_poll(&mut self.store, wait.0)
            }
            What::Try(_) => self.exports.kvlock_lock_conflict_retry().retry().call_poll(&mut self.store, wait.0),
        };
        match self.returned(key, progress)? {
            wit::Progress::Granted(granted) => Ok(Progress::Granted(granted.into())),
            wit::Progress::Pending(pending) => Ok(Progress::Pending(pending.into())),
            wit::Progress::Failed(error) => Err(error.at(key)),
        }
    }

    /// Returns what to write to hand the lock over to a wait; none if its wait has ended.
    pub(crate) fn claim(&mut self, key: &str, wait: WaitId) -> Result<Option<Claim>, AcquireError> {
        let claim = self.exports.kvlock_lock_mutex().acquisition().call_claim(&mut self.store, wait.0);
        Ok(self.returned(key, claim)?.map(Claim))
    }

    /// Returns the key in the store whose deletion ends a wait; none if its wait has ended.
    pub(crate) fn watched_key(&mut self, key: &str, wait: WaitId) -> Result<Option<String>, AcquireError> {
        let watched = self.exports.kvlock_lock_mutex().acquisition().call_watched_key(&mut self.store, wait.0);
        self.returned(key, watched)
    }

    /// Tells a wait that what it waits for was freed, as the store says.
    pub(crate) fn freed(&mut self, key: &str, wait: WaitId) -> Result<(), AcquireError> {
        let told = self.exports.kvlock_lock_mutex().acquisition().call_freed(&mut self.store, wait.0);
        self.returned(key, told)
    }

    /// Tells a wait of a hand-over, from which the next poll goes on.
    pub(crate) fn take(&mut self, key: &str, wait: WaitId, handed: HandedOver) -> Result<(), AcquireError> {
        let taken = self.exports.kvlock_lock_mutex().acquisition().call_take(&mut self.store, wait.0, handed.0);
        self.returned(key, taken)
    }
}

/// Grants.
impl Guest {
    pub(crate) fn facts<E: CallError>(&mut self, about: &str, grant: GrantId) -> Result<GrantFacts, E> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let store = &mut self.store;
        let facts = (|| {
            let (key, owner) = (exports.call_key(&mut *store, grant.0)?, exports.call_owner(&mut *store, grant.0)?);
            let (token, permit) = (exports.call_token(&mut *store, grant.0)?, exports.call_permit(store, grant.0)?);
            Ok(GrantFacts { key, owner, granted: Granted { grant, token, permit } })
        })();
        self.returned(about, facts)
    }

    pub(crate) fn depth(&mut self, key: &str, grant: GrantId) -> Result<u32, GrantError> {
        let depth = self.exports.kvlock_lock_mutex().grant().call_depth(&mut self.store, grant.0);
        self.returned(key, depth)
    }

    pub(crate) fn validity(&mut self, key: &str, grant: GrantId) -> Result<Validity, GrantError> {
        let validity = self.exports.kvlock_lock_mutex().grant().call_validity(&mut self.store, grant.0);
        self.returned(key, validity).map(wit::Validity::into)
    }

    pub(crate) fn renew(&mut self, key: &str, grant: GrantId, lease: Option<Ttl>) -> Result<(), GrantError> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let renewed = exports.call_renew(&mut self.store, grant.0, lease.map(ttl_out));
        self.answer(key, renewed)
    }

    /// Gives a grant back, or hands it over by a claim.
    pub(crate) fn release(&mut self, key: &str, grant: GrantId, claim: Option<&Claim>) -> Result<Release, GrantError> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let released = match claim {
            Some(claim) => exports.call_hand_over(&mut self.store, grant.0, &claim.0),
            None => exports.call_release(&mut self.store, grant.0),
        };
        self.answer(key, released)
    }

    /// Keeps a lock that could not be given back, because the store failed, to release it again.
    pub(crate) fn keep_unreleased(&mut self, key: String, grant: GrantId) {
        self.unreleased.push((key, grant));
    }

    /// Releases again what of this key could not be given back, and returns how many holds that settled.
    pub(crate) fn release_again<E: CallError>(&mut self, key: &str) -> Result<usize, E> {
        let mut settled = 0;
        for (key, grant) in self.unreleased.extract_if(.., |(of, _)| of == key).collect::<Vec<_>>() {
            match self.release(&key, grant, None) {
                Err(GrantError::Store { .. }) => self.unreleased.push((key, grant)),
                Err(GrantError::Component { error, .. }) => return Err(E::component(&key, error)),
                Ok(_) | Err(_) => {
                    self.drop_resource(grant);
                    settled += 1;
                }
            }
        }
        Ok(settled)
    }

    pub(crate) fn waive_minimum(&mut self, key: &str, grant: GrantId) -> Result<(), GrantError> {
        let waived = self.exports.kvlock_lock_mutex().grant().call_waive_minimum(&mut self.store, grant.0);
        self.returned(key, waived)
    }

    pub(crate) fn write_out(&mut self, key: &str, grant: GrantId) -> Result<String, GrantError> {
        let written = self.exports.kvlock_lock_mutex().grant().call_write_out(&mut self.store, grant.0);
        self.answer(key, written)
    }
}

fn lock_options(target: &Target, lock: &LockTerms, waited: Duration) -> wit::LockOptions {
    wit::LockOptions {
        mode: if lock.reentrant { wit::Mode::Reentrant } else { wit::Mode::Plain },
        lease: ttl_out(target.lease),
        wait: wait_left(target, waited),
        interval: nanos(target.interval),
        adopt: lock.adopt,
        at_least: nanos(lock.at_least),
    }
}
