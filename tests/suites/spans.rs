//! Spans around waits and holds, as a subscriber of the crate `tracing` sees them. It is one for the process, because the
//! library has threads of its own; each test has keys of its own.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::renewal::AutoRenew;
use kvlock::store::Memory;
use kvlock::{Client, asynch, conflict_retry::WorkOutcome};
use kvlock_tests::kvlock::eventually;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// A span, as it was seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: String,
    /// The name of its parent; empty: it has none.
    parent: String,
    fields: BTreeMap<String, String>,
    /// The messages of the events in it.
    events: Vec<String>,
    is_closed: bool,
}

static SEEN: Mutex<BTreeMap<u64, Seen>> = Mutex::new(BTreeMap::new());

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_string(), value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_string(), format!("{value:?}"));
    }
}

struct Watcher;

/// The number of a span: ids are used again once a span is closed.
struct Number(u64);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Watcher {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.name().to_string()).unwrap_or_default();
        let mut seen = Seen { name: span.name().to_string(), parent, ..Seen::default() };
        attributes.record(&mut Fields(&mut seen.fields));
        let mut all = SEEN.lock().unwrap();
        let number = all.len() as u64;
        span.extensions_mut().insert(Number(number));
        all.insert(number, seen);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        with(id, &context, |seen| values.record(&mut Fields(&mut seen.fields)));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let message = fields.remove("message").unwrap_or_default();
        if let Some(span) = context.event_span(event) {
            with(&span.id(), &context, |seen| seen.events.push(message));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        with(&id, &context, |seen| seen.is_closed = true);
    }
}

fn with<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, context: &Context<'_, S>, change: impl FnOnce(&mut Seen)) {
    let span = context.span(id).unwrap();
    let extensions = span.extensions();
    let Number(number) = extensions.get().unwrap();
    change(SEEN.lock().unwrap().get_mut(number).unwrap());
}

/// A store and a clock that moves when it is told to.
fn world() -> (Client, Memory) {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing_subscriber::registry().with(Watcher).init());
    let clock = Arc::new(VirtualClock::new());
    let store = Memory::new(clock.clone());
    (Client::with_store(store.clone()).with_clock(clock), store)
}

/// The spans of this name about a key.
fn spans(name: &str, key: &str) -> Vec<Seen> {
    let seen = SEEN.lock().unwrap();
    seen.values().filter(|span| span.name == name && span.fields["key"] == key).cloned().collect()
}

/// The only span of this name about a key, once it is closed.
#[track_caller]
fn closed(name: &str, key: &str) -> Seen {
    eventually("the end of a span", || spans(name, key).iter().any(|span| span.is_closed));
    let [span] = spans(name, key).try_into().unwrap_or_else(|spans| panic!("{spans:#?}"));
    span
}

fn fields(span: &Seen) -> [&str; 4] {
    ["kind", "owner", "token", "outcome"].map(|name| span.fields.get(name).map_or("", String::as_str))
}

#[test]
fn a_wait_and_a_hold_are_spans_beside_each_other_in_the_callers() {
    let (client, _) = world();
    let session = client.session().owner("me").open().unwrap();
    let token = info_span!("request").in_scope(|| {
        let grant = session.lock("plain").acquire().unwrap();
        let token = grant.token().to_string();
        assert!(spans("kvlock.wait", "plain")[0].is_closed && !spans("kvlock.hold", "plain")[0].is_closed);
        grant.release().unwrap();
        token
    });
    let (wait, hold) = (closed("kvlock.wait", "plain"), closed("kvlock.hold", "plain"));
    assert_eq!(fields(&wait), ["lock", "me", &token, "granted"]);
    assert_eq!(fields(&hold), ["lock", "me", &token, "released"]);
    assert_eq!((wait.parent.as_str(), hold.parent.as_str()), ("request", "request"));
    assert_eq!(wait.events, ["granted"]);
    assert_eq!(hold.events, ["released: Freed"]);
}

