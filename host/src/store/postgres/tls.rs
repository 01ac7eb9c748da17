//! TLS as libpq knows it: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`, done by rustls.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::super::StoreError;
use super::super::tls::{Credentials, provider, server_name};

/// What is asked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: whoever listens on the wire learns nothing, and whoever stands in the middle learns all.
    Nothing,
    /// That it goes back to an authority.
    Authority,
    /// And that it is the host's.
    Name,
}

/// The files that a URL names.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
}

/// How to speak TLS, if at all.
#[derive(Clone)]
pub(super) struct Tls(Option<Arc<ClientConfig>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Tls" } else { "NoTls" })
    }
}

impl Tls {
    pub(super) fn none() -> Tls {
        Tls(None)
    }

    /// Reads the files.
    pub(super) fn new(check: Check, files: &TlsFiles) -> Result<Tls, StoreError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&format!("TLS: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier(check, files.ca.as_deref())?);
        let mut config = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("sslcert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("sslkey", key, &error))?;
                let both = builder.with_client_auth_cert(chain, key);
                both.map_err(|error| invalid(&format!("`sslcert` and `sslkey` do not go together: {error}")))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(invalid("the store has `sslcert` and no `sslkey`: give both")),
            (None, Some(_)) => return Err(invalid("the store has `sslkey` and no `sslcert`: give both")),
        };
        // A server asks for it if TLS begins at once; the others do not mind.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Tls(Some(Arc::new(config))))
    }

    /// Returns what connects to this host.
    pub(super) fn connector(&self, host: &str) -> Result<Option<Connector>, StoreError> {
        let Some(config) = &self.0 else { return Ok(None) };
        Ok(Some(Connector { config: Arc::clone(config), name: server_name(host)? }))
    }
}

/// Begins TLS with one host.
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// A connection under TLS.
pub(super) struct Encrypted<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = tokio_rustls::TlsConnector::from(self.config).connect(self.name, stream);
        Box::pin(async { Ok(Encrypted(Box::new(connecting.await?))) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Returns the hash of a server's certificate to which a login is bound (RFC 5929, section 4.1). It is of the hash
/// function of the certificate's own signature.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm OID, … }, … }
    let (whole, _) = element(certificate, 0x30)?;
    let (_, rest) = element(whole, 0x30)?;
    let (algorithm, _) = element(rest, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    match oid {
        // RSA (1.2.840.113549.1.1.x) with MD5, SHA-1 and SHA-256; ECDSA (1.2.840.10045.4.…) with SHA-1 and SHA-256.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 | 5 | 11]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => {
            Some(Sha384::digest(certificate).to_vec())
        }
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => {
            Some(Sha512::digest(certificate).to_vec())
        }
        // Ed25519 and others have none that is agreed on.
        _ => None,
    }
}

/// Splits an element of DER with this tag off the front: its contents, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first().filter(|(first, _)| **first == tag)?;
    debug_assert_eq!(first, tag);
    let (&short, mut rest) = rest.split_first()?;
    let length = if short < 0x80 {
        usize::from(short)
    } else {
        let (bytes, after) = rest.split_at_checked(usize::from(short & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        rest = after;
        bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    rest.split_at_checked(length)
}

fn verifier(check: Check, ca: Option<&Path>) -> Result<Arc<dyn ServerCertVerifier>, StoreError> {
    if check == Check::Nothing {
        return Ok(Arc::new(Lenient { asked: None, provider: provider() }));
    }
    let authorities = match ca {
        Some(file) => certificates("sslrootcert", file)?,
        None => Credentials::read(None, None, None)?.authorities,
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        // One of the system's that is of no use keeps nobody from using the others.
        if let (Err(error), Some(file)) = (roots.add(authority), ca) {
            return Err(invalid(&format!("`sslrootcert`: {}: a certificate is of no use: {error}", file.display())));
        }
    }
    let asked = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let asked = asked.map_err(|error| invalid(&format!("TLS: {error}")))?;
    Ok(match check {
        Check::Name => asked,
        _ => Arc::new(Lenient { asked: Some(asked), provider: provider() }),
    })
}

/// Takes a certificate of another name, or any at all.
#[derive(Debug)]
struct Lenient {
    /// Who knows the authorities, if they are asked.
    asked: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(asked) = &self.asked else { return Ok(ServerCertVerified::assertion()) };
        // The name is looked at last.
        match asked.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(parameter: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| unreadable(parameter, file, &error))?;
    if read.is_empty() {
        return Err(unreadable(parameter, file, &pem::Error::NoItemsFound));
    }
    Ok(read)
}

fn unreadable(parameter: &str, file: &Path, error: &pem::Error) -> StoreError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        // The text of the others may have parts of the file.
        _ => "it has none in PEM form".to_string(),
    };
    invalid(&format!("`{parameter}` of the store: {}: {why}", file.display()))
}

fn invalid(why: &str) -> StoreError {
    StoreError::Invalid(why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509 -newkey ed25519 -nodes -subj /CN=localhost -days 36500`.
    const ED25519: &str = include_str!("../../../tests/data/certificate.pem");
    /// A sequence of an empty sequence and an algorithm.
    const fn certificate(oid: [u8; 9]) -> [u8; 17] {
        let [a, b, c, d, e, f, g, h, i] = oid;
        [0x30, 15, 0x30, 0, 0x30, 11, 0x06, 9, a, b, c, d, e, f, g, h, i]
    }

    #[test]
    fn a_login_is_bound_by_the_hash_of_the_certificates_signature() {
        for (last, length) in [(11, Some(32)), (5, Some(32)), (12, Some(48)), (13, Some(64)), (99, None)] {
            let certificate = certificate([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last]);
            assert_eq!(end_point(&certificate).map(|hash| hash.len()), length, "{last}");
        }
        let ed25519 = CertificateDer::from_pem_slice(ED25519.as_bytes()).unwrap();
        assert_eq!(end_point(&ed25519), None);
    }

    #[test]
    fn a_damaged_certificate_binds_nothing() {
        let certificate = certificate([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11]);
        for length in 0..certificate.len() {
            assert_eq!(end_point(&certificate[..length]), None);
        }
        assert_eq!(end_point(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(end_point(&[0x30, 0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
