//! Writing into a string that is there already. A record is written with every acquire, and `core::fmt` with a string
//! of its own for every line was a good part of what the component spends on one.

use alloc::string::String;

/// Writes a number in decimal, with zeros before it up to this width.
pub(crate) fn push_decimal(text: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        length += 1;
        if number == 0 && length >= width {
            break;
        }
    }
    push_ascii(text, digits.get(20 - length..).unwrap_or_default());
}

/// Writes bytes in hexadecimal.
pub(crate) fn push_hex<const BYTES: usize>(text: &mut String, bytes: [u8; BYTES]) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
    let digits = bytes.map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    push_ascii(text, digits.as_flattened());
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

fn push_ascii(text: &mut String, digits: &[u8]) {
    text.push_str(str::from_utf8(digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_does(number: u64, width in 1usize..21) {
            let mut text = String::new();
            push_decimal(&mut text, number, width);
            push_hex(&mut text, number.to_be_bytes());
            prop_assert_eq!(text, format!("{number:0width$}{number:016x}"));
        }
    }
}
