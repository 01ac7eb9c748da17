//! The bytes between the component and a server, over `wasi:sockets`.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::{Future, ready};
use core::net::SocketAddr;
use core::time::Duration;

use kvlock_protocol::{Failure, Plain, Request, Transport, unsent};

use crate::bindings::wasi::clocks::monotonic_clock::{self, subscribe_duration};
use crate::bindings::wasi::io::poll::{Pollable, poll};
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::bindings::wasi::random::random::get_random_u64;
use crate::bindings::wasi::sockets::tcp::TcpSocket;
use crate::convert::{millis, nanos};

/// How much is read at once: enough for a lock's record or the whole of a server's statistics.
const READ: u64 = 16 * 1024;

/// A connection that has been idle for longer is looked at before it is used, because a write on a connection that the
/// server has closed has no known outcome.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// When something must be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) fn after(length: Duration) -> Deadline {
        Deadline(monotonic_clock::now().saturating_add(nanos(length)))
    }

    /// Returns the nanoseconds that are left; none if it is over.
    pub(crate) fn left(self) -> Option<u64> {
        self.0.checked_sub(monotonic_clock::now()).filter(|left| *left > 0)
    }
}

/// Waits until something is ready; false if the time is over first.
pub(crate) fn wait(pollable: &Pollable, deadline: Deadline) -> bool {
    if pollable.ready() {
        return true;
    }
    let Some(left) = deadline.left() else { return false };
    let timer = subscribe_duration(left);
    poll(&[pollable, &timer]).contains(&0)
}

/// Reads the clock by which servers are known.
pub(crate) fn now() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

/// A connection to one server. Not to be used again after any [`Failure`].
#[derive(Debug)]
pub(crate) struct Socket {
    // Dropped in this order: the streams are children of the socket.
    input: InputStream,
    output: OutputStream,
    _socket: TcpSocket,
    pub(crate) address: SocketAddr,
    /// What has come since the last request, and what of it was taken.
    received: Vec<u8>,
    taken: usize,
    timeout: Duration,
    opened: Duration,
    used: Duration,
}

impl Socket {
    pub(crate) fn new(
        address: SocketAddr,
        socket: TcpSocket,
        input: InputStream,
        output: OutputStream,
        timeout: Duration,
    ) -> Socket {
        let (received, opened) = (Vec::new(), now());
        Socket { input, output, _socket: socket, address, received, taken: 0, timeout, opened, used: opened }
    }

    /// Returns true if the connection is good for another call: every byte that came was part of an answer, and the
    /// server has not hung up in the meantime.
    pub(crate) fn is_good(&self) -> bool {
        let is_clean = self.taken == self.received.len();
        is_clean && (now().saturating_sub(self.used) < LOOK_AFTER || self.is_quiet())
    }

    fn is_quiet(&self) -> bool {
        matches!(self.input.read(1), Ok(bytes) if bytes.is_empty())
    }

    fn ask(&mut self, request: &Request) -> Result<&[u8], Failure> {
        self.used = now();
        let deadline = Deadline::after(self.timeout);
        self.send(request.bytes(), deadline)?;
        self.received.drain(..self.taken.min(self.received.len()));
        self.taken = 0;
        let mut frame = request.frame();
        let length = loop {
            match frame.advance(&self.received) {
                Some(length) => break length,
                None => self.fill(deadline)?,
            }
        };
        self.taken = length;
        Ok(self.received.get(..length).unwrap_or_default())
    }

    fn send(&self, request: &[u8], deadline: Deadline) -> Result<(), Failure> {
        let mut rest = request;
        while !rest.is_empty() {
            let sent = request.len().saturating_sub(rest.len());
            match self.output.check_write() {
                Ok(0) if wait(&self.output.subscribe(), deadline) => {}
                Ok(0) => {
                    return Err(unsent(
                        sent,
                        format!("the request could not be sent within {} ms", millis(self.timeout)),
                    ));
                }
                Ok(room) => {
                    let room = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                    let (piece, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
                    // Of a write that fails, some may have left.
                    self.output.write(piece).map_err(|error| no_answer(&error))?;
                    rest = behind;
                }
                Err(error) => return Err(unsent(sent, text(&error))),
            }
        }
        // Some platforms keep what was written until they are told to send it.
        self.output.flush().map_err(|error| no_answer(&error))
    }

    fn fill(&mut self, deadline: Deadline) -> Result<(), Failure> {
        loop {
            match self.input.read(READ) {
                Ok(bytes) if !bytes.is_empty() => {
                    if self.received.is_empty() {
                        self.received = bytes;
                    } else {
                        self.received.extend_from_slice(&bytes);
                    }
                    return Ok(());
                }
                Ok(_) if wait(&self.input.subscribe(), deadline) => {}
                Ok(_) => {
                    return Err(Failure::NoAnswer(format!("no full answer within {} ms", millis(self.timeout))));
                }
                Err(error) => return Err(no_answer(&error)),
            }
            // A server that goes on and on takes no longer, either.
            if deadline.left().is_none() {
                return Err(Failure::NoAnswer(format!("no full answer within {} ms", millis(self.timeout))));
            }
        }
    }
}

impl Transport for Socket {
    type Codec = Plain;

    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send {
        ready(self.ask(request))
    }

    fn pause(&mut self, length: Duration) -> impl Future<Output = Result<(), Failure>> + Send {
        subscribe_duration(nanos(length)).block();
        let quiet = self.is_quiet();
        ready(if quiet { Ok(()) } else { Err(Failure::NotSent(String::from("it closed the connection"))) })
    }

    fn peer(&self) -> String {
        // The library's own way to write an address would be a fiftieth of the component.
        let port = self.address.port();
        match self.address {
            SocketAddr::V4(v4) => {
                let [a, b, c, d] = v4.ip().octets();
                format!("{a}.{b}.{c}.{d}:{port}")
            }
            SocketAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h] = v6.ip().segments();
                format!("[{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}]:{port}")
            }
        }
    }

    fn now(&self) -> Duration {
        now()
    }

    fn age(&self) -> Duration {
        now().saturating_sub(self.opened)
    }

    fn random(&mut self) -> Result<u64, Failure> {
        Ok(get_random_u64())
    }
}

fn no_answer(error: &StreamError) -> Failure {
    Failure::NoAnswer(text(error))
}

fn text(error: &StreamError) -> String {
    match error {
        StreamError::Closed => String::from("it closed the connection"),
        StreamError::LastOperationFailed(error) => format!("the connection failed: {}", error.to_debug_string()),
    }
}
