//! What replies of memcached say of a failure.

use super::super::socket::failure::Failure;

/// Returns the failure of an answer that memcached does not give.
pub(super) fn foreign(line: &[u8]) -> Failure {
    let shown = &line[..line.len().min(60)];
    Failure::Foreign(format!("it answers `{}`", String::from_utf8_lossy(shown).escape_debug()))
}

const REFUSALS: [&[u8]; 3] = [b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];

/// Tells apart the error replies of doc/protocol.txt, "Error strings", and the others.
pub(super) fn refusal(line: &[u8]) -> Result<(), Failure> {
    let is = |word| line.strip_prefix(word).is_some_and(|rest: &[u8]| rest.first().is_none_or(|next| *next == b' '));
    if !REFUSALS.into_iter().any(is) {
        return Ok(());
    }
    let text = String::from_utf8_lossy(line).escape_debug().to_string();
    // Said to a new connection, before any command was read.
    if text.starts_with("ERROR Too many open connections") {
        return Err(Failure::NotSent(format!("no connection is free ({text}): raise memcached's -c")));
    }
    Err(Failure::Refused(text))
}
