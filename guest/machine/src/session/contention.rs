//! What a session remembers about keys that others want, too.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::records::{ListedTicket, Ticket};
use crate::values::text::is_same;
use crate::values::{Key, Time};

/// The number of keys whose wait is remembered.
const CONTENDED_KEPT: usize = 16;
/// How long, and for how many turns, a wait is remembered.
const MEMORY: Duration = Duration::from_secs(1);
const TURNS_OF_MEMORY: u32 = 16;
/// How often a session that takes a key again and again looks for other waiters. They have no chance otherwise if the
/// key is free for less than a round trip.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The keys that it had to wait for, and the one that it released last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Contention {
    /// The keys that it had to wait for, the last one at the end.
    contended: Vec<(String, RecentWait)>,
    /// The key that it released last.
    last_released: Option<LastReleased>,
}

/// What a session remembers about a key that it had to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecentWait {
    /// The ticket of its last grant, if it stood in the wait list.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) turn: Duration,
    pub(crate) released: Option<Time>,
    /// The same ticket, if it is to be taken out of the list once the key is released.
    pub(crate) leave: Option<Box<ListedTicket>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct LastReleased {
    key: Key,
    store_key: Arc<str>,
    /// Since when the session has taken it without a look for other waiters.
    looked: Time,
    at: Time,
    held_for: Duration,
}

impl LastReleased {
    fn is_of(&self, store_key: &Arc<str>) -> bool {
        Arc::ptr_eq(&self.store_key, store_key) || is_same(&self.store_key, store_key)
    }
}

impl Contention {
    /// Returns the shared key if it is the one released last: a session that locks a key again and again allocates it,
    /// and builds its store key, only once.
    pub(crate) fn known(&self, key: &str) -> Option<&Key> {
        let last = &self.last_released.as_ref()?.key;
        is_same(last.as_str(), key).then_some(last)
    }

    /// Returns the store key of a key that is [`known`](Self::known).
    pub(crate) fn store_key(&self, key: &Key) -> Option<&Arc<str>> {
        let last = self.last_released.as_ref()?;
        key.is_shared_with(&last.key).then_some(&last.store_key)
    }

    /// Returns what this session remembers about the key, if it should look for other waiters before it tries. Either
    /// it recently had to wait for this key, or it has taken the key it just released again and again for
    /// [`LOOK_EVERY`].
    pub(crate) fn recall(&mut self, store_key: &Arc<str>, wanted: bool, now: Time) -> Option<RecentWait> {
        if let Some(index) = self.contended.iter().position(|(key, _)| **key == **store_key) {
            let (_, contended) = self.contended.swap_remove(index);
            let since = contended.released.map(|released| now.since(released)).unwrap_or_default();
            return (since <= MEMORY.max(contended.turn.saturating_mul(TURNS_OF_MEMORY))).then_some(contended);
        }
        let last = self.last_released.as_mut().filter(|last| last.is_of(store_key))?;
        if !wanted && now.since(last.looked) < LOOK_EVERY {
            return None;
        }
        last.looked = now;
        Some(RecentWait { ticket: None, turn: last.held_for, released: Some(last.at), leave: None })
    }

    /// Remembers a key that the session had to wait for.
    pub(crate) fn contend(&mut self, store_key: &str, contended: RecentWait) {
        self.contended.retain(|(key, _)| key != store_key);
        if self.contended.len() >= CONTENDED_KEPT {
            self.contended.remove(0);
        }
        self.contended.push((store_key.into(), contended));
    }

    /// Returns, once, the session's ticket that is to be taken out of the list, now that the key was released.
    pub(crate) fn leave(&mut self, store_key: &str) -> Option<Box<ListedTicket>> {
        self.contended.iter_mut().find(|(key, _)| **key == *store_key)?.1.leave.take()
    }

    /// Notes that a key of the session's own namespace was released, and since when it was held.
    pub(crate) fn freed(&mut self, key: &Key, store_key: &Arc<str>, since: Time, now: Time) {
        if let Some((_, contended)) = self.contended.iter_mut().find(|(key, _)| **key == **store_key) {
            contended.released = Some(now);
        }
        let held_for = now.since(since);
        match &mut self.last_released {
            Some(last) if last.is_of(store_key) => (last.at, last.held_for) = (now, held_for),
            last => {
                let (key, store_key) = (key.clone(), store_key.clone());
                *last = Some(LastReleased { key, store_key, looked: now, at: now, held_for });
            }
        }
    }
}
