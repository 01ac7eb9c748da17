//! Waiting for a lock as a person at a terminal sees it: one live line, and Ctrl-C ends it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use kvlock::{AcquireError, Grant, Lock, Poll, WaitingFor};

use super::Global;
use super::args::LockArgs;
use super::exit::{self, Exit};
use super::output::one_line;
use super::signals::{Event, Events, interrupts};

/// How soon a wait becomes worth a line.
const QUIET_FOR: Duration = Duration::from_millis(300);

/// Acquires the lock; the error has the exit code that the arguments ask for.
pub(super) fn acquire(lock: Lock, args: &LockArgs, global: &Global, events: &mut Events) -> Result<Grant> {
    let line = Line::new(global);
    match poll(lock, events, line) {
        Err(Interrupted::By(signal)) => {
            Err(Exit::new(exit::of_signal(signal), format!("`{}`: the wait was interrupted", args.key)).into())
        }
        Err(Interrupted::Failed(error @ AcquireError::Busy { .. })) => {
            Err(Exit::new(args.conflict_exit_code, error.to_string()).into())
        }
        Err(Interrupted::Failed(error)) => Err(error.into()),
        Ok(grant) => Ok(grant),
    }
}

enum Interrupted {
    By(i32),
    Failed(AcquireError),
}

fn poll(lock: Lock, events: &mut Events, mut line: Line) -> Result<Grant, Interrupted> {
    let mut acquisition = lock.begin().map_err(Interrupted::Failed)?;
    loop {
        let (pause, waiting_for) = match acquisition.poll().map_err(Interrupted::Failed)? {
            Poll::Ready(grant) => return Ok(grant),
            Poll::Pending { pause, waiting_for } => (pause, waiting_for),
        };
        line.show(&waiting_for);
        let until = Instant::now() + pause;
        loop {
            match events.wait(until.saturating_duration_since(Instant::now())) {
                Some(Event::Signal(signal)) if interrupts(signal) => return Err(Interrupted::By(signal)),
                Some(_) => {}
                None => break,
            }
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

    fn show(&mut self, waiting_for: &WaitingFor) {
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
