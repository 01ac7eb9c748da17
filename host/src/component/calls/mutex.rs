//! Calls about keys, waits and grants.

use std::sync::Arc;
use std::time::Duration;

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::convert::{At, nanos, ttl_out, wait_left};
use crate::component::guest::{Guest, call};
use crate::component::values::{
    Claim, GrantFacts, GrantId, Granted, HandedOver, LockMode, LockTerms, Progress, Release, Target, Tried, WaitId,
    What,
};
use crate::error::{AcquireError, CallError, GrantError, SessionError, StatusError};
use crate::listing::Standing;
use crate::outcome::Validity;
use crate::status::{Broken, KeyStatus};
use crate::store::Ttl;

/// Keys.
impl Guest {
    pub(crate) async fn status(&mut self, keys: &[String]) -> Result<Vec<KeyStatus>, StatusError> {
        let told =
            call(&mut self.store, self.exports.kvlock_lock_mutex().session().func_status(), (self.session, keys)).await;
        let about = if let [key] = keys { key } else { "" };
        let statuses: Vec<_> = self.answer(about, told)?;
        Ok(statuses.into_iter().map(wit::KeyStatus::into).collect())
    }

    /// Tells what stands under keys of the store, in their order.
    pub(crate) async fn inspect(&mut self, store_keys: &[String]) -> Result<Vec<Option<Standing>>, StatusError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let told = call(&mut self.store, exports.func_inspect(), (self.session, store_keys)).await;
        let found: Vec<_> = self.answer("", told)?;
        Ok(found.into_iter().map(|standing: Option<wit::Standing>| standing.map(wit::Standing::into)).collect())
    }

    pub(crate) async fn break_key(&mut self, key: &str, if_token: Option<u64>) -> Result<Broken, StatusError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let broken = call(&mut self.store, exports.func_break(), (self.session, key, if_token)).await;
        self.answer(key, broken)
    }

    /// Takes up a grant that was written out. The error tells what is wrong with the text.
    pub(crate) async fn resume(&mut self, written: &str) -> Result<GrantFacts, SessionError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let resumed = call(&mut self.store, exports.func_resume(), (self.session, written)).await;
        let grant = self.answer(written, resumed)?;
        let keys = self.keys::<SessionError>(written, grant).await?;
        let keys = (keys.len() > 1).then(|| keys.into_iter().map(|(key, token, _)| (key, token)).collect());
        Ok(GrantFacts { keys, ..self.facts(written, grant).await? })
    }
}

/// Waits.
impl Guest {
    /// Begins to wait, after a wait of this length elsewhere. Sends nothing.
    pub(crate) async fn begin(&mut self, key: &str, target: &Target, waited: Duration) -> Result<WaitId, AcquireError> {
        match &target.what {
            What::Lock(lock) => {
                let exports = self.exports.kvlock_lock_mutex().session();
                let options = lock_options(target, lock, waited);
                let begun = call(&mut self.store, exports.func_lock(), (self.session, key, &options)).await;
                self.answer(key, begun)
            }
            What::Several(keys, lock) => {
                let exports = self.exports.kvlock_lock_mutex().session();
                let options = lock_options(target, lock, waited);
                let keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
                let begun = call(&mut self.store, exports.func_lock_all(), (self.session, &keys[..], &options)).await;
                self.answer(key, begun)
            }
            What::Permit => self.begin_permit(key, target, waited).await,
            What::Try(work) => self.begin_retry(key, target, work, waited).await,
        }
    }

    /// Begins and tries once: of a lock that is free only the grant stays behind.
    pub(crate) async fn try_lock(
        &mut self,
        key: &str,
        target: &Target,
        lock: &LockTerms,
        waited: Duration,
    ) -> Result<Tried, AcquireError> {
        let exports = self.exports.kvlock_lock_mutex().session();
        let options = lock_options(target, lock, waited);
        let tried = call(&mut self.store, exports.func_try_lock(), (self.session, key, &options)).await;
        self.answer(key, tried)
    }

    /// Goes on with what was begun, as far as it can without sleeping.
    pub(crate) async fn poll(&mut self, key: &str, target: &Target, wait: WaitId) -> Result<Progress, AcquireError> {
        let progress = match target.what {
            What::Lock(_) | What::Several(..) | What::Permit => {
                call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_poll(), (wait.0,)).await
            }
            What::Try(_) => {
                call(&mut self.store, self.exports.kvlock_lock_conflict_retry().retry().func_poll(), (wait.0,)).await
            }
        };
        match self.returned(key, progress)? {
            wit::Progress::Granted(granted) => Ok(Progress::Granted(granted.into())),
            wit::Progress::Pending(pending) => Ok(Progress::Pending(pending.into())),
            wit::Progress::Failed(error) => {
                let several = matches!(target.what, What::Several(..));
                let failed_at = if several { Some(self.wanted_key(key, wait).await?) } else { None };
                Err(error.at(failed_at.as_deref().unwrap_or(key)))
            }
        }
    }

    /// Returns the one of several keys that a wait waits for, or at which it failed.
    async fn wanted_key(&mut self, about: &str, wait: WaitId) -> Result<String, AcquireError> {
        let key = call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_key(), (wait.0,)).await;
        self.returned(about, key)
    }

    /// Returns what to write to hand the lock over to a wait; none if its wait has ended.
    pub(crate) async fn claim(&mut self, key: &str, wait: WaitId) -> Result<Option<Claim>, AcquireError> {
        let claim = call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_claim(), (wait.0,)).await;
        Ok(self.returned(key, claim)?.map(Claim))
    }

    /// Returns the key in the store whose deletion ends a wait; none if its wait has ended.
    pub(crate) async fn watched_key(&mut self, key: &str, wait: WaitId) -> Result<Option<String>, AcquireError> {
        let watched =
            call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_watched_key(), (wait.0,)).await;
        self.returned(key, watched)
    }

    /// Tells a wait that what it waits for was freed, as the store says.
    pub(crate) async fn freed(&mut self, key: &str, wait: WaitId) -> Result<(), AcquireError> {
        let told = call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_freed(), (wait.0,)).await;
        self.returned(key, told)
    }

    /// Tells a wait of a hand-over, from which the next poll goes on.
    pub(crate) async fn take(&mut self, key: &str, wait: WaitId, handed: HandedOver) -> Result<(), AcquireError> {
        let taken =
            call(&mut self.store, self.exports.kvlock_lock_mutex().acquisition().func_take(), (wait.0, handed.0)).await;
        self.returned(key, taken)
    }
}

