//! TLS for the stores on a network: whom to trust and how to show oneself, as a store's URL says it.
//!
//! | parameter | what |
//! |---|---|
//! | `ca` | a PEM file: its certificates are trusted, in place of the system's |
//! | `cert`, `key` | PEM files: the client's own certificate with its chain, and its private key |

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use kvlock_protocol::Parameters;

use super::StoreError;
use super::parameters::TakeParameters;

/// Whom a client trusts, and who it is itself.
pub(super) struct Credentials {
    /// The certificates of authorities that the server's certificate must go back to.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) identity: Option<Identity>,
}

/// A client's certificate, its chain behind it, and the private key to it.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Takes the parameters of a URL, and reads the files that they name.
    pub(super) fn take(parameters: &mut Parameters) -> Result<Credentials, StoreError> {
        let [ca, cert, key] = ["ca", "cert", "key"].map(|name| parameters.path(name));
        Credentials::read(ca, cert, key)
    }

    /// Reads the files that are given.
    pub(super) fn read(
        ca: Option<PathBuf>,
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Credentials, StoreError> {
        let authorities = match ca {
            Some(file) => certificates("ca", &file)?,
            None => of_the_system()?,
        };
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some(Identity {
                chain: certificates("cert", &cert)?,
                key: PrivateKeyDer::from_pem_file(&key).map_err(|error| unreadable("key", &key, &error))?,
            }),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("the store's URL has `cert` and no `key`: give both")),
            (None, Some(_)) => return Err(invalid("the store's URL has `key` and no `cert`: give both")),
        };
        Ok(Credentials { authorities, identity })
    }

    /// Returns what rustls needs to connect: the server's certificate is checked, and so is the host's name in it.
    pub(super) fn config(self) -> Result<Arc<ClientConfig>, StoreError> {
        let mut roots = rustls::RootCertStore::empty();
        for authority in self.authorities {
            roots.add(authority).map_err(|error| invalid(&format!("a certificate of `ca` is of no use: {error}")))?;
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&format!("TLS: {error}")))?
            .with_root_certificates(roots);
        let config = match self.identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| invalid(&format!("`cert` and `key` do not go together: {error}")))?,
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

/// Returns the cryptography of every connection.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns the name or address that a server's certificate must have.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, StoreError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    let name = ServerName::try_from(host.to_string());
    name.map_err(|_| invalid(&format!("`{}` is no name that a certificate can have", host.escape_debug())))
}

fn certificates(parameter: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(parameter, file, &error))?;
    if read.is_empty() {
        return Err(unreadable(parameter, file, &pem::Error::NoItemsFound));
    }
    Ok(read)
}

/// Returns the authorities that the system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR` say where else to look.
fn of_the_system() -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let found = rustls_native_certs::load_native_certs();
    if !found.certs.is_empty() {
        // One certificate of many that cannot be read keeps nobody from using the others.
        return Ok(found.certs);
    }
    let why = found.errors.first().map_or_else(|| "there is none".to_string(), ToString::to_string);
    Err(invalid(&format!(
        "the system has no certificates to trust ({why}): install them (ca-certificates), or name yours by `ca=FILE`"
    )))
}

fn unreadable(parameter: &str, file: &Path, error: &pem::Error) -> StoreError {
    let why = match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_string(),
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound if parameter == "key" => "it has no private key in PEM form".to_string(),
        pem::Error::NoItemsFound => "it has no certificate in PEM form".to_string(),
        // The text of the others may have parts of the file.
        _ => "it is no PEM file".to_string(),
    };
    invalid(&format!("the parameter `{parameter}` of the store's URL: {}: {why}", file.display()))
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use kvlock_protocol::StoreUrl;

    /// Made by `openssl req -x509 -newkey ed25519 -nodes -subj /CN=localhost -days 36500`.
    const CERTIFICATE: &str = include_str!("../../tests/data/certificate.pem");

    fn refused(parameters: &str) -> String {
        let taken = StoreUrl::parse(&format!("a?{parameters}"), 1)
            .map_err(StoreError::from)
            .and_then(|mut url| Credentials::take(&mut url.parameters))
            .and_then(Credentials::config);
        let Err(StoreError::Invalid(text)) = taken.map(drop) else { panic!("`{parameters}` was accepted") };
        assert_eq!(text.lines().count(), 1, "{text:?}");
        text
    }

    #[test]
    fn a_file_that_is_of_no_use_is_named_with_the_parameter() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (certificate, other) = (file("cert.pem", CERTIFICATE), file("other.txt", "hello"));
        let broken = file("broken.pem", "-----BEGIN CERTIFICATE-----\nsecret\n");
        for (parameters, part) in [
            ("ca=/no/such/file".to_string(), "`ca` of the store's URL: /no/such/file: there is no such file"),
            (format!("ca={other}"), "no certificate"),
            (format!("ca={broken}"), "no PEM file"),
            (format!("ca={certificate}&cert={certificate}"), "no `key`"),
            (format!("ca={certificate}&key={certificate}"), "no `cert`"),
            (format!("ca={certificate}&cert={certificate}&key={certificate}"), "no private key"),
            (format!("ca={certificate}&cert={other}&key={other}"), "`cert` of the store's URL"),
        ] {
            let text = refused(&parameters);
            assert!(text.contains(part) && !text.contains("secret"), "`{parameters}`: {text}");
        }
    }

    #[test]
    fn a_file_of_authorities_takes_the_place_of_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, CERTIFICATE).unwrap();
        let credentials = Credentials::read(Some(file), None, None).unwrap();
        assert_eq!(credentials.authorities.len(), 1);
        credentials.config().unwrap();
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        assert!(matches!(server_name("::1").unwrap(), ServerName::IpAddress(_)));
        assert!(matches!(server_name("cache-1.example").unwrap(), ServerName::DnsName(_)));
        assert!(server_name("no name").is_err());
    }
}
