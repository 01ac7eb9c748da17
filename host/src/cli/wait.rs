//! Waiting for a lock as a person at a terminal sees it: one live line, and Ctrl-C ends it.

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use kvlock::{AcquireError, Acquisition, Grant, Poll, ResizeError, ResizePoll, Resizing};
use signal_hook::consts::SIGTSTP;

use super::Global;
use super::args::HoldArgs;
use super::exit::{self, Exit};
use super::output::one_line;
use super::signals::{self, Event, interrupts};

/// How soon a wait becomes worth a line.
const QUIET_FOR: Duration = Duration::from_millis(300);

/// Acquires the lock; the error has the exit code that the arguments ask for.
pub(super) fn acquire(mut acquisition: Acquisition, wanted: &Wanted<'_>, events: &Receiver<Event>) -> Result<Grant> {
    granted(|| acquisition.poll(), wanted, events)
}

/// What is waited for, and how it is told.
pub(super) struct Wanted<'a> {
    /// The key, or the semaphore.
    pub(super) name: &'a str,
    pub(super) hold: &'a HoldArgs,
    pub(super) global: &'a Global,
}

/// Polls until the lock is held; the error has the exit code that the arguments ask for.
pub(super) fn granted(
    poll: impl FnMut() -> Result<Poll, AcquireError>,
    wanted: &Wanted<'_>,
    events: &Receiver<Event>,
) -> Result<Grant> {
    let line = Line::new(wanted.global);
    match wait(poll, events, line) {
        Err(Interrupted::By(signal)) => Err(interrupted(wanted.name, signal)),
        Err(Interrupted::Failed(error @ AcquireError::Busy { .. })) => {
            Err(Exit::new(wanted.hold.conflict_exit_code, error.to_string()).into())
        }
        Err(Interrupted::Failed(error)) => Err(error.into()),
        Ok(grant) => Ok(grant),
    }
}

/// The error of a wait that a signal ended.
pub(super) fn interrupted(key: &str, signal: i32) -> anyhow::Error {
    Exit::new(exit::of_signal(signal), format!("`{key}`: the wait was interrupted")).into()
}

/// Pauses; tells the signal that ended the pause. Ctrl-Z stops us, as it would if we did not listen for it.
pub(super) fn pause(pause: Duration, events: &Receiver<Event>) -> Option<i32> {
    let until = Instant::now() + pause;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Signal(signal)) if interrupts(signal) => return Some(signal),
            Ok(Event::Signal(SIGTSTP)) => signals::stop(),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Waits until enough permits are back; what the size was.
pub(super) fn resized(
    mut resizing: Resizing,
    name: &str,
    global: &Global,
    events: &Receiver<Event>,
) -> Result<Option<u32>> {
    let mut line = Line::new(global);
    loop {
        let (length, status) = match resizing.poll() {
            Ok(ResizePoll::Ready(before)) => return Ok(before),
            Ok(ResizePoll::Pending { pause, status }) => (pause, status),
            Err(error @ ResizeError::StillHeld { .. }) => return Err(Exit::new(exit::BUSY, error.to_string()).into()),
            Err(error) => return Err(error.into()),
        };
        line.show(&status);
        if let Some(signal) = pause(length, events) {
            let text = format!("`{name}`: the wait was interrupted; the new size stands, and {status}");
            return Err(Exit::new(exit::of_signal(signal), text).into());
        }
    }
}

enum Interrupted {
    By(i32),
    Failed(AcquireError),
}

fn wait(
    mut poll: impl FnMut() -> Result<Poll, AcquireError>,
    events: &Receiver<Event>,
    mut line: Line,
) -> Result<Grant, Interrupted> {
    loop {
        let (length, waiting_for) = match poll().map_err(Interrupted::Failed)? {
            Poll::Ready(grant) => return Ok(grant),
            Poll::Pending { pause, waiting_for } => (pause, waiting_for),
        };
        line.show(waiting_for);
        if let Some(signal) = pause(length, events) {
            return Err(Interrupted::By(signal));
        }
    }
}

/// The live line; none where stderr is not a terminal.
struct Line {
    bar: Option<ProgressBar>,
    started: Instant,
    wanted: bool,
}

impl Line {
    fn new(global: &Global) -> Self {
        let wanted = !global.quiet && std::io::stderr().is_terminal();
        Line { bar: None, started: Instant::now(), wanted }
    }

    fn show(&mut self, waiting_for: impl Display) {
        if !self.wanted || self.started.elapsed() < QUIET_FOR {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} waiting {elapsed}: {wide_msg}");
            let bar = ProgressBar::new_spinner().with_elapsed(self.started.elapsed());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_message(one_line(waiting_for));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
