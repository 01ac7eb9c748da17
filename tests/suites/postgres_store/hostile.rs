//! Peers that keep a client waiting, or talk without an end: a call ends all the same.

use std::time::Duration;

use kvlock::store::{KvStore, Postgres};
use kvlock_tests::Watch;
use kvlock_tests::faults::start_talker;

use crate::support::TTL;

const TIMEOUT: Duration = Duration::from_millis(300);
/// An attempt to connect, and a second one without settings of our own; the rest is for a busy machine.
const LONGEST: Duration = Duration::from_secs(3);

/// A store whose server says `first` to whoever has said something, and then `what`, a piece each pause, again and again
/// for as long as anybody listens.
fn store(first: &'static [u8], what: &'static [u8], pause: Duration) -> Postgres {
    let address = start_talker(true, first, what, pause);
    let millis = TIMEOUT.as_millis();
    let url = format!("postgres://me@{address}/db?sslmode=disable&timeout={millis}ms&connect_timeout={millis}ms");
    Postgres::connect(&url).unwrap()
}

#[track_caller]
fn assert_ends(store: &Postgres) {
    let began = Watch::start();
    assert!(store.get("k").is_err());
    assert!(store.add("k", b"v", TTL).is_err());
    assert!(store.era("k").is_err());
    began.assert_within(3 * LONGEST);
    for text in [store.get("k").unwrap_err().to_string(), store.diagnose().remove(0).text] {
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}

/// A login without a password, and the end of it.
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

#[test]
fn an_answer_that_comes_byte_by_byte_takes_no_longer_than_the_timeout_allows() {
    assert_ends(&store(b"", b"R", TIMEOUT / 4));
    assert_ends(&store(WELCOME, b"1", TIMEOUT / 4));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    // Notices, parameters, rows, one endless message, and noise.
    let row = b"D\0\0\0\x0a\0\x01\0\0\0\0";
    let endless = b"D\x7f\xff\xff\xff";
    for what in [&b"N\0\0\0\x05\0"[..], b"S\0\0\0\x08a\0b\0", row, endless, b"xxxxxxxx", &[0; 64], &[0xff; 64]] {
        let many: &'static [u8] = Box::leak(what.repeat(200).into_boxed_slice());
        assert_ends(&store(b"", many, Duration::ZERO));
        assert_ends(&store(WELCOME, many, Duration::ZERO));
    }
}

#[test]
fn a_peer_that_asks_for_odd_logins_is_refused() {
    for first in [
        &b"R\0\0\0\x08\0\0\0\x02"[..],
        b"R\0\0\0\x0d\0\0\0\x0aFOO\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ] {
        assert_ends(&store(first, b"", Duration::ZERO));
    }
}
