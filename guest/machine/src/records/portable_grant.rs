//! A grant written out as one word, to be resumed by another process.
//!
//! The word holds all that a renewal or release needs: the record, the namespace and the version. Its secret is the
//! record's nonce. A checksum distinguishes a word that was cut or mistyped from one that was never ours.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::records::record::Record;
use crate::values::{Invalid, Namespace, Version, nanos};

const PREFIX: &str = "kvlock1.";
const CHECKSUM_BYTES: usize = 4;

/// The content of a written grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortableGrant {
    pub(crate) namespace: Namespace,
    pub(crate) version: Version,
    pub(crate) minimum: Option<Minimum>,
    pub(crate) record: Record,
}

/// How long the key is to stay taken, as known at the moment of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minimum {
    pub(crate) left: Duration,
    /// Unix nanoseconds of that moment. The only use of a wall clock: there is no other that two processes share.
    pub(crate) at: Option<u64>,
}

impl PortableGrant {
    pub(crate) fn encode(&self) -> String {
        let Version { era, number } = self.version;
        let mut body = format!("{} {era} {number}", self.namespace.as_str());
        if let Some(Minimum { left, at }) = self.minimum {
            body += &format!(" {}", nanos(left));
            body += &at.map(|at| format!(" {at}")).unwrap_or_default();
        }
        body.push('\n');
        let body = [body.into_bytes(), self.record.encode()].concat();
        let bytes = [&checksum(&body), body.as_slice()].concat();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Invalid> {
        let word = text
            .strip_prefix(PREFIX)
            .ok_or_else(|| Invalid::new("not a written grant: it begins with `kvlock1.`, as `acquire` prints it"))?;
        parse(word).ok_or_else(|| Invalid::new("a written grant that was cut or changed; give all of it, as printed"))
    }
}

fn parse(word: &str) -> Option<PortableGrant> {
    let bytes = URL_SAFE_NO_PAD.decode(word).ok()?;
    let (sum, body) = bytes.split_at_checked(CHECKSUM_BYTES)?;
    if sum != checksum(body) {
        return None;
    }
    let (first, record) = core::str::from_utf8(body).ok()?.split_once('\n')?;
    let mut words = first.split(' ');
    let namespace = Namespace::new(words.next()?).ok()?;
    let version = Version { era: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
    let minimum = match words.next() {
        None => None,
        Some(left) => Some(Minimum {
            left: Duration::from_nanos(left.parse().ok()?),
            at: words.next().map(str::parse).transpose().ok()?,
        }),
    };
    let record = Record::decode(record.as_bytes()).ok()?;
    (words.next().is_none() && record.depth > 0).then_some(PortableGrant { namespace, version, minimum, record })
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let [a, b, c, d, ..] = digest;
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn sample() -> PortableGrant {
        PortableGrant {
            namespace: Namespace::new("kvlock").unwrap(),
            version: Version { era: 7, number: 9 },
            minimum: None,
            record: Record::sample("k"),
        }
    }

    #[test]
    fn a_written_grant_is_one_word_and_reads_back() {
        let word = sample().encode();
        assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{word}");
        assert_eq!(PortableGrant::decode(&word), Ok(sample()));
        for at in [None, Some(1_795_230_245_678_000_000)] {
            let kept = PortableGrant { minimum: Some(Minimum { left: Duration::from_secs(3600), at }), ..sample() };
            assert_eq!(PortableGrant::decode(&kept.encode()), Ok(kept));
        }
    }

    proptest! {
        #[test]
        fn a_cut_or_changed_word_is_refused(at in 0usize..500, byte in 0x21u8..0x7f) {
            let word = sample().encode();
            let at = at % word.len();
            prop_assert!(PortableGrant::decode(&word[..at]).is_err());
            let mut bytes: Vec<u8> = word.clone().into_bytes();
            bytes[at] = byte;
            let changed = String::from_utf8(bytes).unwrap();
            prop_assert!(changed == word || PortableGrant::decode(&changed).is_err());
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "(kvlock1\\.)?.{0,200}") {
            let _ = PortableGrant::decode(&text);
        }
    }
}
