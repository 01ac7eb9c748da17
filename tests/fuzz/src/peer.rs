//! A peer that is no memcached and no Redis, or a mad one: whatever bytes it sends, each call returns in time.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvlock::store::{KvStore, Memcached, Redis, Ttl, Version, WriteOutcome};

/// What a fit memcached says to a new connection: its epoch item and its `stats`.
const MEMCACHED_GREETING: &[u8] = b"VA 36 c7\r\nkvlock epoch 1 started=1000 uptime=5\r\n\
    STAT version 1.6.18\r\nSTAT time 1100\r\nSTAT uptime 100\r\nEND\r\n";
/// What a fit Redis says to a new connection: the era, and what it tells of itself.
const REDIS_GREETING: &[u8] = b"*4\r\n$4\r\nsame\r\n$19\r\n1700000000000000000\r\n$4\r\n1000\r\n\
    *4\r\n$10\r\nstandalone\r\n$6\r\nmaster\r\n$2\r\n0f\r\n$1\r\n9\r\n";
/// Between what is said on one connection and on the next.
const NEXT_CONNECTION: u8 = 0xff;
const TIMEOUT: Duration = Duration::from_millis(50);
/// A call makes a handful of exchanges, on two connections at most, and each may take two timeouts; a busy machine may
/// take longer to get to it.
const LONGEST_CALL: Duration = Duration::from_secs(5);

/// Says the bytes as memcached's replies.
pub(crate) fn memcached(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let store = Memcached::connect(&address.to_string()).expect("a legal address");
        Box::new(store.with_connect_timeout(TIMEOUT).with_operation_timeout(TIMEOUT))
    };
    play(data, MEMCACHED_GREETING, connect, b"STORED");
}

/// Says the bytes as the replies of Redis.
pub(crate) fn redis(data: &[u8]) {
    let connect = |address: SocketAddr| -> Box<dyn KvStore> {
        let timeout = format!("{}ms", TIMEOUT.as_millis());
        let url = format!("redis://{address}?timeout={timeout}&connect-timeout={timeout}");
        Box::new(Redis::connect(&url).expect("a legal URL"))
    };
    play(data, REDIS_GREETING, connect, b"written");
}

/// Says the bytes on the connections that are made, and then nothing more. `written` is said of every write.
fn play(data: &[u8], greeting: &'static [u8], connect: impl Fn(SocketAddr) -> Box<dyn KvStore>, written: &[u8]) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback interface");
    let address = listener.local_addr().expect("a bound listener has an address");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| talk(&listener, data, greeting, &over));
        let store = connect(address);
        let said = |word: &[u8]| word.is_empty() || data.windows(word.len()).any(|bytes| bytes == word);
        let version = Version { era: 1_000_000_000_007, number: 7 };
        if let Ok(WriteOutcome::Written(_)) = timed(|| store.add("k", b"v", Ttl::Forever)) {
            assert!(said(written), "written, though nobody said so");
        }
        if let Ok(Some(entry)) = timed(|| store.get("k")) {
            assert!(said(&entry.value), "a value that nobody sent");
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

fn timed<T>(call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = call();
    assert!(began.elapsed() < LONGEST_CALL, "a call took {:?}", began.elapsed());
    answer
}

fn talk(listener: &TcpListener, data: &[u8], greeting: &[u8], over: &AtomicBool) {
    let mut scripts = data.split(|byte| *byte == NEXT_CONNECTION);
    // Open to the end, so that nothing said is lost by a reset.
    let mut open = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let script = scripts.next().unwrap_or_default();
        // Most begin well, or none would get far.
        if script.first().is_none_or(|byte| byte % 4 != 0) {
            let _ = stream.write_all(greeting);
        }
        let _ = stream.write_all(script.get(1..).unwrap_or_default());
        let _ = stream.shutdown(Shutdown::Write);
        open.push(stream);
    }
}
