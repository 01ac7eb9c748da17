//! What comes of the work of a try.

use crate::component::Outcome;

/// The outcome of the work of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth way for work to end")]
pub enum WorkOutcome<T, E> {
    /// Done.
    Committed(T),
    /// Its own concurrency control refused it, and it has changed nothing: it can be tried again.
    Conflict(E),
    /// It failed otherwise: trying again does not help.
    Failed(E),
}

impl<T, E> WorkOutcome<T, E> {
    /// Returns it without its values.
    pub(crate) fn kind(&self) -> Outcome {
        match self {
            WorkOutcome::Committed(_) => Outcome::Committed,
            WorkOutcome::Conflict(_) => Outcome::Conflict(None),
            WorkOutcome::Failed(_) => Outcome::Failed,
        }
    }
}