/// Grants.
impl Guest {
    pub(crate) async fn facts<E: CallError>(&mut self, about: &str, grant: GrantId) -> Result<GrantFacts, E> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let store = &mut self.store;
        let facts = async {
            let (key, owner) = (
                call(&mut *store, exports.func_key(), (grant.0,)).await?,
                call(&mut *store, exports.func_owner(), (grant.0,)).await?,
            );
            let (token, permit) = (
                call(&mut *store, exports.func_token(), (grant.0,)).await?,
                call(store, exports.func_permit(), (grant.0,)).await?,
            );
            Ok(GrantFacts { key, owner, granted: Granted { grant, token, permit }, keys: None })
        };
        let facts = facts.await;
        self.returned(about, facts)
    }

    /// Returns the keys of a grant, with their tokens, and how long each is valid.
    pub(crate) async fn keys<E: CallError>(
        &mut self,
        about: &str,
        grant: GrantId,
    ) -> Result<Vec<(Arc<str>, u64, Validity)>, E> {
        let keys = call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_keys(), (grant.0,)).await;
        let held = |held: wit::HeldKey| (held.key.into(), held.token, held.validity.into());
        Ok(self.returned::<_, E>(about, keys)?.into_iter().map(held).collect())
    }

    pub(crate) async fn depth(&mut self, key: &str, grant: GrantId) -> Result<u32, GrantError> {
        let depth = call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_depth(), (grant.0,)).await;
        self.returned(key, depth)
    }

    pub(crate) async fn validity(&mut self, key: &str, grant: GrantId) -> Result<Validity, GrantError> {
        let validity =
            call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_validity(), (grant.0,)).await;
        self.returned(key, validity).map(wit::Validity::into)
    }

    pub(crate) async fn renew(&mut self, key: &str, grant: GrantId, lease: Option<Ttl>) -> Result<(), GrantError> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let renewed = call(&mut self.store, exports.func_renew(), (grant.0, lease.map(ttl_out))).await;
        self.answer(key, renewed)
    }

    /// Gives a grant back, or hands it over by a claim.
    pub(crate) async fn release(
        &mut self,
        key: &str,
        grant: GrantId,
        claim: Option<&Claim>,
    ) -> Result<Release, GrantError> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let released = match claim {
            Some(claim) => call(&mut self.store, exports.func_hand_over(), (grant.0, &claim.0)).await,
            None => call(&mut self.store, exports.func_release(), (grant.0,)).await,
        };
        self.answer(key, released)
    }

    /// Keeps a grant of these keys that could not be given back, because the store failed, to release it again.
    pub(crate) fn keep_unreleased(&mut self, keys: Vec<Arc<str>>, grant: GrantId) {
        self.unreleased.push((keys, grant));
    }

    /// Releases again what of this key could not be given back, and returns how many holds that settled.
    pub(crate) async fn release_again<E: CallError>(&mut self, key: &str) -> Result<usize, E> {
        let mut settled = 0;
        let is_of_it = |(of, _): &mut (Vec<Arc<str>>, GrantId)| of.iter().any(|one| **one == *key);
        for (keys, grant) in self.unreleased.extract_if(.., is_of_it).collect::<Vec<_>>() {
            match self.release(key, grant, None).await {
                Err(GrantError::Store { .. }) => self.unreleased.push((keys, grant)),
                Err(GrantError::Component { error, .. }) => return Err(E::component(key, error)),
                Ok(_) | Err(_) => {
                    self.drop_resource(grant).await;
                    settled += 1;
                }
            }
        }
        Ok(settled)
    }

    pub(crate) async fn downgrade(&mut self, key: &str, grant: GrantId) -> Result<(), GrantError> {
        let exports = self.exports.kvlock_lock_mutex().grant();
        let downgraded = call(&mut self.store, exports.func_downgrade(), (grant.0,)).await;
        self.answer(key, downgraded)
    }

    pub(crate) async fn waive_minimum(&mut self, key: &str, grant: GrantId) -> Result<(), GrantError> {
        let waived =
            call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_waive_minimum(), (grant.0,)).await;
        self.returned(key, waived)
    }

    pub(crate) async fn write_out(&mut self, key: &str, grant: GrantId) -> Result<String, GrantError> {
        let written =
            call(&mut self.store, self.exports.kvlock_lock_mutex().grant().func_write_out(), (grant.0,)).await;
        self.answer(key, written)
    }
}

fn lock_options(target: &Target, lock: &LockTerms, waited: Duration) -> wit::LockOptions {
    wit::LockOptions {
        mode: match lock.mode {
            LockMode::Plain => wit::Mode::Plain,
            LockMode::Reentrant => wit::Mode::Reentrant,
            LockMode::Shared => wit::Mode::Shared,
        },
        lease: ttl_out(target.lease),
        wait: wait_left(target, waited),
        interval: nanos(target.interval),
        adopt: lock.adopt,
        at_least: nanos(lock.at_least),
        note: target.note(),
    }
}
