//! The keys that are on a server, by `lru_crawler metadump all`: what memcached can tell of itself.
//!
//! It is no snapshot: the crawler walks through the items of each size in turn, and lets everybody else go on. It may be
//! switched off, and it serves one listing at a time. Each listing has a connection of its own, which is closed if it
//! takes too long: that ends the crawl.

use std::thread;
use std::time::{Duration, Instant};

use kvlock_protocol::Failure;

use super::super::StoreError;
use super::connection::Connection;
use super::server::Server;
use crate::text::shown;

const COMMAND: &[u8] = b"lru_crawler metadump all\r\n";

/// How long one listing may take: memcached tells of about a million items a second.
const LONGEST: Duration = Duration::from_secs(10);

/// How long to wait for another listing, or for the server's own crawl, to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The longest line of a listing that is believed: a key of 250 bytes, each written as three, and a few numbers.
const MAX_LINE: usize = 4 * 1024;

/// What to do if a server lists nothing.
const BY_NAME: &str = "ask about each key by name, as `kvlock status KEY` does";

/// What a server answers to the command.
enum Listed {
    Whole,
    /// It is at another listing.
    Busy,
}

/// Lists the keys on a server that begin so.
pub(super) fn keys(server: &Server, prefix: &str) -> Result<Vec<String>, StoreError> {
    let begun = Instant::now();
    let mut keys = Vec::new();
    loop {
        let mut connection = server.dial()?;
        match list(&mut connection, prefix, &mut keys).map_err(|failure| server.on_read(failure))? {
            Listed::Whole => return Ok(keys),
            Listed::Busy if begun.elapsed() >= PATIENCE => {
                let why = format!(
                    "{server}: it is listing for somebody else, or looks for expired items, and lists once at a time: try \
                     again in a moment"
                );
                return Err(StoreError::Unavailable(why));
            }
            Listed::Busy => thread::sleep(ASK_AGAIN),
        }
    }
}

fn list(connection: &mut Connection, prefix: &str, keys: &mut Vec<String>) -> Result<Listed, Failure> {
    keys.clear();
    connection.send(COMMAND)?;
    connection.allow(LONGEST);
    loop {
        let line = line(connection)?;
        match line.strip_prefix(b"key=") {
            Some(rest) => keys.extend(key(rest).filter(|key| key.starts_with(prefix))),
            None if line == b"END" => return Ok(Listed::Whole),
            None if line.starts_with(b"BUSY") => return Ok(Listed::Busy),
            None => return Err(refusal(line)),
        }
    }
}

/// Reads the next line, without its end.
fn line(connection: &mut Connection) -> Result<&[u8], Failure> {
    let mut searched = 0;
    let length = loop {
        let unread = connection.unread();
        if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
            break searched + at;
        }
        searched = unread.len();
        if searched > MAX_LINE {
            return Err(Failure::Foreign("it lists its keys in lines without an end".into()));
        }
        connection.fill().map_err(too_long)?;
    };
    let line = &connection.take(length + 1)[..length];
    Ok(line.strip_suffix(b"\r").unwrap_or(line))
}

fn too_long(failure: Failure) -> Failure {
    match failure {
        Failure::NoAnswer(why) if why.starts_with("no full answer") => Failure::NoAnswer(format!(
            "its list of keys takes more than {LONGEST:?}, since it has so many items of others: {BY_NAME}, or give locks a \
             server of their own"
        )),
        failure => failure,
    }
}

/// Reads the key at the beginning of a line: its bytes are written as in a URL.
fn key(line: &[u8]) -> Option<String> {
    let mut bytes = line.split(|byte| *byte == b' ').next()?.iter().copied();
    let mut key = Vec::new();
    while let Some(byte) = bytes.next() {
        key.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    // A key of somebody else's may be anything.
    String::from_utf8(key).ok()
}

fn refusal(line: &[u8]) -> Failure {
    let said = shown(&String::from_utf8_lossy(line));
    Failure::Refused(match line {
        b"ERROR metadump not allowed" => {
            format!("it may not list its keys (`{said}`): {BY_NAME}, or start it without -X")
        }
        b"CLIENT_ERROR lru crawler disabled" => {
            format!("it does not list its keys (`{said}`): {BY_NAME}, or start it without -o no_lru_crawler")
        }
        _ => format!("it does not list its keys (`{said}`): {BY_NAME}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for (line, wanted) in [
            (&b"a%25b%3A%C3%A9 exp=-1 la=1795780373 cas=1 fetch=no cls=1 size=66"[..], Some("a%b:\u{e9}")),
            (b"kvlock%3Alock%23ab exp=1", Some("kvlock:lock#ab")),
            (b"plain", Some("plain")),
            (b"%", None),
            (b"%4", None),
            (b"%zz exp=1", None),
            (b"%FF exp=1", None),
        ] {
            assert_eq!(key(line).as_deref(), wanted, "{}", String::from_utf8_lossy(line));
        }
    }
}
