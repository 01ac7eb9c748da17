//! The replies of RESP 2, the protocol of Redis and Valkey.
//!
//! They are read here, from the bytes of [`Wire`], and not by a client crate: whether a connection is good for another
//! call depends on no byte being left behind a reply, and a server that is none is to cost neither memory nor stack.

use kvlock_protocol::Failure;

use super::super::socket::wire::Wire;

/// The longest line that is believed: an error, a status, a length.
const MAX_LINE: usize = 8 * 1024;

/// The longest string that is read: a value, with room for what stands before it; a section of `INFO`.
const MAX_STRING: usize = (1 << 20) + (64 << 10);

/// The most items of an array: an entry is an item, and so is a parameter of `CONFIG GET`.
const MAX_ITEMS: usize = 4096;

/// How deep arrays are nested at most.
const MAX_DEPTH: usize = 4;

/// A reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(String),
    /// Its first word is a code, such as `NOSCRIPT`.
    Error(String),
    Number(i64),
    Text(Vec<u8>),
    Items(Vec<Reply>),
    Nothing,
}

impl Reply {
    /// Reads one reply, whatever it says.
    pub(super) fn read(wire: &mut Wire) -> Result<Reply, Failure> {
        nested(wire, MAX_DEPTH)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Reply::Text(text) => str::from_utf8(text).ok(),
            Reply::Status(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Reply::Number(number) => u64::try_from(*number).ok(),
            reply => reply.text()?.parse().ok(),
        }
    }

    pub(super) fn items(&self) -> &[Reply] {
        match self {
            Reply::Items(items) => items,
            _ => &[],
        }
    }
}

/// Returns the failure of a reply that is none of this protocol, or not to what was asked.
pub(super) fn foreign(line: &[u8]) -> Failure {
    let shown = &line[..line.len().min(60)];
    Failure::Foreign(format!("it answers `{}`", String::from_utf8_lossy(shown).escape_debug()))
}

/// What the first line of a reply says.
enum Head {
    Whole(Reply),
    Text(usize),
    Items(usize),
}

impl Head {
    fn read(line: &[u8]) -> Option<Head> {
        let (kind, rest) = line.split_first()?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        let nothing = || Head::Whole(Reply::Nothing);
        Some(match kind {
            b'+' => Head::Whole(Reply::Status(text())),
            b'-' => Head::Whole(Reply::Error(text())),
            b':' => Head::Whole(Reply::Number(number(rest)?)),
            b'$' => length(rest, MAX_STRING)?.map_or_else(nothing, Head::Text),
            b'*' => length(rest, MAX_ITEMS)?.map_or_else(nothing, Head::Items),
            _ => return None,
        })
    }
}

fn nested(wire: &mut Wire, depth: usize) -> Result<Reply, Failure> {
    let line = line(wire)?;
    match Head::read(line) {
        Some(Head::Whole(reply)) => Ok(reply),
        Some(Head::Text(length)) => string(wire, length).map(Reply::Text),
        Some(Head::Items(length)) if depth > 0 => {
            (0..length).map(|_| nested(wire, depth - 1)).collect::<Result<_, _>>().map(Reply::Items)
        }
        _ => Err(foreign(line)),
    }
}

fn line(wire: &mut Wire) -> Result<&[u8], Failure> {
    let mut searched = 0;
    let length = loop {
        let unread = wire.unread();
        if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
            break searched + at;
        }
        searched = unread.len();
        if searched > MAX_LINE {
            return Err(foreign(unread));
        }
        wire.fill()?;
    };
    let line = &wire.take(length + 1)[..length];
    line.strip_suffix(b"\r").ok_or_else(|| foreign(line))
}

fn string(wire: &mut Wire, length: usize) -> Result<Vec<u8>, Failure> {
    while wire.unread().len() < length + 2 {
        wire.fill()?;
    }
    let string = wire.take(length + 2);
    Ok(string.strip_suffix(b"\r\n").ok_or_else(|| foreign(string))?.to_vec())
}

fn number(digits: &[u8]) -> Option<i64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// A length up to a largest one, or that of nothing, which is -1.
fn length(digits: &[u8], largest: usize) -> Option<Option<usize>> {
    match number(digits)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().filter(|length| *length <= largest).map(Some),
    }
}
