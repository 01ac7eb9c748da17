//! Pieces of messages for people.

use std::time::Duration;

/// Returns a duration to tenths of a second, as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Returns a key as messages show it: on one line, and cut where it is long.
pub(crate) fn shown(key: &str) -> String {
    const MOST: usize = 80;
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let cut: String = key.chars().take(MOST).map(escape).collect();
    if key.chars().nth(MOST).is_some() { format!("{cut}…") } else { cut }
}

/// Returns `1 permit`, `2 permits`.
pub(crate) fn permits(count: u32) -> String {
    if count == 1 { "1 permit".to_string() } else { format!("{count} permits") }
}
