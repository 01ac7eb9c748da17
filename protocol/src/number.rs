//! Numbers as text, of digits and nothing else. The library's own reading takes a sign as well, and is larger code.

/// Reads a decimal number.
pub fn number(digits: &[u8]) -> Option<u64> {
    in_base(10, digits)
}

/// Reads a hexadecimal number.
pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    in_base(16, digits)
}

fn in_base(base: u32, digits: &[u8]) -> Option<u64> {
    let shift = |number: u64, digit: &u8| {
        number.checked_mul(base.into())?.checked_add(char::from(*digit).to_digit(base)?.into())
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, shift) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_digits_and_nothing_else_and_fits_in_64_bits() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(number(b"007"), Some(7));
        assert_eq!(hexadecimal(b"ffffFFFFffffFFFF"), Some(u64::MAX));
        for wrong in ["", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong}");
        }
        for wrong in ["", "+f", "0xf", "g", "10000000000000000"] {
            assert_eq!(hexadecimal(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
