//! What the library counts and measures through the crate `metrics`. The recorder is one for the process, because the
//! threads that renew and those of async clients are told of nothing else; each test has keys of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::metrics::{Instrument, METRICS};
use kvlock::renewal::AutoRenew;
use kvlock::store::{Memory, Ttl};
use kvlock::{AcquirePoll, Client, asynch, conflict_retry::WorkOutcome};
use kvlock_tests::kvlock::eventually;
use kvlock_tests::tree::page;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};

const SECOND: Duration = Duration::from_secs(1);

/// Every value that was recorded, by the name of its series: `name{label=value,…}`.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    values: BTreeMap<String, Vec<f64>>,
    described: BTreeMap<String, Option<Unit>>,
}

struct Series(String, Recorded);

impl Recorded {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series(format!("{}{{{}}}", key.name(), labels.join(",")), self.clone()))
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.0.lock().unwrap().described.insert(name.as_str().to_string(), unit);
    }

    /// The values of a series.
    fn values(&self, series: &str) -> Vec<f64> {
        self.0.lock().unwrap().values.get(series).cloned().unwrap_or_default()
    }

    fn sum(&self, series: &str) -> f64 {
        self.values(series).iter().sum()
    }

    /// The series whose names contain this.
    fn names(&self, part: &str) -> Vec<String> {
        self.0.lock().unwrap().values.keys().filter(|name| name.contains(part)).cloned().collect()
    }
}

