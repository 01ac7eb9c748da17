//! What `kvlock-protocol` says, carried over a socket.
//!
//! The transport is ours: the crate `memcache` sets socket timeouts before each system call, which doubles the system
//! calls of an exchange.

use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;
use std::time::{Duration, Instant, UNIX_EPOCH};

use kvlock_protocol::{Failure, Greeting, Request, Transport, finish};

use super::super::socket::wire::Wire;
use super::codec::Memcache;

/// What readings of the clock are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A connection to one server. Not to be used again after any [`Failure`].
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
}

impl Connection {
    /// Logs in, if there is a login.
    pub(super) fn new(wire: Wire, greeting: Option<&Greeting>) -> Result<Connection, Failure> {
        let mut connection = Connection { wire };
        if let Some(greeting) = greeting {
            finish(greeting.give(&mut connection))?;
        }
        Ok(connection)
    }

    /// Sends a request and returns its replies.
    pub(super) fn ask(&mut self, request: &Request) -> Result<&[u8], Failure> {
        match request.pieces().filter(|_| self.wire.is_by_tls()) {
            Some((first, second)) => {
                self.wire.send(first)?;
                self.wire.send(second).map_err(Failure::after_a_write)?;
            }
            None => self.wire.send(request.bytes())?,
        }
        let mut frame = request.frame();
        let length = loop {
            match frame.advance(self.wire.unread()) {
                Some(length) => break length,
                None => self.wire.fill()?,
            }
        };
        Ok(self.wire.take(length))
    }

    /// Takes the socket of a connection without TLS on which nothing is under way.
    pub(super) fn into_socket(self) -> Result<OwnedFd, Failure> {
        self.wire.into_socket().ok_or_else(|| Failure::NotSent("its connection cannot be shared".into()))
    }

    /// Returns when something was sent last, by the clock of [`now`].
    pub(super) fn used(&self) -> Duration {
        since_start(self.wire.used())
    }
}

impl Transport for Connection {
    type Codec = Memcache;

    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send {
        std::future::ready(self.ask(request))
    }

    fn pause(&mut self, length: Duration) -> impl Future<Output = Result<(), Failure>> + Send {
        std::thread::sleep(length);
        let quiet = self.wire.is_quiet();
        std::future::ready(if quiet { Ok(()) } else { Err(Failure::NotSent("it closed the connection".into())) })
    }

    fn peer(&self) -> String {
        self.wire.peer.to_string()
    }

    fn now(&self) -> Duration {
        now()
    }

    fn age(&self) -> Duration {
        self.wire.age()
    }

    fn random(&mut self) -> Result<u64, Failure> {
        getrandom::u64().map_err(|error| Failure::NotSent(format!("no randomness: {error}")))
    }

    fn date(unix_seconds: u64) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_seconds)).to_string()
    }
}

/// Reads the clock by which servers are known.
pub(super) fn now() -> Duration {
    since_start(Instant::now())
}

fn since_start(time: Instant) -> Duration {
    time.saturating_duration_since(*START)
}

impl Deref for Connection {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
