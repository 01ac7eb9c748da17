//! Peers that keep a client waiting, that never end, or that are none: a call ends all the same, in bounded memory.

use std::time::Duration;

use kvlock::store::{KvStore, Redis, StoreError};
use kvlock_tests::Watch;
use kvlock_tests::faults::start_talker;

use crate::support::{TTL, assert_invalid, assert_unavailable};

/// An exchange takes two timeouts at most, and a read is tried on a second connection; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_millis(200);

/// A store whose server says `what`, a piece each pause, again and again for as long as anybody listens.
fn store(what: &'static [u8], pause: Duration) -> Redis {
    let address = start_talker(false, b"", what, pause);
    Redis::connect(&format!("redis://{address}?timeout=200ms&connect-timeout=200ms")).unwrap()
}

#[test]
fn an_answer_that_comes_byte_by_byte_takes_no_longer_than_the_timeout_allows() {
    for what in ["+", "*1\r\n", "$99\r\n"] {
        let store = store(what.as_bytes(), TIMEOUT / 4);
        let began = Watch::start();
        let (read, write) = (store.get("k"), store.add("k", b"v", TTL));
        assert!(read.is_err() && write.is_err());
        began.assert_within(LONGEST);
    }
    assert_unavailable(store(b"+", TIMEOUT / 4).get("k"));
}

#[test]
fn an_answer_without_end_or_without_sense_is_cut_off() {
    for what in [
        [b'x'; 4096].as_slice(),
        &[0; 4096],
        b"*1000000000\r\n",
        b"*9223372036854775807\r\n",
        b"$1000000000\r\n",
        b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        b"*-2\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"*4\r\n$4\r\nsame\r\n$1\r\nx\r\n$1\r\n0\r\n*0\r\n",
        b"\n",
    ] {
        let store = store(Box::leak(what.into()), Duration::ZERO);
        let began = Watch::start();
        let text = assert_invalid(store.get("k"));
        assert!(text.contains("does not speak Redis's protocol") && text.lines().count() == 1, "{text:?}");
        began.assert_within(LONGEST);
    }
}

#[test]
fn whatever_a_peer_answers_is_an_error_of_one_line() {
    for what in ["-ERR \x1b[31mred\x1b[0m\r\n", "-\r\n", "-NOSCRIPT\r\n", "-LOADING\r\n", "-WRONGPASS \u{7}\r\n"] {
        let store = store(what.as_bytes(), Duration::ZERO);
        let error = store.add("k", b"v", TTL).unwrap_err();
        assert!(
            matches!(error, StoreError::Rejected(_) | StoreError::Unavailable(_) | StoreError::Invalid(_)),
            "{error:?}"
        );
        assert!(!error.to_string().contains(|c: char| c.is_control()), "{error:?}");
        for finding in store.diagnose() {
            assert!(!finding.text.contains(|c: char| c.is_control()), "{finding:?}");
        }
    }
}
