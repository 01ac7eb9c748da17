//! Waiting for a lock as a person at a terminal sees it: one live line, and Ctrl-C ends it.

mod live;

use std::fmt::Display;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use kvlock::store::StoreError;
use kvlock::{AcquireError, Acquisition, Grant, KeyError, Poll, ResizeError, ResizePoll, Resizing, WaitingFor};
use signal_hook::consts::{SIGCHLD, SIGTSTP};

use crate::options::args::{HoldArgs, Patience, ResizeArgs};
use crate::options::global::Global;
use crate::report::exit::Exit;
use crate::report::output::{self, one_line};
use crate::signals::{self, Event, ends_a_wait};
use crate::supervise::child;

/// How often the line counts down.
const COUNT_EVERY: Duration = Duration::from_millis(200);
/// How soon a wait becomes worth a line.
const QUIET_FOR: Duration = Duration::from_millis(300);

/// Acquires the lock; the error has the exit code that the arguments ask for.
pub(crate) fn acquire(mut acquisition: Acquisition, wanted: &Wanted<'_>, events: &Receiver<Event>) -> Result<Grant> {
    granted(|| acquisition.poll(), wanted, events)
}

/// What is waited for, and how it is told.
pub(crate) struct Wanted<'a> {
    /// The key, or the semaphore.
    pub(crate) name: &'a str,
    pub(crate) hold: &'a HoldArgs,
    pub(crate) global: &'a Global,
}

/// How long to pause in an outage.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Polls until the lock is held; the error has the exit code that the arguments ask for.
pub(crate) fn granted(
    poll: impl FnMut() -> Result<Poll, AcquireError>,
    wanted: &Wanted<'_>,
    events: &Receiver<Event>,
) -> Result<Grant> {
    let line = Line::new(wanted.global, Some(wanted.name));
    let mut outage = Outage::new(wanted.name, wanted.hold.patience(), wanted.global);
    match wait(poll, events, line, &mut outage) {
        Err(Interrupted::By(signal)) => Err(interrupted(wanted.name, signal)),
        Err(Interrupted::Failed(error @ AcquireError::Busy { .. })) => {
            Err(Exit::new(wanted.hold.conflict_exit_code, error.to_string()).about(error).into())
        }
        Err(Interrupted::Failed(error)) => Err(outage.tried(error)),
        Ok(grant) => Ok(grant),
    }
}

/// Looks at something, and rides out an outage as a wait for the lock would, for so long at most.
pub(crate) fn look<T>(
    mut look: impl FnMut() -> Result<T, KeyError>,
    longest: Option<Duration>,
    wanted: &Wanted<'_>,
    events: &Receiver<Event>,
) -> Result<T> {
    let (started, mut line) = (Instant::now(), Line::new(wanted.global, Some(wanted.name)));
    let mut outage = Outage::new(wanted.name, wanted.hold.patience(), wanted.global);
    loop {
        match look() {
            Ok(found) => {
                outage.see(None, &line);
                return Ok(found);
            }
            Err(KeyError::Store(error))
                if error.is_outage() && longest.is_none_or(|longest| started.elapsed() < longest) =>
            {
                outage.see(Some(&error), &line);
                line.show(&error);
                if let Some(signal) = pause(LOOK_AGAIN, events) {
                    return Err(interrupted(wanted.name, signal));
                }
            }
            Err(error) => return Err(outage.tried(error)),
        }
    }
}

/// The error of a wait that a signal ended.
pub(crate) fn interrupted(key: &str, signal: i32) -> anyhow::Error {
    Exit::interrupted(signal, format!("`{key}`: the wait was interrupted")).into()
}

