//! What a wait leaves in the log: what it waits for whenever that changes, and how it ended.

use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use crate::engine::bindings::exports::kvlock::lock::mutex as wit;
use crate::error::AcquireError;
use crate::holder::{Holder, WaitingFor, seconds, shown};

#[derive(Default)]
pub(crate) struct WaitLog {
    since: Option<Duration>,
    /// The kind of the obstacle that was told last, and the holder's token if it was one.
    told: Option<(Discriminant<wit::WaitingFor>, Option<u64>)>,
    last_holder: Option<LastHolder>,
}

/// The holder as it was seen last.
struct LastHolder {
    holder: wit::Holder,
    /// When its record is gone unless it was renewed since, by the clock; none if that is not known.
    ends: Option<Duration>,
}

impl WaitLog {
    pub(crate) fn waiting(&mut self, key: &str, now: Duration, waiting_for: &wit::WaitingFor) {
        self.since.get_or_insert(now);
        let mut token = None;
        if let wit::WaitingFor::Holder(holder) = waiting_for {
            token = Some(holder.token);
            let ends = match holder.time_left {
                Some(wit::Ttl::After(left)) => Some(now.saturating_add(Duration::from_nanos(left))),
                Some(wit::Ttl::Forever) | None => None,
            };
            self.last_holder = Some(LastHolder { holder: holder.clone(), ends });
        }
        let news = Some((discriminant(waiting_for), token));
        if std::mem::replace(&mut self.told, news) != news {
            tracing::debug!(key, "waiting: {}", WaitingFor::from(waiting_for.clone()));
        }
    }

    pub(crate) fn granted(&self, key: &str, now: Duration, token: u64) {
        let Some(since) = self.since else {
            tracing::debug!(key, token, "granted");
            return;
        };
        if let Some(LastHolder { holder, ends: Some(ends) }) = &self.last_holder
            && holder.depth > 0
            && *ends <= now
        {
            // It crashed, or it came too late with its renewal.
            tracing::warn!(key, token, "the lease of {} ended before the lock was released", shown(&holder.owner));
        }
        let waited = seconds(now.saturating_sub(since));
        match &self.last_holder {
            Some(LastHolder { holder, .. }) => {
                let holder = Holder::from(holder.clone());
                tracing::debug!(key, token, "granted after {waited}; before that it was {holder}");
            }
            None => tracing::debug!(key, token, "granted after {waited}"),
        }
    }

    pub(crate) fn failed(&self, key: &str, error: &AcquireError) {
        tracing::debug!(key, "not granted: {error}");
    }
}
