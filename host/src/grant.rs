//! Held locks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wasmtime::component::ResourceAny;

use crate::component::bindings::exports::kvlock::lock::mutex as wit;
use crate::component::convert;
use crate::error::{GrantError, trap};
use crate::holder::Holder;
use crate::line::{Heir, Lines, Place};
use crate::owner::{Guest, Owner};
use crate::store::Ttl;
use crate::wanted::Kind;

/// A held lock. It is released when it is dropped; call [`release`](Self::release) to learn whether it was held to
/// the end.
///
/// It does not renew itself: see [`keep`](Self::keep).
#[must_use = "a grant that is dropped is released"]
pub struct Grant {
    pub(crate) handle: Handle,
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
    pub(crate) key: String,
    resource: ResourceAny,
}

/// How long a grant is surely valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// For this long, counted from before its request left and less a margin for drifting clocks.
    Valid(Duration),
    /// Until released: the lease is for ever.
    Unlimited,
    /// Not known until it is renewed: the grant was written out or resumed, or a release of it was not answered.
    Unconfirmed,
    /// It is over.
    Lost,
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The lock is free.
    Freed,
    /// A nested hold ended; the lock is still held so many times.
    Nested(u32),
    /// Released, and taken for this long yet for its minimum time.
    Kept(Duration),
    /// Released, and handed over to a session of this process that waited for it.
    HandedOver,
}

impl Grant {
    /// A grant that the session itself made.
    pub(crate) fn own(owner: &Owner, key: String, granted: wit::Granted) -> Self {
        let wit::Granted { grant: resource, token, permit } = granted;
        let owner_name = owner.name().clone();
        owner.holds().taken();
        let handle = Handle { owner: owner.clone(), key, resource };
        Grant { handle, owner_name, token, permit, done: false, is_left_behind: false }
    }

    /// A grant that may have begun in another session, under another owner's name.
    pub(crate) fn asked(owner: &Owner, guest: &mut Guest, resource: ResourceAny) -> wasmtime::Result<Self> {
        let instance = &mut guest.instance;
        let exports = instance.exports.kvlock_lock_mutex().grant();
        let key = exports.call_key(&mut instance.store, resource)?;
        let owner_name = exports.call_owner(&mut instance.store, resource)?.into();
        let permit = exports.call_permit(&mut instance.store, resource)?;
        let token = exports.call_token(&mut instance.store, resource)?;
        let granted = wit::Granted { grant: resource, token, permit };
        let mut grant = Grant::own(owner, key, granted);
        grant.owner_name = owner_name;
        Ok(grant)
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.handle.key
    }

    /// Which permit it is, counted from 0, if it is one of a semaphore; its key is then the semaphore's name.
    pub fn permit(&self) -> Option<u32> {
        self.permit
    }

    /// The owner's name.
    pub fn owner(&self) -> &str {
        &self.owner_name
    }

    /// The fencing token: larger than that of every earlier grant of the key. Send it along with every change of what
    /// the lock guards, and let the receiver refuse smaller ones than it has seen.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How often the session holds the lock: 1 unless re-entrant, 0 once released or lost.
    pub fn depth(&self) -> Result<u32, GrantError> {
        self.handle.call(|guest, resource| {
            let exports = guest.instance.exports.kvlock_lock_mutex().grant();
            exports.call_depth(&mut guest.instance.store, resource)
        })
    }

    /// How long the grant is surely valid. Asks the clock, not the store.
    pub fn validity(&self) -> Result<Validity, GrantError> {
        self.handle.validity()
    }

    /// Begins the lease anew.
    pub fn renew(&mut self) -> Result<(), GrantError> {
        self.handle.renew(None)
    }

    /// Begins a lease of another length.
    pub fn renew_for(&mut self, lease: impl Into<Ttl>) -> Result<(), GrantError> {
        self.handle.renew(Some(lease.into()))
    }

    /// Gives the lock back, and tells if it had been lost. Where the store fails the lock ends with its lease, or is given
    /// back when the session is to lock the key again.
    pub fn release(mut self) -> Result<Released, GrantError> {
        self.give_back()
    }