/// Pauses; tells the signal that ended the pause. Ctrl-Z stops us, as it would if we did not listen for it.
pub(crate) fn pause(pause: Duration, events: &Receiver<Event>) -> Option<i32> {
    let until = Instant::now() + pause;
    loop {
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Event::Signal(signal)) if ends_a_wait(signal) => return Some(signal),
            Ok(Event::Signal(SIGTSTP)) => signals::stop(),
            Ok(Event::Signal(SIGCHLD)) => child::reap_orphans(),
            Ok(_) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Waits until enough permits are back; what the size was.
pub(crate) fn resized(
    mut resizing: Resizing,
    name: &str,
    resize: &ResizeArgs,
    global: &Global,
    events: &Receiver<Event>,
) -> Result<Option<u32>> {
    let mut line = Line::new(global, None);
    let mut told = Outage::new(name, resize.patience(), global);
    loop {
        let (length, status, outage) = match resizing.poll() {
            Ok(ResizePoll::Ready(before)) => {
                told.see(None, &line);
                return Ok(before);
            }
            Ok(ResizePoll::Pending { pause, status, outage }) => (pause, status, outage),
            Err(error @ ResizeError::Store { .. }) => return Err(told.tried(error)),
            Err(error) => return Err(error.into()),
        };
        told.see(outage.as_ref(), &line);
        match &outage {
            Some(error) => line.show(error),
            None => line.show(&status),
        }
        if let Some(signal) = pause(length, events) {
            let text = match outage {
                Some(error) => format!("`{name}`: the wait for the store was interrupted: {error}"),
                None => format!("`{name}`: the wait was interrupted; the new size stands, and {status}"),
            };
            return Err(Exit::interrupted(signal, text).into());
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
    outage: &mut Outage<'_>,
) -> Result<Grant, Interrupted> {
    loop {
        let (length, waiting_for) = match poll().map_err(Interrupted::Failed)? {
            Poll::Ready(grant) => {
                outage.see(None, &line);
                return Ok(grant);
            }
            Poll::Pending { pause, waiting_for } => (pause, waiting_for),
        };
        outage.see(if let WaitingFor::Outage(error) = &waiting_for { Some(error) } else { None }, &line);
        let told = Instant::now();
        loop {
            line.show(counted_down(&waiting_for, told.elapsed()));
            let left = length.saturating_sub(told.elapsed());
            if let Some(signal) = pause(left.min(COUNT_EVERY), events) {
                return Err(Interrupted::By(signal));
            }
            if left <= COUNT_EVERY {
                break;
            }
        }
    }
}

/// An outage that is ridden out, told when it begins and when it ends.
struct Outage<'a> {
    name: &'a str,
    patience: Patience,
    quiet: bool,
    /// When the first try began.
    begun: Instant,
    since: Option<Instant>,
    /// Whether something else than the store was waited for by now.
    reached: bool,
}

impl<'a> Outage<'a> {
    fn new(name: &'a str, patience: Patience, global: &Global) -> Self {
        Outage {
            name,
            patience,
            quiet: global.quiet || global.json,
            begun: Instant::now(),
            since: None,
            reached: false,
        }
    }

    /// Tells on one line that an outage begins, or that it is over.
    fn see(&mut self, error: Option<&StoreError>, line: &Line) {
        let name = output::short(self.name);
        match (self.since, error) {
            (None, Some(error)) => {
                self.since = Some(if self.reached { Instant::now() } else { self.begun });
                let longest = if self.reached { self.patience.later } else { self.patience.first };
                let longest = match longest {
                    Some(longest) => format!("for {}", humantime::format_duration(longest)),
                    None => "as long as the wait lasts".to_string(),
                };
                self.say(line, format!("`{name}`: {error}; trying again {longest}"));
            }
            (Some(since), None) => {
                self.since = None;
                self.say(line, format!("`{name}`: the store answers again, after {}", passed(since)));
            }
            _ => {}
        }
        self.reached |= error.is_none();
    }

    fn say(&self, line: &Line, text: String) {
        if !self.quiet {
            line.apart(|| output::say(one_line(text)));
        }
    }

    /// The error of a wait that an outage ended: how long it was tried.
    fn tried<E: std::error::Error + Send + Sync + 'static>(&self, error: E) -> anyhow::Error {
        let error = anyhow::Error::new(error);
        match self.since {
            Some(since) => error.context(format!("gave up after {}", passed(since))),
            None => error,
        }
    }
}

/// How long ago that was.
fn passed(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}

/// What is waited for yet, so long after it was told.
fn counted_down(waiting_for: &WaitingFor, passed: Duration) -> WaitingFor {
    match waiting_for {
        WaitingFor::Quarantine(left) => WaitingFor::Quarantine(left.saturating_sub(passed)),
        other => other.clone(),
    }
}

/// The live line; none where stderr is not a terminal.
struct Line {
    bar: Option<ProgressBar>,
    started: Instant,
    wanted: bool,
    /// What is waited for, in front of why; none if that tells it.
    name: Option<String>,
}

impl Line {
    fn new(global: &Global, name: Option<&str>) -> Self {
        let wanted = !global.quiet && !global.json && std::io::stderr().is_terminal();
        let name = name.map(|name| format!("`{}`: ", output::short(name)));
        Line { bar: None, started: Instant::now(), wanted, name }
    }

    fn show(&mut self, waiting_for: impl Display) {
        if !self.wanted || self.started.elapsed() < QUIET_FOR {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{spinner} waiting {elapsed}: {wide_msg}");
            let bar = ProgressBar::with_draw_target(None, live::target()).with_elapsed(self.started.elapsed());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let name = self.name.as_deref().unwrap_or_default();
        bar.set_message(format!("{name}{}", one_line(waiting_for)));
    }
}

impl Line {
    /// Lets something else be said on stderr.
    fn apart(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
