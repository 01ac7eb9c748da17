//! Records as text for people: lines of `name: value` under a heading.

use alloc::format;
use alloc::string::String;
use core::iter::Peekable;
use core::str::Split;

/// How much of a foreign value is shown.
const EXCERPT_CHARS: usize = 60;

/// Reads a record line by line.
pub(crate) struct Lines<'t>(Peekable<Split<'t, char>>);

impl<'t> Lines<'t> {
    /// The heading, and what follows it.
    pub(crate) fn read(value: &'t [u8]) -> Option<(&'t str, Self)> {
        let text = core::str::from_utf8(value).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n').peekable();
        Some((lines.next()?, Lines(lines)))
    }

    /// The value of the next line, if it has this name.
    pub(crate) fn value(&mut self, name: &str) -> Option<&'t str> {
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "));
        self.0.next_if(named)?.get(name.len() + 2..)
    }
}

/// The beginning of a value that is not ours.
pub(crate) fn excerpt(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let cut: String = text.chars().take(EXCERPT_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", escape(&cut))
}

/// Keeps a value on its line: a backslash and control characters are written as escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character == '\\' || character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match rest.next()? {
            '\\' => '\\',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
                rest = after.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        });
    }
    Some(plain)
}
