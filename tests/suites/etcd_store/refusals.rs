//! What a cluster refuses: logins, rights, room, and the gateway itself.

use kvlock::Client;
use kvlock::store::{DeleteOutcome, Etcd, KvStore, Severity, WriteOutcome};
use kvlock_testkit::EtcdCluster;

use crate::support::{TTL, add, assert_rejected, delete, get, store, written};

#[test]
fn a_full_cluster_refuses_new_entries_and_lets_go_of_old_ones() {
    let cluster = EtcdCluster::start_with(1, &["--quota-backend-bytes=400000"]);
    let store = store(&cluster);
    let version = add(&store, "k", "v");
    let large = vec![b'x'; 100_000];
    let refused = (0..100).find_map(|at| store.add(&format!("large{at}"), &large, TTL).err());
    let text = assert_rejected::<()>(Err(refused.unwrap()));
    assert!(text.contains("space exceeded") && text.contains("--quota-backend-bytes"), "{text}");
    assert_rejected(store.replace("k", b"w", TTL, version));
    assert_eq!(get(&store, "k").version, version);
    assert_eq!(store.delete("k", version), Ok(DeleteOutcome::Deleted));
    let alarm = store.diagnose().into_iter().find(|finding| finding.check == "alarms").unwrap();
    assert!(alarm.severity == Severity::Unfit && alarm.text.contains("NOSPACE"), "{alarm:?}");
}

fn with_auth() -> EtcdCluster {
    let cluster = EtcdCluster::start_with(1, &["--auth-token-ttl=2"]);
    for command in [
        "user add root:root-secret",
        "user grant-role root root",
        "role add kvlock",
        "role grant-permission kvlock --prefix=true readwrite kvlock/",
        "user add locker:p@ss/w:rd",
        "user grant-role locker kvlock",
        "user add other:other-secret",
    ] {
        cluster.etcdctl(&command.split(' ').collect::<Vec<_>>());
    }
    cluster.etcdctl(&["auth", "enable"]);
    cluster
}

#[test]
fn a_login_is_taken_from_the_url_and_renewed_when_it_ends() {
    let cluster = with_auth();
    let url = |login: &str| format!("etcd://{login}@{}?timeout=20s", cluster.addr(0));
    let store = Etcd::connect(&url("locker:p%40ss%2Fw:rd")).unwrap();
    let version = add(&store, "k", "v");
    // The token lives for two seconds.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let version = written(store.replace("k", b"w", TTL, version));
    delete(&store, "k", version);
    assert!(store.diagnose().iter().all(|finding| finding.severity == Severity::Ok), "{:#?}", store.diagnose());
    let client = Client::connect(&url("locker:p%40ss%2Fw:rd")).unwrap();
    client.lock("report").acquire().unwrap().release().unwrap();
}

#[test]
fn a_wrong_login_a_missing_one_and_one_without_rights_are_told_apart_and_no_secret_is_shown() {
    let cluster = with_auth();
    for (login, part) in [
        ("locker:hunter2@", "check the user and the password"),
        ("nobody:hunter2@", "check the user and the password"),
        ("", "wants a login"),
        ("other:other-secret@", "permission denied"),
    ] {
        let store = Etcd::connect(&format!("etcd://{login}{}?timeout=20s", cluster.addr(0))).unwrap();
        let texts = [assert_rejected(store.add("k", b"v", TTL)), assert_rejected(store.get("k"))];
        let told = store.diagnose().into_iter().map(|finding| finding.text);
        for text in texts.iter().cloned().chain(told) {
            assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
        }
        assert!(texts.iter().all(|text| text.contains(part)), "{login}: {texts:?}");
        assert!(!format!("{store:?}").contains("hunter2"));
    }
    let wrong = Client::connect(&format!("etcd://locker:hunter2@{}/path", cluster.addr(0))).unwrap_err();
    assert!(!format!("{wrong}").contains("hunter2"), "{wrong}");
}

#[test]
fn a_login_that_nobody_asks_for_is_no_error_and_counts_once_it_is_asked_for() {
    let cluster = EtcdCluster::start(1);
    let store = Etcd::connect(&format!("etcd://root:secret@{}?timeout=20s", cluster.addr(0))).unwrap();
    let version = add(&store, "k", "v");
    let login = store.diagnose().into_iter().find(|finding| finding.check == "login").unwrap();
    assert_eq!(login.severity, Severity::Warning, "{login:?}");
    cluster.etcdctl(&["user", "add", "root:secret"]);
    cluster.etcdctl(&["user", "grant-role", "root", "root"]);
    cluster.etcdctl(&["auth", "enable"]);
    let version = written(store.replace("k", b"w", TTL, version));
    assert_eq!(get(&store, "k").version, version);
}

#[test]
fn who_has_the_gateway_switched_off_is_told_how_to_switch_it_on() {
    let cluster = EtcdCluster::start(1);
    let off = EtcdCluster::start_with(1, &["--enable-grpc-gateway=false"]);
    let store = Etcd::connect(&format!("etcd://{}?timeout=20s", off.addr(0))).unwrap();
    for text in [assert_rejected(store.add("k", b"v", TTL)), assert_rejected(store.era("k"))] {
        assert!(text.contains("--enable-grpc-gateway=true"), "{text}");
    }
    let findings = store.diagnose();
    assert!(findings.iter().any(|finding| finding.text.contains("enable-grpc-gateway: true")), "{findings:?}");
    let on = crate::support::store(&cluster);
    assert!(matches!(on.add("k", b"v", TTL), Ok(WriteOutcome::Written(_))));
}
