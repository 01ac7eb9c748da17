//! Failures of making a connection, marked as such on their way through the HTTP client: nothing was sent.

use std::error::Error as StdError;
use std::fmt;

use ureq::Error;
#[cfg(feature = "tls")]
use ureq::Timeout;
#[cfg(feature = "tls")]
use ureq::unversioned::transport::{ConnectionDetails, NextTimeout};

use super::failure::{Failure, shown};

/// No connection was made.
#[derive(Debug)]
pub(super) struct Unconnected(pub(super) Failure);

impl fmt::Display for Unconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no connection")
    }
}

impl StdError for Unconnected {}

/// Returns the error for what keeps a connection from being made now.
pub(super) fn unconnected(why: impl fmt::Display) -> Error {
    Error::Other(Box::new(Unconnected(Failure::NotDone(shown(why.to_string().as_bytes())))))
}

/// Returns the error for what keeps a connection from being made until somebody changes something.
#[cfg(feature = "tls")]
pub(super) fn unconnectable(why: String) -> Error {
    Error::Other(Box::new(Unconnected(Failure::Refused(why))))
}

/// Returns how long a part of making a connection may take.
#[cfg(feature = "tls")]
pub(super) fn patience(details: &ConnectionDetails<'_>) -> NextTimeout {
    NextTimeout { after: details.timeout.after, reason: Timeout::Connect, ..NextTimeout::default() }
}
