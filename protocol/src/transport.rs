//! What an operation needs from outside.

use alloc::format;
use alloc::string::String;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use crate::codec::Codec;
use crate::failure::Failure;
use crate::request::Request;

/// A connection to one server, or a share of one.
pub trait Transport {
    /// Who writes the commands and reads the replies.
    type Codec: Codec;

    /// Sends a request once, and returns its replies: as many bytes as its [`Frame`](crate::Frame) takes, within a time
    /// that is bounded.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if no byte has left, and [`Failure::NoAnswer`] afterwards.
    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send;

    /// Lets a while pass.
    ///
    /// # Errors
    /// [`Failure::NotSent`] if the server has closed the connection meanwhile.
    fn pause(&mut self, length: Duration) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Returns where it leads, as a person reads it.
    fn peer(&self) -> String;

    /// Reads a clock that never goes back: the time since a start that all connections have in common.
    fn now(&self) -> Duration;

    /// Returns for how long the server at the other end has been there at least.
    fn age(&self) -> Duration;

    /// Returns a random number.
    ///
    /// # Errors
    /// [`Failure::NotSent`] where there is none.
    fn random(&mut self) -> Result<u64, Failure>;

    /// Returns Unix seconds as a person reads them.
    fn date(unix_seconds: u64) -> String {
        format!("at Unix second {unix_seconds}")
    }
}

/// Runs an operation whose transport never keeps it waiting, because it waits itself.
pub fn finish<T>(operation: impl Future<Output = T>) -> T {
    let mut operation = pin!(operation);
    loop {
        if let Poll::Ready(outcome) = operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return outcome;
        }
    }
}
