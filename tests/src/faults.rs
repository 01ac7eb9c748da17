//! What every store over a network must get over, for the suites of the stores. Each function is a test of one suite or
//! another, with a proxy or a server that the suite has started.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvlock::Client;
use kvlock::clock::VirtualClock;
use kvlock::store::{KvStore, Severity, Version, WriteOutcome};

use crate::calls::{SECOND, TTL, add, assert_unavailable, assert_unknown, get, replace, token};
use crate::kvlock::eventually;
use crate::{Mode, Proxy, Watch};

/// A write whose request is cut off, or whose reply is lost, is of unknown outcome, and is not sent again. `warm_up`
/// makes sure that the next request is the write itself.
pub fn cut_requests_and_lost_replies_leave_the_outcome_unknown<S: KvStore>(
    proxy: &Proxy,
    store: &S,
    warm_up: impl Fn(&S),
) {
    let version = add(store, "k", "v");
    for (mode, key, executed) in [(Mode::CutBeforeRequest, "cut", false), (Mode::DropReply, "lost", true)] {
        warm_up(store);
        proxy.set(mode);
        let text = assert_unknown(store.add(key, b"v", TTL));
        assert!(text.contains(&proxy.addr()), "{text}");
        proxy.set(Mode::Pass);
        assert_eq!(store.get(key).unwrap().is_some(), executed, "{key}");
        assert_eq!(get(store, "k").version, version);
    }
    proxy.set(Mode::DropReply);
    assert_unknown(store.replace("k", b"w", TTL, version));
    proxy.set(Mode::Pass);
    let entry = get(store, "k");
    assert_eq!(entry.value, b"w");
    proxy.set(Mode::DropReply);
    assert_unknown(store.delete("k", entry.version));
    proxy.set(Mode::Pass);
    assert_eq!(store.get("k").unwrap(), None);
}

/// A read whose connection is cut is asked again; a write is not, and is not done if there is no connection.
pub fn a_cut_read_is_asked_again(proxy: &Proxy, store: &impl KvStore) {
    let version = add(store, "k", "v");
    proxy.set(Mode::CutNextRequest);
    assert_eq!(get(store, "k").version, version);
    proxy.set(Mode::CutNextRequest);
    assert_eq!(store.era("k").unwrap().id, version.era);
    proxy.set(Mode::CutBeforeRequest);
    assert_unavailable(store.get("k"));
    assert_unavailable(store.add("k", b"v", TTL));
}

/// A request that is held until its caller has given up is executed late, and its reply is nobody's.
pub fn a_late_reply_belongs_to_nobody(proxy: &Proxy, store: &impl KvStore) {
    add(store, "mine", "v");
    proxy.set(Mode::Hold);
    assert_unknown(store.add("late", b"v", TTL));
    proxy.set(Mode::Pass);
    assert_eq!(get(store, "mine").value, b"v");
    // The request itself was delivered late, and took effect: that is what `unknown` means.
    eventually("the held request", || store.get("late").unwrap().is_some());
    assert!(matches!(store.add("late", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
}

/// Calls of a server that is frozen, or that nothing reaches, end within this time. `freeze` does that, and `false` ends
/// it.
pub fn silence_costs_a_bounded_time(
    proxy: &Proxy,
    [patient, hasty]: [&impl KvStore; 2],
    bound: Duration,
    freeze: impl Fn(bool),
) {
    let version = add(patient, "k", "v");
    let timed = |run: &dyn Fn()| {
        let start = Watch::start();
        run();
        start.assert_within(bound);
    };
    for frozen in [true, false] {
        // On a busy machine an answer may take longer than that.
        eventually("a connection", || hasty.get("k").is_ok());
        let silence = |begins: bool| match frozen {
            true => freeze(begins),
            false => proxy.set(if begins { Mode::Blackhole } else { Mode::Pass }),
        };
        silence(true);
        timed(&|| drop(assert_unknown(hasty.add("k", b"v", TTL))));
        timed(&|| drop(assert_unavailable(hasty.get("k"))));
        timed(&|| drop(assert_unavailable(hasty.delete("k", version))));
        timed(&|| drop(assert_unavailable(hasty.get_many(&["k".into()]))));
        timed(&|| drop(assert_unavailable(hasty.era("k"))));
        timed(&|| assert_eq!(hasty.diagnose()[0].severity, Severity::Unfit));
        silence(false);
        assert_eq!(get(patient, "k").version, version);
    }
}

/// An acquire is sent in one piece, and so is a release: what is written in two arrives as two, at least now and then.
/// The URL leads through the proxy.
pub fn acquires_and_releases_are_one_exchange_each(proxy: &Proxy, url: &str) {
    const PAIRS: usize = 400;
    // Time stands still: now and then a session looks whether others wait, and that would count.
    let client = Client::connect(url).unwrap().with_clock(Arc::new(VirtualClock::new()));
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let pairs = |count| (0..count).for_each(|_| _ = session.lock("k").acquire().unwrap().release().unwrap());
    // The first one makes acquaintance with the server.
    pairs(1);
    let before = proxy.requests();
    pairs(PAIRS);
    assert_eq!(proxy.requests() - before, 2 * PAIRS);
}

/// Tokens grow from write to write, whatever happens to the server `between` two rounds of them. That is told the number
/// of the round, and the version that is there.
pub fn tokens_grow(store: &impl KvStore, mut between: impl FnMut(usize, Version)) {
    let mut last = 0;
    for round in 0..12 {
        let added = add(store, "k", "v");
        let replaced = replace(store, "k", "w", added);
        assert!(last < token(added) && token(added) < token(replaced), "{added:?}, {replaced:?} after {last}");
        last = token(replaced);
        between(round, replaced);
    }
}

/// A peer that waits for a word if it is `asked`, says `first`, and then `what`, a piece each pause, again and again for
/// as long as anybody listens. Returns where it listens.
pub fn start_talker(asked: bool, first: &'static [u8], what: &'static [u8], pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
    let address = listener.local_addr().expect("a bound listener has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().take(16).flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut word = [0; 1024];
                if (asked && stream.read(&mut word).is_err()) || stream.write_all(first).is_err() {
                    return;
                }
                // No test lasts as long as that.
                let end = Instant::now() + 20 * SECOND;
                while Instant::now() < end && !what.is_empty() && stream.write_all(what).is_ok() {
                    std::thread::sleep(pause);
                }
            });
        }
    });
    address
}
