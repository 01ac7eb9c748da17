//! Peers that keep a client waiting: a call ends all the same. What else they may say is left to `tests/fuzz`.

use std::time::Duration;

use kvlock::store::{KvStore, Memcached};
use kvlock_tests::Watch;
use kvlock_tests::faults::start_talker;

use crate::support::{TTL, assert_invalid, assert_unavailable};

const TIMEOUT: Duration = Duration::from_millis(200);
/// An exchange takes two timeouts at most, and a read is tried on a second connection; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(3);

/// A store whose server says `what`, a piece each pause, again and again for as long as anybody listens.
fn store(what: &'static [u8], pause: Duration) -> Memcached {
    let address = start_talker(false, b"", what, pause);
    let store = Memcached::connect(&address.to_string()).unwrap();
    store.with_connect_timeout(TIMEOUT).with_operation_timeout(TIMEOUT)
}

#[test]
fn an_answer_that_comes_byte_by_byte_takes_no_longer_than_the_timeout_allows() {
    // Each byte comes well before the socket's own timeout.
    for what in ["V", "STAT a b\r\n"] {
        let store = store(what.as_bytes(), TIMEOUT / 4);
        let began = Watch::start();
        let (read, write) = (store.get("k"), store.add("k", b"v", TTL));
        assert!(read.is_err() && write.is_err());
        began.assert_within(LONGEST);
    }
    assert_unavailable(store(b"V", TIMEOUT / 4).get("k"));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    for what in [[b'x'; 4096].as_slice(), b"EN\r\nSTAT a b\r\n", &[0; 4096]] {
        let store = store(Box::leak(what.into()), Duration::ZERO);
        let began = Watch::start();
        assert_invalid(store.get("k"));
        began.assert_within(LONGEST);
    }
}
