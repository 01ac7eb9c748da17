//! What a guest is told when the network, the server or the platform fails.

use std::time::Duration;

use kvlock::store::{DeleteOutcome, KvStore, Memcached, StoreError, Ttl, Version, WriteOutcome};
use kvlock_platforms::{GuestStore, Platform};
use kvlock_testkit::{MemcachedServer, free_port, process};

const TTL: Ttl = Ttl::After(Duration::from_secs(30));
/// Short, because the servers here that do not answer never will.
const TIMEOUTS: &str = "?timeout=200ms&connect-timeout=2s";

fn guest(url: &str) -> GuestStore {
    GuestStore::new(&Platform::with_store(url)).unwrap()
}

fn add(store: &dyn KvStore, key: &str) -> Version {
    match store.add(key, b"v", TTL) {
        Ok(WriteOutcome::Written(version)) => version,
        other => panic!("`{key}`: {other:?}"),
    }
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>, part: &str) {
    assert!(matches!(&answer, Err(StoreError::Unavailable(text)) if text.contains(part)), "{answer:?}");
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, StoreError>, part: &str) {
    assert!(matches!(&answer, Err(StoreError::Rejected(text)) if text.contains(part)), "{answer:?}");
}

#[test]
fn a_server_that_is_frozen_leaves_a_write_unknown_and_a_read_unavailable() {
    let server = MemcachedServer::start();
    let store = guest(&format!("{}{TIMEOUTS}", server.url()));
    let version = add(&store, "k");
    server.stop();
    assert_unavailable(store.get("k"), "no full answer within 200 ms");
    server.cont();
    assert_eq!(store.get("k").unwrap().unwrap().version, version);
    server.stop();
    let unknown = store.replace("k", b"w", TTL, version);
    assert!(matches!(unknown, Err(StoreError::UnknownOutcome(_))), "{unknown:?}");
    // No connection can be made to know the era by: nothing was sent.
    assert_unavailable(store.add("l", b"v", TTL), "");
    server.cont();
    assert!(matches!(store.get("k"), Ok(Some(_))));
}

#[test]
fn a_server_that_is_gone_is_unavailable_and_one_that_is_started_again_has_a_new_era() {
    let mut server = MemcachedServer::start();
    let store = guest(&format!("{}{TIMEOUTS}", server.url()));
    let old = add(&store, "k");
    server.kill();
    // A connection that the server has closed is noticed before a write, and no write is in doubt.
    std::thread::sleep(Duration::from_millis(20));
    assert_unavailable(store.add("k", b"v", TTL), "connection-refused");
    assert_unavailable(store.get("k"), "connection-refused");
    server.restart();
    assert_eq!(store.get("k").unwrap(), None);
    assert_eq!(store.replace("k", b"w", TTL, old).unwrap(), WriteOutcome::Conflict(None));
    assert_eq!(store.delete("k", old).unwrap(), DeleteOutcome::Conflict(None));
    let new = add(&store, "k");
    assert!(new.era > old.era && new.era + new.number > old.era + old.number);
    assert_eq!(store.era("k").unwrap().id, new.era);
}

#[test]
fn a_flush_ends_the_era_for_guests_and_natives_alike() {
    let server = MemcachedServer::start();
    let (guest, native) = (guest(&server.url()), Memcached::connect(&server.url()).unwrap());
    let old = add(&guest, "k");
    assert_eq!(native.get("k").unwrap().unwrap().version, old);
    server.flush();
    assert_eq!(guest.replace("k", b"w", TTL, old).unwrap(), WriteOutcome::Conflict(None));
    let new = add(&native, "k");
    assert!(new.era > old.era);
    assert_eq!(guest.get("k").unwrap().unwrap().version, new);
}

#[test]
fn an_item_that_is_too_large_is_refused_and_the_guest_goes_on() {
    let server = MemcachedServer::start_with(&["-I", "512k"]);
    let store = guest(&server.url());
    let version = add(&store, "k");
    assert_rejected(store.replace("k", &vec![0; 700_000], TTL, version), "too large");
    assert_rejected(store.add("l", &vec![0; 1 << 20], TTL), "are the most");
    assert_eq!(store.delete("k", version).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn who_may_not_connect_is_told_the_switch_of_the_platform_once_and_for_all() {
    let server = MemcachedServer::start();
    let platform = Platform { network: false, ..Platform::with_store(&server.url()) };
    let store = GuestStore::new(&platform).unwrap();
    for part in ["-S inherit-network", "allow_tcp", "allowed_outbound_hosts", "allowedHosts"] {
        assert_rejected(store.add("k", b"v", TTL), part);
        assert_rejected(store.get("k"), part);
    }
    let url = server.url().replace("127.0.0.1", "localhost");
    let no_names = Platform { names: false, ..Platform::with_store(&url) };
    assert_rejected(GuestStore::new(&no_names).unwrap().get("k"), "-S allow-ip-name-lookup");
    // An address is no name.
    let no_names = Platform { names: false, ..Platform::with_store(&server.url()) };
    add(&GuestStore::new(&no_names).unwrap(), "k");
}

#[test]
fn a_name_is_looked_up_and_one_that_does_not_exist_is_told() {
    let server = MemcachedServer::start();
    let store = guest(&server.url().replace("127.0.0.1", "localhost"));
    add(&store, "k");
    assert_unavailable(guest("memcached://no-such-host.invalid").get("k"), "cannot find the host");
}

/// A process that ends with this value.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // Killing what has ended by itself fails, and need not succeed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_name_that_leads_to_two_servers_is_refused_until_it_leads_to_one() {
    let server = MemcachedServer::start();
    let address: std::net::SocketAddr = server.addr().parse().unwrap();
    let other = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port()));
    let localhost = ("localhost", address.port());
    let leads_to: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&localhost).unwrap().collect();
    if !(leads_to.contains(&address) && leads_to.contains(&other)) || std::net::TcpListener::bind(other).is_err() {
        eprintln!("not run: localhost is one address here");
        return;
    }
    let mut command = process::command("memcached");
    command.args(["-u", "nobody", "-U", "0", "-l", "::1", "-p", &address.port().to_string()]);
    let second = Ends(command.spawn().unwrap());
    while std::net::TcpStream::connect(other).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let store = guest(&format!("memcached://localhost:{}", address.port()));
    assert_rejected(store.get("k"), "different servers");
    assert_rejected(store.add("k", b"v", TTL), "different servers");
    drop(second);
    add(&store, "k");
}

#[test]
fn a_store_that_is_not_set_or_not_reached_by_components_is_told_in_one_line() {
    let invalid = |variables: Vec<(String, String)>, part: &str| {
        let store = GuestStore::new(&Platform { variables, network: true, names: true }).unwrap();
        for answer in [store.get("k").map(drop), store.add("k", b"v", TTL).map(drop)] {
            let Err(StoreError::Invalid(text)) = answer else { panic!("{answer:?}") };
            assert!(text.contains(part) && text.lines().count() == 1, "{text}");
        }
    };
    invalid(vec![], "KVLOCK_STORE is not set");
    for (url, part) in [("redis://h", "memcached only"), ("memcacheds://h", "no TLS"), ("memcached://a,a", "twice")] {
        invalid(vec![("KVLOCK_STORE".into(), url.into())], part);
    }
}

#[test]
fn what_is_no_memcached_is_invalid() {
    use std::io::Write;
    let address = free_port();
    let listener = std::net::TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(4) {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let answer = guest(&format!("memcached://{address}")).get("k");
    assert!(matches!(&answer, Err(StoreError::Invalid(text)) if text.contains("HTTP/1.1 400")), "{answer:?}");
}
