//! A write of a hold's record: one that the session has alone, or one that it shares with other readers.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::ControlFlow;

use super::conditional::{Action, ConditionalWrite, WriteEnd};
use super::readers_write::ReadersWrite;
use crate::machine::{Event, InnerStep};
use crate::records::Record;
use crate::session::Hold;
use crate::values::{Mode, Time, Ttl};

/// A write that is under way.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of a lock that one has alone, and shall not be allocated"
)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum HoldWrite {
    Alone(ConditionalWrite),
    Shared(Box<ReadersWrite>),
}

impl HoldWrite {
    /// Writes this record in the place of the hold's.
    pub(crate) fn rewrite(store_key: &Arc<str>, hold: &Hold, record: &Record, ttl: Ttl) -> Self {
        let write = match (hold.record.mode, record.mode) {
            (Mode::Shared, _) => ReadersWrite::renew(store_key.clone(), record.clone(), hold),
            (_, Mode::Shared) => ReadersWrite::open(store_key.clone(), record.clone(), hold),
            _ => {
                let action = Action::Replace { value: record.encode(), ttl };
                return HoldWrite::alone(store_key, hold, action);
            }
        };
        HoldWrite::Shared(Box::new(write))
    }

    /// Gives the hold up.
    pub(crate) fn give_up(store_key: &Arc<str>, hold: &Hold, action: Action) -> Self {
        match hold.record.mode {
            Mode::Shared => HoldWrite::Shared(Box::new(ReadersWrite::leave(store_key.clone(), hold))),
            Mode::Plain | Mode::Reentrant => HoldWrite::alone(store_key, hold, action),
        }
    }

    fn alone(store_key: &Arc<str>, hold: &Hold, action: Action) -> Self {
        let write = ConditionalWrite::new(store_key.clone(), action, hold.version, hold.record.nonce, hold.in_doubt);
        HoldWrite::Alone(write.of_hold(hold.record.token))
    }

    pub(crate) fn start(&mut self, now: Time, until: Option<Time>) -> InnerStep {
        match self {
            HoldWrite::Alone(write) => write.start(now, until),
            HoldWrite::Shared(write) => write.start(now, until),
        }
    }

    pub(crate) fn step(&mut self, now: Time, event: Event) -> ControlFlow<WriteEnd, InnerStep> {
        match self {
            HoldWrite::Alone(write) => write.step(now, event),
            HoldWrite::Shared(write) => write.step(now, event),
        }
    }

    /// Tells the hold what the write found out about the other readers.
    pub(crate) fn tell(&self, hold: &mut Hold) {
        if let HoldWrite::Shared(write) = self {
            let mut told = write.reading();
            hold.reading.iter().for_each(|reading| told.goes_on_from(reading));
            hold.reading = Some(Box::new(told));
        }
    }
}
