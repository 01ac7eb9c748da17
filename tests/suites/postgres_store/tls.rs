//! TLS, as libpq's parameters ask for it.

use std::path::{Path, PathBuf};

use kvlock::store::{KvStore, Postgres};
use kvlock_testkit::{PostgresServer, process};

use crate::support::{SETTINGS, TTL, add, assert_rejected, get, store};

/// A certificate in `NAME.crt` with its key in `NAME.key`, signed by itself or by another one.
fn certificate(folder: &Path, name: &str, host: &str, by: Option<&str>) {
    let path = |name: &str, kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let mut openssl = process::command("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &format!("/CN={host}")]);
    openssl.args(["-keyout", &path(name, "key"), "-out", &path(name, "crt")]);
    match by {
        Some(by) => {
            openssl.args(["-CA", &path(by, "crt"), "-CAkey", &path(by, "key")]);
            openssl.args([
                "-addext",
                &format!("subjectAltName=DNS:{host}"),
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ]);
        }
        None => {
            openssl.args(["-addext", "keyUsage=keyCertSign"]);
        }
    }
    let made = openssl.output().unwrap_or_else(|error| panic!("openssl is missing: apt-get install openssl ({error})"));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn a_certificate_is_checked_as_far_as_sslmode_says() {
    let server = PostgresServer::start_with(&SETTINGS);
    let data: PathBuf = server.folder().join("data");
    for (name, host, by) in [
        ("ca", "authority", None),
        ("other", "another authority", None),
        ("server", "localhost", Some("ca")),
        ("app", "app", Some("ca")),
    ] {
        certificate(&data, name, host, by);
    }
    for file in ["server.key", "server.crt", "ca.crt"] {
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data).unwrap());
        std::os::unix::fs::chown(data.join(file), Some(owner), None).unwrap();
    }
    server.sql("ALTER SYSTEM SET ssl = on");
    server.sql("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
    server.sql("CREATE ROLE app LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE postgres TO app");
    server.hba("hostssl all app 127.0.0.1/32 scram-sha-256\nhostssl all postgres 127.0.0.1/32 cert map=any\nhostssl all postgres ::1/128 trust");
    std::fs::write(data.join("pg_ident.conf"), "any app postgres\n").unwrap();
    server.sql("SELECT pg_reload_conf()");

    let file = |name: &str| data.join(name).display().to_string();
    let url = |host: &str, parameters: &str| {
        format!("postgres://app:secret@{host}:{}/postgres?hostaddr=127.0.0.1&{parameters}", server.port())
    };
    let (ca, other) = (format!("sslrootcert={}", file("ca.crt")), format!("sslrootcert={}", file("other.crt")));
    for (host, mode, root, fits) in [
        ("localhost", "verify-full", &ca, true),
        ("elsewhere", "verify-full", &ca, false),
        ("elsewhere", "verify-ca", &ca, true),
        ("localhost", "verify-full", &other, false),
        ("localhost", "verify-ca", &other, false),
        ("localhost", "require", &other, false),
        ("localhost", "require", &String::new(), true),
        ("localhost", "prefer", &String::new(), true),
    ] {
        let store = store(&url(host, &format!("sslmode={mode}&{root}")));
        match fits {
            true => drop(store.get("k").unwrap_or_else(|error| panic!("{host} {mode} {root}: {error}"))),
            false => {
                let text = assert_rejected(store.get("k"));
                assert!(text.contains("certificate") && !text.contains("secret"), "{host} {mode} {root}: {text}");
            }
        }
    }
    // The login is bound to the certificate: nobody in the middle can pass it on.
    let bound = store(&url("localhost", &format!("sslmode=verify-full&{ca}&channel_binding=require")));
    add(&bound, "k", "v");
    assert!(bound.diagnose().iter().any(|finding| finding.check == "encryption" && finding.text.starts_with("TLS")));
    let plain = Postgres::connect(&url("localhost", "sslmode=disable")).unwrap();
    let text = assert_rejected(plain.add("k", b"w", TTL));
    assert!(text.contains("no encryption"), "{text}");
    // A client shows itself by a certificate.
    let own = format!("sslmode=verify-full&{ca}&sslcert={}&sslkey={}", file("app.crt"), file("app.key"));
    let own = store(&format!("postgres://postgres@localhost:{}/postgres?hostaddr=127.0.0.1&{own}", server.port()));
    assert_eq!(get(&own, "k").value, b"v");
}

#[test]
fn a_server_without_tls_is_refused_if_tls_is_asked_for() {
    let world = crate::support::World::new();
    let text = assert_rejected(store(&format!("{}?sslmode=require", world.url())).get("k"));
    assert!(text.contains("TLS"), "{text}");
    add(&store(&format!("{}?sslmode=prefer", world.url())), "k", "v");
}