    /// Gives up the minimum hold of the lock, that of its other holds included: the release that ends the last of them
    /// frees it at once. For work that did not happen. Asks no store.
    pub fn waive_minimum(&self) -> Result<(), GrantError> {
        self.handle.call(|guest, resource| {
            let exports = guest.instance.exports.kvlock_lock_mutex().grant();
            exports.call_waive_minimum(&mut guest.instance.store, resource)
        })
    }

    /// Writes the grant out as one word, for [`Session::resume`](crate::Session::resume) in any process, and gives up
    /// the duty to release it. Whoever has the word has the grant.
    pub fn write_out(mut self) -> Result<String, GrantError> {
        let written = self.handle.call(|guest, resource| {
            let exports = guest.instance.exports.kvlock_lock_mutex().grant();
            exports.call_write_out(&mut guest.instance.store, resource)
        })?;
        let written = written.map_err(|error| GrantError::of(&self.handle.key, error))?;
        self.done = true;
        Ok(written)
    }

    /// Gives up the duty to release the grant: it ends with its lease.
    pub fn forget(mut self) {
        self.done = true;
        // Its drop in the component would give it back.
        self.is_left_behind = true;
    }

    /// Gives up the grant of a try, which is given back by the report.
    pub(crate) fn hand_in(mut self) {
        self.done = true;
    }

    /// What those who wait for it are told.
    pub(crate) fn as_holder(&self, lease: Ttl) -> Holder {
        let since = SystemTime::now();
        let until = match lease {
            Ttl::After(length) => since.checked_add(length),
            Ttl::Forever => None,
        };
        Holder {
            key: self.handle.key.clone(),
            owner: self.owner_name.to_string(),
            label: self.handle.owner.label().to_string(),
            since: Some(since),
            lease,
            depth: 1,
            token: self.token,
            time_left: Some(lease),
            until,
            permit: self.permit,
            reserved: false,
        }
    }

    /// What tells this grant from every other of its session.
    pub(crate) fn resource(&self) -> ResourceAny {
        self.handle.resource
    }

    pub(crate) fn give_back(&mut self) -> Result<Released, GrantError> {
        let released = self.try_give_back();
        match &released {
            Ok(released) => tracing::debug!(key = self.handle.key, token = self.token, "released: {released:?}"),
            Err(error) => tracing::warn!(key = self.handle.key, token = self.token, "release failed: {error}"),
        }
        released
    }

    fn try_give_back(&mut self) -> Result<Released, GrantError> {
        // Tried once: what fails here ends with its lease, and a drop must not try again.
        self.done = true;
        let (heir, claim) = self.handle.heir(self.kind()).unzip();
        let is_lock = self.permit.is_none();
        let released = self.handle.call(|guest, resource| {
            if is_lock {
                self.handle.owner.release_again(guest, &self.handle.key)?;
            }
            let (exports, store) = (guest.instance.exports.kvlock_lock_mutex().grant(), &mut guest.instance.store);
            let released = match &claim {
                Some(claim) => exports.call_hand_over(store, resource, claim),
                None => exports.call_release(store, resource),
            }?;
            if is_lock && matches!(released, Err(wit::GrantError::Store(_))) {
                guest.leave_unreleased(self.handle.key.clone(), resource);
                self.is_left_behind = true;
            }
            if let Some(heir) = &heir
                && guest.instance.is_in_doubt()
            {
                heir.doubt();
            }
            Ok(released)
        })?;
        let released = released.map_err(|error| GrantError::of(&self.handle.key, error));
        if let (Some(heir), Ok(wit::Released::HandedOver(handed))) = (heir, &released) {
            self.handle.owner.holds().given_back();
            heir.tell(*handed);
            return Ok(Released::HandedOver);
        }
        self.handle.note_end(&released, self.kind());
        match released? {
            wit::Released::Freed => Ok(Released::Freed),
            wit::Released::Nested(depth) => Ok(Released::Nested(depth)),
            wit::Released::Kept(left) => Ok(Released::Kept(Duration::from_nanos(left))),
            wit::Released::HandedOver(_) => Ok(Released::HandedOver),
        }
    }

