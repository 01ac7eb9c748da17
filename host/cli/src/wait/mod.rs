//! Waits, as a person at a terminal sees them: one live line, and Ctrl-C ends the wait.

mod live_line;
mod outage;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::Result;
use kvlock::{
    AcquirePoll, Grant, WaitingFor,
    error::{AcquireError, StatusError},
    semaphore::{ResizeError, ResizePoll, Resizing},
};
use signal_hook::consts::{SIGCHLD, SIGTSTP};

use crate::options::args::{HoldArgs, WaitArgs};
use crate::options::global::Global;
use crate::orphans;
use crate::report::exit::Exit;
use crate::signals::{self, Event, Events, ends_a_wait};
use crate::wait::live_line::LiveLine;
use crate::wait::outage::Outage;

/// How often the line counts down.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// The pause between two looks during an outage.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a subcommand waits for, how long, and where it is shown.
pub(crate) struct WaitContext<'a> {
    /// The key, or the semaphore.
    name: &'a str,
    args: &'a WaitArgs,
    global: &'a Global,
    events: &'a Events,
    /// True if the store has answered one of the waits.
    reached: Cell<bool>,
}

impl<'a> WaitContext<'a> {
    pub(crate) fn new(name: &'a str, args: &'a WaitArgs, global: &'a Global, events: &'a Events) -> Self {
        WaitContext { name, args, global, events, reached: Cell::new(false) }
    }

    /// Polls until the lock or the permit is held. The error has the exit code that the arguments ask for.
    pub(crate) fn acquire(
        &self,
        mut poll: impl FnMut() -> Result<AcquirePoll, AcquireError>,
        hold: &HoldArgs,
    ) -> Result<Grant> {
        let mut line = LiveLine::new(self.global, Some(self.name));
        let mut outage = self.outage();
        loop {
            let (length, waiting_for) = match poll() {
                Ok(AcquirePoll::Ready(grant)) => {
                    outage.see(None, &line);
                    return Ok(grant);
                }
                Ok(AcquirePoll::Pending { pause, waiting_for }) => (pause, waiting_for),
                Err(error @ AcquireError::Busy { .. }) => {
                    return Err(Exit::new(hold.conflict_exit_code, error.to_string()).about(error).into());
                }
                Err(error) => return Err(outage.gave_up(error)),
            };
            outage.see(if let WaitingFor::Outage(error) = &waiting_for { Some(error) } else { None }, &line);
            let told = Instant::now();
            loop {
                line.show(counted_down(&waiting_for, told.elapsed()));
                let left = length.saturating_sub(told.elapsed());
                self.pause_or_interrupted(left.min(COUNT_EVERY))?;
                if left <= COUNT_EVERY {
                    break;
                }
            }
        }
    }

    /// Calls `look` until the store answers, for `longest` at most.
    pub(crate) fn look<T>(
        &self,
        mut look: impl FnMut() -> Result<T, StatusError>,
        longest: Option<Duration>,
    ) -> Result<T> {
        let (started, mut line) = (Instant::now(), LiveLine::new(self.global, Some(self.name)));
        let mut outage = self.outage();
        loop {
            match look() {
                Ok(found) => {
                    outage.see(None, &line);
                    return Ok(found);
                }
                Err(StatusError::Store { error, .. })
                    if error.is_outage() && longest.is_none_or(|longest| started.elapsed() < longest) =>
                {
                    outage.see(Some(&error), &line);
                    line.show(format_args!("{error:#}"));
                    self.pause_or_interrupted(LOOK_AGAIN)?;
                }
                Err(error) => return Err(outage.gave_up(error)),
            }
        }
    }

    /// Waits until enough permits are back. Returns the size that the semaphore had before.
    pub(crate) fn resize(&self, mut resizing: Resizing) -> Result<Option<u32>> {
        let mut line = LiveLine::new(self.global, None);
        let mut told = self.outage();
        loop {
            let (length, status, outage) = match resizing.poll() {
                Ok(ResizePoll::Ready(before)) => {
                    told.see(None, &line);
                    return Ok(before);
                }
                Ok(ResizePoll::Pending { pause, status, outage }) => (pause, status, outage),
                Err(error @ ResizeError::Store { .. }) => return Err(told.gave_up(error)),
                Err(error) => return Err(error.into()),
            };
            told.see(outage.as_ref(), &line);
            match &outage {
                Some(error) => line.show(format_args!("{error:#}")),
                None => line.show(&status),
            }
            if let Some(signal) = pause(length, self.events) {
                let name = self.name;
                let text = match outage {
                    Some(error) => format!("`{name}`: the wait for the store was interrupted: {error:#}"),
                    None => format!("`{name}`: the wait was interrupted; the new size stands, and {status}"),
                };
                return Err(Exit::interrupted(signal, text).into());
            }
        }
    }

    /// Pauses. A signal that asks to end is an error.
    pub(crate) fn pause_or_interrupted(&self, length: Duration) -> Result<()> {
        match pause(length, self.events) {
            Some(signal) => Err(Exit::interrupted(signal, format!("`{}`: the wait was interrupted", self.name)).into()),
            None => Ok(()),
        }
    }

    fn outage(&self) -> Outage<'_> {
        Outage::new(self.name, self.args.patience(), self.global, &self.reached)
    }
}

/// Pauses. Returns the signal that ended the pause, if one did. Ctrl-Z stops us, as it would if we did not catch it.
pub(crate) fn pause(length: Duration, events: &Events) -> Option<i32> {
    let until = Instant::now() + length;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Some(Event::Signal(signal)) if ends_a_wait(signal) => return Some(signal),
            Some(Event::Signal(SIGTSTP)) => signals::stop(),
            Some(Event::Signal(SIGCHLD)) => orphans::reap(),
            Some(_) => {}
            None => return None,
        }
    }
}

/// Returns what the wait still waits for, this long after it was told.
fn counted_down(waiting_for: &WaitingFor, passed: Duration) -> WaitingFor {
    match waiting_for {
        WaitingFor::Quarantine(left) => WaitingFor::Quarantine(left.saturating_sub(passed)),
        other => other.clone(),
    }
}