#[test]
fn a_wait_in_vain_and_one_that_nobody_goes_on_with_say_so() {
    let (client, store) = world();
    let _held = client.session().open().unwrap().lock("busy").acquire().unwrap();
    let other = client.session().owner("other").open().unwrap();
    assert!(other.lock("busy").try_acquire().unwrap().is_none());
    let waits = spans("kvlock.wait", "busy");
    assert_eq!(fields(&waits[1]), ["lock", "other", "", "busy"]);
    assert!(waits[1].is_closed && waits[1].parent.is_empty());
    let mut wait = other.lock("busy").begin().unwrap();
    wait.poll().unwrap();
    drop(wait);
    assert_eq!(fields(&spans("kvlock.wait", "busy")[2])[3], "abandoned");
    store.down();
    assert!(other.lock("down").try_acquire().is_err());
    assert_eq!(fields(&closed("kvlock.wait", "down"))[3], "failed");
}

#[test]
fn what_is_done_under_a_lock_is_in_the_span_of_its_hold() {
    let (client, _) = world();
    client.lock("work").with_lock(|_| info_span!("inner", key = "work").in_scope(|| ())).unwrap();
    assert_eq!(closed("inner", "work").parent, "kvlock.hold");
    client
        .conflict_retry("tried")
        .run(|_| {
            info_span!("inner", key = "tried").in_scope(|| ());
            WorkOutcome::<_, ()>::Committed(())
        })
        .unwrap();
    assert_eq!(closed("inner", "tried").parent, "kvlock.hold");
    assert_eq!(fields(&closed("kvlock.hold", "tried"))[0], "retry");
}

#[test]
fn a_loss_that_a_thread_finds_out_is_told_in_the_span() {
    world();
    let client = Client::with_store(Memory::default());
    let lease = Duration::from_millis(300);
    let guard = client.lock("lost").lease(lease).acquire().unwrap().auto_renew(AutoRenew::default());
    client.session().open().unwrap().break_lock("lost").unwrap();
    eventually("the loss", || guard.lost().is_some() && spans("kvlock.hold", "lost")[0].fields.contains_key("outcome"));
    drop(guard);
    let hold = closed("kvlock.hold", "lost");
    assert_eq!(fields(&hold)[3], "lost");
    assert!(hold.events.iter().any(|event| event.starts_with("lock lost")), "{hold:?}");
}

#[test]
fn the_spans_of_a_task_are_the_same_and_keep_to_their_task() {
    let (client, _) = world();
    let client = asynch::Client::from(client);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let request = |key: &'static str| {
        let client = client.clone();
        let work = async move {
            client
                .lock(key)
                .with_lock(async |_| {
                    let inner = info_span!("inner", key);
                    tokio::task::yield_now().instrument(inner).await;
                })
                .await
                .unwrap();
        };
        work.instrument(info_span!("request of a task", key))
    };
    runtime.block_on(async {
        let tasks = ["task one", "task two", "task three"].map(|key| tokio::spawn(request(key)));
        for task in tasks {
            task.await.unwrap();
        }
    });
    for key in ["task one", "task two", "task three"] {
        let (wait, hold) = (closed("kvlock.wait", key), closed("kvlock.hold", key));
        assert_eq!((wait.parent.as_str(), hold.parent.as_str()), ("request of a task", "request of a task"));
        let [_, owner, token, outcome] = fields(&wait);
        assert_eq!(outcome, "granted");
        assert_eq!(fields(&hold), ["lock", owner, token, "released"]);
        assert!(!owner.is_empty() && token.parse::<u64>().is_ok());
        assert_eq!(closed("inner", key).parent, "kvlock.hold");
    }
}

#[test]
fn the_tries_of_a_task_have_a_wait_and_a_hold_each_in_its_span() {
    let (client, _) = world();
    let client = asynch::Client::from(client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let work = client.conflict_retry("tries").reserve(Duration::from_secs(1));
    let run = work.run(async |attempt| match attempt.number() {
        1 => WorkOutcome::Conflict("refused"),
        number => WorkOutcome::Committed(number),
    });
    assert_eq!(runtime.block_on(run.instrument(info_span!("job"))).unwrap(), 2);
    let (waits, holds) = (spans("kvlock.wait", "tries"), spans("kvlock.hold", "tries"));
    assert_eq!(holds.iter().map(|hold| fields(hold)[3]).collect::<Vec<_>>(), ["reserved", "released"]);
    assert_eq!(waits.len(), 2);
    assert!(waits.iter().chain(&holds).all(|span| span.parent == "job"), "{waits:#?} {holds:#?}");
}
