//! Signals and other events, in one queue for the main thread.

use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use signal_hook::consts::signal::*;
use signal_hook::iterator::Signals;

/// What the main thread waits for.
pub(super) enum Event {
    /// A signal came.
    Signal(i32),
    /// A lock is lost; it tells why.
    Lost,
}

/// Signals that are passed on to the command, and end a wait.
const FORWARDED: [i32; 8] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH];

/// Whether a signal that comes while nothing runs yet is a reason to give up.
pub(super) fn interrupts(signal: i32) -> bool {
    matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// Takes over the process's signals from now on.
pub(super) fn listen() -> Result<(Sender<Event>, Receiver<Event>)> {
    let (sender, receiver) = channel();
    let mut signals = Signals::new(FORWARDED.into_iter().chain([SIGCHLD])).context("cannot listen for signals")?;
    let events = sender.clone();
    let listener = std::thread::Builder::new().name("kvlock-signals".to_string());
    listener
        .spawn(move || {
            for signal in signals.forever() {
                if events.send(Event::Signal(signal)).is_err() {
                    return;
                }
            }
        })
        .context("cannot start a thread")?;
    Ok((sender, receiver))
}
