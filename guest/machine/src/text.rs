//! Records as text for people: lines of `name: value` under a heading.
//!
//! They are written into a string that is there already: one is written with every acquire, and `core::fmt` with its
//! strings in between was half of what an acquire cost.

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

pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    push_escaped(&mut escaped, text);
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

/// Writes a number in decimal, with zeros before it up to this width.
pub(crate) fn push_decimal(text: &mut String, number: u64, width: usize) {
    if number > 9 || width > 1 {
        push_decimal(text, number / 10, width.saturating_sub(1));
    }
    push_digit(text, number % 10);
}

/// Writes the last so many hexadecimal digits of a number.
pub(crate) fn push_hex(text: &mut String, number: u64, width: u32) {
    for place in (0..width).rev() {
        push_digit(text, number >> (4 * place) & 0xf);
    }
}

/// Keeps a value on its line: a backslash and control characters are written as escapes.
pub(crate) fn push_escaped(text: &mut String, value: &str) {
    if value.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'\\') {
        return text.push_str(value);
    }
    for character in value.chars() {
        if character == '\\' || character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
}

fn push_digit(text: &mut String, digit: u64) {
    // INVARIANT: below 16.
    text.push(char::from_digit(digit as u32, 16).unwrap_or('?'));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number: u64, width in 1usize..25) {
            let mut text = String::new();
            push_decimal(&mut text, number, width);
            push_hex(&mut text, number, 16);
            prop_assert_eq!(text, format!("{number:0width$}{number:016x}"));
        }
    }
}
