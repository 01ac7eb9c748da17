//! What a wait leaves in the log: what it waits for whenever that changes, and how it ended.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use crate::clock::Clock;
use crate::holder::{Holder, WaitingFor};
use crate::store::Ttl;
use crate::text::{seconds, shown};

#[derive(Default)]
pub(crate) struct WaitLog {
    since: Option<Duration>,
    /// The kind of the obstacle that was told last, and the holder's token if it was one.
    told: Option<(Discriminant<WaitingFor>, Option<u64>)>,
    last_holder: Option<LastHolder>,
}

/// The holder as it was seen last.
struct LastHolder {
    holder: Holder,
    /// When its record is gone unless it was renewed since, by the clock; none if that is not known.
    gone: Option<Duration>,
    /// When its lease is over at the latest, unless it was renewed since: whoever waits takes the lock over then.
    ends: Option<Duration>,
}

impl WaitLog {
    /// Notes an obstacle. `asked` is when the store was asked: the time that it says is left counts from then at the
    /// earliest.
    pub(crate) fn waiting(&mut self, key: &str, asked: Duration, waiting_for: &WaitingFor) {
        self.since.get_or_insert(asked);
        let mut token = None;
        if let WaitingFor::Holder(holder) = waiting_for {
            token = Some(holder.token);
            self.see(asked, holder);
        }
        let news = Some((discriminant(waiting_for), token));
        if std::mem::replace(&mut self.told, news) != news {
            tracing::debug!(key, "waiting: {waiting_for}");
        }
    }

    fn see(&mut self, asked: Duration, holder: &Holder) {
        // The store is not asked about the holder at each try. Told the same again, its end is the same: unless that
        // has passed, and it was renewed.
        if let Some(LastHolder { holder: last, ends: Some(ends), .. }) = &self.last_holder
            && (last.token, last.time_left) == (holder.token, holder.time_left)
            && asked < *ends
        {
            return;
        }
        let (gone, ends) = match (holder.time_left, holder.lease) {
            (Some(Ttl::After(left)), Ttl::After(lease)) => {
                let gone = asked.saturating_add(left);
                // It was not renewed since, as far as can be told: a renewal comes after a third of the lease.
                let same = self.last_holder.as_ref().filter(|last| {
                    last.holder.token == holder.token
                        && last.gone.is_some_and(|before| gone <= before.saturating_add(lease / 4))
                });
                let ends = asked.saturating_add(left.min(lease));
                (Some(gone), Some(same.and_then(|last| last.ends).map_or(ends, |before| ends.min(before))))
            }
            (Some(Ttl::After(left)), Ttl::Forever) => {
                let gone = Some(asked.saturating_add(left));
                (gone, gone)
            }
            (Some(Ttl::Forever) | None, _) => (None, None),
        };
        self.last_holder = Some(LastHolder { holder: holder.clone(), gone, ends });
    }

    pub(crate) fn granted(&self, key: &str, clock: &dyn Clock, token: u64) {
        let Some(since) = self.since else {
            tracing::debug!(key, token, "granted");
            return;
        };
        let now = clock.now();
        if let Some(LastHolder { holder, ends: Some(ends), .. }) = &self.last_holder
            && holder.depth > 0
            && *ends <= now
        {
            // It crashed, or it came too late with its renewal.
            tracing::warn!(key, token, "the lease of {} ended before the lock was released", shown(&holder.owner));
        }
        let waited = seconds(now.saturating_sub(since));
        match &self.last_holder {
            Some(LastHolder { holder, .. }) => {
                tracing::debug!(key, token, "granted after {waited}; before that it was {holder}");
            }
            None => tracing::debug!(key, token, "granted after {waited}"),
        }
    }
}
