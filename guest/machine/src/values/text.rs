//! Records as text for people: lines of `name: value` under a heading.
//!
//! They are written straight into bytes: every acquire writes one, and `core::fmt` with its temporary strings was half
//! of the cost of an acquire.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Split;
use core::time::Duration;

/// How much of a foreign value a message shows.
const EXCERPT_CHARS: usize = 60;
/// Decimal digits of the largest number.
const DIGITS: usize = 20;
const HEX_DIGITS: [u8; 16] = *b"0123456789abcdef";

/// Reads a record line by line.
pub(crate) struct Lines<'t>(Peekable<Split<'t, char>>);

impl<'t> Lines<'t> {
    /// Returns the heading and the lines after it.
    pub(crate) fn read(value: &'t [u8]) -> Option<(&'t str, Self)> {
        let text = core::str::from_utf8(value).ok()?;
        let mut lines = text.strip_suffix('\n')?.split('\n').peekable();
        Some((lines.next()?, Lines(lines)))
    }

    /// Returns the value of the next line, if it has this name.
    pub(crate) fn value(&mut self, name: &str) -> Option<&'t str> {
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "));
        self.0.next_if(named)?.get(name.len() + 2..)
    }

    /// Returns the same as it was before it was escaped.
    pub(crate) fn unescaped(&mut self, name: &str) -> Option<String> {
        unescape(self.value(name)?)
    }
}

/// Returns the beginning of a value that is not ours.
pub(crate) fn excerpt(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let cut: String = text.chars().take(EXCERPT_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", escape(&cut))
}

/// Keeps a value on its line: writes a backslash and control characters as escapes.
pub(crate) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
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

/// Writes a number in decimal, with leading zeros up to this width, 20 at most.
pub(crate) fn push_decimal(text: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = [b'0'; DIGITS];
    let (mut first, mut rest) = (DIGITS, number);
    while rest > 0 {
        first -= 1;
        digits[first] += (rest % 10) as u8;
        rest /= 10;
    }
    text.extend_from_slice(&digits[first.min(DIGITS - width.clamp(1, DIGITS))..]);
}

/// Returns the last decimal digits of a number.
pub(crate) fn last_digits<const COUNT: usize>(mut number: u64) -> [u8; COUNT] {
    let mut digits = [0; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Writes bytes in hexadecimal.
pub(crate) fn push_hex<const BYTES: usize>(text: &mut Vec<u8>, bytes: [u8; BYTES]) {
    text.extend_from_slice(hex(bytes).as_flattened());
}

/// Returns the two digits of each byte.
pub(crate) fn hex<const BYTES: usize>(bytes: [u8; BYTES]) -> [[u8; 2]; BYTES] {
    bytes.map(|byte| [byte >> 4, byte & 0xf].map(|digit| HEX_DIGITS[usize::from(digit)]))
}

/// Compares two texts eight bytes at a time: WebAssembly has no instruction to compare memory, and the standard library
/// does it byte by byte there.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    match (one.last_chunk::<8>(), other.last_chunk::<8>()) {
        (Some(end), Some(other_end)) if one.len() == other.len() => {
            let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
            words.chain([(end, other_end)]).all(|(one, other)| u64::from_ne_bytes(*one) == u64::from_ne_bytes(*other))
        }
        _ => one == other,
    }
}

/// Returns true if a value needs no escapes.
pub(crate) fn is_plain(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'\\')
}

/// Writes a value, with the escapes that it needs.
pub(crate) fn push_escaped(text: &mut Vec<u8>, value: &str) {
    if is_plain(value) {
        text.extend_from_slice(value.as_bytes());
    } else {
        text.extend_from_slice(escape(value).as_bytes());
    }
}

/// Writes a duration as `30s` or `0.001s`: exact, and without the weight of floating point in the component.
pub(crate) fn push_seconds(text: &mut Vec<u8>, length: Duration) {
    push_decimal(text, length.as_secs(), 1);
    if length.subsec_nanos() > 0 {
        text.push(b'.');
        push_decimal(text, length.subsec_nanos().into(), 9);
        let zeros = text.iter().rev().take_while(|digit| **digit == b'0').count();
        text.truncate(text.len() - zeros);
    }
    text.push(b's');
}

/// Reads what `push_seconds` writes.
pub(crate) fn parse_seconds(text: &str) -> Option<Duration> {
    let (seconds, fraction) = match text.strip_suffix('s')?.split_once('.') {
        Some((seconds, fraction)) if fraction.len() <= 9 => (seconds, fraction),
        Some(_) => return None,
        None => (text.strip_suffix('s')?, "0"),
    };
    let nanos = format!("{fraction:0<9}").parse().ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(seconds.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn texts_are_the_same_if_all_their_bytes_are(one in "[ab]{0,20}", at in 0usize..20, cut in 0usize..20) {
            let mut changed = one.clone().into_bytes();
            changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            let changed = String::from_utf8(changed).unwrap();
            prop_assert!(is_same(&one, &one.clone()));
            prop_assert_eq!(is_same(&one, &changed), one == changed);
            prop_assert_eq!(is_same(&one, &one[..cut.min(one.len())]), cut >= one.len());
        }

        #[test]
        fn numbers_are_written_as_the_standard_library_does(number: u64, shift in 0u32..64, width in 1usize..21) {
            let (number, mut text) = (number >> shift, Vec::new());
            push_decimal(&mut text, number, width);
            push_hex(&mut text, number.to_be_bytes());
            prop_assert_eq!(text, format!("{number:0width$}{number:016x}").into_bytes());
        }
    }
}
