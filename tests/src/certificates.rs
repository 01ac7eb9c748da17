//! Certificates for tests of TLS.

use std::path::Path;

use kvlock_testkit::process;

/// Certificates in a folder: `ca.pem`, an authority; `server.pem` for the loopback interface and `client.pem`, signed by
/// it, with their keys `server.key` and `client.key`; and `other.pem`, another authority.
///
/// Every method panics where it cannot do what it says: it is for tests.
#[derive(Debug)]
pub struct Certificates(tempfile::TempDir);

impl Certificates {
    /// Makes all of them, by openssl.
    pub fn make() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        for authority in ["ca", "other"] {
            openssl(
                folder.path(),
                &format!(
                    "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={authority} \
                 -keyout {authority}.key -out {authority}.pem"
                ),
            );
        }
        for (name, alternative) in [("server", "IP:127.0.0.1,DNS:localhost"), ("client", "DNS:client")] {
            std::fs::write(folder.path().join("ext"), format!("subjectAltName={alternative}\n")).unwrap();
            openssl(
                folder.path(),
                &format!(
                    "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
                ),
            );
            openssl(
                folder.path(),
                &format!(
                    "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out {name}.pem"
                ),
            );
        }
        Certificates(folder)
    }

    /// The path of a file.
    pub fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output = process::command("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
    let output = output.expect("openssl is there: apt-get install openssl");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
