//! A peer that is none of the servers that it is taken for, or a mad one: whatever bytes it sends, each call returns in
//! time.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvlock::store::{Etcd, KvStore, Memcached, Postgres, Redis, Ttl, Version, WriteOutcome};

/// What a fit memcached says to a new connection: its epoch item and its `stats`.
const MEMCACHED_GREETING: &[u8] = b"VA 36 c7\r\nkvlock epoch 1 started=1000 uptime=5\r\n\
    STAT version 1.6.18\r\nSTAT time 1100\r\nSTAT uptime 100\r\nEND\r\n";
/// What a fit Redis says to a new connection: the era, and what it tells of itself.
const REDIS_GREETING: &[u8] = b"*4\r\n$4\r\nsame\r\n$19\r\n1700000000000000000\r\n$4\r\n1000\r\n\
    *4\r\n$10\r\nstandalone\r\n$6\r\nmaster\r\n$2\r\n0f\r\n$1\r\n9\r\n";
/// What PostgreSQL says to who may come in.
const POSTGRES_GREETING: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
/// Between what is said on one connection and on the next: a byte that has no meaning in the protocol.
const NEXT_CONNECTION: u8 = 0xff;
/// The same, where that byte is frequent; and between what is said after one request and after the next.
const RARE: [u8; 2] = [0xfe, 0xfd];
const TIMEOUT: Duration = Duration::from_millis(50);
/// How long after a piece of a request the next one comes at the latest, most times.
const PIECES: Duration = Duration::from_millis(3);
/// A call makes a handful of exchanges, on two connections at most, and each may take two timeouts; a busy machine may
/// take longer to get to it.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Says the bytes as memcached's replies.
pub(crate) fn memcached(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let store = Memcached::connect(&address.to_string()).expect("a legal address");
        Box::new(store.with_connect_timeout(TIMEOUT).with_operation_timeout(TIMEOUT))
    };
    play(data, Manners { greeting: MEMCACHED_GREETING, ..TALKATIVE }, connect, b"STORED");
}

/// Says the bytes as the replies of Redis.
pub(crate) fn redis(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let url = format!("redis://{address}?timeout={timeout}&connect-timeout={timeout}");
        Box::new(Redis::connect(&url).expect("a legal URL"))
    };
    play(data, Manners { greeting: REDIS_GREETING, ..TALKATIVE }, connect, b"written");
}

/// Says the bytes as the answers of etcd's gateway.
pub(crate) fn etcd(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let url = format!("etcd://{address}?timeout={timeout}&connect-timeout={timeout}");
        Box::new(Etcd::connect(&url).expect("a legal URL"))
    };
    play(data, Manners { is_literal: false, ..POLITE }, connect, b"succeeded");
}

/// Says the bytes as the messages of PostgreSQL.
pub(crate) fn postgres(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let url = format!("postgres://me@{address}/db?sslmode=disable&timeout={timeout}&connect_timeout={timeout}");
        Box::new(Postgres::connect(&url).expect("a legal URL"))
    };
    // What is written is told in a row.
    play(data, Manners { greeting: POSTGRES_GREETING, ..POLITE }, connect, b"D");
}

/// How a peer speaks.
#[derive(Clone, Copy)]
struct Manners {
    /// What it says first, mostly.
    greeting: &'static [u8],
    /// Whether it says a value as it is.
    is_literal: bool,
    /// What parts the bytes for one connection from those for the next.
    next_connection: u8,
    /// What parts the bytes that are said after one request from those after the next; none: all is said at once.
    next_request: Option<u8>,
}

const TALKATIVE: Manners =
    Manners { greeting: b"", is_literal: true, next_connection: NEXT_CONNECTION, next_request: None };
const POLITE: Manners = Manners { next_connection: RARE[0], next_request: Some(RARE[1]), ..TALKATIVE };

/// Says the bytes on the connections that are made, and then nothing more. `written` is said of every write.
fn play(data: &[u8], manners: Manners, connect: impl Fn(SocketAddr) -> Box<dyn KvStore>, written: &[u8]) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
    let address = listener.local_addr().expect("a bound listener has an address");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| talk(&listener, data, manners, &over));
        let store = connect(address);
        let said = |word: &[u8]| word.is_empty() || data.windows(word.len()).any(|bytes| bytes == word);
        let version = Version { era: 1_000_000_000_007, number: 7 };
        if let Ok(WriteOutcome::Written(_)) = timed(|| store.add("k", b"v", Ttl::Forever)) {
            assert!(said(written), "written, though nobody said so");
        }
        if let Ok(Some(entry)) = timed(|| store.get("k")) {
            assert!(!manners.is_literal || said(&entry.value), "a value that nobody sent");
        }
        if let Ok(WriteOutcome::Written(_)) = timed(|| store.replace("k", b"w", Ttl::Forever, version)) {
            assert!(said(written), "written, though nobody said so");
        }
        let keys = ["a", "b"].map(String::from);
        if let Ok(entries) = timed(|| store.get_many(&keys)) {
            assert_eq!(entries.len(), 2);
        }
        let _ = timed(|| store.delete("k", version));
        let _ = timed(|| store.era("k"));
        assert!(!timed(|| store.diagnose()).is_empty());
        over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(address);
    });
}

/// Reads a request, of several pieces perhaps. Who asks nothing hears what follows, too.
fn hear(stream: &mut TcpStream) {
    let mut patience = TIMEOUT;
    loop {
        let _ = stream.set_read_timeout(Some(patience));
        if !stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
            return;
        }
        patience = PIECES;
    }
}

fn timed<T>(call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = call();
    assert!(began.elapsed() < LONGEST_CALL, "a call took {:?}", began.elapsed());
    answer
}

fn talk(listener: &TcpListener, data: &[u8], manners: Manners, over: &AtomicBool) {
    let mut scripts = data.split(|byte| *byte == manners.next_connection);
    // Open to the end, so that nothing said is lost by a reset.
    let mut open = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let script = scripts.next().unwrap_or_default();
        // Most begin well, or none would get far.
        if script.first().is_none_or(|byte| byte % 4 != 0) {
            let _ = stream.write_all(manners.greeting);
        }
        let answers = script.get(1..).unwrap_or_default().split(|byte| Some(*byte) == manners.next_request);
        for (number, answer) in answers.enumerate() {
            if number > 0 {
                hear(&mut stream);
            }
            let _ = stream.write_all(answer);
        }
        let _ = stream.shutdown(Shutdown::Write);
        open.push(stream);
    }
}
