//! Servers that misbehave: what is said by an impostor, and by a memcached that is too old.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use kvlock::store::{KvStore, Memcached, Ttl, Version};
use kvlock_tests::Watch;

use crate::support::{SECOND, TTL, assert_invalid, assert_rejected, assert_unavailable};

/// Answers the requests on each connection with the replies of a script, the last one again and again.
fn impostor(script: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, script) = (stream.unwrap(), script.clone());
            thread::spawn(move || {
                let mut chunk = vec![0; 1 << 16];
                for reply in script.iter().chain(std::iter::repeat_n(script.last().unwrap(), 100)) {
                    if !matches!(stream.read(&mut chunk), Ok(1..)) || stream.write_all(reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn stats(version: &str) -> String {
    format!("STAT uptime 500\r\nSTAT time 1700000500\r\nSTAT version {version}\r\nEND\r\n")
}

const MARK: &str = "kvlock epoch 1 started=1700000000 uptime=5";

fn garbage() -> Vec<Vec<u8>> {
    let texts: &[&[u8]] = &[
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"-ERR unknown command 'mg'\r\n",
        b"\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\n",
        b"\xff\xfe\xfd\n",
        b"VA\r\n",
        b"VA -1 c1\r\n",
        b"VA 99999999999999999999999 c1\r\n",
        b"VA 18446744073709551615 c1\r\n",
        b"VA 1000000000 c1\r\n",
        b"VA 2 c1\r\nabcdef\r\n",
        b"HD\r\nHD\r\nHD\r\n",
        b"HD c\r\n",
        b"HD cx f-1\r\nHD c1\r\n",
        b"EN\r\nSTAT\r\nEND\r\n",
        b"EN\r\nEND\r\n",
        b"EN\r\nSTAT time 1\r\nSTAT uptime 2\r\nSTAT version 1.6.18\r\nEND\r\n",
        b"EN\r\nSTAT time 99999999999999999999\r\nSTAT uptime 2\r\nSTAT version 1.6.18\r\nEND\r\n",
        b"STORED\r\n",
        b"STORED\r\nEN\r\nEN\r\n",
        b"STORED\r\nHD c1 f0\r\nHD c7\r\n",
        b"EXISTS\r\nEN\r\nEN\r\n",
        b"NOT_STORED\r\nHD c18446744073709551615 f1\r\nHD c5\r\n",
        b"SERVER_ERROR\r\n",
        b"CLIENT_ERROR bad\r\nERROR\r\n",
        b"HD HD HD HD HD\r\n",
    ];
    let mut all: Vec<_> = texts.iter().map(|text| text.to_vec()).collect();
    all.push(vec![b'a'; 100_000]);
    all.push(b"STAT a b\r\n".repeat(5_000));
    all.push([b"EN\r\n".to_vec(), b"STAT a b\r\n".repeat(5_000)].concat());
    all
}

fn use_everything(store: &Memcached) {
    let version = Version { era: 1_700_000_000_000_000_007, number: 3 };
    let start = Watch::start();
    let _ = (store.get("k"), store.get_many(&["a".into(), "b".into()]), store.era("k"));
    let _ = (store.add("k", b"v", TTL), store.replace("k", b"v", TTL, version), store.delete("k", version));
    let _ = store.add("k", b"v", Ttl::After(Duration::from_secs(1 << 40)));
    let _ = store.diagnose();
    start.assert_within(10 * SECOND);
}

#[test]
fn a_server_that_talks_nonsense_is_survived() {
    let hello = format!("VA {} c7\r\n{MARK}\r\n{}", MARK.len(), stats("1.6.18")).into_bytes();
    // The control: with a sensible second answer, the impostor passes for a server.
    let impostor_of = |reply: &[u8]| Memcached::connect(&impostor(vec![hello.clone(), reply.to_vec()])).unwrap();
    assert_eq!(impostor_of(b"EN\r\nHD c7\r\n").get("k"), Ok(None));
    thread::scope(|scope| {
        for reply in garbage() {
            let hello = hello.clone();
            scope.spawn(move || {
                for script in [vec![reply.clone()], vec![hello, reply]] {
                    let store = Memcached::connect(&impostor(script)).unwrap();
                    use_everything(&store.with_operation_timeout(Duration::from_millis(50)));
                }
            });
        }
    });
}

#[test]
fn a_server_of_another_protocol_is_refused_with_what_it_said() {
    for (reply, shown) in [("HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"), ("-ERR unknown\r\n", "-ERR unknown")] {
        let address = impostor(vec![reply.into()]);
        let store = Memcached::connect(&address).unwrap();
        for text in [assert_invalid(store.add("k", b"v", TTL)), assert_invalid(store.get("k"))] {
            assert!(text.starts_with(&format!("{address} does not speak memcached's protocol")), "{text}");
            assert!(text.contains(shown), "{text}");
        }
    }
}

#[test]
fn a_memcached_that_is_too_old_is_refused_with_its_version() {
    for (first, version) in [("EN\r\n", "1.6.12"), ("ERROR\r\n", "1.4.25")] {
        let address = impostor(vec![format!("{first}{}", stats(version)).into()]);
        let text = assert_rejected(Memcached::connect(&address).unwrap().add("k", b"v", TTL));
        assert!(text.contains(version) && text.contains("1.6.13"), "{text}");
    }
}

#[test]
fn a_server_that_dribbles_its_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                while stream.write_all(b"S").is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    let store = Memcached::connect(&address).unwrap().with_operation_timeout(Duration::from_millis(200));
    let start = Watch::start();
    assert_unavailable(store.add("k", b"v", TTL));
    start.assert_within(SECOND);
}
