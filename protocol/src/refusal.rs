//! What replies of memcached say of a failure, and what a failure means to the caller.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Display;

use crate::contract::Error;
use crate::failure::Failure;

/// Returns the failure of an answer that memcached does not give.
pub(crate) fn foreign(line: &[u8]) -> Failure {
    Failure::Foreign(format!("it answers `{}`", said(line)))
}

/// Returns what a server says as messages show it: on one line, and cut where it is long.
pub(crate) fn said(bytes: &[u8]) -> String {
    bytes.get(..60).unwrap_or(bytes).escape_ascii().to_string()
}

const REFUSALS: [&[u8]; 3] = [b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];

/// Tells apart the error replies of doc/protocol.txt, "Error strings", and the others.
pub(crate) fn refusal(line: &[u8]) -> Result<(), Failure> {
    // Most replies are none of these, and are seen not to be at a glance.
    if !matches!(line, [b'E', b'R', ..] | [b'C', b'L', ..] | [b'S', b'E', ..]) {
        return Ok(());
    }
    let is = |word| line.strip_prefix(word).is_some_and(|rest: &[u8]| rest.first().is_none_or(|next| *next == b' '));
    if !REFUSALS.into_iter().any(is) {
        return Ok(());
    }
    let text = said(line);
    // Said to a new connection, before any command was read.
    if text.starts_with("ERROR Too many open connections") {
        return Err(Failure::NotSent(format!("no connection is free ({text}): raise memcached's -c")));
    }
    Err(Failure::Refused(text))
}

/// Returns what a failure of a server means where nothing was to be changed.
pub fn meaning_for_a_read(server: &impl Display, failure: Failure) -> Error {
    match failure {
        Failure::NotSent(why) | Failure::NoAnswer(why) => Error::Unavailable(format!("memcached {server}: {why}")),
        Failure::Refused(why) => refused(server, &why),
        Failure::Foreign(why) => Error::Invalid(format!("{server} does not speak memcached's protocol: {why}")),
    }
}

/// Returns what a failure of a server means where a write was to be executed.
pub fn meaning_for_a_write(server: &impl Display, failure: Failure) -> Error {
    match failure {
        Failure::NotSent(why) => Error::Unavailable(format!("memcached {server}: {why}")),
        Failure::NoAnswer(why) | Failure::Foreign(why) => Error::UnknownOutcome(format!("memcached {server}: {why}")),
        Failure::Refused(why) => refused(server, &why),
    }
}

fn refused(server: &impl Display, why: &str) -> Error {
    let says = |part: &str| why.as_bytes().windows(part.len()).any(|words| words == part.as_bytes());
    let advice = if says("out of memory") {
        ": give it more memory (memcached -m), or locks a server of their own"
    } else if says("too large") {
        ": its limit for an item (memcached -I) is smaller than usual"
    } else if says("unauthenticated") {
        ": it wants a login, as in memcached://user:password@host"
    } else if says("authentication failure") {
        ": check the user and the password in the store's URL"
    } else {
        ""
    };
    Error::Rejected(format!("memcached {server}: {why}{advice}"))
}

/// Returns what is wrong with a name that leads to two servers, and what to do about it.
pub fn two_servers(difference: &str) -> String {
    format!(
        "it leads to different servers, {difference}, and each would grant the same locks: name one server only, or \
         list both to share the keys among them"
    )
}
