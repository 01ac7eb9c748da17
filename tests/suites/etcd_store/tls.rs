//! TLS: whom the client trusts, and who it is. The certificates in `tests/data/tls` are made for these tests alone.

use std::path::PathBuf;

use kvlock::store::{Etcd, KvStore, Severity};
use kvlock_testkit::EtcdCluster;
use kvlock_tests::kvlock::eventually;
use kvlock_tests::tree::workspace;

use crate::support::{TTL, add, assert_unavailable, delete, get};

fn file(name: &str) -> String {
    let path: PathBuf = workspace().join("tests/data/tls").join(name);
    path.display().to_string()
}

/// A member that speaks TLS, and asks its clients for a certificate.
fn start() -> EtcdCluster {
    let options = ["cert-file=server.pem", "key-file=server.key", "trusted-ca-file=ca.pem"].map(|option| {
        let (option, name) = option.split_once('=').unwrap();
        format!("--{option}={}", file(name))
    });
    let options: Vec<&str> = options.iter().map(String::as_str).chain(["--client-cert-auth"]).collect();
    EtcdCluster::start_with(1, &options)
}

fn connect(scheme: &str, address: &str, files: &[(&str, &str)]) -> Etcd {
    let files: String = files.iter().map(|(name, of)| format!("&{name}={}", file(of))).collect();
    Etcd::connect(&format!("{scheme}://{address}?timeout=20s&connect-timeout=20s{files}")).unwrap()
}

const OURS: [(&str, &str); 3] = [("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")];

#[test]
fn a_cluster_with_certificates_is_locked_on_and_each_mistake_has_its_advice() {
    let cluster = start();
    let address = cluster.addr(0);
    let store = connect("etcds", &address, &OURS);
    let version = add(&store, "k", "v");
    assert_eq!(get(&store, "k").version, version);
    delete(&store, "k", version);
    assert!(store.diagnose().iter().all(|finding| finding.severity == Severity::Ok), "{:#?}", store.diagnose());
    // By the name that the certificate has beside its address.
    let by_name = address.replace("127.0.0.1", "localhost");
    add(&connect("etcds", &by_name, &OURS), "by-name", "v");

    let other = [("ca", "other.pem"), OURS[1], OURS[2]];
    for (what, store, part) in [
        ("another authority", connect("etcds", &address, &other), "`ca=FILE`"),
        ("no certificate", connect("etcds", &address, &OURS[..1]), "`cert`"),
        ("no TLS", connect("etcd", &address, &[]), "etcds://"),
    ] {
        // A server may close the connection before its reason has been read.
        eventually(what, || format!("{:?}", store.get("k")).contains(part));
        eventually(what, || format!("{:?}", store.add("k", b"v", TTL)).contains(part));
        assert_eq!(store.diagnose()[0].severity, Severity::Unfit, "{what}");
    }
}

#[test]
fn a_cluster_without_tls_is_told_from_one_with_it() {
    let cluster = EtcdCluster::start(1);
    let store = connect("etcds", &cluster.addr(0), &OURS[..1]);
    let text = assert_unavailable(store.get("k"));
    assert!(text.contains("write etcd://"), "{text}");
}
