//! One server: its idle connections, and what its failures mean to the caller.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::StoreError;
use super::address::Address;
use super::connection::{Connection, Failure, Timeouts};
use super::link::Link;
use crate::process::PerProcess;

/// How many connections are kept for later. More are opened when more threads call at once.
const MAX_IDLE: usize = 16;

/// A connection that has been idle for longer is looked at before it is used, because a write on a connection that the
/// server has closed has no known outcome. In a busy loop the look would cost more than it can find.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// One memcached server.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    pub(super) timeouts: Timeouts,
    /// Connections of earlier calls. On one that a fork shares with its parent, each would read the other's replies.
    idle: PerProcess<Mutex<Vec<Link>>>,
    /// Whether its name has led somewhere: if it does not any more, it is no slip of the pen.
    found: AtomicBool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Server {
    pub(super) fn new(address: Address, timeouts: Timeouts) -> Server {
        Server { address, timeouts, idle: PerProcess::new(Mutex::default()), found: AtomicBool::new(false) }
    }

    /// Does something that changes nothing. What fails on a connection of an earlier call is tried on a new one.
    pub(super) fn read<T>(&self, ask: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        if let Some(mut link) = self.pooled() {
            match ask(&mut link) {
                Err(Failure::NotSent(_) | Failure::NoAnswer(_)) => {}
                answer => return self.finish(link, answer, |failure| self.on_read(failure)),
            }
        }
        let mut link = self.open()?;
        let answer = ask(&mut link);
        self.finish(link, answer, |failure| self.on_read(failure))
    }

    /// Does something that changes an entry. Nothing is tried twice of which a byte has been sent.
    pub(super) fn write<T>(&self, act: impl Fn(&mut Link) -> Result<T, Failure>) -> Result<T, StoreError> {
        if let Some(mut link) = self.pooled() {
            match act(&mut link) {
                Err(Failure::NotSent(_)) => {}
                answer => return self.finish(link, answer, |failure| self.on_write(failure)),
            }
        }
        let mut link = self.open()?;
        let answer = act(&mut link);
        self.finish(link, answer, |failure| self.on_write(failure))
    }

    /// Opens a connection without looking at what answers.
    pub(super) fn dial(&self) -> Result<Connection, StoreError> {
        let opened = Connection::open(&self.address, self.timeouts);
        if !matches!(opened, Err(Failure::NotFound(_))) {
            self.found.store(true, Ordering::Relaxed);
        }
        opened.map_err(|failure| self.on_read(failure))
    }

    fn open(&self) -> Result<Link, StoreError> {
        Link::new(self.dial()?).map_err(|failure| self.on_read(failure))
    }

    fn pooled(&self) -> Option<Link> {
        loop {
            // Statement by itself, so that the pool is not locked while we look.
            let link = self.idle().pop();
            let mut link = link?;
            if link.connection.idle() < LOOK_AFTER || link.connection.is_quiet() {
                return Some(link);
            }
        }
    }

    fn finish<T>(
        &self,
        mut link: Link,
        answer: Result<T, Failure>,
        explain: impl Fn(Failure) -> StoreError,
    ) -> Result<T, StoreError> {
        let answer = answer.map_err(explain)?;
        if link.connection.is_clean() {
            let mut idle = self.idle();
            if idle.len() < MAX_IDLE {
                idle.push(link);
            }
        }
        Ok(answer)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        // A panic elsewhere cannot leave a `Vec` of connections half changed.
        self.idle.here(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a failure means where nothing was to be changed.
    pub(super) fn on_read(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::NotSent(why) | Failure::NoAnswer(why) => {
                StoreError::Unavailable(format!("memcached {self}: {why}"))
            }
            Failure::Refused(why) => self.refused(&why),
            Failure::Foreign(why) => StoreError::Invalid(format!("{self} does not speak memcached's protocol: {why}")),
            Failure::NotFound(why) => self.not_found(&why),
        }
    }

    /// What a failure means where a write was to be executed.
    fn on_write(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::NotSent(why) => StoreError::Unavailable(format!("memcached {self}: {why}")),
            Failure::NoAnswer(why) => StoreError::UnknownOutcome(format!("memcached {self}: {why}")),
            Failure::Foreign(why) => StoreError::UnknownOutcome(format!("memcached {self}: {why}")),
            Failure::NotFound(why) => self.not_found(&why),
            Failure::Refused(why) => self.refused(&why),
        }
    }

    fn not_found(&self, why: &str) -> StoreError {
        match self.found.load(Ordering::Relaxed) {
            true => StoreError::Unavailable(format!("memcached {self}: {why}")),
            false => StoreError::Invalid(format!("memcached {self}: {why}; check how it is spelled")),
        }
    }

    fn refused(&self, why: &str) -> StoreError {
        let advice = if why.contains("out of memory") {
            ": give it more memory (memcached -m), or locks a server of their own"
        } else if why.contains("too large") {
            ": its limit for an item (memcached -I) is smaller than usual"
        } else if why.contains("unauthenticated") {
            ": kvlock does not log in; use a server without -Y or -S"
        } else {
            ""
        };
        StoreError::Rejected(format!("memcached {self}: {why}{advice}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_led_nowhere_from_the_start_is_a_mistake_and_one_that_did_lead_somewhere_is_an_outage() {
        let timeouts =
            Timeouts { connect: Duration::from_secs(1), operation: Duration::from_secs(1), spin: Duration::ZERO };
        let server = Server::new(Address { host: "no-such-host.invalid".into(), port: 1 }, timeouts);
        assert!(matches!(server.dial(), Err(StoreError::Invalid(text)) if text.contains("no-such-host.invalid:1")));
        server.found.store(true, Ordering::Relaxed);
        assert!(matches!(server.dial(), Err(StoreError::Unavailable(text)) if text.contains("no-such-host.invalid:1")));
        let server = Server::new(Address { host: "localhost".into(), port: 1 }, timeouts);
        assert!(matches!(server.dial(), Err(StoreError::Unavailable(_))));
        assert!(server.found.load(Ordering::Relaxed));
    }
}
