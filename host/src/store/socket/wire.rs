//! One connection and the bytes on it: requests out, replies in.
//!
//! An exchange is one `write` of one or several commands, and as many replies read as commands were sent. The socket's
//! timeouts are set once, because to set them before each system call would double the system calls of an exchange.

use std::hint;
use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use kvlock_protocol::{Failure, Parameters, unsent};

use super::super::StoreError;
use super::super::parameters::TakeParameters;
use super::spin::{self, Spinner};
use super::stream::{Peer, Stream, Tls};

/// Enough for a lock's record or the whole of a server's statistics with one `read`; a larger value makes it grow for
/// the while.
const BUFFER: usize = 16 * 1024;

/// The shortest timeout, because the operating system takes none that is zero, and the longest, because each call is
/// to return.
pub(in crate::store) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// How long to wait for a server.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Timeouts {
    pub(in crate::store) connect: Duration,
    pub(in crate::store) operation: Duration,
    /// How long to stay awake for an answer: see [`Spinner`].
    pub(in crate::store) spin: Duration,
}

/// A connection to one server. Not to be used again after any [`Failure`].
#[derive(Debug)]
pub(in crate::store) struct Wire {
    stream: Stream,
    /// Where it leads.
    pub(in crate::store) peer: Peer,
    buffer: Vec<u8>,
    /// The part of the buffer that holds bytes not looked at so far.
    start: usize,
    end: usize,
    timeout: Duration,
    /// When the present exchange must be over, whatever the server dribbles.
    deadline: Instant,
    /// Nothing was read since the request was sent: it cannot be over.
    just_sent: bool,
    spinner: Spinner,
    opened: Instant,
    used: Instant,
    /// The time, if it has just been read: twice for an exchange is once too often.
    now: Option<Instant>,
}

impl Timeouts {
    /// A second for a connection: a server on the same continent takes a tenth of it even when one packet is lost. As
    /// much for an answer: two retransmissions of a lost packet, and short against the 30 s of a usual lease.
    pub(in crate::store) const USUAL: Timeouts =
        Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(1), spin: spin::LIMIT };

    /// Takes the parameters `connect-timeout` and `timeout` of a URL.
    pub(in crate::store) fn take(parameters: &mut Parameters) -> Result<Timeouts, StoreError> {
        let connect = parameters.duration("connect-timeout", TIMEOUTS)?.unwrap_or(Timeouts::USUAL.connect);
        let operation = parameters.duration("timeout", TIMEOUTS)?.unwrap_or(Timeouts::USUAL.operation);
        Ok(Timeouts { connect, operation, ..Timeouts::USUAL })
    }
}

impl Wire {
    pub(in crate::store) fn open(peer: &Peer, tls: Option<&Tls>, timeouts: Timeouts) -> Result<Wire, Failure> {
        let stream = Stream::open(peer, tls, timeouts.connect).map_err(|error| {
            Failure::NotSent(match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                    format!("cannot connect: no answer within {:?}", timeouts.connect)
                }
                _ => format!("cannot connect: {error}"),
            })
        })?;
        let setup = stream.set_timeout(timeouts.operation);
        setup.map_err(|error| Failure::NotSent(format!("cannot set up the socket: {error}")))?;
        let now = Instant::now();
        Ok(Wire {
            stream,
            peer: peer.clone(),
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            timeout: timeouts.operation,
            deadline: now,
            just_sent: false,
            spinner: Spinner::new(timeouts.spin),
            opened: now,
            used: now,
            now: Some(now),
        })
    }

    /// Returns for how long the server at the other end has been there at least.
    pub(in crate::store) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Sends one or several commands. Their replies must be read, all and in order, before the next is sent.
    pub(in crate::store) fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.used = self.now.take().unwrap_or_else(Instant::now);
        self.deadline = self.used + self.timeout;
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.write(&request[sent..]) {
                Ok(0) => return Err(unsent(sent, "the connection takes no more data".into())),
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unsent(sent + self.stream.left(), format!("sending failed: {error}"))),
            }
            if sent < request.len() && Instant::now() > self.deadline {
                return Err(unsent(sent, format!("the request could not be sent within {:?}", self.timeout)));
            }
        }
        self.just_sent = true;
        Ok(())
    }

    /// Allows the answer to what was just sent this long, if it keeps coming.
    pub(in crate::store) fn allow(&mut self, length: Duration) {
        self.deadline = self.used + length;
    }

    /// Whether it is by TLS.
    pub(in crate::store) fn is_by_tls(&self) -> bool {
        !matches!(self.stream, Stream::Tcp(_) | Stream::Unix(_))
    }

    /// What has come and was not taken yet.
    pub(in crate::store) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes as many bytes of what is unread, of which there must be as many.
    pub(in crate::store) fn take(&mut self, length: usize) -> &[u8] {
        self.start += length;
        &self.buffer[self.start - length..self.start]
    }

    /// Reads once from the socket. Replies are bounded by the callers, and so is the buffer.
    pub(in crate::store) fn fill(&mut self) -> Result<(), Failure> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end * 2 > self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        loop {
            // Each `read` waits as long as the socket's own timeout at most, so that the whole takes twice that.
            if !self.just_sent && Instant::now() > self.deadline {
                return Err(Failure::NoAnswer(format!("no full answer within {:?}", self.timeout)));
            }
            match self.read() {
                Ok(0) => return Err(Failure::NoAnswer("it closed the connection".into())),
                Ok(read) => {
                    self.end += read;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(Failure::NoAnswer(format!("no answer within {:?}", self.timeout)));
                }
                Err(error) => return Err(Failure::NoAnswer(format!("no answer: {error}"))),
            }
        }
    }

    /// Reads once; for the beginning of a reply, after spinning for it, if that pays.
    fn read(&mut self) -> io::Result<usize> {
        let plan = if std::mem::take(&mut self.just_sent) { self.spinner.plan() } else { None };
        let Some(spin) = plan else { return self.stream.read(&mut self.buffer[self.end..]) };
        let sent = Instant::now();
        let mut awake = sent;
        while awake - sent < spin {
            hint::spin_loop();
            awake = Instant::now();
        }
        let read = self.stream.read(&mut self.buffer[self.end..])?;
        let now = Instant::now();
        self.spinner.learn(now - self.used, now - awake);
        Ok(read)
    }

    /// Takes the socket; none where TLS is between, or something has come that was not read.
    pub(in crate::store) fn into_socket(self) -> Option<OwnedFd> {
        match self.stream {
            _ if self.start != self.end => None,
            Stream::Tcp(stream) => Some(stream.into()),
            Stream::Unix(stream) => Some(stream.into()),
            #[cfg(feature = "tls")]
            Stream::Tls(_) => None,
        }
    }

    /// Returns when something was sent last.
    pub(in crate::store) fn used(&self) -> Instant {
        self.used
    }

    /// Returns for how long nothing was sent. An exchange is to follow at once.
    pub(in crate::store) fn idle(&mut self) -> Duration {
        self.now.insert(Instant::now()).duration_since(self.used)
    }

    /// Returns true if every byte that came was part of an answer; what it returns `false` for must not be used again.
    pub(in crate::store) fn is_clean(&mut self) -> bool {
        if self.buffer.len() > BUFFER && self.start == self.end {
            self.buffer = vec![0; BUFFER];
            (self.start, self.end) = (0, 0);
        }
        self.start == self.end
    }

    /// Checks, without waiting, if the server has hung up or said something unasked.
    pub(in crate::store) fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }
}
