//! memcached's replies, read from a connection.
//!
//! The crate `memcache` knows the meta commands. The transport is ours: the crate's sets socket timeouts before each
//! system call, which doubles the system calls of an exchange. So is the reading of replies, for which the crate
//! allocates memory flag by flag.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use memcache::exp::MetaCommand;

use super::super::StoreError;
use super::super::socket::failure::Failure;
use super::super::socket::wire::Wire;
use super::super::url::Login;
use super::failure::{foreign, refusal};
use super::reply::MetaReply;
use super::stats::Stats;

/// The longest reply line that is believed. memcached's longest repeats a key of 250 bytes and some flags.
const MAX_LINE: usize = 8 * 1024;

/// The most lines of a reply to `stats`; memcached 1.6 sends about a hundred.
const MAX_STATS: usize = 1000;

/// A connection to one server. Not to be used again after any [`Failure`].
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
}

/// The command that logs in, ready to be sent.
#[derive(Clone)]
pub(super) struct Greeting(Arc<[u8]>);

impl Greeting {
    /// Takes a user and a password. memcached has one line for both, with a blank between them.
    pub(super) fn new(login: &Login) -> Result<Greeting, StoreError> {
        let Login { user, password: Some(password) } = login else {
            return Err(StoreError::Invalid(
                "the store's URL has a user and no password: write user:password@host".into(),
            ));
        };
        let password = password.reveal();
        if user.is_empty() || user.contains(char::is_whitespace) || password.contains(['\r', '\n']) {
            return Err(StoreError::Invalid(
                "memcached's login has a user without blanks, and a password of one line: write user:password@host"
                    .into(),
            ));
        }
        // The key is of no matter.
        let text = format!("{user} {password}");
        Ok(Greeting(format!("set kvlock:login 0 0 {}\r\n{text}\r\n", text.len()).into_bytes().into()))
    }
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Connection {
    /// Logs in, if there is a login.
    pub(super) fn new(wire: Wire, greeting: Option<&Greeting>) -> Result<Connection, Failure> {
        let mut connection = Connection { wire };
        if let Some(Greeting(command)) = greeting {
            connection.send(command)?;
            match connection.line().map_err(Failure::before_a_write)? {
                b"STORED" => {}
                line => return Err(foreign(line)),
            }
        }
        Ok(connection)
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
            let unread = self.wire.unread();
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                break searched + at;
            }
            searched = unread.len();
            if searched > MAX_LINE {
                return Err(foreign(unread));
            }
            self.wire.fill()?;
        };
        let line = &self.wire.take(length + 1)[..length];
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
        while self.wire.unread().len() < length + 2 {
            self.wire.fill()?;
        }
        let block = self.wire.take(length + 2);
        Ok(block.strip_suffix(b"\r\n").ok_or_else(|| foreign(block))?.to_vec())
    }
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

/// Appends the wire form of a meta command to a request.
pub(super) fn push(request: &mut Vec<u8>, command: MetaCommand) {
    // INVARIANT: encoding fails only for a key that is empty or too long, and every key was checked before.
    command.encode_into(request).expect("a checked key");
}
