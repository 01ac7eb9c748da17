//! Connections by TLS, with certificates of the test's own.

use kvlock::store::{KvStore, Redis, Severity};
use kvlock_testkit::{RedisServer, free_port};
use kvlock_tests::Certificates;

use crate::support::{TTL, add, assert_unavailable, get};

/// A server that speaks TLS on a second port, and wants certificates of its clients if `wants` is `yes`.
fn server(certificates: &Certificates, wants: &str) -> (RedisServer, String) {
    let port = free_port().port().to_string();
    let [ca, cert, key] = ["ca.pem", "server.pem", "server.key"].map(|name| certificates.file(name));
    let options = [
        "--tls-port",
        &port,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        wants,
    ];
    (RedisServer::start_with(&options), format!("127.0.0.1:{port}"))
}

#[test]
fn locks_work_by_tls_with_an_authority_of_ones_own() {
    let certificates = Certificates::make();
    let (server, address) = server(&certificates, "no");
    let url = format!("rediss://{address}?ca={}", certificates.file("ca.pem"));
    let store = Redis::connect(&url).unwrap();
    let version = add(&store, "k", "v");
    // Large values need several records.
    let large = vec![7; 1_000_000];
    store.add("large", &large, TTL).unwrap();
    assert!(store.get("large").unwrap().unwrap().value == large);
    // A look at an idle connection passes over what is for TLS alone.
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert_eq!(get(&store, "k").version, version);
    assert_eq!(crate::support::store(&server).get("k").unwrap().unwrap().version, version);
    let by_name = url.replace("127.0.0.1", "localhost").replace("rediss", "valkeys");
    assert_eq!(get(&Redis::connect(&by_name).unwrap(), "k").version, version);
    assert!(store.diagnose().iter().all(|finding| finding.severity == Severity::Ok));
}

#[test]
fn a_server_whose_certificate_is_not_trusted_is_not_used() {
    let certificates = Certificates::make();
    let (_server, address) = server(&certificates, "no");
    let url = format!("rediss://{address}?ca={}", certificates.file("other.pem"));
    let text = assert_unavailable(Redis::connect(&url).unwrap().add("k", b"v", TTL));
    assert!(text.contains("certificate") && text.contains("`ca=FILE`"), "{text}");
    // The certificate is for other names than this.
    let url = format!("rediss://127.0.0.2:{}?ca={}", address.rsplit_once(':').unwrap().1, certificates.file("ca.pem"));
    let text = assert_unavailable(Redis::connect(&url).unwrap().add("k", b"v", TTL));
    assert!(text.contains("127.0.0.2"), "{text}");
}

#[test]
fn a_client_shows_its_certificate_where_one_is_wanted() {
    let certificates = Certificates::make();
    let (_server, address) = server(&certificates, "yes");
    let [ca, cert, key] = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.file(name));
    let text = assert_unavailable(Redis::connect(&format!("rediss://{address}?ca={ca}")).unwrap().get("k"));
    assert!(text.contains("`cert=FILE`"), "{text}");
    let store = Redis::connect(&format!("rediss://{address}?ca={ca}&cert={cert}&key={key}")).unwrap();
    add(&store, "k", "v");
}

#[test]
fn plain_text_where_tls_is_spoken_and_the_other_way_round_is_told() {
    let certificates = Certificates::make();
    let (server, address) = server(&certificates, "no");
    let ca = certificates.file("ca.pem");
    let text = assert_unavailable(Redis::connect(&format!("rediss://{}?ca={ca}", server.addr())).unwrap().get("k"));
    assert!(text.contains("does the server speak TLS there?"), "{text}");
    assert!(Redis::connect(&format!("redis://{address}")).unwrap().get("k").is_err());
}
