//! What the library counts by the crate `metrics`, kept by the crate `prometheus`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// The upper ends of the buckets for calls of a store, in seconds: from the fastest socket to the slowest timeout.
const CALL_BUCKETS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// The upper ends of the buckets for waits, holds and outages, in seconds: from a free lock to a job of a day.
const BUCKETS: &[f64] =
    &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0];

/// Keeps what it is told in a registry.
pub(super) struct PrometheusRecorder {
    registry: Registry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each metric tells.
    texts: HashMap<String, SharedString>,
    counters: HashMap<String, IntCounterVec>,
    gauges: HashMap<String, GaugeVec>,
    histograms: HashMap<String, HistogramVec>,
}

impl PrometheusRecorder {
    pub(super) fn new(registry: Registry) -> Self {
        PrometheusRecorder { registry, state: Mutex::default() }
    }

    fn describe(&self, name: &KeyName, text: SharedString) {
        self.with(|state| _ = state.texts.insert(name.as_str().to_string(), text));
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        // A panic cannot leave the state half changed.
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the one of a metric's series that has these labels. None if the metric has others: the library never does
    /// that.
    fn series<T>(
        &self,
        key: &Key,
        vectors: impl FnOnce(&mut State) -> &mut HashMap<String, MetricVec<T>>,
        make: impl FnOnce(&str, &str, &[&str]) -> prometheus::Result<MetricVec<T>>,
    ) -> Option<T::M>
    where
        T: MetricVecBuilder + 'static,
        MetricVec<T>: Collector + Clone,
    {
        self.with(|state| {
            let text = state.texts.get(key.name()).map_or_else(|| key.name().to_string(), ToString::to_string);
            let vectors = vectors(state);
            if !vectors.contains_key(key.name()) {
                let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
                let vector = make(key.name(), &text, &labels).ok()?;
                self.registry.register(Box::new(vector.clone())).ok()?;
                vectors.insert(key.name().to_string(), vector);
            }
            let values: HashMap<_, _> = key.labels().map(|label| (label.key(), label.value())).collect();
            vectors.get(key.name())?.get_metric_with(&values).ok()
        })
    }
}

impl Recorder for PrometheusRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, text);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, text);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, text: SharedString) {
        self.describe(&name, text);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let make = |name: &str, text: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, text), labels);
        let series = self.series(key, |state| &mut state.counters, make);
        series.map_or_else(Counter::noop, |series| Counter::from_arc(Arc::new(Kept(series))))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let make = |name: &str, text: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, text), labels);
        let series = self.series(key, |state| &mut state.gauges, make);
        series.map_or_else(Gauge::noop, |series| Gauge::from_arc(Arc::new(Kept(series))))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let buckets = if key.name().contains("_call_") { CALL_BUCKETS } else { BUCKETS };
        let make = |name: &str, text: &str, labels: &[&str]| {
            HistogramVec::new(HistogramOpts::new(name, text).buckets(buckets.to_vec()), labels)
        };
        let series = self.series(key, |state| &mut state.histograms, make);
        series.map_or_else(Histogram::noop, |series| Histogram::from_arc(Arc::new(Kept(series))))
    }
}

/// A series of the crate `prometheus`, as the crate `metrics` knows it.
struct Kept<T>(T);

impl CounterFn for Kept<prometheus::IntCounter> {
    fn increment(&self, value: u64) {
        self.0.inc_by(value);
    }

    fn absolute(&self, value: u64) {
        self.0.inc_by(value.saturating_sub(self.0.get()));
    }
}

impl GaugeFn for Kept<prometheus::Gauge> {
    fn increment(&self, value: f64) {
        self.0.add(value);
    }

    fn decrement(&self, value: f64) {
        self.0.sub(value);
    }

    fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl HistogramFn for Kept<prometheus::Histogram> {
    fn record(&self, value: f64) {
        self.0.observe(value);
    }
}
