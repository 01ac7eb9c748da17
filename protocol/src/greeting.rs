//! Logging in on a new connection.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;

use crate::contract::Error;
use crate::failure::Failure;
use crate::refusal::foreign;
use crate::replies::Replies;
use crate::request::Request;
use crate::transport::Transport;
use crate::url::Login;

/// The command that logs in, ready to be sent. It is never shown.
#[derive(Clone)]
pub struct Greeting(Arc<Request>);

impl Greeting {
    /// Takes a user and a password. memcached has one line for both, with a blank between them.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what does not fit into it.
    pub fn new(login: &Login) -> Result<Greeting, Error> {
        let Login { user, password: Some(password) } = login else {
            return Err(Error::Invalid(
                "the store's URL has a user and no password: write user:password@host".to_string(),
            ));
        };
        let password = password.reveal();
        if user.is_empty()
            || user.chars().any(char::is_whitespace)
            || password.bytes().any(|byte| matches!(byte, b'\r' | b'\n'))
        {
            return Err(Error::Invalid(
                "memcached's login has a user without blanks, and a password of one line: write user:password@host"
                    .to_string(),
            ));
        }
        let mut request = Request::default();
        request.login(&format!("{user} {password}"));
        Ok(Greeting(Arc::new(request)))
    }

    /// Logs in.
    ///
    /// # Errors
    /// What the server refuses, or why it has no answer.
    pub async fn give(&self, transport: &mut impl Transport) -> Result<(), Failure> {
        let replies = transport.exchange(&self.0).await.map_err(Failure::before_a_write)?;
        match Replies::new(replies).line()? {
            b"STORED" => Ok(()),
            line => Err(foreign(line)),
        }
    }
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
