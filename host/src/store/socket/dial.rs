//! Connections to all addresses of a name at once, so that one which does not answer costs no time.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kvlock_protocol::Failure;

use super::stream::{Peer, Tls};
use super::wire::{Timeouts, Wire};

/// How long after the first connection the others are waited for, to be compared with it.
const GRACE: Duration = Duration::from_millis(200);

/// Dials under way.
pub(in crate::store) struct Dialing {
    results: mpsc::Receiver<(Peer, Result<Wire, Failure>)>,
    outstanding: usize,
    timeout: Duration,
    deadline: Instant,
    hurries: bool,
    /// The addresses that could not be connected to, and why.
    pub(in crate::store) failed: Vec<(Peer, String)>,
}

impl Dialing {
    /// Begins to connect to each of the addresses, on a thread of its own unless it is the only one.
    pub(in crate::store) fn begin(addresses: &[Peer], tls: Option<&Tls>, timeouts: Timeouts) -> Dialing {
        Dialing::begin_on(addresses, tls, timeouts, |dial| {
            thread::Builder::new().name("kvlock-dial".into()).spawn(dial).map(drop)
        })
    }

    /// Does the same on threads that `start` starts. An address for which it cannot is told as failed.
    fn begin_on(
        addresses: &[Peer],
        tls: Option<&Tls>,
        timeouts: Timeouts,
        mut start: impl FnMut(Box<dyn FnOnce() + Send>) -> io::Result<()>,
    ) -> Dialing {
        let (sender, results) = mpsc::channel();
        let mut failed = Vec::new();
        // Nobody is there to be told any more, if it takes too long.
        let dial = |address: &Peer| {
            let (address, tls, sender) = (address.clone(), tls.cloned(), sender.clone());
            move || {
                let opened = Wire::open(&address, tls.as_ref(), timeouts);
                drop(sender.send((address, opened)));
            }
        };
        match addresses {
            [address] => dial(address)(),
            _ => {
                for address in addresses {
                    if let Err(error) = start(Box::new(dial(address))) {
                        failed.push((address.clone(), format!("cannot connect: no thread for it: {error}")));
                    }
                }
            }
        }
        let deadline = Instant::now() + timeouts.connect + GRACE;
        let (outstanding, timeout) = (addresses.len() - failed.len(), timeouts.connect);
        Dialing { results, outstanding, timeout, deadline, hurries: false, failed }
    }

    /// Returns the next connection that is there; none once all have been given, or the time is over.
    pub(in crate::store) fn next(&mut self) -> Option<Wire> {
        while self.outstanding > 0 {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let (address, result) = self.results.recv_timeout(left).ok()?;
            self.outstanding -= 1;
            match result {
                Ok(connection) => {
                    if self.hurries {
                        self.hurry();
                    }
                    return Some(connection);
                }
                Err(failure) => self.failed.push((address, failure.into_text())),
            }
        }
        None
    }

    /// Waits no longer than a moment from now on.
    pub(in crate::store) fn hurry(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + GRACE);
    }

    /// Waits no longer than a moment after the first connection.
    pub(in crate::store) fn hurry_after_first(&mut self) {
        self.hurries = true;
    }

    /// Returns the addresses that did not answer, and why: all but those that did.
    pub(in crate::store) fn into_failed(mut self, dialed: &[Peer], answered: &[Peer]) -> Vec<(Peer, String)> {
        for address in dialed {
            if !answered.contains(address) && self.failed.iter().all(|(failed, _)| failed != address) {
                self.failed.push((address.clone(), no_answer(GRACE)));
            }
        }
        self.failed
    }

    /// Returns why there is no connection.
    pub(in crate::store) fn failure(self) -> Failure {
        let several = self.failed.len() > 1;
        let told = |(address, why): (Peer, String)| if several { format!("{address} {why}") } else { why };
        let told: Vec<_> = self.failed.into_iter().map(told).collect();
        Failure::NotSent(match told.is_empty() {
            true => no_answer(self.timeout),
            false => told.join("; "),
        })
    }
}

fn no_answer(within: Duration) -> String {
    format!("cannot connect: no answer within {within:?}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_that_gets_no_thread_keeps_no_other_from_being_dialed() {
        let servers = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses: Vec<_> = servers.iter().map(|server| Peer::from(server.local_addr().unwrap())).collect();
        let second = Duration::from_secs(1);
        let timeouts = Timeouts { connect: second, operation: second, spin: Duration::ZERO };
        let begin = |threads: usize| {
            let mut left = threads;
            Dialing::begin_on(&addresses, None, timeouts, move |dial| {
                left = left.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
                thread::spawn(dial);
                Ok(())
            })
        };
        let mut dialing = begin(2);
        assert!(dialing.next().is_some() && dialing.next().is_some() && dialing.next().is_none());
        let failed = dialing.into_failed(&addresses, &addresses[..2]);
        assert!(matches!(&failed[..], [(address, why)] if *address == addresses[2] && why.contains("no thread")));
        let mut dialing = begin(0);
        assert!(dialing.next().is_none());
        assert_eq!(dialing.failure().into_text().matches("no thread").count(), 3);
    }
}
