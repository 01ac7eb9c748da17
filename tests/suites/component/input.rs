//! What may be passed in: bad input is a typed error and no call; odd keys are keys.

use std::time::Duration;

use kvlock::store::{KvStore, Ttl, lock_key};
use kvlock::{
    Lock, Released,
    error::{AcquireError, SessionError, StatusError},
};

use crate::world::{World, busy, millis, refused, secs};

#[test]
fn bad_lock_options_are_refused_by_name_and_without_a_call() {
    let (world, [session]) = World::with(["one"]);
    let lock = || session.lock("k");
    let cases: [(&str, Lock, &str); 13] = [
        ("an empty key", session.lock(""), "the key is empty"),
        ("a key of a megabyte", session.lock("k".repeat(1 << 20)), "the key has 1048576 bytes"),
        ("a key one byte too long", session.lock("k".repeat(65_537)), "the key has 65537 bytes"),
        ("no lease", lock().lease(Duration::ZERO), "the lease is"),
        ("a lease too short", lock().lease(Duration::from_nanos(999_999)), "the lease is"),
        ("an absurd lease", lock().lease(secs(367 * 24 * 3600)), "the lease is"),
        ("a lease that overflows", lock().lease(Ttl::After(Duration::MAX)), "the lease is"),
        ("a wait that overflows", lock().wait(Duration::MAX), "the wait is"),
        ("a wait of two centuries", lock().wait(secs(200 * 366 * 24 * 3600)), "the wait is"),
        ("no interval", lock().interval(Duration::ZERO), "the interval is"),
        ("an interval that overflows", lock().interval(Duration::MAX), "the interval is"),
        ("a day's interval", lock().interval(secs(24 * 3600)), "the interval is"),
        ("an endless minimum hold", lock().at_least(Duration::MAX), "the minimum hold is"),
    ];
    for (case, lock, reason) in cases {
        match refused(lock.acquire()) {
            AcquireError::Invalid { reason: text, .. } => assert!(text.starts_with(reason), "{case}: {text}"),
            other => panic!("{case}: {other}"),
        }
    }
    assert_eq!(world.calls(), [""; 0]);
    session.lock("k").acquire().unwrap().release().expect("the session is as good as before");
}

#[test]
fn bad_session_options_are_refused() {
    let world = World::new();
    let session = || world.client.session();
    let cases = [
        ("an empty owner", session().owner(""), "the owner's name is empty"),
        ("an owner too long", session().owner("o".repeat(256)), "an owner's name or label has 256 bytes"),
        ("a label too long", session().label("l".repeat(1 << 20)), "an owner's name or label has"),
        ("an empty namespace", session().namespace(""), "a namespace has"),
        ("a namespace with a colon", session().namespace("a:b"), "a namespace has"),
        ("a namespace with a hash", session().namespace("a#b"), "a namespace has"),
        ("a namespace with a space", session().namespace("a b"), "a namespace has"),
        ("a namespace that is not ASCII", session().namespace("ä"), "a namespace has"),
        ("a namespace too long", session().namespace("n".repeat(65)), "a namespace has"),
        ("an absurd quarantine", session().quarantine(Duration::MAX), "the quarantine is"),
    ];
    for (case, builder, reason) in cases {
        match refused(builder.open()) {
            SessionError::Invalid(text) => assert!(text.starts_with(reason), "{case}: {text}"),
            other => panic!("{case}: {other}"),
        }
    }
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn bad_keys_are_refused_by_status_and_break() {
    let (world, [session]) = World::with(["one"]);
    let long = "k".repeat(65_537);
    for key in ["", long.as_str()] {
        assert!(matches!(session.status(key), Err(StatusError::Invalid { .. })));
        assert!(matches!(session.statuses(&["good", key]), Err(StatusError::Invalid { .. })));
        assert!(matches!(session.break_lock(key), Err(StatusError::Invalid { .. })));
    }
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn the_longest_and_shortest_of_everything_are_legal() {
    let world = World::new();
    let session = world.client.session().owner("o".repeat(255)).label("").namespace("n".repeat(64));
    let session = session.quarantine(secs(366 * 24 * 3600)).open().unwrap();
    world.store.set_lossless_for(Duration::MAX);
    let long = session.lock("k").lease(secs(366 * 24 * 3600)).wait(secs(100 * 366 * 24 * 3600));
    drop(long.interval(secs(3600)).at_least(secs(366 * 24 * 3600)).acquire().unwrap());
    let short = session.lock("j").lease(millis(1)).wait(Duration::ZERO).interval(millis(1));
    assert!(matches!(short.acquire().unwrap().release(), Ok(Released::Freed)));
}

/// Keys that no store could take as they are, and some that look alike.
fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> =
        [" ", "  ", "a b", "a  b", "a\nb", "a\r\nb", "a\tb", "\0", "a\0b", "\u{1f512}", "é", "e\u{301}", "a:b", "a#b"]
            .map(String::from)
            .into();
    keys.extend(["kvlock:lock:k", "k", "K", "-", "%20", "a%20b", "../../k", "\u{feff}k", "\u{7f}"].map(String::from));
    keys.extend(["k".repeat(65_536), "k".repeat(65_535), "\u{1f512}".repeat(16_384), "k".repeat(250)]);
    keys
}

#[test]
fn odd_keys_are_keys_and_do_not_collide() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let keys = odd_keys();
    // All are held at once: no two of them are one lock.
    let grants: Vec<_> = keys.iter().map(|key| one.lock(key.as_str()).try_acquire().unwrap().unwrap()).collect();
    for (key, grant) in keys.iter().zip(&grants) {
        assert_eq!(grant.key(), key);
        assert!(world.store.get(&lock_key("kvlock", key)).unwrap().is_some(), "{key:?}");
        busy(two.lock(key.as_str()).wait(Duration::ZERO).acquire());
        assert_eq!(world.holder(key).unwrap().key, *key, "shown as its user wrote it");
    }
    for grant in grants {
        assert_eq!(grant.release(), Ok(Released::Freed));
    }
}

#[test]
fn messages_show_an_odd_key_on_one_line_of_bounded_length() {
    let (_, [session]) = World::with(["one"]);
    for key in odd_keys() {
        let _held = session.lock(key.as_str()).acquire().unwrap();
        let text = refused(session.lock(key.as_str()).acquire()).to_string();
        assert!(!text.contains(char::is_control) && text.len() < 600, "{text:?}");
    }
}

#[test]
fn odd_owners_and_labels_come_back_as_they_were() {
    let world = World::new();
    for odd in ["two\nlines", "\0", " ", "\"quoted\" \\ back", "owner: other", "\u{1f512}", "=", "%"] {
        let session = world.client.session().owner(odd).label(odd).open().unwrap();
        let _held = session.lock("k").acquire().unwrap();
        let holder = world.holder("k").unwrap();
        assert_eq!((holder.owner.as_str(), holder.label.as_str()), (odd, odd));
    }
}

#[test]
fn namespaces_keep_locks_apart() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| world.client.session().namespace(name).open().unwrap());
    let _first = one.lock("k").try_acquire().unwrap().unwrap();
    let _second = two.lock("k").try_acquire().unwrap().unwrap();
}
