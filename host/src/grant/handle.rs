//! What the calls of a grant go through.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;

use crate::component::{Claim, GrantId};
use crate::error::{GrantError, chain};
use crate::events::{Hold, HoldEnd};
use crate::outcome::Validity;
use crate::owner::{Entered, Owner};
use crate::queue::{Kind, Place, Successor};
use crate::status::Ask;
use crate::store::Ttl;

/// When to try again a release that the store failed, where no later call does: milliseconds after the try before.
const RELEASE_AGAIN_AFTER: [u64; 7] = [100, 400, 1000, 2000, 4000, 8000, 16000];

/// The keys of a grant of several, each with its fencing token.
pub(crate) type Tokens = Arc<[(Arc<str>, u64)]>;

/// What the calls of a grant go through; a renewing thread has one too.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) owner: Owner,
    pub(crate) key: Arc<str>,
    /// All keys, if it is of several.
    pub(super) several: Option<Tokens>,
    pub(super) id: GrantId,
    /// What it is to those who are told of what happens.
    pub(crate) hold: Hold,
}

impl Handle {
    /// Tells those who are told of what happens how the grant ended.
    pub(crate) fn tell_end(&self, end: HoldEnd) {
        self.owner.events().hold_ended(&self.hold, &self.key, end, &**self.owner.clock());
    }

    /// Tells them that it is lost.
    pub(crate) fn tell_loss(&self) {
        self.owner.events().lost(&self.hold, &self.key);
    }

    pub(crate) async fn validity(&self) -> Result<Validity, GrantError> {
        self.validity_since().await.map(|(_, validity)| validity)
    }

    /// Returns the validity, and a time by the clock from which it surely counts.
    pub(crate) async fn validity_since(&self) -> Result<(Duration, Validity), GrantError> {
        let mut guest = self.enter().await?;
        // Read once the instance is ours, so that waiting for it does not count.
        let now = self.owner.clock().now();
        Ok((now, guest.validity(&self.key, self.id).await?))
    }

    /// Asks who asks for it.
    pub(crate) async fn wanted(&self) -> Result<Option<Ask>, GrantError> {
        self.enter().await?.wanted(&self.key, self.id).await
    }

    pub(crate) async fn depth(&self) -> Result<u32, GrantError> {
        self.enter().await?.depth(&self.key, self.id).await
    }

    pub(crate) async fn downgrade(&self) -> Result<(), GrantError> {
        self.enter().await?.downgrade(&self.key, self.id).await
    }

    pub(crate) async fn waive_minimum(&self) -> Result<(), GrantError> {
        self.enter().await?.waive_minimum(&self.key, self.id).await
    }

    pub(super) async fn write_out(&self) -> Result<String, GrantError> {
        self.enter().await?.write_out(&self.key, self.id).await
    }

    pub(crate) async fn renew(&self, lease: Option<Ttl>) -> Result<(), GrantError> {
        self.renew_unless(|| false, lease).await
    }

    /// Renews, unless it is to stop by the time at which the session's instance is free: the grant may be gone by then.
    pub(crate) async fn renew_unless(&self, stop: impl Fn() -> bool, lease: Option<Ttl>) -> Result<(), GrantError> {
        let renewed = self.try_renew(stop, lease).await;
        let told = match &renewed {
            Ok(false) => return Ok(()),
            Ok(true) => {
                tracing::trace!(key = &*self.key, "renewed");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(key = &*self.key, "renewal failed: {}", chain(error));
                Err(error.kind())
            }
        };
        self.owner.events().renewed(&self.hold, &self.key, told);
        renewed.map(drop)
    }

    /// Returns true if it is renewed, and false if it was to stop.
    async fn try_renew(&self, stop: impl Fn() -> bool, lease: Option<Ttl>) -> Result<bool, GrantError> {
        let mut guest = self.enter().await?;
        if stop() {
            return Ok(false);
        }
        let renewed = guest.renew(&self.key, self.id, lease).await;
        self.naming_the_lost(&mut guest, renewed).await.map(|()| true)
    }

    /// Has the error of a loss name the one of several keys that was lost.
    async fn naming_the_lost<T>(
        &self,
        guest: &mut Entered<'_>,
        outcome: Result<T, GrantError>,
    ) -> Result<T, GrantError> {
        let Err(GrantError::Lost { key, holder }) = outcome else { return outcome };
        if let Some(holder) = &holder {
            return Err(GrantError::Lost { key: holder.key.clone(), holder: Some(holder.clone()) });
        }
        let keys = match self.several {
            Some(_) => guest.keys::<GrantError>(&self.key, self.id).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let lost = keys.into_iter().find(|(_, _, validity)| *validity == Validity::Lost);
        Err(GrantError::Lost { key: lost.map_or(key, |(key, ..)| key.to_string()), holder })
    }

    /// Returns all keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        let several = self.several.as_deref().unwrap_or_default();
        let one = several.is_empty().then_some(&self.key);
        one.into_iter().chain(several.iter().map(|(key, _)| key))
    }

    /// Releases again what could not be given back, until the store answers or the usual lease is over.
    pub(super) async fn release_later(&self) {
        for pause in RELEASE_AGAIN_AFTER {
            Timer::after(Duration::from_millis(pause)).await;
            let Ok(mut guest) = self.enter().await else { return };
            if self.owner.release_again::<GrantError>(&mut guest, &self.key).await.is_err() {
                return;
            }
            if guest.is_clean() {
                tracing::debug!(key = &*self.key, "released after all");
                return;
            }
        }
    }

    /// Returns the request of this process that is to have the lock next, and what to write for it, if the lock can be
    /// handed over.
    pub(super) fn successor(&self, kind: Kind) -> Option<(Successor, Claim)> {
        let queues = self.owner.queues();
        if kind == Kind::Permit || self.several.is_some() || queues.is_empty() {
            return None;
        }
        let successor = queues.select_successor(Place::new(self.owner.namespace(), kind, &self.key))?;
        let claim = successor.claim()?;
        Some((successor, claim))
    }

    /// Tells the session that it holds one less, and those in the queue that they may poll.
    pub(crate) fn note_end<T>(&self, released: &Result<T, GrantError>, kind: Kind) {
        if matches!(released, Ok(_) | Err(GrantError::Lost { .. })) {
            self.owner.held_count().given_back();
        }
        let queues = self.owner.queues();
        if !queues.is_empty() {
            for key in self.keys() {
                queues.freed(&Place::new(self.owner.namespace(), kind, key), self.owner.clock().now());
            }
        }
    }

    /// Enters the session's instance.
    pub(crate) async fn enter(&self) -> Result<Entered<'_>, GrantError> {
        if !self.owner.is_own_process() {
            // It is held by the process before the fork.
            return Err(GrantError::Lost { key: self.key.to_string(), holder: None });
        }
        self.owner.enter(&self.key).await
    }
}
