//! How long a wait respects the record of somebody else.

use alloc::sync::Arc;

use crate::machine::Cx;
use crate::records::Record;
use crate::values::{Time, Ttl, Version};

/// A record of somebody else, and until when it is respected: for its lease, from the first look that found this
/// version. Its writer began to count before it sent that, so it is done by then, however long the store keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Respected {
    pub(crate) version: Version,
    pub(crate) until: Time,
    pub(crate) whose: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// Of one that has the lock alone.
    Holder,
    /// Of readers, all of whom have gone by then.
    Readers,
    /// Of a try that is to come.
    Reservation,
}

impl Respected {
    /// Takes in the record that a look found, after what the look before found. Returns nothing if nobody knows when it is
    /// over.
    pub(crate) fn look(
        before: Option<Respected>,
        cx: &mut Cx<'_>,
        store_key: &Arc<str>,
        record: &Record,
        version: Version,
    ) -> Option<Respected> {
        let Ttl::After(length) = record.lease.ttl() else { return None };
        if record.reserved.is_some() {
            let until = cx.session.watch(store_key, version, length, cx.now);
            return Some(Respected { version, until, whose: Whose::Reservation });
        }
        if record.depth == 0 {
            // It is kept for its minimum hold, whose length only the store knows.
            return None;
        }
        let until = match before {
            Some(before) if before.version == version => before.until,
            _ => cx.now.after(length),
        };
        Some(Respected { version, until, whose: Whose::Holder })
    }

    /// Returns true if the record stands though its time is over: its writer crashed, or did not come in time.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.until <= now
    }
}
