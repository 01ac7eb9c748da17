//! Writing into a string that is there already. A record is written with every acquire, and `core::fmt` with its
//! strings in between was half of what an acquire cost.

use alloc::string::String;

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
