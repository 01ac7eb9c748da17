//! Held locks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_io::Timer;

use crate::component::{Claim, GrantFacts, GrantId, Granted, Release};
use crate::debug::debug_fields;
use crate::environment::Callers;
use crate::error::{GrantError, chain};
use crate::events::{self, Hold, HoldEnd};
use crate::holder::Holder;
use crate::now::now;
use crate::outcome::Validity;
use crate::owner::{Entered, Owner};
use crate::queue::{Kind, Place, Successor};
use crate::status::Ask;
use crate::store::Ttl;

/// When to try again a release that the store failed, where no later call does: milliseconds after the try before.
const RELEASE_AGAIN_AFTER: [u64; 7] = [100, 400, 1000, 2000, 4000, 8000, 16000];

/// A held lock. It is released when it is dropped; call [`release`](Self::release) to learn whether it was held to
/// the end.
///
/// It does not renew itself: see [`auto_renew`](Self::auto_renew).
#[must_use = "a grant that is dropped is released"]
pub struct Grant(Held);

/// What is held, in the hands of who gives it back: the grant itself, or what does so when that is dropped.
#[derive(Clone)]
struct Held {
    handle: Handle,
    owner_name: Arc<str>,
    token: u64,
    permit: Option<u32>,
    done: bool,
    /// It was forgotten, or could not be given back: then the session tries again, when it is to lock the key again.
    is_left_behind: bool,
}

/// What the calls of a grant go through; a renewing thread has one too.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) owner: Owner,
    pub(crate) key: Arc<str>,
    id: GrantId,
    /// What it is to those who are told of what happens.
    pub(crate) hold: Hold,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Released {
    /// The lock is free.
    Freed,
    /// A nested hold ended. The lock is still held this many times.
    Nested(u32),
    /// Released, and still taken for this long, for its minimum time.
    Kept(Duration),
    /// Released, and handed over to a session of this process that waited for it.
    HandedOver,
}

debug_fields!(Grant, |it| key = it.0.handle.key, permit = it.0.permit, token = it.0.token);

impl Grant {
    /// Returns a grant that the session itself made.
    pub(crate) fn own(owner: &Owner, key: Arc<str>, granted: Granted) -> Self {
        Grant::new(owner, owner.name().clone(), key, granted)
    }

    /// Returns a grant that may have begun in another session, under another owner's name.
    pub(crate) fn of(owner: &Owner, facts: GrantFacts) -> Self {
        Grant::new(owner, facts.owner.into(), facts.key.into(), facts.granted)
    }

    fn new(owner: &Owner, owner_name: Arc<str>, key: Arc<str>, granted: Granted) -> Self {
        owner.held_count().taken();
        let Granted { grant: id, token, permit } = granted;
        let kind = if permit.is_some() { events::Kind::Permit } else { events::Kind::Lock };
        let handle = Handle { owner: owner.clone(), key, id, hold: Hold::from_elsewhere(kind) };
        Grant(Held { handle, owner_name, token, permit, done: false, is_left_behind: false })
    }

    /// Notes what it is to those who are told of what happens.
    pub(crate) fn begin_hold(&mut self, hold: Hold) {
        self.0.handle.hold = hold;
    }

    /// Lets another hand find out that it is lost, and tell it.
    pub(crate) fn share_hold(&mut self) {
        self.0.handle.hold.share();
    }

    /// Returns the key.
    pub fn key(&self) -> &str {
        &self.0.handle.key
    }

    /// Returns which permit it is, counted from 0, if it is one of a semaphore; its key is then the semaphore's name.
    pub fn permit(&self) -> Option<u32> {
        self.0.permit
    }

    /// Returns the owner's name.
    pub fn owner(&self) -> &str {
        &self.0.owner_name
    }

    /// Returns the fencing token: larger than that of every earlier grant of the key. Send it along with every change
    /// of what the lock guards, and let the receiver refuse smaller ones than it has seen.
    pub fn token(&self) -> u64 {
        self.0.token
    }

    /// Returns how often the session holds the lock: 1 unless re-entrant, 0 once released or lost.
    pub fn depth(&self) -> Result<u32, GrantError> {
        now(self.0.handle.depth())
    }

