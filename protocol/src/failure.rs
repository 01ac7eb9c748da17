//! Why an exchange with a server has no answer.

use alloc::string::String;

/// Why an exchange has no answer. Whatever it was, the connection is of no more use: what else arrives on it cannot
/// be told from an answer to the next request.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was executed: no byte of the request has left, or only reads have.
    NotSent(String),
    /// Something was sent, and no full answer came.
    NoAnswer(String),
    /// The server refuses the command, and has not executed it.
    Refused(String),
    /// What answers speaks another protocol.
    Foreign(String),
}

impl Failure {
    /// Returns the same failure, where only reads have been sent so far.
    pub fn before_a_write(self) -> Failure {
        match self {
            Failure::NoAnswer(why) => Failure::NotSent(why),
            other => other,
        }
    }

    /// Returns the same failure, where an earlier command of the operation has been, or may have been, executed.
    pub fn after_a_write(self) -> Failure {
        match self {
            Failure::NotSent(why) | Failure::NoAnswer(why) | Failure::Refused(why) | Failure::Foreign(why) => {
                Failure::NoAnswer(why)
            }
        }
    }

    /// Returns what happened, for a person.
    pub fn into_text(self) -> String {
        match self {
            Failure::NotSent(why) | Failure::NoAnswer(why) | Failure::Refused(why) | Failure::Foreign(why) => why,
        }
    }
}

/// Returns the failure to send a request of which this many bytes have left.
pub fn unsent(sent: usize, why: String) -> Failure {
    if sent == 0 { Failure::NotSent(why) } else { Failure::NoAnswer(why) }
}
