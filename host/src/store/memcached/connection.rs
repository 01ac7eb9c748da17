//! One TCP connection and the bytes on it: requests out, replies in.
//!
//! An exchange is one `write` of one or several commands, and as many replies read as commands were sent. The crate
//! `memcache` knows the meta commands. The transport is ours: the crate's sets socket timeouts before each system call,
//! which doubles the system calls of an exchange. So is the reading of replies, for which the crate allocates memory
//! flag by flag.

use std::hint;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use memcache::exp::MetaCommand;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::failure::{Failure, foreign, refusal, unsent};
use super::reply::MetaReply;
use super::spin::Spinner;
use super::stats::Stats;

/// The longest reply line that is believed. memcached's longest repeats a key of 250 bytes and some flags.
const MAX_LINE: usize = 8 * 1024;

/// The most lines of a reply to `stats`; memcached 1.6 sends about a hundred.
const MAX_STATS: usize = 1000;

/// Enough for a lock's record or the whole of `stats` with one `read`; larger values make it grow for the while.
const BUFFER: usize = 16 * 1024;

/// The shortest timeout, because the operating system takes none that is zero, and the longest, because each call is
/// to return.
pub(super) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(3600);

/// How long to wait for a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) operation: Duration,
    /// How long to stay awake for an answer: see [`Spinner`].
    pub(super) spin: Duration,
}

/// A connection to one server. Not to be used again after any [`Failure`].
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// Where it leads.
    pub(super) address: SocketAddr,
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

impl Connection {
    pub(super) fn open(address: SocketAddr, timeouts: Timeouts) -> Result<Connection, Failure> {
        let stream = TcpStream::connect_timeout(&address, timeouts.connect).map_err(|error| {
            Failure::NotSent(match error.kind() {
                ErrorKind::TimedOut => format!("cannot connect: no answer within {:?}", timeouts.connect),
                _ => format!("cannot connect: {error}"),
            })
        })?;
        let setup = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(timeouts.operation)))
            .and_then(|()| stream.set_write_timeout(Some(timeouts.operation)));
        setup.map_err(|error| Failure::NotSent(format!("cannot set up the socket: {error}")))?;
        let now = Instant::now();
        Ok(Connection {
            stream,
            address,
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
    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// Sends one or several commands. Their replies must be read, all and in order, before the next is sent.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        self.used = self.now.take().unwrap_or_else(Instant::now);
        self.deadline = self.used + self.timeout;
        let mut sent = 0;
        while sent < request.len() {
            match self.stream.write(&request[sent..]) {
                Ok(0) => return Err(unsent(sent, "the connection takes no more data".into())),
                Ok(written) => sent += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unsent(sent, format!("sending failed: {error}"))),
            }
            if sent < request.len() && Instant::now() > self.deadline {
                return Err(unsent(sent, format!("the request could not be sent within {:?}", self.timeout)));
            }
        }
        self.just_sent = true;
        Ok(())
    }

    /// Reads the reply to a meta command.
    pub(super) fn meta(&mut self) -> Result<MetaReply, Failure> {
        let (mut reply, length) = MetaReply::read(self.line()?)?;
        reply.value = length.map(|length| self.block(length)).transpose()?;
        Ok(reply)
    }

    /// Reads the one-line reply to a classic command.
    pub(super) fn line(&mut self) -> Result<&[u8], Failure> {
        let mut searched = 0;
        let length = loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                break searched + at;
            }
            searched = unread.len();
            if searched > MAX_LINE {
                return Err(foreign(unread));
            }
            self.fill()?;
        };
        let line = &self.buffer[self.start..self.start + length];
        self.start += length + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        refusal(line)?;
        Ok(line)
    }

    /// Reads the reply to `stats` or one of its kin.
    pub(super) fn stats(&mut self) -> Result<Stats, Failure> {
        let mut stats = Stats::default();
        for _ in 0..MAX_STATS {
            let line = self.line()?;
            if line == b"END" {
                return Ok(stats);
            }
            let text = std::str::from_utf8(line).map_err(|_| foreign(line))?;
            let (name, value) = text
                .strip_prefix("STAT ")
                .map(|stat| stat.split_once(' ').unwrap_or((stat, "")))
                .ok_or_else(|| foreign(line))?;
            stats.0.insert(name.into(), value.into());
        }
        Err(Failure::Foreign("its reply to `stats` does not end".into()))
    }

    /// Reads a data block of `length` bytes and the line end after it.
    fn block(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        while self.end - self.start < length + 2 {
            self.fill()?;
        }
        let block = &self.buffer[self.start..self.start + length + 2];
        let value = block.strip_suffix(b"\r\n").ok_or_else(|| foreign(block))?.to_vec();
        self.start += length + 2;
        Ok(value)
    }

    /// Reads once from the socket. Replies are bounded by the callers, and so is the buffer.
    fn fill(&mut self) -> Result<(), Failure> {
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

    /// Returns when something was sent last.
    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// Returns for how long nothing was sent. An exchange is to follow at once.
    pub(super) fn idle(&mut self) -> Duration {
        self.now.insert(Instant::now()).duration_since(self.used)
    }

    /// Returns true if every byte that came was part of an answer; what it returns `false` for must not be used again.
    pub(super) fn is_clean(&mut self) -> bool {
        if self.buffer.len() > BUFFER && self.start == self.end {
            self.buffer = vec![0; BUFFER];
            (self.start, self.end) = (0, 0);
        }
        self.start == self.end
    }

    /// Checks, without waiting, if the server has hung up or said something unasked.
    pub(super) fn is_quiet(&self) -> bool {
        let peeked = recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(Errno::WOULDBLOCK))
    }
}

/// Appends the wire form of a meta command to a request.
pub(super) fn push(request: &mut Vec<u8>, command: MetaCommand) {
    // INVARIANT: encoding fails only for a key that is empty or too long, and every key was checked before.
    command.encode_into(request).expect("a checked key");
}
