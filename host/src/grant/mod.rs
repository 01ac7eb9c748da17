//! Held locks.

mod handle;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) use self::handle::{Handle, Tokens};
use crate::component::{Claim, GrantFacts, GrantId, Granted, Release};
use crate::debug::debug_fields;
use crate::environment::Callers;
use crate::error::{GrantError, chain};
use crate::events::{self, Hold, HoldEnd};
use crate::holder::Holder;
use crate::now::now;
use crate::outcome::Validity;
use crate::owner::Owner;
use crate::queue::{Kind, Successor};
use crate::status::Ask;
use crate::store::Ttl;

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
    rest: Rest,
}

/// What the component has of a grant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// A resource, to be dropped with the grant.
    Resource,
    /// A resource that stays: the grant was forgotten, or could not be given back. Then the session tries again, when it
    /// is to lock the key again.
    LeftBehind,
    Nothing,
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

    /// Returns a grant of several keys that the session itself made.
    pub(crate) fn several(owner: &Owner, granted: Granted, tokens: Tokens) -> Self {
        let first = tokens.first().map_or_else(|| "".into(), |(key, _)| key.clone());
        Grant::new(owner, owner.name().clone(), first, granted).with(Some(tokens))
    }

    /// Returns a grant that may have begun in another session, under another owner's name.
    pub(crate) fn of(owner: &Owner, facts: GrantFacts) -> Self {
        Grant::new(owner, facts.owner.into(), facts.key.into(), facts.granted).with(facts.keys.map(Arc::from))
    }

    fn new(owner: &Owner, owner_name: Arc<str>, key: Arc<str>, granted: Granted) -> Self {
        owner.held_count().taken();
        let Granted { grant: id, token, permit } = granted;
        let kind = if permit.is_some() { events::Kind::Permit } else { events::Kind::Lock };
        let handle = Handle { owner: owner.clone(), key, several: None, id, hold: Hold::from_elsewhere(kind) };
        Grant(Held { handle, owner_name, token, permit, done: false, rest: Rest::Resource })
    }

    /// Notes what it is to those who are told of what happens.
    pub(crate) fn begin_hold(&mut self, hold: Hold) {
        self.0.handle.hold = hold;
    }

    /// Lets another hand find out that it is lost, and tell it.
    pub(crate) fn share_hold(&mut self) {
        self.0.handle.hold.share();
    }

    fn with(mut self, several: Option<Tokens>) -> Self {
        self.0.handle.several = several;
        self
    }

    /// Returns the key. Of several, it is the one that was named first.
    pub fn key(&self) -> &str {
        &self.0.handle.key
    }

    /// Returns all keys with their fencing tokens, in the order in which they were named.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = kvlock::Client::connect("memory:")?;
    /// let grant = client.lock_all(["account:7", "account:3"]).acquire()?;
    /// for (key, token) in grant.tokens() {
    ///     println!("{key}: {token}");
    /// }
    /// assert_eq!(grant.token_of("account:7"), Some(grant.token()));
    /// # grant.release()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        let (one, several) = match &self.0.handle.several {
            None => (Some((self.key(), self.token())), [].as_slice()),
            Some(several) => (None, &**several),
        };
        one.into_iter().chain(several.iter().map(|(key, token)| (&**key, *token)))
    }

    /// Returns the fencing token of one of its keys.
    pub fn token_of(&self, key: &str) -> Option<u64> {
        self.tokens().find(|(of, _)| *of == key).map(|(_, token)| token)
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
    /// of what the lock guards, and let the receiver refuse smaller ones than it has seen. Of several keys, this is the
    /// token of the first: see [`tokens`](Self::tokens).
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
        self.0.rest = Rest::LeftBehind;
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
        let Held { handle, done, rest, .. } = &self.0;
        if !handle.owner.is_own_process() || (*done && *rest != Rest::Resource) {
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
        if self.rest == Rest::Resource {
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
        if self.rest == Rest::LeftBehind && self.handle.owner.is_of_one_wait() {
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
            for key in self.handle.keys() {
                owner.release_again(&mut guest, key).await?;
            }
        }
        let released = guest.release(key, *id, claim).await.map_err(|error| match error {
            GrantError::Lost { holder: Some(holder), .. } => {
                GrantError::Lost { key: holder.key.clone(), holder: Some(holder) }
            }
            error => error,
        });
        if let Some(successor) = successor
            && guest.is_in_doubt()
        {
            successor.mark_in_doubt();
        }
        if is_lock && matches!(released, Err(GrantError::Store { .. })) {
            guest.keep_unreleased(self.handle.keys().cloned().collect(), *id);
            self.rest = Rest::LeftBehind;
        } else {
            guest.drop_resource(*id).await;
            self.rest = Rest::Nothing;
        }
        released
    }

    fn kind(&self) -> Kind {
        if self.permit.is_some() { Kind::Permit } else { Kind::Lock }
    }
}
