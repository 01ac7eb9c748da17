//! Signals and other events, in one queue for the main thread. No thread of its own waits for them: the handler writes
//! to a socket, and the main thread waits for that.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kvlock::Loss;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use signal_hook::consts::signal::*;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What the main thread waits for.
pub(super) enum Event {
    /// A signal came.
    Signal(i32),
    /// The lock is lost.
    Lost(Loss),
}

/// Signals that are passed on to the command, and end a wait.
const FORWARDED: [i32; 8] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH];

/// Whether a signal that comes while nothing runs yet is a reason to give up.
pub(super) fn interrupts(signal: i32) -> bool {
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// The queue.
pub(super) struct Events {
    signals: SignalDelivery<UnixStream, SignalOnly>,
    /// Signals that came and are not handed out yet.
    came: VecDeque<i32>,
    losses: Receiver<Loss>,
    sender: Sender<Loss>,
    /// What the handler writes to.
    wake: UnixStream,
}

/// Tells the main thread of a loss.
pub(super) struct Teller {
    sender: Sender<Loss>,
    wake: UnixStream,
}

impl Events {
    /// Takes over the process's signals from now on.
    pub(super) fn listen() -> Result<Self> {
        let sockets = UnixStream::pair().and_then(|(read, wake)| Ok((read, wake.try_clone()?, wake)));
        let (read, write, wake) = sockets.context("cannot make a pair of sockets")?;
        let handled = FORWARDED.into_iter().chain([SIGCHLD]);
        let signals = SignalDelivery::with_pipe(read, write, SignalOnly, handled);
        let signals = signals.context("cannot listen for signals")?;
        let (sender, losses) = channel();
        Ok(Events { signals, came: VecDeque::new(), losses, sender, wake })
    }

    /// Something to tell of a loss with, from another thread.
    pub(super) fn teller(&self) -> Result<Teller> {
        let wake = self.wake.try_clone().context("cannot duplicate a socket")?;
        Ok(Teller { sender: self.sender.clone(), wake })
    }

    /// The next event; none if none comes in this time.
    pub(super) fn wait(&mut self, timeout: Duration) -> Option<Event> {
        let until = Instant::now() + timeout;
        loop {
            let event = self.next();
            let left = until.saturating_duration_since(Instant::now());
            if event.is_some() || left.is_zero() {
                return event;
            }
            let mut read = [PollFd::new(self.signals.get_read().as_fd(), PollFlags::POLLIN)];
            // Interrupted by a signal or ready, there is something to look at; else the time is over.
            let _ = ppoll(&mut read, Some(TimeSpec::from_duration(left)), None);
        }
    }

    /// The next event of those that came already.
    pub(super) fn next(&mut self) -> Option<Event> {
        if self.came.is_empty() {
            self.came.extend(self.signals.pending());
        }
        let signal = self.came.pop_front().map(Event::Signal);
        signal.or_else(|| self.losses.try_recv().ok().map(Event::Lost))
    }
}

impl Teller {
    pub(super) fn tell(mut self, loss: &Loss) {
        // Where the main loop is over nobody is there to be told, and a socket that is full wakes as well.
        let _ = self.sender.send(loss.clone());
        let _ = self.wake.write(&[0]);
    }
}
