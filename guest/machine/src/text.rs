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
/// Decimal digits of the largest number.
const DIGITS: usize = 20;

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

/// Writes a number in decimal, with zeros before it up to this width, of 20 at most.
pub(crate) fn push_decimal(text: &mut String, number: u64, width: usize) {
    let mut digits = [0; DIGITS];
    let width = width.max(number.checked_ilog10().map_or(1, |log| log as usize + 1)).min(DIGITS);
    let digits = &mut digits[DIGITS - width..];
    put_decimal(digits, number);
    push_ascii(text, digits);
}

/// Writes the last digits of a number, as many as there is room for.
pub(crate) fn put_decimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Writes bytes in hexadecimal.
pub(crate) fn push_hex<const BYTES: usize>(text: &mut String, bytes: [u8; BYTES]) {
    let mut digits = [[0; 2]; BYTES];
    for (digits, byte) in digits.iter_mut().zip(bytes) {
        *digits = [byte >> 4, byte & 0xf].map(|digit| digit + if digit < 10 { b'0' } else { b'a' - 10 });
    }
    push_ascii(text, digits.as_flattened());
}

pub(crate) fn push_ascii(text: &mut String, bytes: &[u8]) {
    // INVARIANT: what is ASCII is UTF-8.
    text.push_str(core::str::from_utf8(bytes).unwrap_or_default());
}

/// Whether a value needs no escapes.
pub(crate) fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'\\')
}

/// Keeps a value on its line: a backslash and control characters are written as escapes.
pub(crate) fn push_escaped(text: &mut String, value: &str) {
    if is_plain(value) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number: u64, shift in 0u32..64, width in 1usize..21) {
            let (number, mut text) = (number >> shift, String::new());
            push_decimal(&mut text, number, width);
            push_hex(&mut text, number.to_be_bytes());
            prop_assert_eq!(text, format!("{number:0width$}{number:016x}"));
        }
    }
}
