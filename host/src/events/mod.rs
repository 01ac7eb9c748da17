//! What happens to waits, to what is held, and to calls of the store, for those who watch a program at work: metrics and
//! spans. Other rooms say what happens; this one alone knows who is told.
//!
//! Without the features `metrics` and `tracing` nobody is told, and nothing is kept or measured.

#[cfg(feature = "metrics")]
mod catalogue;
#[cfg(feature = "metrics")]
mod counted;
mod ends;
#[cfg(feature = "metrics")]
mod series;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(not(feature = "metrics"))]
mod uncounted;
#[cfg(not(feature = "tracing"))]
mod unspanned;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::kind::ErrorKind;

#[cfg(feature = "metrics")]
pub use catalogue::{Instrument, METRICS, Metric, describe};
#[cfg(feature = "metrics")]
use counted::Meter;
pub(crate) use ends::{CallEnd, HoldEnd, Kind, Operation, WaitEnd};
#[cfg(feature = "tracing")]
use spans::Parent;
#[cfg(feature = "tracing")]
pub(crate) use spans::Span;
#[cfg(not(feature = "metrics"))]
use uncounted::Meter;
#[cfg(not(feature = "tracing"))]
use unspanned::Parent;
#[cfg(not(feature = "tracing"))]
pub(crate) use unspanned::Span;

/// Who is told of what happens to the sessions of a client.
#[derive(Clone)]
pub(crate) struct Events {
    meter: Meter,
}

/// A wait, from its first poll to its end.
pub(crate) struct Wait {
    kind: Kind,
    /// None before the first poll, and after the end.
    begun: Option<Begun>,
    parent: Parent,
}

struct Begun {
    since: Duration,
    /// Whether it was told once that it has to wait.
    is_pending: bool,
    span: Span,
}

/// What is held, from the grant on.
#[derive(Clone)]
pub(crate) struct Hold {
    kind: Kind,
    /// None for what was granted elsewhere.
    since: Option<Duration>,
    /// Whether its loss was told, where more than one may find it out.
    loss_is_told: Option<Arc<AtomicBool>>,
    span: Span,
}

impl Events {
    /// Tells of a client's sessions on a store of this sort.
    pub(crate) fn of(store: &'static str) -> Self {
        Events { meter: Meter::new(store, false) }
    }

    /// Tells the key as well.
    #[cfg(feature = "metrics")]
    pub(crate) fn with_key_label(&self, is_wanted: bool) -> Self {
        Events { meter: self.meter.with_key_label(is_wanted) }
    }

    /// Returns what time it is, if anybody is to know.
    fn time(&self, clock: &dyn Clock) -> Duration {
        if Meter::IS_ON { clock.now() } else { Duration::ZERO }
    }

    /// Begins to measure a call of the store, if anybody is to know. The client's clock is not read for it.
    pub(crate) fn call_begins(&self) -> Option<Instant> {
        Meter::IS_ON.then(Instant::now)
    }

    /// Tells how a call of the store ended.
    pub(crate) fn called(&self, operation: Operation, end: CallEnd, began: Option<Instant>, clock: &dyn Clock) {
        if let Some(began) = began {
            self.meter.called(operation, end, began.elapsed(), clock);
        }
    }

    /// Tells that a wait goes on; the first time, that it begins.
    pub(crate) fn polled(&self, wait: &mut Wait, key: &str, owner: Option<&str>, now: Duration) {
        if wait.begun.is_none() {
            self.meter.wait_began(wait.kind, key);
            let span = Span::of_wait(&wait.parent, wait.kind, key, owner);
            wait.begun = Some(Begun { since: now, is_pending: false, span });
        }
    }

    /// Tells that a wait was not granted at once.
    pub(crate) fn pending(&self, wait: &mut Wait, key: &str) {
        if let Some(begun) = &mut wait.begun
            && !std::mem::replace(&mut begun.is_pending, true)
        {
            self.meter.waiters(wait.kind, key, 1.0);
        }
    }

    /// Tells that a wait was granted, and begins what it got.
    pub(crate) fn granted(&self, wait: &mut Wait, key: &str, owner: &str, token: u64, clock: &dyn Clock) -> Hold {
        let now = self.time(clock);
        if let Some(begun) = &wait.begun {
            begun.span.note_grant(owner, token);
        }
        self.wait_ended(wait, key, WaitEnd::Granted, now);
        self.meter.held(wait.kind, key, 1.0);
        let span = Span::of_hold(&wait.parent, wait.kind, key, owner, token);
        Hold { kind: wait.kind, since: Some(now), loss_is_told: None, span }
    }

    /// Tells that a wait ended without a grant. One that has ended already, or did not begin, is not told of.
    pub(crate) fn not_granted(&self, wait: &mut Wait, key: &str, end: WaitEnd, clock: &dyn Clock) {
        if wait.begun.is_some() {
            self.wait_ended(wait, key, end, self.time(clock));
        }
    }

    fn wait_ended(&self, wait: &mut Wait, key: &str, end: WaitEnd, now: Duration) {
        let Some(begun) = wait.begun.take() else { return };
        begun.span.note_end(end.name());
        if begun.is_pending {
            self.meter.waiters(wait.kind, key, -1.0);
        }
        self.meter.wait_ended(wait.kind, key, end, now.saturating_sub(begun.since));
    }

    /// Tells what became of a renewal.
    pub(crate) fn renewed(&self, hold: &Hold, key: &str, renewed: Result<(), ErrorKind>) {
        self.meter.renewed(hold.kind, key, renewed);
    }

    /// Tells, once, that what was held is lost.
    pub(crate) fn lost(&self, hold: &Hold, key: &str) {
        if hold.loss_is_told.as_ref().is_none_or(|is_told| !is_told.swap(true, Ordering::Relaxed)) {
            hold.span.note_end(HoldEnd::Lost.name());
            self.meter.lost(hold.kind, key);
        }
    }

    /// Tells how what was held ended.
    pub(crate) fn hold_ended(&self, hold: &Hold, key: &str, end: HoldEnd, clock: &dyn Clock) {
        if end == HoldEnd::Lost {
            self.lost(hold, key);
        } else {
            hold.span.note_end(end.name());
        }
        // What was granted elsewhere is counted there.
        if let Some(since) = hold.since {
            let now = self.time(clock);
            self.meter.hold_ended(hold.kind, key, end, now.saturating_sub(since));
        }
    }

    /// Tells that the work of a try ran into a conflict.
    pub(crate) fn conflict(&self, key: &str) {
        self.meter.conflict(key);
    }
}

impl Wait {
    /// Returns a wait that has not begun. Its spans are those of the caller's.
    pub(crate) fn new(kind: Kind) -> Self {
        Wait { kind, begun: None, parent: Parent::here() }
    }

    /// Makes the spans those of the caller's.
    pub(crate) fn of_caller(&mut self) {
        self.parent = Parent::here();
    }

    /// Returns its span, in which its parts run.
    pub(crate) fn span(&self) -> Span {
        self.begun.as_ref().map_or_else(Span::none, |begun| begun.span.clone())
    }
}

impl Hold {
    /// Returns what stands for something that was granted elsewhere, or is not granted yet.
    pub(crate) fn from_elsewhere(kind: Kind) -> Self {
        Hold { kind, since: None, loss_is_told: None, span: Span::none() }
    }

    /// Lets another hand find out a loss as well: whoever is first tells it.
    pub(crate) fn share(&mut self) {
        if Meter::IS_ON {
            self.loss_is_told.get_or_insert_default();
        }
    }

    /// Returns its span, in which that runs which is done under it.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }
}
