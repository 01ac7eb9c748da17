//! The series of a metric: its keys, as the crate `metrics` knows them. Each is made once, when it is first used.

use std::borrow::Cow;
use std::sync::OnceLock;

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, with_recorder};

use super::catalogue::Metric;
use super::ends::Kind;

static METADATA: Metadata<'static> = Metadata::new("kvlock", Level::INFO, Some("kvlock"));

/// The values that a label may have.
type Values = &'static [&'static str];

/// All series of a metric on one store. The last labels of the metric are those that differ by these values.
pub(super) struct Series {
    metric: &'static Metric,
    store: &'static str,
    values: [Values; 2],
    keys: OnceLock<Box<[OnceLock<Key>]>>,
}

/// Which of the series: what is held, and the place of each further value.
pub(super) struct Which<'a> {
    pub(super) kind: Option<Kind>,
    pub(super) values: [usize; 2],
    /// The value of the label `key`, if that is wanted.
    pub(super) key: Option<&'a str>,
}

/// The values of a label that a metric has not.
const NONE: Values = &[""];

impl Series {
    pub(super) fn new(metric: &'static Metric, store: &'static str, values: &[Values]) -> Self {
        let values = [0, 1].map(|at| values.get(at).copied().unwrap_or(NONE));
        Series { metric, store, values, keys: OnceLock::new() }
    }

    pub(super) fn counter(&self, which: &Which<'_>) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&self.key(which), &METADATA))
    }

    pub(super) fn gauge(&self, which: &Which<'_>) -> Gauge {
        with_recorder(|recorder| recorder.register_gauge(&self.key(which), &METADATA))
    }

    pub(super) fn histogram(&self, which: &Which<'_>) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(&self.key(which), &METADATA))
    }

    fn key(&self, which: &Which<'_>) -> Cow<'_, Key> {
        if which.key.is_some() {
            return Cow::Owned(self.make(which));
        }
        let kind = which.kind.map_or(0, |kind| kind as usize);
        let at = (kind * self.values[0].len() + which.values[0]) * self.values[1].len() + which.values[1];
        let kinds = if which.kind.is_some() { Kind::COUNT } else { 1 };
        let count = kinds * self.values[0].len() * self.values[1].len();
        let keys = self.keys.get_or_init(|| (0..count).map(|_| OnceLock::new()).collect());
        Cow::Borrowed(keys[at].get_or_init(|| self.make(which)))
    }

    fn make(&self, which: &Which<'_>) -> Key {
        let mut further = self.values.iter().zip(which.values).map(|(values, at)| values[at]);
        let label = |name: &&'static str| match (*name, which.kind) {
            ("kind", Some(kind)) => Label::from_static_parts("kind", kind.name()),
            ("store", _) => Label::from_static_parts("store", self.store),
            (name, _) => Label::from_static_parts(name, further.next().unwrap_or_default()),
        };
        let mut labels: Vec<_> = self.metric.labels.iter().map(label).collect();
        labels.extend(which.key.map(|key| Label::new("key", key.to_string())));
        Key::from_parts(self.metric.name, labels)
    }
}
