//! Connections to all addresses of a name at once, so that one which does not answer costs no time.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{Connection, Timeouts};
use super::failure::Failure;

/// How long after the first connection the others are waited for, to be compared with it.
const GRACE: Duration = Duration::from_millis(200);

/// Dials under way.
pub(super) struct Dialing {
    results: mpsc::Receiver<(SocketAddr, Result<Connection, Failure>)>,
    outstanding: usize,
    timeout: Duration,
    deadline: Instant,
    hurries: bool,
    /// The addresses that could not be connected to, and why.
    pub(super) failed: Vec<(SocketAddr, String)>,
}

impl Dialing {
    /// Begins to connect to each of the addresses, on a thread of its own unless it is the only one.
    pub(super) fn begin(addresses: &[SocketAddr], timeouts: Timeouts) -> Result<Dialing, Failure> {
        let (sender, results) = mpsc::channel();
        // Nobody is there to be told any more, if it takes too long.
        let dial =
            move |address, sender: mpsc::Sender<_>| drop(sender.send((address, Connection::open(address, timeouts))));
        match addresses {
            [address] => dial(*address, sender),
            _ => {
                for address in addresses {
                    let (address, sender) = (*address, sender.clone());
                    let spawned =
                        thread::Builder::new().name("kvlock-dial".into()).spawn(move || dial(address, sender));
                    spawned.map_err(|error| Failure::NotSent(format!("cannot start a thread to connect: {error}")))?;
                }
            }
        }
        let deadline = Instant::now() + timeouts.connect + GRACE;
        let (outstanding, timeout) = (addresses.len(), timeouts.connect);
        Ok(Dialing { results, outstanding, timeout, deadline, hurries: false, failed: Vec::new() })
    }

    /// The next connection that is there; none once all have been given, or the time is over.
    pub(super) fn next(&mut self) -> Option<Connection> {
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
    pub(super) fn hurry(&mut self) {
        self.deadline = self.deadline.min(Instant::now() + GRACE);
    }

    /// Waits no longer than a moment after the first connection.
    pub(super) fn hurry_after_first(&mut self) {
        self.hurries = true;
    }

    /// The addresses that did not answer, and why: all but those that did.
    pub(super) fn into_failed(mut self, dialed: &[SocketAddr], answered: &[SocketAddr]) -> Vec<(SocketAddr, String)> {
        for address in dialed {
            if !answered.contains(address) && self.failed.iter().all(|(failed, _)| failed != address) {
                self.failed.push((*address, no_answer(GRACE)));
            }
        }
        self.failed
    }

    /// Why there is no connection.
    pub(super) fn failure(self) -> Failure {
        let several = self.failed.len() > 1;
        let told = |(address, why): (SocketAddr, String)| if several { format!("{address} {why}") } else { why };
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
