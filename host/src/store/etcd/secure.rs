//! TLS below HTTP. The handshake is a part of making the connection: a peer that is not trusted is sent nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter};

use super::super::StoreError;
use super::super::tls::{Credentials, server_name};
use super::unconnected::{patience, unconnectable, unconnected};

/// Whom to trust and who to be.
#[derive(Clone)]
pub(super) struct Secure(Arc<ClientConfig>);

impl Secure {
    pub(super) fn new(credentials: Credentials) -> Result<Secure, StoreError> {
        Ok(Secure(credentials.config()?))
    }

    /// Shakes hands, and returns the connection that is secure then.
    pub(super) fn wrap(
        &self,
        details: &ConnectionDetails<'_>,
        transport: Box<dyn Transport>,
    ) -> Result<Box<dyn Transport>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = server_name(host).map_err(|error| unconnectable(error.to_string()))?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name);
        let connection = connection.map_err(|error| unconnectable(format!("TLS: {error}")))?;
        let mut stream =
            StreamOwned::new(connection, TransportAdapter::new(transport, Arc::clone(&details.current_time)));
        shake_hands(&mut stream, patience(details))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Box::new(SecureTransport { buffers, stream }))
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure")
    }
}

type Stream = StreamOwned<ClientConnection, TransportAdapter>;

fn shake_hands(stream: &mut Stream, patience: NextTimeout) -> Result<(), Error> {
    let end = Instant::now() + *patience.after;
    while stream.conn.is_handshaking() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(unconnected(format_args!("no TLS handshake within {:?}", *patience.after)));
        }
        stream.sock.set_timeout(NextTimeout { after: left.into(), ..patience });
        let StreamOwned { conn, sock } = stream;
        let step = match conn.wants_write() {
            true => conn.write_tls(sock),
            false => conn.read_tls(sock).and_then(|read| if read == 0 { Err(ended()) } else { Ok(read) }),
        };
        step.map_err(|error| unconnected(format_args!("TLS: {error}")))?;
        if let Err(error) = conn.process_new_packets() {
            // The peer is to know why.
            let _ = conn.write_tls(sock);
            return Err(untrusted(&error));
        }
    }
    Ok(())
}

fn ended() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server ended the handshake; if it does not speak TLS, write etcd://",
    )
}

/// What no other try will change, but another setting will.
fn untrusted(error: &rustls::Error) -> Error {
    let advice = match error {
        rustls::Error::InvalidCertificate(_) => {
            ": name the authority that the server's certificate comes from by `ca=FILE`, and the server as its \
             certificate does"
        }
        rustls::Error::InvalidMessage(_) => ": if it does not speak TLS, write etcd://",
        rustls::Error::AlertReceived(_) => ": if it asks for a client's certificate, give `cert` and `key`",
        _ => "",
    };
    unconnectable(format!("TLS: {error}{advice}"))
}

/// A server that wants another certificate of ours says so after the handshake is over for us, in place of an answer:
/// it has not read what was asked.
fn unwelcome(error: &io::Error) -> Option<Error> {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown, UnknownCA,
    };
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let refusals =
        [AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateUnknown, UnknownCA];
    let is_refusal = matches!(error, rustls::Error::AlertReceived(alert) if refusals.contains(alert));
    is_refusal.then(|| untrusted(error))
}

struct SecureTransport {
    buffers: LazyBuffers,
    stream: Stream,
}

impl Transport for SecureTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(self.stream.flush()?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let read = self.stream.read(self.buffers.input_append_buf());
        let amount = read.map_err(|error| unwelcome(&error).unwrap_or_else(|| error.into()))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for SecureTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecureTransport")
    }
}