    /// Returns how long the grant is surely valid. Asks the clock, not the store.
    pub fn validity(&self) -> Result<Validity, GrantError> {
        now(self.0.handle.validity())
    }

    /// Begins the lease again.
    pub fn renew(&mut self) -> Result<(), GrantError> {
        now(self.0.handle.renew(None))
    }

    /// Begins a lease of another length.
    pub fn renew_for(&mut self, lease: impl Into<Ttl>) -> Result<(), GrantError> {
        now(self.0.handle.renew(Some(lease.into())))
    }

    /// Returns who asks for the lock, if somebody does: the latest. Asks the store, and tells whoever asks that it was
    /// heard. A [`LockGuard`](crate::LockGuard) does this after each renewal.
    ///
    /// # Errors
    ///
    /// [`GrantError::Lost`] if the lock is known to be lost, and [`GrantError::Store`] if the store does not answer.
    pub fn wanted(&mut self) -> Result<Option<Ask>, GrantError> {
        now(self.0.handle.wanted())
    }

    /// Gives the lock back, and tells if it had been lost. If the store fails, the lock ends with its lease, or is
    /// given back when the session locks the key again.
    pub fn release(self) -> Result<Released, GrantError> {
        now(self.give_back())
    }

    /// Shares the lock with readers from now on: this grant is the first of them. Nobody has the lock in between, the
    /// lease begins again, and the token stays. After an error of the store, call it again.
    ///
    /// # Errors
    /// [`GrantError::Invalid`] for a lock that is shared already, held more than once or kept for a minimum hold, and for
    /// a permit.
    pub fn downgrade(&mut self) -> Result<(), GrantError> {
        now(self.0.handle.downgrade())
    }

    /// Gives up the minimum hold of the lock, that of its other holds included: the release that ends the last of them
    /// frees it at once. For work that did not happen. Asks no store.
    pub fn waive_minimum(&self) -> Result<(), GrantError> {
        now(self.0.handle.waive_minimum())
    }

    /// Writes the grant out as one word, for [`Session::resume`](crate::Session::resume) in any process, and gives up
    /// the duty to release it. Everybody that has the word has the grant.
    pub fn write_out(self) -> Result<String, GrantError> {
        now(self.written_out())
    }

    /// Gives up the duty to release the grant: it ends with its lease.
    pub fn forget(mut self) {
        self.0.done = true;
        // Its drop in the component would give it back.
        self.0.is_left_behind = true;
        self.0.handle.tell_end(HoldEnd::Left);
    }

    /// Gives up the grant of a try, which is given back by the report.
    pub(crate) fn hand_in(mut self) {
        self.0.done = true;
    }

    /// Returns the holder that its waiters are told of.
    pub(crate) fn as_holder(&self, lease: Ttl, note: Option<&str>) -> Holder {
        let since = SystemTime::now();
        let until = match lease {
            Ttl::After(length) => since.checked_add(length),
            Ttl::Forever => None,
        };
        Holder {
            key: self.key().to_string(),
            owner: self.owner().to_string(),
            label: self.handle().owner.label().to_string(),
            note: note.map(String::from),
            since: Some(since),
            lease,
            depth: 1,
            token: self.token(),
            readers: 0,
            time_left: Some(lease),
            until,
            permit: self.permit(),
            reserved: false,
        }
    }

    /// Returns what the calls of the grant go through.
    pub(crate) fn handle(&self) -> &Handle {
        &self.0.handle
    }

    /// Returns what tells this grant from every other of its session.
    pub(crate) fn id(&self) -> GrantId {
        self.0.handle.id
    }

    /// Gives it back, as [`release`](Self::release) does.
    pub(crate) async fn give_back(mut self) -> Result<Released, GrantError> {
        self.0.give_back().await
    }

    /// Writes it out, as [`write_out`](Self::write_out) does.
    pub(crate) async fn written_out(mut self) -> Result<String, GrantError> {
        let written = self.0.handle.write_out().await?;
        self.0.done = true;
        self.0.handle.tell_end(HoldEnd::Left);
        Ok(written)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Held { handle, done, is_left_behind, .. } = &self.0;
        if !handle.owner.is_own_process() || (*done && *is_left_behind) {
            return;
        }
        match handle.owner.callers() {
            Callers::Threads => now(self.0.end()),
            Callers::Tasks => {
                let mut held = self.0.clone();
                handle.owner.carry_out(async move { held.end().await });
            }
        }
    }
}

