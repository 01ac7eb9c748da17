//! The live line's way to the terminal, which may take nothing: Ctrl-S stops it.

use std::fmt::Write;
use std::io;
use std::sync::{Mutex, MutexGuard};

use indicatif::{ProgressDrawTarget, TermLike};
use rustix::termios::tcgetwinsize;

use crate::report::stderr;

/// Where the width of a terminal is not known.
const USUAL_WIDTH: u16 = 80;

/// What is drawn, collected until it is a whole picture.
#[derive(Debug, Default)]
struct Picture(Mutex<String>);

/// Returns what draws the live line on stderr without ever waiting for it.
pub(crate) fn target() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like(Box::new(Picture::default()))
}

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
