//! The bytes between a client and a server.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, socket_with};

#[cfg(feature = "tls")]
pub(in crate::store) use tls::Tls;

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Peer {
    Tcp(SocketAddr),
    Unix(Arc<Path>),
}

/// A connection's two directions.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<tls::TlsStream>),
}

/// What TLS needs. Not built in, and so nobody has it.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub(in crate::store) enum Tls {}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Peer::Tcp(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Stream {
    /// Connects within `patience`, or twice as long with TLS.
    pub(super) fn open(peer: &Peer, tls: Option<&Tls>, patience: Duration) -> io::Result<Stream> {
        let stream = match peer {
            Peer::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, patience)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Peer::Unix(path) => Stream::Unix(open_socket(path)?),
        };
        match (stream, tls) {
            #[cfg(feature = "tls")]
            (Stream::Tcp(stream), Some(tls)) => {
                let shaken = tls.shake_hands(stream, patience).map_err(|error| match error.kind() {
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => io::Error::other(format!(
                        "TLS: no answer within {patience:?}: does the server speak TLS there?"
                    )),
                    _ => error,
                });
                Ok(Stream::Tls(Box::new(shaken?)))
            }
            (stream, _) => Ok(stream),
        }
    }

    /// Sets how long a read or a write waits at most.
    pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.set_timeout(timeout),
        }
    }

    /// Reads once; [`Interrupted`](io::ErrorKind::Interrupted) if what came was for TLS alone.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    /// Writes as much as is taken.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    /// Returns how many bytes have left in a write that failed.
    pub(super) fn left(&self) -> usize {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => 0,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.left,
        }
    }

    /// Looks, without waiting, whether the server has hung up or said something unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Stream::Tcp(stream) => is_silent(stream),
            Stream::Unix(stream) => is_silent(stream),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.is_quiet(),
        }
    }
}

/// Looks, without waiting, whether nothing has come, not even an end.
fn is_silent(socket: &impl AsFd) -> bool {
    let socket: BorrowedFd<'_> = socket.as_fd();
    matches!(recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(Errno::WOULDBLOCK))
}

/// Connects without waiting: a server with as many connections waiting as it allows would make us wait for ever.
fn open_socket(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?).map_err(|error| match error {
        Errno::AGAIN => io::Error::other("too many others wait for a connection"),
        error => error.into(),
    })?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

#[cfg(feature = "tls")]
mod tls {
    use std::io::{self, ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection};

    /// What TLS needs: whom to trust, and the name in the server's certificate.
    #[derive(Debug, Clone)]
    pub(in crate::store) struct Tls {
        pub(in crate::store) config: Arc<ClientConfig>,
        pub(in crate::store) name: ServerName<'static>,
    }

    /// TLS on a connection.
    #[derive(Debug)]
    pub(in crate::store::socket) struct TlsStream {
        session: ClientConnection,
        socket: TcpStream,
        /// How many bytes the last write has sent.
        pub(super) left: usize,
    }

    impl Tls {
        pub(super) fn shake_hands(&self, mut socket: TcpStream, patience: Duration) -> io::Result<TlsStream> {
            socket.set_read_timeout(Some(patience))?;
            socket.set_write_timeout(Some(patience))?;
            let deadline = Instant::now() + patience;
            let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
            let mut session = session.map_err(io::Error::other)?;
            while session.is_handshaking() {
                if Instant::now() > deadline {
                    return Err(ErrorKind::TimedOut.into());
                }
                while session.wants_write() {
                    session.write_tls(&mut socket)?;
                }
                if session.is_handshaking() {
                    if session.read_tls(&mut socket)? == 0 {
                        return Err(io::Error::other("TLS: the server ends the connection: does it speak TLS there?"));
                    }
                    process(&mut session)?;
                }
            }
            while session.wants_write() {
                session.write_tls(&mut socket)?;
            }
            Ok(TlsStream { session, socket, left: 0 })
        }
    }

    impl TlsStream {
        pub(super) fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
            self.socket.set_read_timeout(Some(timeout))?;
            self.socket.set_write_timeout(Some(timeout))
        }

        pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // An end that TLS has not announced is an end as well: what was asked has its full answer, or none.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            if self.session.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            process(&mut self.session)?;
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Err(ErrorKind::Interrupted.into()),
                read => read,
            }
        }

        pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.left = 0;
            let taken = self.session.writer().write(bytes)?;
            while self.session.wants_write() {
                self.left += self.session.write_tls(&mut self.socket)?;
            }
            Ok(taken)
        }

        /// Takes what is for TLS alone, such as a new key, and looks for anything else.
        pub(super) fn is_quiet(&mut self) -> bool {
            loop {
                match self.session.process_new_packets() {
                    Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
                    _ => return false,
                }
                if super::is_silent(&self.socket) {
                    return true;
                }
                // It does not wait: something is there.
                if !matches!(self.session.read_tls(&mut self.socket), Ok(1..)) {
                    return false;
                }
            }
        }
    }

    fn process(session: &mut ClientConnection) -> io::Result<()> {
        use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
        match session.process_new_packets() {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::other(match &error {
                InvalidCertificate(_) => format!("TLS: {error}: name the authority that has signed it by `ca=FILE`"),
                AlertReceived(_) => {
                    format!("TLS: the server refuses: {error}: does it want `cert=FILE` and `key=FILE`?")
                }
                InvalidMessage(_) => format!("TLS: {error}: does the server speak TLS there?"),
                _ => format!("TLS: {error}"),
            })),
        }
    }
}
