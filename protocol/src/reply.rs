//! The reply to a meta command, read where it lies: the crate `memcache` allocates memory flag by flag.

use alloc::format;
use alloc::vec::Vec;

use crate::codec::{Code, Codec};
use crate::failure::Failure;
use crate::number::number;
use crate::refusal::foreign;

/// The largest value that is read: memcached's default limit for an item is 1 MiB.
pub(crate) const MAX_VALUE: usize = 1024 * 1024 + 64 * 1024;

/// The return flags that are asked for: the CAS value, the client flags, the time to live.
const FLAGS: &[u8; 3] = b"cft";

/// The reply to a meta command.
#[derive(Debug)]
pub struct MetaReply {
    /// What became of the command.
    pub code: Code,
    /// What follows each of [`FLAGS`].
    numbers: [Option<u64>; FLAGS.len()],
    /// The data block, where the command asked for it.
    pub value: Option<Vec<u8>>,
}

impl MetaReply {
    /// Returns the number that follows a return flag of [`FLAGS`]: `c7` gives 7 for `c`. `t-1` (no expiry) gives none.
    pub fn number(&self, flag: u8) -> Option<u64> {
        self.numbers.get(place(flag)?).copied().flatten()
    }

    /// Reads the line of a reply, and the length of the value that follows it.
    ///
    /// # Errors
    /// [`Failure::Foreign`] for what is no reply, [`Failure::Refused`] for a value that is too large.
    pub fn read<C: Codec>(line: &[u8]) -> Result<(MetaReply, Option<usize>), Failure> {
        let (word, mut rest) = next_word(line);
        let code = C::code(word).ok_or_else(|| foreign(line))?;
        let mut length = None;
        if code == Code::Va {
            let (word, after) = next_word(rest);
            (length, rest) = (Some(value_length(word, line)?), after);
        }
        let mut numbers = [None; FLAGS.len()];
        while let ([flag, digits @ ..], after) = next_word(rest) {
            if let Some(found) = place(*flag).and_then(|place| numbers.get_mut(place)) {
                *found = number(digits);
            }
            rest = after;
        }
        Ok((MetaReply { code, numbers, value: None }, length))
    }
}

/// Returns a line's first word, which is empty at its end, and what stands behind it.
fn next_word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = line.get(line.iter().take_while(|byte| **byte == b' ').count()..).unwrap_or_default();
    line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()))
}

fn place(flag: u8) -> Option<usize> {
    FLAGS.iter().position(|known| *known == flag)
}

/// Returns the length in `VA <length> …`.
fn value_length(word: &[u8], line: &[u8]) -> Result<usize, Failure> {
    match number(word).and_then(|length| usize::try_from(length).ok()).ok_or_else(|| foreign(line))? {
        length if length <= MAX_VALUE => Ok(length),
        length => Err(Failure::Refused(format!("a value of {length} bytes is larger than the {MAX_VALUE} read here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Plain;

    #[test]
    fn a_number_that_is_too_large_is_none() {
        for line in ["HD c18446744073709551616", "HD c99999999999999999999", "HD c-1", "HD c1x", "HD c"] {
            assert_eq!(MetaReply::read::<Plain>(line.as_bytes()).unwrap().0.number(b'c'), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_reply_to_a_meta_command_is_foreign() {
        for line in ["", " ", "HTTP/1.1 400", "hd", "STORED", "VA", "VA x", "VA -1", "VA 99999999999999999999"] {
            assert!(matches!(MetaReply::read::<Plain>(line.as_bytes()), Err(Failure::Foreign(_))), "{line}");
        }
        assert!(matches!(MetaReply::read::<Plain>(b"VA 999999999"), Err(Failure::Refused(_))), "larger than any value");
    }
}
