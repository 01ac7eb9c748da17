//! memcached as it is deployed: on a UNIX socket, with a login, by TLS.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use kvlock::store::{DeleteOutcome, KvStore, Memcached, Severity};
use kvlock_testkit::{free_port, process};
use kvlock_tests::Certificates;
use kvlock_tests::kvlock::eventually;

use crate::support::{TTL, add, assert_invalid, assert_rejected, assert_unavailable, get};

/// A memcached that ends with this value.
struct Server(Child);

impl Server {
    fn start(arguments: &[&str], is_up: impl Fn() -> bool) -> Server {
        let mut command = process::command("memcached");
        // As root it gives its rights up for those of a user, who has to be able to make a socket in our folder.
        command.args(["-u", "root", "-U", "0"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server(command.spawn().expect("memcached is there: apt-get install memcached"));
        eventually("memcached", || {
            assert!(server.0.try_wait().unwrap().is_none(), "memcached {arguments:?} ended");
            is_up()
        });
        server
    }

    /// Listens on a free port of the loopback interface, with more options. Gives its address, too.
    fn on_a_port(options: &[&str]) -> (Server, String) {
        let address = free_port();
        let port = address.port().to_string();
        let arguments = [&["-l", "127.0.0.1", "-p", &port], options].concat();
        (Server::start(&arguments, || TcpStream::connect(address).is_ok()), address.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing what has ended by itself fails, and need not succeed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It is a store: what is added is there, for another client too, and goes.
fn assert_works(url: &str) {
    let (store, other) = (Memcached::connect(url).unwrap(), Memcached::connect(url).unwrap());
    let version = add(&store, "k", "v");
    assert_eq!(get(&other, "k").version, version);
    let large = vec![7; 500_000];
    store.add("large", &large, TTL).unwrap();
    assert!(other.get("large").unwrap().unwrap().value == large);
    // Long enough for the connection to be looked at before it is used again.
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(store.delete("k", version).unwrap(), DeleteOutcome::Deleted);
    let findings = store.diagnose();
    assert!(findings.iter().all(|finding| finding.severity != Severity::Unfit), "{findings:#?}");
}

fn socket_in(folder: &Path) -> String {
    folder.join("memcached.sock").display().to_string()
}

#[test]
fn locks_work_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = socket_in(folder.path());
    let server = Server::start(&["-s", &path], || UnixStream::connect(&path).is_ok());
    assert_works(&format!("memcached://{path}?timeout=2s"));
    let store = Memcached::connect(&path).unwrap();
    assert_eq!(store.server_of("k").unwrap(), path);
    add(&store, "l", "v");
    drop(server);
    let text = assert_unavailable(store.get("l"));
    assert!(text.contains(&path), "{text}");
    // Another one in its place has lost everything.
    let _server = Server::start(&["-s", &path], || UnixStream::connect(&path).is_ok());
    assert_eq!(store.get("l").unwrap(), None);
    assert!(assert_invalid(Memcached::connect(&format!("memcacheds://{path}"))).contains("TLS"));
}

#[test]
fn a_login_is_given_on_each_connection_and_a_wrong_one_is_refused_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, "me:ri@ht\nyou:other\n").unwrap();
    let (_server, address) = Server::on_a_port(&["-Y", file.to_str().unwrap()]);
    assert_works(&format!("memcached://me:ri%40ht@{address}"));
    assert_works(&format!("you:other@{address}"));
    for (login, part) in [("", "it wants a login"), ("me:wr0ng@", "check the user"), ("wr0ng:other@", "check the user")]
    {
        let store = Memcached::connect(&format!("memcached://{login}{address}")).unwrap();
        let text = assert_rejected(store.add("k", b"v", TTL));
        assert!(text.contains(part) && !text.contains("wr0ng"), "{text}");
        let findings = store.diagnose();
        assert!(findings.iter().any(|finding| finding.severity == Severity::Unfit), "{findings:#?}");
        assert!(!format!("{store:?}{findings:?}").contains("wr0ng"), "{store:?}");
    }
    for login in ["me@", ":pw@", "a%20b:pw@", "me:p%0aw@"] {
        let text = assert_invalid(Memcached::connect(&format!("memcached://{login}{address}")));
        assert!(text.contains("user:password@host") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn locks_work_by_tls_and_a_server_that_is_not_trusted_is_not_used() {
    let certificates = Certificates::make();
    let [ca, other, cert, key] =
        ["ca.pem", "other.pem", "server.pem", "server.key"].map(|name| certificates.file(name));
    let options = format!("ssl_chain_cert={cert},ssl_key={key}");
    let (_server, address) = Server::on_a_port(&["-Z", "-o", &options]);
    assert_works(&format!("memcacheds://{address}?ca={ca}"));
    let store = Memcached::connect(&format!("memcacheds://{address}?ca={other}")).unwrap();
    let text = assert_unavailable(store.add("k", b"v", TTL));
    assert!(text.contains("certificate") && text.contains("`ca=FILE`"), "{text}");
    assert!(Memcached::connect(&address).unwrap().get("k").is_err());
}
