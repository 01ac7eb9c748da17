//! `--soft`: the command runs even if the store is down, or grants nothing because it lost its contents.

use kvlock::store::StoreError;
use kvlock::{
    Session, WaitingFor,
    error::{AcquireError, ConnectError, StatusError},
    renewal::LostReason,
    status::KeyStatus,
};

use crate::report::output::{self, one_line};

/// The keys to ask about when they are lost while the command runs.
pub(crate) struct Soft {
    pub(crate) session: Session,
    pub(crate) keys: Vec<String>,
    /// How messages name them.
    pub(crate) name: String,
}

impl Soft {
    /// Returns the outage or the quarantine that caused a loss, if one did. Then nobody is known to have the lock, and
    /// the command goes on.
    pub(crate) fn cause(&self, loss: &LostReason) -> Option<WaitingFor> {
        match loss {
            // The lease may have ended while a renewal waited for its answer, or while this machine was suspended. The
            // record may be gone because the store lost all records.
            LostReason::Expired(None) | LostReason::Gone(None) => match self.statuses() {
                Err(StatusError::Store { error, .. }) => {
                    Some(error).filter(StoreError::is_outage).map(WaitingFor::Outage)
                }
                Ok(statuses) => statuses.into_iter().find_map(|status| status.quarantine).map(WaitingFor::Quarantine),
                Err(_) => None,
            },
            loss => loss.outage().cloned().map(WaitingFor::Outage),
        }
    }

    fn statuses(&self) -> Result<Vec<KeyStatus>, StatusError> {
        self.session.statuses(&self.keys.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Returns the outage or the quarantine that is the reason for an error, if one is.
pub(crate) fn cause(error: &anyhow::Error) -> Option<WaitingFor> {
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(AcquireError::Busy { waiting_for: waiting_for @ WaitingFor::Quarantine(_), .. }) => {
            Some(waiting_for.clone())
        }
        _ => outage(error).cloned().map(WaitingFor::Outage),
    }
}

fn outage(error: &anyhow::Error) -> Option<&StoreError> {
    let connect = || match error.downcast_ref()? {
        ConnectError::Store { error, .. } => Some(error),
        _ => None,
    };
    let look = || match error.downcast_ref()? {
        StatusError::Store { error, .. } => Some(error),
        _ => None,
    };
    let acquire = || match error.downcast_ref()? {
        AcquireError::Store { error, .. } => Some(error),
        _ => None,
    };
    connect().or_else(look).or_else(acquire).filter(|error| error.is_outage())
}

/// Says on one line that the command runs without a lock, even with `--quiet`.
pub(crate) fn say(key: &str, what: &str, cause: &WaitingFor) {
    output::say(one_line(format!("`{key}`: {what} (--soft), maybe at the same time as others: {cause}")));
}
