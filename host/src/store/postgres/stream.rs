//! The stream under a connection: TCP or a UNIX socket, and no more of it than was asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::conninfo::Keepalive;
use super::place::{Place, socket};

/// A stream to a server.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to a server. Of several addresses of a host the first that answers is taken.
async fn connect(place: &Place, keepalive: Keepalive) -> Result<Box<dyn Stream>, String> {
    match place {
        Place::Folder { path, port } => {
            let stream = UnixStream::connect(socket(path, *port)).await;
            Ok(Box::new(stream.map_err(|error| format!("cannot connect: {error}"))?))
        }
        Place::Host { name, address, port } => {
            let addresses: Vec<SocketAddr> = match address {
                Some(address) => vec![SocketAddr::new(*address, *port)],
                None => {
                    let found = tokio::net::lookup_host((name.as_str(), *port)).await;
                    found
                        .map_err(|error| format!("cannot find the host: {error}; check how `{name}` is spelled"))?
                        .collect()
                }
            };
            let mut last = format!("the host `{name}` has no address");
            for address in addresses {
                match TcpStream::connect(address).await.and_then(|stream| prepare(stream, keepalive)) {
                    Ok(stream) => return Ok(Box::new(stream)),
                    Err(error) => last = format!("cannot connect: {error}"),
                }
            }
            Err(last)
        }
    }
}

fn prepare(stream: TcpStream, keepalive: Keepalive) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    if !keepalive.is_off {
        sockopt::set_socket_keepalive(&stream, true)?;
        if let Some(idle) = keepalive.idle {
            sockopt::set_tcp_keepidle(&stream, idle)?;
        }
        if let Some(interval) = keepalive.interval {
            sockopt::set_tcp_keepintvl(&stream, interval)?;
        }
        if let Some(count) = keepalive.count {
            sockopt::set_tcp_keepcnt(&stream, count)?;
        }
    }
    Ok(stream)
}

/// A stream on which a server may say so much and no more, so that one that talks without an end fills no memory.
pub(super) struct Metered {
    stream: Box<dyn Stream>,
    left: Arc<AtomicU64>,
}

impl Metered {
    /// Connects to a server that may say as much as `left` has.
    pub(super) async fn connect(place: &Place, keepalive: Keepalive, left: Arc<AtomicU64>) -> Result<Metered, String> {
        Ok(Metered { stream: connect(place, keepalive).await?, left })
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = (buf.filled().len() - before) as u64;
        let within = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        match within {
            Ok(_) => polled,
            Err(_) => Poll::Ready(Err(io::Error::other("it answers without an end"))),
        }
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
