//! Why an exchange with a server has no answer.

/// Why an exchange has no answer. Whatever it was, the connection is of no more use: what else arrives on it cannot
/// be told from an answer to the next request.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was executed: no byte of the request has left, or only reads have.
    NotSent(String),
    /// Something was sent, and no full answer came.
    NoAnswer(String),
    /// The server refuses the command, and has not executed it.
    Refused(String),
    /// What answers is not memcached.
    Foreign(String),
}

impl Failure {
    /// Returns the same failure, where only reads have been sent so far.
    pub(super) fn before_a_write(self) -> Failure {
        match self {
            Failure::NoAnswer(why) => Failure::NotSent(why),
            other => other,
        }
    }

    /// Returns the same failure, where an earlier command of the operation has been, or may have been, executed.
    pub(super) fn after_a_write(self) -> Failure {
        match self {
            Failure::NotSent(why) | Failure::NoAnswer(why) | Failure::Refused(why) | Failure::Foreign(why) => {
                Failure::NoAnswer(why)
            }
        }
    }

    /// Returns what happened, for a person.
    pub(super) fn into_text(self) -> String {
        match self {
            Failure::NotSent(why) | Failure::NoAnswer(why) | Failure::Refused(why) | Failure::Foreign(why) => why,
        }
    }
}

/// Returns the failure to send a request of which this many bytes have left.
pub(super) fn unsent(sent: usize, why: String) -> Failure {
    if sent == 0 { Failure::NotSent(why) } else { Failure::NoAnswer(why) }
}

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
