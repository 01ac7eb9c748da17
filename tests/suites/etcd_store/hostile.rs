//! Peers that are not etcd, or not any more: every call ends, in one line, and a write is never called undone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use kvlock::store::{Etcd, KvStore, StoreError};
use kvlock_testkit::EtcdCluster;
use kvlock_tests::{Mode, Proxy, Watch};

use crate::support::{SECOND, TTL, add, get, store};

/// How a peer answers each request.
#[derive(Clone)]
struct Peer {
    answer: Vec<u8>,
    /// In how many pieces, and how long before each.
    pieces: usize,
    pause: Duration,
    /// Again and again, until nobody listens.
    endless: bool,
}

impl Peer {
    fn says(answer: impl Into<Vec<u8>>) -> Peer {
        Peer { answer: answer.into(), pieces: 1, pause: Duration::ZERO, endless: false }
    }

    fn json(status: &str, body: &str) -> Peer {
        Peer::says(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// Listens, and returns where.
    fn start(self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(64).flatten() {
                let peer = self.clone();
                std::thread::spawn(move || peer.serve(stream));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        // No test lasts as long as that.
        let end = Instant::now() + 60 * SECOND;
        let mut request = [0; 1 << 16];
        if !stream.read(&mut request).is_ok_and(|read| read > 0) {
            return;
        }
        loop {
            for piece in self.answer.chunks(self.answer.len().div_ceil(self.pieces).max(1)) {
                std::thread::sleep(self.pause);
                if stream.write_all(piece).is_err() || Instant::now() > end {
                    return;
                }
            }
            if !self.endless {
                return;
            }
        }
    }
}

fn hasty(address: &str) -> Etcd {
    Etcd::connect(&format!("etcd://{address}?timeout=500ms&connect-timeout=500ms")).unwrap()
}

/// Answers that etcd does not give.
fn peers() -> Vec<(&'static str, Peer)> {
    let endless = |head: &str| Peer { endless: true, ..Peer::says([head.as_bytes(), &[b'x'; 1 << 16]].concat()) };
    let slow = |peer: Peer| Peer { pieces: 30, pause: Duration::from_millis(100), ..peer };
    let header = r#""header":{"cluster_id":"1","member_id":"1","revision":"7","raft_term":"1"}"#;
    vec![
        ("nothing", Peer::says("")),
        ("garbage", Peer::says("\x1b[31m\0\u{7f}SSH-2.0\r\n\r\n")),
        ("a page", Peer::json("200 OK", "<html>\x1b[31m</html>")),
        ("truncated JSON", Peer::json("200 OK", r#"{"header":{"cluster_id":"1"#)),
        ("less than it says", Peer::says("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")),
        ("no header", Peer::json("200 OK", "{}")),
        ("numbers out of range", Peer::json("200 OK", r#"{"header":{"cluster_id":"99999999999999999999"}}"#)),
        ("no responses", Peer::json("200 OK", &format!("{{{header},\"succeeded\":true}}"))),
        (
            "another key",
            Peer::json(
                "200 OK",
                &format!(
                    "{{{header},\"responses\":[{{\"response_range\":{{\"kvs\":[{{\"key\":\"aw==\",\"mod_revision\":\"1\"}}]}}}},\
                     {{\"response_range\":{{}}}}]}}"
                ),
            ),
        ),
        (
            "a redirection",
            Peer::says("HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
        ),
        ("a proxy's error", Peer::json("502 Bad Gateway", "<html>")),
        ("a log-in", Peer::json("401 Unauthorized", r#"{"code":16,"message":"etcdserver: invalid auth token"}"#)),
        ("a body without an end", endless("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")),
        ("a header without an end", endless("HTTP/1.1 200 OK\r\nX: ")),
        ("bytes now and then", slow(Peer::json("200 OK", "{}"))),
    ]
}

#[test]
fn no_answer_of_a_stranger_hangs_a_call_or_fills_the_screen() {
    for (what, peer) in peers() {
        let store = hasty(&peer.start());
        let watch = Watch::start();
        let errors = [
            store.get("k").err(),
            store.get_many(&["k".to_string()]).err(),
            store.add("k", b"v", TTL).err(),
            store.era("k").err(),
            store.diagnose().first().map(|finding| StoreError::Invalid(finding.text.clone())),
        ];
        // Each of the requests may take a second.
        watch.assert_within(30 * SECOND);
        for error in errors {
            let text = error.unwrap_or_else(|| panic!("{what}: an answer")).to_string();
            assert!(!text.contains(char::is_control) && text.chars().count() < 600, "{what}: {text:?}");
        }
    }
}

#[test]
fn a_write_that_a_stranger_answers_is_of_unknown_outcome() {
    let cluster = EtcdCluster::start(1);
    let patient = store(&cluster);
    for (what, peer) in peers() {
        // Only a peer that says so itself has not done it.
        if what == "a log-in" {
            continue;
        }
        let proxy = Proxy::start(&cluster.addr(0));
        let store = Etcd::connect(&format!("etcd://{}?timeout=20s", proxy.addr())).unwrap();
        let key = what.replace(' ', "-");
        let version = add(&store, &key, "v");
        // The next connection leads to the stranger.
        proxy.lead_to(&[&peer.start()]);
        proxy.set(Mode::CutNextRequest);
        assert!(store.get("k").is_err(), "{what}");
        let answer = store.delete(&key, version);
        assert!(matches!(answer, Err(StoreError::UnknownOutcome(_))), "{what}: {answer:?}");
        // It has not been sent to anybody else either.
        assert_eq!(get(&patient, &key).version, version, "{what}");
    }
}