    fn kind(&self) -> Kind {
        if self.permit.is_some() { Kind::Permit } else { Kind::Lock }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.handle.owner.is_own_process() {
            return;
        }
        if !self.done {
            // Nobody is here to be told; it is in the log.
            let _ = self.give_back();
        }
        if !self.is_left_behind {
            self.handle.owner.drop_resource(self.handle.resource);
        }
    }
}

impl Handle {
    pub(crate) fn validity(&self) -> Result<Validity, GrantError> {
        self.validity_since().map(|(_, validity)| validity)
    }

    /// The validity, and a time by the clock from which it surely counts.
    pub(crate) fn validity_since(&self) -> Result<(Duration, Validity), GrantError> {
        let (now, validity) = self.call(|guest, resource| {
            // Read once the instance is ours, so that waiting for it does not count.
            let now = self.owner.clock().now();
            let exports = guest.instance.exports.kvlock_lock_mutex().grant();
            Ok((now, exports.call_validity(&mut guest.instance.store, resource)?))
        })?;
        let validity = match validity {
            wit::Validity::Valid(left) => Validity::Valid(Duration::from_nanos(left)),
            wit::Validity::Unlimited => Validity::Unlimited,
            wit::Validity::Unconfirmed => Validity::Unconfirmed,
            wit::Validity::Lost => Validity::Lost,
        };
        Ok((now, validity))
    }

    pub(crate) fn renew(&self, lease: Option<Ttl>) -> Result<(), GrantError> {
        self.renew_unless(|| false, lease)
    }

    /// Renews, unless it is to stop by the time at which the session's instance is free: the grant may be gone by then.
    pub(crate) fn renew_unless(&self, stop: impl Fn() -> bool, lease: Option<Ttl>) -> Result<(), GrantError> {
        let renewed = self.try_renew(stop, lease);
        match &renewed {
            Ok(()) => tracing::trace!(key = self.key, "renewed"),
            Err(error) => tracing::warn!(key = self.key, "renewal failed: {error}"),
        }
        renewed
    }

    fn try_renew(&self, stop: impl Fn() -> bool, lease: Option<Ttl>) -> Result<(), GrantError> {
        let lease = lease.map(convert::ttl_out);
        let renewed = self.call(|guest, resource| {
            if stop() {
                return Ok(Ok(()));
            }
            let exports = guest.instance.exports.kvlock_lock_mutex().grant();
            exports.call_renew(&mut guest.instance.store, resource, lease)
        })?;
        renewed.map_err(|error| GrantError::of(&self.key, error))
    }

    /// Who of this process is to have the lock next, and what to write for it, if it can be handed over.
    fn heir(&self, kind: Kind) -> Option<(Heir, wit::Claim)> {
        let lines = self.owner.lines();
        if kind == Kind::Permit || lines.is_empty() {
            return None;
        }
        let heir = Lines::heir(lines, &Place::new(self.owner.namespace(), kind, &self.key))?;
        let claim = heir.claim()?;
        Some((heir, claim))
    }

    /// Tells the session that it holds one less, and those who stand in line that they may ask.
    pub(crate) fn note_end<T>(&self, released: &Result<T, GrantError>, kind: Kind) {
        if matches!(released, Ok(_) | Err(GrantError::Lost { .. })) {
            self.owner.holds().given_back();
        }
        let lines = self.owner.lines();
        if !lines.is_empty() {
            lines.freed(&Place::new(self.owner.namespace(), kind, &self.key), self.owner.clock().now());
        }
    }

    pub(crate) fn call<T>(
        &self,
        call: impl FnOnce(&mut Guest, ResourceAny) -> wasmtime::Result<T>,
    ) -> Result<T, GrantError> {
        if !self.owner.is_own_process() {
            // It is held by the process before the fork.
            return Err(GrantError::Lost { key: self.key.clone(), holder: None });
        }
        let answer = self.owner.call(|guest| call(guest, self.resource));
        answer.map_err(|error| GrantError::Component { key: self.key.clone(), text: trap(&error) })
    }
}
