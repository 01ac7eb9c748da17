//! Metrics, by the crate `metrics`: whatever recorder the program has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::catalogue;
use super::ends::{CallEnd, HoldEnd, Kind, Operation, WaitEnd};
use super::series::{Series, Which};
use crate::clock::Clock;
use crate::kind::ErrorKind;

/// The metrics of a client's sessions.
#[derive(Clone)]
pub(super) struct Meter(Arc<State>);

struct State {
    store: &'static str,
    has_key_label: bool,
    waits: Series,
    waiters: Series,
    wait: Series,
    grants: Series,
    busy: Series,
    wait_failures: Series,
    held: Series,
    hold: Series,
    lost: Series,
    renewals: Series,
    renewal_failures: Series,
    conflicts: Series,
    call: Series,
    outages: Series,
    outage: Series,
    /// Whether the last call that ended told of an outage. Of most calls nothing else is looked at.
    is_out: AtomicBool,
    out_since: Mutex<Duration>,
}

const OPERATIONS: [&str; 5] = ["get", "add", "replace", "delete", "era"];
const CALL_ENDS: [&str; 6] = ["ok", "conflict", "unavailable", "unknown-outcome", "rejected", "invalid"];

/// The kinds of errors, and what they are called here.
const REASONS: [(ErrorKind, &str); 15] = [
    (ErrorKind::Busy, "busy"),
    (ErrorKind::AlreadyHeld, "already-held"),
    (ErrorKind::Lost, "lost"),
    (ErrorKind::NotHolder, "not-holder"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::UnknownOutcome, "unknown-outcome"),
    (ErrorKind::Rejected, "rejected"),
    (ErrorKind::Corrupt, "corrupt"),
    (ErrorKind::UnknownSemaphore, "unknown-semaphore"),
    (ErrorKind::Superseded, "superseded"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::WorkFailed, "work-failed"),
    (ErrorKind::Invalid, "invalid"),
    (ErrorKind::System, "system"),
    (ErrorKind::Bug, "bug"),
];

static REASON_NAMES: [&str; REASONS.len()] = {
    let mut names = [""; REASONS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = REASONS[at].1;
        at += 1;
    }
    names
};

impl Meter {
    pub(super) const IS_ON: bool = true;

    /// Returns the metrics of a client on a store of this sort, and describes them to the recorder.
    pub(super) fn new(store: &'static str, has_key_label: bool) -> Self {
        catalogue::describe();
        let plain = |metric| Series::new(metric, store, &[]);
        Meter(Arc::new(State {
            store,
            has_key_label,
            waits: plain(&catalogue::WAITS),
            waiters: plain(&catalogue::WAITERS),
            wait: Series::new(&catalogue::WAIT, store, &[&WaitEnd::NAMES]),
            grants: plain(&catalogue::GRANTS),
            busy: plain(&catalogue::BUSY),
            wait_failures: Series::new(&catalogue::WAIT_FAILURES, store, &[&REASON_NAMES]),
            held: plain(&catalogue::HELD),
            hold: Series::new(&catalogue::HOLD, store, &[&HoldEnd::NAMES]),
            lost: plain(&catalogue::LOST),
            renewals: plain(&catalogue::RENEWALS),
            renewal_failures: Series::new(&catalogue::RENEWAL_FAILURES, store, &[&REASON_NAMES]),
            conflicts: plain(&catalogue::CONFLICTS),
            call: Series::new(&catalogue::CALL, store, &[&OPERATIONS, &CALL_ENDS]),
            outages: plain(&catalogue::OUTAGES),
            outage: plain(&catalogue::OUTAGE),
            is_out: AtomicBool::new(false),
            out_since: Mutex::default(),
        }))
    }

    pub(super) fn with_key_label(&self, is_wanted: bool) -> Self {
        Meter::new(self.0.store, is_wanted)
    }