impl Series {
    fn add(&self, value: f64) {
        self.1.0.lock().unwrap().values.entry(self.0.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("nothing counts so");
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, _: f64) {
        unreachable!("nothing is set");
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

/// The recorder of the process.
fn recorded() -> Recorded {
    static ONCE: Once = Once::new();
    static RECORDED: Mutex<Option<Recorded>> = Mutex::new(None);
    ONCE.call_once(|| {
        let recorded = Recorded::default();
        metrics::set_global_recorder(recorded.clone()).ok().unwrap();
        *RECORDED.lock().unwrap() = Some(recorded);
    });
    RECORDED.lock().unwrap().clone().unwrap()
}

/// A client whose metrics have the key, in time that moves when it is told to.
fn world() -> (Recorded, Client, Memory, Arc<VirtualClock>) {
    let recorded = recorded();
    let clock = Arc::new(VirtualClock::new());
    let store = Memory::new(clock.clone());
    let client = Client::with_store(store.clone()).with_clock(clock.clone()).metrics_key_label(true);
    (recorded, client, store, clock)
}

fn of(name: &str, kind: &str, key: &str) -> String {
    format!("kvlock_{name}{{kind={kind},store=memory,key={key}}}")
}

fn ended(name: &str, kind: &str, outcome: &str, key: &str) -> String {
    format!("kvlock_{name}{{kind={kind},store=memory,outcome={outcome},key={key}}}")
}

#[test]
fn a_lock_that_is_free_is_a_wait_a_grant_and_a_hold_of_its_length() {
    let (recorded, client, _, clock) = world();
    let grant = client.lock("free").acquire().unwrap();
    assert_eq!(recorded.sum(&of("held", "lock", "free")), 1.0);
    clock.advance(3 * SECOND);
    grant.release().unwrap();
    for name in ["waits_total", "grants_total"] {
        assert_eq!(recorded.values(&of(name, "lock", "free")), [1.0], "{name}");
    }
    assert_eq!(recorded.values(&ended("wait_seconds", "lock", "granted", "free")), [0.0]);
    assert_eq!(recorded.values(&ended("hold_seconds", "lock", "released", "free")), [3.0]);
    assert_eq!(recorded.sum(&of("held", "lock", "free")), 0.0);
    assert_eq!(recorded.names("_total{kind=lock,store=memory,key=free").len(), 2, "nothing else");
    assert!(recorded.values(&of("waiters", "lock", "free")).is_empty(), "nobody had to wait");
}

#[test]
fn a_wait_in_vain_is_busy_for_as_long_as_it_took() {
    let (recorded, client, ..) = world();
    let _held = client.session().open().unwrap().lock("busy").acquire().unwrap();
    let other = client.session().open().unwrap();
    assert!(other.lock("busy").wait(2 * SECOND).acquire().is_err());
    assert_eq!(recorded.values(&of("busy_total", "lock", "busy")), [1.0]);
    assert_eq!(recorded.values(&of("waits_total", "lock", "busy")), [1.0, 1.0]);
    let waited = recorded.values(&ended("wait_seconds", "lock", "busy", "busy"));
    assert!(waited.len() == 1 && (2.0..3.0).contains(&waited[0]), "{waited:?}");
    assert_eq!(recorded.values(&of("waiters", "lock", "busy")), [1.0, -1.0]);
}

#[test]
fn a_wait_that_nobody_goes_on_with_is_abandoned() {
    let (recorded, client, _, clock) = world();
    let _held = client.session().open().unwrap().lock("left").acquire().unwrap();
    let other = client.session().open().unwrap();
    let never = other.lock("left").begin().unwrap();
    drop(never);
    let mut wait = other.lock("left").begin().unwrap();
    assert!(matches!(wait.poll().unwrap(), AcquirePoll::Pending { .. }));
    clock.advance(SECOND);
    drop(wait);
    assert_eq!(recorded.values(&ended("wait_seconds", "lock", "abandoned", "left")), [1.0]);
    assert_eq!(recorded.values(&of("waits_total", "lock", "left")), [1.0, 1.0], "one was never polled");
    assert_eq!(recorded.sum(&of("waiters", "lock", "left")), 0.0);
}

#[test]
fn readers_permits_and_tries_are_told_apart() {
    let (recorded, client, ..) = world();
    client.lock("kinds").shared().acquire().unwrap().release().unwrap();
    let semaphore = client.semaphore("kinds");
    semaphore.make(2).run().unwrap();
    semaphore.permit().acquire().unwrap().release().unwrap();
    let mut conflicts = 2;
    let sum = client.conflict_retry("kinds").run(|attempt| {
        if conflicts > 0 {
            conflicts -= 1;
            return WorkOutcome::Conflict("refused");
        }
        WorkOutcome::Committed(attempt.number())
    });
    assert_eq!(sum.unwrap(), 3);
    for (kind, count) in [("shared", 1), ("permit", 1), ("retry", 3), ("lock", 0)] {
        assert_eq!(recorded.values(&of("grants_total", kind, "kinds")).len(), count, "{kind}");
        assert_eq!(recorded.sum(&of("held", kind, "kinds")), 0.0, "{kind}");
    }
    assert_eq!(recorded.values(&ended("hold_seconds", "retry", "reserved", "kinds")).len(), 2);
    assert_eq!(recorded.values(&ended("hold_seconds", "retry", "released", "kinds")).len(), 1);
    assert_eq!(recorded.sum(&of("conflicts_total", "retry", "kinds")), 2.0);
}

#[test]
fn a_loss_is_counted_once_whoever_finds_it_out() {
    let (recorded, client, ..) = world();
    let by_release = client.lock("lost by a release").acquire().unwrap();
    client.session().open().unwrap().break_lock("lost by a release").unwrap();
    assert!(by_release.release().is_err());
    assert_eq!(recorded.values(&of("lost_total", "lock", "lost by a release")), [1.0]);
    assert_eq!(recorded.values(&ended("hold_seconds", "lock", "lost", "lost by a release")).len(), 1);

    // In real time: a thread renews.
    let client = Client::with_store(Memory::default()).metrics_key_label(true);
    let key = "lost by a renewal";
    let guard = client.lock(key).lease(Duration::from_millis(300)).acquire().unwrap().auto_renew(AutoRenew::default());
    eventually("a renewal", || recorded.sum(&of("renewals_total", "lock", key)) > 0.0);
    client.session().open().unwrap().break_lock(key).unwrap();
    eventually("the loss", || guard.lost().is_some() && recorded.sum(&of("lost_total", "lock", key)) > 0.0);
    assert!(guard.release().is_err());
    assert_eq!(recorded.values(&of("lost_total", "lock", key)), [1.0]);
    let reasons = recorded.names(&format!("reason=lost,key={key}"));
    assert_eq!(reasons, [format!("kvlock_renewal_failures_total{{kind=lock,store=memory,reason=lost,key={key}}}")]);
}

#[test]
fn renewals_are_counted_and_those_that_fail_with_the_reason() {
    let (recorded, client, store, _) = world();
    let mut grant = client.lock("renewed").acquire().unwrap();
    grant.renew().unwrap();
    store.down();
    assert!(grant.renew_for(Ttl::Forever).is_err());
    store.up();
    grant.release().unwrap();
    assert_eq!(recorded.values(&of("renewals_total", "lock", "renewed")), [1.0]);
    let failed = "kvlock_renewal_failures_total{kind=lock,store=memory,reason=unavailable,key=renewed}";
    assert_eq!(recorded.values(failed), [1.0]);
}

#[test]
fn calls_and_outages_of_a_store_are_measured() {
    let mine = Recorded::default();
    metrics::with_local_recorder(&mine, || {
        let clock = Arc::new(VirtualClock::new());
        let store = Memory::new(clock.clone());
        let client = Client::with_store(store.clone()).with_clock(clock.clone());
        store.down();
        assert!(client.lock("k").wait(5 * SECOND).acquire().is_err());
        assert_eq!(mine.values("kvlock_outages_total{store=memory}"), [1.0], "one, however many calls fail");
        assert!(mine.values("kvlock_outage_seconds{store=memory}").is_empty(), "it goes on");
        store.up();
        client.lock("k").acquire().unwrap().release().unwrap();
    });
    let outage = mine.values("kvlock_outage_seconds{store=memory}");
    assert!(outage.len() == 1 && outage[0] >= 5.0, "{outage:?}");
    let call = |operation: &str, outcome: &str| {
        mine.values(&format!("kvlock_store_call_seconds{{store=memory,operation={operation},outcome={outcome}}}")).len()
    };
    assert!(call("add", "unavailable") > 1);
    assert_eq!((call("add", "ok"), call("delete", "ok")), (1, 1));
    let failed = "kvlock_wait_failures_total{kind=lock,store=memory,reason=unavailable}";
    assert_eq!(mine.values(failed), [1.0]);
    assert!(mine.names("key=").is_empty(), "no label has the key unless a client is asked for it");
}

#[test]
fn a_call_that_finds_somebody_elses_entry_is_a_conflict() {
    let mine = Recorded::default();
    metrics::with_local_recorder(&mine, || {
        let client = Client::connect("memory:").unwrap();
        let _held = client.session().open().unwrap().lock("k").acquire().unwrap();
        assert!(client.session().open().unwrap().lock("k").try_acquire().unwrap().is_none());
    });
    let conflict = "kvlock_store_call_seconds{store=memory,operation=add,outcome=conflict}";
    assert_eq!(mine.values(conflict).len(), 1);
}

#[test]
fn tasks_are_counted_as_threads_are() {
    let (recorded, client, ..) = world();
    let client = asynch::Client::from(client);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let held = client.lock("task").acquire().await.unwrap();
        assert!(client.lock("task").try_acquire().await.unwrap().is_none());
        held.release().await.unwrap();
        client.lock("task").with_lock(async |_| ()).await.unwrap();
    });
    assert_eq!(recorded.sum(&of("waits_total", "lock", "task")), 3.0);
    assert_eq!(recorded.sum(&of("grants_total", "lock", "task")), 2.0);
    assert_eq!(recorded.sum(&of("busy_total", "lock", "task")), 1.0);
    assert_eq!(recorded.values(&ended("hold_seconds", "lock", "released", "task")).len(), 2);
    assert_eq!(recorded.sum(&of("held", "lock", "task")), 0.0);
}

#[test]
fn a_grant_that_is_written_out_is_held_here_no_more_and_counted_where_it_is_released() {
    let (recorded, client, ..) = world();
    let word = client.lock("word").acquire().unwrap().write_out().unwrap();
    assert_eq!(recorded.values(&ended("hold_seconds", "lock", "left", "word")).len(), 1);
    assert_eq!(recorded.sum(&of("held", "lock", "word")), 0.0);
    let mut resumed = client.session().open().unwrap().resume(&word).unwrap();
    resumed.renew().unwrap();
    resumed.release().unwrap();
    assert_eq!(recorded.sum(&of("held", "lock", "word")), 0.0);
    assert_eq!(recorded.values(&of("renewals_total", "lock", "word")), [1.0]);
}

#[test]
fn all_metrics_are_described_with_their_units_and_stand_on_the_page() {
    let (recorded, ..) = world();
    let page = page("docs/metrics.md");
    let described = recorded.0.lock().unwrap().described.clone();
    for metric in METRICS {
        let is_time = metric.instrument == Instrument::Histogram;
        let unit = if is_time { Unit::Seconds } else { Unit::Count };
        assert_eq!(described.get(metric.name), Some(&Some(unit)), "{}", metric.name);
        assert_eq!(metric.name.ends_with("_seconds"), is_time, "{}", metric.name);
        assert_eq!(metric.name.ends_with("_total"), metric.instrument == Instrument::Counter, "{}", metric.name);
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let instrument = format!("{:?}", metric.instrument).to_lowercase();
        let row = format!("| `{}` | {instrument} | {} | {} |", metric.name, labels.join(", "), metric.text);
        assert!(page.contains(&row), "not on the page: {row}");
    }
}