impl Held {
    /// Gives it back, unless that was done, and drops what the component has of it.
    async fn end(&mut self) {
        if !self.done {
            // Nobody is here to be told; it is in the log.
            let _ = self.give_back().await;
        }
        if !self.is_left_behind {
            self.handle.owner.drop_resource(self.handle.id).await;
        }
    }

    async fn give_back(&mut self) -> Result<Released, GrantError> {
        let span = self.handle.hold.span();
        span.within(self.give_back_in_span()).await
    }

    async fn give_back_in_span(&mut self) -> Result<Released, GrantError> {
        let released = self.try_give_back().await;
        self.handle.tell_end(match &released {
            Ok(Released::Freed) => HoldEnd::Released,
            Ok(Released::Nested(_)) => HoldEnd::Nested,
            Ok(Released::Kept(_)) => HoldEnd::Kept,
            Ok(Released::HandedOver) => HoldEnd::HandedOver,
            Err(GrantError::Lost { .. }) => HoldEnd::Lost,
            Err(_) => HoldEnd::Failed,
        });
        match &released {
            Ok(released) => tracing::debug!(key = &*self.handle.key, token = self.token, "released: {released:?}"),
            Err(error) => {
                tracing::warn!(key = &*self.handle.key, token = self.token, "release failed: {}", chain(error))
            }
        }
        if self.is_left_behind && self.handle.owner.is_of_one_wait() {
            // Nobody locks by this owner again, which would release it.
            let handle = self.handle.clone();
            self.handle.owner.carry_out(async move { handle.release_later().await });
        }
        released
    }

    async fn try_give_back(&mut self) -> Result<Released, GrantError> {
        // Tried once: what fails here ends with its lease, and a drop must not try again.
        self.done = true;
        let (successor, claim) = self.handle.successor(self.kind()).unzip();
        let released = self.call_release(successor.as_ref(), claim.as_ref()).await;
        if let (Some(successor), Ok(Release::HandedOver(handed))) = (successor, &released) {
            self.handle.owner.held_count().given_back();
            successor.hand_over(*handed);
            return Ok(Released::HandedOver);
        }
        self.handle.note_end(&released, self.kind());
        Ok(match released? {
            Release::Freed => Released::Freed,
            Release::Nested(depth) => Released::Nested(depth),
            Release::Kept(left) => Released::Kept(left),
            Release::HandedOver(_) => Released::HandedOver,
        })
    }

    async fn call_release(
        &mut self,
        successor: Option<&Successor>,
        claim: Option<&Claim>,
    ) -> Result<Release, GrantError> {
        let is_lock = self.permit.is_none();
        let Handle { owner, key, id, .. } = &self.handle;
        let mut guest = self.handle.enter().await?;
        if is_lock {
            owner.release_again(&mut guest, key).await?;
        }
        let released = guest.release(key, *id, claim).await;
        if is_lock && matches!(released, Err(GrantError::Store { .. })) {
            guest.keep_unreleased(key.to_string(), *id);
            self.is_left_behind = true;
        }
        if let Some(successor) = successor
            && guest.is_in_doubt()
        {
            successor.mark_in_doubt();
        }
        released
    }

    fn kind(&self) -> Kind {
        if self.permit.is_some() { Kind::Permit } else { Kind::Lock }
    }
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

    async fn write_out(&self) -> Result<String, GrantError> {
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
        if stop() { Ok(false) } else { guest.renew(&self.key, self.id, lease).await.map(|()| true) }
    }

    /// Releases again what could not be given back, until the store answers or the usual lease is over.
    async fn release_later(&self) {
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
    fn successor(&self, kind: Kind) -> Option<(Successor, Claim)> {
        let queues = self.owner.queues();
        if kind == Kind::Permit || queues.is_empty() {
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
            queues.freed(&Place::new(self.owner.namespace(), kind, &self.key), self.owner.clock().now());
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