    fn which<'a>(&self, kind: Kind, key: &'a str, value: usize) -> Which<'a> {
        Which { kind: Some(kind), values: [value, 0], key: Some(key).filter(|_| self.0.has_key_label) }
    }

    pub(super) fn wait_began(&self, kind: Kind, key: &str) {
        self.0.waits.counter(&self.which(kind, key, 0)).increment(1);
    }

    pub(super) fn waiters(&self, kind: Kind, key: &str, more: f64) {
        self.0.waiters.gauge(&self.which(kind, key, 0)).increment(more);
    }

    pub(super) fn wait_ended(&self, kind: Kind, key: &str, end: WaitEnd, took: Duration) {
        let state = &*self.0;
        match end {
            WaitEnd::Granted => state.grants.counter(&self.which(kind, key, 0)).increment(1),
            WaitEnd::Busy => state.busy.counter(&self.which(kind, key, 0)).increment(1),
            WaitEnd::Failed(error) => {
                state.wait_failures.counter(&self.which(kind, key, reason(error))).increment(1);
            }
            WaitEnd::Abandoned => {}
        }
        state.wait.histogram(&self.which(kind, key, end.index())).record(took);
    }

    pub(super) fn held(&self, kind: Kind, key: &str, more: f64) {
        self.0.held.gauge(&self.which(kind, key, 0)).increment(more);
    }

    pub(super) fn hold_ended(&self, kind: Kind, key: &str, end: HoldEnd, took: Duration) {
        self.held(kind, key, -1.0);
        self.0.hold.histogram(&self.which(kind, key, end as usize)).record(took);
    }

    pub(super) fn lost(&self, kind: Kind, key: &str) {
        self.0.lost.counter(&self.which(kind, key, 0)).increment(1);
    }

    pub(super) fn renewed(&self, kind: Kind, key: &str, renewed: Result<(), ErrorKind>) {
        match renewed {
            Ok(()) => self.0.renewals.counter(&self.which(kind, key, 0)).increment(1),
            Err(error) => self.0.renewal_failures.counter(&self.which(kind, key, reason(error))).increment(1),
        }
    }

    pub(super) fn conflict(&self, key: &str) {
        self.0.conflicts.counter(&self.which(Kind::Retry, key, 0)).increment(1);
    }

    pub(super) fn called(&self, operation: Operation, end: CallEnd, took: Duration, clock: &dyn Clock) {
        let which = Which { kind: None, values: [operation as usize, index(end)], key: None };
        self.0.call.histogram(&which).record(took);
        match end {
            CallEnd::Failed(error) if error.is_outage() => self.out(clock.now().saturating_sub(took)),
            CallEnd::Failed(_) | CallEnd::Ok | CallEnd::Conflict if self.0.is_out.load(Ordering::Relaxed) => {
                self.back(clock.now());
            }
            CallEnd::Failed(_) | CallEnd::Ok | CallEnd::Conflict => {}
        }
    }

    /// Counts an outage that begins.
    fn out(&self, began: Duration) {
        let mut since = self.0.out_since.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.0.is_out.swap(true, Ordering::Relaxed) {
            *since = began;
            self.0.outages.counter(&Which { kind: None, values: [0, 0], key: None }).increment(1);
        }
    }

    /// Measures an outage that is over.
    fn back(&self, now: Duration) {
        let since = self.0.out_since.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.is_out.swap(false, Ordering::Relaxed) {
            let which = Which { kind: None, values: [0, 0], key: None };
            self.0.outage.histogram(&which).record(now.saturating_sub(*since));
        }
    }
}

fn reason(error: ErrorKind) -> usize {
    // INVARIANT: each kind is there, as a test sees.
    REASONS.iter().position(|(kind, _)| *kind == error).unwrap_or(REASONS.len() - 1)
}

fn index(end: CallEnd) -> usize {
    match end {
        CallEnd::Ok => 0,
        CallEnd::Conflict => 1,
        CallEnd::Failed(ErrorKind::Unavailable) => 2,
        CallEnd::Failed(ErrorKind::UnknownOutcome) => 3,
        CallEnd::Failed(ErrorKind::Rejected) => 4,
        CallEnd::Failed(_) => 5,
    }
}
