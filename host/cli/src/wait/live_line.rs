//! The live line that shows the reason of a wait. It never waits for the terminal, which Ctrl-S may have stopped.

use std::fmt::{Display, Write};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use rustix::termios::tcgetwinsize;

use crate::options::global::Global;
use crate::report::output::{self, one_line};
use crate::report::stderr;

/// A wait shorter than this is not worth a line.
const QUIET_FOR: Duration = Duration::from_millis(300);
/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(200);
/// The width of a terminal that does not tell it.
const USUAL_WIDTH: u16 = 80;

/// The live line; none if stderr is not a terminal.
pub(super) struct LiveLine {
    bar: Option<ProgressBar>,
    started: Instant,
    is_wanted: bool,
    /// The key, in front of the reason; none if the reason names it.
    prefix: String,
}

impl LiveLine {
    pub(super) fn new(global: &Global, name: Option<&str>) -> Self {
        let is_wanted = !global.quiet && !global.json && io::stderr().is_terminal();
        let prefix = name.map(|name| format!("`{}`: ", output::short(name))).unwrap_or_default();
        LiveLine { bar: None, started: Instant::now(), is_wanted, prefix }
    }

    /// Shows the reason of the wait.
    pub(super) fn show(&mut self, waiting_for: impl Display) {
        if !self.is_wanted || self.started.elapsed() < QUIET_FOR {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let target = ProgressDrawTarget::term_like(Box::new(Picture::default()));
            let bar = ProgressBar::with_draw_target(None, target).with_elapsed(self.started.elapsed());
            let style = ProgressStyle::with_template("{spinner} waiting {elapsed}: {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(format!("{}{}", self.prefix, one_line(waiting_for)));
    }

    /// Lets something else be said on stderr.
    pub(super) fn apart(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Collects what is drawn until it is a whole picture.
#[derive(Debug, Default)]
struct Picture(Mutex<String>);

impl Picture {
    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn add(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.lock().write_fmt(text).map_err(io::Error::other)
    }

    fn go(&self, steps: usize, direction: char) -> io::Result<()> {
        if steps == 0 { Ok(()) } else { self.add(format_args!("\x1b[{steps}{direction}")) }
    }
}

impl TermLike for Picture {
    fn width(&self) -> u16 {
        tcgetwinsize(io::stderr()).map(|size| size.ws_col).ok().filter(|width| *width > 0).unwrap_or(USUAL_WIDTH)
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'A')
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.go(lines, 'B')
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'C')
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.go(columns, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let picture = std::mem::take(&mut *self.lock());
        if !picture.is_empty() {
            stderr::draw(picture.as_bytes());
        }
        Ok(())
    }
}
