//! What is counted and measured: names, units, labels, and what they mean.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// A metric of the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, as Prometheus wants names.
    pub name: &'static str,
    /// What it is recorded by. A histogram is in seconds; all others are counts.
    pub instrument: Instrument,
    /// Its labels. Metrics with the label `kind` also have the label `key`, if a client is asked for it.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub text: &'static str,
}

/// What a metric is recorded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instrument {
    /// A number that only grows.
    Counter,
    /// A number that comes and goes.
    Gauge,
    /// Lengths of time, in seconds.
    Histogram,
}

macro_rules! metrics {
    ($($constant:ident = $instrument:ident $name:literal [$($label:literal)*] $text:literal;)*) => {
        $(pub(super) static $constant: Metric = Metric {
            name: $name,
            instrument: Instrument::$instrument,
            labels: &[$($label),*],
            text: $text,
        };)*

        /// All metrics of the library.
        pub static METRICS: &[Metric] = &[$(Metric {
            name: $name,
            instrument: Instrument::$instrument,
            labels: &[$($label),*],
            text: $text,
        }),*];
    };
}

metrics! {
    WAITS = Counter "kvlock_waits_total" ["kind" "store"] "Waits that began, granted at once or not.";
    WAITERS = Gauge "kvlock_waiters" ["kind" "store"] "Waits under way that were not granted at once.";
    WAIT = Histogram "kvlock_wait_seconds" ["kind" "store" "outcome"] "How long waits took, by how they ended.";
    GRANTS = Counter "kvlock_grants_total" ["kind" "store"] "Waits that ended with a grant.";
    BUSY = Counter "kvlock_busy_total" ["kind" "store"] "Waits that ended because it was not free in time.";
    WAIT_FAILURES = Counter "kvlock_wait_failures_total" ["kind" "store" "reason"]
        "Waits that ended by an error, such as an outage of the store.";
    HELD = Gauge "kvlock_held" ["kind" "store"] "Grants that this process holds.";
    HOLD = Histogram "kvlock_hold_seconds" ["kind" "store" "outcome"] "How long grants were held, by how that ended.";
    LOST = Counter "kvlock_lost_total" ["kind" "store"] "Grants that were lost while they were held.";
    RENEWALS = Counter "kvlock_renewals_total" ["kind" "store"] "Renewals of leases.";
    RENEWAL_FAILURES = Counter "kvlock_renewal_failures_total" ["kind" "store" "reason"]
        "Renewals that failed, each try by itself.";
    CONFLICTS = Counter "kvlock_conflicts_total" ["kind" "store"] "Tries of conflict retries that ran into a conflict.";
    CALL = Histogram "kvlock_store_call_seconds" ["store" "operation" "outcome"]
        "How long calls of the store took; their count is the number of calls.";
    OUTAGES = Counter "kvlock_outages_total" ["store"] "Outages of the store that began.";
    OUTAGE = Histogram "kvlock_outage_seconds" ["store"]
        "How long outages of the store took, from the first call that failed to the end of the first that did not.";
}

/// Describes all metrics of the library to the recorder of the crate `metrics`. A client that is made does that: only a
/// recorder that comes later needs it.
pub fn describe() {
    for Metric { name, instrument, text, .. } in METRICS {
        match instrument {
            Instrument::Counter => describe_counter!(*name, Unit::Count, *text),
            Instrument::Gauge => describe_gauge!(*name, Unit::Count, *text),
            Instrument::Histogram => describe_histogram!(*name, Unit::Seconds, *text),
        }
    }
}
