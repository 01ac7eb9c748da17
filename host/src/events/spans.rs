//! Spans of the crate `tracing`, for those who have them sent to OpenTelemetry.

use tracing::field::Empty;
use tracing::instrument::{Instrument, Instrumented};
use tracing::{Span as Traced, info_span};

use super::ends::Kind;

/// The span that the caller is in.
pub(super) struct Parent(Traced);

/// The span of a wait, or of what is held; none where nobody subscribes to it.
#[derive(Clone)]
pub(crate) struct Span(Traced);

impl Parent {
    pub(super) fn here() -> Self {
        Parent(Traced::current())
    }
}

impl Span {
    pub(super) fn none() -> Self {
        Span(Traced::none())
    }

    pub(super) fn of_wait(parent: &Parent, kind: Kind, key: &str, owner: Option<&str>) -> Self {
        let kind = kind.name();
        let span = info_span!(
            target: "kvlock", parent: &parent.0, "kvlock.wait",
            key, kind, owner, token = Empty, outcome = Empty
        );
        Span(span)
    }

    pub(super) fn of_hold(parent: &Parent, kind: Kind, key: &str, owner: &str, token: u64) -> Self {
        let kind = kind.name();
        let span = info_span!(
            target: "kvlock", parent: &parent.0, "kvlock.hold",
            key, kind, owner, token, outcome = Empty
        );
        Span(span)
    }

    pub(super) fn note_grant(&self, owner: &str, token: u64) {
        self.0.record("owner", owner);
        self.0.record("token", token);
    }

    pub(super) fn note_end(&self, outcome: &'static str) {
        self.0.record("outcome", outcome);
    }

    /// Enters it whenever a future is polled, and at no other time.
    pub(crate) fn within<F: Future>(&self, part: F) -> Instrumented<F> {
        part.instrument(self.0.clone())
    }

    /// Enters it for a call.
    pub(crate) fn within_here<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.in_scope(work)
    }
}
