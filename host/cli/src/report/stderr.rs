//! Lines on stderr, written by a thread of their own. Their reader may have stopped reading, and code that keeps a
//! lock, starts a command or ends one must not wait for it.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

/// How many log lines may wait to be written. More are dropped and counted.
const MOST_LOGGED: usize = 1000;
/// How many lines of any kind may wait. Other lines still have room when log lines have none.
const MOST: usize = MOST_LOGGED + 100;
/// How many pictures of the live line may wait.
const MOST_DRAWN: usize = 50;
/// How long to wait at the end for a stderr that takes nothing.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long to wait at the end for a stderr that takes lines slowly.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often to check if stderr takes more.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// True if our own lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// True if there is a log, whose lines have a time and a level. All other lines then have them, too.
static HAS_LOG: AtomicBool = AtomicBool::new(false);

/// The lines for the one stderr of the process.
static LINES: Lines = Lines { state: Mutex::new(State::EMPTY), changed: Condvar::new() };

struct Lines {
    state: Mutex<State>,
    /// Signalled when a line is added or written.
    changed: Condvar,
}

struct State {
    waiting: VecDeque<Vec<u8>>,
    dropped: u64,
    written: u64,
    /// True while the thread writes a line that is no longer in `waiting`.
    is_writing: bool,
    has_thread: bool,
}

/// Takes log lines, each in one piece.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !LINES.add(line, MOST_LOGGED) {
            LINES.lock().dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes all further lines of our own JSON.
pub(crate) fn speak_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

/// Returns true if our own lines are JSON.
pub(crate) fn speaks_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Lets all further lines of our own that are JSON have a time and a level, as those of the log have.
pub(crate) fn begin_log() {
    HAS_LOG.store(true, Ordering::Relaxed);
}

/// Returns a line that is no error: a text, or a JSON object with a note.
pub(crate) fn note(text: impl Display) -> String {
    rendered(text, speaks_json())
}

fn rendered(text: impl Display, as_json: bool) -> String {
    match as_json {
        true => {
            let text = text.to_string();
            stamped(json!({ "note": { "message": text } }), "info", &text).to_string()
        }
        false => format!("kvlock: {text}"),
    }
}

/// Returns an object with what every line of the log has, if there is a log.
pub(crate) fn stamped(mut object: Value, level: &str, message: &str) -> Value {
    if HAS_LOG.load(Ordering::Relaxed) {
        object["time"] = moment(SystemTime::now()).into();
        object["level"] = level.into();
        object["message"] = message.into();
    }
    object
}

/// Formats a moment after RFC 3339.
pub(crate) fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Writes a line before it returns, unless stderr takes nothing now.
pub(crate) fn say(line: &[u8]) {
    if !LINES.add(line, MOST) {
        LINES.lock().dropped += 1;
    }
    flush_within(Duration::ZERO);
}

/// Draws a picture of the live line. Nobody misses one that is dropped.
pub(crate) fn draw(picture: &[u8]) {
    LINES.add(picture, MOST_DRAWN);
}

/// Waits until all lines are written, if stderr takes them.
pub(crate) fn flush() {
    flush_within(PATIENCE);
}

fn flush_within(patience: Duration) {
    let (begun, mut stuck_since) = (Instant::now(), None);
    let mut state = LINES.lock();
    if !state.has_thread {
        // No thread could be started. The caller writes the lines itself.
        while let Some(line) = state.next() {
            write(&line);
        }
        return;
    }
    let mut written = state.written;
    while state.is_to_write() && begun.elapsed() < LONGEST_WAIT {
        if state.written != written || takes_more() {
            (written, stuck_since) = (state.written, None);
        } else if stuck_since.get_or_insert_with(Instant::now).elapsed() >= patience {
            return;
        }
        state = LINES.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
    }
}

/// Writes a line. A failure, such as a full disk or a reader that has gone, must not end us: it would leave the lock
/// behind.
fn write(line: &[u8]) {
    let _ = io::stderr().write_all(line);
}

/// Returns true if stderr takes something now, or fails at once.
fn takes_more() -> bool {
    let stderr = io::stderr();
    let mut stderr = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut stderr, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half changed.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a line if fewer than `most` wait.
    fn add(&'static self, line: &[u8], most: usize) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= most {
            return false;
        }
        state.waiting.push_back(line.to_vec());
        if !state.has_thread {
            let thread = std::thread::Builder::new().name("kvlock-stderr".to_string());
            // If no thread can be started, the next line tries again.
            state.has_thread = thread.spawn(|| self.write()).is_ok();
        }
        self.changed.notify_all();
        true
    }

    fn write(&self) {
        // The main thread handles signals, and none must stop us for using the terminal.
        let _ = SigSet::all().thread_block();
        let mut state = self.lock();
        loop {
            let Some(line) = state.next() else {
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            };
            state.is_writing = true;
            drop(state);
            write(&line);
            state = self.lock();
            (state.is_writing, state.written) = (false, state.written.wrapping_add(1));
            self.changed.notify_all();
        }
    }
}

impl State {
    const EMPTY: State =
        State { waiting: VecDeque::new(), dropped: 0, written: 0, is_writing: false, has_thread: false };

    fn is_to_write(&self) -> bool {
        self.is_writing || !self.waiting.is_empty() || self.dropped > 0
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let told = |lines| (dropped(lines, speaks_json()) + "\n").into_bytes();
        self.waiting.pop_front().or_else(|| Some(std::mem::take(&mut self.dropped)).filter(|n| *n > 0).map(told))
    }
}

fn dropped(lines: u64, as_json: bool) -> String {
    let lines = if lines == 1 { "1 line was".to_string() } else { format!("{lines} lines were") };
    rendered(format_args!("stderr was stuck: {lines} dropped"), as_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_lines_were_dropped_is_json_where_all_else_is() {
        let told: serde_json::Value = serde_json::from_str(&dropped(1, true)).unwrap();
        assert_eq!(told["note"]["message"], "stderr was stuck: 1 line was dropped");
        assert_eq!(dropped(2, false), "kvlock: stderr was stuck: 2 lines were dropped");
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_after_those_that_waited() {
        let lines = Box::leak(Box::new(Lines { state: Mutex::new(State::EMPTY), changed: Condvar::new() }));
        lines.lock().has_thread = true;
        assert!(lines.add(b"a", 2) && lines.add(b"b", 2) && !lines.add(b"c", 2));
        let mut state = lines.lock();
        state.dropped += 2;
        let written: Vec<_> = std::iter::from_fn(|| state.next()).collect();
        assert_eq!(written, [&b"a"[..], b"b", b"kvlock: stderr was stuck: 2 lines were dropped\n"]);
        assert!(!state.is_to_write());
    }
}
