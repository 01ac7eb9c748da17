//! Names: what users call things, checked once, and what the store calls them. They are shared, not copied: every
//! record and every grant has some.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::Invalid;
use crate::text;

/// Longest key: far beyond any real one, and a record that holds it still fits every store's entry.
pub const MAX_KEY_BYTES: usize = 65_536;
/// Longest owner name and label: they are for people, and are written with every acquire.
pub const MAX_TEXT_BYTES: usize = 255;
/// Longest namespace: leaves room in a store key for a kind and a SHA-256 in hexadecimal.
pub const MAX_NAMESPACE_BYTES: usize = 64;
/// Stands between the namespace and a key that is legal in every store.
const LOCK: &str = ":lock:";
/// Longest store key: memcached's limit (its doc/protocol.txt, "Keys").
pub const MAX_STORE_KEY_BYTES: usize = 250;

/// A lock's key: any string that is not empty, as its user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Takes a user's string.
    pub fn new(key: &str) -> Result<Self, Invalid> {
        match key.len() {
            0 => Err(Invalid::new("the key is empty; give one of 1 to 65536 bytes")),
            1..=MAX_KEY_BYTES => Ok(Key(key.into())),
            length => Err(Invalid::new(format!("the key has {length} bytes; at most {MAX_KEY_BYTES} are possible"))),
        }
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an owner, or a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Text(Arc<str>);

impl Text {
    /// Takes an owner's name, which must not be empty.
    pub fn owner(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Err(Invalid::new("the owner's name is empty; give one of 1 to 255 bytes"));
        }
        Self::label(name)
    }

    /// Takes a label, which may be empty.
    pub fn label(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_TEXT_BYTES {
            let length = text.len();
            return Err(Invalid::new(format!("an owner's name or label has {length} bytes; at most 255 are possible")));
        }
        Ok(Text(text.into()))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first part of every store key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Takes a user's namespace: printable ASCII without the characters that store keys are put together with.
    pub fn new(name: &str) -> Result<Self, Invalid> {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b':' && byte != b'#';
        if name.is_empty() || name.len() > MAX_NAMESPACE_BYTES || !name.bytes().all(legal) {
            return Err(Invalid::new(
                "a namespace has 1 to 64 printable ASCII characters, without spaces, `:` and `#`",
            ));
        }
        Ok(Namespace(name.into()))
    }

    /// The string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store calls a lock: `<namespace>:lock:<key>` where that is legal in every store, else
    /// `<namespace>:lock#<SHA-256 of the key>`. The two never meet: a namespace has neither `:` nor `#`.
    pub fn store_key(&self, key: &Key) -> String {
        let mut plain = String::with_capacity(self.0.len() + LOCK.len() + key.0.len());
        plain.push_str(&self.0);
        plain.push_str(LOCK);
        plain.push_str(&key.0);
        let legal = |byte: u8| byte > b' ' && byte != 0x7f;
        if plain.len() <= MAX_STORE_KEY_BYTES && plain.bytes().all(legal) {
            return plain;
        }
        let mut hashed = [&*self.0, ":lock#"].concat();
        text::push_hex(&mut hashed, Sha256::digest(key.0.as_bytes()).into());
        hashed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_plain_key_stays_readable_in_the_store() {
        let key = Key::new("report/2026").unwrap();
        assert_eq!(Namespace::new("kvlock").unwrap().store_key(&key), "kvlock:lock:report/2026");
    }

    #[test]
    fn empty_and_oversized_names_are_refused() {
        assert!(Key::new("").is_err());
        assert!(Key::new(&"k".repeat(MAX_KEY_BYTES)).is_ok());
        assert!(Key::new(&"k".repeat(MAX_KEY_BYTES + 1)).is_err());
        assert!(Text::owner("").is_err());
        assert!(Text::label(&"x".repeat(256)).is_err());
        for bad in ["", "a b", "a:b", "a#b", "ä", &"n".repeat(65)] {
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_key_gets_a_legal_store_key_of_its_own(a in ".{1,300}", b in "(?s).{1,300}") {
            let namespace = Namespace::new("n").unwrap();
            let stored = namespace.store_key(&Key::new(&a).unwrap());
            prop_assert!(stored.len() <= MAX_STORE_KEY_BYTES);
            prop_assert!(stored.bytes().all(|byte| byte > b' ' && byte != 0x7f));
            let other = namespace.store_key(&Key::new(&b).unwrap());
            prop_assert_eq!(stored == other, a == b);
        }
    }
}
